"""Augmentation of training photographs: probabilities and ranges, and two presets.

Positions and lengths are in sides of the delivered square, unless a field says pixels.
"""

from dataclasses import dataclass, fields, replace

MAX_HOLES = 12  # coarse cutout holes of a photograph
Span = tuple[float, float]  # (least, most)


@dataclass(frozen=True, kw_only=True)
class PhotoAugment:
    """Augmentation of photographs; *_p is the probability that a photograph gets it. The defaults change nothing.

    Scales are drawn uniformly on a logarithmic scale and their ranges are centred on 1, so that animals are as large in
    training as in evaluation.
    """

    enabled: bool = True  # false shows every photograph as it is stored
    flip_x_p: float = 0.0  # probability of a mirror image, left-right
    flip_y_p: float = 0.0  # probability of one upside down; like flip_x it swaps an animal's flanks
    quarter_p: float = 0.0  # probability of a rotation by 0, 90, 180 or 270 degrees
    crop_area: Span = (1.0, 1.0)  # area that is shown, of the square photograph; above 1 it is shown smaller
    crop_aspect: Span = (1.0, 1.0)  # width over height of what becomes a square
    affine_p: float = 0.0  # probability of scale, shift, angle and shear together
    scale: Span = (1.0, 1.0)  # larger than 1: nearer
    shift: float = 0.0  # sides at most, in x and y
    angle: float = 0.0  # degrees of rotation at most, either way
    shear: float = 0.0  # degrees of shear at most, either way
    perspective_p: float = 0.0  # probability of a view from the side
    perspective: Span = (0.02, 0.08)  # sides that each corner moves at most
    jitter_p: float = 0.0  # probability of a change of brightness, contrast, saturation and hue together
    brightness: float = 0.2  # factor within 1 +- this
    contrast: float = 0.2  # factor within 1 +- this, about mid grey
    saturation: float = 0.2  # factor within 1 +- this
    hue: float = 0.1  # turns at most, either way
    grey_p: float = 0.0  # probability of a grey picture
    tint_p: float = 0.0  # probability of the colour cast of water
    tint: Span = (0.1, 0.8)  # optical depth in red: red light falls to exp(-this)
    clahe_p: float = 0.0  # probability of local contrast equalisation (CLAHE)
    clahe: Span = (0.25, 1.0)  # weight of the equalised image in the mix
    blur_p: float = 0.0  # probability of blur
    blur: Span = (0.1, 2.0)  # its standard deviation, pixels
    motion_p: float = 0.0  # probability of motion blur
    motion: Span = (3.0, 9.0)  # pixels that the camera moved
    sharpen_p: float = 0.0  # probability of sharpening
    sharpen: Span = (0.2, 1.0)  # weight of the difference from a blurred copy
    spatter_p: float = 0.0  # probability of turbid water: haze and floating particles
    spatter: Span = (0.2, 0.7)  # opacity where it is thickest
    noise_p: float = 0.0  # probability of noise
    noise_luma: Span = (0.01, 0.06)  # its standard deviation, of full scale, the same in all channels
    noise_chroma: Span = (0.005, 0.03)  # its standard deviation, of full scale, of each channel by itself
    jpeg_p: float = 0.0  # probability of compression as JPEG
    jpeg: Span = (60.0, 95.0)  # its quality
    holes_p: float = 0.0  # probability of small holes
    holes: Span = (1.0, 12.0)  # how many
    hole: Span = (0.01, 0.05)  # width and height of each, in sides
    erase_p: float = 0.0  # probability of one large hole
    erase: Span = (0.02, 0.15)  # its area, of the square
    erase_aspect: Span = (0.3, 3.3)  # its width over its height
    dropout_p: float = 0.0  # probability of pixels turned black
    dropout: float = 0.02  # share of the pixels turned black

    def __post_init__(self) -> None:
        for item in fields(self):
            name, value = item.name, getattr(self, item.name)
            if name.endswith("_p") and not 0 <= value <= 1:
                raise ValueError(f"augment.{name}={value} must be in [0, 1]")
            if isinstance(value, tuple) and not 0 < value[0] <= value[1]:
                raise ValueError(f"augment.{name}={value} must be two numbers above 0, the smaller first")
        for name in ("brightness", "contrast", "saturation", "shift", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"augment.{name}={getattr(self, name)} must be in [0, 1)")
        limits = {"hue": 0.5, "angle": 180, "shear": 45}
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(f"augment.{name}={getattr(self, name)} must be in [0, {limit}]")
        below = {"perspective": 0.25, "holes": MAX_HOLES, "jpeg": 100, "noise_luma": 1, "noise_chroma": 1, "clahe": 1,
                 "spatter": 1, "motion": 21, "blur": 5, "hole": 1, "erase": 1}  # fmt: skip
        for name, most in below.items():
            if getattr(self, name)[1] > most:
                raise ValueError(f"augment.{name}={getattr(self, name)} must stay at or below {most}")

    def without_mirroring(self) -> "PhotoAugment":
        """A copy without mirroring, for species whose left and right flanks differ; rotations stay."""
        return replace(self, flip_x_p=0.0, flip_y_p=0.0)


def wildlife() -> PhotoAugment:
    """Preset for photographs of many species, after the published training on WildlifeReID-10k.

    Half of the crops show less than the whole photograph (as published), half show it smaller.
    """
    return PhotoAugment(
        flip_x_p=0.5, flip_y_p=0.5, crop_area=(0.7, 1 / 0.7), crop_aspect=(0.8, 1 / 0.8), affine_p=1.0, angle=30.0,
        jitter_p=1.0, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1, grey_p=0.1, blur_p=0.1,
        erase_p=0.2, erase=(0.02, 0.15),
    )  # fmt: skip


def underwater() -> PhotoAugment:
    """Preset for animals photographed under water from any side, after the published training on sea stars.

    The published scales of 0.75 to 1.75 on crops of 59% are centred on 1. Its distortions, which changed next to nothing, are
    left out; its colour shifts are replaced by a model of light lost in water.
    """
    return PhotoAugment(
        flip_x_p=0.5, flip_y_p=0.5, quarter_p=0.5, crop_area=(0.7, 1 / 0.7), affine_p=0.5, scale=(0.65, 1 / 0.65), shift=0.1,
        angle=45.0, shear=10.0, perspective_p=0.3, jitter_p=0.35, brightness=0.2, contrast=0.2, saturation=0.3, hue=0.1,
        grey_p=0.1, tint_p=0.3, clahe_p=0.2, blur_p=0.08, motion_p=0.08, sharpen_p=0.2, spatter_p=0.15, noise_p=0.13,
        jpeg_p=0.07, holes_p=0.2, erase_p=0.2, erase=(0.02, 0.2), dropout_p=0.1,
    )  # fmt: skip
