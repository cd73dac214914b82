"""Where the time of a training goes, measured without a wait for the GPU of its own."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

STEP = ("data", "copy", "forward", "backward", "optimizer")  # parts of a training step, in its order
FIRST = "first step"  # builds the pipelines and compiles: no measure of those after it


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Seconds of a stretch of the training, whole and by part."""

    total_s: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def step_s(self) -> float:
        """Seconds in training steps."""
        return sum(self.parts.get(part, 0.0) for part in STEP)

    def share(self, part: str) -> float:
        """Of the whole stretch."""
        return self.parts.get(part, 0.0) / max(self.total_s, 1e-9)

    def __add__(self, other: "Spent") -> "Spent":
        names = dict.fromkeys((*self.parts, *other.parts))
        parts = {name: self.parts.get(name, 0.0) + other.parts.get(name, 0.0) for name in names}
        return Spent(total_s=self.total_s + other.total_s, parts=parts)


class StepTimer:
    """Times the parts of steps.

    On a CPU a mark is a look at the clock. On a GPU it is an event in the GPU's own queue: what lies between two is the GPU's
    time, idle or at work, and is known once something else has waited for the GPU.
    """

    def __init__(self, device: torch.device, *, on: bool = True) -> None:
        self._gpu, self._on = device.type == "cuda", on
        self._marks: list[tuple[str, object]] = []
        self._free: list[object] = []  # events to use again

    def begin(self) -> None:
        """What ends at the next mark begins here; what was since the last mark is of no part."""
        self.mark("")

    def mark(self, part: str) -> None:
        """A part ends here."""
        if not self._on:
            return
        if self._gpu:
            event = self._free.pop() if self._free else torch.cuda.Event(enable_timing=True)
            event.record()
        else:
            event = time.perf_counter()
        self._marks.append((part, event))

    def read(self) -> dict[str, float]:
        """Seconds of each part since the last read. On a GPU only after something has waited for all that was queued."""
        parts: dict[str, float] = defaultdict(float)
        for (_, begun), (part, ended) in zip(self._marks, self._marks[1:], strict=False):
            if part:
                parts[part] += begun.elapsed_time(ended) / 1000 if self._gpu else ended - begun
        self.drop()
        return dict(parts)

    def drop(self) -> None:
        """Forget what was marked since the last read."""
        if self._gpu:
            self._free += [event for _, event in self._marks]
        self._marks.clear()


class Ledger:
    """Adds up where the time goes.

    Args:
        waited_s: seconds that the loop has waited for batches so far. Of the time that a step's data take it is the waiting,
            and the rest is the copy to the device.

    Attributes:
        whole: all that was taken.
    """

    def __init__(self, timer: StepTimer, waited_s: Callable[[], float]) -> None:
        self._timer, self._waited_s = timer, waited_s
        self._begun = self._part_begun = time.perf_counter()
        self._waited, self._parts = waited_s(), defaultdict(float)
        self._stepped = False
        self.whole = Spent()

    def step(self) -> None:
        """A step is queued."""
        if not self._stepped:
            self._stepped = True
            self._parts[FIRST] = time.perf_counter() - self._begun
            self._timer.drop()
            self._waited = self._waited_s()

    def read(self) -> None:
        """Once something has waited for the GPU."""
        for part, seconds in self._timer.read().items():
            self._parts[part] += seconds

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """What is done inside is a part of its own; it ends with a wait for the GPU or uses none."""
        begun = time.perf_counter()
        yield
        self._parts[part] += time.perf_counter() - begun

    @property
    def since_s(self) -> float:
        """Seconds since the last take."""
        return time.perf_counter() - self._begun

    def take(self) -> Spent:
        """What was read since the last take."""
        now, waited, parts = time.perf_counter(), self._waited_s(), dict(self._parts)
        held = parts.pop("data", 0.0)
        data = min(held, waited - self._waited)
        spent = Spent(total_s=now - self._begun, parts={"data": data, "copy": held - data} | parts)
        self._begun, self._waited = now, waited
        self._parts.clear()
        self.whole += spent
        return spent
