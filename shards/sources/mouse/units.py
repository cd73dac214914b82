"""What to read from a mouse lab's folder, and one video of it with all that belongs to it."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from tarpon.shards.sources.mouse.counting import CHOICES
from tarpon.shards.sources.mouse.labels_classes import ClassNames
from tarpon.shards.sources.mouse.labels_intervals import UNITS
from tarpon.shards.sources.mouse.pose_files import KINDS
from tarpon.shards.sources.mouse.pose_points import MOUSE_POINTS
from tarpon.shards.sources.mouse.pose_track import MAX_BLANK
from tarpon.shards.sources.video import clips as video

CLASSES = ("rest", "paw_withdraw", "paw_lick", "paw_guard", "paw_shake", "flinch", "walk", "active")


@dataclass(frozen=True, kw_only=True)
class MouseSource:
    """What to read from a mouse lab's folder, and how."""

    keypoints: tuple[str, ...] = MOUSE_POINTS  # body parts, in the model's order
    pose: str = "dlc"  # dlc: every video needs its pose file, of DeepLabCut or another tracker; none: pack without points
    individual: str | None = None  # which animal of a pose file with several
    track: str = "unfiltered"  # which of DeepLabCut's tables: unfiltered, or filtered
    scorer: str | None = None  # whose points, where several tracked a video
    max_blank: float = MAX_BLANK  # largest share of a video's frames without any point
    trial_frames: int = 360  # video frames from one trial's start to the next
    offset: int | None = None  # first labelled frame of a trial; unset: 15 where a CSV has trial_frames - 15 rows, else 0
    group: str = "video"  # split unit: video, or a regex whose first group (or whole match) names it, searched in the stem
    clip: video.ClipFormat = field(default_factory=video.ClipFormat)
    classes: tuple[str, ...] = CLASSES  # in the order of their numbers
    class_map: tuple[tuple[str, str], ...] = ()  # (name in the tables, class); an empty class: not scored
    background: str = ""  # class of frames that no bout covers and no one-hot column names; empty: not scored
    frame_column: str = "auto"  # how Frame columns count: auto, zero, one, absolute, absolute_one, ignore
    label_unit: str = "auto"  # of tables of bouts: frames, seconds, or auto

    def __post_init__(self) -> None:
        if self.pose not in ("dlc", "none"):
            raise ValueError(f"pose={self.pose!r} must be dlc or none")
        if self.track not in KINDS or not 0 <= self.max_blank <= 1:
            raise ValueError(f"track={self.track!r} must be {' or '.join(KINDS)} and max_blank={self.max_blank} in [0, 1]")
        if self.frame_column not in CHOICES:
            raise ValueError(f"frame_column={self.frame_column!r} must be one of {', '.join(CHOICES)}")
        if self.label_unit not in ("auto", *UNITS):
            raise ValueError(f"label_unit={self.label_unit!r} must be auto, frames or seconds")
        self.class_names()
        if self.trial_frames < 1 or (self.offset is not None and not 0 <= self.offset < self.trial_frames):
            raise ValueError(f"trial_frames={self.trial_frames} must be >= 1 and offset={self.offset} in [0, trial_frames)")
        if len(set(self.keypoints)) != len(self.keypoints) or (self.pose == "dlc" and len(self.keypoints) < 2):
            raise ValueError(f"keypoints={','.join(self.keypoints)} must be two or more different names")
        if self.group != "video":
            try:
                re.compile(self.group)
            except re.error as error:
                raise ValueError(f"group={self.group!r} is no regular expression ({error}); use video or mend it") from error

    def class_names(self) -> ClassNames:
        return ClassNames(names=self.classes, renamed=self.class_map, background=self.background)

    def group_of(self, stem: str) -> str:
        if self.group == "video":
            return stem
        match = re.search(self.group, stem)
        if match is None:
            raise ValueError(f"--group {self.group} matches nothing in {stem!r}; use video, or a pattern that every name has")
        return match.group(1) if match.re.groups else match.group(0)


@dataclass(frozen=True, kw_only=True)
class TrialFile:
    """An annotation file, and what of the video it labels."""

    path: str
    trial: int | None  # from 1; None: the whole video, cut into its trials
    first: int | None = None  # video frame of the first row, where a table says it


@dataclass(frozen=True, kw_only=True)
class VideoUnit:
    """One video with all that belongs to it."""

    path: str
    points: str | None  # DeepLabCut file
    trials: tuple[TrialFile, ...]  # in order of trial; empty: points only
    source: MouseSource
    group: str  # what the split keeps together
    counting: tuple[str, ...] = ()  # ways of counting that Frame columns of the whole set speak for

    def name(self) -> str:
        return Path(self.path).name

    def fingerprint(self) -> str:
        stamps = [(path.name, (s := path.stat()).st_size, s.st_mtime_ns) for path in self.reads()]
        return json.dumps([stamps, [(entry.trial, entry.first) for entry in self.trials], self.group, self.counting])

    def reads(self) -> list[Path]:
        """The files that its samples are made of."""
        return [Path(file) for file in (self.path, self.points, *(entry.path for entry in self.trials)) if file]

    def size(self) -> int:
        """Frames, about: for the progress bar and for cutting shards."""
        return max(len(self.trials), 1) * self.source.trial_frames
