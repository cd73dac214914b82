"""Fixed patterns of noise, haze and dropped pixels, of which each photograph takes a part.

Drawing anew for each photograph takes 10 to 40 times as long.
"""

from dataclasses import dataclass, field

import numpy as np

from tarpon.pipelines.noise import SLACK, NoiseBank

GRAIN_SD = 32  # int8 levels: sd of the noise; it is clipped at 4 sd
SHARES = 1 << 16  # resolution of the share of dropped pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class PatternBank:
    """The patterns for squares of one size (S), the same in every process."""

    size: int  # S, pixels
    grain: NoiseBank = field(init=False, repr=False)  # int8 of sd GRAIN_SD, for slices of up to 3 S S values
    _even: np.ndarray = field(init=False, repr=False)  # (N,) uint16, uniform
    _haze: np.ndarray = field(init=False, repr=False)  # (2, 2 S, 2 S) uint8

    def __post_init__(self) -> None:
        rng, pixels = np.random.default_rng(0), self.size**2
        grain = NoiseBank.normal(rng, count=3 * pixels, sd=GRAIN_SD, dtype=np.int8)
        object.__setattr__(self, "grain", grain)
        object.__setattr__(self, "_even", rng.integers(0, SHARES, pixels + SLACK, dtype=np.uint16))
        object.__setattr__(
            self, "_haze", np.stack([draw_murky_water(rng, 2 * self.size), draw_marine_snow(rng, 2 * self.size)])
        )

    def make_dropout_mask(self, offset: float, share: float) -> np.ndarray:
        """(S, S, 1) uint8: 0 on that share of the pixels, else 1. offset: in [0, 1)."""
        first = int(offset * SLACK)
        values = self._even[first : first + self.size**2]
        return (values >= share * SHARES).astype(np.uint8).reshape(self.size, self.size, 1)

    def crop_haze(self, pattern: float, offset: tuple[float, float]) -> np.ndarray:
        """(S, S, 1) uint8 opacity of murky water or of marine snow, 255 the most. pattern, offset: in [0, 1)."""
        left, top = (int(at * self.size) for at in offset)
        opacity = self._haze[int(pattern * len(self._haze))]
        return np.ascontiguousarray(opacity[top : top + self.size, left : left + self.size, None])


def draw_murky_water(rng: np.random.Generator, side: int) -> np.ndarray:
    """Opacity (side, side) uint8 of clouds, nowhere quite clear."""
    clouds = draw_smooth_noise(rng, side, side / 12) + 0.4 * draw_smooth_noise(rng, side, side / 40)
    return (255 * (0.55 + 0.45 * np.tanh(clouds))).astype(np.uint8)


def draw_marine_snow(rng: np.random.Generator, side: int) -> np.ndarray:
    """Opacity (side, side) uint8 of specks of several sizes, with a little haze between them."""
    specks = [
        np.clip((draw_smooth_noise(rng, side, sd) - least) / 0.5, 0, 1) for sd, least in ((1.2, 2.7), (3.0, 2.1), (7.0, 2.0))
    ]
    haze = 0.2 + 0.15 * np.tanh(draw_smooth_noise(rng, side, side / 12))
    return (255 * np.maximum(haze, np.maximum.reduce(specks))).astype(np.uint8)


def draw_smooth_noise(rng: np.random.Generator, side: int, sd: float) -> np.ndarray:
    """(side, side) float: noise blurred by a Gaussian of sd pixels, of mean 0 and sd 1, periodic in both axes."""
    cycles = np.fft.fftfreq(side)[:, None] ** 2 + np.fft.rfftfreq(side) ** 2
    noise = np.fft.irfft2(
        np.fft.rfft2(rng.standard_normal((side, side))) * np.exp(-2 * (np.pi * sd) ** 2 * cycles), (side, side)
    )
    return (noise - noise.mean()) / noise.std()
