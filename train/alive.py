"""Watches over the processes of a run: one that dies, stands still or fails is named, and the others end with it.

Each process has a thread that tells the others, through the store they met at, that it lives and where its training is. The
main thread may be stuck in a sum over processes that will never end; the thread is not.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import torch

from tarpon.train.ancestors import alive, launchers

BEAT_S = 1.0  # between two signs of life
STUCK = 10  # a process that lives but takes no step may take this many times as long as one may be silent: data come slowly
FAULT, TOLD = "fault", "told"


@dataclass
class Seen:
    """What was last heard of one process, and when by our own clock."""

    beat: str = ""
    at: float = 0.0
    place: str = "starting"
    moved: float = 0.0


class Watch:
    """Signs of life of this process, and an eye on the others'.

    Args:
        timeout_s: a process silent this long has ended the run.
        launcher_ended: called once when the launcher that started this process has ended without it.
    """

    def __init__(self, *, rank: int, world: int, timeout_s: float, launcher_ended: Callable[[], None] = lambda: None) -> None:
        self._rank, self._world, self._timeout_s, self._launcher_ended = rank, world, timeout_s, launcher_ended
        self._name = f"rank {rank} of {world} ({socket.gethostname()})"
        self._place, self._counted = "starting", False
        self._moves, self._beats = 0, 0
        self._over = threading.Event()
        self._launchers = launchers()
        self._store = self._own = None
        if world > 1:
            store = torch.distributed.distributed_c10d._get_default_store()  # no public way to it
            self._store, self._own = (torch.distributed.PrefixStore("tarpon", store.clone()) for _ in range(2))
            for one in (self._store, self._own):
                one.set_timeout(timedelta(seconds=timeout_s))
        self._seen = {other: Seen(at=time.monotonic(), moved=time.monotonic()) for other in range(world)}
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        if world > 1 or self._launchers:
            self._thread.start()

    def at(self, place: str, *, steps: bool = False) -> None:
        """Where the training is now, in words.

        Args:
            steps: one of many like it, so that the next should not be long in coming.
        """
        self._place, self._counted, self._moves = place, steps, self._moves + 1

    @property
    def place(self) -> str:
        """Where the training is, in words."""
        return self._place

    @property
    def others(self) -> bool:
        """Whether there are other processes."""
        return self._world > 1

    def close(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(BEAT_S)

    def report(self, error: BaseException) -> str | None:
        """What to say of an error that ends this process; None when the fault is another's and told already.

        An error of the sums over processes is often only the echo of another's end: it is given a few seconds to be heard of.
        """
        what = f"{self._name}: {self._place}: {type(error).__name__}: {error}"
        if self._store is None:
            return what
        try:
            echo = isinstance(error, RuntimeError) and not isinstance(error, torch.cuda.OutOfMemoryError)
            if echo and (gone := self._wait_for_other(5 * BEAT_S)):
                what = gone
            if self._own.add(TOLD, 1) > 1:
                return None
            self._own.set(FAULT, what)
        except RuntimeError:  # the store went with rank 0
            if self._rank:
                return f"{self._name}: {self._place}: rank 0, where the processes met, has ended" if self._rank == 1 else None
        return what

    def _wait_for_other(self, seconds: float) -> str | None:
        """A process that has not been heard of, by name; None when all live. Ends at once when another has told its fault."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._own.check([FAULT]):
            time.sleep(BEAT_S / 4)
        quiet = [other for other, seen in self._seen.items() if other != self._rank and self._silent_s(seen) > 2.5 * BEAT_S]
        return f"{self._tell(quiet[0])} and has ended" if quiet else None

    def _run(self) -> None:
        while not self._over.wait(BEAT_S):
            if self._launchers and not alive(self._launchers):
                self._launchers = ()
                self._launcher_ended()
            if self._store is None:
                continue
            try:
                self._look(self._exchange())
            except RuntimeError:  # the store went, or does not answer for the whole timeout
                if not self._over.is_set():
                    end(f"{self._tell(0)}; the run ends" if self._rank == 1 else "")

    def _exchange(self) -> list[str]:
        self._beats += 1
        self._store.set(f"beat{self._rank}", f"{self._beats}|{self._moves}|{int(self._counted)}|{self._place}")
        if self._store.check([FAULT]) and not self._over.wait(2 * BEAT_S):  # the main thread may be about to leave by itself
            end("")
        names = [f"beat{other}" for other in range(self._world)]
        return [value.decode() for value in self._store.multi_get(names)] if self._store.check(names) else []

    def _look(self, beats: list[str]) -> None:
        now = time.monotonic()
        for other, beat in enumerate(beats):
            seen = self._seen[other]
            if beat != seen.beat:
                if beat.split("|")[1:] != seen.beat.split("|")[1:]:
                    seen.moved = now
                seen.beat, seen.at, seen.place = beat, now, beat.split("|", 3)[3]
        for other, seen in self._seen.items():
            if other != self._rank and self._silent_s(seen) > self._timeout_s:
                self._end_by(f"{self._tell(other)}; the run ends")
        slow = [other for other, seen in self._seen.items() if now - seen.moved > STUCK * self._timeout_s]
        if len(slow) == self._world and all(seen.beat.split("|")[2] == "1" for seen in self._seen.values()):
            last = min(slow, key=lambda other: int(self._seen[other].beat.split("|")[1]))
            since, place = now - self._seen[last].moved, self._seen[last].place
            self._end_by(f"rank {last} of {self._world} has stood still for {since:.0f} s: {place}; the run ends")

    def _end_by(self, words: str) -> None:
        if self._store.add(TOLD, 1) == 1:
            self._store.set(FAULT, words)
            end(words)

    def _silent_s(self, seen: Seen) -> float:
        return time.monotonic() - seen.at

    def _tell(self, other: int) -> str:
        seen = self._seen[other]
        return f"rank {other} of {self._world} has not been heard of for {self._silent_s(seen):.0f} s, last: {seen.place}"


def end(words: str) -> None:
    """Leave at once, whatever the main thread is stuck in."""
    if words:
        print(f"train/launch.py: {words}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(1)
