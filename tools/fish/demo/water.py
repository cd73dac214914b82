"""The water behind a fish: each of the eight habitats that holds puts something of its own into the scene."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

FINE = 2  # shapes are drawn this many times larger and averaged down, which is Pillow's cheapest antialiasing


@dataclass(frozen=True, kw_only=True)
class Habitat:
    """Where a species lives; any of these together."""

    tropical: bool  # corals
    temperate: bool  # kelp
    subtropical: bool  # sun beams
    boreal: bool  # dark, with snow of plankton
    polar: bool  # ice floes
    freshwater: bool  # green water over pebbles
    saltwater: bool  # blue water over sand
    brackish: bool  # mangrove roots


def water(habitat: Habitat, *, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """A scene of `width` x `height` pixels, back to front."""
    scene = _gradient(habitat, width=width, height=height, rng=rng)
    pen = ImageDraw.Draw(scene, "RGBA")
    if habitat.subtropical:
        _beams(pen, width, height, rng)
    if habitat.polar:
        _ice(pen, width, height, rng)
    _ground(pen, habitat, width, height, rng)
    if habitat.temperate:
        _kelp(pen, width, height, rng)
    if habitat.tropical:
        _corals(pen, width, height, rng)
    if habitat.brackish:
        _roots(pen, width, height, rng)
    if habitat.boreal:
        for x, y in zip(rng.uniform(0, width, 60), rng.uniform(0, height, 60), strict=True):
            pen.ellipse([x, y, x + FINE, y + FINE], fill=(225, 232, 235, 170))
    return scene


def _gradient(habitat: Habitat, *, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Lit from above, with soft patches."""
    fresh, salt = np.array([104, 148, 84.0]), np.array([52, 122, 190.0])
    colour = np.mean(
        [c for c, is_so in ((fresh, habitat.freshwater), (salt, habitat.saltwater)) if is_so] or [[110, 120, 125]], 0
    )
    if habitat.brackish:
        colour = 0.65 * colour + 0.35 * np.array([132, 122, 66])
    colour = colour * (0.6 if habitat.boreal else 1.05) * rng.uniform(0.9, 1.1)
    down = np.linspace(1.25, 0.75, 8)[:, None, None] + rng.normal(0, 0.05, (8, 8, 1))
    small = np.clip(colour * down, 0, 255).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def _ground(pen: ImageDraw.ImageDraw, habitat: Habitat, width: int, height: int, rng: np.random.Generator) -> None:
    x = np.linspace(0, width, 9)
    top = height * (0.88 + 0.03 * np.sin(x / width * rng.uniform(3, 8) + rng.uniform(0, 6)))
    line = list(zip(x, top, strict=True))
    sand = (214, 192, 142) if habitat.saltwater else (98, 84, 58)
    pen.polygon([*line, (width, height), (0, height)], fill=sand)
    if habitat.freshwater:
        for x in rng.uniform(0, width, 26):
            y, radius = rng.uniform(0.88, 1.0) * height, rng.uniform(0.012, 0.035) * width
            grey = int(rng.uniform(90, 170))
            pen.ellipse(
                [x - radius, y - radius / 2, x + radius, y + radius / 2], fill=(grey, grey - 8, grey - 20), outline=(60, 55, 45)
            )


def _beams(pen: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    for x in rng.uniform(-0.1, 1, 4) * width:
        wide = rng.uniform(0.04, 0.09) * width
        pen.polygon(
            [(x, 0), (x + wide, 0), (x + 3 * wide + 0.2 * width, height), (x + 0.2 * width, height)], fill=(255, 250, 190, 48)
        )


def _ice(pen: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    for x in np.arange(3) * width / 2.6 + rng.uniform(-0.1, 0.1) * width:
        low = rng.uniform(0.1, 0.2) * height
        pen.polygon([(x, 0), (x + 0.34 * width, 0), (x + 0.27 * width, low), (x + 0.09 * width, 0.8 * low)],
                    fill=(232, 244, 250), outline=(170, 205, 225))  # fmt: skip


def _kelp(pen: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    for x in rng.choice([rng.uniform(0.02, 0.25), rng.uniform(0.75, 0.98)], 3) * width + rng.uniform(-20, 20, 3):
        y = np.linspace(1, rng.uniform(0.25, 0.5), 12) * height
        sway = x + 0.02 * width * np.sin(y / height * 14 + x)
        pen.line(list(zip(sway, y, strict=True)), fill=(58, 92, 34), width=3 * FINE)
        for place, side in zip(range(1, 12, 2), (1, -1) * 3, strict=True):
            tip = sway[place] + side * 0.06 * width
            pen.polygon([(sway[place], y[place]), (tip, y[place] - 14 * FINE), (tip, y[place] - 4 * FINE)], fill=(84, 124, 44))


def _corals(pen: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    for x in rng.uniform(0.03, 0.97, 4) * width:
        colour = [(238, 92, 112), (246, 148, 66), (190, 92, 200)][rng.integers(3)]
        for angle in np.linspace(-0.8, 0.8, 6):
            reach = rng.uniform(0.12, 0.2) * height
            tip = (x + reach * np.sin(angle), 0.95 * height - reach * np.cos(angle))
            pen.line([(x, 0.97 * height), tip], fill=colour, width=4 * FINE)
            pen.ellipse([tip[0] - 3 * FINE, tip[1] - 3 * FINE, tip[0] + 3 * FINE, tip[1] + 3 * FINE], fill=colour)


def _roots(pen: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    for x in rng.uniform(0.02, 0.98, 5) * width:
        bow = rng.uniform(-0.12, 0.12) * width
        t = np.linspace(0, 1, 8)
        pen.line(list(zip(x + bow * t**2, 0.42 * height * t, strict=True)), fill=(74, 52, 34), width=3 * FINE)
