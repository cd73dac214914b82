"""The record of a kind of lab folder: how it is scanned, made into samples, split and described."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow as pa

from tarpon.shards.quarantine import Fault
from tarpon.shards.schema import Schema
from tarpon.shards.writer import Make, Ready


class Unit(Protocol):
    """The input of one call of `make`: a video, a stack, some images."""

    def name(self) -> str:
        """Name for messages."""

    def fingerprint(self) -> str:
        """Text that changes when the unit's files or settings do."""

    def size(self) -> int:
        """Approximate number of frames or images."""

    def reads(self) -> list[Path]:
        """Files and folders that `make` reads. Of a kind without it URLs are refused: nothing else needs it."""


class Scan(NamedTuple):
    """Contents of a lab folder. A source that needs more for its card has its own record with these two fields."""

    units: list[Unit]  # in order
    faults: list[Fault]  # what cannot be used, as far as the scan shows


def find_none(_rows: pa.Table) -> dict[int, str]:
    """Of a kind without such a check."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A kind of lab folder, for packing. Its `options` are a frozen dataclass that JSON can hold."""

    schema: Schema
    scan: Callable[..., Scan]  # (*folders, options, ...) -> units and faults
    make: Make  # unit -> samples and faults; a module-level function: it travels to other processes
    ready: Ready = nullcontext  # units of a shard -> context of them, each ready for `make` when it comes; travels too
    assign: Callable[..., Sequence[str]]  # (rows, options=, packing=) -> the split of each row
    describe: Callable[..., dict]  # (rows, found=, options=) -> the source's own entries of the dataset card
    hint: str  # likely causes when a scan finds nothing; {folder} is the first folder
    shard_size: int = 16384  # most units of size (frames, images) in a tar
    find_copies: Callable[[pa.Table], dict[int, str]] = find_none  # rows -> those to leave out for equal pixels, and why
    find_near_copies: Callable[[pa.Table], Sequence[Fault]] = field(default=lambda rows: ())  # rows with splits -> remarks
