"""A reader's exceptions become a line; the machine's own faults never become a file's."""

import errno
import os

import pytest
import tifffile

from tarpon.shards.quarantine import is_machine_fault
from tarpon.shards.sources.cells.read_errors import explain
from tarpon.shards.sources.cells.tiff import open_tiff


@pytest.mark.parametrize(
    ("error", "told", "words"),
    [
        (KeyError("Channel"), False, "does not read ('Channel')"),
        (ValueError("two\nlines"), False, "does not read (two lines)"),
        (ValueError("two\nlines"), True, "two lines"),
        (RuntimeError(), True, "does not read (RuntimeError)"),
        (OSError(errno.EIO, "Input/output error"), True, "does not read ([Errno 5] Input/output error)"),
    ],
)
def test_what_a_library_raises_is_one_line(error, told, words):
    with pytest.raises(ValueError) as raised, explain("does not read", told=told):
        raise error
    assert str(raised.value) == words
    assert raised.value.__cause__ is error


class Own(Exception):
    """Of a library that has kinds of its own."""


def test_only_what_is_expected_is_explained():
    with pytest.raises(Own), explain("does not read"):
        raise Own
    with pytest.raises(ValueError, match="does not read"), explain("does not read", errors=(Exception,)):
        raise Own


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE])
def test_a_machine_that_has_no_room_is_not_a_file_that_is_broken(number, tmp_path, monkeypatch):
    def refuse(*words, **settings):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tifffile, "TiffFile", refuse)
    with pytest.raises(OSError) as raised, open_tiff(tmp_path / "stack.tif"):
        pass
    assert is_machine_fault(raised.value)
