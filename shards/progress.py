"""How far a long piece of work is: a bar on a terminal, a plain line now and then where the output goes elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator

from tqdm import tqdm

FIRST_S, EVERY_S = 10.0, 30.0  # seconds to the first plain line, and from one to the next
REDRAWN_S = 0.1  # seconds from one state of the bar to the next
BAR = "{percentage:3.0f}%|{bar:16}| {desc}"


class Progress:
    """Counts work that is done, from `with` to its end, on the error stream: a command's output stays its own.

    Args:
        total: of what is counted; 0 where nobody knows.
        what: is done. unit: what is counted, plural.
        done: of it before.
        shown: False is silent, as on all processes but the first.
    """

    def __init__(self, total: int, *, what: str, unit: str, done: int = 0, shown: bool = True) -> None:
        self._total, self._what, self._unit, self._done, self._first = total, what, unit, done, done
        self._bar: tqdm | None = None
        self._lines = shown and not sys.stderr.isatty()
        self._shown = shown
        self._begun = time.perf_counter()
        self._next = self._begun + FIRST_S

    def __enter__(self) -> "Progress":
        self._begun = time.perf_counter()
        self._next = self._begun + FIRST_S
        if self._shown and not self._lines:
            known = {"total": self._total or None, "initial": self._done}
            self._bar = tqdm(**known, bar_format=BAR, dynamic_ncols=True, leave=False, file=sys.stderr)
            self._bar.set_description_str(self.line(self._begun))
            self._next = self._begun
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, count: int = 1) -> None:
        """So many more are done."""
        now = time.perf_counter()
        self._done += count
        if now < self._next:
            return
        if self._bar is not None:
            self._bar.n = self._done
            self._bar.set_description_str(self.line(now))
            self._next = now + REDRAWN_S
        elif self._lines:
            print(self.line(now), file=sys.stderr, flush=True)
            self._next = now + EVERY_S

    def line(self, now: float) -> str:
        """`pack  1,200/3,400 frames  812/s  left 4 min 10 s`."""
        of = f"/{self._total:,}" if self._total else ""
        words = [self._what, f"{self._done:,}{of} {self._unit}"]
        new, seconds = self._done - self._first, now - self._begun
        if new and seconds > 0:
            rate = new / seconds
            words.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
            if self._total > self._done:
                words.append(f"left {format_duration((self._total - self._done) / rate)}")
        return "  ".join(words)


def track(items: Iterable, *, total: int, what: str, unit: str, count: Callable[[object], int] = lambda item: 1) -> Iterator:
    """The items, each counted (as `count` says) when the next one is asked for."""
    with Progress(total, what=what, unit=unit) as progress:
        for item in items:
            yield item
            progress.update(count(item))


def format_duration(seconds: float) -> str:
    """`42 s`, `4 min 10 s`, `2 h 05 min`, `3 d 04 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"
