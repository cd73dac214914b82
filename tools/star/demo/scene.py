"""A photograph of a drawn animal: its skin on a flat chart, a pose that places it in the picture, a scene that lights it.

An individual is painted once; every photograph warps that one chart. So what stays the same between two photographs is what
the individual is, and what differs is pose, place and light. Chart and picture coordinates run from -1 to 1, x right, y down;
in a picture 1 is half the shorter side. Colours are 0 to 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from tarpon.tools.star.demo.ground import fog, ground

Bend = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # places on the posed body -> places on the chart
RELIEF = 0.07  # how steep the skin's height is


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How the body lies in the picture."""

    turn: float  # radians
    scale: float  # of the chart, in half sides of the picture
    shift: tuple[float, float] = (0.0, 0.0)
    tilt: tuple[float, float] = (0.0, 0.0)  # perspective: how much nearer the right and the lower edge are
    squash: float = 1.0  # foreshortening across

    def back(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places in the picture -> places on the body."""
        x, y = (x - self.shift[0]) / self.scale, (y - self.shift[1]) / (self.scale * self.squash)
        near = np.maximum(1 + self.tilt[0] * x + self.tilt[1] * y, 0.2)
        x, y = x / near, y / near
        cos, sin = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        return x * cos + y * sin, y * cos - x * sin


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What all photographs of one visit share."""

    ground: str  # of reid_ground.GROUNDS
    colour: tuple[float, float, float]  # of the ground
    through: tuple[float, float, float]  # share of each colour's light that reaches the camera
    veil: tuple[float, float, float]  # colour of the light scattered on the way
    haze: float  # share of the veil
    blur: float  # pixels at a picture of 160
    gamma: float
    sun: float  # radians: where the light comes from
    zoom: float  # mean scale of the animals
    snow: int  # drifting particles

    def lit(self, picture: np.ndarray, rng: np.random.Generator) -> Image.Image:
        """(H, W, 3) -> what the camera stores: light, water, particles, noise."""
        height, width = picture.shape[:2]
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
        lean, vignette = rng.uniform(-0.16, 0.16, 2), rng.uniform(0.05, 0.25)
        light = rng.uniform(0.88, 1.12) * (1 + lean[0] * x + lean[1] * y - vignette * (x * x + y * y) / 2)
        through = np.array(self.through) * rng.uniform(0.95, 1.05, 3)
        seen = picture * light[..., None] * through * (1 - self.haze) + np.array(self.veil) * self.haze
        for px, py in zip(rng.integers(0, width, self.snow), rng.integers(0, height, self.snow), strict=True):
            seen[py : py + 2, px : px + rng.integers(1, 3)] += 0.3 * np.array(self.veil)
        image = _image(np.clip(seen, 0, 1) ** self.gamma)
        radius = self.blur * width / 160 * rng.uniform(0.6, 1.3)
        soft = np.asarray(image.filter(ImageFilter.GaussianBlur(radius)) if radius > 0.3 else image) / np.float32(255)
        return _image(soft + rng.normal(0, 0.012, soft.shape))


def under_water(rng: np.random.Generator, *, grounds: tuple[str, ...], zoom: tuple[float, float] = (0.85, 1.03)) -> Scene:
    """A visit below the surface: blue, green or clear water, or a warm lamp; nothing in it tells an individual."""
    swallowed = np.array([(0.1, 0.06, 0.12), (1.15, 0.4, 0.08), (0.85, 0.12, 0.7), (0.0, 0.3, 0.75)][rng.integers(4)])
    through = np.exp(-swallowed * rng.uniform(0.25, 0.8)) * rng.uniform(0.8, 1.3) * rng.uniform(0.93, 1.07, 3)
    veil = np.clip(through / through.max() * rng.uniform(0.35, 0.6), 0, 1)
    return Scene(
        ground=str(rng.choice(grounds)), colour=_three(rng.uniform(0.7, 1.25) * rng.uniform(0.85, 1.15, 3)),
        through=_three(through), veil=_three(veil), haze=rng.uniform(0.0, 0.25), blur=rng.uniform(0, 0.9),
        gamma=rng.uniform(0.8, 1.2), sun=rng.uniform(0, 2 * np.pi), zoom=rng.uniform(*zoom), snow=int(rng.integers(0, 14)),
    )  # fmt: skip


def in_air(rng: np.random.Generator, *, grounds: tuple[str, ...], zoom: tuple[float, float] = (0.8, 0.95)) -> Scene:
    """A visit above the surface, from noon to dusk."""
    warm = rng.uniform(-0.3, 0.3)
    through = np.exp(np.array([warm, 0, -warm])) * rng.uniform(0.55, 1.2)
    return Scene(
        ground=str(rng.choice(grounds)), colour=_three(rng.uniform(0.6, 1.25) * rng.uniform(0.85, 1.15, 3)),
        through=_three(through), veil=_three(rng.uniform(0.5, 0.8) * through / through.max()), haze=rng.uniform(0, 0.25),
        blur=rng.uniform(0, 0.7), gamma=rng.uniform(0.8, 1.2), sun=rng.uniform(-2.6, -0.5), zoom=rng.uniform(*zoom), snow=0,
    )  # fmt: skip


def photograph(
    chart: np.ndarray,
    pose: Pose,
    scene: Scene,
    *,
    width: int,
    height: int,
    rng: np.random.Generator,
    bend: Bend | None = None,
    fold: bool = False,
) -> tuple[Image.Image, Image.Image]:
    """The picture and the animal's mask, both width x height, RGB and L.

    Args:
        chart: (S, S, 5) float32: colour, whether the animal is there, height.
        bend: where a place on the body is on the chart; None: there.
        fold: the chart is a photograph without outline, mirrored on at its edges.
    """
    unit = min(width, height) / 2
    y, x = (np.mgrid[:height, :width] + np.float32(0.5)).astype(np.float32)
    u, v = pose.back((x - width / 2) / unit, (y - height / 2) / unit)
    u, v = bend(u, v) if bend else (u, v)
    if fold:
        u, v = _folded(u), _folded(v)
    skin = _sampled(chart, u, v)
    there = skin[..., 3:4]
    sun = np.cos(scene.sun), np.sin(scene.sun)
    steep_y, steep_x = np.gradient(skin[..., 4] * unit * pose.scale * RELIEF)
    shade = 1 - 0.4 * np.clip(steep_x * sun[0] + steep_y * sun[1], -1, 1)
    behind = ground(scene.ground, scene.colour, width=width, height=height, rng=rng)
    reach = [round(0.07 * unit * side) for side in (-sun[1], -sun[0])]
    shadow = _image(np.roll(there[..., 0], reach, (0, 1))).filter(ImageFilter.GaussianBlur(0.04 * unit))
    behind = behind * (1 - 0.5 * np.asarray(shadow, np.float32) / 255)[..., None]
    return scene.lit(behind * (1 - there) + skin[..., :3] * shade[..., None] * there, rng), _image(there[..., 0])


def chart_of(colour: Image.Image, there: Image.Image, *, size: int, bump: float, rng: np.random.Generator) -> np.ndarray:
    """A chart from two drawings twice its size or so: round at the edges and a little rough.

    Args:
        colour: RGB, painted beyond the outline too.
        there: L, white where the animal is.
    """
    flat = (size, size)
    alpha = np.asarray(there.resize(flat, Image.Resampling.BOX), np.float32)[..., None] / 255
    round_off = np.asarray(there.filter(ImageFilter.GaussianBlur(0.05 * there.width)).resize(flat), np.float32)[..., None] / 255
    rough = fog(rng, size, size, cell=size / 40)[..., None]
    skin = np.asarray(colour.resize(flat, Image.Resampling.BOX), np.float32) / 255
    return np.concatenate([skin * (1 + 0.1 * bump * (rough - 0.5)), alpha, round_off**0.7 + 0.1 * bump * rough], -1)


def _sampled(chart: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The chart at (u, v), (H, W, 5); between its points linear."""
    height, width, depth = chart.shape
    x, y = np.clip((u + 1) / 2 * (width - 1), 0, width - 1.001), np.clip((v + 1) / 2 * (height - 1), 0, height - 1.001)
    column, row = x.astype(np.intp), y.astype(np.intp)
    right, below = (x - column).astype(np.float32)[..., None], (y - row).astype(np.float32)[..., None]
    flat, at = chart.reshape(-1, depth), row * width + column
    upper = flat[at] * (1 - right) + flat[at + 1] * right
    return upper * (1 - below) + (flat[at + width] * (1 - right) + flat[at + width + 1] * right) * below


def _folded(u: np.ndarray) -> np.ndarray:
    """-1 to 1, there and back."""
    return np.abs((u - 1) % 4 - 2) - 1


def _image(values: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8))


def _three(values: np.ndarray) -> tuple[float, float, float]:
    return tuple(float(value) for value in values)
