"""Which video, DeepLabCut file and annotations belong together: by the published names, or by a table."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tarpon.shards.quarantine import Fault
from tarpon.shards.schema import sanitise_key
from tarpon.shards.source import Scan
from tarpon.shards.source_files import brought
from tarpon.shards.sources.mouse.pose_files import find_track
from tarpon.shards.sources.mouse.table import read_table
from tarpon.shards.sources.mouse.trial_labels import proofs_of
from tarpon.shards.sources.mouse.units import MouseSource, TrialFile, VideoUnit
from tarpon.shards.sources.video.files import SUFFIXES, find_videos

ANNOTATION = re.compile(
    rf"^predictions?_(?P<video>.+\.(?i:{'|'.join(suffix[1:] for suffix in SUFFIXES)}))_(?P<trial>\d+)\.(?i:csv)$"
)
WHOLE = "_labels.csv"  # after a video's stem: labels of all of it, as DeepEthogram names them
TABLES = (".csv", ".tsv", ".txt", ".xls", ".xlsx")  # what a file of labels may be called
POSE = re.compile(r"DLC_|DeepCut_|_superanimal_|_skeleton\b", re.I)


def scan(videos: Path, annotations: Path | None, source: MouseSource, *, table: Path | None = None) -> Scan:
    """Pair files by their names, or as `table` says. Decodes nothing; of annotations it reads how their Frame columns count.

    Order is by name, whatever the file system says.

    Raises:
        ValueError: a folder is missing, or the table is none.
    """
    for folder in (videos, annotations):
        if folder is not None and not folder.is_dir():
            raise ValueError(f"{folder}: no such folder")
    if table is not None:
        units, faults = _by_table(table, videos, annotations, source)
    else:
        units, faults = _by_name(videos, annotations, source)
    units, clashes = _one_key_each(units)
    labelled = [(unit, entry) for unit in units for entry in unit.trials]
    there = brought([Path(entry.path) for _, entry in labelled])
    speak = (proofs_of(entry, source, video=unit.name()) for (unit, entry), _ in zip(labelled, there, strict=True))
    counting = tuple(sorted(set().union(*speak)))
    return Scan([replace(unit, counting=counting) for unit in units], [*faults, *clashes])


def _by_table(table: Path, videos: Path, annotations: Path | None, source: MouseSource) -> tuple[list[VideoUnit], list[Fault]]:
    entries, faults = read_table(table, videos=videos, annotations=annotations)
    units = []
    for entry in sorted(entries, key=lambda entry: entry.video.name):
        made, wrong = _unit(entry.video, source, track=entry.track, trials=entry.trials, group=entry.group)
        units, faults = units + made, faults + wrong
    named = {entry.video.resolve() for entry in entries}
    faults += [
        Fault(file=path.name, reason=f"not in {table.name}") for path in find_videos(videos)[0] if path.resolve() not in named
    ]
    return units, faults


def _by_name(videos: Path, annotations: Path | None, source: MouseSource) -> tuple[list[VideoUnit], list[Fault]]:
    paths, faults = find_videos(videos, named=_named(annotations))
    found, misnamed, wrong = _annotations(annotations, [path.name for path in paths])
    faults += wrong
    units = []
    for path in paths:
        trials, wrong = _trials(found.get(path.name, []))
        faults += wrong
        if not trials and path.name in found:
            continue
        if not trials and path.name in misnamed:
            faults.append(Fault(
                file=path.name,
                reason=f"not packed as unlabelled: {misnamed[path.name]} looks like its annotation and is not named "
                f"prediction_<video>_<trial>.csv; rename it, or name both in --table",
            ))  # fmt: skip
            continue
        made, wrong = _unit(path, source, track=None, trials=trials, group="")
        units, faults = units + made, faults + wrong
    return units, faults


def _annotations(folder: Path | None, videos: Sequence[str]) -> tuple[dict[str, list[TrialFile]], dict[str, str], list[Fault]]:
    """Annotation files of each video; for videos that a misnamed file seems to be of, that file; and what is wrong."""
    found: dict[str, list[TrialFile]] = defaultdict(list)
    misnamed: dict[str, str] = {}
    faults = []
    whole = {Path(name).stem + WHOLE: name for name in videos}
    for path in sorted(folder.iterdir()) if folder else []:
        if path.name.startswith(".") or path.suffix.lower() not in TABLES or POSE.search(path.name):
            continue
        match = ANNOTATION.match(path.name)
        if match and match["video"] in videos:
            found[match["video"]].append(TrialFile(path=str(path), trial=int(match["trial"])))
        elif match:
            faults.append(Fault(file=path.name, reason=f"its video {match['video']} is not in the videos folder"))
        elif path.name in whole:
            found[whole[path.name]].append(TrialFile(path=str(path), trial=None))
        else:
            like = _looks_like(path.name, videos)
            if like:
                misnamed.setdefault(like, path.name)
            if like or path.suffix.lower() == ".csv":
                faults.append(Fault(file=path.name, reason="name is not prediction_<video>.mp4_<trial>.csv"))
    return found, misnamed, faults


def _named(folder: Path | None) -> set[str]:
    """The video files that annotations of a folder name."""
    matches = (ANNOTATION.match(path.name) for path in folder.iterdir()) if folder else ()
    return {match["video"] for match in matches if match}


def _looks_like(name: str, videos: Sequence[str]) -> str | None:
    """The video whose stem, as a whole word, is in the name; the longest of several."""
    stems = sorted(videos, key=lambda video: -len(Path(video).stem))
    alone = (rf"(?<![a-z0-9]){re.escape(Path(video).stem)}(?![a-z0-9])" for video in stems)
    return next((video for video, pattern in zip(stems, alone, strict=True) if re.search(pattern, name, re.I)), None)


def _trials(entries: Sequence[TrialFile]) -> tuple[tuple[TrialFile, ...], list[Fault]]:
    """Those that are the only one of their trial, in order, and faults of the others."""
    trials, faults = [], []
    numbers = [entry.trial for entry in entries]
    for entry in sorted(entries, key=lambda entry: entry.trial or 0):
        count, reason = numbers.count(entry.trial), None
        if entry.trial is None and len(entries) > 1:
            reason = "labels of the whole video, and there are annotations of single trials"
        elif count > 1:
            reason = f"trial {entry.trial} is annotated {count} times"
        elif entry.trial == 0:
            reason = "trials count from 1"
        if reason:
            faults.append(Fault(file=Path(entry.path).name, reason=reason))
        else:
            trials.append(entry)
    return tuple(trials), faults


def _unit(
    path: Path, source: MouseSource, *, track: Path | None, trials: Sequence[TrialFile], group: str
) -> tuple[list[VideoUnit], list[Fault]]:
    """One unit or none, and what is wrong or worth a remark."""
    points, remarks = str(track) if track else None, []
    if source.pose == "none":
        points = None
    elif track is None:
        found = find_track(path.stem, path.parent, track=source.track, scorer=source.scorer)
        if found.path is None:
            without = " (pack with --pose none to do without points)" if found.missing else ""
            return [], [Fault(file=path.name, reason=f"{found.problem}{without}")]
        points = str(found.path)
        remarks = [Fault(file=found.path.name, reason=found.remark, packed=True)] if found.remark else []
    try:
        group = group or source.group_of(path.stem)
    except ValueError as error:
        return [], [Fault(file=path.name, reason=str(error))]
    return [VideoUnit(path=str(path), points=points, trials=tuple(trials), source=source, group=group)], remarks


def _one_key_each(units: Sequence[VideoUnit]) -> tuple[list[VideoUnit], list[Fault]]:
    """Of videos of one key in the shards (`m 1.mp4` and `m_1.mp4`) the first with labels stays."""
    first: dict[str, VideoUnit] = {}
    kept, faults = [], []
    for unit in sorted(units, key=lambda unit: not unit.trials):
        first.setdefault(sanitise_key(Path(unit.path).stem), unit)
    for unit in units:
        other = first[sanitise_key(Path(unit.path).stem)]
        if other is unit:
            kept.append(unit)
        else:
            reason = f"named like {other.name()} but for signs that a key in the shards may not hold; rename one"
            faults.append(Fault(file=unit.name(), reason=reason))
    return kept, faults
