"""One photograph's parameters: geometry as one matrix, colour as another, all linear filters as one kernel.

Drawn as shards/draws.py says: no state, and everything for every photograph, used or not. Places and lengths are in sides of
the square that is delivered, those of matrices counted from its middle, x to the right and y down.
"""

import math
from dataclasses import dataclass
from functools import reduce

import numpy as np

from tarpon.shards.sampling import photo_matrices as made
from tarpon.shards.sampling.draws import generator
from tarpon.shards.sampling.photo_augment import HOLES, PhotoAugment, Span

MUD, MILK = (92.0, 84.0, 60.0), (186.0, 200.0, 204.0)  # what floats in the water is of a colour between them


@dataclass(frozen=True, kw_only=True)
class Twist:
    """Colours as a camera's settings change them; factors about mid grey and grey."""

    brightness: float
    contrast: float
    saturation: float  # 0 is grey
    hue: float  # turns

    def matrix(self) -> np.ndarray:
        """(3, 4)."""
        return made.jitter(brightness=self.brightness, contrast=self.contrast, saturation=self.saturation, hue=self.hue)


@dataclass(frozen=True, kw_only=True, eq=False)
class Grain:
    """Noise of a sensor."""

    place: tuple[float, float]  # in [0, 1): where in the bank the grey and the coloured noise are
    luma: float  # sd of full scale
    chroma: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Spatter:
    """What is between camera and animal."""

    place: tuple[float, float]  # in [0, 1): where in the pattern
    kind: float  # in [0, 1): which pattern
    opacity: float
    colour: tuple[float, float, float]  # grey levels


@dataclass(frozen=True, kw_only=True, eq=False)
class Dropout:
    """Single pixels turned black."""

    place: float  # in [0, 1): where in the bank
    share: float  # of the pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotoDraw:
    """One photograph's parameters; None is where nothing is done."""

    matrix: np.ndarray  # (3, 3): a point (x, y, 1) of what is delivered -> the point of the photograph that is shown there
    zoom: float  # how much larger than in evaluation the middle is shown
    colour: np.ndarray | None  # (3, 4) float32: red, green, blue, 1 -> red, green, blue, in grey levels
    twist: Twist | None  # the same once more, where it is no more than that: DALI takes two thirds of the time
    clahe: float | None  # share mixed in
    kernel: np.ndarray | None  # (h, w) float32, odd sides
    spatter: Spatter | None
    grain: Grain | None
    jpeg: int | None  # quality
    boxes: np.ndarray  # (N, 4) float32 top, left, height, width from the top left corner; may be none
    fill: tuple[float, float, float]  # red, green and blue of the boxes, grey levels
    dropout: Dropout | None


STILL = PhotoDraw(
    matrix=np.eye(3), zoom=1.0, colour=None, twist=None, clahe=None, kernel=None, spatter=None, grain=None, jpeg=None,
    boxes=np.zeros((0, 4), np.float32), fill=(0.0, 0.0, 0.0), dropout=None,
)  # fmt: skip

UNIFORMS = (
    "flip_x", "flip_y", "quarter", "quarters", "area", "aspect", "crop_x", "crop_y", "affine", "angle", "shear_x",
    "shear_y", "scale", "shift_x", "shift_y", "perspective", "corners", "jitter", "brightness", "contrast", "saturation",
    "hue", "grey", "tint", "depth", "clear", "clahe", "clahe_share", "blur", "blur_sd", "motion", "motion_length",
    "motion_angle", "sharpen", "sharpen_amount", "spatter", "spatter_x", "spatter_y", "kind", "opacity", "paleness",
    "noise", "noise_x", "noise_y", "luma", "chroma", "jpeg", "quality", "holes", "count", "erase", "erase_area",
    "erase_aspect", "erase_x", "erase_y", "red", "green", "blue", "dropout", "dropout_place",
)  # fmt: skip
Uniforms = dict[str, float]  # name -> in [0, 1)


def draw_photo(augment: PhotoAugment, *, seed: int, epoch: int, slot: int) -> PhotoDraw:
    """The draw of one place in the epoch."""
    if not augment.enabled:
        return STILL
    rng = generator(seed, epoch, slot)
    u = dict(zip(UNIFORMS, rng.random(len(UNIFORMS)).tolist(), strict=True))
    corners, holes = rng.random((4, 2)), rng.random((HOLES, 4))
    matrix = _matrix(augment, u, corners)
    colour, twist = _colour(augment, u)
    return PhotoDraw(
        matrix=matrix,
        zoom=made.zoom(matrix),
        colour=colour,
        twist=twist,
        clahe=_between(augment.clahe, u["clahe_share"]) if u["clahe"] < augment.clahe_p else None,
        kernel=_kernel(augment, u),
        spatter=_spatter(augment, u),
        grain=Grain(
            place=(u["noise_x"], u["noise_y"]),
            luma=_between(augment.noise_luma, u["luma"]),
            chroma=_between(augment.noise_chroma, u["chroma"]),
        )
        if u["noise"] < augment.noise_p
        else None,
        jpeg=round(_between(augment.jpeg, u["quality"])) if u["jpeg"] < augment.jpeg_p else None,
        boxes=_boxes(augment, u, holes),
        fill=(255 * u["red"], 255 * u["green"], 255 * u["blue"]),
        dropout=Dropout(place=u["dropout_place"], share=augment.dropout) if u["dropout"] < augment.dropout_p else None,
    )


def _between(span: Span, u: float) -> float:
    return span[0] + (span[1] - span[0]) * u


def _by_ratio(span: Span, u: float) -> float:
    """As `_between`, evenly on a logarithmic scale."""
    return span[0] * (span[1] / span[0]) ** u


def _either_way(most: float, u: float) -> float:
    return most * (2 * u - 1)


def _matrix(augment: PhotoAugment, u: Uniforms, corners: np.ndarray) -> np.ndarray:
    quarters = int(4 * u["quarters"]) if u["quarter"] < augment.quarter_p else 0
    steps = [made.turned(quarters, flip_x=u["flip_x"] < augment.flip_x_p, flip_y=u["flip_y"] < augment.flip_y_p)]
    if u["perspective"] < augment.perspective_p:
        steps.append(made.perspective(_between(augment.perspective, u["corners"]) * (2 * corners - 1)))
    if u["affine"] < augment.affine_p:
        steps.append(
            made.affine(
                angle=_either_way(augment.angle, u["angle"]),
                shear_x=_either_way(augment.shear, u["shear_x"]),
                shear_y=_either_way(augment.shear, u["shear_y"]),
                scale=_by_ratio(augment.scale, u["scale"]),
                shift_x=_either_way(augment.shift, u["shift_x"]),
                shift_y=_either_way(augment.shift, u["shift_y"]),
            )
        )
    area, aspect = _by_ratio(augment.crop_area, u["area"]), _by_ratio(augment.crop_aspect, u["aspect"])
    matrix = made.window(area, aspect, u["crop_x"], u["crop_y"])
    for step in reversed(steps):  # what the eye sees last is asked first
        matrix = matrix @ step
    return matrix


def _colour(augment: PhotoAugment, u: Uniforms) -> tuple[np.ndarray | None, Twist | None]:
    jittered, grey = u["jitter"] < augment.jitter_p, u["grey"] < augment.grey_p
    twist = Twist(
        brightness=1 + _either_way(augment.brightness, u["brightness"]) if jittered else 1.0,
        contrast=1 + _either_way(augment.contrast, u["contrast"]) if jittered else 1.0,
        saturation=0.0 if grey else 1 + _either_way(augment.saturation, u["saturation"]) if jittered else 1.0,
        hue=_either_way(augment.hue, u["hue"]) if jittered else 0.0,
    )
    if u["tint"] < augment.tint_p:
        tint = made.tint(_between(augment.tint, u["depth"]), u["clear"])
        return made.after(tint, twist.matrix()).astype(np.float32), None
    return (twist.matrix().astype(np.float32), twist) if jittered or grey else (None, None)


def _kernel(augment: PhotoAugment, u: Uniforms) -> np.ndarray | None:
    steps = []
    if u["motion"] < augment.motion_p:
        steps.append(made.motion_kernel(_between(augment.motion, u["motion_length"]), 180 * u["motion_angle"]))
    if u["blur"] < augment.blur_p:
        steps.append(made.blur_kernel(_between(augment.blur, u["blur_sd"])))
    if u["sharpen"] < augment.sharpen_p:
        steps.append(made.sharpen_kernel(_between(augment.sharpen, u["sharpen_amount"])))
    return reduce(made.chained, steps).astype(np.float32) if steps else None


def _spatter(augment: PhotoAugment, u: Uniforms) -> Spatter | None:
    if u["spatter"] >= augment.spatter_p:
        return None
    pale = u["paleness"]
    return Spatter(
        place=(u["spatter_x"], u["spatter_y"]),
        kind=u["kind"],
        opacity=_between(augment.spatter, u["opacity"]),
        colour=tuple((1 - pale) * mud + pale * milk for mud, milk in zip(MUD, MILK, strict=True)),
    )


def _boxes(augment: PhotoAugment, u: Uniforms, holes: np.ndarray) -> np.ndarray:
    """(N, 4): coarse holes, then the large one, each whole inside the square."""
    count = round(_between(augment.holes, u["count"])) if u["holes"] < augment.holes_p else 0
    sides = augment.hole[0] + (augment.hole[1] - augment.hole[0]) * holes[:count, 2:]
    boxes = np.concatenate([holes[:count, :2] * (1 - sides), sides], axis=1)
    if u["erase"] < augment.erase_p:
        area, aspect = _between(augment.erase, u["erase_area"]), _by_ratio(augment.erase_aspect, u["erase_aspect"])
        height, width = min(1.0, math.sqrt(area / aspect)), min(1.0, math.sqrt(area * aspect))
        boxes = np.concatenate([boxes, [[u["erase_y"] * (1 - height), u["erase_x"] * (1 - width), height, width]]])
    return boxes.astype(np.float32)
