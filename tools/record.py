"""The files of a run folder, read into one record."""

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tarpon.shards.tar_cache import Cache
from tarpon.train.prediction_files import list_shares

SPLITS = ("test", "val")  # the first that a run has is the one reported
SUFFIXES = (".npz", ".parquet")  # of predictions: each task writes one of them


@dataclass(frozen=True, kw_only=True)
class Record:
    """Content of a run folder; a part that is missing is empty."""

    name: str
    folder: Path
    task: str  # of run.json
    config: str  # the text of run.yaml
    lines: list[dict[str, float]]  # of metrics.jsonl
    metrics: dict[str, dict[str, float]]  # split -> name -> value, from metrics.json
    machine: dict[str, object]  # run.json, or the machine block of metrics.json
    predictions: dict[str, Path]  # split -> the task's own npz or parquet file, or the name that `list_shares` finds a set by
    groups: dict[str, list[str]]  # split -> what the split kept together (animal, video, well), one name a predicted sample
    classes: list[str]
    page: Path | None = None  # folder that its page is written to; None: its own
    cache: Cache | None = None  # for tars of remote shards; None: the run's own
    data: str | None = None  # where its data are now, as the user says; None: where run.yaml says

    @property
    def split(self) -> str:
        """The split that is reported: test where there is one; "" before any was scored."""
        return next((split for split in SPLITS if split in self.metrics or split in self.predictions), "")

    def link(self, name: str) -> str:
        """A file of the run folder as the page leads to it."""
        return name if self.page is None else os.path.relpath(self.folder / name, self.page)


def read_run(run: Path, *, page: Path | None = None, cache: Cache | None = None, data: str | None = None) -> Record:
    """Read a run folder; ValueError says which file is missing or wrong."""
    missing = [name for name in ("run.yaml", "metrics.jsonl") if not (run / name).is_file()]
    if missing:
        raise ValueError(
            f"{run} is not a run folder: it has no {' and no '.join(missing)}; give the folder that training wrote"
        )
    metrics, facts = _json(run / "metrics.json"), _json(run / "run.json")
    there = {split: [run / "predictions" / f"{split}{suffix}" for suffix in SUFFIXES] for split in SPLITS}
    predictions = {split: path for split, paths in there.items() for path in paths if list_shares(path)}
    names = {split: _names(path) for split, path in predictions.items() if path.suffix == ".npz"}
    return Record(
        name=run.resolve().name,
        folder=run,
        task=str(facts.get("task", "")),
        config=(run / "run.yaml").read_text(encoding="utf-8"),
        lines=_json_lines(run / "metrics.jsonl"),
        metrics={split: metrics[split] for split in SPLITS if metrics.get(split)},
        machine=facts or metrics.get("machine", {}),
        predictions=predictions,
        groups={split: groups for split, (groups, _) in names.items()},
        classes=next((classes for _, classes in names.values()), []),
        page=page,
        cache=cache,
        data=data,
    )


def _names(path: Path) -> tuple[list[str], list[str]]:
    """`group` and `classes` of predictions, which every task's files may have; an array that is not there is empty."""
    groups, classes = [], []
    for file in list_shares(path):
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{file}: not an npz file of predictions, or cut short; write it again")
        with np.load(file, allow_pickle=False) as stored:
            group, classes = (stored[name].tolist() if name in stored.files else [] for name in ("group", "classes"))
        groups += group
    return groups, classes


def _json(path: Path) -> dict:
    """The object in a JSON file; {} when there is no such file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}; it must hold one JSON object") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: got a {type(found).__name__}; it must hold one JSON object")
    return found


def _json_lines(path: Path) -> list[dict[str, float]]:
    """The lines of a JSONL file; a run that was killed may leave its last line half written, and that one is passed over."""
    texts = path.read_text(encoding="utf-8").splitlines()
    lines = []
    for number, words in enumerate(texts, start=1):
        try:
            line = json.loads(words)
        except ValueError as error:
            if number == len(texts):
                break
            raise ValueError(f"{path}:{number}: {error}; every line must be one JSON object") from error
        if not isinstance(line, dict) or "step" not in line:
            raise ValueError(f"{path}:{number}: got {words[:60]!r}; every line must be one JSON object with a step")
        lines.append(line)
    return lines
