"""Which file is the track of a video: names of DeepLabCut, SuperAnimal, Lightning Pose, EKS and SLEAP.

A name is the video's exact stem and then one of FORMS; `mouse1` never takes the file of `mouse10`.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tarpon.shards.source_files import bring
from tarpon.shards.sources.mouse.dlc import OWN

KINDS = ("unfiltered", "filtered")  # --track
TABLES = (".csv", ".h5")
VIDEO = r"(?:\.(?i:mp4|avi|mov|mkv|m4v|webm|wmv|mpg|mpeg|ts))?"
# Around the stem (%s); group `scorer` names who tracked.
FORMS = (
    r"%s(?P<scorer>_?(?:DLC|DeepCut)_?.+)",  # DeepLabCut 2 and 3, and its first versions
    r"%s_(?P<scorer>superanimal_.+)",  # DeepLabCut's model zoo
    r"%s[._-](?P<scorer>(?i:eks)|ensemble-kalman.*)",
    # SLEAP; its menu writes <project>.<number of the video>_<stem>.analysis.h5
    rf"(?:.+\.\d{{3}}_)?%s{VIDEO}(?:\.predictions)?\.(?P<scorer>analysis)",
    rf"%s{VIDEO}(?P<scorer>(?:\.predictions)?)",  # Lightning Pose and others: the video's name alone; the content decides
)
NEVER = ("_skeleton", "_bpt_features", "_labeled", "_full", "_assemblies", "_meta")  # beside the table, not tracks
TRACKERS = {"_el": "ellipse", "_bx": "box", "_sk": "skeleton"}  # of multi-animal DeepLabCut


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One file that may be the track."""

    path: Path
    scorer: str  # as the file's name gives it, without endings
    tracker: str  # ending of a multi-animal tracker, or ""
    filtered: bool


@dataclass(frozen=True, kw_only=True)
class Found:
    """The track's file, or why there is none; and what is worth saying of the choice."""

    path: Path | None = None
    problem: str | None = None
    missing: bool = False  # there is no file at all, not too many
    remark: str | None = None


def find_track(stem: str, folder: Path, *, track: str = "unfiltered", scorer: str | None = None) -> Found:
    """The one pose file of a video in a folder.

    Args:
        stem: the video's name without its ending.
        track: unfiltered, or filtered: the table that DeepLabCut's filter wrote beside it.
        scorer: whose, where several tracked the video; our own predictions are taken only when it names them.
    """
    if track not in KINDS:
        raise ValueError(f"track={track!r} must be {' or '.join(KINDS)}")
    # names only: a folder of a thousand videos is listed a thousand times, and a stat for each of its files takes minutes
    near = [folder / name for name in sorted(os.listdir(folder)) if stem in name]
    every = candidates(stem, near)
    own = [one for one in every if is_own(one.scorer)]
    if scorer is not None and is_own(scorer):
        every = own
    else:
        every = [one for one in every if one not in own]
    if not every:
        aside = f" ({', '.join(one.path.name for one in own)} is Tarpon's own prediction)" if own else _other(near)
        return Found(problem=f"no pose file {stem}DLC_*.csv or of another name that docs/mouse.md lists{aside}", missing=True)
    if scorer is not None and len({one.scorer for one in every}) > 1:
        every = [one for one in every if one.scorer == scorer or one.scorer.lstrip("_") == scorer] or [
            one for one in every if scorer in one.scorer
        ]
        if not every:
            return Found(problem=f"no pose file of the scorer {scorer}")
    return _choose(every, track=track)


def _choose(every: Sequence[Candidate], *, track: str) -> Found:
    """One of several files: of one scorer, filtered or not as asked, one tracker's, the CSV before the .h5."""
    if len(scorers := sorted({one.scorer for one in every})) > 1:
        names = ", ".join(one.path.name for one in every)
        return Found(problem=f"{len(scorers)} pose files of different scorers ({names}); pick one with --scorer, or leave one")
    wanted = [one for one in every if one.filtered == (track == "filtered")]
    if not wanted:
        there = ", ".join(one.path.name for one in every)
        other = KINDS[1 - KINDS.index(track)]
        return Found(problem=f"no {track} pose file, only {there}; take it with --track {other}")
    trackers = sorted({one.tracker for one in wanted})
    if "" in trackers:
        wanted = [one for one in wanted if not one.tracker]
    elif len(trackers) > 1:
        names = ", ".join(one.path.name for one in wanted)
        return Found(problem=f"tracks of {len(trackers)} trackers ({names}); leave one")
    tables = [one for one in wanted if one.path.suffix.lower() == ".csv"] or wanted
    if len(tables) > 1:
        return Found(problem=f"{len(tables)} pose files ({', '.join(one.path.name for one in tables)}); leave one")
    (chosen,) = tables
    rest = sorted(one.path.name for one in every if one.filtered != chosen.filtered or one.tracker != chosen.tracker)
    kind = "filtered" if chosen.filtered else "unfiltered"
    remark = f"took the {kind} table and left the others beside it (--track {'|'.join(KINDS)})" if rest else None
    return Found(path=chosen.path, remark=remark)


def candidates(stem: str, paths: Sequence[Path]) -> list[Candidate]:
    """The files among paths whose names make them tables of points of this video."""
    found = []
    for path in paths:
        if path.suffix.lower() not in TABLES or path.name.startswith("._"):
            continue
        matches = (re.fullmatch(form.replace("%s", re.escape(stem)), path.stem) for form in FORMS)
        match = next((match for match in matches if match), None)
        if match is None:
            continue
        scorer, filtered, tracker = _endings(match["scorer"])
        if scorer in ("", ".predictions"):
            scorer = _scorer_inside(path)
        elif scorer == "analysis":
            scorer = "SLEAP"
        if scorer is not None:
            found.append(Candidate(path=path, scorer=scorer, tracker=tracker, filtered=filtered))
    return found


def _scorer_inside(path: Path) -> str | None:
    """The scorer that a CSV of any name says it is of; None where it is no pose file."""
    if path.suffix.lower() != ".csv":
        return None
    bring(path)
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        cells = [cell.strip() for cell in re.split(r"[,;\t]", file.readline(4096))]
    if cells[0].lower() == "scorer" and len(cells) > 1:
        return cells[1]
    return "SLEAP" if "frame_idx" in cells else None


def is_own(scorer: str) -> bool:
    """Whether a scorer's name is Tarpon's own."""
    return scorer.lstrip("_") in OWN


def _endings(text: str) -> tuple[str | None, bool, str]:
    """Scorer without endings, whether filtered, and the tracker's ending; None where an ending says that it is no track."""
    filtered, tracker = False, ""
    while True:
        if text.endswith(NEVER):
            return None, filtered, tracker
        if text.endswith("_filtered"):
            text, filtered = text.removesuffix("_filtered"), True
        elif text[-3:] in TRACKERS and not tracker:
            text, tracker = text[:-3], text[-3:]
        else:
            return text, filtered, tracker


def _other(near: Sequence[Path]) -> str:
    """What lies there instead, of a kind that can be exported."""
    projects = [path.name for path in near if path.suffix == ".slp"]
    return f" ({projects[0]} is a SLEAP project: export its analysis HDF5 or CSV)" if projects else ""
