"""Folders of fetched files: one a process, gone at its end, and after a kill with the next one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tarpon.shards.scratch import Scratch, open_scratch

KILLED = """
import os, sys
from tarpon.shards.scratch import Scratch, open_scratch
with open_scratch(Scratch(folder=sys.argv[1])) as own:
    (own / "half").write_bytes(b"x")
    os.kill(os.getpid(), 9)
"""


def test_it_is_gone_at_the_end_whatever_happens(tmp_path):
    limit = Scratch(folder=str(tmp_path / "new"))

    def spoil() -> None:
        with open_scratch(limit) as own:
            (own / "below").mkdir()
            raise OSError("trouble")

    with pytest.raises(OSError, match="trouble"):
        spoil()
    assert list(limit.root().iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_living_and_foreign_folders_stay(tmp_path):
    limit = Scratch(folder=str(tmp_path))
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    (left,) = (path for path in limit.root().iterdir() if path.is_dir())
    assert (left / "half").exists()
    (limit.root() / "mine").mkdir()
    (tmp_path / "other").write_text("x")
    with open_scratch(limit) as first:
        assert not left.exists()
        with open_scratch(limit) as second:
            assert first.is_dir()
            assert second.is_dir()
            assert first != second
    assert [path.name for path in limit.root().iterdir()] == ["mine"]
    assert (tmp_path / "other").exists()


def test_the_bound_and_the_folder():
    with pytest.raises(ValueError, match="scratch_bytes=0 must be above 0"):
        Scratch(size=0)
    assert Scratch(folder="~/x").root().parent == (Path.home() / "x").resolve()
