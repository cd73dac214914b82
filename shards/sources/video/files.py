"""Which files of a folder are recordings, and why others that look like videos are not."""

import re
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from tarpon.shards.quarantine import Fault

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".wmv", ".m4v", ".mpg", ".mpeg", ".ts")  # in any letter case
OTHER_SUFFIXES = (  # videos all the same, so that none is passed over without a word
    *(
        ".3gp",
        ".asf",
        ".avs",
        ".cine",
        ".divx",
        ".f4v",
        ".flv",
        ".gif",
        ".m2ts",
        ".mp4v",
        ".mts",
        ".mxf",
        ".ogv",
        ".rm",
        ".vob",
    ),
    *(".264", ".265", ".fmf", ".h264", ".h265", ".hevc", ".mjpeg", ".mjpg", ".seq", ".ufmf", ".yuv"),
)
# <video>DLC_<scorer>_labeled, _p60_labeled, _filtered_labeled, id_labeled, bp_labeled; `unlabeled` is another word;
# <video>_annotated is ours
RENDERED = re.compile(r"(?:^|_|id|bp)(?:labell?ed|annotated)$", re.IGNORECASE)
SCORER = re.compile(r"_?(?:DLC|DeepCut)_", re.IGNORECASE)


def find_videos(folder: Path, *, named: Collection[str] = ()) -> tuple[list[Path], list[Fault]]:
    """Recordings of a folder in the order of their names, and the videos in it that are not used, with the reason.

    Not used: DeepLabCut's renderings (`_labeled` and whatever else is named <another video's stem>DLC_...), for points are
    painted into them; containers that are not read; videos that share a stem, for tracks and results are named by it.
    Names that begin with a dot are no videos (a Mac's `._` files).

    Args:
        named: file names that labels speak of: of videos that share a stem the only one among them is used.

    Raises:
        ValueError: no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    used, unused = defaultdict(list), []
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
    stems = {path.stem for path in paths if path.suffix.lower() in SUFFIXES}
    for path in paths:
        suffix = path.suffix.lower()
        if suffix in OTHER_SUFFIXES:
            unused.append(
                Fault(file=path.name, reason=f"{suffix} files are not read; convert it to one of {' '.join(SUFFIXES)}")
            )
        elif suffix in SUFFIXES and _rendered(path.stem, stems):
            unused.append(Fault(file=path.name, reason="a rendering with points painted into the picture, not a recording"))
        elif suffix in SUFFIXES:
            used[path.stem].append(path)
    for stem, twins in used.items():
        if len(twins) > 1:
            meant = [path for path in twins if path.name in named]
            used[stem] = meant if len(meant) == 1 else []
            names = ", ".join(path.name for path in twins)
            reason = f"{names} share the stem {stem}, by which tracks and results are named"
            reason += f", and labels are of {meant[0].name}" if used[stem] else "; leave or rename one"
            unused += [Fault(file=path.name, reason=reason) for path in twins if path not in used[stem]]
    return sorted(path for paths in used.values() for path in paths), unused


def _rendered(stem: str, stems: set[str]) -> bool:
    if RENDERED.search(stem):
        return True
    return any(SCORER.match(stem[len(other) :]) for other in stems if other != stem and stem.startswith(other))
