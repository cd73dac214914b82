"""Animals other than stars: a tiger from either side, a sea turtle from above, the underside of a whale's fluke.

All individuals of a kind have one build and nearly one colour; what tells them is where stripes, scutes, spots, notches and
patches are. Each is drawn at twice its chart's size.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from tarpon.tools.star.demo.ground import fog
from tarpon.tools.star.demo.scene import chart_of

Colour = tuple[int, int, int]
Point = tuple[float, float]
TORSO = ((-0.66, -0.12), (-0.6, -0.24), (-0.4, -0.3), (-0.1, -0.27), (0.2, -0.26), (0.45, -0.33), (0.62, -0.4), (0.68, -0.1),
         (0.5, 0.1), (0.25, 0.17), (-0.1, 0.17), (-0.4, 0.11), (-0.62, 0.1))  # fmt: skip
LEGS = (-0.54, -0.4, 0.3, 0.46)  # x at the hip; the second and third are the far ones
TAIL = ((-0.62, -0.16), (-0.78, -0.1), (-0.86, 0.06), (-0.84, 0.22), (-0.92, 0.32))
BACK, BELLY = -0.3, 0.16  # y of the flank's edges


class Drawing:
    """A coloured canvas and the animal's outline on it, in chart coordinates."""

    def __init__(self, size: int, colour: Colour) -> None:
        self.colour, self.there = Image.new("RGB", (2 * size, 2 * size), colour), Image.new("L", (2 * size, 2 * size))
        self.size = size
        self.ink, self.outline = ImageDraw.Draw(self.colour), ImageDraw.Draw(self.there)

    def at(self, points: Sequence[Point] | np.ndarray) -> list[Point]:
        return [tuple(point) for point in ((np.asarray(points, float) + 1) * self.size)]

    def part(self, points: Sequence[Point] | np.ndarray, colour: Colour) -> None:
        """A piece of the animal."""
        self.ink.polygon(self.at(points), fill=colour)
        self.outline.polygon(self.at(points), fill=255)

    def mark(self, points: Sequence[Point] | np.ndarray, colour: Colour) -> None:
        """Only colour: what lies off the animal is not seen."""
        self.ink.polygon(self.at(points), fill=colour)

    def chart(self, rng: np.random.Generator, *, bump: float) -> np.ndarray:
        return chart_of(self.colour, self.there, size=self.size, bump=bump, rng=rng)


def tiger(rng: np.random.Generator, *, side: str, size: int) -> np.ndarray:
    """A flank, heading to its side. `rng` is of the individual and the side: a tiger's sides are not mirror images."""
    coat, pale, dark = near(rng, (206, 132, 62)), (232, 208, 170), (34, 26, 24)
    drawing = Drawing(size, coat)
    for place, x in enumerate(LEGS):
        tone = shaded(coat, 0.72 if place in (1, 2) else 0.95)
        drawing.part([(x - 0.09, -0.05), (x + 0.1, -0.05), (x + 0.06, 0.5), (x + 0.1, 0.58), (x - 0.05, 0.58)], tone)
    tail = np.array(TAIL)
    drawing.part(np.concatenate([tail - np.array([0, 0.035]), tail[::-1] + np.array([0.03, 0.035])]), coat)
    drawing.part(_smooth(TORSO), coat)
    drawing.mark([(-0.6, 0.06), (0.5, 0.05), (0.5, 0.2), (-0.6, 0.2)], pale)
    for x in np.linspace(-0.58, 0.46, rng.integers(8, 13)) + rng.uniform(-0.03, 0.03):
        _stripe(drawing, rng, x + rng.normal(0, 0.02), dark)
    for x in LEGS[::3]:
        for y in rng.uniform(0.2, 0.46, rng.integers(1, 4)):
            drawing.mark(disc(x, y, 0.08, 0.018), dark)
    for place in rng.uniform(0.2, 0.95, rng.integers(3, 6)):
        x, y = (np.interp(place * 4, range(5), tail[:, axis]) for axis in (0, 1))
        drawing.mark(disc(x, y, 0.05, 0.03), dark)
    _tiger_head(drawing, rng, coat, pale, dark)
    chart = drawing.chart(rng, bump=0.6)
    return chart[:, ::-1].copy() if side == "left" else chart


def _stripe(drawing: Drawing, rng: np.random.Generator, x: float, dark: Colour) -> None:
    """From the back down, from the belly up, or a loop in between; some fork."""
    kind, wide = rng.choice(["down", "up", "loop", "fork"], p=[0.4, 0.2, 0.2, 0.2]), rng.uniform(0.018, 0.042)
    top, bottom = {
        "down": (BACK - 0.05, rng.uniform(-0.08, 0.12)), "up": (rng.uniform(-0.15, 0.0), BELLY + 0.02),
        "loop": (rng.uniform(-0.22, -0.14), rng.uniform(-0.02, 0.1)), "fork": (BACK - 0.05, BELLY),
    }[str(kind)]  # fmt: skip
    y = np.linspace(top, bottom, 12)
    t = np.linspace(0, 1, 12)
    middle = x + rng.normal(0, 0.05) * t + rng.uniform(-0.03, 0.03) * np.sin(np.pi * t)
    half = wide * np.sqrt(np.clip(1 - t, 0.02, 1)) if kind != "loop" else wide * np.sin(np.pi * t)
    if kind == "up":
        half = half[::-1]
    sides = [(0.0, half)] if kind != "fork" else [(0.05, half * 0.7), (-0.05, half * 0.7)]
    for spread, thick in sides:
        line = middle + spread * np.clip(t - 0.35, 0, 1) / 0.65
        drawing.mark(np.concatenate([np.stack([line - thick, y], 1), np.stack([line + thick, y], 1)[::-1]]), dark)


def _tiger_head(drawing: Drawing, rng: np.random.Generator, coat: Colour, pale: Colour, dark: Colour) -> None:
    for x in (0.6, 0.74):
        drawing.part(disc(x, -0.5, 0.055, 0.07), shaded(coat, 0.8))
    drawing.part(disc(0.7, -0.33, 0.17, 0.18), coat)
    drawing.part(disc(0.83, -0.26, 0.1, 0.085), pale)
    drawing.mark(disc(0.91, -0.28, 0.028, 0.026), dark)
    drawing.mark(disc(0.76, -0.37, 0.024, 0.024), dark)
    for angle in rng.uniform(2.2, 4.6, rng.integers(2, 5)):
        x, y = 0.7 + 0.12 * np.cos(angle), -0.33 + 0.12 * np.sin(angle)
        drawing.mark(disc(x, y, 0.035, 0.014), dark)


def turtle(rng: np.random.Generator, *, size: int) -> np.ndarray:
    """From above, head up: the tone of every scute and the spots are its own."""
    shell, flesh, pale, dark = (122, 92, 58), near(rng, (112, 122, 92)), (222, 204, 140), (48, 38, 30)
    drawing = Drawing(size, shell)
    for side in (-1, 1):
        front = np.array([(0.3, -0.38), (0.62, -0.5), (0.88, -0.2), (0.9, 0.06), (0.7, -0.14), (0.42, -0.14)])
        rear = np.array([(0.26, 0.5), (0.46, 0.6), (0.52, 0.82), (0.4, 0.84), (0.18, 0.68)])
        for limb in (front, rear):
            drawing.part(limb * [side, 1], flesh)
            for x, y in limb[:-1] * 0.5 + limb[1:] * 0.5:
                drawing.mark(disc(0.93 * side * x, y, 0.04, 0.03), dark if rng.random() < 0.5 else pale)
    drawing.part(disc(0, -0.76, 0.14, 0.17), flesh)
    for x, y in rng.uniform(-0.1, 0.1, (rng.integers(2, 6), 2)) - np.array([0, 0.77]):
        drawing.mark(disc(x, y, 0.035, 0.035), dark)
    drawing.part(disc(0, 0.06, 0.53, 0.68), shaded(shell, 0.75))
    tones = (0.62, 1.0, 1.45)
    for y in np.linspace(-0.4, 0.52, 5):
        drawing.mark(disc(0, y, 0.15, 0.13, corners=6), shaded(shell, tones[rng.integers(3)]))
    for side in (-1, 1):
        for y in np.linspace(-0.3, 0.42, 4):
            wide = 0.17 * np.sqrt(1 - ((y - 0.06) / 0.68) ** 2)
            drawing.mark(disc(side * 0.31, y, wide, 0.11, corners=6), shaded(shell, tones[rng.integers(3)]))
    for _ in range(rng.integers(6, 13)):
        angle, out, radius = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 0.8)), rng.uniform(0.03, 0.085)
        drawing.mark(disc(0.5 * out * np.cos(angle), 0.06 + 0.64 * out * np.sin(angle), radius, radius), pale)
    return drawing.chart(rng, bump=0.5)


def fluke(rng: np.random.Generator, *, size: int) -> np.ndarray:
    """Lifted out of the water: outline, nicks of the hind edge, white patches and scars are its own."""
    drawing = Drawing(size, (44, 47, 52))
    rise, notch, plump = rng.uniform(-0.5, -0.22), rng.uniform(-0.12, 0.06), rng.uniform(-0.04, 0.07)
    t = np.linspace(0, 1, 60)
    lead = np.stack([0.09 + 0.83 * t, 0.62 - (0.62 - rise) * t**0.75 + 0.16 * np.sin(np.pi * t)], 1)
    halves = []
    for _ in (0, 1):
        hind = np.stack([0.92 * (1 - t), rise + (notch - rise) * t**1.6 - (0.1 + plump) * np.sin(np.pi * t**1.4)], 1)
        hind[:, 1] += 0.012 * np.sin(t * rng.uniform(20, 44) + rng.uniform(0, 6))
        for place in rng.uniform(0.12, 0.9, rng.integers(0, 4)):
            hind[:, 1] += rng.uniform(0.05, 0.12) * np.clip(1 - np.abs(t - place) / rng.uniform(0.025, 0.05), 0, 1)
        halves.append(np.concatenate([lead, hind]))
    drawing.part([(-0.12, 0.8), (-0.09, 0.3), (0.0, 0.1), (0.09, 0.3), (0.12, 0.8)], (44, 47, 52))
    for side, half in zip((-1, 1), halves, strict=True):
        drawing.part(np.concatenate([half * [side, 1], [(0, notch), (0, 0.62)]]), (44, 47, 52))
    side = 2 * size
    field = 0.75 * fog(rng, side, side, cell=side / rng.uniform(5, 9)) + 0.25 * fog(rng, side, side, cell=side / 24)
    white = np.clip((field - rng.uniform(0.38, 0.68)) * 14, 0, 1)
    drawing.colour.paste((214, 214, 208), mask=Image.fromarray((white * 240).astype(np.uint8)))
    for _ in range(rng.integers(1, 6)):
        x, y, angle, long = rng.uniform(-0.8, 0.8), rng.uniform(-0.3, 0.25), rng.uniform(0, np.pi), rng.uniform(0.1, 0.3)
        reach, wide = np.array([np.cos(angle), np.sin(angle)]) * long, np.array([-np.sin(angle), np.cos(angle)]) * 0.012
        ends = np.array([x, y]) + np.array([-reach, reach])
        drawing.mark(np.concatenate([ends - wide, ends[::-1] + wide]), (150, 150, 148) if rng.random() < 0.6 else (20, 20, 22))
    return drawing.chart(rng, bump=0.3)


def _smooth(points: Sequence[Point]) -> np.ndarray:
    """A closed outline whose corners are cut three times, as Chaikin does."""
    ring = np.array(points)
    for _ in range(3):
        after = np.roll(ring, -1, 0)
        ring = np.stack([0.75 * ring + 0.25 * after, 0.25 * ring + 0.75 * after], 1).reshape(-1, 2)
    return ring


def disc(x: float, y: float, across: float, down: float, *, corners: int = 20) -> np.ndarray:
    """(corners, 2) outline of an ellipse about (x, y)."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([x + across * np.cos(angle), y + down * np.sin(angle)], 1)


def near(rng: np.random.Generator, colour: Colour) -> Colour:
    """The colour as one individual has it."""
    return tuple(int(np.clip(value * rng.uniform(0.94, 1.06), 0, 255)) for value in colour)


def shaded(colour: Colour, tone: float) -> Colour:
    """The colour, darker below a tone of 1 and lighter above."""
    return tuple(int(min(value * tone, 255)) for value in colour)
