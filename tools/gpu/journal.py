"""The results of a part as JSON lines; each line is on disk before the next step is begun."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path


class Journal:
    """The rows of one part in one folder; a part that is run again adds to them.

    Args:
        since: seconds since 1970; steps begun after it are not begun again (they ended the process that tried).
    """

    def __init__(self, out: Path, part: str, *, since: float = float("inf")) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._path, self._part = out / f"{part}.jsonl", part
        rows = list(read_rows(self._path))
        self._done = {row["name"] for row in rows if row["kind"] == "step" and row["ok"]}
        self._tried = {row["name"] for row in rows if row["kind"] == "begin" and row["at"] >= since}
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 (open as long as the process)
        self._whole_lines()

    def is_over(self, step: str, *, done: bool = False) -> bool:
        """Whether a step is done, or was tried since; with `done` the first alone."""
        return step in self._done or (not done and step in self._tried)

    def write(self, kind: str, name: str, **values: object) -> None:
        """One row, on disk when this returns."""
        row = {"kind": kind, "part": self._part, "name": name, "at": round(time.time(), 3), **values}
        self._file.write(json.dumps(row, default=str) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _whole_lines(self) -> None:
        """A line that was cut off by a kill must not swallow the next one."""
        content = self._path.read_bytes()
        if content and not content.endswith(b"\n"):
            self._file.write("\n")


def read_rows(path: Path) -> Iterator[dict]:
    """Rows of a journal; a line that was cut off is left out. None of a file that is not there."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue
