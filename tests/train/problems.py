"""The four tasks met with the tests' shards, with networks of a few thousand weights, for tests of the training step."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.shards.features import FeatureCache
from tarpon.train.config import Run
from tarpon.train.engine import DistContext
from tarpon.train.task import Problem
from tarpon.train.tasks.cells import task as cells
from tarpon.train.tasks.cells.options import CellsModel, CellsOptions
from tarpon.train.tasks.fish import task as fish
from tarpon.train.tasks.fish.options import FishLoss, FishModel, FishOptions
from tarpon.train.tasks.mouse import task as mouse
from tarpon.train.tasks.mouse.options import ModelOptions, MouseOptions, WindowOptions
from tarpon.train.tasks.star import task as star
from tarpon.train.tasks.star.losses import MetricLoss
from tarpon.train.tasks.star.options import StarModel, StarOptions

VIT = FrameBackbone(name="test_vit", pretrained=False, image_size=32)
CNN = FrameBackbone(name="test_resnet", pretrained=False, image_size=64)
CLASSES = {
    "families": ["Ape", "Bee", "Cat"],
    "orders": ["Left", "Right"],
    "habitats": list("abcdefgh"),
    "feeding": ["benthic", "pelagic"],
}


def make_mouse(context: DistContext, data: str, *, over_time: dict | None = None, **run: object) -> Problem:
    model = ModelOptions(backbone=VIT, hidden=16, **(over_time or {}))
    window = WindowOptions(train_frames=24, val_frames=24)
    return mouse.build(Run(data=data, micro_batch=1, global_batch=2, **run), MouseOptions(model=model, window=window), context)


def make_fish(context: DistContext, data: str, **run: object) -> Problem:
    model, loss = FishModel(experts=2, hidden=16, tower=16), FishLoss(uncertainty_weighting=True)
    settings = Run(data=data, micro_batch=8, global_batch=16, **run)
    return fish.build(settings, FishOptions(model=model, loss=loss), context)


def make_cells(context: DistContext, data: str, **run: object) -> Problem:
    model = CellsModel(backbone=CNN, window=3, tcn_hidden=32)
    return cells.build(Run(data=data, micro_batch=4, global_batch=8, **run), CellsOptions(model=model), context)


def make_star(context: DistContext, data: str, **run: object) -> Problem:
    model = StarModel(backbone=VIT, width=16, embedding_dim=16, head_depth=2)
    options = StarOptions(model=model, num_instances=2, loss=MetricLoss(identity_weight=0.5))
    return star.build(Run(data=data, micro_batch=8, global_batch=16, **run), options, context)


PROBLEMS: dict[str, Callable[..., Problem]] = {
    "mouse": make_mouse,
    "fish": make_fish,
    "cells": make_cells,
    "star": make_star,
}


def write_features(out: Path, *, rows: int = 96, dim: int = 12) -> Path:
    """A cache of random vectors; every fifth row has no attributes."""
    rng = np.random.default_rng(0)
    family = rng.integers(0, 3, rows)

    def known(values: list) -> list:
        return [value if i % 5 else None for i, value in enumerate(values)]

    labels = pa.table(
        {
            "key": [f"row-{i}" for i in range(rows)],
            "group": [f"species-{i}" for i in range(rows)],
            "split": ["val" if i % 4 == 0 else "train" for i in range(rows)],
            "family": [CLASSES["families"][f] for f in family],
            "order": [CLASSES["orders"][f % 2] for f in family],
            "troph": pa.array(known([2.5 + f for f in family]), pa.float32()),
            "feeding": pa.array(known([CLASSES["feeding"][f % 2] for f in family])),
            "habitat": pa.array(known([[int(f == i % 3) for i in range(8)] for f in family]), pa.list_(pa.int8())),
        }
    )
    card = {"count": rows, "dim": dim, "dtype": "fp32", "backbone": "none", "transform": None, "seed": 0}
    cache = FeatureCache(out=out, card=card | {"classes": CLASSES})
    cache.begin()
    for chunk in cache.chunks():
        cache.write(chunk, rng.normal(size=(rows, dim))[chunk.start : chunk.stop])
    cache.finish(labels)
    return out
