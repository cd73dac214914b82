"""Leaves: the species that a picture shows. R rows (pictures) of the manifest, B pictures of a batch."""

import numpy as np
import torch

from tarpon.models.groups import group_parameters
from tarpon.models.leaf.network import LeafNet
from tarpon.pipelines.image.feed import ImageFields, ImageRequest
from tarpon.pipelines.image.graph import ImageGraph
from tarpon.pipelines.loader import Batch, Loader
from tarpon.shards.fetch_ahead import FetchAhead
from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.reader import Reader
from tarpon.shards.sampling.plan import EpochPlan, Slots
from tarpon.train.config import DATA, Optim, Recipe, Run, Schedule
from tarpon.train.data import TaskData, decoding_loader
from tarpon.train.engine import DistContext
from tarpon.train.quarantine import Quarantine
from tarpon.train.task import Problem, Task
from tarpon.train.tasks.leaf.figures import draw_split
from tarpon.train.tasks.leaf.losses import species_loss
from tarpon.train.tasks.leaf.metrics import SpeciesMetric
from tarpon.train.tasks.leaf.options import LeafOptions

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)  # of pixels in 0..1


def recipe() -> Recipe:
    """The default run: `deepspeed train/launch.py leaf --data SHARDS`; any GPU, or a CPU."""
    run = Run(
        data=DATA,
        epochs=20,
        micro_batch=8,
        global_batch=8,
        freeze_backbone_epochs=0,
        out="runs/leaf",
        optim=Optim(lr=0.005),
        schedule=Schedule(warmup_epochs=0.0),
    )
    return Recipe(run=run, options=LeafOptions())


def build(run: Run, options: LeafOptions, context: DistContext, *, encoders: dict | None = None) -> Problem:
    """The task met with its shards; the numbers of the species are those of the run whose weights are used."""
    manifest = open_manifest(run.data, kind="leaf", cache=run.loader.tar_cache())
    encoders = encoders or {"classes": manifest.card["classes"]}
    torch.manual_seed(run.seed)  # the same weights on every rank and in every run of a seed
    model = LeafNet(len(encoders["classes"]), width=options.width)
    keys, groups = (np.array(manifest.column(name)).astype(str) for name in ("key", "group"))
    return Problem(
        model=model,
        inputs=("image",),
        groups=group_parameters(model, backbone=None),
        freeze=lambda on: None,
        loss=species_loss,
        data=leaf_data(run, options, context, manifest=manifest, classes=encoders["classes"]),
        splits=tuple(name for name in ("val", "test") if len(manifest.rows(name))),
        metric=lambda split: SpeciesMetric(encoders["classes"], keys=keys, groups=groups),
        figures=draw_split,
        select="macro_f1",
        count=lambda batch: len(batch["row"]),
        unit="pictures",
        fingerprint=f"{manifest.fingerprint()}:{run.seed}:{run.global_batch}",
        encoders=encoders,
        summary_lines=(f"data      {manifest.root}: {len(manifest)} pictures of {', '.join(encoders['classes'])}",),
        export=lambda folder, best, scores: None,
    )


def leaf_data(run: Run, options: LeafOptions, context: DistContext, *, manifest: Manifest, classes: list[str]) -> TaskData:
    """Crops for training, some mirrored, and as stored for a split; the labels come from the manifest."""
    reader = Reader(manifest)
    rows, quarantine = manifest.rows("train"), Quarantine(run, context)
    species = torch.tensor([classes.index(name) for name in manifest.column("species")], device=context.device)

    def train_work(slots: Slots) -> list[ImageRequest]:
        mirror = np.random.default_rng((run.seed, slots.epoch)).random(len(rows))[slots.slots] < 0.5 * options.flip
        return [ImageRequest(row=int(row), mirror=bool(on)) for row, on in zip(slots.rows, mirror, strict=True)]

    def make_loader(training: bool) -> Loader:
        return decoding_loader(
            ImageGraph(batch=run.micro_batch, size=options.image_size, resize=options.image_size),
            ImageFields(column="jpg", mean=MEAN, std=STD),
            run=run,
            context=context,
            manifest=manifest,
            reader=reader,
            pool=rows if training else np.arange(len(manifest)),
            quarantine=quarantine,
            substitute=training,
        )

    def finish(out: Batch, split: str) -> Batch:
        """image (B, 3, S, S), species, row (B,)."""
        row = out["row"].to(context.device)
        return {"image": out["image"], "species": species[row.clamp(min=0)], "row": row}

    return TaskData(
        run=run,
        context=context,
        order=EpochPlan(rows=rows, shards=np.unique(manifest.column("shard")[rows], return_inverse=True)[1], seed=run.seed),
        items=manifest.rows,
        train_work=train_work,
        split_work=lambda own: [ImageRequest(row=int(row)) for row in own],
        make_loader=make_loader,
        quarantine=quarantine,
        ahead=FetchAhead([(manifest, reader)]),
        finish=finish,
    )


LEAF = Task(
    options=LeafOptions,
    recipe=recipe,
    build=build,
    does="The species that a picture of a leaf shows.",
    first=("image_size", "width", "flip"),
    name=lambda run, options: f"leaf_w{options.width}_lr{run.optim.lr:g}",
    without_download=lambda options: options,
)
