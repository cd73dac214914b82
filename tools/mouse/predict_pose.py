"""The points that go with a video to label: the same file, by the same rules, as packing takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tarpon.shards.sources.mouse.pose_files import KINDS, find_track
from tarpon.shards.sources.mouse.pose_track import read_track
from tarpon.shards.sources.video import clips as video
from tarpon.shards.sources.video.length import count_frames

UNUSED = "not an input of this model"
NO_POSE = "no pose file: the model was trained with points and saw none"  # what every row of such a table says


@dataclass(frozen=True, kw_only=True)
class PoseChoice:
    """Which points to give the model."""

    mode: str  # auto: where there are some | none | dlc: refuse a video without
    individual: str | None
    track: str  # unfiltered | filtered
    scorer: str | None
    max_blank: float

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "none", "dlc"):
            raise ValueError(f"pose={self.mode!r} must be auto, none or dlc")
        if self.track not in KINDS or not 0 <= self.max_blank <= 1:
            raise ValueError(f"track={self.track!r} must be {' or '.join(KINDS)} and max_blank={self.max_blank} in [0, 1]")


def track_of(path: Path, points: Sequence[str], which: PoseChoice) -> tuple[np.ndarray | None, str]:
    """Points (T, K, 3) of a video, None without; and what to tell. ValueError where a pose file cannot be used."""
    if which.mode == "none":
        return None, "none: all points invisible; a model trained with pose_input=false does better here"
    found = find_track(path.stem, path.parent, track=which.track, scorer=which.scorer)
    if found.missing and which.mode == "auto":
        return None, f"NONE: {found.problem}"
    if found.path is None:
        raise ValueError(f"{found.problem}{'; use --pose auto or none' if found.missing else ''}")
    info = video.probe(path)
    try:
        track = read_track(
            found.path,
            points,
            individual=which.individual,
            scorer=which.scorer,
            frames=count_frames(path),
            size=(info.width, info.height),
            max_blank=which.max_blank,
        )
    except ValueError as error:
        raise ValueError(f"{found.path.name}: {error}") from error
    remarks = [text for text in (found.remark, *track.remarks) if text]
    return track.xyl, "; ".join([found.path.name, *remarks])
