"""What must hold of one stored mouse trial: T frames, K points."""

import io
from collections.abc import Iterator

import av
import numpy as np

from tarpon.shards.sources import video
from tarpon.shards.sources.mouse import source as mouse
from tarpon.shards.sources.mouse.units import CLASSES
from tarpon.tools.checks import Kind, Stored, load_array, load_json

UNITY = 1e-6  # relative difference allowed between a number in meta.json and the manifest's float32


def _points(sample: Stored) -> int:
    return len(sample.card.get("settings", {}).get("keypoints", ()))


def arrays(sample: Stored) -> Iterator[str]:
    """Every array has its dtype and shape; points are finite or both of x, y are missing."""
    frames = sample.row["frames"]
    wanted = {"actions.npy": ("int8", (frames,)), "proof.npy": ("uint8", (frames, video.THUMB, video.THUMB))}
    if "keypoints.npy" in sample.files:
        wanted["keypoints.npy"] = ("float32", (frames, _points(sample), 3))
    for name, (dtype, shape) in wanted.items():
        array, wrong = load_array(sample, name, dtype=dtype, shape=shape)
        yield from wrong
        if array is not None and name == "keypoints.npy":
            if np.isinf(array).any():
                yield f"{name} holds infinite numbers"
            if (np.isnan(array[..., 0]) != np.isnan(array[..., 1])).any():
                yield f"{name} has a point with only one of x and y"


def meta(sample: Stored) -> Iterator[str]:
    """meta.json says what the manifest row says."""
    found, wrong = load_json(sample, "meta.json")
    yield from wrong
    if wrong:
        return
    names = ["group", "source", "source_sha256", *(name for name, _ in mouse.SCHEMA.columns if name != "actions")]
    for name in names:
        value = sample.row[name]
        if value != value:  # NaN has no JSON, so it is left out
            if name in found:
                yield f"meta.json: {name} is {found[name]}, the manifest has none"
        elif name not in found:
            yield f"meta.json: {name} is missing"
        elif not _same(found[name], value):
            yield f"meta.json: {name} is {found[name]}, the manifest says {value}"


def _same(one: object, two: object) -> bool:
    if isinstance(two, float) and isinstance(one, int | float):
        return abs(one - two) <= UNITY * max(abs(one), abs(two))
    return one == two


def labels(sample: Stored) -> Iterator[str]:
    """Actions are the same in tar and manifest, within the classes, and add up to the histogram."""
    told, classes = np.asarray(sample.row["actions"], np.int64), len(sample.card.get("classes", CLASSES))
    stored, _ = load_array(sample, "actions.npy", dtype="int8", shape=(sample.row["frames"],))
    if stored is not None and not np.array_equal(stored, told):
        differ = "another length" if len(told) != len(stored) else f"{int((stored != told).sum())} frames"
        yield f"actions.npy and the manifest's actions differ in {differ}"
    if len(told) != sample.row["frames"]:
        yield f"the manifest has {len(told)} actions, {sample.row['frames']} frames"
    if len(told) and not -1 <= told.min() <= told.max() < classes:
        yield f"actions reach from {told.min()} to {told.max()}, -1 to {classes - 1} are allowed"
    elif (counts := np.bincount(told[told >= 0], minlength=classes).tolist()) != sample.row["histogram"]:
        yield f"histogram is {sample.row['histogram']}, the actions add up to {counts}"


def frames(sample: Stored) -> Iterator[str]:
    """The clip decodes to the frames it was made from, in the size and codec that the manifest says."""
    row = sample.row
    try:
        with av.open(io.BytesIO(sample.files["clip.mp4"])) as container:
            stream = container.streams.video[0]
            codec, size = stream.codec_context.codec.canonical_name, (stream.width, stream.height)
        thumbs = video.thumbnails(sample.files["clip.mp4"])
    except (ValueError, IndexError, av.error.FFmpegError) as error:
        yield f"clip.mp4 does not decode ({error})"
        return
    if codec != row["codec"]:
        yield f"clip.mp4 is {codec}, the manifest says {row['codec']}"
    if size != (row["clip_width"], row["clip_height"]):
        yield f"clip.mp4 is {size[0]} x {size[1]}, the manifest says {row['clip_width']} x {row['clip_height']}"
    proof, _ = load_array(sample, "proof.npy", dtype="uint8", shape=(row["frames"], video.THUMB, video.THUMB))
    if proof is None:
        return  # the arrays check names it
    try:
        video.check_alignment(proof, thumbs)
    except ValueError as error:
        yield f"frame proof: {error}"


MOUSE = Kind(schema=mouse.SCHEMA, checks={"arrays": arrays, "meta": meta, "labels": labels, "frames": frames})
