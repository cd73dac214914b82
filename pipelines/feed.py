"""Rows and draws -> what the DALI graph is fed: encoded bytes and parameter arrays, one list entry a sample.

B clips, T frames of the window, K points. Everything random was drawn by the plan; here it is only applied.
"""

import io
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tarpon.pipelines.ahead import Standby, read_ahead
from tarpon.shards.manifest import Manifest
from tarpon.shards.quarantine import BadSample, Budget, Fault
from tarpon.shards.reader import Reader
from tarpon.shards.sampling.draws import ClipAugment, ClipDraw, draw_clip, window_frames
from tarpon.shards.sampling.plan import Slots, choose_start, tiles, window_weights

GREY = 128.0  # contrast turns about this level
BANK_SLACK = 1 << 16  # places a noisy clip can start at in the noise bank


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """One clip to deliver."""

    row: int  # -1: padding, delivered with nothing valid
    start: int  # first frame within the trial, before any roll
    draw: ClipDraw | None = None  # None: as stored


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipFields:
    """How a stored trial becomes one clip's arrays."""

    frames: int  # T
    size: int  # pixels, both sides of the delivered frames
    mean: tuple[float, float, float]  # of the backbone's training images, 0..1
    std: tuple[float, float, float]
    likelihood: float  # a point below it is invisible
    merge: tuple[int, ...]  # original class -> class; -1 leaves a class out
    swap: tuple[int, ...]  # point k of the mirrored animal is point swap[k]
    noise_sd: float = 0.0  # of full scale; 0 needs no noise bank


class ClipFeed:
    """Turns windows into the arrays of one batch; reads ahead in threads.

    Args:
        pool: rows that may stand in for a bad one: the next of them in order, so that every rank and resume agrees.
        budget: bad samples allowed.
    """

    NAMES = (
        "video",
        "picked",
        "repeats",
        "order",
        "mean",
        "std",
        "mirror",
        "noisy",
        "noise",
        "pose",
        "keypoints",
        "actions",
        "valid",
        "row",
        "start",
    )

    def __init__(
        self,
        manifest: Manifest,
        reader: Reader,
        fields: ClipFields,
        *,
        pool: np.ndarray,
        budget: Budget,
        threads: int = 2,
        ahead: int = 2,
    ) -> None:
        self.manifest, self.reader, self.fields, self.standby = manifest, reader, fields, Standby(pool, budget)
        self._threads, self._ahead = ThreadPoolExecutor(threads, thread_name_prefix="feed"), ahead
        self._columns = {name: manifest.column(name) for name in ("frames", "width", "height", "body_length", "keypoints_size")}
        self._points = len(fields.swap)
        clip = fields.frames * fields.size * fields.size * 3
        sd = fields.noise_sd * 255
        # int8 holds +-127 grey levels: 25 standard deviations at the default 0.02
        self._bank = (
            None
            if not sd
            else np.clip(
                np.rint(np.random.default_rng(0).standard_normal(clip + BANK_SLACK, dtype=np.float32) * sd), -127, 127
            ).astype(np.int8)
        )
        self._silence = np.zeros((0, fields.size, fields.size, 3), np.int8)
        self.work_s = 0.0  # spent making arrays, over all threads

    def batches(self, work: Iterable[Sequence[Window]]) -> Iterator[tuple[list[np.ndarray], ...]]:
        """Arrays of each batch in the order of NAMES, read `ahead` batches early."""
        return read_ahead(work, self.sample, names=self.NAMES, threads=self._threads, ahead=self._ahead)

    def sample(self, window: Window) -> dict[str, np.ndarray]:
        """One clip's arrays; a bad row spends the budget and the next good row of the pool stands in."""
        begun = time.perf_counter()
        try:
            return self.standby.first_good(window.row, lambda row: self._sample(window, row))
        finally:
            self.work_s += time.perf_counter() - begun

    def _sample(self, window: Window, row: int) -> dict[str, np.ndarray]:
        fields, padding = self.fields, window.row < 0
        row = int(self.standby.rows[0]) if row < 0 else row
        draw, trial = window.draw, int(self._columns["frames"][row])
        start = min(window.start, max(trial - 1, 0))
        index, pixels, valid = window_frames(
            trial=trial,
            start=start,
            frames=fields.frames,
            roll=draw.roll if draw else 0,
            dropped=draw.dropped if draw else None,
        )
        if padding:
            pixels, valid = np.zeros_like(pixels), np.zeros_like(valid)
        picked, order = np.unique(pixels, return_inverse=True)
        keypoints, pose = self._points_of(row, index, valid, draw)
        mean, std = self._normalisation(draw)
        noisy = draw is not None and draw.noise is not None and self._bank is not None
        return {
            "video": np.frombuffer(self.reader.read(row, "clip"), np.uint8),
            "picked": picked,
            "repeats": np.array(len(picked) < len(order)),
            "order": order.astype(np.int32),
            "mean": mean,
            "std": std,
            "mirror": np.array(bool(draw and draw.flip), np.int32),
            "noisy": np.array(noisy),
            "noise": self._noise(draw.noise) if noisy else self._silence,
            "pose": pose,
            "keypoints": keypoints,
            "actions": self._actions_of(row, index, valid),
            "valid": valid,
            "row": np.array(-1 if padding else row, np.int64),
            "start": np.array(start, np.int64),
        }

    def _points_of(
        self, row: int, index: np.ndarray, valid: np.ndarray, draw: ClipDraw | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points, each (T, K, 3) with visible last: the target in 0..1 of the frame, and the pose input in body lengths."""
        shape = (len(index), self._points, 3)
        if not self._columns["keypoints_size"][row]:
            return np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        xyl = self._array(row, "keypoints", (int(self._columns["frames"][row]), self._points, 3))[index]
        side = np.array([self._columns["width"][row], self._columns["height"][row]], np.float32)
        visible = (xyl[..., 2] >= self.fields.likelihood) & np.isfinite(xyl[..., :2]).all(-1) & valid[:, None]
        xy = np.where(visible[..., None], xyl[..., :2] / side, 0)
        if draw is not None and draw.flip:  # one transform for pixels and points: the mirror
            xy = np.where(visible[..., None], np.stack([1 - xy[..., 0], xy[..., 1]], -1), 0)
            # np.take keeps the memory order that DALI needs; xy[:, swap] does not
            xy, visible = np.take(xy, self.fields.swap, 1), np.take(visible, self.fields.swap, 1)
        keypoints = np.concatenate([xy, visible[..., None]], -1).astype(np.float32)
        body = float(self._columns["body_length"][row])
        seen = visible & np.isfinite(body)
        moved = xy if draw is None else xy + draw.jitter
        pose = np.where(seen[..., None], moved * side / (body if np.isfinite(body) and body > 0 else 1.0), 0)
        return keypoints, np.concatenate([pose, seen[..., None]], -1).astype(np.float32)

    def _actions_of(self, row: int, index: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """(T,) int64 merged classes, -1 where unlabelled or padded."""
        labels, _ = self.manifest.lists("actions", np.array([row]))
        return merged(labels[index], self.fields.merge) * valid - (~valid)

    def _normalisation(self, draw: ClipDraw | None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sd on the 0..255 scale with brightness and contrast folded in: one pass over the pixels does all three.

        With factors b, c a pixel x becomes ((x b - 128) c + 128) / 255; it is not clipped to the displayable range.
        """
        b, c = (draw.brightness, draw.contrast) if draw else (1.0, 1.0)
        mean = (255 * np.array(self.fields.mean) - GREY * (1 - c)) / (b * c)
        return mean.astype(np.float32), (255 * np.array(self.fields.std) / (b * c)).astype(np.float32)

    def _noise(self, place: float) -> np.ndarray:
        fields = self.fields
        shape = (fields.frames, fields.size, fields.size, 3)
        first = int(place * BANK_SLACK)
        return self._bank[first : first + int(np.prod(shape))].reshape(shape)  # a view: no copy

    def _array(self, row: int, column: str, shape: tuple[int, ...]) -> np.ndarray:
        array = np.load(io.BytesIO(self.reader.read(row, column)), allow_pickle=False)
        if array.shape != shape:
            where = f"{self.manifest.value(row, 'shard')}:{self.manifest.value(row, 'key')}"
            raise BadSample(Fault(file=where, reason=f"{column} is {array.shape}, {shape} was expected"))
        return array


def merged(labels: np.ndarray, merge: Sequence[int]) -> np.ndarray:
    """Original classes -> merged classes, int64; -1 stays -1."""
    return np.where(labels >= 0, np.asarray(merge, np.int64)[np.maximum(labels, 0)], -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainWindows:
    """Slots of the plan -> windows with their draws."""

    manifest: Manifest
    augment: ClipAugment
    frames: int
    points: int
    seed: int
    merge: tuple[int, ...]
    factors: np.ndarray | None = None  # (C,) frame factors of the rare-class boost; None: starts are uniform

    def __call__(self, slots: Slots) -> list[Window]:
        return [self._window(int(row), slots.epoch, int(slot)) for row, slot in zip(slots.rows, slots.slots, strict=True)]

    def _window(self, row: int, epoch: int, slot: int) -> Window:
        draw = draw_clip(self.augment, seed=self.seed, epoch=epoch, slot=slot, frames=self.frames, points=self.points)
        trial = self.manifest.value(row, "frames")
        starts = max(trial - self.frames, 0) + 1
        if self.factors is None:
            return Window(row=row, start=int(draw.window * starts), draw=draw)
        labels = merged(self.manifest.lists("actions", np.array([row]))[0], self.merge)
        weights = window_weights(labels, self.factors, length=self.frames)
        return Window(row=row, start=choose_start(weights, draw.window), draw=draw)


def tiled_windows(manifest: Manifest, rows: np.ndarray, *, frames: int) -> list[Window]:
    """Windows that cover every trial once, in order, as stored."""
    return [Window(row=int(row), start=int(start)) for row in rows for start in tiles(manifest.value(row, "frames"), frames)]
