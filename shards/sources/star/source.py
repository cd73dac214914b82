"""A star data set's folder (`[<DATASET>/]<individual>/<outing>/<image>`), or its metadata file -> one sample a picture.

A session is a day: folders of one day are one session. The day stands in the outing's name; where it does not, the pictures
train and are no session. What does not fit becomes a Fault.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tarpon.shards.manifest import SPLITS
from tarpon.shards.quarantine import Fault
from tarpon.shards.source import Source
from tarpon.shards.sources import images
from tarpon.shards.sources.star import reid
from tarpon.shards.sources.star import split as reid_split
from tarpon.shards.sources.star.date_rules import decide_rules
from tarpon.shards.sources.star.dates import read_day, read_days
from tarpon.shards.sources.star.rows import match_files, read_rows

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"})
DEEP = 4  # names in DATASET/individual/outing/image; one less without the data set
SPECIES = "sea star"
RULES = ("temporal", "given")
METADATA = ("metadata_temporal.csv", "metadata.csv")


@dataclass(frozen=True, kw_only=True)
class StarSource:
    """What to read from a star folder, and how to split it."""

    split: str = "temporal"  # temporal: by day, here; given: as the metadata's split column says
    train_ratio: float = 0.8  # of an identity's days, the earliest
    min_sessions: int = 2  # days that an identity must have to be asked
    open_set: float = 0.0  # of the identities that can be asked, those tested as unknown animals
    seed: int = 42  # of which these are
    longest_side: int = 620  # pixels; larger pictures are made smaller once, here. 0: never
    max_pixels: int = images.MAX_PIXELS  # a picture whose header tells of more is not decoded

    def __post_init__(self) -> None:
        if self.split not in RULES:
            raise ValueError(f"split={self.split!r} must be {' or '.join(RULES)}")
        if not 0 < self.train_ratio < 1:
            raise ValueError(f"train_ratio={self.train_ratio} must be between 0 and 1; 0.8 is usual")
        if self.min_sessions < 2:
            raise ValueError(f"min_sessions={self.min_sessions} must be 2 or more: one to find an animal in, one to ask")
        if not 0 <= self.open_set < 1:
            raise ValueError(f"open_set={self.open_set} of the identities must be in [0, 1)")
        reid.check_side(self.longest_side)
        images.check_limit(self.max_pixels)


def scan(
    root: Path, source: StarSource, *, metadata: Path | None = None, dates: Path | None = None, rule: str | None = None
) -> reid.ReidScan:
    """List the pictures and decide_rules their splits. Reads only pictures that equal another one in size.

    Args:
        metadata: CSV of identity and path (or folder, filename); without it the tree tells.
        dates: CSV of folder and date, for outings whose names tell none or a wrong one.
        rule: month_first or day_first, for data sets whose dates do not tell.

    Raises:
        ValueError: in one line, what is wrong with a folder, a file or the options.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    if source.split == "given" and metadata is None:
        raise ValueError("split='given' takes the split column of a metadata file; name it with --metadata")
    rows, faults, notes = _list_metadata(root, metadata, source) if metadata else _list_tree(root)
    lost, choices = _assign_dates(rows, dates, asked=rule)
    faults, notes = faults + lost, notes + choices
    undated = {row["outing"] for row in rows if not row["date"] and any(map(str.isdigit, PurePosixPath(row["outing"]).name))}
    rows, wrong = reid.drop_copies(root, rows)
    _assign_splits(rows, source)
    if lone := [row["outing"] for row in rows if not row["date"]]:
        notes.append(f"{len(lone)} pictures in {len(set(lone))} folders are undated")
    if late := sum(row["split"] != "train" and not row["date"] for row in rows):
        notes.append(f"{late} of them are in val or test: as the file says, or of novel animals")
    return reid.ReidScan(
        units=reid.cut_units(root, rows, longest_side=source.longest_side, max_pixels=source.max_pixels),
        faults=faults + wrong,
        stars=True,
        notes=tuple(notes),
        undated=tuple(sorted(undated)),
    )


def list_files(root: Path) -> tuple[list[tuple[str, ...]], list[Fault]]:
    """The pictures below the root as names from it, in order; hidden folders and other files at the top are passed over."""
    found, faults = [], []
    for folder, below, files in os.walk(root, followlinks=True):
        here = Path(folder).relative_to(root).parts
        below[:] = sorted(name for name in below if not name.startswith("."))
        if len(here) > DEEP:
            faults.append(Fault(file="/".join(here), reason="a folder below DATASET/individual/outing"))
            below.clear()
            continue
        for name in sorted(files):
            if name.startswith("."):
                if Path(name).suffix.lower() in ENDINGS:
                    faults.append(Fault(file="/".join((*here, name)), reason=images.HIDDEN))
            elif Path(name).suffix.lower() in ENDINGS:
                found.append((*here, name))
            elif here:
                faults.append(Fault(file="/".join((*here, name)), reason="not an image file of a known ending"))
    return sorted(found), faults


def _list_tree(root: Path) -> tuple[list[dict], list[Fault], list[str]]:
    """Rows of all pictures that lie as deep as most. One level less than DEEP: the root is the data set."""
    files, faults = list_files(root)
    depths = Counter(len(names) for names in files if len(names) in (DEEP - 1, DEEP))
    deep = max(depths, key=lambda depth: (depths[depth], depth), default=DEEP)
    named = deep == DEEP
    layout = "<dataset>/<individual>/<outing>/<image>" if named else "<individual>/<outing>/<image>"
    rows = []
    for names in files:
        path = "/".join(names)
        if len(names) != deep:
            faults.append(Fault(file=path, reason=f"{len(names)} names deep, most pictures lie in {layout}"))
            continue
        dataset, individual = names[:2] if named else (root.resolve().name, names[0])
        state = (root / path).stat()
        rows.append(
            _make_row(path, dataset=dataset, identity=dataset + reid.JOIN + individual)
            | {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns}
        )
    notes = [f"read as {layout}" + ("" if named else f", data set {root.resolve().name}")]
    notes += [f"{name} is not read; --metadata {root / name} reads it" for name in METADATA if (root / name).is_file()]
    return rows, faults, notes


def _list_metadata(root: Path, path: Path, source: StarSource) -> tuple[list[dict], list[Fault], list[str]]:
    needed = ("identity", "split") if source.split == "given" else ("identity",)
    listed, columns, faults = read_rows(path, root=root, needed=needed)
    listed, wrong = match_files(listed, root=root)
    rows, faults = [], faults + wrong
    for said in listed:
        name = said["identity"]
        front = name.partition(reid.JOIN)[0] if reid.JOIN in name else root.resolve().name
        dataset = said.get("dataset") or front
        split = said["split"].lower() if source.split == "given" else ""
        if split and split not in SPLITS:
            reason = f"split {split!r} is not {', '.join(SPLITS)}"
            faults.append(Fault(file=said["path"], row=int(said["line"]), reason=reason))
            continue
        own = {key: said[key] for key in ("species", "orientation") if said.get(key)}
        rows.append(
            _make_row(said["path"], dataset=dataset, identity=reid.make_identity(dataset, name))
            | {"bytes": said["bytes"], "mtime_ns": said["mtime_ns"], "split": split, "date": said.get("date", "")}
            | {"named": name, **own}
        )
    reid.check_names(rows)
    unused = "split" in columns and source.split != "given"
    return rows, faults, [f"the split column of {path.name} is not used; --split given uses it"] if unused else []


def _make_row(path: str, *, dataset: str, identity: str) -> dict:
    return {
        "source": path, "identity": identity, "dataset": dataset, "species": SPECIES, "date": "", "split": "",
        "outing": str(PurePosixPath(path).parent), "orientation": "", "distractor": False, "novel": False,
    }  # fmt: skip


def _assign_dates(rows: Sequence[dict], dates: Path | None, *, asked: str | None) -> tuple[list[Fault], list[str]]:
    """Give every row its day and session: the file of dates first, then the row's own day, then its folder's name.

    Returns:
        A fault for every line of the file that no picture needs, and lines that tell which numbers are months.
    """
    dates_by_folder = read_days(dates) if dates else {}
    used, said = set(), []
    for row in rows:
        folder = PurePosixPath(row["outing"]).name
        match = row["outing"] if row["outing"] in dates_by_folder else folder
        if match in dates_by_folder:
            used.add(match)
            said.append(dates_by_folder[match][0])
        else:
            said.append(row["date"] if read_day(row["date"]) else folder)
    names: dict[str, list[str]] = {}
    for row, text in zip(rows, said, strict=True):
        names.setdefault(row["dataset"], []).append(text)
    rules, choices = decide_rules(names, asked=asked)
    for row, text in zip(rows, said, strict=True):
        row["date"] = read_day(text, rule=rules[row["dataset"]])
        row["session"] = row["date"] or f"undated:{PurePosixPath(row['outing']).name}"
        row["group"] = reid.make_group(row["identity"], row["session"], row["source"])
    lost = [(name, line) for name, (_, line) in dates_by_folder.items() if name not in used]
    return [Fault(file=dates.name, row=line, reason=f"no pictures in a folder {name}") for name, line in lost], choices


def _assign_splits(rows: Sequence[dict], source: StarSource) -> None:
    """Write split, distractor and novel into the rows."""
    names, days = [row["identity"] for row in rows], [row["date"] for row in rows]
    sessions = {name: len({days[i] for i in own} - {""}) for name, own in reid_split.group_indices(names).items()}
    if source.split == "given":
        splits, least = [row["split"] for row in rows], 2
        if "val" not in splits:
            splits = reid_split.validate_last(names, days, splits)
    else:
        least = source.min_sessions
        novel = reid_split.choose_novel(names, days, min_sessions=least, share=source.open_set, seed=source.seed)
        splits = reid_split.split_by_time(names, days, train_ratio=source.train_ratio, min_sessions=least, novel=novel)
    distractor, new = reid_split.assign_roles(names, splits, sessions, least=least)
    for row, split, alone, unknown in zip(rows, splits, distractor.tolist(), new.tolist(), strict=True):
        row |= {"split": split, "distractor": alone, "novel": unknown}


STAR = Source(
    schema=reid.SCHEMA,
    scan=scan,
    make=reid.make,
    assign=reid.assign,
    describe=reid.describe,
    hint=(
        "the pictures are not in {folder}/<individual>/<outing>/ or {folder}/<dataset>/<individual>/<outing>/, --root is one "
        "folder too high or too low, or a metadata file is needed (--metadata)"
    ),
    shard_size=4096,  # a tar of about 400 MB at 620 pixels
    find_copies=reid.find_equal_pixels,
    find_near_copies=reid.find_near_copies,
)
