"""What a packing did a second and what held it up, in one line."""

import os
import time
from dataclasses import dataclass

from tarpon.shards.manifest import MANIFEST
from tarpon.shards.store import Store
from tarpon.shards.writer import PARTS

BUSY = 0.8  # share of the processes' time that they computed: above it the processors bind
LEAST_S = 1.0  # a shorter packing has no speed worth telling


@dataclass(frozen=True, kw_only=True)
class Stopwatch:
    """Begun before a packing into a folder or URL."""

    workers: int | None  # processes of this machine; None: a cluster's, whose time is not known here
    begun_s: float
    cpu_s: float
    partly: bool  # some of it was there: a rate over the rest is not known

    @classmethod
    def begin(cls, out: str, *, workers: int | None) -> "Stopwatch":
        store = Store(out)
        partly = store.has(MANIFEST) or bool(store.list_names(PARTS))
        return cls(workers=workers, begun_s=time.perf_counter(), cpu_s=_cpu_s(), partly=partly)

    def tell(self, *, units: int, what: str, size: int) -> list[str]:
        """One line, or none where there is nothing to tell.

        Args:
            units: how many were packed of `what`: frames or images. size: bytes of the tars.
        """
        seconds = time.perf_counter() - self.begun_s
        if self.partly or seconds < LEAST_S:
            return []
        speed = f"{units / seconds:,.0f} {what}/s, {size / seconds / 1e6:.2g} MB/s of shards"
        if self.workers is None:
            return [f"{speed}, on a cluster"]
        share = min((_cpu_s() - self.cpu_s) / (seconds * min(self.workers, len(os.sched_getaffinity(0)))), 1.0)
        waited = "the rest was waiting for files, for other programs or, with few shards, for the last of them"
        binds = "the processors bind" if share >= BUSY else waited
        processes = "1 process" if self.workers == 1 else f"{self.workers} processes"
        return [f"{speed}, on {processes} that computed {share:.0%} of the time: {binds}"]


def _cpu_s() -> float:
    """Seconds of processors that this process and its ended children have spent."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
