"""Cells: infected or not, and hours, from pages of time-lapse microscopy.

R rows (pages) of the manifest, B pages of a batch, W pages of the time window around each.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

from tarpon.models.groups import parameter_groups
from tarpon.models.page_reader import PageReader
from tarpon.pipelines.image_feed import ImageFeed
from tarpon.pipelines.loader import Batch, Loader
from tarpon.pipelines.page import OUTPUTS, PageGraph
from tarpon.pipelines.page_feed import PageFields, PageShot, levels, neighbours, shots
from tarpon.shards import plan
from tarpon.shards.manifest import SPLITS, Manifest, open_manifest
from tarpon.shards.quarantine import Budget
from tarpon.shards.reader import Reader
from tarpon.shards.sources.cells import CLASSES, in_window
from tarpon.shards.split import fold_splits
from tarpon.train.config import Run
from tarpon.train.engine import Place, cores
from tarpon.train.losses_hours import hours_losses, target_hours
from tarpon.train.metrics.collect_hours import HourMetric, target_medians
from tarpon.train.metrics.hours import PageNames
from tarpon.train.task import Problem, Task
from tarpon.train.tasks import cells_export
from tarpon.train.tasks.cells_options import SPELLINGS, CellsOptions, Pages, published


def recipe() -> dict:
    """The default run: `deepspeed train/launch.py cells --data SHARDS`; ResNet-50 at 512 px, one 16 GB GPU."""
    return {
        "epochs": 30,
        "micro_batch": 32,
        "global_batch": 32,
        "freeze_backbone_epochs": 0,
        "early_stop_patience": 0,
        "seed": 42,
        "out": "runs/cells",
        "optim.lr": 1e-4,
        "optim.weight_decay": 1e-4,
        "schedule.kind": "cosine",
        "schedule.warmup_epochs": 0.0,
        "schedule.min_lr": 1e-6,
    }


def build(run: Run, options: CellsOptions, place: Place, *, encoders: dict | None = None) -> Problem:
    """The task met with its shards."""
    manifest = open_manifest(run.data, kind="cells")
    rows = {name: chosen(manifest, splits_of(manifest, options), name, options) for name in SPLITS}
    labels = np.asarray(manifest.column("label"), np.int64)
    for name in ("train", "val"):
        check(manifest, rows[name], labels, name)
    clock = np.asarray(manifest.column("hours"), np.float32)
    target = target_hours(clock, labels == 1, onset=options.infection_onset_hour, clamp_range=options.clamp_range)
    medians = target_medians(target[rows["train"]], labels[rows["train"]])
    model = build_model(run, options, first_hours=medians[0])
    epoch = order(manifest, rows["train"], labels, options, seed=run.seed)
    pages = PageLoaders(run, options, manifest, rows["train"], place, labels=labels, clock=clock, target=target)

    def batches(first: int, skip: int) -> Iterator[Batch]:
        slots = epoch.stream(
            first,
            skip=skip,
            micro=run.micro_batch,
            accumulation=run.accumulation(place.world),
            rank=place.rank,
            world=place.world,
        )
        return pages.train(slots)

    def split(name: str) -> Iterator[Batch]:
        turns = plan.in_turn(len(rows[name]), micro=run.micro_batch, rank=place.rank, world=place.world)
        return pages.split(np.where(turn >= 0, rows[name][turn], -1) for turn in turns)

    words = {"path": "source"} | {name: name for name in ("key", "stack", "well", "position")}
    names = PageNames(
        page=np.asarray(manifest.column("page"), np.int64),
        **{name: np.array(manifest.column(column)).astype(str) for name, column in words.items()},
    )
    return Problem(
        model=model,
        inputs=("clip", "valid"),
        # weight decay would shrink, without any gradient, a backbone that is to stand still
        groups={n: g for n, g in parameter_groups(model).items() if options.model.train_backbone or n.startswith("rest/")},
        freeze=lambda on: model.freeze_backbone(on or not options.model.train_backbone),
        loss=partial(hours_losses, **asdict(options.loss)),
        steps_per_epoch=epoch.steps(run.global_batch),
        batches=batches,
        split=split,
        splits=("val", "test") if len(rows["test"]) else ("val",),
        metric=lambda _: HourMetric(names, clamp_range=options.clamp_range, medians=medians),
        select="combined",
        wait_s=lambda: pages.wait_s,
        frames=lambda batch: len(batch["row"]),
        unit="pages",
        fingerprint=f"{manifest.fingerprint()}:{run.seed}:{run.global_batch}:{options.fold}",
        encoders={"classes": list(CLASSES)},
        say=describe(manifest, rows, labels, options, model),
        export=lambda folder, best, scores: cells_export.export(
            folder, best, scores, run=run, options=options, classes=CLASSES
        ),
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


class PageLoaders:
    """The training and the evaluation pipeline, each built when first used, with the labels of what they deliver."""

    def __init__(
        self,
        run: Run,
        options: CellsOptions,
        manifest: Manifest,
        pool: np.ndarray,
        place: Place,
        *,
        labels: np.ndarray,
        clock: np.ndarray,
        target: np.ndarray,
    ) -> None:
        self._run, self._options, self._manifest, self._pool, self._place = run, options, manifest, pool, place
        self._reader = Reader(manifest, cache=Path(run.loader.cache) if run.loader.cache else None)
        self._budget = Budget(run.loader.bad_rows)
        stacks, pages = np.array(manifest.column("stack")), np.asarray(manifest.column("page"))
        self._read, self._there = neighbours(stacks, pages, window=options.model.window)
        self._known = {
            name: torch.tensor(values, device=place.device)  # a copy: the table's own memory is read-only
            for name, values in (("label", labels), ("hours", clock), ("target", target))
        }
        self._built: dict[str, Loader] = {}

    @property
    def wait_s(self) -> float:
        return self._built["train"].wait_s if "train" in self._built else 0.0

    def train(self, slots: Iterable[plan.Slots]) -> Iterator[Batch]:
        """Augmented batches of (row, place in the epoch)."""
        return self._run_loader(
            "train",
            (
                shots(
                    self._read[slot.rows],
                    self._there[slot.rows],
                    augment=self._options.augment,
                    seed=self._run.seed,
                    epoch=slot.epoch,
                    slots=slot.slots,
                )
                for slot in slots
            ),
        )

    def split(self, turns: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Batches of rows as stored; -1 pads."""
        return self._run_loader("split", (shots(self._read[rows], self._there[rows] & (rows >= 0)[:, None]) for rows in turns))

    def _run_loader(self, name: str, work: Iterable[Sequence[PageShot]]) -> Iterator[Batch]:
        return (self._batch(out) for out in self._get(name).run(work))

    def _batch(self, out: Batch) -> Batch:
        """clip (B, W, 3, S, S), valid (B, W), label, hours, target, row (B,)."""
        window = self._options.model.window
        rows = out["row"].view(-1, window).to(self._place.device)
        row = rows[:, window // 2]
        labels = {name: values[row.clamp(min=0)] for name, values in self._known.items()}
        clip = out["page"].unflatten(0, (-1, window)).expand(-1, -1, 3, -1, -1)
        return {"clip": clip, "valid": rows >= 0, **labels, "row": row}

    def _get(self, name: str) -> Loader:
        if name not in self._built:
            run, options, place, training = self._run, self._options, self._place, name == "train"
            low, high = levels(self._manifest, options.contrast)
            size = options.model.backbone.image_size
            noise = options.augment.noise_sd if training and options.augment.noise_p else 0.0
            fields = PageFields(low=low, high=high, size=size, noise_sd=noise)
            pool = self._pool if training else np.arange(len(self._manifest))
            feed = ImageFeed(self._manifest, self._reader, fields, pool=pool, budget=self._budget)
            batch = run.micro_batch * options.model.window
            graph = PageGraph(size=size, batch=batch, mean=options.mean, std=options.std, augment=training)
            self._built[name] = Loader(
                graph,
                feed,
                outputs=OUTPUTS,
                device=place.gpu,
                threads=run.loader.threads or cores(place),
                prefetch=run.loader.prefetch,
            )
        return self._built[name]


def splits_of(manifest: Manifest, options: CellsOptions) -> np.ndarray:
    """The split of every row: the stored one, or that in which a fold is tested."""
    if options.fold is None:
        return np.array(manifest.column("split"))
    told = manifest.card["split"]
    train, val, _ = told["ratios"]
    columns = (manifest.column("fold"), manifest.column("group"), manifest.column("label"))
    return np.array(fold_splits(*columns, k=options.fold, val_share=val / (train + val), seed=told["seed"]))


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
    return np.flatnonzero((splits == name) & np.where(labels == 1, infected, uninfected))


def _within(hours: np.ndarray, window: tuple[float, float] | None, *, rate: float, stride: int) -> np.ndarray:
    window = (0.0, float(hours.max())) if window is None else window
    return in_window(hours, window, frames_per_hour=rate, stride=stride)


def check(manifest: Manifest, rows: np.ndarray, labels: np.ndarray, name: str) -> None:
    """Both classes must be there to learn or to score; ValueError."""
    counts = np.bincount(labels[rows], minlength=len(CLASSES))
    if not counts.all():
        lacking = CLASSES[int(counts.argmin())]
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
