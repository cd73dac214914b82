"""The images of a set of identities as cells of K places, dealt to batches so that an identity meets itself least.

An identity with K images or more fills cells of its own, the last topped up with its own other images. Identities with
fewer share cells where they fit; what stays free is filled, batch by batch, with images of identities not in the batch.
The number of cells follows from the sizes of the identities alone, so an epoch's length is known before it is drawn.

I identities, N rows, B cells, K places a cell. `who` is an identity's number 0..I-1, `at` a row's place in `rows`.
"""

from collections import Counter
from collections.abc import Iterator, Set
from functools import cached_property
from itertools import chain

import numpy as np

DEAL, FILL = 3, 4  # streams of the generator; 1 and 2 are plan.py's
FREE = -1  # a place of a cell that holds no row


class Deck:
    """One set of identities.

    Args:
        rows: (N,) int64 row ids, no two alike. identities: (N,) int64 labels. instances: K.
    """

    def __init__(self, rows: np.ndarray, identities: np.ndarray, *, seed: int, instances: int) -> None:
        if len(rows) != len(identities) or len(rows) == 0:
            raise ValueError(f"got {len(rows)} rows and {len(identities)} identities; every row needs its identity")
        if len(np.unique(rows)) != len(rows):
            raise ValueError("a row id comes twice among the rows of the identities; give each row once")
        if instances < 1:
            raise ValueError(f"instances={instances} must be 1 or more images of an identity in a batch")
        self.rows, self.seed, self.instances = np.asarray(rows, np.int64), seed, instances
        _, self.who, self.sizes = np.unique(identities, return_inverse=True, return_counts=True)
        self.first = np.cumsum(self.sizes) - self.sizes  # of an identity's rows in `members`
        self.members = np.argsort(self.who, kind="stable")
        self.own = np.where(self.sizes >= instances, -(-self.sizes // instances), 0)  # cells of its own

    @cached_property
    def packing(self) -> tuple[np.ndarray, np.ndarray]:
        """Where identities with fewer than K images go, from the largest to the smallest: cell, first place in it."""
        small = np.sort(self.sizes[self.own == 0])[::-1]
        cell, place = np.zeros((2, len(small)), np.int64)
        large, little, number = 0, len(small) - 1, 0
        while large <= little:
            cell[large], filled = number, small[large]
            large += 1
            while large <= little and filled + small[little] <= self.instances:
                cell[little], place[little] = number, filled
                filled += small[little]
                little -= 1
            number += 1
        return cell, place

    @property
    def shared(self) -> int:
        """Cells that identities with fewer than K images share."""
        return int(self.packing[0].max(initial=-1)) + 1

    def __len__(self) -> int:
        """Cells of one pass over all rows."""
        return int(self.own.sum()) + self.shared

    def cells(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One pass: (B, K) int64 `at` or FREE, and the (B,) ascending owner: an identity, or I + c for the shared cell c."""
        size, order = self.instances, np.lexsort((rng.random(len(self.rows)), self.who))
        owner = np.repeat(np.arange(len(self.sizes)), self.own)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(self.own) - self.own, self.own)
        place = number[:, None] * size + np.arange(size)
        alone = order[self.first[owner][:, None] + place % self.sizes[owner][:, None]]
        cell, begin = self.packing
        small = np.flatnonzero(self.own == 0)
        small = small[np.lexsort((rng.random(len(small)), -self.sizes[small]))]
        counts = self.sizes[small]
        step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        together = np.full((self.shared, size), FREE, np.int64)
        together[np.repeat(cell, counts), np.repeat(begin, counts) + step] = order[np.repeat(self.first[small], counts) + step]
        return np.concatenate([alone, together]), np.concatenate([owner, len(self.sizes) + np.arange(self.shared)])

    def deal(self, heights: np.ndarray, *, epoch: int) -> Iterator[np.ndarray]:
        """The cells of each batch of an epoch, (heights[b], K): pass after pass over the set, each in another order.

        Args:
            heights: (batches,) int64 >= 1 cells of each batch, no two further apart than one. A pass is spread over
                the batches until its end, so they reach to the end of the pass that the last batch asked for is in.

        Raises:
            ValueError: a batch has more places than the set has rows.
        """
        most = int(heights.max(initial=0)) * self.instances
        if most > len(self.rows):
            raise ValueError(
                f"a batch has {most} places for a set of {len(self.rows)} images, and no image may come twice in it; "
                f"lower micro_batch, or use more data"
            )
        upto = np.cumsum(heights)
        turns = [Turn(self, epoch=epoch, number=0)]
        for batch, height in enumerate(heights.tolist()):
            ends = int(np.searchsorted(upto, upto[batch] - height + turns[0].total))
            left = ends - batch + 1  # batches until the pass is through
            picked = turns[0].take(height, left=left)
            if len(picked) < height:
                if len(turns) == 1:
                    turns.append(Turn(self, epoch=epoch, number=turns[0].number + 1))
                held = set(self.who[picked[picked >= 0]].tolist())
                rest = turns[1].take(height - len(picked), left=-(-turns[1].total // height) + 1, held=held)
                picked = np.concatenate([picked, rest])
                for turn in turns:  # too few identities for this batch: some come in it with more cells than one
                    picked = np.concatenate([picked, turn.take_any(height - len(picked))])
            if turns[0].total == 0:
                turns = turns[1:] or [Turn(self, epoch=epoch, number=turns[0].number + 1)]
            yield picked

    def filled(self, cells: np.ndarray, *, epoch: int, batch: int) -> np.ndarray:
        """The `at` of one batch's cells, flat, all places filled and none twice."""
        at = np.array(list(dict.fromkeys(cells[cells >= 0].tolist())), np.int64)
        free = cells.size - len(at)
        if free == 0:
            return at
        rng = np.random.default_rng((self.seed, epoch, FILL, batch))
        absent = np.ones(len(self.sizes), bool)
        absent[self.who[at]] = False
        more = []
        while free:
            want = min(self.instances, free)
            choices = np.flatnonzero(absent & (self.sizes >= want))
            if len(choices) == 0:
                break
            who = choices[rng.integers(len(choices))]
            places = rng.choice(self.sizes[who], want, replace=False)
            more.append(self.members[self.first[who] + places])
            absent[who], free = False, free - want
        at = np.concatenate([at, *more])
        return np.concatenate([at, self._any(free, at, absent, rng)]) if free else at

    def _any(self, count: int, at: np.ndarray, absent: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Rows that a batch lacks, those of absent identities first: the last resort of a small set."""
        rest = np.setdiff1d(np.arange(len(self.rows)), at)
        return rest[np.lexsort((rng.random(len(rest)), ~absent[self.who[rest]]))][:count]


class Turn:
    """One pass over a deck, in an order drawn for it: every cell is taken once."""

    def __init__(self, deck: Deck, *, epoch: int, number: int) -> None:
        rng = np.random.default_rng((deck.seed, epoch, DEAL, number))
        self.deck, self.number = deck, number
        self._cells, owner = deck.cells(rng)
        self._cells_of = np.bincount(owner)
        self._first = np.cumsum(self._cells_of) - self._cells_of
        self._remaining = self._cells_of.copy()
        self._order, self._next = rng.permutation(owner), 0
        self._waiting: list[int] = []  # owners passed over, the next one last
        self.total = len(owner)  # cells not yet taken

    def take(self, count: int, *, left: int, held: Set[int] = frozenset()) -> np.ndarray:
        """Up to `count` cells for one batch, none of an identity in `held`, (n, K).

        Args:
            left: batches, this one included, in which the pass is to end. An owner gets at most
                ceil(its cells / left) of a batch, and at least the floor of it, so that none piles up at the end.
        """
        picked: Counter[int] = Counter()
        for owner in np.flatnonzero(self._remaining >= left).tolist():
            due = min(int(self._remaining[owner]) // left, count - picked.total())
            if due > 0 and not self._meets(owner, held):
                picked[owner] = due
        later = []
        while picked.total() < count and (owner := self._draw()) is not None:
            due = -(-int(self._remaining[owner]) // left)
            if picked[owner] < due and not self._meets(owner, held):
                picked[owner] += 1
            elif self._remaining[owner]:
                later.append(owner)
        self._waiting += later[::-1]
        return self._hand_out(picked)

    def take_any(self, count: int) -> np.ndarray:
        """Up to `count` cells of any owner, (n, K)."""
        picked: Counter[int] = Counter()
        while picked.total() < count and (owner := self._draw()) is not None:
            picked[owner] += int(picked[owner] < self._remaining[owner])
        return self._hand_out(picked)

    def _draw(self) -> int | None:
        """The next owner in order, those passed over first; it may have no cells left, when they were due earlier."""
        if self._waiting:
            return self._waiting.pop()
        if self._next == len(self._order):
            return None
        self._next += 1
        return int(self._order[self._next - 1])

    def _meets(self, owner: int, held: Set[int]) -> bool:
        if not held:
            return False
        cell = self._cells[self._first[owner]]
        return not held.isdisjoint(self.deck.who[cell[cell >= 0]].tolist())

    def _hand_out(self, picked: Counter[int]) -> np.ndarray:
        begin = {owner: int(self._first[owner] + self._cells_of[owner] - self._remaining[owner]) for owner in picked}
        numbers = list(chain.from_iterable(range(begin[owner], begin[owner] + times) for owner, times in picked.items()))
        for owner, times in picked.items():
            self._remaining[owner] -= times
        self.total -= len(numbers)
        return self._cells[numbers]
