"""What a cells run leaves for its readers, written from the run folder's predictions, metrics.jsonl and metrics.json alone.

So training and `tarpon report` write the same files, and the report needs neither weights nor data.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tarpon.shards import atomic
from tarpon.shards.json_file import write_json
from tarpon.train.figures import style
from tarpon.train.tasks.cells.figures import curves, hours
from tarpon.train.tasks.cells.metrics.predictions import PageRows, find_one_well_classes, load_rows, save_metadata, save_rows
from tarpon.train.tasks.cells.metrics.scores import Window, score, score_stacks, score_windows
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
    paths = {split: folder / "predictions" / f"{split}.npz" for split in SPLITS}
    rows = {split: load_rows(path) for split, path in paths.items() if path.exists()}
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
        config=yaml.safe_load((folder / "run.yaml").read_text()) if (folder / "run.yaml").exists() else {},
        task=_json(folder / "run.json").get("task", "cells"),
    )


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
    write_json(run.folder / "temporal_metrics.json", temporal_record(score_windows(rows)))
    text = summary(
        run.scores,
        run.lines,
        title=run.folder.name,
        best_step=run.best_step,
        shown=run.shown,
        confounded=find_one_well_classes(*run.rows.values()),
    )
    atomic.write_text(run.folder / "training_summary.txt", text)
    written = ["results.json", "temporal_metrics.json", "training_summary.txt"]
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
        "one_well_classes": find_one_well_classes(*run.rows.values()),
        "windows": {split: list_windows(score_windows(rows)) for split, rows in run.rows.items()},
        "stacks": {split: score_stacks(rows) for split, rows in run.rows.items()},
    }


def rename_as_published(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores under their published names; those without one are left out."""
    return {theirs: scores[ours] for ours, theirs in PUBLISHED.items() if ours in scores}


def list_windows(found: Sequence[Window]) -> list[dict[str, float]]:
    """One JSON record a window: start_h, end_h and its scores."""
    return [{"start_h": window.start, "end_h": window.end, **window.scores} for window in found]


def temporal_record(found: Sequence[Window]) -> dict:
    """As the published temporal_metrics.json, with the pages of each window; what is undefined is null."""
    names = ("rows", "auc", "accuracy", "balanced_accuracy", "f1", "precision", "recall", "mae")
    return {
        "window_size_hours": found[0].end - found[0].start,
        "stride_hours": found[1].start - found[0].start if len(found) > 1 else None,
        "window_centers": [window.centre for window in found],
        "metrics_by_window": {name: [window.scores[name] for window in found] for name in names},
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
