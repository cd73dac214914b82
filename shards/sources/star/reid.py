"""Images of known animals -> one sample an image. Common to stars and wildlife: schema, copies, storing, the card.

Splits are decided in the scan, from the listed images; an image that does not decode is found later, when it is stored, and
`assign` repairs the splits of its identity.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa

from tarpon.shards.manifest import SPLITS
from tarpon.shards.pack import Packing
from tarpon.shards.quarantine import Fault, attempt
from tarpon.shards.schema import HASHES, Component, Sample, Schema, sanitise_key
from tarpon.shards.sources import images
from tarpon.shards.sources.copies import describe_near_copies, find_copies, find_equal
from tarpon.shards.sources.star.split import group_indices, repair_splits
from tarpon.shards.sources.star.summary import SUMMARY

RUN = 256  # images a unit
NAMED = 72  # characters of a path in a key: a tar's header has room for 100
MATTE = "black"  # behind cut-outs, as the padding of training
JOIN = "__"  # between data set and individual
PROTOCOL = (
    "validation: each val picture is searched in the train pictures; test: each test picture is searched in the train and val "
    "pictures; distractors are in the gallery and never asked; novel animals are asked and are in no gallery"
)
COLUMNS = (
    ("width", pa.int32()),  # pixels as stored
    ("height", pa.int32()),
    ("identity", pa.string()),  # <data set>__<individual>, unique over data sets
    ("dataset", pa.string()),
    ("species", pa.string()),
    ("date", pa.string()),  # YYYY-MM-DD, or "" where the day is not known
    ("session", pa.string()),  # what tells an animal's encounters apart: the date, undated:<folder>, a cluster, or ""
    ("outing", pa.string()),  # folder of the picture, relative to the data set's
    ("orientation", pa.string()),
    ("distractor", pa.bool_()),  # the identity has one session: never asked
    ("novel", pa.bool_()),  # the identity is in no gallery
    *HASHES,
)
SCHEMA = Schema(
    kind="reid",
    components=(
        Component(name="jpg", holds="the picture, 8-bit RGB JPEG; the source's own bytes where they are one"),
        Component(name="json", holds="the sample's manifest row, readable without the manifest"),
    ),
    columns=COLUMNS,
    later=frozenset(name for name, _ in HASHES),
    summary=SUMMARY,
)
LABELS = tuple(name for name, _ in COLUMNS if name not in ("width", "height", *SCHEMA.later))
LISTED = pa.schema(
    [("source", pa.string()), ("group", pa.string()), ("split", pa.string())]
    + [column for column in COLUMNS if column[0] in LABELS]
    + [("bytes", pa.int64()), ("mtime_ns", pa.int64())]
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageUnit:
    """Up to RUN images with their rows."""

    root: str
    rows: pa.Table  # LISTED
    longest_side: int  # pixels
    max_pixels: int = images.MAX_PIXELS

    def name(self) -> str:
        return f"{self.rows['source'][0]} and the {len(self.rows) - 1} after it"

    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps([self.rows.to_pylist(), self.longest_side, self.max_pixels]).encode()).hexdigest()

    def size(self) -> int:
        return self.rows.num_rows

    def reads(self) -> list[Path]:
        return [Path(self.root) / name for name in self.rows["source"].to_pylist()]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReidScan:
    """A `Scan` of `shards/source.py` with entries of the card."""

    units: list[ImageUnit]
    faults: list[Fault]
    stars: bool  # sea stars among them: not to be trained together with the star data set
    notes: tuple[str, ...] = ()  # lines for the user
    undated: tuple[str, ...] = ()  # folders whose names have digits and no date


def check_side(longest_side: int) -> None:
    """ValueError unless the side is 0 (keep the size) or 32 and more pixels."""
    if longest_side and longest_side < 32:
        raise ValueError(f"longest_side={longest_side} must be 0 (keep the size) or 32 and more pixels")


def make_identity(dataset: str, name: str, *, joins: Sequence[str] = (JOIN,)) -> str:
    """`<data set>__<individual>` for an individual's name, which may already start with its data set and one of `joins`."""
    for front in (dataset + join for join in joins):
        if name.startswith(front) and len(name) > len(front):
            return dataset + JOIN + name.removeprefix(front)
    return dataset + JOIN + name


def check_names(rows: Iterable[dict]) -> None:
    """ValueError where two names of a metadata file (`named`) would be one `identity`."""
    first: dict[str, str] = {}
    for row in rows:
        if (other := first.setdefault(row["identity"], row["named"])) != row["named"]:
            raise ValueError(f"identities {other!r} and {row['named']!r} would both be {row['identity']}; rename one")


def make_group(identity: str, session: str, source: str) -> str:
    """The group that no split divides: an identity's session; an image without a session is its own group."""
    return f"{identity}|{session or source}"


def make_key(source: str) -> str:
    """Path of an image -> the sample's key: the path's end, and a hash, because replaced characters could make keys equal."""
    name = sanitise_key(str(PurePosixPath(source).with_suffix("")).replace("/", "-"))
    return f"{name[-NAMED:]}-{hashlib.sha256(source.encode()).hexdigest()[:8]}"


def drop_copies(root: Path, rows: Sequence[dict]) -> tuple[list[dict], list[Fault]]:
    """The rows without files of the same bytes, one row of each set of copies, and a fault for every other row."""
    same = find_copies(root, np.array([row["bytes"] for row in rows], np.int64), [row["source"] for row in rows])
    reasons = _explain_copies(rows, same)
    return (
        [row for i, row in enumerate(rows) if i not in reasons],
        [Fault(file=rows[i]["source"], reason=reason) for i, reason in reasons.items()],
    )


def find_equal_pixels(rows: pa.Table, *, given: bool = False) -> dict[int, str]:
    """Packed rows to leave out, and why: of pictures with equal pixels, however they were saved, one stays.

    Args:
        given: the source's own file tells the splits. Where days do, a test picture is one of the latest day, and the same
            picture of an earlier day is the one whose day is right.
    """
    listed = rows.select(["source", "identity", "split", "date"]).to_pylist()
    listed = listed if given else [row | {"split": ""} for row in listed]
    return _explain_copies(listed, find_equal(rows["pixel_hash"].to_pylist()))


def _explain_copies(rows: Sequence[dict], groups: Iterable[list[int]]) -> dict[int, str]:
    """Index -> reason of copies that are left out.

    Of copies of one identity the given test image stays, else the earliest dated, else the first by name. Of copies under two
    identities none stays: one label is wrong.
    """
    reasons: dict[int, str] = {}
    for same in groups:
        if len({rows[i]["identity"] for i in same}) > 1:
            reasons |= dict.fromkeys(same, "the same picture is there under another identity")
            continue
        first = min(same, key=lambda i: (rows[i]["split"] != "test", not rows[i]["date"], rows[i]["date"], rows[i]["source"]))
        reasons |= dict.fromkeys((i for i in same if i != first), "the same picture as another one of this identity")
    return reasons


def find_near_copies(rows: pa.Table) -> list[Fault]:
    """A remark for every pair of near copies in two splits or of two animals; pictures of one session may look alike."""
    return describe_near_copies(rows, label="identity", groups=rows["group"].to_pylist())


def cut_units(root: Path, rows: Sequence[dict], *, longest_side: int, max_pixels: int = images.MAX_PIXELS) -> list[ImageUnit]:
    """Rows (the columns of LISTED; others are ignored) as units.

    The images are in a fixed random order, so that any few shards hold many identities.
    """
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["source"]), schema=LISTED)
    mixed = table.take(np.random.default_rng(0).permutation(len(table)))
    # take, not slice: a slice would carry the whole table to another process
    runs = [mixed.take(np.arange(i, min(i + RUN, len(mixed)))) for i in range(0, len(mixed), RUN)]
    return [ImageUnit(root=str(root), rows=run, longest_side=longest_side, max_pixels=max_pixels) for run in runs]


def make(unit: ImageUnit) -> Iterator[Sample | Fault]:
    """Every image of a unit as a sample, or its fault."""
    for listed in unit.rows.to_pylist():
        sample, fault = attempt(listed["source"], _make_sample, Path(unit.root), listed, unit)
        yield sample or fault


def _make_sample(root: Path, listed: dict, unit: ImageUnit) -> Sample:
    content = (root / listed["source"]).read_bytes()
    jpeg = images.convert_to_jpeg(content, longest_side=unit.longest_side, matte=MATTE, max_pixels=unit.max_pixels, hashed=True)
    row = {
        "group": listed["group"],
        "split": listed["split"],
        "source": listed["source"],
        "source_sha256": hashlib.sha256(content).hexdigest(),
        "width": jpeg.width,
        "height": jpeg.height,
        **{name: listed[name] for name in LABELS},
        "pixel_hash": jpeg.pixel_hash,
        "perceptual_hash": jpeg.perceptual_hash,
    }
    entries = json.dumps({name: value for name, value in row.items() if name != "split"})
    return Sample(key=make_key(listed["source"]), files={"jpg": jpeg.content, "json": entries.encode()}, row=row)


def assign(rows: pa.Table, *, options: object, packing: Packing) -> list[str]:
    """The splits of the scan, repaired where an identity lost all its images of a split to the quarantine."""
    return repair_splits(*(rows[name].to_pylist() for name in ("identity", "split", "novel")))


def describe(rows: pa.Table, *, found: ReidScan, options: object) -> dict:
    """The card's entries: data sets, identities by role, protocol, notes and warnings."""
    identity, split, group = (rows[name].to_pylist() for name in ("identity", "split", "group"))
    asked = {
        part: {
            name
            for name, where, new in zip(identity, split, rows["novel"].to_pylist(), strict=True)
            if where == part and not new
        }
        for part in SPLITS
    }
    roles = _group_by_role(rows)
    return {
        "datasets": sorted(set(rows["dataset"].to_pylist())),
        "stars": found.stars,
        "identities": len(set(identity)),
        "evaluable": {part: len(asked[part]) for part in ("val", "test")},
        "distractors": len(roles["distractor"]),
        "novel": len(roles["novel"]),
        "protocol": PROTOCOL,
        "undated": list(found.undated),
        "notes": list(found.notes),
        "warnings": _find_warnings(asked, group, split),
    }


def _group_by_role(rows: pa.Table) -> dict[str, set[str]]:
    identity = np.array(rows["identity"].to_pylist(), object)
    return {role: set(identity[rows[role].to_numpy(zero_copy_only=False)]) for role in ("distractor", "novel")}


def _find_warnings(asked: Mapping[str, set[str]], group: Sequence[str], split: Sequence[str]) -> list[str]:
    """Reasons why scores on this data set are less meaningful than they look, a line each."""
    found = []
    if not asked["test"]:
        found.append("no identity can be tested: none has pictures of a later session")
    if not asked["val"]:
        found.append("no identity can be validated on: none trains on two sessions or more")
    cut = sum({"test"} < {split[i] for i in places} for places in group_indices(group).values())
    if cut:
        found.append(f"{cut} sessions are in test and in train or val, as the file says: scores are better than in the field")
    return found
