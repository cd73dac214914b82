"""Mouse: frame-wise behaviour and keypoints from video, with or without a DeepLabCut track."""

from collections.abc import Sequence
from functools import partial

import torch

from tarpon.models.groups import group_parameters
from tarpon.models.temporal.pose import PoseEncoder, PoseGraph
from tarpon.models.temporal.tagger import FrameTagger
from tarpon.pipelines.clip.checks import check_clips
from tarpon.shards.lazy_manifest import LazyManifest
from tarpon.shards.manifest import Manifest
from tarpon.shards.reader import Reader
from tarpon.train.config import Run
from tarpon.train.engine import DistContext
from tarpon.train.plan_kind import open_data, order_mark
from tarpon.train.task import Problem
from tarpon.train.tasks.mouse import export as mouse_export
from tarpon.train.tasks.mouse.data import (
    mouse_data,
    stored_frames,
    stored_points,
    stored_splits,
    trial_names,
)
from tarpon.train.tasks.mouse.figures.split import draw_split
from tarpon.train.tasks.mouse.losses import action_weights, window_losses
from tarpon.train.tasks.mouse.metrics.collect import TrialMetric
from tarpon.train.tasks.mouse.options import ModelOptions, MouseOptions
from tarpon.train.tasks.mouse.sampling import class_counts, sampling
from tarpon.train.tasks.mouse.shard_sampling import shard_sampling


def build_model(options: MouseOptions, points: Sequence[str]) -> FrameTagger:
    """The network for these keypoints."""
    model = options.model
    if model.pose_input and model.likelihood_input and not points:
        raise ValueError(
            "model.likelihood_input=True, but these shards were packed without points (--pose none) and hold no likelihood; "
            "pack again with the tracker's files, or train without it"
        )
    pose = None
    if model.pose_input and points:
        ways = {"stance": model.stance_frames > 0, "likelihood": model.likelihood_input}
        pose = PoseEncoder(PoseGraph.from_points(points), dropout=model.dropout / 2, **ways)
    return FrameTagger(
        model.encoder.build(),
        classes=len(options.classes),
        points=len(points),
        pose=pose,
        hidden=model.hidden,
        layers=model.layers,
        dropout=model.dropout,
        head_dropout=model.head_dropout,
        norm=model.norm,
        keypoints=model.model_type == "multitask" and bool(points),
        temporal=model.temporal,
        attention_frames=model.attention_frames,
        refine_stages=model.refine_stages,
        refine_shared=model.refine_shared,
    )


def build(run: Run, options: MouseOptions, context: DistContext, *, encoders: dict | None = None) -> Problem:
    """The problem on the shards of `run.data`; `encoders` are those of the run that is gone on with or scored."""
    manifest = open_data(run.data, plan=options.plan, kind="mouse", run=run)
    check_clips(manifest, device=context.gpu)
    points = stored_points(manifest, encoders)
    counts = {split: class_counts(manifest, options, split=split) for split in stored_splits(manifest)}
    how = {"seed": run.seed, "counts": counts["train"]}
    order, factors, table = (
        shard_sampling(manifest, options, **how)
        if isinstance(manifest, LazyManifest)
        else sampling(manifest, manifest.rows("train"), options, **how)
    )
    reader = Reader(manifest, always=run.loader.verify_always)
    data = mouse_data(run, options, context, manifest=manifest, reader=reader, points=points, order=order, factors=factors)
    torch.manual_seed(run.seed)  # the same weights on every rank and in every run
    model = build_model(options, points)
    weights = action_weights(counts["train"], device=context.device) if options.loss.class_weights else None
    names = trial_names(manifest, options, points)
    return Problem(
        model=model,
        inputs=("clip", "valid", "pose") if model.pose is not None else ("clip", "valid"),
        groups=group_parameters(model),
        freeze=model.freeze_backbone,
        loss=partial(window_losses, options=options.loss, weights=weights),
        data=data,
        splits=tuple(split for split in counts if split != "train"),
        metric=lambda _: TrialMetric(names, place=context.rank, places=context.world),
        figures=partial(draw_split, classes=names.classes, frames=stored_frames(reader, names.keys)),
        select="macro_f1",
        main=("accuracy", "segment_f1_50", "edit", "keypoint_mae"),
        count=lambda batch: batch["valid"].numel(),
        unit="frames",
        fingerprint=f"{manifest.fingerprint()}:{run.seed}:{run.global_batch}{order_mark(options.plan)}",
        sample=partial(blank_inputs, run, options, model, points),
        keys=names.keys,
        memory=data.quarantine.memory,
        remember=data.quarantine.remember,
        encoders={"keypoints": list(points)},
        summary_lines=(*describe(manifest, options, model, points), table),
        export=lambda folder, best, scores: mouse_export.export(
            folder,
            best,
            scores["val"],
            options=options,
            run=run,
            points=points,
            clip=manifest.card["settings"]["clip"],
            stored=manifest.card["classes"],
        ),
    )


def blank_inputs(run: Run, options: MouseOptions, model: FrameTagger, points: Sequence[str]) -> dict[str, torch.Tensor]:
    """Inputs of the network as a training micro-batch has them, of the same shapes and types: black and without a pose."""
    batch, frames, size = run.micro_batch, options.window.train_frames, options.model.encoder.image_size
    inputs = {
        "clip": torch.zeros(batch, frames, 3, size, size),
        "valid": torch.ones(batch, frames, dtype=torch.bool),
    }
    if model.pose is not None:
        inputs["pose"] = torch.zeros(batch, frames, len(points), model.pose.features.pose_width)
    return inputs


def describe(manifest: Manifest | LazyManifest, options: MouseOptions, model: FrameTagger, points: Sequence[str]) -> list[str]:
    """Two lines on the shards and the network."""
    splits = {name: manifest.split_size(name) for name in ("train", "val", "test")}
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    backbone, window = options.model.encoder, options.window
    weights = "pretrained" if backbone.pretrained or backbone.weights else "random weights"
    return [
        f"data      {manifest.root}: {len(manifest)} trials ({', '.join(f'{n} {name}' for name, n in splits.items())}), "
        f"{manifest.count_groups()} groups, {manifest.card['quarantined']} in quarantine",
        *((f"remark    {manifest.remark}",) if manifest.remark else ()),
        f"model     {backbone.name} at {backbone.image_size} px ({weights}), "
        f"{millions:.1f} M parameters, {options.model.model_type}, {len(points)} points"
        f"{', pose input' if model.pose is not None else ''}{describe_time(options.model)}, "
        f"windows of {window.train_frames} frames",
    ]


def describe_time(model: ModelOptions) -> str:
    """What looks over time, where it is not the TCN alone."""
    attention = f", {model.temporal} over time" if model.temporal != "tcn" else ""
    return attention + (f", {model.refine_stages} refinement stages" if model.refine_stages else "")
