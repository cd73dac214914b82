"""The fish checkpoint: weights, classes and how the features were made, so that prediction needs nothing else."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from tarpon.shards import atomic
from tarpon.train.checkpoint import load_exported
from tarpon.train.config import Run
from tarpon.train.tasks.fish.options import FishOptions

NAME = "checkpoints/best_model.pt"
KEYS = {"model_state_dict", "encoders", "outputs", "dim", "features", "args"}


def export(
    folder: Path,
    best: Mapping[str, Tensor],
    scores: Mapping[str, Mapping[str, float]],
    *,
    run: Run,
    options: FishOptions,
    encoders: Mapping[str, list[str]],
    family_order: list[int],
    outputs: Mapping[str, int],
    dim: int,
    card: Mapping,
) -> None:
    """Write checkpoints/best_model.pt, loadable with `weights_only=True`, and results/metrics.json.

    Args:
        encoders: families, orders, habitats, feeding: class names by number.
        family_order: number of the order of each family, -1 unknown.
        outputs: task -> width; dim: of a feature vector.
        card: the feature cache's, which says how to make features of new images.
    """
    (folder / NAME).parent.mkdir(parents=True, exist_ok=True)
    plain = json.loads(
        json.dumps({"encoders": encoders, "features": card, "args": {"run": asdict(run), "task": asdict(options)}})
    )
    with atomic.replace(folder / NAME) as draft:
        torch.save(
            {
                "model_state_dict": dict(best),
                "mean": best["standardise.mean"],
                "std": best["standardise.std"],
                "outputs": dict(outputs),
                "family_order": family_order,
                "dim": dim,
                "val_metrics": dict(scores["val"]),
                **plain,
            },
            draft,
        )
    (folder / "results").mkdir(exist_ok=True)
    atomic.write_text(folder / "results" / "metrics.json", json.dumps(dict(scores), indent=2) + "\n")


def load(path: Path) -> dict:
    """The checkpoint as a dict; ValueError in one line when it is missing or something else."""
    return load_exported(path, keys=KEYS, name=NAME)
