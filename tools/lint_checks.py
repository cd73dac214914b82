"""Checks of any packed data set, whatever its kind: one function a check, yielding what is wrong.

Checks of the whole set take a `Listing`; checks of one sample take a `Stored`, whose bytes already match their checksums.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.npy import read_npy
from tarpon.shards.pack import QUARANTINE
from tarpon.shards.quarantine import BadSample, Fault, parse_faults
from tarpon.shards.reader import Reader
from tarpon.shards.schema import Schema, sanitise_key
from tarpon.shards.split import check_leak
from tarpon.shards.store import NotThere
from tarpon.shards.writer import format_dali_index
from tarpon.tools.lint_listing import Listing


@dataclass(frozen=True, kw_only=True, order=True)
class Finding:
    """One thing that is wrong."""

    check: str
    where: str  # a file of the data set, or tar:key
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


WhereWhat = tuple[str, str]  # file or tar:key, what is wrong there


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """One sample as stored in its tar."""

    key: str
    row: dict[str, object]  # the manifest's
    files: dict[str, bytes]  # component name -> content; a component the sample lacks is left out
    card: dict


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """The checks of one kind of data set."""

    schema: Schema
    checks: dict[str, Callable[[Stored], Iterator[str]]]  # name -> what is wrong with a sample
    unprovable: str = ""  # what an earlier version took wrongly and its shards do not show any more
    nullable: frozenset[str] = frozenset()  # columns whose cells may be empty: what is not known of a sample
    label: str = ""  # column of what is learned, where copies of one picture under two labels would contradict each other
    find_near_copies: Callable[[pa.Table], Sequence[Fault]] = field(default=lambda rows: ())


def check_columns(manifest: Manifest, schema: Schema, *, nullable: Collection[str] = ()) -> Iterator[WhereWhat]:
    """The manifest has the kind's columns, of the kind's types, and the card the kind's components."""
    have, want = manifest.table.schema, schema.arrow()
    for name in want.names:
        if name not in have.names:
            yield from [] if name in schema.later else [("manifest.parquet", f"has no column {name}")]
        elif have.field(name).type != want.field(name).type:
            yield "manifest.parquet", f"column {name} is {have.field(name).type}, {want.field(name).type} is expected"
        elif name not in nullable and manifest.table[name].null_count:
            yield "manifest.parquet", f"column {name} has {manifest.table[name].null_count} empty cells"
    for name in sorted(set(have.names) - set(want.names)):
        yield "manifest.parquet", f"column {name} is not one of {schema.kind} data"
    listed, names = list(manifest.card.get("components", {})), [component.name for component in schema.components]
    if listed != names:
        yield "dataset.json", f"components are {', '.join(listed)}, {', '.join(names)} are expected"


def check_card(listing: Listing) -> Iterator[WhereWhat]:
    """The card counts what the manifest holds."""
    table, card = listing.manifest.table, listing.manifest.card
    split = card.get("split", {})
    for name, stated, found in (
        ("samples", card.get("samples"), len(table)),
        ("shards", card.get("shards"), len(listing.tars) + len(listing.broken)),
        ("splits", card.get("splits"), dict(Counter(table["split"].to_pylist()))),
        ("split.groups", split.get("groups"), len(set(table["group"].to_pylist()))),
    ):
        if stated != found:
            yield "dataset.json", f"{name} is {stated}, the data set has {found}"


def check_quarantine(listing: Listing) -> Iterator[WhereWhat]:
    """The quarantine is readable and holds as many entries as the card says."""
    try:
        found = sum(not fault.packed for fault in parse_faults(listing.store.read(QUARANTINE).decode()))
    except NotThere:
        yield QUARANTINE, "is missing"
        return
    except (TypeError, ValueError) as error:
        yield QUARANTINE, f"is not one fault a line ({error})"
        return
    stated = listing.manifest.card.get("quarantined")
    if found != stated:
        yield QUARANTINE, f"holds {found} entries, dataset.json says {stated}"


def check_keys(listing: Listing) -> Iterator[WhereWhat]:
    """Every key is there once and is one that WebDataset reads as a key."""
    for key, count in Counter(listing.manifest.table["key"].to_pylist()).items():
        if count > 1:
            yield "manifest.parquet", f"key {key} stands in {count} rows"
        if not key or sanitise_key(key) != key:
            yield "manifest.parquet", f"key {key!r} holds a character that is not a letter, digit, hyphen or underscore"


def check_splits(listing: Listing) -> Iterator[WhereWhat]:
    """No group and no source file is in two splits, and no split that was asked for is empty.

    A split that the source's own files gave (`split.given` of the card) may hold groups of others.
    """
    table, card = listing.manifest.table, listing.manifest.card.get("split", {})
    names = table["split"].to_pylist()
    for name in sorted(set(names) - set(SPLITS)):
        yield "manifest.parquet", f"split {name!r} is not one of {', '.join(SPLITS)}"
    given = card.get("given", ())
    for column, what, free in (("group", "", given), ("source_sha256", "one source file under two names: ", ())):
        try:
            check_leak(table[column].to_pylist(), names, given=free)
        except ValueError as error:
            yield "manifest.parquet", what + str(error)
    ratios = card.get("ratios", (1, 1, 1))
    for name, ratio in zip(SPLITS, ratios, strict=True):
        if ratio > 0 and name not in names:
            yield "manifest.parquet", f"the {name} split is empty"


def check_folds(listing: Listing) -> Iterator[WhereWhat]:
    """Where the data set has test folds, no group is in two of them."""
    table = listing.manifest.table
    if "fold" in table.column_names:
        try:
            check_leak(table["group"].to_pylist(), [f"fold {fold}" for fold in table["fold"].to_pylist()])
        except ValueError as error:
            yield "manifest.parquet", str(error)


def check_tars(listing: Listing) -> Iterator[WhereWhat]:
    """Every tar is there, and every component lies where the manifest says, with the size it says."""
    yield from listing.broken.items()
    extents = {
        name: {member.name: (member.offset_data, member.size) for member in members} for name, members in listing.tars.items()
    }
    for component in listing.schema.components:
        column = component.column
        for shard, key, offset, size in _rows(listing, "shard", "key", f"{column}_offset", f"{column}_size"):
            found = extents.get(shard, {}).get(f"{key}.{component.name}")
            if not size:
                if not component.optional:
                    yield f"{shard}:{key}", f"{component.name} has size 0 in the manifest; it is not optional"
            elif shard in extents and found != (offset, size):
                there = f"{found[1]} bytes at {found[0]}" if found else "not in the tar"
                yield f"{shard}:{key}", f"{component.name} is {there}, the manifest says {size} bytes at {offset}"


def _rows(listing: Listing, *names: str) -> Iterator[tuple]:
    """Some columns, a row at a time."""
    return zip(*(listing.manifest.table[name].to_pylist() for name in names), strict=True)


def check_members(listing: Listing) -> Iterator[WhereWhat]:
    """The tars hold no file that the manifest does not know, and none twice."""
    known: dict[str, set[str]] = {}
    for component in listing.schema.components:
        for shard, key, size in _rows(listing, "shard", "key", f"{component.column}_size"):
            if size:
                known.setdefault(shard, set()).add(f"{key}.{component.name}")
    for name, members in listing.tars.items():
        for member, count in Counter(member.name for member in members).items():
            if member not in known.get(name, set()):
                yield name, f"holds {member}, which the manifest does not know"
            if count > 1:
                yield name, f"holds {member} {count} times"
        for member in members:
            if not member.isreg():
                yield name, f"{member.name} is not a plain file"


def check_index(listing: Listing) -> Iterator[WhereWhat]:
    """Every tar has DALI's index beside it, and it says what the tar holds."""
    for name, members in listing.tars.items():
        index = name.removesuffix(".tar") + ".idx"
        extents: dict[str, dict[str, tuple[int, int]]] = {}
        for member in members:
            key, _, component = member.name.partition(".")
            extents.setdefault(key, {})[component] = (member.offset_data, member.size)
        try:
            if listing.store.read(index) != format_dali_index(extents).encode():
                yield index, f"does not agree with {name}"
        except NotThere:
            yield index, "is missing"


LISTING_CHECKS = {
    "card": check_card,
    "quarantine": check_quarantine,
    "keys": check_keys,
    "splits": check_splits,
    "folds": check_folds,
    "tars": check_tars,
    "strangers": check_members,
    "index": check_index,
}


def read_sample(manifest: Manifest, reader: Reader, schema: Schema, row: int) -> tuple[Stored, list[str]]:
    """A row's sample, and what is wrong with its checksums; `reader` must not verify by itself."""
    fields = manifest.table.slice(row, 1).to_pylist()[0]
    files, wrong = {}, []
    for component in schema.components:
        if not fields[f"{component.column}_size"]:
            continue
        try:
            content = reader.read(row, component.column)
        except BadSample as error:
            wrong.append(error.fault.reason)
            continue
        files[component.name] = content
        if hashlib.sha256(content).hexdigest() != fields[f"{component.column}_sha256"]:
            wrong.append(f"{component.name}: SHA-256 differs from the manifest")
    return Stored(key=fields["key"], row=fields, files=files, card=manifest.card), wrong


def load_array(sample: Stored, name: str, *, dtype: str, shape: tuple[int, ...]) -> tuple[np.ndarray | None, list[str]]:
    """A stored .npy as an array of this dtype and shape, or None and what is wrong with it."""
    content = sample.files[name]
    try:
        array = read_npy(content)
    except ValueError as error:
        return None, [f"{name} is no readable array ({error})"]
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        return None, [f"{name} is {array.dtype} {array.shape}, {np.dtype(dtype)} {shape} is expected"]
    return array, []


def compare_json(sample: Stored, component: str, names: Iterable[str], *, single: Collection[str] = ()) -> Iterator[str]:
    """Which columns `names` a JSON component lacks or states otherwise than the manifest; `single`: columns of float32."""
    found, wrong = load_json(sample, component)
    yield from wrong
    if wrong:
        return
    for name in (name for name in names if name in sample.row):  # later columns may be missing
        stored, value = found.get(name), sample.row[name]
        if name in single and isinstance(stored, int | float):
            stored = float(np.float32(stored))
        if name not in found:
            yield f"{component}: {name} is missing"
        elif stored != value:
            yield f"{component}: {name} is {stored}, the manifest says {value}"


def load_json(sample: Stored, name: str) -> tuple[dict, list[str]]:
    """A stored JSON object, or {} and what is wrong with it."""
    try:
        found = json.loads(sample.files[name])
    except ValueError as error:
        return {}, [f"{name} is not JSON ({error})"]
    if not isinstance(found, dict):
        return {}, [f"{name} holds a {type(found).__name__}, not an object"]
    return found, []
