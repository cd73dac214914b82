"""Augmentation parameters of photographs: geometry as one matrix, colour as another, all linear filters as one kernel.

Drawn as in sampling/draws.py: no state, and every parameter for every photograph, used or not. Positions and lengths are in
sides of the delivered square; those of matrices are counted from its centre, x to the right and y down.
"""

import math
from dataclasses import dataclass
from functools import reduce

import numpy as np

from tarpon.shards.sampling import photo_matrices as matrices
from tarpon.shards.sampling.draws import make_generator
from tarpon.shards.sampling.photo_augment import MAX_HOLES, PhotoAugment, Span

MUD, MILK = (92.0, 84.0, 60.0), (186.0, 200.0, 204.0)  # red, green, blue of the darkest and the palest spatter


@dataclass(frozen=True, kw_only=True)
class ColourJitter:
    """Colour jitter: factors of brightness, contrast (about mid grey) and saturation (about grey), and a turn of the hue."""

    brightness: float
    contrast: float
    saturation: float  # 0 is grey
    hue: float  # turns

    def matrix(self) -> np.ndarray:
        """The jitter as a colour matrix, (3, 4)."""
        return matrices.jitter_matrix(
            brightness=self.brightness, contrast=self.contrast, saturation=self.saturation, hue=self.hue
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class SensorNoise:
    """Noise of a camera's sensor."""

    offset: tuple[float, float]  # in [0, 1): offsets in the noise bank of the grey and of the coloured noise
    luma: float  # sd of full scale
    chroma: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Spatter:
    """Haze and particles between camera and animal."""

    offset: tuple[float, float]  # in [0, 1): left and top of the crop of the pattern
    pattern: float  # in [0, 1): selects the pattern
    opacity: float
    colour: tuple[float, float, float]  # grey levels


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelDropout:
    """Single pixels set to black."""

    offset: float  # in [0, 1): offset in the bank
    share: float  # of the pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotoDraw:
    """One photograph's parameters; None leaves a step out."""

    matrix: np.ndarray  # (3, 3): a point (x, y, 1) of the delivered square -> the point of the photograph shown there
    zoom: float  # magnification at the centre, relative to evaluation
    colour: np.ndarray | None  # (3, 4) float32: red, green, blue, 1 -> red, green, blue, in grey levels
    jitter: ColourJitter | None  # the same where colour is a jitter alone: DALI does it in two thirds of the time
    clahe: float | None  # weight of the equalised image
    kernel: np.ndarray | None  # (h, w) float32, odd sides
    spatter: Spatter | None
    grain: SensorNoise | None
    jpeg: int | None  # quality
    boxes: np.ndarray  # (N, 4) float32 top, left, height, width from the top left corner; N may be 0
    fill: tuple[float, float, float]  # red, green and blue of the boxes, grey levels
    dropout: PixelDropout | None


IDENTITY_DRAW = PhotoDraw(
    matrix=np.eye(3), zoom=1.0, colour=None, jitter=None, clahe=None, kernel=None, spatter=None, grain=None, jpeg=None,
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
    """The parameters of one slot's photograph; the same for the same (seed, epoch, slot)."""
    if not augment.enabled:
        return IDENTITY_DRAW
    rng = make_generator(seed, epoch, slot)
    u = dict(zip(UNIFORMS, rng.random(len(UNIFORMS)).tolist(), strict=True))
    corners, holes = rng.random((4, 2)), rng.random((MAX_HOLES, 4))
    matrix = _draw_matrix(augment, u, corners)
    colour, jitter = _draw_colour(augment, u)
    return PhotoDraw(
        matrix=matrix,
        zoom=matrices.measure_zoom(matrix),
        colour=colour,
        jitter=jitter,
        clahe=_interpolate(augment.clahe, u["clahe_share"]) if u["clahe"] < augment.clahe_p else None,
        kernel=_draw_kernel(augment, u),
        spatter=_draw_spatter(augment, u),
        grain=SensorNoise(
            offset=(u["noise_x"], u["noise_y"]),
            luma=_interpolate(augment.noise_luma, u["luma"]),
            chroma=_interpolate(augment.noise_chroma, u["chroma"]),
        )
        if u["noise"] < augment.noise_p
        else None,
        jpeg=round(_interpolate(augment.jpeg, u["quality"])) if u["jpeg"] < augment.jpeg_p else None,
        boxes=_draw_boxes(augment, u, holes),
        fill=(255 * u["red"], 255 * u["green"], 255 * u["blue"]),
        dropout=PixelDropout(offset=u["dropout_place"], share=augment.dropout) if u["dropout"] < augment.dropout_p else None,
    )


def _interpolate(span: Span, u: float) -> float:
    return span[0] + (span[1] - span[0]) * u


def _interpolate_log(span: Span, u: float) -> float:
    """As `_interpolate`, on a logarithmic scale."""
    return span[0] * (span[1] / span[0]) ** u


def _spread_evenly(most: float, u: float) -> float:
    return most * (2 * u - 1)


def _draw_matrix(augment: PhotoAugment, u: Uniforms, corners: np.ndarray) -> np.ndarray:
    quarters = int(4 * u["quarters"]) if u["quarter"] < augment.quarter_p else 0
    steps = [
        matrices.flip_rotate_matrix(quarters, flip_x=u["flip_x"] < augment.flip_x_p, flip_y=u["flip_y"] < augment.flip_y_p)
    ]
    if u["perspective"] < augment.perspective_p:
        steps.append(matrices.perspective_matrix(_interpolate(augment.perspective, u["corners"]) * (2 * corners - 1)))
    if u["affine"] < augment.affine_p:
        steps.append(
            matrices.affine_matrix(
                angle=_spread_evenly(augment.angle, u["angle"]),
                shear_x=_spread_evenly(augment.shear, u["shear_x"]),
                shear_y=_spread_evenly(augment.shear, u["shear_y"]),
                scale=_interpolate_log(augment.scale, u["scale"]),
                shift_x=_spread_evenly(augment.shift, u["shift_x"]),
                shift_y=_spread_evenly(augment.shift, u["shift_y"]),
            )
        )
    area, aspect = _interpolate_log(augment.crop_area, u["area"]), _interpolate_log(augment.crop_aspect, u["aspect"])
    matrix = matrices.crop_matrix(area, aspect, u["crop_x"], u["crop_y"])
    for step in reversed(steps):  # delivered -> photograph: the last step is inverted first
        matrix = matrix @ step
    return matrix


def _draw_colour(augment: PhotoAugment, u: Uniforms) -> tuple[np.ndarray | None, ColourJitter | None]:
    jittered, grey = u["jitter"] < augment.jitter_p, u["grey"] < augment.grey_p
    jitter = ColourJitter(
        brightness=1 + _spread_evenly(augment.brightness, u["brightness"]) if jittered else 1.0,
        contrast=1 + _spread_evenly(augment.contrast, u["contrast"]) if jittered else 1.0,
        saturation=0.0 if grey else 1 + _spread_evenly(augment.saturation, u["saturation"]) if jittered else 1.0,
        hue=_spread_evenly(augment.hue, u["hue"]) if jittered else 0.0,
    )
    if u["tint"] < augment.tint_p:
        tint = matrices.tint_matrix(_interpolate(augment.tint, u["depth"]), u["clear"])
        return matrices.compose_colours(tint, jitter.matrix()).astype(np.float32), None
    return (jitter.matrix().astype(np.float32), jitter) if jittered or grey else (None, None)


def _draw_kernel(augment: PhotoAugment, u: Uniforms) -> np.ndarray | None:
    steps = []
    if u["motion"] < augment.motion_p:
        steps.append(matrices.motion_kernel(_interpolate(augment.motion, u["motion_length"]), 180 * u["motion_angle"]))
    if u["blur"] < augment.blur_p:
        steps.append(matrices.blur_kernel(_interpolate(augment.blur, u["blur_sd"])))
    if u["sharpen"] < augment.sharpen_p:
        steps.append(matrices.sharpen_kernel(_interpolate(augment.sharpen, u["sharpen_amount"])))
    return reduce(matrices.compose_kernels, steps).astype(np.float32) if steps else None


def _draw_spatter(augment: PhotoAugment, u: Uniforms) -> Spatter | None:
    if u["spatter"] >= augment.spatter_p:
        return None
    pale = u["paleness"]
    return Spatter(
        offset=(u["spatter_x"], u["spatter_y"]),
        pattern=u["kind"],
        opacity=_interpolate(augment.spatter, u["opacity"]),
        colour=tuple((1 - pale) * mud + pale * milk for mud, milk in zip(MUD, MILK, strict=True)),
    )


def _draw_boxes(augment: PhotoAugment, u: Uniforms, holes: np.ndarray) -> np.ndarray:
    """(N, 4): coarse holes, then the large one, each whole inside the square."""
    count = round(_interpolate(augment.holes, u["count"])) if u["holes"] < augment.holes_p else 0
    sides = augment.hole[0] + (augment.hole[1] - augment.hole[0]) * holes[:count, 2:]
    boxes = np.concatenate([holes[:count, :2] * (1 - sides), sides], axis=1)
    if u["erase"] < augment.erase_p:
        area, aspect = _interpolate(augment.erase, u["erase_area"]), _interpolate_log(augment.erase_aspect, u["erase_aspect"])
        height, width = min(1.0, math.sqrt(area / aspect)), min(1.0, math.sqrt(area * aspect))
        boxes = np.concatenate([boxes, [[u["erase_y"] * (1 - height), u["erase_x"] * (1 - width), height, width]]])
    return boxes.astype(np.float32)
