"""Pictures of known animals to look at: data sets, identities, sessions, the protocol, and a contact sheet by animal."""

import io
from collections import Counter
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.reader import Reader
from tarpon.shards.sources.star.split import group_indices
from tarpon.tools.contact_sheet import COLUMNS, contact_sheet
from tarpon.tools.look import Preview
from tarpon.tools.star import pack
from tarpon.tools.table import table

SHOWN = 20  # data sets that are listed


def format_tables(manifest: Manifest) -> Iterator[str]:
    """Lines on data sets, the protocol, sessions in time, and what to beware of."""
    card = manifest.card
    yield from _datasets(manifest)
    yield ""
    yield from pack.format_splits(manifest)
    yield f"{card['protocol']}."
    yield (
        f"asked: {card['evaluable']['val']} identities in validation, {card['evaluable']['test']} in test; sea stars: "
        f"{'yes' if card['stars'] else 'no'}"
    )
    yield ""
    yield from _sessions(manifest)
    yield from pack.format_undated(manifest)
    yield from (f"note: {line}" for line in card["notes"])
    yield from (f"WARNING: {line}" for line in card["warnings"])


def _datasets(manifest: Manifest) -> Iterator[str]:
    dataset, identity, split = (manifest.column(name) for name in ("dataset", "identity", "split"))
    ranked = sorted(Counter(dataset.tolist()).items(), key=lambda item: (-item[1], item[0]))
    rows = []
    for name, count in ranked[:SHOWN]:
        own = dataset == name
        rows.append([name, len(set(identity[own])), count, *(int((own & (split == part)).sum()) for part in SPLITS)])
    if rest := ranked[SHOWN:]:
        own = np.isin(dataset, [name for name, _ in rest])
        parts = (int((own & (split == part)).sum()) for part in SPLITS)
        rows.append([f"{len(rest)} more", len(set(identity[own])), int(own.sum()), *parts])
    yield from table(["dataset", "identities", "pictures", *SPLITS], rows)


def _sessions(manifest: Manifest) -> Iterator[str]:
    """How many pictures and sessions an identity has, and over how long it was seen."""
    identity, date, group = (manifest.column(name) for name in ("identity", "date", "group"))
    own = group_indices(identity.tolist())
    pictures = np.array([len(places) for places in own.values()])
    sessions = np.array([len(set(group[places])) for places in own.values()])
    each = f"{pictures.min()} to {pictures.max()}, median {np.median(pictures):g}, mean {pictures.mean():.1f}"
    yield f"pictures an identity: {each}"
    yield f"sessions an identity: {sessions.min()} to {sessions.max()}; {int((sessions > 1).sum())} identities have two or more"
    dated = date[date != ""]
    if len(dated):
        spans = [
            np.ptp(days) / np.timedelta64(1, "D") for days in (_days(date[places]) for places in own.values()) if len(days)
        ]
        yield (
            f"dates: {min(dated)} to {max(dated)}, {int((date == '').sum())} pictures undated; an identity is seen over "
            f"{np.median(spans):g} days (median; at most {max(spans):g})"
        )
    side = np.maximum(manifest.column("width"), manifest.column("height"))
    size = manifest.column("jpg_size")
    sides = f"longer side {side.min()} to {side.max()} pixels (median {np.median(side):g})"
    yield f"pictures: {sides}, {size.sum() / 2**20:.1f} MiB, {size.mean() / 1024:.0f} KiB each"


def _days(dates: np.ndarray) -> np.ndarray:
    return dates[dates != ""].astype("datetime64[D]")


def pick_rows(manifest: Manifest, *, count: int, seed: int) -> list[int]:
    """`count` rows at most: a line of the sheet an identity, its sessions first, those that are asked in test before others."""
    rng = np.random.default_rng(seed)
    identity, split, group = (manifest.column(name).tolist() for name in ("identity", "split", "group"))
    own = group_indices(identity)
    order = [list(own)[i] for i in rng.permutation(len(own))]
    order.sort(key=lambda name: -len({split[i] for i in own[name]}))
    taken: list[int] = []
    for name in order:
        seen: Counter[str] = Counter()
        turns = []
        for i in rng.permutation(own[name]).tolist():
            turns.append((seen[group[i]], group[i], i))
            seen[group[i]] += 1
        taken += [i for _, i in sorted((group[i], i) for _, _, i in sorted(turns)[:COLUMNS])]
        if len(taken) >= count:
            break
    return taken[:count]


def draw_sheet(manifest: Manifest, *, count: int, seed: int) -> bytes:
    """A PNG: pictures with identity, session and split, those of an identity beside each other."""
    reader, pictures, captions = Reader(manifest), [], []
    for row in pick_rows(manifest, count=count, seed=seed):
        with Image.open(io.BytesIO(reader.read(row, "jpg"))) as picture:
            pictures.append(picture.convert("RGB"))
        known = manifest.table.slice(row, 1).to_pylist()[0]
        role = "distractor" if known["distractor"] else "novel" if known["novel"] else known["split"]
        captions.append((known["identity"], known["session"] or known["outing"], role))
    reader.close()
    return contact_sheet(pictures, captions)


PREVIEW = Preview(tables=format_tables, sheet=draw_sheet)
