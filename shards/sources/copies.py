"""Pictures that are there twice: files of the same bytes, equal pixels however they were saved, and near copies.

A near copy is the same picture at another bit depth, brightness or size, compressed again, or cut by about 1% at its edges. It
is told, never refused: pictures of one kind may look alike.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from tarpon.shards.quarantine import Fault
from tarpon.shards.source_files import brought

TAIL = 512  # bytes at the end of a file that differ between most images of one size
GRID = 8  # steps of brightness along each side that make up a perceptual hash: 2 x GRID x GRID bits
FINE = 72  # pixels of a side to which a picture is averaged first
NEAR_SHARE, NEAR_BITS = 0.2, 12  # near copies differ in at most this share of the steps up, and in at most so many bits
# on 65 px microscopy another depth, brightness, gamma or noise change up to 10 of 128 bits; other positions differ in 30 and up
BLOCK = 256  # hashes compared with all others at a time


def find_copies(root: Path, sizes: np.ndarray, names: Sequence[str]) -> list[list[int]]:
    """Groups of two or more files with the same bytes, as indices into `names`, each ascending; empty files are left out.

    Files of equal size are compared by their last bytes, and those that agree by all bytes: few files are read whole.

    Args:
        sizes: (files,) bytes of each.
        names: below `root`.
    """

    def last(path: Path) -> bytes:
        with open(path, "rb") as file:
            file.seek(-min(TAIL, path.stat().st_size), os.SEEK_END)
            return file.read()

    def whole(path: Path) -> bytes:
        return hashlib.sha256(path.read_bytes()).digest()

    order = np.argsort(sizes, kind="stable")
    cuts = np.flatnonzero(np.diff(sizes[order])) + 1
    alike = [part.tolist() for part in np.split(order, cuts) if len(part) > 1 and sizes[part[0]]]
    for tell in (last, whole):
        members = [i for part in alike for i in part]
        values = dict(zip(members, map(tell, brought([root / names[i] for i in members])), strict=True))
        finer = []
        for part in alike:
            told = defaultdict(list)
            for i in part:
                told[values[i]].append(i)
            finer += [same for same in told.values() if len(same) > 1]
        alike = finer
    return alike


def hash_pixels(pixels: np.ndarray) -> str:
    """32 hexadecimal digits that pictures of equal pixels, shape and depth share, and no others."""
    digest = hashlib.sha256(f"{pixels.dtype.name} {pixels.shape}".encode())
    digest.update(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")))
    return digest.hexdigest()[:32]


def hash_appearance(pixels: np.ndarray) -> str:
    """A perceptual hash, 32 hexadecimal digits: where brightness rises along rows, then along columns, of a coarse grid.

    Args:
        pixels: (H, W) or (H, W, colours) of any depth.
    """
    step = max(min(pixels.shape[:2]) // (FINE * 4), 1)  # every third pixel of a megapixel is enough, in a tenth of the time
    pixels = pixels[::step, ::step]
    if pixels.dtype == np.uint8:
        picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("L").resize((FINE, FINE), Image.Resampling.BOX)
    else:
        grey = pixels.astype(np.float32)
        picture = Image.fromarray(grey.mean(-1) if grey.ndim == 3 else grey).resize((FINE, FINE), Image.Resampling.BOX)
    coarse = np.asarray(Image.fromarray(np.asarray(picture, np.float32)).resize((GRID + 1, GRID + 1), Image.Resampling.BOX))
    rises = np.stack([coarse[:-1, 1:] > coarse[:-1, :-1], coarse[1:, :-1] > coarse[:-1, :-1]])
    return np.packbits(rises).tobytes().hex()


def find_equal(hashes: Sequence[str]) -> list[list[int]]:
    """Groups of two or more indices with one hash, each ascending, in order of their first."""
    told = defaultdict(list)
    for i, value in enumerate(hashes):
        told[value].append(i)
    return [same for same in told.values() if len(same) > 1]


def find_similar(hashes: Sequence[str], groups: Sequence[object]) -> list[tuple[int, int]]:
    """Pairs (i < j) of near copies of two groups, by their perceptual hashes.

    Every hash is compared with every other: 20,000 take 2 s of a core, 100,000 a minute.
    """
    if len(hashes) < 2:
        return []
    words = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(len(hashes), -1)
    number = np.unique(np.asarray(groups, object).astype(str), return_inverse=True)[1]
    limit = np.minimum(np.bitwise_count(words).sum(1) * NEAR_SHARE, NEAR_BITS).astype(np.int16)
    pairs = []
    for begin in range(0, len(words), BLOCK):
        own, rest = words[begin : begin + BLOCK], words[begin + 1 :]
        apart = np.zeros((len(own), len(rest)), np.uint8)
        for word in range(words.shape[1]):
            apart += np.bitwise_count(own[:, None, word] ^ rest[None, :, word])
        i, j = np.nonzero(apart <= NEAR_BITS)
        bits, i, j = apart[i, j], i + begin, j + begin + 1
        allowed = np.minimum(limit[i], limit[j])  # 0 of pictures that show nothing, which are all alike
        kept = (i < j) & (number[i] != number[j]) & (bits <= allowed) & (allowed > 0)
        pairs += zip(i[kept].tolist(), j[kept].tolist(), strict=True)
    return pairs


def describe_near_copies(rows: pa.Table, *, label: str, groups: Sequence[object]) -> list[Fault]:
    """A remark for every pair of near copies that stand in two splits or under two labels.

    Args:
        rows: of the manifest, with splits and perceptual hashes.
        label: column of what is learned.
        groups: of every row; within one of them pictures may look alike.
    """
    names, splits, labels = (rows[name].to_pylist() for name in ("source", "split", label))
    found = []
    for i, j in find_similar(rows["perceptual_hash"].to_pylist(), groups):
        differ = [
            f"{what} ({one} and {other})"
            for what, one, other in (("split", splits[i], splits[j]), (label, labels[i], labels[j]))
            if one != other
        ]
        if differ:
            reason = f"looks like {names[j]}, in another {' and another '.join(differ)}: look at both"
            found.append(Fault(file=names[i], reason=reason, packed=True))
    return found
