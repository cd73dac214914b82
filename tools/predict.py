"""`tarpon predict KIND`: whole recordings through a trained model, streaming, with or without pose files."""

import csv
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tarpon.models.tagger import FrameTagger
from tarpon.shards import atomic
from tarpon.shards.sources import video
from tarpon.shards.sources.dlc import body_length, read_track
from tarpon.tools.table import table
from tarpon.train.checkpoint import load_weights
from tarpon.train.config import parser_for
from tarpon.train.tasks.mouse import MOUSE, build_model
from tarpon.train.tasks.mouse_export import load
from tarpon.train.tasks.mouse_options import MouseOptions

CONTEXT = 8  # frames beyond the TCN's reach that pose changes look back on, and then some


@dataclass
class Spent:
    """Seconds of each stage."""

    decode: float = 0.0
    model: float = 0.0
    rest: float = 0.0
    frames: int = 0

    def line(self) -> str:
        total = max(self.decode + self.model + self.rest, 1e-9)
        return (
            f"{self.frames / total:.0f} frames/s: decode {self.decode / total:.0%}, model {self.model / total:.0%}, "
            f"rest {self.rest / total:.0%}"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Tagger:
    """A trained model and what its input must be."""

    model: FrameTagger
    options: MouseOptions
    classes: list[str]
    points: list[str]
    clip: video.ClipFormat
    device: torch.device
    spent: Spent = field(default_factory=Spent)

    @property
    def reach(self) -> int:
        """Frames on either side that an answer depends on."""
        return sum(2**i for i in range(self.options.model.layers)) + CONTEXT


def mouse(
    *, checkpoint: str, videos: str, out: str, pose: str = "auto", individual: str | None = None, chunk: int = 360
) -> int:
    """Label every frame of every video in a folder.

    Args:
        checkpoint: best_model_multitask.pt of a run.
        videos: folder of .mp4 files.
        out: folder for <stem>_predictions.csv, and <stem>DLC_tarpon.csv where the model regresses keypoints.
        pose: auto: use <stem>DLC_*.csv where it is there; none: never; dlc: refuse a video without it.
        individual: which animal of multi-animal DeepLabCut files.
        chunk: frames through the model at once; memory grows with it, answers do not change.
    """
    if pose not in ("auto", "none", "dlc"):
        raise ValueError(f"pose={pose!r} must be auto, none or dlc")
    if chunk < 1:
        raise ValueError(f"chunk={chunk} must be at least 1 frame")
    tagger, folder, target = load_tagger(Path(checkpoint)), Path(videos), Path(out)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() == ".mp4" and not p.name.startswith("._"))
    if not paths:
        raise ValueError(f"{folder}: no .mp4 files; give the folder that holds the videos")
    target.mkdir(parents=True, exist_ok=True)
    rows, bad = [], 0
    for path in paths:
        try:
            xyl, told = track_of(path, tagger, pose=pose, individual=individual)
            frames = label(path, tagger, xyl, target, chunk=chunk)
            rows.append((path.name, frames, told))
        except ValueError as error:
            bad += 1
            rows.append((path.name, "-", str(error)))
    print("\n".join(table(("video", "frames", "pose"), rows)))
    print(f"{len(paths) - bad} of {len(paths)} videos labelled in {target}; {tagger.spent.line()}")
    return 1 if bad else 0


def load_tagger(path: Path) -> Tagger:
    """The model of an exported checkpoint, in evaluation mode, on the GPU where there is one."""
    held = load(path)
    parser = parser_for(MOUSE.options, recipe={}, task="mouse")
    made = parser.instantiate_classes(parser.parse_object({**held["args"]["run"], **held["args"]["task"]}))
    options = MouseOptions(**{name: made[name] for name in MouseOptions.__dataclass_fields__})
    model = build_model(MOUSE.without_download(options), held["kp_names"])
    load_weights(model, held["model_state_dict"], name=str(path))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Tagger(
        model=model.to(device).eval(),
        options=options,
        classes=held["classes"],
        points=held["kp_names"],
        clip=video.ClipFormat(**held["args"]["clip"]),
        device=device,
    )


def track_of(path: Path, tagger: Tagger, *, pose: str, individual: str | None) -> tuple[np.ndarray | None, str]:
    """Points (T, K, 3) of a video, None without; and what to tell."""
    if tagger.model.pose is None:
        return None, "not an input of this model"
    files = sorted(p for p in path.parent.iterdir() if re.match(re.escape(path.stem) + r"DLC_.+\.(csv|h5)$", p.name))
    if pose == "none" or (pose == "auto" and not files):
        return None, "none: all points invisible; a model trained with pose_input=false does better here"
    if not files:
        raise ValueError(f"no DeepLabCut file {path.stem}DLC_*.csv; use --pose auto or none")
    return read_track(files[0], tagger.points, individual=individual).xyl, files[0].name


def label(path: Path, tagger: Tagger, xyl: np.ndarray | None, out: Path, *, chunk: int) -> int:
    """Predict one video in overlapping chunks and write its files as it goes; returns the number of frames."""
    info = video.probe(path)
    points, count = tagger.model.keypoint is not None, 0
    with (
        atomic.replacing(out / f"{path.stem}_predictions.csv") as table_draft,
        open(table_draft, "w", newline="") as table_file,
    ):
        actions = csv.writer(table_file)
        actions.writerow(["Frame", "Action", *(f"{name}_prob" for name in tagger.classes)])
        keypoints = []
        for probs, xy in windows(path, tagger, xyl, info, chunk=chunk):
            for row in probs:
                actions.writerow([count, tagger.classes[int(row.argmax())], *(f"{p:.5f}" for p in row)])
                count += 1
            if points:
                keypoints.append(xy * np.array([info.width, info.height]))
    if points and keypoints:
        write_track(out / f"{path.stem}DLC_tarpon.csv", np.concatenate(keypoints), tagger.points)
    return count


def windows(
    path: Path, tagger: Tagger, xyl: np.ndarray | None, info: video.VideoInfo, *, chunk: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Probabilities (n, C) and points (n, K, 2) in 0..1 of successive stretches of a video, each frame once."""
    held: list[Tensor] = []  # frames not yet let go, as (3, S, S) uint8
    first, done, reach = 0, 0, tagger.reach  # video frame of held[0]; frames answered
    scale = body_length(xyl) if xyl is not None else float("nan")
    frames, more = video.decode(path), True
    while more:
        begun = time.perf_counter()
        while more and len(held) < done - first + chunk + reach:
            frame = next(frames, None)
            more = frame is not None
            if more:
                held.append(picture(frame, tagger, info))
        tagger.spent.decode += time.perf_counter() - begun
        ready = len(held) + first - done - (reach if more else 0)  # the last frames wait for what follows them
        if ready <= 0:
            continue
        probs, xy = answer(tagger, torch.stack(held), pose_of(xyl, first, len(held), tagger, scale=scale))
        begun, low = time.perf_counter(), done - first
        yield probs[low : low + ready], None if xy is None else xy[low : low + ready]
        done += ready
        drop = max(done - reach - first, 0)
        del held[:drop]
        first += drop
        tagger.spent.rest += time.perf_counter() - begun
    tagger.spent.frames += done
    if xyl is not None and len(xyl) < done:
        raise ValueError(f"{done} frames, but its DeepLabCut file has {len(xyl)} rows; use --pose none or track it again")


def picture(frame: object, tagger: Tagger, info: video.VideoInfo) -> Tensor:
    """A decoded frame as packing and loading would have made it: (3, S, S) uint8."""
    width, height = tagger.clip.fit(info.width, info.height)
    array = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA").to_ndarray()
    size, pixels = tagger.options.model.backbone.image_size, torch.from_numpy(array).permute(2, 0, 1)
    if pixels.shape[1:] == (size, size):
        return pixels
    return F.interpolate(pixels[None], (size, size), mode="bilinear", antialias=True)[0]


def pose_of(xyl: np.ndarray | None, first: int, count: int, tagger: Tagger, *, scale: float) -> Tensor | None:
    """(1, T, K, 3) pose input of a stretch; all invisible where there is no track."""
    if tagger.model.pose is None:
        return None
    part = np.zeros((count, len(tagger.points), 3), np.float32)
    if xyl is not None and np.isfinite(scale) and scale > 0:
        have = xyl[first : first + count]
        seen = (have[..., 2] >= tagger.options.window.kp_likelihood) & np.isfinite(have[..., :2]).all(-1)
        part[: len(have), :, :2] = np.where(seen[..., None], have[..., :2] / scale, 0)
        part[: len(have), :, 2] = seen
    return torch.from_numpy(part)[None].to(tagger.device)


@torch.no_grad()
def answer(tagger: Tagger, frames: Tensor, pose: Tensor | None) -> tuple[np.ndarray, np.ndarray | None]:
    begun = time.perf_counter()
    mean, std = (torch.tensor(v, device=tagger.device).view(3, 1, 1) for v in tagger.options.model.backbone.normalisation())
    clip = (frames.to(tagger.device).float() / 255 - mean) / std
    inputs = {"clip": clip[None], "valid": torch.ones(1, len(frames), dtype=torch.bool, device=tagger.device)}
    if pose is not None:
        inputs["pose"] = pose
    with torch.autocast(tagger.device.type, torch.bfloat16, enabled=tagger.device.type == "cuda"):
        out = tagger.model(**inputs)
    probs = out["action"].float().softmax(-1)[0].cpu().numpy()
    points = out["keypoints"][0].float().cpu().numpy() if "keypoints" in out else None
    tagger.spent.model += time.perf_counter() - begun
    return probs, points


def write_track(path: Path, xy: np.ndarray, points: list[str]) -> None:
    """Predicted points (T, K, 2) in source pixels as a DeepLabCut CSV; without likelihood, for the model gives none."""
    head = (
        ("scorer", *(["tarpon"] * 2 * len(points))),
        ("bodyparts", *(name for name in points for _ in "xy")),
        ("coords", *("x", "y") * len(points)),
    )
    with atomic.replacing(path) as draft, open(draft, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(head)
        for number, row in enumerate(xy.reshape(len(xy), -1)):
            writer.writerow([number, *(f"{value:.3f}" for value in row)])
