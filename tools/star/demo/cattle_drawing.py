"""Cattle as a drone sees them. A herd of mixed breeds: coats are of several families and several patterns, and what tells two
animals of one family is where its patches are, as with the other drawn animals. Drawn at twice the chart's size.
"""

import numpy as np
from PIL import Image

from tarpon.tools.star.demo.ground import fog
from tarpon.tools.star.demo.wildlife_drawing import Colour, Drawing, disc, near, shaded

HORN: Colour = (226, 214, 180)
COATS: tuple[Colour, ...] = ((40, 36, 38), (232, 226, 214), (150, 76, 40), (206, 164, 104), (112, 84, 64), (128, 132, 138))
PATTERNS = ("patches", "belt", "stripe", "spots", "quarters", "plain")
TRUNK, HEAD = 0.16, -0.62  # y of their middles; the head is up


def cow(rng: np.random.Generator, *, size: int) -> np.ndarray:
    """From above, head up: coat, patches, blaze, horns and build are its own."""
    first, second = (COATS[place] for place in rng.choice(len(COATS), 2, replace=False))
    coat, other = near(rng, first), near(rng, second)
    wide, long = rng.uniform(0.25, 0.36), rng.uniform(0.52, 0.62)
    drawing = Drawing(size, coat)
    tail, kink = rng.uniform(0.03, 0.05), rng.uniform(-0.12, 0.12)
    drawing.part([(-tail, 0.6), (tail, 0.6), (kink + tail, 0.95), (kink - tail, 0.95)], shaded(coat, 0.8))
    drawing.part(disc(0, TRUNK, wide, long), coat)
    drawing.part(disc(0, 0.52, 0.92 * wide, 0.26), coat)
    drawing.part(disc(0, -0.34, 0.62 * wide, 0.22), coat)
    _mark_coat(drawing, rng, str(rng.choice(PATTERNS, p=(0.35, 0.12, 0.12, 0.15, 0.16, 0.1))), other, wide=wide)
    _draw_head(drawing, rng, coat, other)
    return drawing.chart(rng, bump=0.5)


def _mark_coat(drawing: Drawing, rng: np.random.Generator, pattern: str, other: Colour, *, wide: float) -> None:
    if pattern == "patches":
        side = 2 * drawing.size
        field = 0.8 * fog(rng, side, side, cell=side / rng.uniform(5, 9)) + 0.2 * fog(rng, side, side, cell=side / 24)
        mask = np.clip((field - rng.uniform(0.4, 0.58)) * 16, 0, 1)
        drawing.colour.paste(other, mask=Image.fromarray((255 * mask).astype(np.uint8)))
    elif pattern == "belt":
        top, tall, lean = rng.uniform(-0.25, 0.2), rng.uniform(0.14, 0.36), rng.normal(0, 0.06)
        drawing.mark([(-0.5, top - lean), (0.5, top + lean), (0.5, top + tall), (-0.5, top + tall - lean)], other)
    elif pattern == "stripe":
        y = np.linspace(-0.45, 0.75, 14)
        half, middle = wide * rng.uniform(0.12, 0.5, 14), rng.normal(0, 0.02, 14)
        drawing.mark(np.concatenate([np.stack([middle - half, y], 1), np.stack([middle + half, y], 1)[::-1]]), other)
    elif pattern == "spots":
        for x, y in rng.uniform((-wide, -0.45), (wide, 0.75), (rng.integers(8, 24), 2)):
            drawing.mark(disc(x, y, *rng.uniform(0.03, 0.1, 2)), other)
    elif pattern == "quarters":
        cut, lean = rng.uniform(-0.2, 0.45), rng.normal(0, 0.15)
        end = rng.choice([-1.0, 1.0])
        drawing.mark([(-0.5, cut - lean), (0.5, cut + lean), (0.5, end), (-0.5, end)], other)


def _draw_head(drawing: Drawing, rng: np.random.Generator, coat: Colour, other: Colour) -> None:
    x, y = 0.0, HEAD
    face = other if rng.random() < 0.35 else coat
    for side in (-1, 1):
        drawing.part(disc(x + 0.17 * side, y - 0.02, 0.1, 0.05), shaded(face, 0.8))
    if rng.random() < 0.45:
        reach, rise = rng.uniform(0.16, 0.28), rng.uniform(0.02, 0.2)
        for side in (-1, 1):
            drawing.part([(x + 0.06 * side, y), (x + reach * side, y - rise - 0.06), (x + 0.1 * side, y - 0.06)], HORN)
    drawing.part(disc(x, y - 0.06, 0.12, 0.22), face)
    if rng.random() < 0.5:
        drawing.mark(disc(x, y - 0.08, rng.uniform(0.03, 0.07), rng.uniform(0.06, 0.16)), coat if face is other else other)
