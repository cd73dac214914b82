"""From posture to pixels: where the body is in the image, and a grey bottom view of it.

T frames, S frame side in pixels, K=6 keypoints in POINTS order, N outline points. bu: body unit (see mouse_behaviour).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from tarpon.tools.mouse.demo.behaviour import STANCE, Animal, Motion

POINTS = ("mouth", "L_frontpaw", "R_frontpaw", "L_hindpaw", "R_hindpaw", "tail_base")  # order of real DLC files
FINE = 2  # shapes are drawn this many times larger and averaged down, which is Pillow's cheapest antialiasing
MARGIN = 8  # pixels kept around the drawn patch: strokes are wider than their centre lines
ALONG = np.linspace(0, 1, 15)  # places along the spine, tail to snout
WIDTH = np.interp(ALONG, [0, 0.12, 0.3, 0.5, 0.7, 0.82, 0.94, 1], [0.05, 0.15, 0.19, 0.165, 0.12, 0.115, 0.06, 0.02])  # bu
CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 14)[:-1]), np.sin(np.linspace(0, 2 * np.pi, 14)[:-1])], 1)
PAW_SHADES = np.array([8, -6, 14, -14])  # grey levels apart, so that the four paws can be told from each other


@dataclass(frozen=True, kw_only=True)
class Figure:
    """The body in the image, all in pixels."""

    unit: float  # pixels in a body unit
    points: np.ndarray  # (T, K, 2)
    spine: np.ndarray  # (T, 15, 2) tail to snout
    outline: np.ndarray  # (T, N, 2)
    belly: np.ndarray  # (T, N, 2)
    hips: np.ndarray  # (T, 4, 2) where each leg leaves the trunk
    ears: np.ndarray  # (T, 2, 2)
    tail: np.ndarray  # (T, 6, 2) base to tip
    lift: np.ndarray  # (T, 4)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One shape of the picture in every frame."""

    shape: np.ndarray  # (T, N, 2) pixels of the fine canvas
    shade: list[int]  # (T,) grey
    stroke: int  # fine pixels wide as an open line; 0 fills the shape


def _turned(vectors: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """(T, ..., 2) vectors turned by (T,) radians."""
    angles = angles.reshape(-1, *[1] * (vectors.ndim - 2))
    cos, sin = np.cos(angles), np.sin(angles)
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], -1)


def _interpolation(knots: list[float]) -> np.ndarray:
    """(15, 4) weights of the cubic through four points at the given places along the spine."""
    return np.vander(ALONG, 4) @ np.linalg.inv(np.vander(np.array(knots), 4))


def figure(motion: Motion, *, animal: Animal, size: int) -> Figure:
    """Lay the skeleton of every frame out in the image."""
    count = len(motion.heading)
    zero = np.zeros(count)
    trunk = motion.stretch
    tail = np.stack([-0.5 * trunk, zero], 1)
    mid = np.stack([-0.1 * trunk, zero], 1)
    chest = 0.4 * motion.bend  # the trunk takes part of the bend, the neck the rest
    neck = mid + _turned(np.stack([0.32 * trunk, zero], 1), chest)
    mouth = neck + _turned(np.stack([0.28 * trunk + motion.nod, zero], 1), motion.bend)
    legs = STANCE + motion.paws
    front = mid[:, None] + _turned(legs[:, :2] * np.stack([trunk, np.ones(count)], 1)[:, None], chest)
    roots = np.tile(STANCE * [0.9, 0.55], (count, 1, 1))
    roots[:, :2] = mid[:, None] + _turned(roots[:, :2], chest)
    spine = np.einsum("nk,tkd->tnd", _interpolation([0, 0.4, 0.72, 1]), np.stack([tail, mid, neck, mouth], 1))
    along = np.gradient(spine, axis=1)
    normal = np.stack([-along[..., 1], along[..., 0]], -1) / np.linalg.norm(along, axis=-1, keepdims=True)
    girth = (animal.girth * WIDTH)[None, :, None] * normal
    ring = np.concatenate([spine + girth, (spine - girth)[:, ::-1]], 1)
    inner = np.concatenate([spine + 0.55 * girth, (spine - 0.55 * girth)[:, ::-1]], 1)
    ears = neck[:, None] + _turned(np.tile([[0.06, 0.115], [0.06, -0.115]], (count, 1, 1)), motion.bend)
    back = np.linspace(0, 0.55, 6)
    wag = 0.5 * np.sin(np.arange(count) / 31 + animal.body * 100) - 0.3 * motion.bend
    rope = tail[:, None] + np.stack([np.tile(-back, (count, 1)), wag[:, None] * back**1.5], -1)
    unit = animal.body * size

    def placed(shape: np.ndarray) -> np.ndarray:
        return motion.centre.reshape(count, *[1] * (shape.ndim - 2), 2) + unit * _turned(shape, motion.heading)

    points = np.concatenate([mouth[:, None], front, legs[:, 2:], tail[:, None]], 1)
    return Figure(unit=unit, points=placed(points), spine=placed(spine), outline=placed(ring), belly=placed(inner),
                  hips=placed(roots), ears=placed(ears), tail=placed(rope), lift=np.clip(motion.lift, 0, 1))  # fmt: skip


def floor(animal: Animal, *, size: int, rng: np.random.Generator) -> Image.Image:
    """A still glass floor with stains and uneven light, FINE times larger than the frame; grey 40..215."""
    coarse = [Image.fromarray(rng.normal(0, 1, (n, n)).astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
              for n in (4, 16, size // 4)]  # fmt: skip
    light, stains, grain = (np.asarray(layer) for layer in coarse)
    grey = np.clip(animal.floor + 9 * light + 4 * stains + 3 * grain, 40, 215).astype(np.uint8)
    return Image.fromarray(grey).resize((size * FINE, size * FINE), Image.Resampling.BILINEAR)


def frames(pose: Figure, *, animal: Animal, ground: Image.Image, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield T (S, S) uint8 frames, grey 16..235, with camera noise; each array is the caller's own."""
    size = ground.width // FINE
    still = np.asarray(ground.reduce(FINE))
    noise = np.clip(np.rint(rng.normal(0, 1.6, (4, size + 32, size + 32))), -6, 6).astype(np.int8).view(np.uint8)
    layers = _layers(pose, animal=animal)
    low = np.min([layer.shape.min(1) for layer in layers], 0) / FINE - MARGIN
    high = np.max([layer.shape.max(1) for layer in layers], 0) / FINE + MARGIN
    low, high = np.maximum(np.floor(low), 0).astype(int), np.minimum(np.ceil(high), size).astype(int)
    for frame in range(len(low)):
        (left, top), (right, bottom) = low[frame], high[frame]
        patch = ground.crop((left * FINE, top * FINE, right * FINE, bottom * FINE))
        canvas = ImageDraw.Draw(patch)
        for layer in layers:
            points = (layer.shape[frame] - low[frame] * FINE).ravel().tolist()
            if layer.stroke:
                canvas.line(points, fill=layer.shade[frame], width=layer.stroke)
            else:
                canvas.polygon(points, fill=layer.shade[frame])
        picture = still.copy()
        picture[top:bottom, left:right] = np.asarray(patch.reduce(FINE))
        which, row, column = rng.integers(4), rng.integers(32), rng.integers(32)
        picture += noise[which, row : row + size, column : column + size]  # uint8 wraps: greys stay 6 clear of 0 and 255
        yield picture


def _layers(pose: Figure, *, animal: Animal) -> list[Layer]:
    """The body back to front as seen from below: tail, ears, trunk, belly, legs, paws, snout."""
    unit, coat, count = pose.unit, animal.coat, len(pose.points)

    def layer(shape: np.ndarray, shade: np.ndarray | int, stroke: float = 0) -> Layer:
        greys = np.broadcast_to(np.clip(shade, 22, 229).astype(int), count).tolist()
        return Layer(shape=shape * FINE, shade=greys, stroke=max(1, round(stroke * unit * FINE)) if stroke else 0)

    made = [layer(pose.tail, coat + 45, 0.03)]
    made += [layer(pose.ears[:, ear, None] + 0.055 * unit * CIRCLE, coat + 50) for ear in range(2)]
    made += [layer(pose.outline, coat), layer(pose.belly, coat + 18)]
    paws = pose.points[:, 1:5]
    for paw in range(4):
        leg = np.stack([pose.hips[:, paw], paws[:, paw]], 1)
        made.append(layer(leg, coat + 34, 0.05 if paw >= 2 else 0.035))
    toward = paws - pose.hips
    toward /= np.maximum(np.linalg.norm(toward, axis=-1, keepdims=True), 1e-6)
    for paw in range(4):
        lift = pose.lift[:, paw]
        radius = (0.068 if paw >= 2 else 0.048) * unit * (1 - 0.35 * lift)
        way = toward[:, paw]
        sole = CIRCLE + 0.45 * np.einsum("nd,td->tn", CIRCLE, way)[..., None] * way[:, None]  # longer along the leg
        shade = animal.paw + PAW_SHADES[paw] - lift * 0.5 * (animal.paw - coat)  # a paw off the glass is out of the light
        made.append(layer(paws[:, paw, None] + radius[:, None, None] * sole, shade))
    return [*made, layer(pose.points[:, :1] + 0.032 * unit * CIRCLE, animal.paw - 18)]
