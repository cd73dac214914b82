"""Augmentation parameters of clips and pages, from a counter-based generator keyed by (seed, epoch, slot).

No state: the same key gives the same draw on any rank and after any resume. Every parameter is drawn for every sample, used
or not, so switching one augmentation off leaves the others unchanged.
"""

from dataclasses import dataclass

import numpy as np


def make_generator(seed: int, epoch: int, slot: int) -> np.random.Generator:
    """Philox keyed by (seed, epoch) with the slot in the counter's high words (Salmon et al. 2011)."""
    key, counter = np.array([seed, epoch], np.uint64), np.array([0, 0, slot, 0], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


@dataclass(frozen=True, kw_only=True)
class ClipAugment:
    """Augmentation of training clips; *_p is the probability that a clip gets it. All zero leaves the clip as stored."""

    brightness_p: float = 0.5  # probability of a change of brightness
    brightness: float = 0.2  # factor within 1 +- this
    contrast_p: float = 0.5  # probability of a change of contrast
    contrast: float = 0.2  # factor within 1 +- this, about mid grey
    drop_p: float = 0.3  # probability of dropped frames
    drop_share: float = 0.1  # share of frames dropped, each replaced by the one before
    noise_p: float = 0.3  # probability of noise
    noise_sd: float = 0.02  # its standard deviation, of full scale
    roll_p: float = 0.2  # probability of a shift in time
    roll: int = 5  # frames of it at most, either way; frames from beyond the trial are masked
    flip_p: float = 0.0  # probability of a mirror image, left-right, with left and right points swapped
    # Of the frame, on the pose input only; the regression target stays clean. One shift a point a clip: drawn anew for every
    # frame it buries motion (0.02 is 10 px of 512, a real step 0.5 to 3 px), and macro F1 fell from 0.91 to 0.18.
    jitter_sd: float = 0.02

    def __post_init__(self) -> None:
        for name in ("brightness_p", "contrast_p", "drop_p", "drop_share", "noise_p", "roll_p", "flip_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augment.{name}={getattr(self, name)} must be in [0, 1]")
        for name in ("brightness", "contrast", "noise_sd", "jitter_sd", "roll"):
            if getattr(self, name) < 0:
                raise ValueError(f"augment.{name}={getattr(self, name)} must be >= 0")
        if max(self.brightness, self.contrast) >= 1:
            raise ValueError("augment.brightness and augment.contrast must be below 1, or a clip can turn black")


NO_AUGMENT = ClipAugment(brightness_p=0, contrast_p=0, drop_p=0, noise_p=0, roll_p=0, flip_p=0, jitter_sd=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipDraw:
    """One clip's parameters."""

    window: float  # in [0, 1): start of the window, as a quantile of the allowed starts
    brightness: float  # factor
    contrast: float  # factor
    dropped: np.ndarray  # (T,) bool, never the first frame
    noise: float | None  # in [0, 1): offset in the noise bank; None: no noise
    roll: int  # frames
    flip: bool
    jitter: np.ndarray  # (K, 2) float32, share of the frame, the same for all frames of the clip


def draw_clip(augment: ClipAugment, *, seed: int, epoch: int, slot: int, frames: int, points: int) -> ClipDraw:
    """The parameters of one slot's clip of T frames with K points; the same for the same (seed, epoch, slot)."""
    rng = make_generator(seed, epoch, slot)
    u = rng.random(10)
    dropped = np.zeros(frames, bool)
    count = int(augment.drop_share * frames) if u[3] < augment.drop_p else 0
    chosen = rng.permutation(np.arange(1, frames))[:count]
    dropped[chosen] = True
    jitter = rng.standard_normal((points, 2), dtype=np.float32) * np.float32(augment.jitter_sd)
    return ClipDraw(
        window=float(u[0]),
        brightness=1 + augment.brightness * (2 * u[4] - 1) if u[1] < augment.brightness_p else 1.0,
        contrast=1 + augment.contrast * (2 * u[5] - 1) if u[2] < augment.contrast_p else 1.0,
        dropped=dropped,
        noise=float(u[7]) if u[6] < augment.noise_p and augment.noise_sd > 0 else None,
        roll=int(np.floor((2 * augment.roll + 1) * rng.random())) - augment.roll if u[8] < augment.roll_p else 0,
        flip=bool(u[9] < augment.flip_p),
        jitter=jitter,
    )


def index_window_frames(
    *, trial: int, start: int, frames: int, roll: int, dropped: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frame indices of a window: for labels and points, for pixels, and which of them lie in the trial.

    Args:
        trial: number of frames in the trial.
        start: first frame before the roll.
        frames: window length, T.
        dropped: (T,) bool, True where the pixels of the frame before are repeated.

    Returns:
        index (T,) int64 within the trial (edges repeated where the window leaves it),
        pixels (T,) int32 likewise after temporal dropout, valid (T,) bool.
    """
    asked = start + roll + np.arange(frames)
    index = np.clip(asked, 0, trial - 1)
    pixels = index if dropped is None else index[np.maximum.accumulate(np.where(dropped, 0, np.arange(frames)))]
    return index, pixels.astype(np.int32), asked == index


@dataclass(frozen=True, kw_only=True)
class PageAugment:
    """Augmentation of training pages; *_p is the probability that a page gets it. All zero leaves the page as stored."""

    flip_p: float = 0.5  # left-right and, drawn independently, upside down: a dish has no up
    angle_p: float = 0.5  # below 1: rotation smooths, and a network that saw only rotated pages misreads the others
    angle: float = 15.0  # degrees at most, either way; the border is filled with the mirrored page
    brightness_p: float = 0.5  # probability of a change of brightness
    brightness: float = 0.2  # factor within 1 +- this
    contrast_p: float = 0.5  # probability of a change of contrast
    contrast: float = 0.2  # factor within 1 +- this, about mid grey
    noise_p: float = 0.3  # probability of noise
    noise_sd: float = 0.02  # its standard deviation, of full scale

    def __post_init__(self) -> None:
        for name in ("flip_p", "angle_p", "brightness_p", "contrast_p", "noise_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augment.{name}={getattr(self, name)} must be in [0, 1]")
        if not 0 <= self.angle <= 15:
            raise ValueError(f"augment.angle={self.angle} must be in [0, 15] degrees: pages are mirrored just so far beyond")
        if not (0 <= self.brightness < 1 and 0 <= self.contrast < 1) or self.noise_sd < 0:
            raise ValueError(
                f"augment.brightness={self.brightness} and contrast={self.contrast} must be in [0, 1), "
                f"noise_sd={self.noise_sd} at least 0"
            )


@dataclass(frozen=True, kw_only=True)
class PageDraw:
    """The parameters of one page, or of all pages of a window."""

    flip_x: bool  # left-right
    flip_y: bool
    angle: float  # degrees
    brightness: float  # factor
    contrast: float  # factor
    noise: float | None  # in [0, 1): offset in the noise bank; None: no noise
    further: tuple[tuple[float, float], ...] = ()  # brightness and contrast of the channels after the first

    def light(self, channel: int) -> tuple[float, float]:
        """Brightness and contrast of a channel, from 0; unchanged where none was drawn for it."""
        drawn = ((self.brightness, self.contrast), *self.further)
        return drawn[channel] if channel < len(drawn) else (1.0, 1.0)


def draw_page(augment: PageAugment, *, seed: int, epoch: int, slot: int, channels: int = 1) -> PageDraw:
    """The parameters of one slot's page or window of pages; the same for the same (seed, epoch, slot).

    Channels are turned together. Each has a brightness and a contrast of its own, as each has its own lamp and exposure.
    """
    rng = make_generator(seed, epoch, slot)
    u, further = rng.random(10), rng.random((channels - 1, 4)).tolist()
    return PageDraw(
        flip_x=bool(u[0] < augment.flip_p),
        flip_y=bool(u[1] < augment.flip_p),
        angle=augment.angle * (2 * float(u[2]) - 1) if u[9] < augment.angle_p else 0.0,
        brightness=1 + augment.brightness * (2 * float(u[4]) - 1) if u[3] < augment.brightness_p else 1.0,
        contrast=1 + augment.contrast * (2 * float(u[6]) - 1) if u[5] < augment.contrast_p else 1.0,
        noise=float(u[8]) if u[7] < augment.noise_p and augment.noise_sd > 0 else None,
        further=tuple(
            (
                1 + augment.brightness * (2 * bright - 1) if changed < augment.brightness_p else 1.0,
                1 + augment.contrast * (2 * strong - 1) if turned < augment.contrast_p else 1.0,
            )
            for changed, bright, turned, strong in further
        ),
    )
