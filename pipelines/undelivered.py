"""Work that was handed on and has not come back: what must be done again when a pipeline fails."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Undelivered(Generic[Item]):
    """An iterator over groups of work that remembers each group until it is delivered."""

    def __init__(self, work: Iterable[Sequence[Item]]) -> None:
        self._rest = iter(work)
        self.groups: deque[Sequence[Item]] = deque()  # the oldest first

    def __iter__(self) -> Iterator[Sequence[Item]]:
        return self

    def __next__(self) -> Sequence[Item]:
        group = next(self._rest)
        self.groups.append(group)
        return group

    def mark_delivered(self) -> None:
        """The oldest group has come back."""
        self.groups.popleft()

    def again(self) -> None:
        """All that has not come back is work once more, in its order, before the rest."""
        waiting, self.groups = list(self.groups), deque()
        self._rest = chain(waiting, self._rest)
