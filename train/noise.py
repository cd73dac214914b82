"""What libraries say goes to a file of the run, not between the lines of the training.

Imports little: it is begun before PyTorch is imported. Where it was not begun (in a tool, in a test) nothing is taken.
"""

import faulthandler
import logging
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

LOG = "log.txt"  # in the run folder
SHOWN = 20  # last lines that an error shows


class Noise:
    """Takes this process's standard output and error as they are below Python, and gives Python's own prints the terminal.

    What Python prints appears, except inside of `taking`; warnings and loggers do not. Until `keep_in` all is held.
    A crash below Python is told on the terminal by Python's stack.
    """

    def __init__(self) -> None:
        self._terminal = [os.dup(number) for number in (1, 2)]
        self._file = tempfile.TemporaryFile("a+b", buffering=0)  # noqa: SIM115  open until the process ends
        self._path: Path | None = None
        self._point([self._file.fileno()] * 2)
        self.stdout, self.stderr = (
            open(number, "w", buffering=1, encoding=old.encoding, errors=old.errors)  # noqa: SIM115
            for number, old in zip(self._terminal, (sys.stdout, sys.stderr), strict=True)
        )
        self._stream = open(2, "w", buffering=1, closefd=False, errors="replace")  # noqa: SIM115  wherever that leads
        sys.stdout, sys.stderr = self.stdout, self.stderr
        sys.excepthook = self._tell_fault
        warnings.showwarning = self._take_warning
        logging.lastResort = logging.StreamHandler(self._stream)  # of loggers that nobody gave a place
        faulthandler.enable(self.stderr)

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Inside, what Python prints is taken too; loggers that exist at the end of it stay quiet."""
        self._take_loggers()
        with redirect_stdout(self._stream), redirect_stderr(self._stream):
            yield
        self._take_loggers()

    def keep_in(self, path: Path) -> None:
        """Append what was held, and what will be said, to a file; several processes may share it."""
        held = self._read()
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115
        self._path = path
        self._file.write(held)
        self._point([self._file.fileno()] * 2)

    def release(self) -> None:
        """Show what was held, and from now on everything."""
        held = self._read()
        self._point(self._terminal)
        os.write(2, held)

    def tell_last_words(self) -> None:
        """The last lines that were taken, on the terminal: an error often has its cause there."""
        lines = self._read().decode(errors="replace").splitlines()
        if lines:
            where = f" (all of it: {self._path})" if self._path else ""
            print(f"the last lines of what libraries said{where}:", *lines[-SHOWN:], sep="\n  ", file=self.stderr)

    def _read(self) -> bytes:
        self._stream.flush()
        self._file.seek(0)
        return self._file.read()

    def _point(self, numbers: list[int]) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, target in zip((1, 2), numbers, strict=True):
            os.dup2(target, number)

    def _take_loggers(self) -> None:
        for logger in (logging.root, *map(logging.getLogger, list(logging.root.manager.loggerDict))):
            for handler in list(logger.handlers):
                if getattr(handler, "stream", None) not in (self.stdout, self.stderr):
                    continue
                if hasattr(handler, "setStream"):
                    handler.setStream(self._stream)
                else:  # a copy of logging's last resort, which looks sys.stderr up at each message
                    logger.removeHandler(handler)
                    logger.addHandler(logging.lastResort)

    def _take_warning(self, message, category, filename, lineno, file=None, line=None) -> None:
        with suppress(OSError):  # a full disk is for the trainer's own files to tell
            (file or self._stream).write(warnings.formatwarning(message, category, filename, lineno, line))

    def _tell_fault(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self.tell_last_words()
        traceback.print_exception(kind, error, trace, file=self.stderr)


_begun: list[Noise] = []  # the one of this process


def begin() -> None:
    """From now on, in this process."""
    if not _begun:
        _begun.append(Noise())


@contextmanager
def taking() -> Iterator[None]:
    """`Noise.taking`, where it was begun."""
    if not _begun:
        yield
        return
    with _begun[0].taking():
        yield


def terminal() -> TextIO:
    """Where the trainer's own words go, also inside of `taking`."""
    return _begun[0].stdout if _begun else sys.stdout


def keep_in(folder: Path) -> None:
    """`Noise.keep_in` a run folder, where it was begun."""
    for noise in _begun:
        if folder.is_dir():  # another machine's process may not see it
            noise.keep_in(folder / LOG)


def release() -> None:
    """`Noise.release`, where it was begun; it ends with that."""
    while _begun:
        _begun.pop().release()


def tell_last_words() -> None:
    """`Noise.tell_last_words`, where it was begun."""
    for noise in _begun:
        noise.tell_last_words()
