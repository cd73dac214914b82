"""Star: re-identification of animals by metric learning; pre-training, fine-tuning, both at once, or stars alone.

R rows of the joined data sets, B photographs of a batch.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tarpon.models.groups import group_parameters
from tarpon.models.reid.embedder import ReidModel
from tarpon.shards.sampling.pk_plan import IdentityPlan, MixedPlan
from tarpon.train.config import DATA, Optim, Recipe, Run, Schedule
from tarpon.train.engine import DistContext
from tarpon.train.task import Batch, Problem, Task
from tarpon.train.tasks.star import export as star_export
from tarpon.train.tasks.star.data import Photos, star_data
from tarpon.train.tasks.star.figures.split import draw_split
from tarpon.train.tasks.star.gathered import gathered
from tarpon.train.tasks.star.losses import metric_losses
from tarpon.train.tasks.star.metrics.collect import EmbeddingMetric
from tarpon.train.tasks.star.options import COTRAIN, IDLE, REFUSED, SPELLINGS, StarOptions


def recipe() -> Recipe:
    """The default run, stars alone: `deepspeed train/launch.py star --data SHARDS`; Swin V2 tiny at 384 px, one 24 GB GPU.

    train/recipes/star/{pretrain,finetune,cotrain}.yaml hold the published epochs and rates of the other strategies.
    """
    return Recipe(
        run=Run(
            data=DATA,
            epochs=100,
            micro_batch=32,
            global_batch=32,
            freeze_backbone_epochs=0,
            early_stop_patience=0,
            eval_every=5,
            seed=42,
            out="runs/star",
            optim=Optim(lr=0.0001, weight_decay=0.0001, backbone_lr_scale=0.1),
            schedule=Schedule(kind="cosine", warmup_epochs=5.0, min_lr=1e-06),
        ),
        options=StarOptions(),
    )


def build(run: Run, options: StarOptions, context: DistContext, *, encoders: dict | None = None) -> Problem:
    """The task met with its shards."""
    photos = Photos(run, options)
    if not (photos.roles("val") & 1).any():
        raise ValueError(
            f"{run.data}: no photograph of the val split is of an animal in train; the best weights could not be chosen. "
            f"Pack data with three sessions or more of some animals"
        )
    rows = photos.training(distractors=options.include_distractors)
    identities = (encoders or {}).get("identities") or sorted(set(photos.identity[np.concatenate(rows)].tolist()))
    labels = numbered(photos.identity, identities)
    model = build_model(run, options, context, identities=len(identities))
    epoch = order(rows, labels, options, seed=run.seed)
    if encoders is None:  # a new training: what cannot be dealt into batches is told before its folder is begun
        next(epoch.batches(0, micro=run.micro_batch, rank=context.rank, world=context.world))
    data = star_data(run, options, context, photos=photos, order=epoch, labels=labels)

    def loss(out: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        identity, anchors = batch["identity"], batch["anchor"]
        if model.training:  # the model has gathered its embeddings
            identity, anchors = gathered(context, identity), gathered(context, anchors.long()).bool()
        return metric_losses(out, identity, options=options.loss, anchors=anchors)

    names, searching = photos.names(), partial(options.search.searching, within_dataset=photos.within_dataset)
    return Problem(
        model=model,
        inputs=("image", "flips"),
        groups=group_parameters(model),
        freeze=model.freeze_backbone,
        loss=loss,
        data=data,
        splits=("val", "test") if (photos.roles("test") & 1).any() else ("val",),
        metric=lambda name: EmbeddingMetric(
            names,
            roles=photos.roles(name),
            protocol=photos.protocol,
            searching=searching(rerank=name == "test"),
            device=context.device,
        ),
        figures=draw_split,
        select="map",
        frames=lambda batch: len(batch["row"]),
        unit="photos",
        fingerprint=f"{photos.joined.fingerprint()}:{run.seed}:{run.global_batch}:{place_free(run, options)}",
        encoders={"identities": identities},
        say=describe(run, options, photos, rows, model),
        export=lambda folder, best, scores: star_export.export(
            folder,
            best,
            scores,
            run=run,
            options=options,
            identities=identities,
            photos=photos,
            searching=searching(rerank=True),
            device=context.device,
        ),
    )


def build_model(run: Run, options: StarOptions, context: DistContext, *, identities: int) -> ReidModel:
    """The network; the same weights on every rank and in every run of a seed, or those of the checkpoint."""
    torch.manual_seed(run.seed)
    chosen = options.model
    model = ReidModel(
        chosen.backbone.build(),
        multi_stage=chosen.multi_stage,
        width=chosen.width,
        embedding_dim=chosen.embedding_dim,
        head_depth=chosen.head_depth,
        dropout=chosen.dropout,
        identities=identities if options.loss.identity_weight else 0,
        gather=partial(gathered, context),
    )
    if options.checkpoint:
        star_export.start_from(model, Path(options.checkpoint))
    return model


def numbered(names: np.ndarray, identities: list[str]) -> np.ndarray:
    """(R,) int64 place of each name in `identities`, which is sorted; -1 where it is not there."""
    listed = np.array(identities)
    at = np.searchsorted(listed, names).clip(max=len(listed) - 1)
    return np.where(listed[at] == names, at, -1).astype(np.int64)


def order(rows: list[np.ndarray], labels: np.ndarray, options: StarOptions, *, seed: int) -> IdentityPlan | MixedPlan:
    """P x K batches of the one data set, or of both mixed."""
    plans = [
        IdentityPlan(rows=own, identities=labels[own], seed=seed + number, instances=options.num_instances)
        for number, own in enumerate(rows)
    ]
    if options.strategy != COTRAIN:
        return plans[0]
    stars, wildlife = plans
    return MixedPlan(first=wildlife, second=stars, share=options.star_batch_ratio, alternate=options.alternate_batches)


def place_free(run: Run, options: StarOptions) -> str:
    """What the order of photographs hangs on beside the data, whatever the number of processes."""
    mix = f"{options.star_batch_ratio}:{options.alternate_batches}" if options.strategy == COTRAIN else ""
    return f"{options.num_instances}:{options.include_distractors}:{mix}"


def describe(run: Run, options: StarOptions, photos: Photos, rows: list[np.ndarray], model: ReidModel) -> tuple[str, ...]:
    told = []
    for (manifest, _), own in zip(photos.joined.parts, rows, strict=True):
        told.append(f"{manifest.root}: train {len(own)} photographs of {len(set(photos.identity[own]))} animals")
    asked = ", ".join(
        f"{split} {int((photos.roles(split) & 1 > 0).sum())} asked among {int((photos.roles(split) & 2 > 0).sum())}"
        for split in ("val", "test")
    )
    backbone, millions = options.model.backbone, sum(p.numel() for p in model.parameters()) / 1e6
    weights = options.checkpoint or ("pretrained" if backbone.pretrained or backbone.weights else "random weights")
    return (
        f"data      {'; '.join(told)}; {asked}",
        f"protocol  {photos.protocol}",
        f"model     {backbone.name} at {backbone.image_size} px ({weights}), {millions:.1f} M parameters, {options.strategy}",
        f"batch     {run.global_batch // options.num_instances} animals x {options.num_instances} photographs",
    )


def name(run: Run, options: StarOptions) -> str:
    """As the published grid names its runs."""
    terms = [term for term in ("circle", "triplet", "identity") if getattr(options.loss, f"{term}_weight")]
    return f"{options.strategy}_{'_'.join(terms)}"


STAR = Task(
    options=StarOptions,
    recipe=recipe,
    build=build,
    name=name,
    without_download=star_export.without_weights,
    spellings=SPELLINGS,
    refused=REFUSED,
    idle=IDLE,
)
