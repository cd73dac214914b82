"""A kind of lab folder as one record: how it is listed, made into samples, split and described."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tarpon.shards.quarantine import Fault
from tarpon.shards.schema import Schema
from tarpon.shards.writer import Make


class Unit(Protocol):
    """What one call of `make` turns into samples: a video, a stack, some images."""

    def name(self) -> str:
        """What a user calls it."""

    def fingerprint(self) -> str:
        """Text that changes when the unit's files or settings do."""

    def size(self) -> int:
        """Frames or images, about."""


class Scan(NamedTuple):
    """What a lab folder holds. A source that needs more for its card has a record of its own with these two fields."""

    units: list[Unit]  # in order
    faults: list[Fault]  # what cannot be used, found by listing alone


@dataclass(frozen=True, kw_only=True)
class Source:
    """All that packing knows of one kind of lab folder. Its `options` are a frozen dataclass that JSON can hold."""

    schema: Schema
    scan: Callable[..., Scan]  # (*folders, options, ...) -> what is there
    make: Make  # unit -> samples and faults; a module-level function: it travels to other processes
    assign: Callable[..., Sequence[str]]  # (rows, options=, packing=) -> the split of each row
    card: Callable[..., dict]  # (rows, found=, options=) -> the source's own entries of the dataset card
    hint: str  # likely causes where a folder lists nothing; {folder} is the first folder
    shard_size: int = 16384  # most units of size (frames, images) in a tar
