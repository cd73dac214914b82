"""What a model answered for every row of a split, and the file that holds it.

N rows, F families, O orders, L habitats, K tasks, E experts.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from tarpon.shards import atomic
from tarpon.train.packed_rows import sort_answered
from tarpon.train.prediction_files import list_shares

FORMAT = 1  # of the file; raised when its fields change
COMMON, RARE = 100, 10  # training images: a family is common from the first on, rare below the second, medium between
NAMES = ("families", "orders", "habitats", "feedings", "tasks")
NUMBERS = ("family_order", "train_images", "common", "rare")


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributeNames:
    """What the numbers in a split's rows mean."""

    families: tuple[str, ...]
    orders: tuple[str, ...]
    habitats: tuple[str, ...]
    feedings: tuple[str, ...] = ()  # classes of the feeding path; () where it is not predicted
    tasks: tuple[str, ...]  # in the order of the gates
    family_order: np.ndarray  # (F,) int64 the order each family belongs to, -1 where no training row shows it
    train_images: np.ndarray  # (F,) int64 training rows of each family
    common: int = COMMON  # training images from which on a family counts as common
    rare: int = RARE  # and below which it counts as rare

    def __post_init__(self) -> None:
        if not 0 < self.rare <= self.common:
            raise ValueError(
                f"rare={self.rare} must be at least 1 and at most common={self.common}; both count training images of a family"
            )
        for name in ("family_order", "train_images"):
            if np.shape(getattr(self, name)) != (len(self.families),):
                raise ValueError(f"{name} must be ({len(self.families)},), one a family, got {np.shape(getattr(self, name))}")

    def buckets(self) -> dict[str, np.ndarray]:
        """(F,) bool for "common", "medium", "rare" and "unseen" families; each family is in one. Unseen ones have no training
        image: no model can name them, so they are kept apart from the rare ones."""
        often, unseen = self.train_images >= self.common, self.train_images == 0
        seldom = (self.train_images < self.rare) & ~unseen
        return {"common": often, "medium": ~often & ~seldom & ~unseen, "rare": seldom, "unseen": unseen}


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributeRows:
    """Truth and answer of every row, each row once. Checked when made (ValueError)."""

    names: AttributeNames
    key: np.ndarray  # (N,) str, the row's key in the manifest
    group: np.ndarray  # (N,) str, what the split keeps together (species, or one image); the unit of the bootstrap
    family: np.ndarray  # (N,) int64, -1 unknown; so are the other truths
    family_pred: np.ndarray  # (N,) int64
    family_rank: np.ndarray  # (N,) int64 families put before the true one; 0: right, -1: truth unknown
    family_confidence: np.ndarray  # (N,) float32 probability of family_pred
    order: np.ndarray  # (N,) int64
    order_pred: np.ndarray  # (N,) int64
    habitat: np.ndarray  # (N, L) int64 0 or 1, a row of -1 unknown
    habitat_prob: np.ndarray  # (N, L) float32; not float16, which rounds 0.49999 up to a yes
    troph: np.ndarray  # (N,) float32, NaN unknown
    troph_pred: np.ndarray  # (N,) float32
    feeding: np.ndarray | None = None  # (N,) int64
    feeding_pred: np.ndarray | None = None  # (N,) int64
    gates: np.ndarray | None = None  # (N, K, E) float32 weights of the experts, summing to 1; None: a model without

    def __post_init__(self) -> None:
        N = len(self.key)
        if N == 0:
            raise ValueError("no rows: the split is empty; look at the manifest's split column")
        for name in self.arrays():
            array = getattr(self, name)
            if len(array) != N:
                raise ValueError(f"{name} has {len(array)} rows, key has {N}")
        for name, classes in (("family", self.names.families), ("order", self.names.orders), ("feeding", self.names.feedings)):
            truth = getattr(self, name)
            if truth is not None and truth.max() >= len(classes):
                raise ValueError(f"{name} {truth.max()} is none of the {len(classes)} named; make the names from all rows")
        if self.habitat.shape != (N, len(self.names.habitats)) or self.habitat_prob.shape != self.habitat.shape:
            raise ValueError(
                f"habitat and habitat_prob must be ({N}, {len(self.names.habitats)}), "
                f"got {self.habitat.shape} and {self.habitat_prob.shape}"
            )
        for name in ("family_confidence", "habitat_prob", "troph_pred"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} must be finite; the model has diverged")

    def __len__(self) -> int:
        return len(self.key)

    def arrays(self) -> list[str]:
        """Names of the arrays that are there."""
        return [field.name for field in fields(self) if field.name != "names" and getattr(self, field.name) is not None]


def join_batches(
    parts: list[Mapping[str, np.ndarray]], *, names: AttributeNames, keys: np.ndarray, groups: np.ndarray
) -> AttributeRows:
    """Rows from several batches or processes, put in order of `row`.

    Args:
        parts: each "row" (n,) int64 and the arrays of AttributeRows but for key and group.
        keys, groups: by row, of the whole table.

    Raises:
        ValueError: a row is there twice.
    """
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {"row": np.empty(0, int)}
    row, order = sort_answered(whole.pop("row"), unit="rows")
    picked = {name: value[order] for name, value in whole.items()}
    return AttributeRows(names=names, key=np.asarray(keys)[row], group=np.asarray(groups)[row], **picked)


def save_rows(path: Path, rows: AttributeRows) -> None:
    """Write everything the scores are computed from to one compressed npz."""
    _write(path, rows.names, {name: getattr(rows, name) for name in rows.arrays()})


def save_no_rows(path: Path, names: AttributeNames) -> None:
    """As `save_rows`, of a process that answered no row: one file of a set, without gates."""
    words, numbers, labels = ("key", "group"), ("family_confidence", "troph", "troph_pred"), (0, len(names.habitats))
    kinds = dict.fromkeys(words, str) | dict.fromkeys(numbers, np.float32)
    arrays = {field.name: np.empty(0, kinds.get(field.name, np.int64)) for field in fields(AttributeRows)}
    del arrays["names"], arrays["gates"]
    if not names.feedings:
        del arrays["feeding"], arrays["feeding_pred"]
    _write(path, names, arrays | {"habitat": np.empty(labels, np.int64), "habitat_prob": np.empty(labels, np.float32)})


def _write(path: Path, names: AttributeNames, rows: Mapping[str, np.ndarray]) -> None:
    arrays = {f"names/{name}": np.array(getattr(names, name), dtype=str) for name in NAMES}
    arrays |= {f"names/{name}": np.asarray(getattr(names, name)) for name in NUMBERS}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replace(path) as draft, open(draft, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, format=np.array(FORMAT), **arrays, **rows)


def load_rows(path: Path) -> AttributeRows:
    """Read a file of `save_rows`, or the files of a set, in their order; ValueError in one line when it is something else."""
    held = [_read(file) for file in list_shares(path) or [path]]
    names, first = held[0]
    some = [rows for _, rows in held if len(rows["family_pred"])] or [first]  # a file without rows has no gates
    return AttributeRows(names=names, **{name: np.concatenate([rows[name] for rows in some]) for name in some[0]})


def _read(path: Path) -> tuple[AttributeNames, dict[str, np.ndarray]]:
    """(names, field -> array) of one file."""
    with Path(path).open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path}: not an npz file of predictions, or cut short; write it again")
        file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            if "format" not in stored.files or "family_pred" not in stored.files or stored["format"] != FORMAT:
                raise ValueError(f"{path}: not a file of attribute predictions of format {FORMAT}; write it again")
            arrays = {name: stored[name] for name in stored.files if name != "format"}
    names = {name.removeprefix("names/"): arrays.pop(name) for name in list(arrays) if name.startswith("names/")}
    words = {name: tuple(names.pop(name).tolist()) for name in NAMES}
    limits = {name: int(names.pop(name)) for name in ("common", "rare")}
    return AttributeNames(**words, **limits, **names), arrays
