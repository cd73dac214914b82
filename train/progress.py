"""How far a training is, on one line: a bar where there is a terminal, and a line now and then where there is none."""

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass

from tqdm import tqdm
from tqdm.contrib import DummyTqdmFile

from tarpon.shards.progress import BAR, EVERY_S, FIRST_S, format_duration


@dataclass(kw_only=True)
class Place:
    """What the line tells beside the time."""

    step: int
    epoch: int  # the one that is worked on, from 1
    loss: float | None = None  # mean since the last reading of the losses
    per_s: float | None = None  # samples of all processes
    waits: float | None = None  # share of the time spent waiting for data
    best: float | None = None


class Progress:
    """Tells how a training goes on, from `with` to its end; the first process's alone, the others are silent.

    What anything prints in the meantime goes above the bar.

    Args:
        total: steps of the run. epochs: of the run. unit: what is counted, plural.
        select: the score that picks the best weights.
    """

    def __init__(self, place: Place, *, total: int, epochs: int, unit: str, select: str, shown: bool) -> None:
        self._place, self._total, self._epochs, self._unit, self._select = place, total, epochs, unit, select
        self._shown = shown
        self._bar: tqdm | None = None
        self._lines = shown and not (sys.stdout.isatty() and sys.stderr.isatty())
        self._open = ExitStack()
        self._begun = self._first_step = 0  # when the first step of this process was done, and which it was
        self._next = time.perf_counter() + FIRST_S

    def __enter__(self) -> "Progress":
        if self._shown and sys.stderr.isatty():
            self._bar = tqdm(
                total=self._total, initial=self._place.step, bar_format=BAR, dynamic_ncols=True, leave=False, file=sys.stderr
            )
            self._open.callback(self._bar.close)
            above = DummyTqdmFile(sys.stderr)  # tqdm clears its bar for what is written to its own stream alone
            if sys.stdout.isatty():
                self._open.enter_context(redirect_stdout(above))
            self._open.enter_context(redirect_stderr(above))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def step(self, step: int, *, epoch: int) -> None:
        """A step is done."""
        now = time.perf_counter()
        self._place.step, self._place.epoch = step, epoch
        if not self._first_step:
            self._begun, self._first_step = now, step
        if self._bar is not None:
            self._bar.set_description_str(self.line(now), refresh=False)
            self._bar.update()
        if self._lines and now >= self._next:
            print(self.line(now), flush=True)
            self._next = now + EVERY_S

    def read(self, scalars: Mapping[str, float]) -> None:
        """Numbers of the steps since the last reading."""
        self._place.loss = scalars["loss"]
        self._place.per_s, self._place.waits = scalars[f"{self._unit}_per_s"], scalars["loader/wait_share"]

    def begin(self, what: str) -> None:
        """Something that is not a step and may take long."""
        if self._bar is not None:
            self._bar.set_description_str(f"{self.line(time.perf_counter())}  {what}")

    def best(self, value: float) -> None:
        """The best score so far."""
        self._place.best = value

    def say(self, line: str) -> None:
        """A line of its own."""
        if self._shown:
            print(line, flush=True)

    def line(self, now: float) -> str:
        """`step 24/720  epoch 3/90  loss 1.234  812 frames/s  waiting 2%  left 4 min 10 s  best macro_f1 0.612`."""
        place = self._place
        words = [f"step {place.step}/{self._total}", f"epoch {place.epoch}/{self._epochs}"]
        if place.loss is not None:
            words += [f"loss {place.loss:.4g}", f"{place.per_s:,.0f} {self._unit}/s", f"waiting {place.waits:.0%}"]
        if done := place.step - self._first_step:
            words.append(f"left {format_duration((now - self._begun) / done * (self._total - place.step))}")
        if place.best is not None:
            words.append(f"best {self._select} {place.best:.4f}")
        return "  ".join(words)
