"""WildlifeReID-10k's folder (metadata.csv, images below) -> one sample a image.

The sea stars in it are left out unless asked for: they may be the very animals that a star data set tests.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from tarpon.shards.manifest import SPLITS
from tarpon.shards.quarantine import Fault
from tarpon.shards.source import Source
from tarpon.shards.sources import images
from tarpon.shards.sources.star import reid
from tarpon.shards.sources.star import split as reid_split
from tarpon.shards.sources.star.date_rules import collect_evidence
from tarpon.shards.sources.star.dates import DAY_FIRST, MONTH_FIRST, read_day
from tarpon.shards.sources.star.rows import Row, match_files, read_rows
from tarpon.shards.sources.star.split import ImageColumns

NEEDED = ("identity", "path", "dataset", "split")
STARS = "SeaStarReID2023"
STAR_SPECIES = ("sea star", "seastar", "starfish", "star")
STRATEGIES = ("original", "recommended", "time_aware", "cluster_aware", "random")
# of `recommended`: the published registry; every other data set keeps its own split
RECOMMENDED = dict.fromkeys(("AmvrakikosTurtles", "BelugaID", "BirdIndividualID"), "time_aware") | dict.fromkeys(
    ("AAUZebraFish", "AerialCattle2017", "ATRW", "PolarBearVidID", "CTai", "CZoo"), "cluster_aware"
)


@dataclass(frozen=True, kw_only=True)
class WildlifeSource:
    """What to read from a WildlifeReID-10k folder, and how to split it."""

    split_strategy: str = "original"
    train_ratio: float = 0.8  # of an identity's pictures, where the split is made here
    val_share: float = 0.1  # of the training pictures
    seed: int = 42
    include: tuple[str, ...] = ()  # data sets; none named: all
    exclude: tuple[str, ...] = ()
    keep_seastar: bool = False
    longest_side: int = 620  # pixels; larger pictures are made smaller once, here. 0: never
    max_pixels: int = images.MAX_PIXELS  # a image whose header tells of more is not decoded

    def __post_init__(self) -> None:
        if self.split_strategy not in STRATEGIES:
            raise ValueError(f"split_strategy={self.split_strategy!r} must be one of {', '.join(STRATEGIES)}")
        for name in ("train_ratio", "val_share"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be between 0 and 1")
        if STARS in self.include and not self.keep_seastar:
            raise ValueError(
                f"include names {STARS}, which is left out so that no star is seen before its test; --keep_seastar"
            )
        if self.keep_seastar and STARS in self.exclude:
            raise ValueError(f"exclude names {STARS} and keep_seastar is given; take one of them away")
        reid.check_side(self.longest_side)
        images.check_limit(self.max_pixels)

    def rule(self, dataset: str) -> str:
        """How this data set is split."""
        return RECOMMENDED.get(dataset, "original") if self.split_strategy == "recommended" else self.split_strategy


def scan(root: Path, source: WildlifeSource) -> reid.ReidScan:
    """Join metadata and files and decide the splits. Reads only pictures that equal another one in size.

    Raises:
        ValueError: in one line, what is wrong with the folder, metadata.csv or the options.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    listed, _, faults = read_rows(root / "metadata.csv", root=root, needed=NEEDED)
    listed, notes = _select_rows(listed, source)
    listed, wrong = match_files(listed, root=root)
    faults += wrong
    rows = []
    for said in listed:
        split = said["split"].lower()
        if split not in SPLITS and source.rule(said["dataset"]) == "original":
            reason = f"split {said['split']!r} is not {', '.join(SPLITS)}"
            faults.append(Fault(file=said["path"], row=int(said["line"]), reason=reason))
            continue
        rows.append(_make_row(said, split))
    notes += _assign_dates(rows)
    reid.check_names(rows)
    rows, wrong = reid.drop_copies(root, rows)
    notes += _assign_splits(rows, source)
    return reid.ReidScan(
        units=reid.cut_units(root, rows, longest_side=source.longest_side, max_pixels=source.max_pixels),
        faults=faults + wrong,
        stars=any(_is_star(row["dataset"], row["species"]) for row in rows),
        notes=tuple(notes),
    )


def _is_star(dataset: str, species: str) -> bool:
    return dataset.lower() == STARS.lower() or species.lower() in STAR_SPECIES


def _select_rows(listed: Sequence[Row], source: WildlifeSource) -> tuple[list[Row], list[str]]:
    """The lines of the data sets that are wanted. ValueError for a name that no line has: it would do nothing."""
    there = {row["dataset"] for row in listed}
    if unknown := sorted({*source.include, *source.exclude} - there - {STARS}):
        raise ValueError(f"no data set {', '.join(unknown)} in metadata.csv; it has {', '.join(sorted(there))}")
    stars = [row for row in listed if _is_star(row["dataset"], row.get("species", ""))]
    left = set() if source.keep_seastar else {row["path"] for row in stars}
    wanted = [
        row
        for row in listed
        if row["path"] not in left
        and row["dataset"] not in source.exclude
        and (not source.include or row["dataset"] in source.include)
    ]
    notes = []
    if left:
        notes.append(f"{len(left)} pictures of sea stars are left out; --keep_seastar keeps them, and co-training then refuses")
    elif stars:
        notes.append("sea stars are in it: not for pre-training or co-training with a star data set")
    return wanted, notes


def _make_row(said: Row, split: str) -> dict:
    """A line as a row, not yet dated."""
    dataset, path = said["dataset"], said["path"]
    return {
        "source": path, "identity": reid.make_identity(dataset, said["identity"], joins=(reid.JOIN, "_")), "dataset": dataset,
        "species": said.get("species", ""), "date": said.get("date", ""), "outing": str(PurePosixPath(path).parent),
        "orientation": said.get("orientation", ""), "split": split, "distractor": False, "novel": False,
        "bytes": said["bytes"], "mtime_ns": said["mtime_ns"], "named": said["identity"], "cluster": said.get("cluster_id", ""),
    }  # fmt: skip


def _assign_dates(rows: Sequence[dict]) -> list[str]:
    """Write day, date, session and group; lines that tell which numbers are months.

    A day that cannot be read still tells sessions apart: it is kept as it is written. Where the dates of a data set do not tell
    month from day they are read month first: which day it is then orders sessions, and never joins or parts them.
    """
    by_dataset = reid_split.group_indices([row["dataset"] for row in rows])
    found = {name: collect_evidence(rows[i]["date"] for i in own) for name, own in by_dataset.items()}
    for row in rows:
        text, rule = row["date"], found[row["dataset"]].rule or MONTH_FIRST
        row["date"] = read_day(text, rule=rule)
        row["day"] = row["date"] or text
        row["session"] = row["day"] or row["cluster"]
        row["group"] = reid.make_group(row["identity"], row["session"], row["source"])
    first = [f"dates of {name} are read day first" for name, own in found.items() if own.rule == DAY_FIRST]
    unsure = [f"dates of {name} are read month first, which nothing in them decides" for name, own in found.items() if own.open]
    return first + unsure


def _assign_splits(rows: list[dict], source: WildlifeSource) -> list[str]:
    """Write split, distractor and novel into the rows; notes on what could not be split as asked."""
    columns = ([row[name] for row in rows] for name in ("identity", "day", "cluster", "source"))
    identities, days, clusters, names = columns
    pictures = ImageColumns(identities=identities, days=days, clusters=clusters, names=names)
    units = reid_split.find_units(pictures)
    splits = np.array([row["split"] for row in rows], object)
    for rule, indices in reid_split.group_indices([source.rule(row["dataset"]) for row in rows]).items():
        if rule == "time_aware":  # by the days that can be put in order
            dated = replace(pictures, days=[row["date"] for row in rows]).take(indices)
            splits[indices] = reid_split.split_by_day(dated, units[indices], ratio=source.train_ratio)
        elif rule != "original":
            clustered = rule == "cluster_aware"
            splits[indices] = reid_split.split_by_hash(
                pictures.take(indices), units[indices], ratio=source.train_ratio, seed=source.seed, clustered=clustered
            )
    if "val" not in splits:
        train = np.flatnonzero(splits == "train")
        held = reid_split.hold_out_units(pictures.take(train), units[train], share=source.val_share, seed=source.seed)
        splits[train[held]] = "val"
    splits = splits.tolist()
    distractor, novel = reid_split.assign_roles(identities, splits, reid_split.count_units(pictures, units))
    for row, split, alone, unknown in zip(rows, splits, distractor.tolist(), novel.tolist(), strict=True):
        row |= {"split": split, "distractor": alone, "novel": unknown}
    return _describe_untested(rows, source)


def _describe_untested(rows: Sequence[dict], source: WildlifeSource) -> list[str]:
    """A note where data sets have nothing to test, as they lack the days or clusters that their rule goes by."""
    tested = Counter(row["dataset"] for row in rows if row["split"] == "test")
    without = sorted({row["dataset"] for row in rows if not tested[row["dataset"]]})
    if not without:
        return []
    return [f"nothing to test in {', '.join(without)}: split {source.split_strategy} finds no identity of two sessions there"]


WILDLIFE = Source(
    schema=reid.SCHEMA,
    scan=scan,
    make=reid.make,
    assign=reid.assign,
    describe=reid.describe,
    hint=(
        "the paths of metadata.csv are not relative to {folder}, the images are not unpacked, or include and exclude leave no "
        "data set"
    ),
    shard_size=4096,  # a tar of about 400 MB at 620 pixels
    find_copies=partial(reid.find_equal_pixels, given=True),
    find_near_copies=reid.find_near_copies,
)
