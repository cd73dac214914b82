"""SHA-256 of a feature cache's files, in its card: of every run of rows, of all else in the file, of the labels and the card.

The bytes are hashed where the card says that they lie, before Arrow looks at them, so that a damaged file is named and never
read. N rows, D numbers of a vector.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

CHECKSUMS = "checksums"  # the entry of the card
BLOCK = 8 * 2**20  # bytes hashed at a time
AGAIN = "copy the folder again, or extract the features again"


def make(features: Path, labels: Path, card: Mapping, *, chunk_rows: int) -> dict:
    """The card with its checksums.

    Args:
        features: a whole Arrow file of one record batch with the column `feature`. labels: the rows' labels.
        card: all other entries, count, dim and dtype among them.
        chunk_rows: rows that share a checksum.
    """
    with pa.memory_map(str(features)) as mapped:
        start = mapped.read_buffer(1).address
        offset = pa.ipc.open_file(mapped).get_batch(0).column("feature").values.buffers()[1].address - start
    layout = {"offset": offset, "chunk_rows": chunk_rows}
    places = list(_chunks(card, layout))
    held = {
        **layout,
        "chunks": [_hash(features, begin, end) for begin, end in places],
        "rest": _rest(features, offset, places[-1][1]),
        "labels": _hash(labels, 0, None),
    }
    whole = {**card, CHECKSUMS: held}
    return {**card, CHECKSUMS: {**held, "card": _of_card(whole)}}


def find_damage(root: Path, card: Mapping, *, features: str, labels: str, name: str) -> Iterator[tuple[str, str]]:
    """(file, what is wrong with it) of all that is not as the card says; nothing for a card without checksums.

    Args:
        features, labels, name: what the files in `root` are called; name: the card itself.
    """
    held = card.get(CHECKSUMS)
    if held is None:
        return
    try:
        if held["card"] != _of_card(card):
            yield name, "checksum of the card differs"
            return
        places = list(_chunks(card, held))
    except (TypeError, KeyError, AttributeError):
        yield name, "checksums are not readable"
        return
    if (root / labels).stat().st_size == 0 or _hash(root / labels, 0, None) != held["labels"]:
        yield labels, "checksum differs from the card"
    size = (root / features).stat().st_size
    if size < places[-1][1]:
        yield features, f"{size} bytes, the vectors alone reach to {places[-1][1]}: the file is cut short"
        return
    for number, (begin, end) in enumerate(places):
        if _hash(root / features, begin, end) != held["chunks"][number]:
            first = number * held["chunk_rows"]
            last = min(first + held["chunk_rows"], card["count"]) - 1
            yield features, f"chunk {number} (rows {first} to {last}, offset {begin}): checksum differs from the card"
    if _rest(root / features, held["offset"], places[-1][1]) != held["rest"]:
        yield features, "what stands around the vectors (columns and row numbers): checksum differs from the card"


def _chunks(card: Mapping, layout: Mapping) -> Iterator[tuple[int, int]]:
    """First byte and end of every run of rows in the file."""
    row = card["dim"] * {"fp16": 2, "fp32": 4}[card["dtype"]]
    for first in range(0, card["count"], layout["chunk_rows"]):
        last = min(first + layout["chunk_rows"], card["count"])
        yield layout["offset"] + first * row, layout["offset"] + last * row


def _hash(path: Path, begin: int, end: int | None) -> str:
    digest = hashlib.sha256()
    _feed(digest, path, begin, end)
    return digest.hexdigest()


def _rest(path: Path, begin: int, end: int) -> str:
    """Of what lies before `begin` and from `end` on."""
    digest = hashlib.sha256()
    _feed(digest, path, 0, begin)
    _feed(digest, path, end, None)
    return digest.hexdigest()


def _feed(digest: "hashlib._Hash", path: Path, begin: int, end: int | None) -> None:
    with open(path, "rb") as file:
        file.seek(begin)
        left = (os.fstat(file.fileno()).st_size if end is None else end) - begin
        while left > 0 and (part := file.read(min(BLOCK, left))):
            digest.update(part)
            left -= len(part)


def _of_card(card: Mapping) -> str:
    """Of every entry but this checksum itself."""
    held = {name: value for name, value in card[CHECKSUMS].items() if name != "card"}
    text = json.dumps({**card, CHECKSUMS: held}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
