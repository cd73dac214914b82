"""Files of the same bytes are found, and no others."""

import numpy as np

from tarpon.shards.sources.copies import TAIL, find_copies


def test_copies_and_what_only_looks_alike(tmp_path):
    end = b"z" * TAIL
    files = {
        "a": b"1" + end,
        "b": b"2" + end,
        "c": b"1" + end,
        "d": b"1" + end[:-1] + b"y",
        "e": b"",
        "f": b"",
        "g": b"x",
        "h": b"x",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    sizes = np.array([len(content) for content in files.values()])
    assert sorted(find_copies(tmp_path, sizes, list(files))) == [[0, 2], [6, 7]]


def test_files_of_unlike_sizes_are_not_opened(tmp_path):
    assert find_copies(tmp_path, np.array([3, 4]), ["missing", "absent"]) == []
    assert find_copies(tmp_path, np.zeros(0, int), []) == []
