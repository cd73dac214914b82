"""Pictures of leaves (`<species>/<plant>_<number>.jpg`) -> one sample a picture; the leaves of a plant stay together."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tarpon.shards.pack import Packing, split_by_group
from tarpon.shards.quarantine import Fault, attempt
from tarpon.shards.schema import Component, Sample, Schema, sanitise_key
from tarpon.shards.source import Scan, Source
from tarpon.shards.sources import images

SCHEMA = Schema(
    kind="leaf",
    components=(Component(name="jpg", holds="the picture, 8-bit RGB JPEG"),),
    columns=(("width", pa.int32()), ("height", pa.int32()), ("species", pa.string())),
)


@dataclass(frozen=True, kw_only=True)
class LeafSource:
    """How pictures of leaves are stored."""

    short_side: int = 256  # pixels; larger pictures are made smaller once, here. 0: never

    def __post_init__(self) -> None:
        if self.short_side < 0:
            raise ValueError(f"short_side={self.short_side} must be 0 (keep the size) or a number of pixels")


@dataclass(frozen=True, kw_only=True)
class LeafPicture:
    """One picture of the folder."""

    root: str
    file: str  # <species>/<plant>_<number>.<extension>
    bytes: int
    mtime_ns: int
    short_side: int

    def name(self) -> str:
        return self.file

    def fingerprint(self) -> str:
        return f"{self.file}:{self.bytes}:{self.mtime_ns}:{self.short_side}"

    def size(self) -> int:
        return 1


def scan(root: Path, options: LeafSource) -> Scan:
    """Every file one folder below the root, in order of name."""
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    units, faults = [], []
    for path in sorted(root.glob("*/*")):
        file, state = path.relative_to(root).as_posix(), path.stat()
        if "_" not in path.stem:
            faults.append(Fault(file=file, reason="the name tells no plant; <plant>_<number> is expected"))
            continue
        picture = {"file": file, "bytes": state.st_size, "mtime_ns": state.st_mtime_ns}
        units.append(LeafPicture(root=str(root), short_side=options.short_side, **picture))
    return Scan(units, faults)


def make(unit: LeafPicture) -> Iterator[Sample | Fault]:
    """The picture as a sample, or what keeps it from being one."""
    sample, fault = attempt(unit.file, _sample, unit)
    yield sample or fault


def _sample(unit: LeafPicture) -> Sample:
    content = (Path(unit.root) / unit.file).read_bytes()
    picture = images.convert_to_jpeg(content, short_side=unit.short_side)
    row = {
        "group": unit.file.rpartition("_")[0],
        "source": unit.file,
        "source_sha256": hashlib.sha256(content).hexdigest(),
        "width": picture.width,
        "height": picture.height,
        "species": unit.file.partition("/")[0],
    }
    return Sample(key=sanitise_key(unit.file.rpartition(".")[0]), files={"jpg": picture.content}, row=row)


def assign(rows: pa.Table, *, options: LeafSource, packing: Packing) -> list[str]:
    """Whole plants, stratified by species."""
    species = np.array(rows["species"].to_pylist())
    return split_by_group(rows, species[:, None] == np.unique(species), packing=packing)


def describe(rows: pa.Table, *, found: Scan, options: LeafSource) -> dict:
    """The species by number."""
    return {"classes": sorted(set(rows["species"].to_pylist()))}


LEAF = Source(
    schema=SCHEMA,
    scan=scan,
    make=make,
    assign=assign,
    describe=describe,
    hint="{folder} is one folder too high or too low (<species>/<plant>_<number>.jpg is expected)",
)
