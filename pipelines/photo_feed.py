"""Photographs and their draws -> what the photograph graph is fed. S pixels of a side."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tarpon.pipelines.photo_banks import GRAIN_SD, Banks
from tarpon.shards.sampling.photo_augment import PhotoAugment
from tarpon.shards.sampling.photo_draws import STILL, PhotoDraw, Twist, draw_photo

NOTHING = np.zeros((1, 1, 1), np.uint8)  # stands where a step is not taken, which never looks at it
NO_GRAIN = np.zeros((1, 1, 1), np.int8)
UNCOLOURED, UNFILTERED = np.eye(3, 4, dtype=np.float32), np.ones((1, 1), np.float32)
UNTWISTED = Twist(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0)
NO_BOX = np.zeros(2, np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotoShot:
    """One photograph to deliver."""

    row: int  # -1: padding, delivered as another photograph with row -1
    draw: PhotoDraw = STILL


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotoFields:
    """A photograph to show whole in a square, varied by its draw."""

    size: int  # S
    mean: tuple[float, ...]  # of the backbone's training images, 0..1, one a channel
    std: tuple[float, ...]
    column: str = "jpg"
    names: tuple[str, ...] = (
        "image", "mean", "std", "matrix", "zoom", "clahe", "clahe_share", "twisted", "brightness", "contrast", "saturation",
        "hue", "coloured", "colour", "filtered", "kernel", "murky", "haze", "opacity", "water", "grainy", "luma", "luma_sd",
        "chroma", "chroma_sd", "packed", "quality", "holed", "anchor", "shape", "fill", "dotted", "keep", "row",
    )  # fmt: skip
    banks: Banks = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "banks", Banks(size=self.size))

    def arrays(self, encoded: np.ndarray, shot: PhotoShot, row: int) -> dict[str, np.ndarray]:
        """As `Fields.arrays`."""
        draw = shot.draw
        return {
            "image": encoded,
            "mean": 255 * np.array(self.mean, np.float32),
            "std": 255 * np.array(self.std, np.float32),
            "matrix": in_pixels(draw.matrix, self.size),
            "zoom": np.array(draw.zoom, np.float32),
            "clahe": np.array(draw.clahe is not None),
            "clahe_share": np.array(draw.clahe or 0, np.float32),
            **_twist(draw),
            "coloured": np.array(draw.colour is not None and draw.twist is None),
            "colour": UNCOLOURED if draw.colour is None else draw.colour,
            "filtered": np.array(draw.kernel is not None),
            "kernel": UNFILTERED if draw.kernel is None else draw.kernel,
            **self._water(draw),
            **self._grain(draw),
            "packed": np.array(draw.jpeg is not None),
            "quality": np.array(draw.jpeg or 100, np.int32),
            **self._holes(draw),
            "row": np.array(row if shot.row >= 0 else -1, np.int64),
        }

    def _water(self, draw: PhotoDraw) -> dict[str, np.ndarray]:
        spatter = draw.spatter
        return {
            "murky": np.array(spatter is not None),
            "haze": NOTHING if spatter is None else self.banks.haze(spatter.kind, spatter.place),
            "opacity": np.array(0 if spatter is None else spatter.opacity / 255, np.float32),
            "water": np.array((0, 0, 0) if spatter is None else spatter.colour, np.float32),
        }

    def _grain(self, draw: PhotoDraw) -> dict[str, np.ndarray]:
        grain = draw.grain
        luma, chroma = (0, 0) if grain is None else (grain.luma, grain.chroma)
        return {
            "grainy": np.array(grain is not None),
            "luma": NO_GRAIN if grain is None else self.banks.grain(grain.place[0], channels=1),
            "luma_sd": np.array(luma * 255 / GRAIN_SD, np.float32),
            "chroma": NO_GRAIN if grain is None else self.banks.grain(grain.place[1], channels=3),
            "chroma_sd": np.array(chroma * 255 / GRAIN_SD, np.float32),
        }

    def _holes(self, draw: PhotoDraw) -> dict[str, np.ndarray]:
        boxes, dropout = draw.boxes, draw.dropout
        first = np.rint(self.size * boxes[:, :2])
        last = np.rint(self.size * (boxes[:, :2] + boxes[:, 2:]))
        return {
            "holed": np.array(len(boxes) > 0),
            "anchor": first.ravel() if len(boxes) else NO_BOX,
            "shape": (last - first).ravel() if len(boxes) else NO_BOX,
            "fill": np.array(draw.fill, np.float32),
            "dotted": np.array(dropout is not None),
            "keep": NOTHING if dropout is None else self.banks.keep(dropout.place, dropout.share),
        }


def _twist(draw: PhotoDraw) -> dict[str, np.ndarray]:
    twist = draw.twist or UNTWISTED
    return {
        "twisted": np.array(draw.twist is not None),
        "brightness": np.array(twist.brightness, np.float32),
        "contrast": np.array(twist.contrast, np.float32),
        "saturation": np.array(twist.saturation, np.float32),
        "hue": np.array(-360 * twist.hue, np.float32),  # DALI counts degrees, the other way round
    }


def in_pixels(matrix: np.ndarray, size: int) -> np.ndarray:
    """(3, 3) float32 from pixels to pixels, counted from the top left corner, of one that counts sides from the middle."""
    there = np.array([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1]])
    back = np.array([[1 / size, 0, -0.5], [0, 1 / size, -0.5], [0, 0, 1]])
    return (there @ matrix @ back).astype(np.float32)


def shots(
    rows: Sequence[int] | np.ndarray,
    *,
    augments: Sequence[PhotoAugment] = (),
    sets: Sequence[int] | np.ndarray | None = None,
    seed: int = 0,
    epoch: int = 0,
    slots: Sequence[int] | np.ndarray = (),
) -> list[PhotoShot]:
    """The photographs of a batch.

    Args:
        rows: (B,) row ids; -1 pads and is not varied.
        augments: sets of chances and ranges; none: as evaluation has them.
        sets: (B,) the place in `augments` of each photograph's set; None: the first, for all.
        slots: (B,) places in the epoch.
    """
    if not augments:
        return [PhotoShot(row=int(row)) for row in rows]
    chosen = np.zeros(len(rows), int) if sets is None else np.asarray(sets)
    return [
        PhotoShot(row=row, draw=draw_photo(augments[kind], seed=seed, epoch=epoch, slot=slot) if row >= 0 else STILL)
        for row, kind, slot in zip(np.asarray(rows).tolist(), chosen.tolist(), np.asarray(slots).tolist(), strict=True)
    ]
