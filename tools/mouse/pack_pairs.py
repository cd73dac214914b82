"""What `tarpon pack mouse --dry_run` prints: each video with its track and its labels, before anything is decoded."""

from collections.abc import Iterator
from pathlib import Path

from tarpon.shards.source import Scan
from tarpon.shards.source_files import bring, brought
from tarpon.shards.sources.mouse.labels_intervals import Intervals
from tarpon.shards.sources.mouse.pose_track import check_head
from tarpon.shards.sources.mouse.trial_labels import read_file
from tarpon.shards.sources.mouse.units import TrialFile, VideoUnit
from tarpon.tools.table import table

NAMED = 3  # annotation files named of a video
COUNTED = {
    "zero": "from 0 in each trial",
    "one": "from 1 in each trial",
    "absolute": "the video's frames from 0",
    "absolute_one": "the video's frames from 1",
}


def pairs(found: Scan) -> Iterator[str]:
    """A line a video, then the counts."""
    if not found.units:
        return
    rows = [(unit.name(), unit.group, _track(unit), _labels(unit), _format(unit)) for unit in found.units]
    yield from table(("video", "group", "track", "labels", "read as"), rows)
    for way in found.units[0].counting:
        yield f"Frame columns count {COUNTED[way]} (--frame_column {way})"
    count = sum(len(unit.trials) for unit in found.units)
    bare = sum(not unit.trials for unit in found.units)
    alone = f"; {bare} videos have no labels and are for their points alone" if bare else ""
    yield f"{len(found.units)} videos with {count} annotation files{alone}"
    yield ""


def _track(unit: VideoUnit) -> str:
    """The pose file, and what its head lacks."""
    if unit.points is None:
        return "none"
    path, source = Path(unit.points), unit.source
    bring(path)
    try:
        check_head(path, source.keypoints, individual=source.individual, scorer=source.scorer)
    except (ValueError, OSError) as error:
        return f"{path.name}: {error}"
    return path.name


def _labels(unit: VideoUnit) -> str:
    if not unit.trials:
        return "none: unlabelled"
    named = [_entry(entry) for entry in unit.trials[:NAMED]]
    return ", ".join(named) + (f" and {len(unit.trials) - NAMED} more" if len(unit.trials) > NAMED else "")


def _entry(entry: TrialFile) -> str:
    what = "all" if entry.trial is None else f"trial {entry.trial}"
    return f"{what}: {Path(entry.path).name}" + ("" if entry.first is None else f" from frame {entry.first}")


def _format(unit: VideoUnit) -> str:
    """The formats of its annotation files, and the first of them that does not read."""
    formats: dict[str, None] = {}
    for entry, _ in zip(unit.trials, brought([Path(entry.path) for entry in unit.trials]), strict=True):
        try:
            table = read_file(entry, unit.source, video=unit.name())
        except (ValueError, OSError) as error:
            return f"{Path(entry.path).name}: {error}"
        unit_of = (" in seconds" if table.seconds else " in frames") if isinstance(table, Intervals) else ""
        formats[table.took + unit_of] = None
    return ", ".join(formats) or "-"
