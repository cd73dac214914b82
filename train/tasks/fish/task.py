"""Fish: family, order, habitat, trophic level (and feeding path) from cached feature vectors.

N rows of the table, D features.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tarpon.models.groups import group_parameters
from tarpon.models.moe.mmoe import MMoE
from tarpon.models.moe.multihead import MultiHead
from tarpon.pipelines.feature import FeatureLoader
from tarpon.shards.features import FeatureTable, open_features
from tarpon.shards.sampling import plan
from tarpon.train.config import DATA, Optim, Recipe, Run, Schedule, WandbOptions
from tarpon.train.data import TaskData
from tarpon.train.engine import DistContext
from tarpon.train.task import Problem, Task
from tarpon.train.tasks.fish import export as fish_export
from tarpon.train.tasks.fish.annotations import compare
from tarpon.train.tasks.fish.figures.split import draw_split
from tarpon.train.tasks.fish.heads import CLASSES, FLAGS, HEADS, NUMBER, head_width
from tarpon.train.tasks.fish.losses import attribute_losses, train_facts
from tarpon.train.tasks.fish.metrics.collect import AttributeMetric
from tarpon.train.tasks.fish.metrics.predictions import AttributeNames
from tarpon.train.tasks.fish.options import IDLE, SPELLINGS, FishModel, FishOptions

SLICE = 8192  # rows at a time through the statistics


def recipe() -> Recipe:
    """The default run: `deepspeed train/launch.py fish --data FEATURES`; 75,000 rows fit any GPU."""
    return Recipe(
        run=Run(
            data=DATA,
            epochs=40,
            micro_batch=256,
            global_batch=256,
            freeze_backbone_epochs=0,
            early_stop_patience=10,
            seed=17,
            out="runs/fish",
            optim=Optim(lr=0.002, weight_decay=0.0),
            schedule=Schedule(kind="none", warmup_epochs=0.0),
            wandb=WandbOptions(project="fishnet"),
        ),
        options=FishOptions(),
    )


def build(run: Run, options: FishOptions, context: DistContext, *, encoders: dict | None = None) -> Problem:
    """The task met with its features."""
    table = open_features(run.data)
    same = (compare(table, Path(options.annotations)),) if options.annotations and encoders is None else ()
    encoders = encoders or {name: list(names) for name, names in table.card["classes"].items()}
    labels = labels_of(table, options, encoders)
    train = table.split("train")
    splits = tuple(name for name in ("val", "test") if len(table.split(name)))
    if "val" not in splits:
        raise ValueError(f"{table.root}: no validation rows; pack again with a --val_share above 0")
    outputs = widths(options, encoders)
    torch.manual_seed(run.seed)  # the same weights on every rank and in every run
    model = build_model(options.model, table.features.shape[1], outputs, uncertainty=options.loss.uncertainty_weighting)
    if options.standardize:
        model.set_standardisation(*statistics(table, train))
    loader = FeatureLoader(table, labels, device=context.device)
    facts = train_facts(
        {task: loader.labels[task][torch.from_numpy(train).to(context.device)] for task in outputs},
        classes={head: width for head, width in outputs.items() if HEADS[head].kind == CLASSES},
        balanced=options.loss.class_weighting == "balanced",
    )
    # one shard: rows lie in memory, so they are shuffled all together
    epoch = plan.EpochPlan(rows=train, shards=np.zeros(len(train), np.int64), seed=run.seed, window=1)
    data = TaskData(
        run=run,
        context=context,
        order=epoch,
        items=table.split,
        train_work=lambda slots: slots.rows,
        split_work=lambda rows: rows,
        # on a GPU the block is there once for both
        make_loader=lambda training: (
            loader if training or context.gpu is not None else FeatureLoader(table, labels, device=context.device)
        ),
    )
    facts_known = "train_images" in encoders  # of the run whose weights are scored on these features
    names = known_names(options, encoders) if facts_known else names_of(labels, train, options, encoders)
    weights = options.task_weights()
    keys, groups = (np.array(table.labels[column].to_pylist()) for column in ("key", "group"))
    return Problem(
        model=model,
        inputs=("features",),
        groups=group_parameters(model, backbone=None),
        freeze=lambda on: None,
        loss=lambda out, batch: attribute_losses(
            out, batch, facts=facts, weights=weights, smoothing=options.loss.label_smoothing
        ),
        data=data,
        splits=splits,
        metric=lambda _: AttributeMetric(names, keys=keys, groups=groups),
        figures=draw_split,
        select="composite",
        frames=lambda batch: len(batch["row"]),
        unit="rows",
        fingerprint=f"{table.fingerprint()}:{run.seed}:{run.global_batch}",
        encoders={**encoders, "family_order": names.family_order.tolist(), "train_images": names.train_images.tolist()},
        say=(*describe(table, options, model), *same),
        export=lambda folder, best, scores: fish_export.export(
            folder,
            best,
            scores,
            run=run,
            options=options,
            encoders=encoders,
            outputs=outputs,
            dim=table.features.shape[1],
            card=table.card,
        ),
    )


def build_model(options: FishModel, dim: int, outputs: Mapping[str, int], *, uncertainty: bool) -> MMoE | MultiHead:
    """The network for vectors of `dim` features and these tasks."""
    if options.architecture == "multihead":
        return MultiHead(
            dim, outputs, layers=options.layers, hidden=options.tower, dropout=options.dropout, uncertainty=uncertainty
        )
    return MMoE(
        dim,
        outputs,
        experts=options.experts,
        hidden=options.hidden,
        tower=options.tower,
        dropout=options.dropout,
        temperature=options.temperature,
        uncertainty=uncertainty,
    )


def widths(options: FishOptions, encoders: Mapping[str, list[str]]) -> dict[str, int]:
    """Task -> width of its output, in the order of the gates."""
    known = {task: head_width(HEADS[task], encoders) for task in options.tasks}
    if missing := [task for task, width in known.items() if not width]:
        raise ValueError(f"the features have no classes of {', '.join(missing)}; pack with annotations that hold them")
    return known


def labels_of(table: FeatureTable, options: FishOptions, encoders: Mapping[str, list[str]]) -> dict[str, np.ndarray]:
    """Task -> (N, ...) labels, -1 or NaN where missing.

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


def statistics(table: FeatureTable, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and population sd of the training rows' features, (D,) float32, summed in float64 a slice at a time."""
    total, square = np.zeros(table.features.shape[1]), np.zeros(table.features.shape[1])
    for start in range(0, len(rows), SLICE):
        part = table.features[rows[start : start + SLICE]].astype(np.float64)
        total, square = total + part.sum(0), square + np.square(part).sum(0)
    mean = total / len(rows)
    spread = np.sqrt(np.maximum(square / len(rows) - mean**2, 0))
    return torch.from_numpy(mean).float(), torch.from_numpy(spread).float()


def names_of(
    labels: Mapping[str, np.ndarray], train: np.ndarray, options: FishOptions, encoders: Mapping[str, list[str]]
) -> AttributeNames:
    """What numbers mean, and what only the training rows tell: images of each family, and the order it belongs to."""
    family, order = labels["family"][train], labels["order"][train]
    known = (family >= 0) & (order >= 0)
    together = np.zeros((len(encoders["families"]), len(encoders["orders"])), np.int64)
    np.add.at(together, (family[known], order[known]), 1)
    told = {
        "family_order": np.where(together.any(1), together.argmax(1), -1),
        "train_images": np.bincount(family[family >= 0], minlength=len(encoders["families"])),
    }
    return known_names(options, {**encoders, **told})


def known_names(options: FishOptions, encoders: Mapping[str, Sequence]) -> AttributeNames:
    """The same from what a run has kept of its training rows."""
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


def describe(table: FeatureTable, options: FishOptions, model: nn.Module) -> tuple[str, ...]:
    counts = ", ".join(f"{len(table.split(name))} {name}" for name in ("train", "val", "test"))
    known = np.isfinite(table.numbers("troph")).mean()
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    size = table.features.nbytes / 2**20
    return (
        f"data      {table.root}: {len(table)} rows of {table.features.shape[1]} features ({counts}), {size:.0f} MiB, "
        f"attributes known for {known:.1%}",
        f"features  {table.card.get('backbone') or 'imported, backbone not told'}, {table.features.dtype}",
        f"model     {options.model.architecture}, {millions:.1f} M parameters, tasks {', '.join(options.tasks)}",
    )


def name(run: Run, options: FishOptions) -> str:
    """As the published system names its runs, but with every digit of the rate."""
    mantissa, _, exponent = f"{run.optim.lr:e}".partition("e")
    what = f"mmoe_e{options.model.experts}" if options.model.architecture == "mmoe" else f"multihead_l{options.model.layers}"
    return f"{what}_lr{float(mantissa):g}e{exponent}_bs{run.global_batch}"


FISH = Task(
    options=FishOptions,
    recipe=recipe,
    build=build,
    name=name,
    named_folder=True,
    without_download=lambda options: options,
    spellings=SPELLINGS,
    idle=IDLE,
)
