"""Many waits at a time: calls of a function on threads, in order, until the first that fails."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Got = TypeVar("Got")


def call_each(function: Callable[[Item], Got], items: Iterable[Item], *, threads: int) -> list[Got]:
    """function(item) of every item, in their order; after an error, which is raised, no further call is begun."""
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # a store that is silent is asked for each file for minutes
            raise
