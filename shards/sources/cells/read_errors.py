"""What the libraries that read microscopes' files raise, as a ValueError of one line."""

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from tarpon.shards.quarantine import is_machine_fault

BROKEN = (OSError, ValueError, RuntimeError, LookupError, TypeError, ArithmeticError, struct.error)  # all that tifffile raises


def format_error(errors: object) -> str:
    """One line without the names of tifffile's objects."""
    return " ".join(re.sub(r"<tifffile\.[^>]*>", "", str(errors)).split()) or type(errors).__name__


@contextmanager
def explain(words: str, *, errors: tuple[type[Exception], ...] = BROKEN, told: bool = False) -> Iterator[None]:
    """Inside, what a library raises becomes ValueError `words (reason)`.

    Args:
        errors: what it may raise.
        told: a ValueError says what is wrong already and keeps its own words.

    Raises:
        OSError: the machine is at fault (no room, too many open files), not the file.
    """
    try:
        yield
    except errors as error:
        if is_machine_fault(error):
            raise
        reason = format_error(error)
        raise ValueError(reason if told and isinstance(error, ValueError) else f"{words} ({reason})") from error
