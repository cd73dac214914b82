"""Drawn phase-contrast pictures of a growing cell culture, for synthetic time courses.

A culture is drawn from one generator and its infection from another, so that until the onset an infected culture is drawn as
an uninfected one is. Lengths are pixels, times hours.
"""

from dataclasses import dataclass

import numpy as np

LEVEL, NOISE, FULL = 11000.0, 140.0, 65535  # grey level of bare medium, sd of the camera's noise, the camera's range
CYCLE, MITOSIS, SPREADING = 10.0, 1.0, 2.0  # hours from division to division, of rounding up before it, of flattening after it
DENSITY = 18 / 96**2  # cells a pixel at the start
WAIT, RISE, LAST = 1.5, 2.0, 5.0  # hours: mean from onset to a cell's infection, then until it is round, mean until it dies
REACH = 16  # pixels from a cell's middle that it may touch
BRIGHT, DARK = 0.5, 0.35  # how much brighter or darker than the medium a cell may be
PARTS = 6  # granules of a cell


@dataclass(frozen=True, kw_only=True, eq=False)
class Well:
    """What all positions of one well have in common, and no other well."""

    light: np.ndarray  # (H, W) factor: tilt, vignette and stains
    level: float
    density: float  # cells a pixel


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One cell from division to division, or to death."""

    root: int  # of the cells at the start, its ancestor
    born: float
    ends: float
    divides: bool
    path: np.ndarray  # (pages, 2) y, x
    angle: np.ndarray  # (pages,)
    axes: tuple[float, float]
    granules: np.ndarray  # (PARTS, 2) in a unit square


def well(rng: np.random.Generator, *, size: int) -> Well:
    """A well's light: strong enough to be known again, and of one kind for all classes."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    tilt, vignette = rng.normal(0, 0.05, 2), rng.uniform(0.03, 0.1)
    light = 1 + tilt[0] * y + tilt[1] * x - vignette * (x * x + y * y)
    for _ in range(5):
        (cy, cx), width, depth = rng.uniform(-1, 1, 2), rng.uniform(0.15, 0.5), rng.normal(0, 0.03)
        light += depth * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / width**2)
    return Well(light=light, level=LEVEL * rng.uniform(0.9, 1.1), density=DENSITY * rng.uniform(0.85, 1.15))


def culture(rng: np.random.Generator, *, size: int, times: np.ndarray, density: float) -> list[Cell]:
    """The cells of one position with their daughters; a few die in any culture."""
    cells, waiting = [], []
    for root in range(max(3, round(density * size * size * rng.normal(1, 0.08)))):
        waiting.append((root, -99.0, rng.uniform(0, CYCLE), rng.uniform(0, size, 2), rng.uniform(0, np.pi)))
    while waiting:
        root, born, ends, place, angle = waiting.pop()
        dies = rng.random() < 0.03
        steps = np.cumsum(rng.normal(0, 0.5, (len(times), 2)), 0)
        at = int(np.searchsorted(times, max(born, times[0])))
        path = place + steps - steps[min(at, len(times) - 1)]
        turn = angle + np.cumsum(rng.normal(0, 0.06, len(times)))
        cells.append(Cell(
            root=root, born=born, ends=ends, divides=not dies, path=path, angle=turn,
            axes=(rng.uniform(7, 10.5), rng.uniform(2.8, 4.2)), granules=rng.uniform(-0.7, 0.7, (PARTS, 2)),
        ))  # fmt: skip
        if not dies and ends < times[-1]:
            where, axis = path[min(int(np.searchsorted(times, ends)), len(times) - 1)], rng.uniform(0, np.pi)
            apart = 4.8 * np.array([np.sin(axis), np.cos(axis)])
            for side in (-1, 1):
                waiting.append(
                    (root, ends, ends + max(0.6 * CYCLE, rng.normal(CYCLE, 2)), where + side * apart, rng.uniform(0, np.pi))
                )
    return cells


def infection(rng: np.random.Generator, cells: list[Cell], *, onset: float) -> np.ndarray:
    """(cells, 2): hour at which each cell is infected, not before the onset, and dies of it; a family falls together."""
    roots = 1 + max(cell.root for cell in cells)
    begins = onset + rng.exponential(WAIT, roots)
    dies = begins + RISE + rng.exponential(LAST, roots)
    return np.array([(begins[cell.root], dies[cell.root]) for cell in cells])


def draw(rng: np.random.Generator, where: Well, cells: list[Cell], fate: np.ndarray | None, *, times: np.ndarray) -> np.ndarray:
    """The time course, (pages, H, W) uint16.

    Args:
        fate: of `infection`, or None for a healthy culture.
    """
    size, pages = where.light.shape[0], np.empty((len(times), *where.light.shape), np.uint16)
    bare = where.level * where.light * (1 + rng.normal(0, 0.01))
    for number, hour in enumerate(times):
        canvas = np.zeros((size + 2 * REACH, size + 2 * REACH))
        for i, cell in enumerate(cells):
            if cell.born <= hour < (cell.ends if cell.divides else np.inf):
                _put(canvas, cell, number, hour, fate[i] if fate is not None else None)
        seen = _saturated(canvas[REACH:-REACH, REACH:-REACH])
        picture = (bare + 6000 * seen) * (1 + rng.normal(0, 0.006)) + rng.normal(0, NOISE, bare.shape)
        if rng.random() < 0.15:
            picture[tuple(rng.integers(0, size, 2))] = FULL  # a hot pixel
        pages[number] = np.clip(np.rint(picture), 0, FULL)
    return pages


def _put(canvas: np.ndarray, cell: Cell, number: int, hour: float, fate: np.ndarray | None) -> None:
    """Add one cell: dark body, bright rim; rounder and brighter as it divides, sickens or dies."""
    middle = cell.path[number] + REACH
    corner = np.floor(middle).astype(int) - REACH
    if (corner < 0).any() or (corner + 2 * REACH + 1 > canvas.shape[0]).any():
        return
    sick, dead = 0.0, 0.0 if cell.divides else _rise(hour, cell.ends, 2.0)
    if fate is not None:
        sick, dead = _rise(hour, fate[0], RISE), max(dead, _rise(hour, fate[1], 2.0))
    dividing = max(_rise(hour, cell.ends - MITOSIS, MITOSIS) if cell.divides else 0.0, 1 - _rise(hour, cell.born, SPREADING))
    ball = max(dividing, sick, dead)
    long, short = (axis + (4.3 - axis) * ball for axis in cell.axes)
    shrink = 1 - 0.45 * dead
    y, x = np.mgrid[: 2 * REACH + 1, : 2 * REACH + 1] + (corner - middle)[:, None, None]
    sin, cos = np.sin(cell.angle[number]), np.cos(cell.angle[number])
    u, v = (x * cos + y * sin) / (long * shrink), (y * cos - x * sin) / (short * shrink)
    d2 = u * u + v * v
    body, rim = np.exp(-(d2**2)), np.exp(-(((np.sqrt(d2) - 1.25) / 0.22) ** 2))
    nucleus = np.exp(-d2 * 9)
    flat = -0.28 * body + 0.16 * rim + 0.12 * nucleus
    globe = 0.75 * body + 0.3 * rim - 0.2 * nucleus
    patch = flat + (globe - flat) * ball
    if sick:
        patch -= 0.45 * sick * body
        for gu, gv in cell.granules:
            patch = patch + 0.5 * sick * np.exp(-((u - gu) ** 2 + (v - gv) ** 2) * 18)
    patch *= 1 - 0.45 * dead
    canvas[corner[0] : corner[0] + 2 * REACH + 1, corner[1] : corner[1] + 2 * REACH + 1] += patch


def _saturated(light: np.ndarray) -> np.ndarray:
    """Heaps of cells are not ever darker or brighter: a stack's range of grey levels would tell its class before the onset."""
    top = np.where(light > 0, BRIGHT, DARK)
    return np.sign(light) * top * (1 - np.exp(-np.abs(light) / top))


def _rise(hour: float, begin: float, width: float) -> float:
    """0 up to `begin`, 1 from `begin + width` on."""
    return float(min(max((hour - begin) / width, 0.0), 1.0))
