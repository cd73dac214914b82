"""Fish images to look at: families by frequency, what is missing, and a contact sheet."""

import io
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.reader import Reader
from tarpon.shards.sources.fish.source import NULLABLE
from tarpon.tools.contact_sheet import contact_sheet
from tarpon.tools.look import Preview
from tarpon.tools.table import table

SHOWN = 15  # families that are listed


def format_tables(manifest: Manifest) -> Iterator[str]:
    """Lines on families, orders, habitats, and what is missing."""
    yield from _families(manifest)
    yield ""
    yield from _habitats(manifest)
    yield ""
    yield from _missing(manifest)
    yield ""
    yield from _images(manifest)


def count_families(manifest: Manifest) -> list[tuple[str, int]]:
    """Families with their images, the largest first, equal ones by name."""
    return sorted(Counter(manifest.table["family"].to_pylist()).items(), key=lambda item: (-item[1], item[0]))


def _families(manifest: Manifest) -> Iterator[str]:
    ranked, card = count_families(manifest), manifest.card
    counts = np.array([count for _, count in ranked])
    quarters = ", ".join(f"{value:g}" for value in np.quantile(counts, [0.25, 0.5, 0.75]))
    yield (
        f"families: {len(ranked)}, of {counts.max()} to {counts.min()} images (quartiles {quarters}); {(counts == 1).sum()} of "
        f"one image; the ten largest hold {counts[:10].sum() / counts.sum():.1%}"
    )
    yield (
        f"orders: {len(card['orders'])} ({card['settings']['order_column']}); {card['families_of_several_orders']} families "
        f"carry several; species: {card['species']['named']} named, {card['species']['in_train_or_val_and_test']} of them in "
        f"train or val and in test"
    )
    by_split = {split: Counter(manifest.table["family"].take(pa.array(manifest.rows(split))).to_pylist()) for split in SPLITS}
    orders = dict(zip(manifest.table["family"].to_pylist(), manifest.table["order"].to_pylist(), strict=True))
    rows = [[name, orders[name] or "", count, *(by_split[split][name] for split in SPLITS)] for name, count in ranked[:SHOWN]]
    if rest := ranked[SHOWN:]:
        left = [sum(by_split[split][name] for name, _ in rest) for split in SPLITS]
        rows.append([f"{len(rest)} more", "", sum(left), *left])
    yield from table(["family", "order", "images", *SPLITS], rows)


def _habitats(manifest: Manifest) -> Iterator[str]:
    labelled = manifest.table.filter(pc.is_valid(manifest.table["habitat"]))
    if not len(labelled):
        return
    on = np.array(labelled["habitat"].to_pylist()).mean(0)
    yield from table(
        ["habitat", "share of labelled"], [[n, float(p)] for n, p in zip(manifest.card["habitats"], on, strict=True)]
    )
    troph = labelled["troph"].to_numpy()
    feeding = Counter(labelled["feeding"].to_pylist()).most_common()
    yield f"trophic level: {troph.min():.2f} to {troph.max():.2f}, mean {troph.mean():.3f}, sd {troph.std():.3f}"
    yield "feeding: " + ", ".join(f"{name} {count / len(labelled):.1%}" for name, count in feeding)


def _missing(manifest: Manifest) -> Iterator[str]:
    rows = [[name, int(gone := manifest.table[name].null_count), gone / len(manifest)] for name in NULLABLE]
    yield from table(["missing", "images", "share"], rows)


def _images(manifest: Manifest) -> Iterator[str]:
    width, height, size = (manifest.column(name) for name in ("width", "height", "jpg_size"))
    short = np.minimum(width, height)
    sides = f"shorter side {short.min()} to {short.max()} pixels (median {np.median(short):g})"
    yield f"images: {sides}, {size.sum() / 2**20:.1f} MiB, {size.mean() / 1024:.0f} KiB each"


def pick_rows(manifest: Manifest, *, count: int, seed: int) -> list[int]:
    """`count` rows at most, shared out evenly over the families, the largest family first; no row twice."""
    rng = np.random.default_rng(seed)
    members: dict[str, list[int]] = {name: [] for name, _ in count_families(manifest)}
    families = manifest.table["family"].to_pylist()
    for row in rng.permutation(len(manifest)).tolist():
        members[families[row]].append(row)
    taken: list[int] = []
    turn = 0
    while len(taken) < min(count, len(manifest)):
        taken += [rows[turn] for rows in members.values() if turn < len(rows)]
        turn += 1
    rank_of = {name: rank for rank, name in enumerate(members)}
    return sorted(taken[:count], key=lambda row: rank_of[families[row]])


def draw_sheet(manifest: Manifest, *, count: int, seed: int) -> bytes:
    """A PNG: images with family, order, trophic level and split."""
    reader, pictures, captions = Reader(manifest), [], []
    for row in pick_rows(manifest, count=count, seed=seed):
        with Image.open(io.BytesIO(reader.read(row, "jpg"))) as picture:
            pictures.append(picture.convert("RGB"))
        known = manifest.table.slice(row, 1).to_pylist()[0]
        troph = "attributes missing" if known["troph"] is None else f"troph {known['troph']:.2f}, {known['feeding']}"
        captions.append((known["family"], known["species"] or known["order"] or "", f"{troph}, {known['split']}"))
    reader.close()
    return contact_sheet(pictures, captions)


PREVIEW = Preview(tables=format_tables, sheet=draw_sheet)
