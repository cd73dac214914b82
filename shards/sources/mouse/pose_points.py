"""Names of body points: the mouse's own, what means the same, and a trial's size from them."""

import re
from collections.abc import Sequence

import numpy as np

MOUSE_POINTS = ("mouth", "tail_base", "L_frontpaw", "R_frontpaw", "L_hindpaw", "R_hindpaw")

# Names that mean the same point, compared without case and separators.
ALIASES = (
    ("mouth", "nose", "snout"),
    ("tail_base", "tailbase", "base_of_tail", "tail_root"),
    ("L_frontpaw", "left_front_paw", "left_frontpaw", "leftforepaw", "L_forepaw", "lfrontpaw", "frontpaw_L"),
    ("R_frontpaw", "right_front_paw", "right_frontpaw", "rightforepaw", "R_forepaw", "rfrontpaw", "frontpaw_R"),
    ("L_hindpaw", "left_hind_paw", "left_hindpaw", "lhindpaw", "hindpaw_L"),
    ("R_hindpaw", "right_hind_paw", "right_hindpaw", "rhindpaw", "hindpaw_R"),
)


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-.]", "", name).lower()


_MEANING = {_plain(name): group[0] for group in ALIASES for name in group}


def find_point(name: str, parts: Sequence[str]) -> str | None:
    """The file's own name of a point: the same text, else the same but for case and separators, else an alias."""
    if name in parts:
        return name
    for same in (
        lambda part: _plain(part) == _plain(name),
        lambda part: _plain(name) in _MEANING and _MEANING.get(_plain(part)) == _MEANING[_plain(name)],
    ):
        hits = [part for part in parts if same(part)]
        if len(hits) > 1:
            raise ValueError(f"body parts {', '.join(hits)} all mean {name}; name the one to use in --keypoints")
        if hits:
            return hits[0]
    return None


def body_length(xyl: np.ndarray, *, likelihood: float = 0.6) -> float:
    """A trial's robust body length in the units of x, y: the largest median distance between two points.

    Args:
        xyl: (T, K, 3); points under `likelihood` are left out. The median over time shrugs off jumps, the largest pair
            is the animal's extent whatever the points are called.

    Returns:
        Pixels, or NaN when no pair is ever seen together.
    """
    xy = np.where(xyl[..., 2:] >= likelihood, xyl[..., :2], np.nan)
    first, second = np.triu_indices(xy.shape[1], 1)
    distance = np.linalg.norm(xy[:, first] - xy[:, second], axis=-1)
    enough = np.isfinite(distance).sum(0) > 0
    if not enough.any():
        return float("nan")
    return float(np.nanmedian(distance[:, enough], axis=0).max())
