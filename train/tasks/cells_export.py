"""The cells checkpoint: weights and the options that make the network and its input again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from tarpon.shards import atomic
from tarpon.train.config import Run
from tarpon.train.outputs_hours import write_outputs
from tarpon.train.tasks.cells_options import CellsOptions

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
    with atomic.replacing(folder / NAME) as draft:
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


def without_weights(options: CellsOptions) -> CellsOptions:
    """The same network with random weights, to load trained ones over."""
    backbone = replace(options.model.backbone, pretrained=False, weights=None)
    return replace(options, model=replace(options.model, backbone=backbone))
