"""Files are whole or absent."""

import pytest

from tarpon.shards import atomic


def test_a_failing_block_leaves_the_old_file_and_no_draft(tmp_path):
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")

    def fail() -> None:
        with atomic.replace(path) as draft:
            draft.write_text("new, half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_drafts_of_a_killed_process_are_cleared_and_nothing_else(tmp_path):
    (tmp_path / ".a.tar.123.tmp").write_text("")
    (tmp_path / "a.tar").write_text("")
    (tmp_path / ".hidden").write_text("")
    atomic.remove_drafts(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "a.tar"]


def test_bytes_are_replaced(tmp_path):
    atomic.write_bytes(tmp_path / "b", b"1")
    atomic.write_bytes(tmp_path / "b", b"22")
    assert (tmp_path / "b").read_bytes() == b"22"
