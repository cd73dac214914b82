"""Requests of photographs -> inputs of the photograph graph. S pixels of a side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tarpon.pipelines.feed import StoredRow
from tarpon.pipelines.noise import NoiseBank, NoiseSlice
from tarpon.pipelines.photo.banks import GRAIN_SD, PatternBank
from tarpon.shards.manifest import Manifest
from tarpon.shards.sampling.photo_augment import PhotoAugment
from tarpon.shards.sampling.photo_draws import IDENTITY_DRAW, ColourJitter, PhotoDraw, draw_photo

UNUSED = np.zeros((1, 1, 1), np.uint8)  # input of a step that is left out, which does not read it
IDENTITY_COLOUR, IDENTITY_KERNEL = np.eye(3, 4, dtype=np.float32), np.ones((1, 1), np.float32)
IDENTITY_JITTER = ColourJitter(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0)
NO_BOX = np.zeros(2, np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotoRequest:
    """One photograph to deliver."""

    row: int  # -1: padding, delivered as another photograph with row -1
    draw: PhotoDraw = IDENTITY_DRAW


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotoFields:
    """Turns a stored photograph and its draw into the inputs of the graph."""

    size: int  # S
    mean: tuple[float, ...]  # of the backbone's training images, 0..1, one a channel
    std: tuple[float, ...]
    column: str = "jpg"
    pattern_bank: PatternBank = field(init=False)
    banks: Mapping[str, NoiseBank] = field(init=False)

    names: ClassVar[tuple[str, ...]] = (
        "image", "mean", "std", "matrix", "zoom", "use_clahe", "clahe_share", "use_jitter", "brightness", "contrast",
        "saturation", "hue", "use_colour", "colour", "use_kernel", "kernel", "use_spatter", "haze", "opacity", "water",
        "use_grain", "luma", "luma_sd", "chroma", "chroma_sd", "use_jpeg", "quality", "use_cutout", "anchor", "shape", "fill",
        "use_dropout", "keep", "row",
    )  # fmt: skip

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern_bank", PatternBank(size=self.size))
        object.__setattr__(self, "banks", {"luma": self.pattern_bank.grain, "chroma": self.pattern_bank.grain})

    @property
    def sample_bytes(self) -> int:
        """Bytes of one delivered photograph, float32."""
        return 4 * 3 * self.size**2

    def check(self, manifest: Manifest, *, device: int | None) -> None:
        """Any device decodes photographs: what its hardware cannot, its software can."""

    def arrays(self, stored: StoredRow, request: PhotoRequest) -> dict[str, np.ndarray | NoiseSlice]:
        """As `Fields.arrays`."""
        draw = request.draw
        return {
            "image": stored.read_uint8(self.column),
            "mean": 255 * np.array(self.mean, np.float32),
            "std": 255 * np.array(self.std, np.float32),
            "matrix": pixel_matrix(draw.matrix, self.size),
            "zoom": np.array(draw.zoom, np.float32),
            "use_clahe": np.array(draw.clahe is not None),
            "clahe_share": np.array(draw.clahe or 0, np.float32),
            **_jitter_arrays(draw),
            "use_colour": np.array(draw.colour is not None and draw.jitter is None),
            "colour": IDENTITY_COLOUR if draw.colour is None else draw.colour,
            "use_kernel": np.array(draw.kernel is not None),
            "kernel": IDENTITY_KERNEL if draw.kernel is None else draw.kernel,
            **self._spatter_arrays(draw),
            **self._noise_arrays(draw),
            "use_jpeg": np.array(draw.jpeg is not None),
            "quality": np.array(draw.jpeg or 100, np.int32),
            **self._cutout_arrays(draw),
            "row": np.array(stored.row if request.row >= 0 else -1, np.int64),
        }

    def _spatter_arrays(self, draw: PhotoDraw) -> dict[str, np.ndarray]:
        spatter = draw.spatter
        return {
            "use_spatter": np.array(spatter is not None),
            "haze": UNUSED if spatter is None else self.pattern_bank.crop_haze(spatter.pattern, spatter.offset),
            "opacity": np.array(0 if spatter is None else spatter.opacity / 255, np.float32),
            "water": np.array((0, 0, 0) if spatter is None else spatter.colour, np.float32),
        }

    def _noise_arrays(self, draw: PhotoDraw) -> dict[str, np.ndarray | NoiseSlice]:
        grain, bank = draw.grain, self.pattern_bank.grain
        silence = bank.slice_zeros(1, 1, 1)
        luma, chroma = (0, 0) if grain is None else (grain.luma, grain.chroma)
        return {
            "use_grain": np.array(grain is not None),
            "luma": silence if grain is None else bank.slice_noise(grain.offset[0], (self.size, self.size, 1)),
            "luma_sd": np.array(luma * 255 / GRAIN_SD, np.float32),
            "chroma": silence if grain is None else bank.slice_noise(grain.offset[1], (self.size, self.size, 3)),
            "chroma_sd": np.array(chroma * 255 / GRAIN_SD, np.float32),
        }

    def _cutout_arrays(self, draw: PhotoDraw) -> dict[str, np.ndarray]:
        boxes, dropout = draw.boxes, draw.dropout
        first = np.rint(self.size * boxes[:, :2])
        last = np.rint(self.size * (boxes[:, :2] + boxes[:, 2:]))
        return {
            "use_cutout": np.array(len(boxes) > 0),
            "anchor": first.ravel() if len(boxes) else NO_BOX,
            "shape": (last - first).ravel() if len(boxes) else NO_BOX,
            "fill": np.array(draw.fill, np.float32),
            "use_dropout": np.array(dropout is not None),
            "keep": UNUSED if dropout is None else self.pattern_bank.make_dropout_mask(dropout.offset, dropout.share),
        }


def _jitter_arrays(draw: PhotoDraw) -> dict[str, np.ndarray]:
    jitter = draw.jitter or IDENTITY_JITTER
    return {
        "use_jitter": np.array(draw.jitter is not None),
        "brightness": np.array(jitter.brightness, np.float32),
        "contrast": np.array(jitter.contrast, np.float32),
        "saturation": np.array(jitter.saturation, np.float32),
        "hue": np.array(-360 * jitter.hue, np.float32),  # DALI counts degrees, the other way round
    }


def pixel_matrix(matrix: np.ndarray, size: int) -> np.ndarray:
    """A geometry matrix in sides from the centre, converted to pixels from the top left corner, (3, 3) float32."""
    to_pixels = np.array([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1]])
    to_sides = np.array([[1 / size, 0, -0.5], [0, 1 / size, -0.5], [0, 0, 1]])
    return (to_pixels @ matrix @ to_sides).astype(np.float32)


def request_photos(
    rows: Sequence[int] | np.ndarray,
    *,
    augments: Sequence[PhotoAugment] = (),
    sets: Sequence[int] | np.ndarray | None = None,
    seed: int = 0,
    epoch: int = 0,
    slots: Sequence[int] | np.ndarray = (),
) -> list[PhotoRequest]:
    """Requests of the photographs of a batch.

    Args:
        rows: (B,) row ids; -1 pads and is not augmented.
        augments: augmentations; none: as in evaluation.
        sets: (B,) index into `augments` of each photograph; None: 0 for all.
        slots: (B,) positions in the epoch.
    """
    if not augments:
        return [PhotoRequest(row=int(row)) for row in rows]
    which = np.zeros(len(rows), int) if sets is None else np.asarray(sets)
    return [
        PhotoRequest(row=row, draw=draw_photo(augments[kind], seed=seed, epoch=epoch, slot=slot) if row >= 0 else IDENTITY_DRAW)
        for row, kind, slot in zip(np.asarray(rows).tolist(), which.tolist(), np.asarray(slots).tolist(), strict=True)
    ]
