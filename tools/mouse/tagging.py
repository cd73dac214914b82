"""A trained model on whole recordings: streaming, in overlapping stretches, with or without points."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tarpon.models.temporal.tagger import FrameTagger
from tarpon.shards.sources.video import clips as video
from tarpon.shards.sources.video.display import Display
from tarpon.shards.sources.video.recording import Recording
from tarpon.tools.mouse.label_files import write_actions, write_bouts, write_track
from tarpon.tools.mouse.labelled import Labelled
from tarpon.tools.mouse.pose_input import make_pose, measure_track
from tarpon.tools.mouse.predict_extras import Extras
from tarpon.train.checkpoint import load_weights
from tarpon.train.config import parser_for
from tarpon.train.tasks.mouse.decision.rule import Rule
from tarpon.train.tasks.mouse.export import load
from tarpon.train.tasks.mouse.metrics.bouts import merge_short
from tarpon.train.tasks.mouse.options import MouseOptions
from tarpon.train.tasks.mouse.record import MOUSE
from tarpon.train.tasks.mouse.task import build_model

CONTEXT = 8  # frames beyond the TCN's reach that pose changes look back on, and then some


@dataclass
class Spent:
    """Seconds of each stage; what is left of the total is the pose encoder, the TCN, the heads and the files."""

    decode: float = 0.0
    backbone: float = 0.0
    total: float = 0.0
    frames: int = 0

    def watch(self, backbone: nn.Module, device: torch.device) -> None:
        """Count every forward of the module from now on; on a GPU its work is waited for before and after."""
        begun = 0.0

        def now() -> float:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return time.perf_counter()

        def enter(*_: object) -> None:
            nonlocal begun
            begun = now()

        def leave(*_: object) -> None:
            self.backbone += now() - begun

        backbone.register_forward_pre_hook(enter)
        backbone.register_forward_hook(leave)

    def line(self) -> str:
        total = max(self.total, 1e-9)
        rest = max(total - self.decode - self.backbone, 0.0)
        return (
            f"{self.frames / total:.0f} frames/s: decode {self.decode / total:.0%}, backbone {self.backbone / total:.0%}, "
            f"rest {rest / total:.0%}"
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
        return sum(2**i for i in range(self.options.model.layers)) + CONTEXT + self.model.encoder.reach


def load_tagger(path: Path) -> Tagger:
    """The model of an exported checkpoint, in evaluation mode, on the GPU where there is one."""
    held = load(path)
    parser = parser_for(MOUSE.options, recipe=None, task="mouse")
    made = parser.instantiate(parser.parse_object({**held["args"]["run"], **held["args"]["rebuild"]}))
    options = MouseOptions(**{name: made[name] for name in MouseOptions.__dataclass_fields__})
    model = build_model(options, held["kp_names"])
    load_weights(model, held["model_state_dict"], name=str(path))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tagger = Tagger(
        model=model.to(device).eval(),
        options=options,
        classes=held["classes"],
        points=held["kp_names"],
        clip=video.ClipFormat(**held["args"]["clip"]),
        device=device,
    )
    tagger.spent.watch(tagger.model.encoder, device)
    return tagger


def label(
    path: Path,
    tagger: Tagger,
    xyl: np.ndarray | None,
    out: Path,
    *,
    chunk: int,
    rule: Rule | None = None,
    min_bout: int = 1,
    trial_frames: int = 0,
    note: str | None = None,
    extras: Extras = Extras(),  # noqa: B008 (frozen)
    told: Callable[[int], None] = lambda frames: None,
) -> tuple[int, int, list[str]]:
    """Predict one video in overlapping chunks, then write its files; the numbers of frames and of bouts, and what it lacks.

    Frames are labelled by the rule (None: the most probable class), then short bouts are given to their neighbours.
    A note stands in a last column of both tables, in every row. `told` hears of every stretch how many frames it had.

    Pictures are let go as the video streams by. The answers are held to the end, for a short bout may be settled by what
    follows it: 4 (C + 2 K) bytes a frame, 8 MB an hour at 30 frames/s with 6 classes and 6 points.
    """
    recording = Recording(path)
    info, parts = recording.info, []
    for part in windows(recording, tagger, xyl, chunk=chunk, trial_frames=trial_frames):
        parts.append(part)
        told(len(part[0]))
    if not parts:
        raise ValueError("holds no frame that can be decoded")
    probs = np.concatenate([part for part, _ in parts])
    labels = rule.label(probs, trial_frames=trial_frames) if rule else probs.argmax(1)
    actions = merge_short(labels, min_bout=min_bout)
    write_actions(out / f"{path.stem}_predictions.csv", actions, probs, tagger.classes, note=note)
    bouts = write_bouts(out / f"{path.stem}_bouts.csv", actions, probs, tagger.classes, edges=recording.edges(), note=note)
    xy = None
    if tagger.model.keypoint is not None:
        xy = np.concatenate([part for _, part in parts]) * np.array([info.width, info.height])
        write_track(out / f"{path.stem}DLC_tarpon.csv", xy, tagger.points)
    said = {"actions": actions, "probs": probs, "classes": tagger.classes, "points": tagger.points}
    extras.write(Labelled(path=path, fps=info.fps, size=(info.width, info.height), predicted=xy, given=xyl, **said), out)
    return len(probs), bouts, recording.faults()


def windows(
    recording: Recording, tagger: Tagger, xyl: np.ndarray | None, *, chunk: int, trial_frames: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Probabilities (n, C) and points (n, K, 2) in 0..1 of successive stretches of a video, each frame once."""
    held: list[Tensor] = []  # frames not yet let go, as (3, S, S) uint8
    first, done = 0, 0  # video frame of held[0]; frames answered
    reach, phase = tagger.reach, tagger.model.encoder.phase
    track = None if xyl is None else measure_track(xyl, tagger.options, trial_frames=trial_frames)
    frames, display, more = iter(recording), Display(), True
    while more:
        begun = time.perf_counter()
        while more and len(held) < done - first + chunk + reach:
            frame = next(frames, None)
            more = frame is not None
            if more:
                held.append(picture(frame, tagger, recording.info, display))
        tagger.spent.decode += time.perf_counter() - begun
        ready = len(held) + first - done - (reach if more else 0)  # the last frames wait for what follows them
        if ready <= 0:
            continue
        pose = None if tagger.model.pose is None else make_pose(track, first, len(held), tagger.model.pose.features)
        probs, xy = answer(tagger, torch.stack(held), None if pose is None else pose.to(tagger.device))
        low = done - first
        yield probs[low : low + ready], None if xy is None else xy[low : low + ready]
        done += ready
        drop = max(done - reach - first, 0) // phase * phase  # clips of a video backbone stay where they were in the video
        del held[:drop]
        first += drop
    tagger.spent.frames += done
    if xyl is not None and len(xyl) != done:
        raise ValueError(f"{done} frames, but its DeepLabCut file has {len(xyl)} rows; use --pose none or track it again")


def picture(frame: av.VideoFrame, tagger: Tagger, info: video.VideoInfo, display: Display) -> Tensor:
    """A decoded frame as packing and loading would have made it: (3, S, S) uint8."""
    width, height = tagger.clip.fit(info.width, info.height)
    array = display.rgb(frame, width=width, height=height)
    size, pixels = tagger.options.model.encoder.image_size, torch.from_numpy(array).permute(2, 0, 1)
    if pixels.shape[1:] == (size, size):
        return pixels
    return F.interpolate(pixels[None], (size, size), mode="bilinear", antialias=True)[0]


@torch.no_grad()
def answer(tagger: Tagger, frames: Tensor, pose: Tensor | None) -> tuple[np.ndarray, np.ndarray | None]:
    mean, std = (torch.tensor(v, device=tagger.device).view(3, 1, 1) for v in tagger.options.model.encoder.normalisation())
    frames = frames.to(tagger.device).contiguous(memory_format=torch.channels_last)  # as in training; faster for convolutions
    clip = (frames.float() / 255 - mean) / std
    inputs = {"clip": clip[None], "valid": torch.ones(1, len(frames), dtype=torch.bool, device=tagger.device)}
    if pose is not None:
        inputs["pose"] = pose
    with torch.autocast(tagger.device.type, torch.bfloat16, enabled=tagger.device.type == "cuda"):
        out = tagger.model(**inputs)
    probs = out["action"].float().softmax(-1)[0].cpu().numpy()
    points = out["keypoints"][0].float().cpu().numpy() if "keypoints" in out else None
    return probs, points
