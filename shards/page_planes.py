"""Channels of stored pages: how many, one below the other in a page, and the grey levels of each in the manifest.

C channels, R rows of the manifest.
"""

from collections.abc import Mapping

import numpy as np

from tarpon.shards.manifest import Manifest

KEY = "channels"  # of a card, and of what a run keeps of it: names of the channels, where there are several
LEVELS = ("low", "high", "first_low", "first_high", "frame_min", "frame_max")  # columns of grey levels, of the first channel
FURTHER = "further_levels"  # column of the same six of the second channel, then of the third, ...; only where there are several


def count_channels(known: Mapping[str, object]) -> int:
    """How many channels the pages of a data set have, by its card or by what a run keeps of it."""
    return max(len(known.get(KEY, ())), 1)


def split_planes(page: np.ndarray, count: int) -> list[np.ndarray]:
    """The channels of a page (count * H, W), each (H, W); of one channel the page itself, which may be (H, W, 3)."""
    return [page] if count == 1 else list(page.reshape(count, -1, page.shape[1]))


def read_levels(manifest: Manifest, name: str) -> np.ndarray:
    """A column of levels, (R,) float32; of several channels (R, C), of each its own."""
    first, channels = np.asarray(manifest.column(name), np.float32), count_channels(manifest.card)
    if channels == 1:
        return first
    told, ends = manifest.lists(FURTHER, np.arange(len(first)))
    if (np.diff(ends) != (channels - 1) * len(LEVELS)).any():
        raise ValueError(f"{manifest.root}: the manifest has no levels of {channels} channels, as the card says; pack again")
    further = told.reshape(len(first), channels - 1, len(LEVELS))[..., LEVELS.index(name)]
    return np.concatenate([first[:, None], further.astype(np.float32)], 1)
