"""cv_summary.json: several folds, each tested on stacks of its own, as means over folds and as one pooled test. K folds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tarpon.shards import atomic
from tarpon.shards.json_file import write_json
from tarpon.train.figures import style
from tarpon.train.tasks.cells.figures import hours
from tarpon.train.tasks.cells.metrics.control import describe_control, is_near_guess
from tarpon.train.tasks.cells.metrics.intervals import describe_unit
from tarpon.train.tasks.cells.metrics.predictions import PageRows, find_one_well_classes, pool_rows, save_metadata, save_rows
from tarpon.train.tasks.cells.metrics.scores import score, score_stacks
from tarpon.train.tasks.cells.metrics.windows import score_windows
from tarpon.train.tasks.cells.outputs import FinishedRun, list_windows, read_run, temporal_record

DDOF = 1  # of the spread over folds: the folds are a sample, not all there could be


def write_folds(out: Path, folds: Sequence[Path]) -> dict:
    """Write cv_summary.json, cv_temporal_metrics.json, the pooled test predictions and their figures into `out`.

    The spread over folds tells how much a test of K-th size varies; the pooled result, with its interval over wells, is the
    one to quote. Folds share training stacks, so neither is the spread of independent experiments.

    Args:
        folds: run folders in fold order, each finished and with a test split.

    Returns:
        What cv_summary.json holds, before what is undefined is left out.

    Raises:
        ValueError: a fold without test predictions, or a stack tested in two folds.
    """
    runs = [read_run(folder) for folder in folds]
    for run in runs:
        if "test" not in run.rows:
            raise ValueError(f"{run.folder}: no predictions/test.npz; let the fold finish before its folds are summed up")
    pooled = pool_rows([run.rows["test"] for run in runs])
    content = folds_record(runs, pooled)
    out.mkdir(parents=True, exist_ok=True)
    save_rows(out / "test_predictions.npz", pooled)
    save_metadata(out / "test_metadata.jsonl", pooled)
    for file, draw in {
        "cv_prediction_scatter.png": hours.scatter,
        "cv_temporal_generalization.png": hours.over_time,
        "cv_stacks.png": hours.stacks,
    }.items():
        atomic.write_bytes(out / file, style.png(draw(pooled, split=f"{len(runs)} folds' tests")))
    write_json(out / "cv_temporal_metrics.json", temporal_record(pooled))
    write_json(out / "cv_summary.json", content)
    return content


def folds_record(runs: Sequence[FinishedRun], pooled: PageRows) -> dict:
    """What cv_summary.json holds."""
    scores = score(pooled)
    return {
        "num_folds": len(runs),
        "std_ddof": DDOF,
        "fold_results": [
            {
                "fold_index": index,
                "folder": run.folder.name,
                "best_val_metric": run.scores.get("val", {}).get("combined"),
                "test_stacks": np.unique(run.rows["test"].stack).tolist(),
                "test_metrics": run.scores["test"],
            }
            for index, run in enumerate(runs)
        ],
        "aggregated_metrics": spread_over_folds([run.scores["test"] for run in runs]),
        "pooled": scores,
        "pooled_windows": list_windows(score_windows(pooled)),
        "pooled_stacks": score_stacks(pooled),
        "control": {"near_guess": is_near_guess(scores), "meaning": describe_control(scores)},
        "intervals_over": describe_unit(pooled),
        "one_well_classes": find_one_well_classes(pooled),
    }


def spread_over_folds(scores: Sequence[dict[str, float]]) -> dict[str, dict]:
    """Name -> mean, std (ddof 1), min, max over the folds where it is defined, and every fold's value, None where not."""
    out = {}
    for name in dict.fromkeys(name for fold in scores for name in fold):
        if name.endswith(("_low", "_high")):
            continue  # the end of an interval has no mean
        values = [fold.get(name) for fold in scores]
        known = np.array([value for value in values if value is not None])
        std = float(known.std(ddof=DDOF)) if len(known) > DDOF else None
        ends = {"mean": float(known.mean()), "std": std, "min": float(known.min()), "max": float(known.max())}
        out[name] = {**ends, "values": values}
    return out
