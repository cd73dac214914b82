"""A user's mistake, told in one line."""

import sys


class UsageError(ValueError):
    """Words on the command line or in a file that no option takes."""


def one_line(text: str, *, limit: int = 400) -> str:
    """A parser's message of many lines as one."""
    joined = " ".join(line.strip(" -") for line in text.splitlines() if line.strip())
    return joined if len(joined) <= limit else joined[: limit - 3] + "..."


def fail(error: Exception, *, program: str) -> int:
    """Say what is wrong in one line; the exit status for it."""
    print(f"{program}: {one_line(str(error), limit=1000)}", file=sys.stderr, flush=True)
    return 2
