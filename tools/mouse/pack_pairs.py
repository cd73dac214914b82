"""What `tarpon pack mouse --dry_run` prints: each video with its track and its labels, before anything is decoded."""

from collections.abc import Iterator
from pathlib import Path

from tarpon.shards.source import Scan
from tarpon.shards.sources.mouse.labels_intervals import Intervals
from tarpon.shards.sources.mouse.trial_labels import read_file
from tarpon.shards.sources.mouse.units import TrialFile, VideoUnit
from tarpon.tools.table import table

NAMED = 3  # annotation files named of a video


def pairs(found: Scan) -> Iterator[str]:
    """A line a video, then the counts."""
    if not found.units:
        return
    rows = [
        (unit.name(), unit.group, Path(unit.points).name if unit.points else "none", _labels(unit), _format(unit))
        for unit in found.units
    ]
    yield from table(("video", "group", "track", "labels", "read as"), rows)
    ways = ", ".join(found.units[0].counting)
    if ways:
        yield f"Frame columns count {ways} (--frame_column)"
    count = sum(len(unit.trials) for unit in found.units)
    bare = sum(not unit.trials for unit in found.units)
    yield f"{len(found.units)} videos with {count} annotation files; {bare} of them without labels, for their points alone"
    yield ""


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
    for entry in unit.trials:
        try:
            table = read_file(entry, unit.source, video=unit.name())
        except (ValueError, OSError) as error:
            return f"{Path(entry.path).name}: {error}"
        unit_of = (" in seconds" if table.seconds else " in frames") if isinstance(table, Intervals) else ""
        formats[table.took + unit_of] = None
    return ", ".join(formats) or "-"
