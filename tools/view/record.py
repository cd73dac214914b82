"""What the page of `tarpon view` shows: an album of entries, each a row of pictures with what is known and what was predicted.

A task makes the album of its shards and, where a run is looked at, of its predictions; server and page know no task.
Everything but the pictures goes to the page as JSON.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tarpon.shards.manifest import Manifest
from tarpon.shards.reader import Reader


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the page's list: a trial, a stack, an image."""

    key: str
    split: str
    words: str  # beside the key: the class, the animal
    predicted: bool = False  # the run answered to it


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A class for every step, as a band of colours."""

    name: str  # labelled, predicted
    values: Sequence[int]  # index into `names`; -1 where there is none
    names: Sequence[str]
    colours: Sequence[str]  # one a name, #rrggbb


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A number for every step; curves of one unit share an axis."""

    name: str
    unit: str
    values: Sequence[float | None]
    colour: str


@dataclass(frozen=True, kw_only=True)
class Points:
    """Points in every picture, as shares of its width and height."""

    name: str  # labelled, predicted
    names: Sequence[str]
    colours: Sequence[str]
    places: Sequence  # (steps, K, 3) x, y, sure 0 or 1; None in place of a point that is not known


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One label and what was predicted in its place."""

    name: str
    labelled: str
    predicted: str = ""
    right: bool | None = None  # None: not to be told


@dataclass(frozen=True, kw_only=True)
class Match:
    """Another entry that this one is compared with."""

    entry: int
    words: str
    right: bool | None = None  # the same animal


@dataclass(frozen=True, kw_only=True)
class Detail:
    """All that the page shows of an entry beside its pictures."""

    facts: Sequence[tuple[str, str]]
    steps: int = 1  # pictures
    unit: str = ""  # what a step is: frame, page; "": there is only one
    rate: float = 4.0  # steps a second when played
    captions: Sequence[str] = ()  # of each step
    strips: Sequence[Strip] = ()
    curves: Sequence[Curve] = ()
    points: Sequence[Points] = ()
    answers: Sequence[Answer] = ()
    matches: Sequence[Match] = ()
    matches_head: str = ""


class Album(ABC):
    """What a task shows of a data set. Entries are known by their place in the list; nothing else can be asked for.

    Args:
        run: folder whose predictions stand beside the labels; None: there are none.
    """

    def __init__(self, manifest: Manifest, run: Path | None) -> None:
        self.manifest, self.reader, self.run = manifest, Reader(manifest), run

    @cached_property
    def entries(self) -> list[Entry]:
        """All of them, in their order."""
        return list(self._entries())

    @abstractmethod
    def _entries(self) -> Iterable[Entry]: ...

    @abstractmethod
    def detail(self, entry: int) -> Detail:
        """What stands beside the pictures of an entry."""

    @abstractmethod
    def picture(self, entry: int, step: int) -> tuple[bytes, str]:
        """A PNG or JPEG file, and its media type."""

    def steps(self, entry: int) -> int:
        """Pictures of an entry."""
        return 1

    def close(self) -> None:
        """Let go of the tars."""
        self.reader.close()


def finite(values: np.ndarray, *, digits: int = 3) -> list[float | None]:
    """Numbers as JSON can hold them: None for one that is none."""
    return [round(float(value), digits) if np.isfinite(value) else None for value in values]


def list_places(places: np.ndarray, sure: np.ndarray, known: np.ndarray) -> list:
    """Args: places (T, K, 2) shares, sure and known (T, K) bool. Returns: as in `Points.places`."""
    rounded = np.where(known[..., None], places, 0).round(4).tolist()
    return [
        [[*at, int(is_sure)] if is_known else None for at, is_sure, is_known in zip(*frame, strict=True)]
        for frame in zip(rounded, sure.tolist(), known.tolist(), strict=True)
    ]
