"""The animals that are known: every photograph of a gallery as an embedding, made once and kept.

A gallery is packed shards, or a folder `<animal>/<photograph>`. G photographs.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tarpon.shards import atomic
from tarpon.shards.manifest import MANIFEST, SPLITS, Manifest, open_manifest
from tarpon.shards.reader import Reader
from tarpon.shards.sources.images import JpegImage
from tarpon.shards.sources.star.source import StarSource
from tarpon.shards.tar_cache import Cache
from tarpon.tools.loose_images import list_images
from tarpon.tools.star.embed import Embedder, embed_files, make_vector_columns, read_picture, read_vectors
from tarpon.train.tasks.star.opening import FLANKS

NOTE = b"tarpon.gallery"  # the kept file's metadata of this name
FORMAT = 1  # of the kept file; raised when it changes


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """Embedded photographs with whom they show."""

    identity: np.ndarray  # (G,) str
    picture: np.ndarray  # (G,) str, path as it was packed, or below the folder
    vectors: dict[str, np.ndarray]  # as Embedder.embed
    faults: list[tuple[str, str]] = field(default_factory=list)  # name and reason of what could not be read


def find_longest_side(gallery: str | None) -> int:
    """Pixels that new photographs are brought down to: as those of the gallery were, else as packing does by default."""
    usual = StarSource().longest_side
    packed = gallery is not None and is_packed(gallery)
    return int(open_manifest(gallery, kind="reid").card.get("settings", {}).get("longest_side", usual)) if packed else usual


def is_packed(gallery: str) -> bool:
    """Whether this is shards rather than a folder of photographs."""
    return "://" in gallery or any((Path(gallery) / name).exists() for name in (MANIFEST, "parts"))


def open_gallery(gallery: str, embedder: Embedder, *, splits: Sequence[str], kept: Path, cache: Cache | None = None) -> Gallery:
    """Embed a gallery, or take what an earlier call left in the folder `kept` for the same weights and photographs.

    Args:
        splits: of shards, whose photographs are in the gallery; a folder has none.
        cache: for tars of shards at a URL.

    Raises:
        ValueError: in one line: neither shards of animals nor a folder of them, or nothing in it.
    """
    packed = is_packed(gallery)
    chosen = _Shards(gallery, splits=splits, cache=cache) if packed else _Folder(gallery)
    key = json.dumps([FORMAT, embedder.sha256, embedder.flips, chosen.fingerprint()])
    path = kept / f"gallery_{hashlib.sha256(key.encode()).hexdigest()[:16]}.parquet"
    if path.exists():
        return _load(path)
    found = chosen.embed(embedder)
    _save(path, found)
    return found


def picture_reader(gallery: str, *, cache: Cache | None = None) -> Callable[[str], bytes]:
    """`Gallery.picture` -> the encoded photograph; empty where a folder no longer gives it."""
    if is_packed(gallery):
        manifest = open_manifest(gallery, kind="reid", cache=cache)
        reader, place = Reader(manifest), {name: row for row, name in enumerate(manifest.column("source").astype(str))}
        return lambda picture: reader.read(place[picture], "jpg")

    def read(picture: str) -> bytes:
        found = read_picture(Path(gallery) / picture, longest_side=StarSource().longest_side)
        return found.content if isinstance(found, JpegImage) else b""

    return read


class _Shards:
    def __init__(self, root: str, *, splits: Sequence[str], cache: Cache | None) -> None:
        if unknown := set(splits) - set(SPLITS):
            raise ValueError(f"splits: {', '.join(sorted(unknown))} is none of {', '.join(SPLITS)}")
        self._manifest: Manifest = open_manifest(root, kind="reid", cache=cache)
        self._splits = sorted(splits)
        self._rows = np.flatnonzero(np.isin(self._manifest.column("split"), self._splits))
        if not len(self._rows):
            raise ValueError(f"{root}: no photographs of {', '.join(self._splits)}; give other --splits")

    def fingerprint(self) -> str:
        return f"{self._manifest.fingerprint()}:{','.join(self._splits)}"

    def embed(self, embedder: Embedder) -> Gallery:
        reader = Reader(self._manifest)
        identity, source, side = (
            self._manifest.column(name)[self._rows].astype(str) for name in ("identity", "source", "orientation")
        )
        turned = ~np.isin(np.char.lower(side), FLANKS)
        loader = embedder.loader(self._manifest, reader, self._rows)
        vectors = embedder.embed(loader, self._rows, turned=turned)
        reader.close()
        return Gallery(identity=identity, picture=source, vectors=vectors)


class _Folder:
    def __init__(self, root: str) -> None:
        self._root = Path(root)
        self._names = [name for name in list_images(self._root) if "/" in name]
        if not self._names:
            raise ValueError(f"{root}: neither shards nor folders of animals; a gallery folder is <animal>/<photograph>")

    def fingerprint(self) -> str:
        stats = ((name, (self._root / name).stat()) for name in self._names)
        listing = json.dumps([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats])
        return hashlib.sha256(listing.encode()).hexdigest()

    def embed(self, embedder: Embedder) -> Gallery:
        found = embed_files(embedder, self._root, self._names, longest_side=StarSource().longest_side)
        if not len(found.row):
            name, reason = found.faults[0]
            raise ValueError(f"{self._root}: none of {len(self._names)} photographs can be read ({name}: {reason})")
        picture = np.array(self._names)[found.row]
        identity = np.array([name.partition("/")[0] for name in picture])
        return Gallery(identity=identity, picture=picture, vectors=found.vectors, faults=found.faults)


def _save(path: Path, gallery: Gallery) -> None:
    columns = {
        "identity": pa.array(gallery.identity),
        "picture": pa.array(gallery.picture),
        **make_vector_columns(gallery.vectors),
    }
    note = json.dumps({"format": FORMAT, "faults": gallery.faults})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replace(path) as draft:
        pq.write_table(pa.table(columns).replace_schema_metadata({NOTE: note.encode()}), draft, compression="zstd")


def _load(path: Path) -> Gallery:
    table = pq.read_table(path)
    note = json.loads(table.schema.metadata[NOTE])
    named = {name: table[name].to_numpy().astype(str) for name in ("identity", "picture")}
    return Gallery(**named, vectors=read_vectors(table), faults=[(name, reason) for name, reason in note["faults"]])
