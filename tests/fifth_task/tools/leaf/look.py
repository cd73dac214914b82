"""Leaves to look at: species by split, and a contact sheet."""

import io
from collections import Counter
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.reader import Reader
from tarpon.tools.contact_sheet import contact_sheet
from tarpon.tools.look import Preview
from tarpon.tools.table import table


def tables(manifest: Manifest) -> Iterator[str]:
    """Pictures of each species in each split."""
    counts = Counter(zip(manifest.column("species"), manifest.column("split"), strict=True))
    rows = [[name, *(counts[name, split] for split in SPLITS)] for name in manifest.card["classes"]]
    yield from table(["species", *SPLITS], rows)


def sheet(manifest: Manifest, *, count: int, seed: int) -> bytes:
    """A PNG of `count` pictures at most, as many of each species."""
    rng, species = np.random.default_rng(seed), manifest.column("species")
    share = max(1, count // len(manifest.card["classes"]))
    rows = [row for name in manifest.card["classes"] for row in rng.permutation(np.flatnonzero(species == name))[:share]]
    reader = Reader(manifest)
    pictures = [Image.open(io.BytesIO(reader.read(int(row), "jpg"))) for row in rows]
    return contact_sheet(pictures, [[str(species[row])] for row in rows])


PREVIEW = Preview(tables=tables, sheet=sheet)
