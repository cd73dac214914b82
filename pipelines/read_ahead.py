"""Makes the samples of batches in threads, some batches ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

Item = TypeVar("Item")
Batch = dict[str, list]


def read_ahead(
    work: Iterable[Sequence[Item]],
    make: Callable[[Item], Mapping[str, Any]],
    *,
    names: Sequence[str],
    threads: Executor,
    ahead: int,
) -> Iterator[Batch]:
    """For each batch of the work, its samples' values by name, as lists; made `ahead` batches ahead."""

    def gather(futures: list) -> Batch:
        samples = [future.result() for future in futures]
        return {name: [sample[name] for sample in samples] for name in names}

    queue: deque = deque()
    for items in work:
        queue.append([threads.submit(make, item) for item in items])
        if len(queue) > ahead:
            yield gather(queue.popleft())
    while queue:
        yield gather(queue.popleft())
