"""What every feed does: make samples in threads ahead of the pipeline, and put another row in the place of a bad one."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import TypeVar

import numpy as np

from tarpon.shards.quarantine import BadSample, Budget

Item = TypeVar("Item")
Arrays = Mapping[str, np.ndarray]


def read_ahead(
    work: Iterable[Sequence[Item]],
    make: Callable[[Item], Arrays],
    *,
    names: Sequence[str],
    threads: Executor,
    ahead: int,
) -> Iterator[tuple[list[np.ndarray], ...]]:
    """Arrays of each batch of the work in the order of `names`, made `ahead` batches early."""

    def gathered(futures: list) -> tuple[list[np.ndarray], ...]:
        samples = [future.result() for future in futures]
        return tuple([sample[name] for sample in samples] for name in names)

    queue: deque = deque()
    for items in work:
        queue.append([threads.submit(make, item) for item in items])
        if len(queue) > ahead:
            yield gathered(queue.popleft())
    while queue:
        yield gathered(queue.popleft())


class Standby:
    """Rows that may stand in for a bad one: the next in order, so that every rank and resume agrees.

    Args:
        rows: ascending row ids. budget: bad samples allowed; each is spent once it is met.
    """

    def __init__(self, rows: np.ndarray, budget: Budget) -> None:
        self.rows, self.budget = rows, budget
        self._lock = threading.Lock()  # of the budget: samples are made in several threads

    def first_good(self, row: int, make: Callable[[int], Arrays]) -> Arrays:
        """make(row), or make of the next row after it that is not bad.

        Raises:
            ValueError: the budget is spent, or no row is good.
        """
        for _ in range(len(self.rows) + 1):
            try:
                return make(row)
            except BadSample as error:
                with self._lock:
                    self.budget.spend(error.fault)
                at = int(np.searchsorted(self.rows, row)) + 1
                row = int(self.rows[at % len(self.rows)])
        raise ValueError("no readable sample is left; run `tarpon lint` on the shards")
