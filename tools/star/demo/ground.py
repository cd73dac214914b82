"""What lies behind an animal: sand, rock, pebbles, weed, a tank, grass or open water, other in every photograph."""

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {
    "sand": (0.74, 0.66, 0.5), "rock": (0.42, 0.4, 0.36), "pebbles": (0.45, 0.43, 0.38), "weed": (0.3, 0.36, 0.2),
    "tank": (0.52, 0.58, 0.62), "grass": (0.5, 0.5, 0.26), "snow": (0.8, 0.82, 0.84), "sea": (0.24, 0.4, 0.5),
    "waves": (0.36, 0.46, 0.54),
}  # fmt: skip
CRUST = np.array([0.62, 0.36, 0.42], np.float32)  # what grows on rock


def fog(rng: np.random.Generator, width: int, height: int, *, cell: float, stretch: float = 1.0) -> np.ndarray:
    """(height, width) float32 of 0 to 1 about, smooth over `cell` pixels, `stretch` times as long across."""
    across, down = (max(2, round(side / step) + 1) for side, step in ((width, cell * stretch), (height, cell)))
    small = Image.fromarray(rng.random((down, across), np.float32))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def ground(kind: str, colour: tuple[float, float, float], *, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width, 3) float32.

    Args:
        kind: of COLOURS.
        colour: factors on the kind's own colour.
    """
    base = np.array(COLOURS[kind], np.float32) * np.array(colour, np.float32)
    unit = min(width, height)
    tone = _PAINT[kind](rng, width, height, unit)
    picture = base * tone[..., None]
    if kind == "rock":
        grown = np.clip((fog(rng, width, height, cell=unit / 4) - 0.62) * 8, 0, 0.8)[..., None]
        picture = picture * (1 - grown) + CRUST * tone[..., None] * grown
    return picture.astype(np.float32)


def _sand(rng: np.random.Generator, width: int, height: int, unit: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / unit
    angle, fine = rng.uniform(0, np.pi), rng.normal(0, 0.06, (height, width))
    bent = x * np.cos(angle) + y * np.sin(angle) + 0.15 * fog(rng, width, height, cell=unit / 3)
    return 0.9 + 0.2 * fog(rng, width, height, cell=unit / 2) + 0.07 * np.sin(bent * rng.uniform(30, 55)) + fine


def _rock(rng: np.random.Generator, width: int, height: int, unit: int) -> np.ndarray:
    octaves = [fog(rng, width, height, cell=unit / step) / weight for step, weight in ((3, 1.0), (8, 1.4), (24, 2.4))]
    return 0.25 + 0.7 * sum(octaves)


def _pebbles(rng: np.random.Generator, width: int, height: int, unit: int) -> np.ndarray:
    heap = Image.new("L", (width, height), 70)
    pen = ImageDraw.Draw(heap)
    for x, y, radius, grey in zip(
        rng.uniform(0, width, 150), rng.uniform(0, height, 150), rng.uniform(0.025, 0.075, 150) * unit,
        rng.integers(90, 230, 150), strict=True,
    ):  # fmt: skip
        pen.ellipse([x - radius, y - 0.8 * radius, x + radius, y + 0.8 * radius], fill=int(grey), outline=60)
    return np.asarray(heap, np.float32) / 140


def _weed(rng: np.random.Generator, width: int, height: int, unit: int) -> np.ndarray:
    return _streaks(rng, width, height, blades=70, length=0.5 * unit, lean=1.6)


def _grass(rng: np.random.Generator, width: int, height: int, unit: int) -> np.ndarray:
    return _streaks(rng, width, height, blades=160, length=0.25 * unit, lean=0.4)


def _streaks(rng: np.random.Generator, width: int, height: int, *, blades: int, length: float, lean: float) -> np.ndarray:
    field = Image.fromarray((90 + 70 * fog(rng, width, height, cell=width / 5)).astype(np.uint8))
    pen = ImageDraw.Draw(field)
    for x, y, angle, grey in zip(
        rng.uniform(0, width, blades), rng.uniform(0, height, blades), rng.uniform(-lean, lean, blades),
        rng.integers(60, 220, blades), strict=True,
    ):  # fmt: skip
        pen.line([x, y, x + length * np.sin(angle), y - length * np.cos(angle)], fill=int(grey), width=max(1, width // 80))
    return np.asarray(field, np.float32) / 130


def _tank(rng: np.random.Generator, width: int, height: int, unit: int) -> np.ndarray:
    pane = Image.new("L", (width, height), 150)
    pen = ImageDraw.Draw(pane)
    edge = rng.uniform(0, 0.2) * width
    pen.rectangle([-1, -1, edge, height], fill=205, outline=110)
    for x, y, radius in zip(
        rng.uniform(0, width, 24), rng.uniform(0, height, 24), rng.uniform(0.006, 0.02, 24) * unit, strict=True
    ):
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=110)
    return np.asarray(pane, np.float32) / 150 * (0.9 + 0.2 * fog(rng, width, height, cell=unit))


def _snow(rng: np.random.Generator, width: int, height: int, unit: int) -> np.ndarray:
    trunks = np.ones((height, width), np.float32)
    for x in rng.integers(0, width, rng.integers(2, 6)):
        trunks[: int(0.6 * height), x : x + rng.integers(3, 10)] = rng.uniform(0.2, 0.5)
    return trunks * (0.9 + 0.2 * fog(rng, width, height, cell=unit / 5))


def _sea(rng: np.random.Generator, width: int, height: int, unit: int) -> np.ndarray:
    light = fog(rng, width, height, cell=unit / 7) + fog(rng, width, height, cell=unit / 15) / 2
    return 0.9 + 0.4 * np.clip(1 - np.abs(light - 0.75) * 5, 0, 1) + 0.25 * fog(rng, width, height, cell=unit)


def _waves(rng: np.random.Generator, width: int, height: int, unit: int) -> np.ndarray:
    swell = fog(rng, width, height, cell=unit / 26, stretch=4) + fog(rng, width, height, cell=unit / 12, stretch=4)
    picture, horizon = 0.55 + 0.5 * swell, int(rng.uniform(0, 0.25) * height)
    picture[:horizon] = 1.7
    return picture


_PAINT = {
    "sand": _sand, "rock": _rock, "pebbles": _pebbles, "weed": _weed, "tank": _tank, "grass": _grass, "snow": _snow,
    "sea": _sea, "waves": _waves,
}  # fmt: skip
