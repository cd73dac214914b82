"""`tarpon features import DIR`: published FishNet features (`*_features.pt`, `metadata.json`) -> a cache like our own.

The train, val and test membership stays as published. What the files do not tell of how the vectors were made is listed in
the card as unknown, so that such a cache cannot be taken for one of ours.
"""

import hashlib
import json
import pickle
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from tarpon.shards import installed
from tarpon.shards.features import DTYPES, FeatureCache, select_class_lists
from tarpon.shards.manifest import SPLITS
from tarpon.shards.sources.fish import source
from tarpon.shards.sources.fish.rows import read_rows

NEEDED = ("train", "val")  # a test file may be absent
UNKNOWN = ("weights_sha256", "interpolation", "mean", "std", "multi_scale", "computed_in", "seed", "val_ratio")
UNREADABLE = (  # all that torch.load raises on bytes of another kind, and what a file of another layout does
    OSError,
    RuntimeError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    EOFError,
    pickle.UnpicklingError,
)
LENGTH_TOLERANCE = 1e-3  # float16 arithmetic before the float32 file leaves this much


def run(folder: str, *, annotations: str, out: str, order_column: str = "NewOrder", dtype: str = "fp32") -> int:
    """Turn published features into a cache.

    Args:
        folder: holds train_features.pt, val_features.pt, test_features.pt and metadata.json.
        annotations: folder of train.csv and test.csv.
        out: folder for the features.
        order_column: NewOrder (canonical) or Order (as the sources name it).
        dtype: fp16 or fp32, of the stored vectors.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} must be {' or '.join(DTYPES)}")
    if order_column not in source.ORDERS:
        raise ValueError(f"order_column={order_column!r} must be {' or '.join(source.ORDERS)}")
    metadata = read_metadata(Path(folder))
    sources, splits, vectors = read_published(Path(folder), metadata)
    labels, taken, lost = join_labels(sources, splits, Path(annotations), order_column=order_column)
    vectors = vectors[taken]
    cache = FeatureCache(out=Path(out), card=make_card(metadata, labels, vectors, order_column=order_column, dtype=dtype))
    if cache.check():
        cache.clear()
        print(f"{out} holds these features already")
        return 0
    cache.begin()
    for chunk in cache.chunks():
        cache.write(chunk, vectors[chunk.start : chunk.stop])
    cache.finish(labels)
    if lost:
        print(f"{len(lost)} vectors left out, without one sound row of annotations each: {', '.join(lost[:5])} ...")
    counts = ", ".join(f"{splits[taken].tolist().count(name)} {name}" for name in SPLITS)
    print(f"{len(labels)} vectors of {vectors.shape[1]} numbers ({counts}), {dtype}: {out}")
    return 0


def read_metadata(folder: Path) -> dict:
    path = folder / "metadata.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); give the folder that holds the published features") from error


def read_published(folder: Path, metadata: dict) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Every file's rows: sources (`<family>/<file>`), splits and (N, D) float32 vectors."""
    classes = {number: name for name, number in metadata.get("class_to_idx", {}).items()}
    sources, splits, blocks = [], [], []
    for split in SPLITS:
        path = folder / f"{split}_features.pt"
        if not path.exists() and split not in NEEDED:
            continue
        vectors, labels, paths = read_file(path)
        names = [last_two_parts(text) for text in paths]
        for name, label in zip(names, labels, strict=True):
            if classes and classes.get(label) != name.partition("/")[0]:
                raise ValueError(f"{path}: {name} is labelled {classes.get(label, label)}; metadata.json is of other files")
        sources += names
        splits += [split] * len(names)
        blocks.append(vectors)
    if len({block.shape[1] for block in blocks}) > 1:
        raise ValueError(f"{folder}: vectors of {[block.shape[1] for block in blocks]} numbers; the files are of two models")
    if len(set(sources)) < len(sources):
        twice = next(name for name in sources if sources.count(name) > 1)
        raise ValueError(f"{folder}: {twice} comes twice; an image may be in one split only")
    return sources, np.array(splits), np.concatenate(blocks)


def read_file(path: Path) -> tuple[np.ndarray, list[int], list[str]]:
    """(N, D) float32 vectors, N family indices and N paths of one published file."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        vectors, labels, paths = content["features"].float().numpy(), content["labels"].tolist(), list(content["paths"])
    except UNREADABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: not a file of published features ({reason[:200]})") from error
    if vectors.ndim != 2 or not len(vectors) == len(labels) == len(paths):
        raise ValueError(f"{path}: {vectors.shape} features, {len(labels)} labels and {len(paths)} paths do not agree")
    return vectors, labels, paths


def last_two_parts(path: str) -> str:
    """The last two parts of a path, of any machine: what a row of the annotations is found by."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    return "/".join(parts[-2:])


def join_labels(
    sources: Sequence[str], splits: np.ndarray, annotations: Path, *, order_column: str
) -> tuple[pa.Table, np.ndarray, list[str]]:
    """Labels of the vectors that have one sound row each, their places among all, and the sources of the others."""
    rows, _ = read_rows(annotations, order_column=order_column)
    rows = rows.combine_chunks()
    counted = pc.value_counts(rows["source"])
    once = counted.field("values").filter(pc.equal(counted.field("counts"), 1))
    rows = rows.filter(pc.and_(pc.equal(rows["fault"], ""), pc.is_in(rows["source"], value_set=once)))
    positions = pc.index_in(pa.array(sources, pa.string()), value_set=rows["source"])
    found = positions.is_valid().to_numpy(zero_copy_only=False)
    taken = np.flatnonzero(found)
    if not len(taken):
        raise ValueError(f"none of {len(sources)} vectors has a row in {annotations}; e.g. {sources[0]}")
    rows = rows.take(positions.drop_null())
    names = rows["source"].to_pylist()
    labels = pa.table({
        "key": [source.make_key(name) for name in names],
        "group": pc.coalesce(rows["species"], rows["source"]),
        "split": splits[taken].tolist(),
        **{name: rows[name] for name in ("source", *source.LABELS)},
    })  # fmt: skip
    return labels, taken, [sources[i] for i in np.flatnonzero(~found)]


def make_card(metadata: dict, labels: pa.Table, vectors: np.ndarray, *, order_column: str, dtype: str) -> dict:
    """What is known of the vectors, and what is not."""
    rows = "\n".join(pc.binary_join_element_wise(labels["split"], labels["source"], " ").to_pylist())
    lengths = np.linalg.norm(vectors, axis=1)
    return {
        "backbone": metadata.get("hub_name"),
        "weights_sha256": None,
        "transform": None,
        "l2": bool((np.abs(lengths - 1) < LENGTH_TOLERANCE).all()),  # seen, not told
        "multi_scale": None,
        "dim": vectors.shape[1],
        "dtype": dtype,
        "computed_in": None,
        "count": len(vectors),
        "kind": "fish",
        "manifest": hashlib.sha256(rows.encode()).hexdigest(),
        "classes": select_class_lists(source.describe_labels(labels)),
        "imported": {
            "vectors_sha256": hashlib.sha256(np.ascontiguousarray(vectors)).hexdigest(),
            "order_column": order_column,
            "transform": metadata.get("transform"),
            "weights": PurePosixPath(str(metadata.get("weights", "")).replace("\\", "/")).name,
            "unknown": list(UNKNOWN),
        },
        "versions": installed.find_versions(("tarpon", "torch", "numpy", "pyarrow")),
    }
