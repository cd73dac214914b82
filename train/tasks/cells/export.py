"""The cells checkpoint: weights and the options that make the network and its input again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from tarpon.shards import atomic
from tarpon.train.checkpoint import load_exported
from tarpon.train.config import Run
from tarpon.train.tasks.cells.metrics.control import AFTER, BEFORE, describe_control, describe_onsets, list_onsets
from tarpon.train.tasks.cells.metrics.predictions import PageRows, load_rows
from tarpon.train.tasks.cells.metrics.scores import score
from tarpon.train.tasks.cells.options import CellsOptions
from tarpon.train.tasks.cells.outputs import write_outputs

NAME = "checkpoints/best.pt"
KEYS = ("model_state_dict", "classes", "args")


def export(
    folder: Path,
    best: Mapping[str, Tensor],
    scores: Mapping[str, Mapping[str, float]],
    *,
    run: Run,
    options: CellsOptions,
    classes: tuple[str, ...],
    packing: Mapping[str, object],
) -> None:
    """Write checkpoints/best.pt and the files and plots of the run folder, and say what the control tells.

    Args:
        packing: options of the packing, by which new stacks are made into pages as those trained on were.
    """
    write_checkpoint(folder / NAME, best, scores["val"], run=run, options=options, classes=classes, packing=packing)
    write_outputs(folder)
    split = "test" if "test" in scores else "val"
    rows = load_rows(folder / "predictions" / f"{split}.npz")
    print(describe_scores(rows, split=split), flush=True)


def write_checkpoint(
    path: Path,
    best: Mapping[str, Tensor],
    scores: Mapping[str, float],
    *,
    run: Run,
    options: CellsOptions,
    classes: tuple[str, ...],
    packing: Mapping[str, object],
) -> None:
    """Weights and all that is needed to use them, loadable with `weights_only=True`. scores: of validation."""
    plain = {"run": asdict(run), "task": asdict(options), "rebuild": asdict(without_weights(options))}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replace(path) as draft:
        torch.save(
            {
                "model_state_dict": dict(best),
                "classes": list(classes),
                "val_metrics": dict(scores),
                "args": json.loads(json.dumps(plain)),
                "packing": json.loads(json.dumps(dict(packing))),
            },
            draft,
        )


def load(path: Path) -> dict:
    """The checkpoint as a dict; ValueError in one line when it is missing or something else."""
    return load_exported(path, keys=KEYS, name=NAME)


def describe_scores(rows: PageRows, *, split: str) -> str:
    """Two lines: the AUC before there is anything to see and after, the error beside a constant answer; what that means."""
    scores = score(rows)
    early, late = (f"{scores[name]:.4f}" if name in scores else "undefined" for name in (BEFORE, AFTER))
    onset = describe_onsets(list_onsets(rows))
    return (
        f"{split} AUC {early} before {onset}, {late} from then on; MAE {scores['mae']:.2f} h, always the "
        f"training median {scores['constant_mae']:.2f} h\n{describe_control(scores)}"
    )


def without_weights(options: CellsOptions) -> CellsOptions:
    """The same network with random weights, to load trained ones over."""
    backbone = replace(options.model.backbone, pretrained=False, weights=None)
    return replace(options, model=replace(options.model, backbone=backbone))
