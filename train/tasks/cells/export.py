"""The cells checkpoint: weights and the options that make the network and its input again."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tarpon.shards import atomic
from tarpon.train.config import Run
from tarpon.train.tasks.cells.metrics.pairs import roc_auc
from tarpon.train.tasks.cells.metrics.predictions import PageRows, load_rows
from tarpon.train.tasks.cells.options import CellsOptions
from tarpon.train.tasks.cells.outputs import write_outputs

NAME = "checkpoints/best.pt"


def export(
    folder: Path,
    best: Mapping[str, Tensor],
    scores: Mapping[str, Mapping[str, float]],
    *,
    run: Run,
    options: CellsOptions,
    classes: tuple[str, ...],
) -> None:
    """Write checkpoints/best.pt, loadable with `weights_only=True`, and the files and plots of the run folder."""
    plain = {"run": asdict(run), "task": asdict(options), "rebuild": asdict(without_weights(options))}
    (folder / NAME).parent.mkdir(parents=True, exist_ok=True)
    with atomic.replace(folder / NAME) as draft:
        torch.save(
            {
                "model_state_dict": dict(best),
                "classes": list(classes),
                "val_metrics": dict(scores["val"]),
                "args": json.loads(json.dumps(plain)),
            },
            draft,
        )
    write_outputs(folder)
    split = "test" if "test" in scores else "val"
    rows = load_rows(folder / "predictions" / f"{split}.npz")
    print(describe_onset_auc(rows, onset=options.infection_onset_hour, split=split), flush=True)


def describe_onset_auc(rows: PageRows, *, onset: float, split: str) -> str:
    """One line: the classes before there is anything to see and after, and the hours beside a constant answer.

    An AUC far from 0.5 before the onset means that something else than the infection separates the classes.
    """
    before = rows.clock < onset
    areas = (roc_auc(rows.label[at], rows.prob[at]) for at in (before, ~before))
    early, late = (f"{value:.4f}" if math.isfinite(value) else "undefined" for value in areas)
    error, constant = (np.abs(hours - rows.target).mean(dtype=np.float64) for hours in (rows.predicted, rows.constant))
    return (
        f"{split} AUC {early} before the onset at {onset:g} h, {late} from then on; MAE {error:.2f} h, always the "
        f"training median {constant:.2f} h"
    )


def without_weights(options: CellsOptions) -> CellsOptions:
    """The same network with random weights, to load trained ones over."""
    backbone = replace(options.model.backbone, pretrained=False, weights=None)
    return replace(options, model=replace(options.model, backbone=backbone))
