"""What must hold of one stored mouse trial: T frames, K points."""

import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from tarpon.shards.sources.mouse import source as mouse
from tarpon.shards.sources.mouse.dlc import OWN
from tarpon.shards.sources.mouse.pose_outside import FEW, MARGIN, outside
from tarpon.shards.sources.mouse.trial_labels import NO_STIMULUS, STIMULUS
from tarpon.shards.sources.mouse.units import CLASSES
from tarpon.shards.sources.video import clips as video
from tarpon.shards.sources.video.files import RENDERED
from tarpon.shards.sources.video.proof import THUMB, check_alignment, thumbnails
from tarpon.tools.lint_checks import Kind, Stored, load_array, load_json

UNITY = 1e-6  # relative difference allowed between a number in meta.json and the manifest's float32


def _points(sample: Stored) -> int:
    return len(sample.card.get("settings", {}).get("keypoints", ()))


def _proof_shape(sample: Stored) -> tuple[int, ...]:
    """RGB thumbnails; shards of earlier versions hold luma alone."""
    told = sample.card.get("components", {}).get("proof.npy", "")
    luma = told.startswith("(T, 8, 8) ")
    return (sample.row["frames"], THUMB, THUMB) if luma else (sample.row["frames"], THUMB, THUMB, 3)


def arrays(sample: Stored) -> Iterator[str]:
    """Every array has its dtype and shape; points are finite or both of x, y are missing."""
    frames = sample.row["frames"]
    wanted = {"actions.npy": ("int8", (frames,)), "proof.npy": ("uint8", _proof_shape(sample))}
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


def points(sample: Stored) -> Iterator[str]:
    """Points are possible ones, inside the picture but for a few, and there are some."""
    row = sample.row
    if "keypoints.npy" not in sample.files:
        return
    xyl, _ = load_array(sample, "keypoints.npy", dtype="float32", shape=(row["frames"], _points(sample), 3))
    if xyl is None or np.isinf(xyl).any():
        return  # the arrays check names it
    likelihood, seen = xyl[..., 2], np.isfinite(xyl[..., :2]).all(-1)
    if (unlikely := ~((likelihood >= 0) & (likelihood <= 1))).any():
        first = np.argwhere(unlikely)[0]
        yield f"keypoints.npy: a likelihood is {likelihood[tuple(first)]:.6g} at frame {first[0]}, not in 0 to 1"
    if xyl.size and not seen.any():
        yield "keypoints.npy has no point in any frame"
    far, out = (outside(xyl[..., :2], (row["width"], row["height"]), margin=margin) for margin in (MARGIN, None))
    if far.any():
        first = np.argwhere(far)[0]
        x, y = xyl[tuple(first)][:2]
        yield (
            f"keypoints.npy: {far.any(1).sum()} frames have a point far outside the {row['width']} x {row['height']} picture, "
            f"the first is x, y = {x:.6g}, {y:.6g} at frame {first[0]}"
        )
    if out.sum() > FEW * seen.sum():
        yield (
            f"keypoints.npy: {out.sum() / seen.sum():.1%} of the points lie outside the {row['width']} x {row['height']} "
            f"picture: a turned video packed as it lies in the file, or another video's track; pack it again"
        )


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


def source(sample: Stored) -> Iterator[str]:
    """The video is a recording, no rendering with points painted into it, and its points are no predictions of ours."""
    name = sample.row["source"]
    if RENDERED.search(Path(name).stem):
        yield f"its video {name} is a rendering with points painted into the picture, not a recording; pack without it"
    scorer = sample.card.get("settings", {}).get("scorer")
    if scorer in OWN and "keypoints.npy" in sample.files:
        yield f"its points are Tarpon's own predictions (--scorer {scorer}), not what a tracker or a person said"


def stimulus(sample: Stored) -> Iterator[str]:
    """The stimulus is a frame of the trial, or there was none."""
    frame, span = sample.row["stimulus_frame"], sample.card.get("settings", {}).get("trial_frames", sample.row["frames"])
    if frame not in (STIMULUS, NO_STIMULUS) and not 0 <= frame < span:
        yield f"stimulus_frame is {frame}, a trial has the frames 0 to {span - 1} ({NO_STIMULUS}: no stimulus)"


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
        yield f"actions reach from {told.min()} to {told.max()}, -1 (not scored) to {classes - 1} are the classes"
    elif (counts := np.bincount(told[told >= 0], minlength=classes).tolist()) != sample.row["histogram"]:
        yield f"histogram is {sample.row['histogram']}, the actions add up to {counts}"


def frames(sample: Stored) -> Iterator[str]:
    """The clip decodes to the frames it was made from, in the size and codec that the manifest says."""
    row = sample.row
    try:
        with av.open(io.BytesIO(sample.files["clip.mp4"])) as container:
            stream = container.streams.video[0]
            codec, size = stream.codec_context.codec.canonical_name, (stream.width, stream.height)
        thumbs = thumbnails(sample.files["clip.mp4"], luma=len(_proof_shape(sample)) == 3)
    except (ValueError, IndexError, av.error.FFmpegError) as error:
        yield f"clip.mp4 does not decode ({error})"
        return
    if codec != row["codec"]:
        yield f"clip.mp4 is {codec}, the manifest says {row['codec']}"
    if size != (row["clip_width"], row["clip_height"]):
        yield f"clip.mp4 is {size[0]} x {size[1]}, the manifest says {row['clip_width']} x {row['clip_height']}"
    proof, _ = load_array(sample, "proof.npy", dtype="uint8", shape=_proof_shape(sample))
    if proof is None:
        return  # the arrays check names it
    try:
        check_alignment(proof, thumbs)
    except ValueError as error:
        yield f"frame proof: {error}"


CRUSHED = 0.005  # share of pixels; flies on black, encoded at 16: 2e-5; a full-range scene with a dark animal: 0.04


def colours(sample: Stored) -> Iterator[str]:
    """Luma of a limited-range clip stays near 16 to 235; else a full-range source was stored as it was, and is crushed."""
    outside, pixels = 0, 0
    try:
        for number, frame in enumerate(video.decode(sample.files["clip.mp4"])):
            if frame.format.name != "yuv420p" or frame.color_range == video.FULL:
                return
            if number % 16 == 0:
                luma = frame.to_ndarray()[: frame.height]
                outside, pixels = outside + int(((luma < 12) | (luma > 243)).sum()), pixels + luma.size
    except (ValueError, IndexError, av.error.FFmpegError):
        return  # the frames check names it
    if pixels and outside > CRUSHED * pixels:
        yield (
            f"clip.mp4 has {outside / pixels:.1%} of its pixels outside the limited range it is read in: dark and bright parts "
            f"of a full-range source are crushed; pack it again"
        )


MOUSE = Kind(
    schema=mouse.SCHEMA,
    checks={
        "arrays": arrays,
        "meta": meta,
        "points": points,
        "source": source,
        "stimulus": stimulus,
        "labels": labels,
        "frames": frames,
        "colours": colours,
    },
    unprovable=(
        "an earlier Tarpon took without a word: turned videos as they lie in the file; pose tables longer than their video, "
        "renumbered, of two scorers or with a column twice; Frame columns that count from 1; the last of two Action columns. "
        "These shards cannot show it: where a source may be such a file, pack it again"
    ),
)
