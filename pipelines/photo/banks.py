"""Fixed patterns that photographs take their grain, haze and dead pixels from.

Drawing anew for each photograph takes 10 to 40 times as long as taking a stretch of what was drawn once.
"""

from dataclasses import dataclass, field

import numpy as np

from tarpon.pipelines.noise import SLACK, NoiseBank

GRAIN_SD = 32  # int8 levels: sd of the grain; it ends at 4 sd
SHARES = 1 << 16  # steps of the share of dead pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class PatternBank:
    """The patterns for squares of one size (S): the same in every process."""

    size: int  # S, pixels
    grain: NoiseBank = field(init=False, repr=False)  # int8 of sd GRAIN_SD, as many as three channels have
    _even: np.ndarray = field(init=False, repr=False)  # (N,) uint16, all values as likely
    _haze: np.ndarray = field(init=False, repr=False)  # (2, 2 S, 2 S) uint8

    def __post_init__(self) -> None:
        rng, pixels = np.random.default_rng(0), self.size**2
        grain = NoiseBank.normal(rng, count=3 * pixels, sd=GRAIN_SD, dtype=np.int8)
        object.__setattr__(self, "grain", grain)
        object.__setattr__(self, "_even", rng.integers(0, SHARES, pixels + SLACK, dtype=np.uint16))
        object.__setattr__(
            self, "_haze", np.stack([draw_murky_water(rng, 2 * self.size), draw_marine_snow(rng, 2 * self.size)])
        )

    def make_dropout_mask(self, place: float, share: float) -> np.ndarray:
        """(S, S, 1) uint8: 0 on that share of the pixels, else 1. place: in [0, 1)."""
        first = int(place * SLACK)
        stretch = self._even[first : first + self.size**2]
        return (stretch >= share * SHARES).astype(np.uint8).reshape(self.size, self.size, 1)

    def crop_haze(self, kind: float, place: tuple[float, float]) -> np.ndarray:
        """(S, S, 1) uint8 opacity, 255 the most: of murky water, or of what floats in it. kind, place: in [0, 1)."""
        left, top = (int(at * self.size) for at in place)
        pattern = self._haze[int(kind * len(self._haze))]
        return np.ascontiguousarray(pattern[top : top + self.size, left : left + self.size, None])


def draw_murky_water(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side) uint8: clouds, nowhere quite clear."""
    clouds = draw_smooth_noise(rng, side, side / 12) + 0.4 * draw_smooth_noise(rng, side, side / 40)
    return (255 * (0.55 + 0.45 * np.tanh(clouds))).astype(np.uint8)


def draw_marine_snow(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side) uint8: specks of several sizes, and a little haze between them."""
    specks = [
        np.clip((draw_smooth_noise(rng, side, sd) - least) / 0.5, 0, 1) for sd, least in ((1.2, 2.7), (3.0, 2.1), (7.0, 2.0))
    ]
    haze = 0.2 + 0.15 * np.tanh(draw_smooth_noise(rng, side, side / 12))
    return (255 * np.maximum(haze, np.maximum.reduce(specks))).astype(np.uint8)


def draw_smooth_noise(rng: np.random.Generator, side: int, sd: float) -> np.ndarray:
    """(side, side) float: noise blurred by a Gaussian of sd pixels, of mean 0 and sd 1; it repeats without a seam."""
    cycles = np.fft.fftfreq(side)[:, None] ** 2 + np.fft.rfftfreq(side) ** 2
    noise = np.fft.irfft2(
        np.fft.rfft2(rng.standard_normal((side, side))) * np.exp(-2 * (np.pi * sd) ** 2 * cycles), (side, side)
    )
    return (noise - noise.mean()) / noise.std()
