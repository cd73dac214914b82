"""Requests of microscope pages -> inputs of the page graph. The pages of one window share their draw.

R rows of the manifest, S pixels of a side, C channels of a page.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tarpon.pipelines.feed import StoredRow
from tarpon.pipelines.noise import NoiseBank, NoiseSlice
from tarpon.pipelines.page.plain import find_pixels
from tarpon.pipelines.page.shrink import WIDEN, find_factors, shrink
from tarpon.shards.manifest import Manifest
from tarpon.shards.page_planes import count_channels, read_levels
from tarpon.shards.sampling.draws import PageAugment, PageDraw, draw_page

CONTRASTS = {  # scaling of grey levels to 0..1 -> manifest columns of the levels that become 0 and 1
    "first": ("first_low", "first_high"),
    "stack": ("low", "high"),
    "frame": ("frame_min", "frame_max"),
}
FIXED, STORED = "fixed", "stored"  # the whole range of the camera's bits, and of the bits that pages are stored in
FULL = 65535
READY, NOT_READY = np.array(True), np.array(False)
NO_FILE, NO_PIXELS = np.zeros(1, np.uint8), np.zeros((1, 1, 1), np.uint16)
UNCHANGED = PageDraw(flip_x=False, flip_y=False, angle=0.0, brightness=1.0, contrast=1.0, noise=None)


@dataclass(frozen=True, kw_only=True, eq=False)
class PageRequest:
    """One page to deliver."""

    row: int  # the page to read
    present: bool = True  # False: in place of a page beyond the stack's ends; its row is delivered as -1
    draw: PageDraw = UNCHANGED


@dataclass(frozen=True, kw_only=True, eq=False)
class PageFields:
    """Turns a stored page into the inputs of scaling to 0..1, augmentation and resize."""

    low: np.ndarray  # (R,) float32 level that becomes 0, on DALI's UINT16 scale; of several channels (R, C)
    high: np.ndarray  # level that becomes 1, likewise
    size: int  # S
    noise_sd: float = 0.0  # of the range 0..1; 0 needs no bank
    column: str = "tif"
    direct: bool = False  # on a CPU: what needs no decoder is read, and made smaller by a whole factor, before DALI gets it
    banks: Mapping[str, NoiseBank] = field(init=False)  # float32

    names: ClassVar[tuple[str, ...]] = (
        "page", "ready", "pixels", "black", "range", "matrix", "factor", "offset", "noise", "noise_first", "row",
    )  # fmt: skip

    def __post_init__(self) -> None:
        pixels = self.channels * self.size**2
        rng = np.random.default_rng(0)
        bank = NoiseBank.normal(rng, count=pixels, sd=self.noise_sd, dtype=np.float32, zeros=pixels)
        object.__setattr__(self, "banks", {"noise": bank})

    @property
    def channels(self) -> int:
        """C"""
        return self.low.shape[1] if self.low.ndim == 2 else 1

    @property
    def sample_bytes(self) -> int:
        """Bytes of one delivered page, float32."""
        return 4 * self.channels * self.size**2

    def arrays(self, stored: StoredRow, request: PageRequest) -> dict[str, np.ndarray | NoiseSlice]:
        """As `Fields.arrays`."""
        draw, row, bank = request.draw, stored.row, self.banks["noise"]
        shape = (self.size, self.size, self.channels)
        noisy = draw.noise is not None and self.noise_sd > 0
        noise = bank.slice_noise(draw.noise, shape) if noisy else bank.slice_zeros(*shape)
        brightness, contrast = draw.brightness, draw.contrast
        if self.channels > 1:
            brightness, contrast = np.transpose([draw.light(channel) for channel in range(self.channels)])
        return {
            **self._page_arrays(stored),
            "black": np.array(self.low[row], np.float32),
            "range": np.array(np.maximum(self.high[row] - self.low[row], 1), np.float32),
            "matrix": flip_rotate_matrix(draw, size=self.size),
            "factor": np.array(brightness * contrast, np.float32),
            "offset": np.array(brightness * 0.5 * (1 - contrast), np.float32),  # contrast is about mid grey
            "noise": noise,
            "noise_first": np.array(noise.first if noisy else -1, np.int64),
            "row": np.array(row if request.present and request.row >= 0 else -1, np.int64),
        }

    def _page_arrays(self, stored: StoredRow) -> dict[str, np.ndarray]:
        """The file, or in its place the pixels (C * S, S, 1) uint16 where they are plain and fit a whole number of times."""
        content = stored.read(self.column)
        if self.direct:
            height, width = int(stored.value("height")), int(stored.value("width"))
            factors = find_factors(height, width, self.size)
            tall = self.channels * height  # channels lie one below the other
            pixels = None if factors is None else find_pixels(content, height=tall, width=width)
            if pixels is not None:
                planes = [shrink(plane, factors) for plane in pixels.reshape(self.channels, height, width)]
                small = planes[0] if self.channels == 1 else np.concatenate(planes)
                return {"page": NO_FILE, "ready": READY, "pixels": small[..., None]}
        return {"page": np.frombuffer(content, np.uint8), "ready": NOT_READY, "pixels": NO_PIXELS}

    def check(self, manifest: Manifest, *, device: int | None) -> None:
        """Any device decodes pages: what its hardware cannot, its software can."""


def flip_rotate_matrix(draw: PageDraw, *, size: int) -> np.ndarray:
    """(3, 3) float32 from points (x, y, 1) of the augmented page to points of the page: flip, then anticlockwise rotation."""
    cos, sin = np.cos(np.deg2rad(draw.angle)), np.sin(np.deg2rad(draw.angle))
    flips = np.diag([-1.0 if draw.flip_x else 1.0, -1.0 if draw.flip_y else 1.0])
    turn = flips @ np.array([[cos, -sin], [sin, cos]])
    middle = np.full(2, size / 2)
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = turn, middle - turn @ middle
    return matrix.astype(np.float32)


def select_levels(manifest: Manifest, contrast: str) -> tuple[np.ndarray, np.ndarray]:
    """Levels that become 0 and 1 for every row, each (R,) float32 on DALI's UINT16 scale; of several channels (R, C).

    Args:
        contrast: first: 0.1 and 99.9 percentile of the first usable page of the page's stack, without knowledge of later ones;
            stack: the same of the whole stack; frame: the page's minimum and maximum, as published; fixed: the whole range of
            the camera's bits, as the card tells them for pages of 16 bits; stored: of the bits that pages are stored in.

    Raises:
        ValueError: another contrast.
    """
    widen = np.where(np.asarray(manifest.column("bits")) == 8, WIDEN, 1).astype(np.float32)
    channels = count_channels(manifest.card)
    widen = np.repeat(widen[:, None], channels, 1) if channels > 1 else widen
    check_contrast(contrast)
    if contrast in (FIXED, STORED):
        # shards of earlier versions do not tell the camera's bits: runs on them took the stored range
        deep = 2.0 ** (manifest.card.get("camera_bits") or 16) - 1 if contrast == FIXED else FULL
        return np.zeros(widen.shape, np.float32), np.where(widen == 1, deep, FULL).astype(np.float32)
    low, high = (read_levels(manifest, name) for name in CONTRASTS[contrast])
    return low * widen, high * widen


def check_contrast(contrast: str) -> None:
    """ValueError for a contrast that there is not."""
    if contrast not in (*CONTRASTS, FIXED, STORED):
        raise ValueError(f"contrast={contrast!r} must be one of {', '.join((*CONTRASTS, FIXED, STORED))}")


def warn_of_contrast(contrast: str) -> Iterator[str]:
    """A line where the scaling of grey levels carries what comes later into the pages before it; none elsewhere."""
    if contrast == "stack":
        yield (
            "contrast stack scales a page by pages that come after it: what the infection does late can be read from early "
            "pages, so no claim about early hours holds; contrast first does not"
        )


def find_neighbours(stacks: np.ndarray, pages: np.ndarray, *, window: int) -> tuple[np.ndarray, np.ndarray]:
    """The pages of the time window around every page, from its own stack by page number.

    Args:
        stacks, pages: (R,) stack and page number of every row of the manifest.
        window: odd number of pages W.

    Returns:
        read (R, W) int64 rows to read, the page itself where one is missing, and present (R, W) bool, False where missing.
    """
    number = np.unique(stacks, return_inverse=True)[1].astype(np.int64)
    # stacks are numbered so far apart that a step beyond a stack's last page never reaches the next stack
    place = number * (int(pages.max()) + 2 * window) + np.asarray(pages, np.int64)
    order = np.argsort(place)
    asked = place[:, None] + np.arange(window) - window // 2
    at = np.minimum(np.searchsorted(place[order], asked), len(place) - 1)
    present = place[order][at] == asked
    return np.where(present, order[at], np.arange(len(place))[:, None]), present


def request_pages(
    read: np.ndarray,
    present: np.ndarray,
    *,
    augment: PageAugment | None = None,
    seed: int = 0,
    epoch: int = 0,
    slots: Sequence[int] = (),
    channels: int = 1,
) -> list[PageRequest]:
    """Requests of the B * W pages of a batch of windows, window after window.

    Args:
        read, present: (B, W), rows of `find_neighbours`.
        augment: each window gets the draw of its slot; None: no augmentation.
        slots: (B,) positions in the epoch.
        channels: of a page.
    """
    made, key = [], {"seed": seed, "epoch": epoch, "channels": channels}
    for i, (rows, found) in enumerate(zip(read.tolist(), present.tolist(), strict=True)):
        draw = UNCHANGED if augment is None else draw_page(augment, slot=int(slots[i]), **key)
        made += [PageRequest(row=row, present=there, draw=draw) for row, there in zip(rows, found, strict=True)]
    return made
