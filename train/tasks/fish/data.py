"""The data of the fish task: labels, statistics and batches of a table of features. N rows of the table, D features."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tarpon.pipelines.feature import FeatureLoader
from tarpon.shards.features import CHUNK_ROWS, FeatureTable
from tarpon.shards.sampling.plan import EpochPlan
from tarpon.shards.sampling.shard_plan import ShardPlan
from tarpon.train.config import Run
from tarpon.train.data import TaskData
from tarpon.train.engine import DistContext
from tarpon.train.plan_kind import PlanKind
from tarpon.train.tasks.fish.heads import CLASSES, FLAGS, HEADS, NUMBER, head_width
from tarpon.train.tasks.fish.losses import TrainFacts, train_facts
from tarpon.train.tasks.fish.metrics.predictions import AttributeNames
from tarpon.train.tasks.fish.options import FishLoss, FishOptions

SLICE = 8192  # rows at a time through the statistics


def output_widths(options: FishOptions, encoders: Mapping[str, list[str]]) -> dict[str, int]:
    """Attribute -> numbers of its output, in the order of the gates; ValueError where the encoders lack its classes."""
    widths = {task: head_width(HEADS[task], encoders) for task in options.tasks}
    if missing := [task for task, width in widths.items() if not width]:
        raise ValueError(f"the features have no classes of {', '.join(missing)}; pack with annotations that hold them")
    return widths


def read_labels(table: FeatureTable, options: FishOptions, encoders: Mapping[str, list[str]]) -> dict[str, np.ndarray]:
    """Attribute -> (N, ...) labels of every row, of the kinds in heads.py; -1 or NaN where missing.

    Raises:
        ValueError: a label that is not among the classes, unless such are to be masked.
    """
    labels = {}
    for name in options.tasks:
        head = HEADS[name]
        if head.kind == FLAGS:
            labels[name] = table.flags(name, len(encoders[head.names]))
        elif head.kind == NUMBER:
            labels[name] = table.numbers(name)
        else:
            labels[name] = table.codes(name, encoders[head.names])
            given = table.labels[name].to_pylist()
            unknown = sorted({given[row] for row in np.flatnonzero(labels[name] < 0) if given[row] is not None})
            if unknown and options.unknown_labels == "error":
                raise ValueError(
                    f"{table.root}: {name} {unknown[0]!r} ({len(unknown)} such) is none of the {len(encoders[head.names])} "
                    f"that the model knows; set --unknown_labels mask to leave such labels out"
                )
    return labels


def feature_statistics(table: FeatureTable, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and population sd of the training rows' features, (D,) float32, summed in float64 a slice at a time."""
    total, square = np.zeros(table.features.shape[1]), np.zeros(table.features.shape[1])
    for start in range(0, len(rows), SLICE):
        part = table.features[rows[start : start + SLICE]].astype(np.float64)
        total, square = total + part.sum(0), square + np.square(part).sum(0)
    mean = total / len(rows)
    spread = np.sqrt(np.maximum(square / len(rows) - mean**2, 0))
    return torch.from_numpy(mean).float(), torch.from_numpy(spread).float()


def attribute_names(
    options: FishOptions, encoders: Mapping[str, Sequence], *, labels: Mapping[str, np.ndarray], train: np.ndarray
) -> AttributeNames:
    """What the numbers mean, with training images and order of each family.

    Args:
        encoders: class names and, of a run that is gone on with or scored, its "family_order" and "train_images"; without
            these they are counted on the rows `train` (n,) of `labels`.
    """
    if "train_images" not in encoders:
        encoders = {**encoders, **family_facts(labels["family"][train], labels["order"][train], encoders)}
    return AttributeNames(
        families=tuple(encoders["families"]),
        orders=tuple(encoders["orders"]),
        habitats=tuple(encoders["habitats"]),
        feedings=tuple(encoders["feeding"]) if options.include_feedingpath else (),
        tasks=options.tasks,
        family_order=np.asarray(encoders["family_order"], np.int64),
        train_images=np.asarray(encoders["train_images"], np.int64),
        common=options.common,
        rare=options.rare,
    )


def family_facts(family: np.ndarray, order: np.ndarray, encoders: Mapping[str, Sequence]) -> dict[str, np.ndarray]:
    """family_order (families,) the commonest order of each family, -1 unknown; train_images (families,) int64 counts.

    Args:
        family, order: (n,) int64 of the training rows, -1 unknown.
    """
    known = (family >= 0) & (order >= 0)
    together = np.zeros((len(encoders["families"]), len(encoders["orders"])), np.int64)
    np.add.at(together, (family[known], order[known]), 1)
    return {
        "family_order": np.where(together.any(1), together.argmax(1), -1),
        "train_images": np.bincount(family[family >= 0], minlength=len(encoders["families"])),
    }


def read_train_facts(table: FeatureTable, loader: FeatureLoader, outputs: Mapping[str, int], *, loss: FishLoss) -> TrainFacts:
    """What the losses need of the training rows, on the loader's device. outputs: attribute -> width of its output."""
    train = torch.from_numpy(table.split("train")).to(loader.device)
    return train_facts(
        {attribute: loader.labels[attribute][train] for attribute in outputs},
        classes={attribute: width for attribute, width in outputs.items() if HEADS[attribute].kind == CLASSES},
        balanced=loss.class_weighting == "balanced",
        adjustment=loss.logit_adjustment,
    )


def scored_splits(table: FeatureTable) -> tuple[str, ...]:
    """val and, where there is one, test; ValueError without val."""
    splits = tuple(name for name in ("val", "test") if len(table.split(name)))
    if "val" not in splits:
        raise ValueError(f"{table.root}: no validation rows; pack again with a --val_share above 0")
    return splits


def training_order(train: np.ndarray, *, plan_kind: PlanKind, seed: int) -> EpochPlan | ShardPlan:
    """Every training row once an epoch.

    Args:
        train: (n,) int64 places in the table, ascending.
        plan_kind: rows: shuffled all together, as rows lie in memory. shards: runs of CHUNK_ROWS places are, and the rows of a
            few runs at a time, so that a table that does not fit into memory is read a few stretches at a time.
    """
    if plan_kind == "rows":
        return EpochPlan(rows=train, shards=np.zeros(len(train), np.int64), seed=seed, window=1)
    ends = np.searchsorted(train, np.arange(0, int(train.max(initial=0)) + 1, CHUNK_ROWS) + CHUNK_ROWS)
    return ShardPlan(
        counts=np.diff(ends, prepend=0),
        rows_of=lambda run: train[ends[run - 1] if run else 0 : ends[run]],
        seed=seed,
    )


def fish_data(
    run: Run,
    context: DistContext,
    *,
    table: FeatureTable,
    labels: Mapping[str, np.ndarray],
    loader: FeatureLoader,
    plan_kind: PlanKind = "rows",
) -> TaskData:
    """Shuffled rows of the table for training, rows in order for a split.

    Args:
        loader: for training; on a GPU also for the splits, so that the features are there once.
    """
    return TaskData(
        run=run,
        context=context,
        order=training_order(table.split("train"), plan_kind=plan_kind, seed=run.seed),
        items=table.split,
        train_work=lambda slots: slots.rows,
        split_work=lambda rows: rows,
        make_loader=lambda training: (
            loader if training or context.gpu is not None else FeatureLoader(table, labels, device=context.device)
        ),
    )
