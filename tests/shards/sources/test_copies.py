"""Copies are found by bytes and by pixels, near copies by what they look like, and no others."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tarpon.shards.sources.copies import TAIL, find_copies, find_equal, find_similar, hash_appearance, hash_pixels


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


def scene(seed: int, *, size: int = 256) -> np.ndarray:
    """A picture of soft blobs in 16 bits."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random((size, size)), 5)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 30000 + 2000).astype(np.uint16)


def test_equal_pixels_have_one_hash_and_others_another():
    page = scene(0)
    again = [page.copy(), np.asfortranarray(page), page.astype(">u2"), page.view()[:]]
    assert {hash_pixels(one) for one in again} == {hash_pixels(page)}
    changed = page.copy()
    changed[3, 4] += 1
    others = [changed, page.T, page[:-1], page.astype(np.int32), (page >> 8).astype(np.uint8), page.reshape(128, 512)]
    assert len({hash_pixels(one) for one in [page, *others]}) == 1 + len(others)
    assert find_equal(["a", "b", "a", "c", "b", "a"]) == [[0, 2, 5], [1, 4]]


NEAR = {
    "8 bits": lambda page: (page >> 8).astype(np.uint8),
    "8 bits, stretched": lambda page: np.clip((page / 1.0 - 2000) / 30000 * 255, 0, 255).astype(np.uint8),
    "brighter": lambda page: np.minimum(page * 1.4, 65535).astype(np.uint16),
    "darker": lambda page: (page * 0.6).astype(np.uint16),
    "cut by two pixels": lambda page: page[2:-2, 2:-2],
    "cut at one side": lambda page: page[3:],
    "half the size": lambda page: np.asarray(Image.fromarray(page.astype(np.float32)).resize((128, 128))).astype(np.uint16),
    "noise": lambda page: (page + np.random.default_rng(9).normal(0, 300, page.shape)).astype(np.uint16),
    "colour": lambda page: np.stack([(page >> 8).astype(np.uint8)] * 3, -1),
}


@pytest.mark.parametrize("change", NEAR)
def test_near_copies_are_found(change):
    pages = [scene(seed) for seed in range(6)]
    hashes = [hash_appearance(page) for page in [*pages, NEAR[change](pages[4])]]
    assert find_similar(hashes, range(7)) == [(4, 6)]
    assert find_similar(hashes, [0, 1, 2, 3, "one", 5, "one"]) == []  # of one group


def test_pictures_that_show_nothing_are_no_near_copies():
    empty = [hash_appearance(np.full((64, 64), level, np.uint8)) for level in (0, 9, 200)]
    assert find_similar(empty, range(3)) == []


def test_pairs_by_an_independent_count():
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2, (400, 128))
    for i in range(0, 300, 3):
        bits[i + 1] = bits[i]
        bits[i + 1, rng.choice(128, rng.integers(0, 20), replace=False)] ^= 1
    hashes = [np.packbits(row).tobytes().hex() for row in bits]
    groups = rng.integers(0, 300, 400)
    apart, limit = (bits[:, None] != bits[None]).sum(-1), np.minimum(12, np.floor(bits.sum(1) * 0.2))
    near = (apart <= np.minimum(limit[:, None], limit[None])) & (groups[:, None] != groups[None])
    assert find_similar(hashes, groups) == [(i, j) for i, j in np.argwhere(near).tolist() if i < j]
