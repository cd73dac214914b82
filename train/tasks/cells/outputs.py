"""What a cells run leaves for its readers, written from the run folder's predictions, metrics.jsonl and metrics.json alone.

So training and `tarpon report` write the same files, and the report needs neither weights nor data.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from tarpon.shards import atomic
from tarpon.shards.json_file import write_json
from tarpon.train.figures import style
from tarpon.train.prediction_files import list_shares
from tarpon.train.tasks.cells.figures import curves, hours
from tarpon.train.tasks.cells.metrics.control import describe_control, is_near_guess
from tarpon.train.tasks.cells.metrics.intervals import describe_unit
from tarpon.train.tasks.cells.metrics.predictions import (
    CONDITIONS,
    PageRows,
    find_one_well_classes,
    load_rows,
    save_metadata,
    save_rows,
)
from tarpon.train.tasks.cells.metrics.scores import score, score_stacks
from tarpon.train.tasks.cells.metrics.tables import TABLES, tabulate, write_table
from tarpon.train.tasks.cells.metrics.windows import STRIDE_H, Window, count_pages, score_windows
from tarpon.train.tasks.cells.summary import summary

SPLITS = ("test", "val")  # the first that is there is what the figures show
PUBLISHED = {  # our scalar -> its name in the published results.json
    "loss": "total_loss",
    "loss_label": "cls_loss",
    "loss_hours": "reg_loss",
    "accuracy": "cls_accuracy",
    "precision": "cls_precision",
    "recall": "cls_recall",
    "f1": "cls_f1",
    "auc": "cls_auc",
    "mae": "reg_mae",
    "rmse": "reg_rmse",
    "mse": "reg_mse",
    "combined": "combined",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedRun:
    """A run folder, read."""

    folder: Path
    lines: Sequence[Mapping[str, float]]  # of metrics.jsonl
    scores: Mapping[str, Mapping[str, float]]  # split -> scalars, losses among them
    rows: Mapping[str, PageRows]  # split -> predictions
    best_step: int | None
    config: Mapping[str, object]
    task: str

    @property
    def shown(self) -> str:
        """The split that figures and summary are about: test where there is one."""
        return next(split for split in SPLITS if split in self.rows)


def read_run(folder: Path) -> FinishedRun:
    """Read a run folder and score its predictions again.

    Raises:
        ValueError: no predictions, or a file that is something else.
    """
    config = yaml.safe_load((folder / "run.yaml").read_text()) if (folder / "run.yaml").exists() else {}
    paths = {split: folder / "predictions" / f"{split}.npz" for split in SPLITS}
    rows = {split: read_predictions(path, config) for split, path in paths.items() if list_shares(path)}
    if not rows:
        raise ValueError(f"{folder}: no predictions/test.npz or predictions/val.npz; give a run folder with a validation done")
    stored = _json(folder / "metrics.json")
    kept = {split: {k: v for k, v in stored.get(split, {}).items() if k.startswith("loss")} for split in rows}
    return FinishedRun(
        folder=folder,
        lines=read_lines(folder / "metrics.jsonl"),
        scores={split: kept[split] | score(held) for split, held in rows.items()},
        rows=rows,
        best_step=stored.get("best_step"),
        config=config,
        task=_json(folder / "run.json").get("task", "cells"),
    )


def read_predictions(path: Path, config: Mapping[str, object]) -> PageRows:
    """Predictions of a split; the onset, which files of earlier versions lack, from the run's configuration."""
    rows, onset = load_rows(path), (config or {}).get("infection_onset_hour")
    if onset is None or np.isfinite(rows.onset).any():
        return rows
    return replace(rows, onset=np.full(len(rows), onset, np.float32))


def write_outputs(folder: Path) -> list[Path]:
    """Write figures, summary, results.json and the test predictions into the run folder; returns what was written."""
    run = read_run(folder)
    return [folder / name for name in (*write_figures(run), *write_tables(run))]


def write_figures(run: FinishedRun) -> list[str]:
    """Draw the figures into the run folder; returns their file names."""
    split, rows = run.shown, run.rows[run.shown]
    drawn = {
        "training_curves.png": curves.training_curves(run.lines),
        "validation_metrics.png": curves.validation_metrics(run.lines, best_step=run.best_step),
        "prediction_scatter.png": hours.scatter(rows, split=split),
        "temporal_generalization.png": hours.over_time(rows, split=split),
        "calibration.png": hours.calibration(rows, split=split),
        "stacks.png": hours.stacks(rows, split=split),
    }
    for name, figure in drawn.items():
        atomic.write_bytes(run.folder / name, style.png(figure))
    return list(drawn)


def write_tables(run: FinishedRun) -> list[str]:
    """All that is text or numbers."""
    rows = run.rows[run.shown]
    write_json(run.folder / "results.json", results_record(run))
    write_json(run.folder / "temporal_metrics.json", temporal_record(rows))
    text = summary(
        run.scores,
        run.lines,
        title=run.folder.name,
        best_step=run.best_step,
        shown=run.shown,
        confounded=find_one_well_classes(*run.rows.values()),
        drawn={split: describe_unit(held) for split, held in run.rows.items()},
        contrast=run.config.get("contrast"),
    )
    atomic.write_text(run.folder / "training_summary.txt", text)
    written = ["results.json", "temporal_metrics.json", "training_summary.txt"]
    for split, held in run.rows.items():
        names = [f"{split}_predictions{suffix}" for suffix in TABLES]
        for name in names:
            write_table(run.folder / name, tabulate(held))
        written += names
    if "test" in run.rows:
        save_rows(run.folder / "test_predictions.npz", run.rows["test"])
        save_metadata(run.folder / "test_metadata.jsonl", run.rows["test"])
        written += ["test_predictions.npz", "test_metadata.jsonl"]
    return written


def results_record(run: FinishedRun) -> dict:
    """What results.json holds: the published names beside all of our own scores, windows and stacks."""
    published = {f"{split}_metrics": rename_as_published(scores) for split, scores in run.scores.items()}
    return {
        "experiment_name": (run.config.get("wandb") or {}).get("name") or run.task,
        "run_id": run.folder.name,
        "config": run.config,
        "best_step": run.best_step,
        "best_val_metric": run.scores.get("val", {}).get("combined", math.nan),
        **published,
        "scores": run.scores,
        "control": {
            split: {"near_guess": is_near_guess(own), "meaning": describe_control(own)} for split, own in run.scores.items()
        },
        "intervals_over": {split: describe_unit(rows) for split, rows in run.rows.items()},
        "contrast": run.config.get("contrast"),
        "one_well_classes": find_one_well_classes(*run.rows.values()),
        "windows": {split: list_windows(score_windows(rows)) for split, rows in run.rows.items()},
        "stacks": {split: score_stacks(rows) for split, rows in run.rows.items()},
    }


def rename_as_published(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores under their published names; those without one are left out."""
    return {theirs: scores[ours] for ours, theirs in PUBLISHED.items() if ours in scores}


def list_windows(found: Sequence[Window]) -> list[dict[str, float]]:
    """One JSON record a window: start_h, end_h, middle_h and its scores."""
    return [{"start_h": w.start, "end_h": w.end, "middle_h": w.centre, **w.scores} for w in found]


def temporal_record(rows: PageRows) -> dict:
    """As the published temporal_metrics.json, with the pages of each window; what is undefined is null.

    Windows overlap, so their pages (`rows`) do not add up; `pages_by_hours` counts every page once.
    """
    found, (edges, counts) = score_windows(rows), count_pages(rows)
    names = ("rows", "auc", "accuracy", "balanced_accuracy", "f1", "precision", "recall", "mae")
    return {
        "window_size_hours": found[0].end - found[0].start,
        "stride_hours": found[1].start - found[0].start if len(found) > 1 else None,
        "window_centers": [window.centre for window in found],
        "metrics_by_window": {name: [window.scores[name] for window in found] for name in names},
        "pages_by_hours": {
            "width_hours": STRIDE_H,
            "from_hour": edges[:-1].tolist(),
            **{name: own.tolist() for name, own in zip(CONDITIONS, counts, strict=True)},
        },
    }


def read_lines(path: Path) -> list[dict[str, float]]:
    """Lines of metrics.jsonl; a last line cut by a kill is passed over."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def _json(path: Path) -> dict:
    return json.loads(path.read_text()) if path.exists() else {}
