"""What a photograph is for in the search of a split. n photographs, or n animals of one split."""

import numpy as np

from tarpon.train.tasks.star.metrics.embeddings import GALLERY, NEW, QUERY


def searched_roles(splits: np.ndarray, novel: np.ndarray, split: str) -> np.ndarray:
    """(n,) int8: QUERY, GALLERY, both added up, NEW or 0.

    The gallery is train for val, train and val for test; queries whose animal is not in it are NEW.

    Args:
        splits: (n,) str split of each. novel: (n,) bool, in no gallery. split: that is searched.
    """
    gallery = np.isin(splits, ("train",) if split == "val" else ("train", "val")) & ~novel
    queries = splits == split
    return (queries & ~novel) * np.int8(QUERY) + gallery * np.int8(GALLERY) + (queries & novel) * np.int8(NEW)


def has_role(roles: np.ndarray, role: int) -> np.ndarray:
    """(n,) bool."""
    return (roles & role) > 0
