"""A sea star seen from above. Arms, their lengths, colours, marks and the sieve plate are the individual's and never change.

Colours come from few families, as in life: who goes by colour finds the wrong star. Lengths are in arm lengths.
"""

from dataclasses import dataclass

import numpy as np

from tarpon.tools.star.demo.ground import fog
from tarpon.tools.star.demo.scene import Bend, Pose, Scene

ARMS = (5, 6, 5, 12, 5, 7, 5, 9, 6, 5, 14, 5, 7, 5, 6, 11)  # by turns: half of them have five
MARKS = ("bands", "spots", "rays", "blotches", "rings", "tips")
SKINS = ((0.84, 0.4, 0.16), (0.46, 0.28, 0.5), (0.72, 0.54, 0.26), (0.64, 0.22, 0.2), (0.8, 0.66, 0.56))
INKS = ((0.95, 0.9, 0.78), (0.16, 0.1, 0.1), (0.5, 0.06, 0.12), (0.22, 0.12, 0.36), (0.98, 0.75, 0.3))
EDGE = 0.94  # of the chart that the longest arm reaches


@dataclass(frozen=True, kw_only=True, eq=False)
class Star:
    """What all photographs of one star share."""

    angles: np.ndarray  # (arms,) radians, ascending, within 0 to 2 pi
    lengths: np.ndarray  # (arms,) of 1 about; a short arm is one that grows again
    width: float  # of an arm at its root
    taper: float  # exponent: small is a blunt arm
    disc: float  # radius of the middle
    skin: tuple[float, float, float]
    inks: tuple[tuple[float, float, float], tuple[float, float, float]]
    marks: tuple[str, str]
    sieve: tuple[float, float]  # angle and radius of the sieve plate
    seed: int  # of its marks' places


def star(number: int, rng: np.random.Generator) -> Star:
    """The look of one individual; the number goes through arms and marks by turns, so that neighbours differ."""
    arms = ARMS[number % len(ARMS)]
    many = arms > 7
    lengths = np.clip(rng.normal(1, 0.05, arms), 0.88, 1.06)
    if rng.random() < 0.6:
        lengths[rng.integers(arms)] *= rng.uniform(0.4, 0.7)
    step = 2 * np.pi / arms
    first = number % len(MARKS)
    second = (first + 1 + int(rng.integers(len(MARKS) - 1))) % len(MARKS)
    skin = np.array(SKINS[int(rng.integers(len(SKINS)))])
    far = sorted(INKS, key=lambda ink: -np.abs(np.array(ink) - skin).sum())[:3]  # marks that are seen on this skin
    chosen = rng.permutation(3)[:2]
    return Star(
        angles=np.sort((np.arange(arms) + rng.uniform(-0.13, 0.13, arms)) * step), lengths=lengths / lengths.max(),
        width=rng.uniform(0.12, 0.16) if many else rng.uniform(0.2, 0.32), taper=rng.uniform(0.35, 0.75),
        disc=rng.uniform(0.33, 0.42) if many else rng.uniform(0.2, 0.32),
        skin=tuple(np.clip(skin * rng.uniform(0.85, 1.15) + rng.normal(0, 0.03, 3), 0, 1)),
        inks=(far[chosen[0]], far[chosen[1]]), marks=(MARKS[first], MARKS[second]),
        sieve=(float((rng.integers(arms) + 0.5) * step), 0.55), seed=int(rng.integers(2**31)),
    )  # fmt: skip


def paint(star: Star, *, size: int) -> np.ndarray:
    """The star's chart, (size, size, 5) float32, drawn at twice the size."""
    y, x = np.mgrid[-1 : 1 : 2 * size * 1j, -1 : 1 : 2 * size * 1j].astype(np.float32) / EDGE
    rng = np.random.default_rng(star.seed)
    along = x[None] * np.cos(star.angles)[:, None, None] + y[None] * np.sin(star.angles)[:, None, None]
    across = np.abs(y[None] * np.cos(star.angles)[:, None, None] - x[None] * np.sin(star.angles)[:, None, None])
    part = along / star.lengths[:, None, None]  # 0 middle, 1 tip
    half = star.width * np.clip(1 - part, 0, 1) ** star.taper
    inside = np.where(part > -0.05, half - across - 2 * np.clip(part - 1, 0, 1), -1.0)  # (arms, H, W): how far within each arm
    radius = np.hypot(x, y)
    whole = np.log(np.exp(np.clip(inside, -1, 1) * 30).sum(0) + np.exp((star.disc - radius) * 30)) / 30
    arm = inside.argmax(0)[None]
    own = {
        "u": np.take_along_axis(part, arm, 0)[0], "v": np.take_along_axis(across / np.maximum(half, 0.02), arm, 0)[0],
        "arm": arm[0], "radius": radius, "x": x, "y": y,
    }  # fmt: skip
    colour = np.broadcast_to(np.array(star.skin, np.float32), (*x.shape, 3))
    colour = colour * (0.82 + 0.25 * np.clip(whole / star.width * 1.6, 0, 1))[..., None]
    for kind, ink, strength in zip(star.marks, star.inks, (0.95, 0.8), strict=True):
        mask = strength * _MARK[kind](star, own, rng)[..., None]
        colour = colour * (1 - mask) + np.array(ink, np.float32) * mask
    warts = fog(rng, 2 * size, 2 * size, cell=size / 36)
    pale = np.clip((warts - 0.66) * 7, 0, 0.5)[..., None]
    colour = colour * (1 - pale) + (0.6 * colour + 0.4) * pale
    angle, out = star.sieve
    plate = np.hypot(x - out * star.disc * np.cos(angle), y - out * star.disc * np.sin(angle))
    stone = np.clip((0.055 - plate) * 80, 0, 1)[..., None]
    colour = colour * (1 - stone) + np.array([0.98, 0.93, 0.82], np.float32) * stone
    there = np.clip(0.5 + whole * size * 0.7, 0, 1)
    height = np.sqrt(np.clip(whole / 0.2, 0, 1)) + 0.12 * warts + 0.15 * stone[..., 0]
    chart = np.concatenate([colour, there[..., None], height[..., None]], -1)
    return chart.reshape(size, 2, size, 2, 5).mean((1, 3)).astype(np.float32)


def bend(star: Star, rng: np.random.Generator) -> Bend:
    """A posture: every arm curls and stretches by its own amount."""
    few = len(star.angles) < 8
    curl = rng.normal(0, 0.15 if few else 0.1, len(star.angles))
    reach = rng.normal(0, 0.04, len(star.angles))

    def on_chart(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        radius, angle = np.hypot(x, y), np.arctan2(y, x)
        angle = angle + np.interp(angle, star.angles, curl, period=2 * np.pi) * np.minimum(radius, 1.2) ** 1.6
        radius = radius * (1 + np.interp(angle, star.angles, reach, period=2 * np.pi))
        return radius * np.cos(angle), radius * np.sin(angle)

    return on_chart


def lying(scene: Scene, rng: np.random.Generator) -> Pose:
    """Seen from above or a little aside, turned any way."""
    return Pose(
        turn=rng.uniform(0, 2 * np.pi), scale=scene.zoom * rng.uniform(0.92, 1.1), shift=tuple(rng.uniform(-0.1, 0.1, 2)),
        tilt=tuple(rng.uniform(-0.14, 0.14, 2)), squash=rng.uniform(0.82, 1.0),
    )  # fmt: skip


def _bands(star: Star, own: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Across the arms, at places of its own, some left out on some arms."""
    places = np.linspace(rng.uniform(0.26, 0.38), rng.uniform(0.75, 0.9), rng.integers(2, 5))
    wide = rng.uniform(0.035, 0.065)
    mask = np.zeros_like(own["u"])
    for arm in range(len(star.angles)):
        for place in places[rng.random(len(places)) > 0.2]:
            near = np.abs(own["u"] - place - rng.normal(0, 0.015))
            mask = np.maximum(mask, (own["arm"] == arm) * np.clip((wide - near) * 60, 0, 1))
    return mask


def _spots(star: Star, own: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Round, few and large or many and small, anywhere."""
    large = rng.random() < 0.5
    count, mean = (int(rng.integers(8, 15)), 0.085) if large else (int(rng.integers(24, 40)), 0.045)
    mask = np.zeros_like(own["u"])
    for arm, out in zip(rng.integers(len(star.angles), size=count), rng.uniform(0.05, 0.85, count), strict=True):
        angle, aside = star.angles[arm], rng.uniform(-0.5, 0.5) * star.width * (1 - out)
        x, y = out * np.cos(angle) - aside * np.sin(angle), out * np.sin(angle) + aside * np.cos(angle)
        spot = mean * rng.uniform(0.6, 1.3) - np.hypot(own["x"] - x, own["y"] - y)
        mask = np.maximum(mask, np.clip(spot * 60, 0, 1))
    return mask


def _rays(star: Star, own: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Along the middle of most arms, whole or in pieces."""
    wide, begin, end = rng.uniform(0.25, 0.5), rng.uniform(0.05, 0.25), rng.uniform(0.7, 0.95)
    on = rng.random(len(star.angles)) > 0.25
    dash = np.sin(own["u"] * rng.uniform(16, 26)) > -0.2 if rng.random() < 0.5 else True
    held = (own["u"] > begin) & (own["u"] < end) & on[own["arm"]] & dash
    return held * np.clip((wide - own["v"]) * 6, 0, 1)


def _blotches(star: Star, own: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Patches without a plan."""
    side = len(own["u"])
    field = 0.7 * fog(rng, side, side, cell=side / rng.uniform(7, 11)) + 0.3 * fog(rng, side, side, cell=side / 26)
    return np.clip((field - rng.uniform(0.5, 0.58)) * 16, 0, 1)


def _rings(star: Star, own: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Around the middle, with a gap in the outer one."""
    mask = np.clip((rng.uniform(0.04, 0.1) - own["radius"]) * 50, 0, 1)
    for at in np.linspace(0.55, 1.25, rng.integers(2, 4)) * star.disc:
        near = np.abs(own["radius"] - at)
        mask = np.maximum(mask, np.clip((rng.uniform(0.018, 0.035) - near) * 60, 0, 1))
    gone = rng.choice(len(star.angles), rng.integers(0, 3), replace=False)
    return mask * ~np.isin(own["arm"], gone)


def _tips(star: Star, own: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """The ends of some arms, from one to all but one."""
    count = int(rng.integers(1, len(star.angles)))
    on = np.isin(np.arange(len(star.angles)), rng.choice(len(star.angles), count, replace=False))
    return on[own["arm"]] * np.clip((own["u"] - rng.uniform(0.5, 0.7)) * 20, 0, 1)


_MARK = {"bands": _bands, "spots": _spots, "rays": _rays, "blotches": _blotches, "rings": _rings, "tips": _tips}
