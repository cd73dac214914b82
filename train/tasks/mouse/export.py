"""The mouse checkpoint that others load: plain tensors and plain values, `torch.load(..., weights_only=True)`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tarpon.shards import atomic
from tarpon.train.checkpoint import load_exported
from tarpon.train.config import Run
from tarpon.train.prediction_files import list_shares
from tarpon.train.tasks.mouse.metrics.thresholds import choose_thresholds, count_reaching
from tarpon.train.tasks.mouse.metrics.trial import load_file
from tarpon.train.tasks.mouse.options import MouseOptions

NAME = "best_model_multitask.pt"
KEYS = {"model_state_dict", "classes", "kp_names", "args"}


def export(
    folder: Path,
    best: Mapping[str, Tensor],
    scores: dict[str, float],
    *,
    options: MouseOptions,
    run: Run,
    points: Sequence[str],
    clip: dict,
    stored: Sequence[str],
) -> None:
    """Write `best_model_multitask.pt`; thresholds are fitted on the validation predictions of the same weights.

    With an average of the weights (EMA) both state dicts hold it: it is what was selected, and whoever loads either gets
    the model that the scores are of.
    `args.rebuild` are the options that make the same network without a download or any file, to load the weights over.
    """
    thresholds, classes = fit_stored(folder / "predictions" / "val.npz")
    merge, rebuild = list(options.merge), replace(options, model=options.model.without_weights())
    with atomic.replace(folder / NAME) as draft:
        torch.save(
            {
                "model_state_dict": dict(best),
                "ema_state_dict": dict(best) if run.ema.enabled else None,
                "classes": list(classes),
                "orig_classes": list(stored),
                "col_map": dict(enumerate(merge)),
                "merge_idxs": [old for old, new in enumerate(merge) if merge.count(new) > 1 and new >= 0],
                "best_thresholds": thresholds.tolist(),
                "kp_names": list(points),
                "val_metrics": scores,
                "args": json.loads(
                    json.dumps({"run": asdict(run), "task": asdict(options), "rebuild": asdict(rebuild), "clip": clip})
                ),
            },
            draft,
        )


def fit_stored(path: Path) -> tuple[np.ndarray, list[str]]:
    """(C,) thresholds fitted on stored predictions, a file of them in memory at a time, and the names of the classes."""
    counts: np.ndarray | int = 0
    for file in list_shares(path) or [path]:
        trials, classes, _ = load_file(file)
        counts = counts + count_reaching(trials, len(classes))
    return choose_thresholds(counts), classes


def load(path: Path) -> dict:
    """The checkpoint as a dict; ValueError in one line when it is missing or something else."""
    return load_exported(path, keys=KEYS, name=NAME)
