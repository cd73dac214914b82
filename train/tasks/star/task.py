"""Star: re-identification of animals by metric learning; pre-training, fine-tuning, both at once, or stars alone.

R rows of the joined data sets, B photographs of a batch.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tarpon.models.groups import group_parameters
from tarpon.models.reid.embedder import ReidModel
from tarpon.train.config import Run
from tarpon.train.engine import DistContext
from tarpon.train.plan_kind import order_mark
from tarpon.train.task import Batch, Problem
from tarpon.train.tasks.star import export as star_export
from tarpon.train.tasks.star.data import Photos, order_key, star_data
from tarpon.train.tasks.star.figures.split import draw_split
from tarpon.train.tasks.star.gather import gather_rows
from tarpon.train.tasks.star.losses import MetricLoss, metric_losses
from tarpon.train.tasks.star.metrics.embeddings import GALLERY, QUERY
from tarpon.train.tasks.star.metrics.local_features import SiftMatcher
from tarpon.train.tasks.star.metrics.local_search import LocalRescorer
from tarpon.train.tasks.star.metrics.shares import make_metric
from tarpon.train.tasks.star.options import StarOptions
from tarpon.train.tasks.star.stored_photos import StoredPhotos


def build(run: Run, options: StarOptions, context: DistContext, *, encoders: dict | None = None) -> Problem:
    """The problem on the shards of `run.data`; `encoders` are those of the run that is gone on with or scored."""
    photos = (StoredPhotos if options.plan == "shards" else Photos)(run, options)
    check_validation(photos)
    if options.search.local:
        check_local(photos)
    identities = (encoders or {}).get("identities") or photos.list_identities(distractors=options.include_distractors)
    model = build_model(run, options, context, identities=len(identities))
    order = photos.order(options, identities=identities, seed=run.seed)
    if encoders is None:  # a new training: what makes no batch is refused before its folder is begun
        next(order.batches(0, micro=run.micro_batch, rank=context.rank, world=context.world))
    data = star_data(run, options, context, photos=photos, order=order, identities=identities)
    names, search_options = photos.names(), partial(options.search.search_options, within_dataset=photos.within_dataset)
    return Problem(
        model=model,
        inputs=("image", "flips"),
        groups=group_parameters(model),
        freeze=model.freeze_backbone,
        loss=partial(step_losses, model=model, context=context, options=options.loss),
        data=data,
        splits=("val", "test") if photos.count_role("test", QUERY) else ("val",),
        metric=lambda split: make_metric(
            names,
            context,
            roles=photos.roles(split),
            protocol=photos.protocol,
            search_options=search_options(beside=split == "test"),
            rescorer=make_rescorer(photos, options, context) if split == "test" else None,
        ),
        figures=draw_split,
        select="map",
        main=("cmc_1", "cmc_5", "minp"),
        count=lambda batch: len(batch["row"]),
        unit="photos",
        fingerprint=f"{photos.joined.fingerprint()}:{run.seed}:{run.global_batch}:{order_key(options)}{order_mark(options.plan)}",
        keys=photos.keys,
        memory=data.quarantine.memory,
        remember=data.quarantine.remember,
        encoders={"identities": identities},
        summary_lines=describe(run, options, photos, model),
        export=partial(
            star_export.export,
            run=run,
            options=options,
            identities=identities,
            photos=photos,
            search_options=search_options(beside=True),
            device=context.device,
        ),
    )


def check_validation(photos: Photos | StoredPhotos) -> None:
    """ValueError where no query of val has a match in train: the best weights could not be chosen."""
    if not photos.count_role("val", QUERY):
        raise ValueError(
            f"{photos.scored.root}: no photograph of the val split is of an animal in train; the best weights could not be "
            f"chosen. Pack data with three sessions or more of some animals"
        )


def check_local(photos: Photos | StoredPhotos) -> None:
    """ValueError where local features cannot be compared, before anything is trained."""
    if photos.within_dataset:
        raise ValueError(
            f"search.local: {photos.scored.root} is searched within each data set, where local features are not compared; "
            f"set it to 0 or give shards of stars"
        )
    SiftMatcher()


def make_rescorer(photos: Photos | StoredPhotos, options: StarOptions, context: DistContext) -> LocalRescorer | None:
    """What compares local features of two stored photographs; None where the options do not ask for it."""
    if not options.search.local:
        return None
    return LocalRescorer(lambda row: photos.joined.read(row, "jpg"), shown=context.rank == 0)


def step_losses(
    out: Mapping[str, Tensor], batch: Batch, *, model: ReidModel, context: DistContext, options: MetricLoss
) -> dict[str, Tensor]:
    """`metric_losses` over the rows of all processes in training, of this one in evaluation.

    Args:
        out: embedding (G, D) in training, where the model gathers, (B, D) in evaluation.
        batch: identity (B,) int64, anchor (B,) bool.
    """
    identity, anchors = batch["identity"], batch["anchor"]
    if model.training:
        identity, anchors = gather_rows(context, identity), gather_rows(context, anchors.long()).bool()
    return metric_losses(out, identity, options=options, anchors=anchors)


def build_model(run: Run, options: StarOptions, context: DistContext, *, identities: int) -> ReidModel:
    """The network; the same weights on every rank and in every run of a seed, or those of the checkpoint."""
    torch.manual_seed(run.seed)
    network = options.model
    model = ReidModel(
        network.backbone.build(),
        multi_stage=network.multi_stage,
        width=network.width,
        embedding_dim=network.embedding_dim,
        head_depth=network.head_depth,
        dropout=network.dropout,
        identities=identities if options.loss.identity_weight else 0,
        gather=partial(gather_rows, context),
    )
    if options.checkpoint:
        star_export.load_start_weights(model, Path(options.checkpoint))
    return model


def describe(run: Run, options: StarOptions, photos: Photos | StoredPhotos, model: ReidModel) -> tuple[str, ...]:
    """Lines on the data sets, the search protocol, the network and the batches."""
    counted = photos.count_training(distractors=options.include_distractors)
    sources = [
        f"{manifest.root}: train {images} photographs of {animals} animals"
        for (manifest, _), (images, animals) in zip(photos.joined.parts, counted, strict=True)
    ]
    searched = ", ".join(
        f"{split} {photos.count_role(split, QUERY)} asked among {photos.count_role(split, GALLERY)}"
        for split in ("val", "test")
    )
    backbone, millions = options.model.backbone, sum(p.numel() for p in model.parameters()) / 1e6
    weights = options.checkpoint or ("pretrained" if backbone.pretrained or backbone.weights else "random weights")
    return (
        f"data      {'; '.join(sources)}; {searched}",
        *(f"remark    {manifest.remark}" for manifest, _ in photos.joined.parts if manifest.remark),
        f"protocol  {photos.protocol}",
        f"model     {backbone.name} at {backbone.image_size} px ({weights}), {millions:.1f} M parameters, {options.strategy}",
        f"batch     {run.global_batch // options.num_instances} animals x {options.num_instances} photographs",
    )
