"""FishNet's folder (`<Family>/<image>`, train.csv, test.csv) -> one sample an image.

A row of the annotations and a file belong together when folder and base name agree; the folder is the family. Trophic level,
feeding path and habitats are missing together on some rows: stored as null, never as zeros. What does not fit becomes a Fault.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tarpon.shards.pack import Packing
from tarpon.shards.quarantine import Fault, attempt
from tarpon.shards.schema import HASHES, Component, Sample, Schema, sanitise_key
from tarpon.shards.source import Scan, Source
from tarpon.shards.source_files import bring
from tarpon.shards.sources import images
from tarpon.shards.sources.copies import describe_near_copies, find_copies, find_equal
from tarpon.shards.sources.fish.rows import HABITATS, ORDERS, read_rows
from tarpon.shards.split import hold_out

RUN = 256  # images a unit
NULLABLE = ("order", "species", "genus", "troph", "feeding", "habitat")
SCHEMA = Schema(
    kind="fish",
    components=(
        Component(name="jpg", holds="the image, 8-bit RGB JPEG; the source's own bytes where they are one"),
        Component(name="json", holds="the sample's manifest row, readable without the manifest"),
    ),
    columns=(
        ("width", pa.int32()),  # pixels as stored
        ("height", pa.int32()),
        ("family", pa.string()),
        ("order", pa.string()),
        ("species", pa.string()),
        ("genus", pa.string()),
        ("troph", pa.float32()),  # trophic level, 2 to 5
        ("feeding", pa.string()),
        ("habitat", pa.list_(pa.int8())),  # (8,) 0 or 1 in the order of HABITATS
        *HASHES,
    ),
    later=frozenset(name for name, _ in HASHES),
)
LABELS = tuple(name for name, _ in SCHEMA.columns if name not in ("width", "height", *SCHEMA.later))


@dataclass(frozen=True, kw_only=True)
class FishSource:
    """What to read from a FishNet folder, and how."""

    order_column: str = (
        "NewOrder"  # NewOrder: up to its first slash, one a family; Order: as it stands, which differs by source
    )
    short_side: int = 512  # pixels; larger images are made smaller once, here. 0: never
    max_pixels: int = images.MAX_PIXELS  # a picture whose header tells of more is not decoded

    def __post_init__(self) -> None:
        if self.order_column not in ORDERS:
            raise ValueError(f"order_column={self.order_column!r} must be {' or '.join(ORDERS)}")
        images.check_limit(self.max_pixels)
        if self.short_side and self.short_side < 32:
            raise ValueError(f"short_side={self.short_side} must be 0 (keep the size) or 32 and more pixels")


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageUnit:
    """Some images with their rows."""

    root: str
    rows: pa.Table  # source, split, LABELS, bytes, mtime_ns
    source: FishSource

    def name(self) -> str:
        return f"{self.rows['source'][0]} and the {len(self.rows) - 1} after it"

    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.rows.to_pylist()).encode()).hexdigest()

    def size(self) -> int:
        return self.rows.num_rows

    def reads(self) -> list[Path]:
        return [Path(self.root) / name for name in self.rows["source"].to_pylist()]


def scan(root: Path, annotations: Path, source: FishSource) -> Scan:
    """Join files and rows by name. Reads the annotations, and of images only those that equal another one in size.

    The images are mixed over the units by a fixed permutation of their names, so that any few shards hold all families.
    """
    for folder in (root, annotations):
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder")
    files, faults = list_files(root)
    bring(annotations / "train.csv", annotations / "test.csv")
    rows, wrong = read_rows(annotations, order_column=source.order_column)
    faults += wrong
    alone = files.filter(pc.invert(pc.is_in(files["source"], value_set=rows["source"])))
    faults += [Fault(file=name, reason="no row in train.csv or test.csv") for name in alone["source"].to_pylist()]
    rows, wrong = _match_files(rows, files)
    faults += wrong
    for doubtful in (find_key_clashes, find_copied_images):
        reasons = doubtful(root, rows)
        faults += [Fault(file=rows["source"][i].as_py(), reason=reason) for i, reason in reasons.items()]
        rows = rows.take(np.setdiff1d(np.arange(len(rows)), list(reasons)).astype(int))
    mixed = rows.take(np.random.default_rng(0).permutation(len(rows)))
    # take, not slice: a slice would carry the whole table to another process
    runs = [mixed.take(np.arange(i, min(i + RUN, len(mixed)))) for i in range(0, len(mixed), RUN)]
    return Scan([ImageUnit(root=str(root), rows=run, source=source) for run in runs], faults)


def list_files(root: Path) -> tuple[pa.Table, list[Fault]]:
    """`<folder>/<file>` below the root as source, bytes, mtime_ns, in order of name; hidden folders are passed over."""
    found, faults = [], []
    for folder in sorted(os.scandir(root), key=lambda entry: entry.name):
        if folder.name.startswith("."):
            continue
        if not folder.is_dir():
            faults.append(Fault(file=folder.name, reason="not in a family's folder"))
            continue
        for entry in os.scandir(folder):
            name = f"{folder.name}/{entry.name}"
            if entry.name.startswith("."):
                if Path(name).suffix:
                    faults.append(Fault(file=name, reason=images.HIDDEN))
                continue
            if not entry.is_file():
                faults.append(Fault(file=name, reason="not a file"))
                continue
            state = entry.stat()
            found.append({"source": name, "bytes": state.st_size, "mtime_ns": state.st_mtime_ns})
    found.sort(key=lambda file: file["source"])
    schema = pa.schema([("source", pa.string()), ("bytes", pa.int64()), ("mtime_ns", pa.int64())])
    return pa.Table.from_pylist(found, schema=schema), faults


def _match_files(rows: pa.Table, files: pa.Table) -> tuple[pa.Table, list[Fault]]:
    """The sound rows that have one file each, in order of name, with bytes and mtime_ns; a fault for every other row."""
    counted = pc.value_counts(rows["source"])
    many = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    fault = pc.case_when(
        pc.make_struct(
            pc.is_in(rows["source"], value_set=many),
            pc.invert(pc.is_in(rows["source"], value_set=files["source"])),
        ),
        "more than one row for this image",
        "a row without an image",
        rows["fault"],
    )
    rows = rows.drop_columns("fault").append_column("fault", fault)
    wrong = rows.filter(pc.not_equal(fault, "")).select(["source", "line", "split", "fault"]).to_pylist()
    faults = [Fault(file=row["source"], row=row["line"], reason=f"{row['split']}.csv: {row['fault']}") for row in wrong]
    rows = rows.filter(pc.equal(fault, "")).drop_columns(["fault", "line"]).sort_by("source")
    place = pc.index_in(rows["source"], value_set=files["source"])
    for name in ("bytes", "mtime_ns"):
        rows = rows.append_column(name, files[name].take(place))
    return rows, faults


def find_key_clashes(_root: Path, rows: pa.Table) -> dict[int, str]:
    """Index whose key another one before them has, with the reason."""
    first: dict[str, str] = {}
    found = {}
    for i, name in enumerate(rows["source"].to_pylist()):
        if (other := first.setdefault(make_key(name), name)) != name:
            found[i] = f"named like {other}, but for the extension or signs that a key may not hold"
    return found


def find_copied_images(root: Path, rows: pa.Table) -> dict[int, str]:
    """Training images that are another file's bytes, with the reason; the test images are left as they were given."""
    return _explain_copies(rows, find_copies(root, rows["bytes"].to_numpy(), rows["source"].to_pylist()))


def find_equal_pixels(rows: pa.Table) -> dict[int, str]:
    """The same of packed rows whose pictures have equal pixels, however their files were saved."""
    return _explain_copies(rows, find_equal(rows["pixel_hash"].to_pylist()))


def _explain_copies(rows: pa.Table, groups: Iterable[list[int]]) -> dict[int, str]:
    """Of copies within one family the first in order of name stays, of copies in two families none: one label is wrong."""
    found = {}
    names, splits, families = (rows[name].to_pylist() for name in ("source", "split", "family"))
    for same in groups:
        train = sorted((i for i in same if splits[i] == "train"), key=names.__getitem__)
        if len({families[i] for i in same}) > 1:
            found |= dict.fromkeys(train, "the same picture is in another family's folder")
        elif len(train) < len(same):
            found |= dict.fromkeys(train, "the same picture is a test image")
        else:
            found |= dict.fromkeys(train[1:], "the same picture as another training image")
    return found


def find_near_copies(rows: pa.Table) -> list[Fault]:
    """A remark for every pair of near copies that are in two splits or two families."""
    return describe_near_copies(rows, label="family", groups=rows["source"].to_pylist())


def make_key(source: str) -> str:
    """`<family>/<file>` -> the sample's key."""
    return sanitise_key(str(PurePosixPath(source).with_suffix("")).replace("/", "-"))


def make(unit: ImageUnit) -> Iterator[Sample | Fault]:
    """Every image of a unit as a sample, or what keeps it from being one."""
    for listed in unit.rows.to_pylist():
        sample, fault = attempt(listed["source"], _make_sample, Path(unit.root), listed, unit.source)
        yield sample or fault


def _make_sample(root: Path, listed: dict, source: FishSource) -> Sample:
    content = (root / listed["source"]).read_bytes()
    picture = images.convert_to_jpeg(content, short_side=source.short_side, max_pixels=source.max_pixels, hashed=True)
    row = {
        "group": listed["species"] or listed["source"],
        "split": listed["split"],
        "source": listed["source"],
        "source_sha256": hashlib.sha256(content).hexdigest(),
        "width": picture.width,
        "height": picture.height,
        **{name: listed[name] for name in LABELS},
        "pixel_hash": picture.pixel_hash,
        "perceptual_hash": picture.perceptual_hash,
    }
    entries = json.dumps({name: value for name, value in row.items() if name != "split"})
    return Sample(key=make_key(listed["source"]), files={"jpg": picture.content, "json": entries.encode()}, row=row)


def assign(rows: pa.Table, *, options: FishSource, packing: Packing) -> list[str]:
    """test as the files say; validation cut from train, stratified by family, a species whole (see `hold_out`)."""
    splits = np.array(rows["split"].to_pylist(), "U5")
    train = np.flatnonzero(splits == "train")
    taken = rows.select(["family", "group"]).take(train).to_pydict()
    splits[train[hold_out(taken["family"], taken["group"], share=packing.split[1], seed=packing.seed)]] = "val"
    return splits.tolist()


def describe(rows: pa.Table, *, found: Scan, options: FishSource) -> dict:
    """The card's own entries: what `describe_labels` tells."""
    return describe_labels(rows)


def describe_labels(rows: pa.Table) -> dict:
    """The label names in the order of their indices, and what a user should know of the labels."""
    orders, species = defaultdict(set), defaultdict(set)
    for family, order, name, split in zip(
        *(rows[name].to_pylist() for name in ("family", "order", "species", "split")), strict=True
    ):
        orders[family].add(order)
        species[name].add(split)
    species.pop(None, None)
    return {
        "families": _sort_names(rows["family"]),
        "orders": _sort_names(rows["order"]),
        "habitats": list(HABITATS),
        "feeding": _sort_names(rows["feeding"]),
        "families_of_several_orders": sum(len(found - {None}) > 1 for found in orders.values()),
        "species": {
            "named": len(species),
            "in_train_or_val_and_test": sum(len(found) > 1 and "test" in found for found in species.values()),
        },
    }


def _sort_names(column: pa.ChunkedArray) -> list[str]:
    return sorted(column.drop_null().unique().to_pylist())


FISH = Source(
    schema=SCHEMA,
    scan=scan,
    make=make,
    assign=assign,
    describe=describe,
    hint=(
        "the images are not in family folders (<family>/<image>), the folders or file names are not those of the annotations' "
        "Folder and image columns, or --images is one folder too high or too low"
    ),
    shard_size=4096,  # a tar of about 250 MB
    find_copies=find_equal_pixels,
    find_near_copies=find_near_copies,
)
