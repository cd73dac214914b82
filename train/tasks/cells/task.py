"""Cells: infected or not, and hours, from pages of time-lapse microscopy.

R rows (pages) of the manifest, B pages of a batch, W pages of the time window around each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
import torch

from tarpon.models.groups import group_parameters
from tarpon.models.pages.reader import PageReader
from tarpon.shards.manifest import SPLITS, Manifest, open_manifest
from tarpon.shards.sampling import plan
from tarpon.shards.sources.cells.source import CLASSES, select_hours
from tarpon.shards.split import assign_fold_splits
from tarpon.train.config import DATA, Optim, Recipe, Run, Schedule
from tarpon.train.engine import DistContext
from tarpon.train.task import Problem, Task
from tarpon.train.tasks.cells import export as cells_export
from tarpon.train.tasks.cells.data import PageLabels, cells_data
from tarpon.train.tasks.cells.figures.split import draw_split
from tarpon.train.tasks.cells.losses import hours_losses, target_hours
from tarpon.train.tasks.cells.metrics.collect import HourMetric, target_medians
from tarpon.train.tasks.cells.metrics.predictions import PageNames
from tarpon.train.tasks.cells.options import SPELLINGS, CellsOptions, Pages, published


def recipe() -> Recipe:
    """The default run: `deepspeed train/launch.py cells --data SHARDS`; ResNet-50 at 512 px, one 16 GB GPU."""
    return Recipe(
        run=Run(
            data=DATA,
            epochs=30,
            micro_batch=32,
            global_batch=32,
            freeze_backbone_epochs=0,
            early_stop_patience=0,
            seed=42,
            out="runs/cells",
            optim=Optim(lr=0.0001, weight_decay=0.0001),
            schedule=Schedule(kind="cosine", warmup_epochs=0.0, min_lr=1e-06),
        ),
        options=CellsOptions(),
    )


def build(run: Run, options: CellsOptions, context: DistContext, *, encoders: dict | None = None) -> Problem:
    """The task met with its shards."""
    manifest = open_manifest(run.data, kind="cells")
    splits = splits_of(manifest, options)
    rows = {name: chosen(manifest, splits, name, options) for name in SPLITS}
    labels = np.asarray(manifest.column("label"), np.int64)
    for name in SPLITS:
        check(manifest, rows[name], labels, name, needed=CLASSES if name != "test" else classes_in(labels[splits == name]))
    clock = np.asarray(manifest.column("hours"), np.float32)
    target = target_hours(clock, labels == 1, onset=options.infection_onset_hour, clamp_range=options.clamp_range)
    medians = target_medians(target[rows["train"]], labels[rows["train"]])
    model = build_model(run, options, first_hours=medians[0])
    data = cells_data(
        run,
        options,
        context,
        manifest=manifest,
        rows=rows,
        order=order(manifest, rows["train"], labels, options, seed=run.seed),
        labels=PageLabels(label=labels, hours=clock, target=target),
    )
    names = page_names(manifest)
    return Problem(
        model=model,
        inputs=("clip", "valid"),
        # weight decay would shrink, without any gradient, a backbone that is to stand still
        groups={n: g for n, g in group_parameters(model).items() if options.model.train_backbone or n.startswith("rest/")},
        freeze=lambda on: model.freeze_backbone(on or not options.model.train_backbone),
        loss=partial(hours_losses, **asdict(options.loss)),
        data=data,
        splits=("val", "test") if len(rows["test"]) else ("val",),
        metric=lambda _: HourMetric(names, clamp_range=options.clamp_range, medians=medians),
        figures=draw_split,
        select="combined",
        frames=lambda batch: len(batch["row"]),
        unit="pages",
        fingerprint=f"{manifest.fingerprint()}:{run.seed}:{run.global_batch}:{options.fold}",
        encoders={"classes": list(CLASSES)},
        say=describe(manifest, rows, labels, options, model),
        export=lambda folder, best, scores: cells_export.export(
            folder, best, scores, run=run, options=options, classes=CLASSES
        ),
    )


def page_names(manifest: Manifest) -> PageNames:
    """What rows are called."""
    words = {"path": "source"} | {name: name for name in ("key", "stack", "well", "position")}
    return PageNames(
        page=np.asarray(manifest.column("page"), np.int64),
        **{name: np.array(manifest.column(column)).astype(str) for name, column in words.items()},
    )


def build_model(run: Run, options: CellsOptions, *, first_hours: float = 0.0) -> PageReader:
    """The network; the same weights on every rank and in every run of a seed."""
    torch.manual_seed(run.seed)
    model = options.model
    return PageReader(
        model.backbone.build(),
        hidden_dim=model.hidden_dim,
        dropout=model.dropout,
        condition_on_class=model.condition_on_class,
        detach_class=model.detach_class,
        window=model.window,
        tcn_hidden=model.tcn_hidden,
        first_hours=first_hours,
    )


def splits_of(manifest: Manifest, options: CellsOptions) -> np.ndarray:
    """The split of every row: the stored one, or that in which a fold is tested."""
    if options.fold is None:
        return np.array(manifest.column("split"))
    told = manifest.card["split"]
    train, val, _ = told["ratios"]
    columns = (manifest.column("fold"), manifest.column("group"), manifest.column("label"))
    return np.array(assign_fold_splits(*columns, k=options.fold, val_share=val / (train + val), seed=told["seed"]))


def chosen(manifest: Manifest, splits: np.ndarray, name: str, options: CellsOptions) -> np.ndarray:
    """Rows of a split whose hours it wants, ascending."""
    pages: Pages = getattr(options.frames, name)
    hours, labels = np.asarray(manifest.column("hours")), np.asarray(manifest.column("label"))
    rate = manifest.card["frames_per_hour"]
    infected = _within(hours, pages.infected_window_hours, rate=rate, stride=pages.infected_stride)
    uninfected = _within(hours, pages.uninfected_window_hours, rate=rate, stride=pages.uninfected_stride)
    if pages.uninfected_window_hours is None and not pages.uninfected_use_all:
        uninfected &= np.asarray(manifest.column("page")) == 0
    if options.frames.match_windows:
        infected = uninfected = infected & uninfected
    rows = np.flatnonzero((splits == name) & np.where(labels == 1, infected, uninfected))
    return _filmed_in_both(rows, labels, np.rint(hours * rate)) if options.frames.match_windows else rows


def _within(hours: np.ndarray, window: tuple[float, float] | None, *, rate: float, stride: int) -> np.ndarray:
    window = (0.0, float(hours.max())) if window is None else window
    return select_hours(hours, window, frames_per_hour=rate, stride=stride)


def _filmed_in_both(rows: np.ndarray, labels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Of `rows`, those at time points that both classes have pages of: a stack may end early, or have begun late."""
    infected = labels[rows] == 1
    return rows[np.isin(points[rows], np.intersect1d(points[rows][infected], points[rows][~infected]))]


def classes_in(labels: np.ndarray) -> tuple[str, ...]:
    return tuple(CLASSES[label] for label in np.unique(labels))


def check(manifest: Manifest, rows: np.ndarray, labels: np.ndarray, name: str, *, needed: Sequence[str] = CLASSES) -> None:
    """ValueError where a needed class has no page: to learn from or to choose the weights by both are needed, in test those
    that the shards hold there, so that a window of hours loses none without a word."""
    for lacking in (known for known in needed if known not in classes_in(labels[rows])):
        raise ValueError(
            f"{manifest.root}: no {lacking} pages in {name} (frames.{name}); widen its windows of hours, or pack with another "
            f"--split or --seed"
        )


def order(manifest: Manifest, rows: np.ndarray, labels: np.ndarray, options: CellsOptions, *, seed: int) -> plan.EpochPlan:
    """Every training page once an epoch, or with `balance` as often as makes the classes equal."""
    shard = np.unique(manifest.column("shard")[rows], return_inverse=True)[1]
    by_shard = np.argsort(shard, kind="stable")
    rows, shard = rows[by_shard], shard[by_shard]
    weights = 1 / np.bincount(labels[rows], minlength=len(CLASSES))[labels[rows]] if options.balance else None
    return plan.EpochPlan(rows=rows, shards=shard, seed=seed, weights=weights)


def describe(
    manifest: Manifest, rows: dict[str, np.ndarray], labels: np.ndarray, options: CellsOptions, model: PageReader
) -> tuple[str, ...]:
    stacks = np.array(manifest.column("stack"))
    counts = "; ".join(
        f"{name} {len(own)} pages of {len(set(stacks[own]))} stacks, {labels[own].mean() if len(own) else 0:.0%} infected"
        for name, own in rows.items()
    )
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    backbone = options.model.backbone
    weights = "pretrained" if backbone.pretrained or backbone.weights else "random weights"
    return (
        f"data      {manifest.root}: {counts}; {manifest.card['quarantined']} in quarantine",
        *(f"warning   {line}" for line in manifest.card.get("warnings", ())),
        f"model     {backbone.name} at {backbone.image_size} px ({weights}), {millions:.1f} M parameters, "
        f"window of {options.model.window} page(s), onset at {options.infection_onset_hour:g} h",
        *before_onset(manifest, rows["train"], labels, onset=options.infection_onset_hour),
    )


def before_onset(manifest: Manifest, rows: np.ndarray, labels: np.ndarray, *, onset: float) -> Iterator[str]:
    """A line on the infected training pages of which nothing of the infection can be seen yet, where there are any."""
    early = np.asarray(manifest.column("hours"))[rows[labels[rows] == 1]] < onset
    if early.all():
        yield (
            f"warning   every infected training page is from before the onset at {onset:g} h, so all learn 0 h and there is "
            f"nothing to be seen of the infection; look at infection_onset_hour and frames.train.infected_window_hours"
        )
    elif early.any():
        yield (
            f"onset     {early.mean():.0%} of the infected training pages are from before it: they learn 'infected' and 0 h; "
            f"frames.train.infected_window_hours leaves them out"
        )


def name(run: Run, options: CellsOptions) -> str:
    fold = "" if options.fold is None else f"_fold{options.fold}"
    return f"{options.model.backbone.name}_w{options.model.window}_b{run.global_batch}_lr{run.optim.lr:g}{fold}"


CELLS = Task(
    options=CellsOptions,
    recipe=recipe,
    build=build,
    name=name,
    without_download=cells_export.without_weights,
    spellings=SPELLINGS,
    published=published,
)
