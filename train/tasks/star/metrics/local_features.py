"""Local features of two photographs: how many of them lie alike in both. OpenCV's SIFT, which needs no trained weights.

A pair of features counts where each is nearest to the other and clearly nearer than to a second one, in both directions, and
where one turn, scale and shift of the whole picture carries it along with most others. N, M features of two photographs.
"""

from dataclasses import dataclass

import numpy as np

SIDE = 384  # pixels of the longer side at which features are sought: one scale for all, small pictures are enlarged
FEATURES = 600  # strongest kept of a photograph
RATIO = 0.8  # distance to the nearest over that to the second nearest, at most (Lowe 2004)
TOLERANCE = 0.05 * SIDE  # pixels between where a feature is and where the transform puts it: animals bend
LEAST = 4  # pairs that must agree: two always do, and three by chance
DEPTH = 128  # values of a descriptor


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalFeatures:
    """Of one photograph."""

    place: np.ndarray  # (N, 2) float32 x, y in pixels of the enlarged or reduced picture
    descriptor: np.ndarray  # (N, 128) uint8, square roots of SIFT's values (Arandjelović and Zisserman 2012), of length 255


NO_FEATURES = LocalFeatures(place=np.empty((0, 2), np.float32), descriptor=np.empty((0, DEPTH), np.uint8))


class SiftMatcher:
    """Finds and compares local features; the same photographs always give the same answer."""

    def __init__(self) -> None:
        """ValueError where OpenCV is not installed."""
        try:
            import cv2  # here: an extra
        except ImportError as error:
            raise ValueError("matching local features needs OpenCV: pip install 'tarpon[local]'") from error
        self._cv2 = cv2
        self._sift = cv2.SIFT_create(nfeatures=FEATURES)

    def describe(self, picture: bytes) -> LocalFeatures:
        """Features of an encoded photograph; none where it shows nothing, or cannot be decoded."""
        cv2 = self._cv2
        grey = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE) if picture else None
        if grey is None:
            return NO_FEATURES
        scale = SIDE / max(grey.shape)
        size = [max(1, round(side * scale)) for side in grey.shape[::-1]]
        sized = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        points, found = self._sift.detectAndCompute(sized, None)
        if found is None:
            return NO_FEATURES
        root = np.sqrt(found / np.maximum(found.sum(1, keepdims=True), 1))
        return LocalFeatures(
            place=np.array([point.pt for point in points], np.float32), descriptor=np.rint(255 * root).astype(np.uint8)
        )

    def count_matches(self, first: LocalFeatures, second: LocalFeatures) -> int:
        """Pairs that one turn, scale and shift explains, of those that are distinct in both; 0 where fewer than LEAST."""
        here, there = find_pairs(first.descriptor, second.descriptor)
        if len(here) < LEAST:
            return 0
        cv2 = self._cv2
        _, inside = cv2.estimateAffinePartial2D(
            first.place[here],
            second.place[there],
            method=cv2.RANSAC,  # its random numbers begin anew in every call
            ransacReprojThreshold=TOLERANCE,
            maxIters=1000,
            confidence=0.99,
        )
        count = 0 if inside is None else int(inside.sum())
        return count if count >= LEAST else 0


def find_pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (P,), (P,) of the descriptors (N, 128), (M, 128) uint8 that are each other's nearest and pass RATIO both ways."""
    if min(len(first), len(second)) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    one, two = first.astype(np.float32), second.astype(np.float32)
    squares = (one**2).sum(1)[:, None] + (two**2).sum(1) - 2 * one @ two.T  # whole numbers below 2**24, so exact
    there, here = squares.argmin(1), squares.argmin(0)
    mutual = np.flatnonzero(here[there] == np.arange(len(first)))
    mutual = mutual[_is_distinct(squares)[mutual] & _is_distinct(squares.T)[there[mutual]]]
    return mutual, there[mutual]


def _is_distinct(squares: np.ndarray) -> np.ndarray:
    """(N, M) squared distances -> (N,) bool: the nearest is clearly nearer than the second nearest."""
    nearest = np.partition(squares, 1, axis=1)
    return nearest[:, 0] < RATIO**2 * nearest[:, 1]
