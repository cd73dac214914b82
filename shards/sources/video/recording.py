"""One pass over a recording that remembers what the frames alone do not tell: their times, and what the file lacks."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tarpon.shards.sources.video import clips as video


class Recording:
    """Iterate once over its frames, then ask.

    Attributes:
        info: what the header and the first frame declare.
    """

    def __init__(self, path: Path) -> None:
        """ValueError where the file is no readable video."""
        self.info = video.probe(path)
        self._path = path
        self._pts: list[int | None] = []
        self._base = Fraction(1)
        self._last_ticks = 0  # how long the last frame is shown
        self._damaged = 0
        self._tally = Counter()
        self._problem: str | None = None

    def __iter__(self) -> Iterator[av.VideoFrame]:
        """Frames in display order; a decoding error ends them and is told by `faults`."""
        try:
            for frame in video.decode(self._path, tally=self._tally):
                self._pts.append(frame.pts)
                self._base, self._last_ticks = frame.time_base or self._base, frame.duration or 0
                self._damaged += frame.is_corrupt
                yield frame
        except ValueError as error:
            self._problem = str(error)

    def timed(self) -> bool:
        """Whether every frame has a time stamp later than the one before."""
        return None not in self._pts and all(b > a for a, b in zip(self._pts[:-1], self._pts[1:], strict=True))

    def edges(self) -> np.ndarray:
        """(T + 1,) float64 seconds from the start of frame 0: where each frame begins, and where the last one ends.

        By the time stamps, so that a variable frame rate comes out right; at the mean rate where they are missing or run back.
        """
        count = len(self._pts)
        if not count or not self.timed():
            return np.arange(count + 1) / float(self.info.fps)
        begin = np.array(self._pts, np.int64) - self._pts[0]
        usual = int(np.median(np.diff(begin))) if count > 1 else round(1 / self.info.fps / self._base)
        return np.append(begin, begin[-1] + (self._last_ticks or usual)) * float(self._base)

    def faults(self) -> list[str]:
        """What the file promises and does not give, after all frames were read; empty where it is whole."""
        count, found = len(self._pts), []
        promised, end = self.info.frames, self.edges()[-1] if count else 0.0
        usual = float(np.median(np.diff(self.edges()))) if count else 0.0
        if self._problem:
            found.append(f"{count} of {promised or 'unknown'} frames: {self._problem}")
        elif promised and self._tally["packets"] < promised:
            found.append(f"cut short: {count} of the {promised} frames that its header promises")
        elif not promised and self.info.seconds and end < self.info.seconds - max(2 * usual, 0.02 * self.info.seconds):
            found.append(f"cut short: {count} frames, {end:.2f} of the {self.info.seconds:.2f} s that its header promises")
        if self._damaged:
            found.append(f"{self._damaged} frames do not decode cleanly")
        return found
