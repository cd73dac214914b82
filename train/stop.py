"""Ctrl-C and SIGTERM as a request that all processes meet at the same optimizer step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):  # not an Exception: nothing on the way may take it for a fault and go on
    """The run was told to stop."""

    def __init__(self, number: int, *, saved: bool) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.saved = number, saved

    @property
    def status(self) -> int:
        """Exit status, as a shell has it: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.number


class Signals:
    """What this process has been told.

    While training a signal is only noted, so that a step and a checkpoint are not cut in two; outside of it, and at a second
    Ctrl-C, it ends the process at once. DeepSpeed's launcher sends SIGTERM after a Ctrl-C to the same processes: that is one
    request, not two.
    """

    def __init__(self) -> None:
        self.asked = 0  # the first signal, 0 for none
        self._noting = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():  # Python hears signals nowhere else
            self._before = {number: signal.signal(number, self._hear) for number in NUMBERS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Inside, a signal waits for the end of the step."""
        self._noting = True
        try:
            yield
        finally:
            self._noting = False
        if self.asked:  # came when the last step was already over
            raise Stopped(self.asked, saved=True)

    def ask(self, number: int) -> None:
        """As if the signal had come."""
        self.asked = self.asked or number

    def _hear(self, number: int, frame: FrameType | None) -> None:
        again = self.asked == signal.SIGINT == number
        self.ask(number)
        if again or not self._noting:
            raise Stopped(self.asked, saved=False)


class Agreement:
    """Numbers that every process learns of at the same step: the largest that any of them gave.

    With several processes an answer is that of the step before: the sum over processes is begun on the CPU at one step and read
    at the next, so that neither the host nor the GPU waits for it.
    """

    def __init__(self, *, world: int) -> None:
        self._group = torch.distributed.new_group(backend="gloo") if world > 1 else None
        self._given, self._work = torch.zeros(0), None

    def exchange(self, *numbers: int) -> tuple[int, ...]:
        """Called by every process once a step."""
        if self._group is None:
            return numbers
        told = self.finish() or (0,) * len(numbers)
        # what is answered is acted on by everybody now, and not asked again
        self._given = torch.tensor([0 if answer else number for number, answer in zip(numbers, told, strict=True)])
        self._work = torch.distributed.all_reduce(
            self._given, op=torch.distributed.ReduceOp.MAX, group=self._group, async_op=True
        )
        return told

    def finish(self) -> tuple[int, ...]:
        """What is still on its way; nothing where nothing is."""
        if self._work is None:
            return ()
        self._work.wait()
        self._work = None
        return tuple(self._given.tolist())
