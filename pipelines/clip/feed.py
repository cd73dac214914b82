"""Requests of clips (windows of trials) -> inputs of the clip graph.

B clips, T frames of the window, K points.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tarpon.pipelines.clip.checks import check_clips
from tarpon.pipelines.clip.gaps import fill_gaps
from tarpon.pipelines.clip.stance import usual_distances
from tarpon.pipelines.feed import StoredRow
from tarpon.pipelines.noise import NoiseBank, NoiseSlice
from tarpon.shards.manifest import Manifest
from tarpon.shards.npy import read_npy
from tarpon.shards.quarantine import BadSample, Fault
from tarpon.shards.sampling.draws import ClipAugment, ClipDraw, draw_clip, index_window_frames
from tarpon.shards.sampling.plan import Slots, choose_start, weight_windows

GREY = 128.0  # grey level about which contrast is scaled


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipRequest:
    """One clip to deliver."""

    row: int  # -1: padding, delivered with nothing valid
    start: int  # first frame within the trial, before any roll
    draw: ClipDraw | None = None  # None: as stored


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipFields:
    """Turns a window of a stored trial into one clip's arrays."""

    frames: int  # T
    size: int  # pixels, both sides of the delivered frames
    mean: tuple[float, float, float]  # of the backbone's training images, 0..1
    std: tuple[float, float, float]
    likelihood: float  # a point below it is invisible
    merge: tuple[int, ...]  # original class -> class; -1 leaves a class out
    swap: tuple[int, ...]  # point k of the mirrored animal is point swap[k]
    noise_sd: float = 0.0  # of full scale; 0 needs no noise bank
    stance_frames: int = 0  # frames whose usual distances between the points go with each pose; 0: none do
    with_likelihood: bool = False  # the tracker's likelihood of each point goes with its pose
    fill_gaps: int = 0  # frames: points of the pose that are lost for no longer lie between where they were seen; 0: none do
    banks: Mapping[str, NoiseBank] = field(init=False)

    column: ClassVar[str] = "clip"
    names: ClassVar[tuple[str, ...]] = (
        "video", "picked", "repeats", "order", "mean", "std", "mirror", "noisy", "noise", "noise_first", "pose", "keypoints",
        "actions", "valid", "row", "start",
    )  # fmt: skip

    def __post_init__(self) -> None:
        # int8 holds +-127 grey levels: 25 standard deviations at the default 0.02
        rng, count = np.random.default_rng(0), math.prod(self._shape)
        object.__setattr__(self, "banks", {"noise": NoiseBank.normal(rng, count=count, sd=self.noise_sd * 255, dtype=np.int8)})

    @property
    def _shape(self) -> tuple[int, int, int, int]:
        return self.frames, self.size, self.size, 3

    @property
    def sample_bytes(self) -> int:
        """Bytes of one delivered clip, float32."""
        return 4 * math.prod(self._shape)

    def check(self, manifest: Manifest, *, device: int | None) -> None:
        """ValueError when a clip cannot be decoded on the device."""
        check_clips(manifest, device=device)

    def arrays(self, stored: StoredRow, request: ClipRequest) -> dict[str, np.ndarray | NoiseSlice]:
        """As `Fields.arrays`."""
        padding, draw, trial = request.row < 0, request.draw, int(stored.value("frames"))
        start = min(request.start, max(trial - 1, 0))
        index, pixels, valid = index_window_frames(
            trial=trial,
            start=start,
            frames=self.frames,
            roll=draw.roll if draw else 0,
            dropped=draw.dropped if draw else None,
        )
        if padding:
            pixels, valid = np.zeros_like(pixels), np.zeros_like(valid)
        picked, order = np.unique(pixels, return_inverse=True)
        keypoints, pose = self._load_points(stored, index, valid, draw)
        mean, std = self._normalisation(draw)
        noisy = draw is not None and draw.noise is not None and self.noise_sd > 0
        bank = self.banks["noise"]
        # not read by the graph where the clip is not noisy
        noise = bank.slice_noise(draw.noise, self._shape) if noisy else bank.slice_zeros(1, 1, 1, 1)
        return {
            "video": stored.read_uint8("clip"),
            "picked": picked,
            "repeats": np.array(len(picked) < len(order)),
            "order": order.astype(np.int32),
            "mean": mean,
            "std": std,
            "mirror": np.array(bool(draw and draw.flip), np.int32),
            "noisy": np.array(noisy),
            "noise": noise,
            "noise_first": np.array(noise.first if noisy else -1, np.int64),
            "pose": pose,
            "keypoints": keypoints,
            "actions": self._load_actions(stored, index, valid),
            "valid": valid,
            "row": np.array(-1 if padding else stored.row, np.int64),
            "start": np.array(start, np.int64),
        }

    def _load_points(
        self, stored: StoredRow, index: np.ndarray, valid: np.ndarray, draw: ClipDraw | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(keypoints, pose), the target and the input of a window.

        keypoints (T, K, 3): x, y in 0..1 of the frame, visible. pose (T, K, 3): x, y in body lengths, visible; with a stance
        (T, K, 3 + K): then the usual distance to each point, in body lengths, 0 where not known; with the likelihood one more
        at the end: of the point as the tracker gave it, 0 where it gave none.
        """
        points = len(self.swap)
        shape = (len(index), points, 3)
        if not stored.value("keypoints_size"):
            wide = 3 + points * bool(self.stance_frames) + self.with_likelihood
            return np.zeros(shape, np.float32), np.zeros((*shape[:2], wide), np.float32)
        trial = load_array(stored, "keypoints", (int(stored.value("frames")), points, 3))
        side = np.array([stored.value("width"), stored.value("height")], np.float32)
        xy, visible, sure = self._place_points(trial[index], valid, side, draw)
        keypoints = np.concatenate([xy, visible[..., None]], -1).astype(np.float32)
        if self.fill_gaps:  # for the input alone: where nothing was seen, there is nothing to learn a place from
            filled = fill_gaps(trial, frames=self.fill_gaps, likelihood=self.likelihood)
            xy, visible, sure = self._place_points(filled[index], valid, side, draw)
        body = float(stored.value("body_length"))
        seen = visible & np.isfinite(body)
        moved = xy if draw is None else xy + draw.jitter
        length = body if np.isfinite(body) and body > 0 else 1.0
        pose = [np.where(seen[..., None], moved * side / length, 0), seen[..., None]]
        if self.stance_frames:
            pose.append(self._measure_stance(trial, side, draw)[index] / length * valid[:, None, None])
        if self.with_likelihood:
            pose.append(sure[..., None])
        return keypoints, np.concatenate(pose, -1).astype(np.float32)

    def _place_points(
        self, xyl: np.ndarray, valid: np.ndarray, side: np.ndarray, draw: ClipDraw | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(T, K, 2) x, y in 0..1 of the frame, 0 where invisible; (T, K) visible; (T, K) likelihood, 0 where not labelled."""
        labelled = np.isfinite(xyl[..., :2]).all(-1) & valid[:, None]
        visible, sure = labelled & (xyl[..., 2] >= self.likelihood), np.where(labelled, xyl[..., 2], 0)
        xy = np.where(visible[..., None], xyl[..., :2] / side, 0)
        if draw is not None and draw.flip:  # one transform for pixels and points: the mirror
            xy = np.where(visible[..., None], np.stack([1 - xy[..., 0], xy[..., 1]], -1), 0)
            # np.take keeps the memory order that DALI needs; xy[:, swap] does not
            xy, visible, sure = (np.take(part, self.swap, 1) for part in (xy, visible, sure))
        return xy, visible, sure

    def _measure_stance(self, trial: np.ndarray, side: np.ndarray, draw: ClipDraw | None) -> np.ndarray:
        """(T, K, K) usual distances in px of a whole trial (T, K, 3), mirrored and shifted as its poses are."""
        if draw is not None:
            place = trial[..., :2] * np.array([-1 if draw.flip else 1, 1], np.float32)
            trial = np.concatenate([place, trial[..., 2:]], -1)
            trial = np.take(trial, self.swap, 1) if draw.flip else trial
            trial[..., :2] += draw.jitter * side
        return usual_distances(trial, frames=self.stance_frames, likelihood=self.likelihood)

    def _load_actions(self, stored: StoredRow, index: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """(T,) int64 merged classes, -1 where unlabelled or padded."""
        labels, _ = stored.manifest.lists("actions", np.array([stored.row]))
        return merge_classes(labels[index], self.merge) * valid - (~valid)

    def _normalisation(self, draw: ClipDraw | None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sd (3,) on the 0..255 scale that include brightness and contrast: one pass over the pixels does all three.

        With factors b, c a pixel x becomes ((x b - 128) c + 128) / 255; it is not clipped to the displayable range.
        """
        b, c = (draw.brightness, draw.contrast) if draw else (1.0, 1.0)
        mean = (255 * np.array(self.mean) - GREY * (1 - c)) / (b * c)
        return mean.astype(np.float32), (255 * np.array(self.std) / (b * c)).astype(np.float32)


def load_array(stored: StoredRow, column: str, shape: tuple[int, ...]) -> np.ndarray:
    """A stored .npy component; BadSample where it has another shape."""
    try:
        array = read_npy(stored.read(column))
        if array.shape != shape:
            raise ValueError(f"{array.shape}, {shape} was expected")
    except ValueError as error:
        where, offset = f"{stored.value('shard')}:{stored.value('key')}", stored.value(f"{column}_offset")
        raise BadSample(Fault(file=where, offset=offset, reason=f"{column} is {error}")) from error
    return array


def merge_classes(labels: np.ndarray, merge: Sequence[int]) -> np.ndarray:
    """Original classes -> merged classes, int64; -1 stays -1."""
    return np.where(labels >= 0, np.asarray(merge, np.int64)[np.maximum(labels, 0)], -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainWindows:
    """Slots of the plan -> requests of training clips, with their draws."""

    manifest: Manifest
    augment: ClipAugment
    frames: int
    points: int
    seed: int
    merge: tuple[int, ...]
    factors: np.ndarray | None = None  # (C,) frame factors of the rare-class boost; None: starts are uniform

    def __call__(self, slots: Slots) -> list[ClipRequest]:
        """One request a slot."""
        return [self._draw_request(int(row), slots.epoch, int(slot)) for row, slot in zip(slots.rows, slots.slots, strict=True)]

    def _draw_request(self, row: int, epoch: int, slot: int) -> ClipRequest:
        draw = draw_clip(self.augment, seed=self.seed, epoch=epoch, slot=slot, frames=self.frames, points=self.points)
        trial = self.manifest.value(row, "frames")
        starts = max(trial - self.frames, 0) + 1
        if self.factors is None:
            return ClipRequest(row=row, start=int(draw.window * starts), draw=draw)
        labels = merge_classes(self.manifest.lists("actions", np.array([row]))[0], self.merge)
        weights = weight_windows(labels, self.factors, length=self.frames)
        return ClipRequest(row=row, start=choose_start(weights, draw.window), draw=draw)
