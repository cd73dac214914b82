"""Mouse: frame-wise behaviour and keypoints from video, with or without a DeepLabCut track."""

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tarpon.models.backbones import FrameBackbone
from tarpon.models.pose import PoseEncoder, PoseGraph
from tarpon.models.tagger import FrameTagger, parameter_groups
from tarpon.pipelines.clip import ClipGraph, check_codec
from tarpon.pipelines.feed import ClipFeed, ClipFields, TrainWindows, Window, merged, tiled_windows
from tarpon.pipelines.loader import Batch, ClipLoader
from tarpon.shards import plan
from tarpon.shards.draws import NONE, ClipAugment
from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.quarantine import Budget
from tarpon.shards.reader import Reader
from tarpon.train import losses
from tarpon.train.config import Run
from tarpon.train.engine import Place
from tarpon.train.metrics.collect import TrialMetric, TrialNames
from tarpon.train.task import Outputs, Problem, Task
from tarpon.train.tasks import mouse_export

CLASSES = ("rest", "paw_withdraw", "paw_lick", "paw_shake", "walk", "active")
MERGE = (0, 1, 2, 1, 3, 1, 4, 5)  # paw_guard and flinch count as paw_withdraw


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The network."""

    backbone: FrameBackbone = field(default_factory=FrameBackbone)
    model_type: str = "multitask"  # multitask: actions and keypoints | action_only
    pose_input: bool = True  # False needs no DeepLabCut file when predicting
    hidden: int = 256  # TCN channels
    layers: int = 3  # TCN blocks, dilations 1, 2, 4, ...
    norm: str = "frame"  # frame: per frame, the same for any window length | clip: over the clip, as published
    dropout: float = 0.3
    head_dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.model_type not in ("multitask", "action_only"):
            raise ValueError(f"model.model_type={self.model_type!r} must be multitask or action_only")
        if self.norm not in ("frame", "clip"):
            raise ValueError(f"model.norm={self.norm!r} must be frame or clip")
        if self.hidden < 8 or self.layers < 1 or not (0 <= self.dropout < 1 and 0 <= self.head_dropout < 1):
            raise ValueError(
                f"model: hidden={self.hidden} must be at least 8, layers={self.layers} at least 1, "
                f"dropout={self.dropout} and head_dropout={self.head_dropout} in [0, 1)"
            )


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """The terms, each on its own switch."""

    focal_gamma: float = 2.5  # 0 = cross-entropy
    label_smoothing: float = 0.1
    class_weights: bool = True  # inverse frequency of the hard label
    lambda_smooth: float = 1e-3  # times the change of log-probabilities from frame to frame
    lambda_kp: float = 1.0  # times the keypoint term
    kp_beta: float = 0.02  # of the frame: where smooth L1 turns linear

    def __post_init__(self) -> None:
        if (
            min(self.focal_gamma, self.lambda_smooth, self.lambda_kp) < 0
            or self.kp_beta <= 0
            or not 0 <= self.label_smoothing < 1
        ):
            raise ValueError(
                "loss: focal_gamma, lambda_smooth and lambda_kp must be at least 0, kp_beta above 0, label_smoothing in [0, 1)"
            )


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """What a training sample is."""

    train_frames: int = 345
    val_frames: int = 345  # windows that tile a trial in evaluation
    kp_likelihood: float = 0.9  # a point below it is invisible
    rare_boost: bool = True  # windows with rare classes come more often
    rare_threshold_share: float = 0.02  # a class under this share of labelled frames is rare
    rare_boost_cap: float = 30.0

    def __post_init__(self) -> None:
        if min(self.train_frames, self.val_frames) < 2 or not 0 <= self.kp_likelihood <= 1:
            raise ValueError(
                f"window: train_frames={self.train_frames} and val_frames={self.val_frames} must be at least 2, "
                f"kp_likelihood={self.kp_likelihood} in [0, 1]"
            )
        if self.rare_boost_cap < 1 or not 0 <= self.rare_threshold_share <= 1:
            raise ValueError(f"window: rare_boost_cap={self.rare_boost_cap} must be at least 1, rare_threshold_share in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class MouseOptions:
    """Everything of the mouse task beside the run."""

    model: ModelOptions = field(default_factory=ModelOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    window: WindowOptions = field(default_factory=WindowOptions)
    augment: ClipAugment = field(default_factory=ClipAugment)
    classes: tuple[str, ...] = CLASSES  # after merging
    merge: tuple[int, ...] = MERGE  # class of each of the 8 stored actions; -1 leaves it out

    def __post_init__(self) -> None:
        if len(self.merge) != 8 or not all(-1 <= to < len(self.classes) for to in self.merge):
            raise ValueError(
                f"merge={list(self.merge)} must give each of the 8 stored actions a class of 0 to "
                f"{len(self.classes) - 1}, or -1 to leave it out"
            )
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise ValueError(f"classes={list(self.classes)} must be two or more different names")


def recipe() -> dict:
    """The default run: `deepspeed train/launch.py mouse --data SHARDS`; DINOv2 ViT-S at 224 px, one 16 GB GPU."""
    return {}


def build_model(options: MouseOptions, points: Sequence[str]) -> FrameTagger:
    """The network for these keypoints."""
    model = options.model
    pose = PoseEncoder(PoseGraph.from_points(points), dropout=model.dropout / 2) if model.pose_input and points else None
    return FrameTagger(
        model.backbone.build(),
        classes=len(options.classes),
        points=len(points),
        pose=pose,
        hidden=model.hidden,
        layers=model.layers,
        dropout=model.dropout,
        head_dropout=model.head_dropout,
        norm=model.norm,
        keypoints=model.model_type == "multitask" and bool(points),
    )


def fields_of(options: MouseOptions, points: Sequence[str], *, frames: int, noise: bool) -> ClipFields:
    mean, std = options.model.backbone.normalisation()
    return ClipFields(
        frames=frames,
        size=options.model.backbone.image_size,
        mean=mean,
        std=std,
        likelihood=options.window.kp_likelihood,
        merge=options.merge,
        swap=mirrored(points),
        noise_sd=options.augment.noise_sd if noise and options.augment.noise_p else 0.0,
    )


def mirrored(points: Sequence[str]) -> tuple[int, ...]:
    """For each point the one it becomes in a mirror: left and right (L_x, x_left, wingL, hindlegL4 ...) change places."""
    other = {"l": "r", "r": "l", "left": "right", "right": "left"}
    pattern = re.compile(r"(?:^|(?<=_))(?i:left|right|l|r)(?=_|$)|(?<=[a-z])(?:Left|Right|[LR](?=\d*$|_))|^(?i:left|right)")

    def turn(match: re.Match) -> str:
        side = other[match.group(0).lower()]
        return side.upper() if match.group(0).isupper() else side.capitalize() if match.group(0)[0].isupper() else side

    index = {name: i for i, name in enumerate(points)}
    return tuple(index.get(pattern.sub(turn, name, count=1), i) for i, name in enumerate(points))


def build(run: Run, options: MouseOptions, place: Place) -> Problem:
    """The task met with its shards."""
    manifest = open_manifest(run.data, kind="mouse")
    for codec in sorted(set(manifest.column("codec"))):
        check_codec(codec, device=place.gpu)
    points = tuple(manifest.card["settings"]["keypoints"]) if manifest.card["settings"]["pose"] == "dlc" else ()
    rows, counts = manifest.rows("train"), class_counts(manifest, options, split="train")
    splits = ("val", "test") if len(manifest.rows("test")) else ("val",)
    for split in splits:
        class_counts(manifest, options, split=split)  # a split without labels cannot be scored: say so before training
    epoch, factors, table = sampling(manifest, rows, options, seed=run.seed, counts=counts)
    accumulation = run.accumulation(place.world)
    steps = epoch.steps(run.global_batch)
    torch.manual_seed(run.seed)  # the same weights on every rank and in every run
    model = build_model(options, points)
    weights = (
        losses.balanced_weights(torch.tensor(counts, dtype=torch.float32)).to(place.device)
        if options.loss.class_weights
        else None
    )
    loaders = Loaders(run, options, manifest, points, place)
    windows = TrainWindows(
        manifest=manifest,
        augment=options.augment,
        frames=options.window.train_frames,
        points=len(points),
        seed=run.seed,
        merge=options.merge,
        factors=factors,
    )

    def batches(first: int, skip: int) -> Iterator[Batch]:
        slots = itertools.chain.from_iterable(
            epoch.batches(
                number,
                micro=run.micro_batch,
                accumulation=accumulation,
                rank=place.rank,
                world=place.world,
                skip=skip if number == first else 0,
            )
            for number in itertools.count(first)
        )
        return loaders.train.run(windows(slot) for slot in slots)

    def split(name: str) -> Iterator[Batch]:
        tiled = tiled_windows(manifest, manifest.rows(name), frames=options.window.val_frames)
        turns = plan.in_turn(len(tiled), micro=run.micro_batch, rank=place.rank, world=place.world)
        return loaders.split.run([tiled[i] if i >= 0 else Window(row=-1, start=0) for i in turn] for turn in turns)

    names = TrialNames(
        keys=manifest.column("key"),
        groups=manifest.column("group"),
        classes=options.classes,
        points=points,
        sizes=np.stack([manifest.column("width"), manifest.column("height")], 1),
    )
    return Problem(
        model=model,
        inputs=("clip", "valid", "pose") if model.pose is not None else ("clip", "valid"),
        groups=parameter_groups(model),
        freeze=model.freeze_backbone,
        loss=lambda out, batch: loss(out, batch, options=options.loss, weights=weights),
        steps_per_epoch=steps,
        batches=batches,
        split=split,
        splits=splits,
        metric=lambda _: TrialMetric(names),
        select="macro_f1",
        wait_s=lambda: loaders.train.wait_s,
        frames=lambda batch: batch["valid"].numel(),
        unit="frames",
        fingerprint=f"{manifest.fingerprint()}:{run.seed}:{run.global_batch}",
        say=(*describe(manifest, options, model, points), table),
        export=lambda folder, best, scores: mouse_export.export(
            folder, best, scores, options=options, run=run, points=points, clip=manifest.card["settings"]["clip"]
        ),
    )


class Loaders:
    """The training and the evaluation pipeline, each built when first used."""

    def __init__(self, run: Run, options: MouseOptions, manifest: Manifest, points: Sequence[str], place: Place) -> None:
        reader = Reader(manifest, cache=Path(run.loader.cache) if run.loader.cache else None)
        self._parts = (run, options, manifest, points, place, reader, Budget(run.loader.bad_rows))
        self._built: dict[str, ClipLoader] = {}

    @property
    def train(self) -> ClipLoader:
        return self._get("train")

    @property
    def split(self) -> ClipLoader:
        return self._get("split")

    def _get(self, name: str) -> ClipLoader:
        if name not in self._built:
            run, options, manifest, points, place, reader, budget = self._parts
            training = name == "train"
            augment = options.augment if training else NONE
            frames = options.window.train_frames if training else options.window.val_frames
            fields = fields_of(options, points, frames=frames, noise=training)
            pool = manifest.rows("train") if training else np.arange(len(manifest))
            feed = ClipFeed(manifest, reader, fields, pool=pool, budget=budget)
            sides = np.concatenate([manifest.column("clip_width"), manifest.column("clip_height")])
            graph = ClipGraph(
                size=fields.size, batch=run.micro_batch, resize=bool((sides != fields.size).any()), noise=augment.noise_p > 0
            )
            self._built[name] = ClipLoader(
                graph, feed, device=place.gpu, threads=run.loader.threads or cores(place), prefetch=run.loader.prefetch
            )
        return self._built[name]


def cores(place: Place) -> int:
    """Decoding threads a process: this machine's usable cores, shared out among its processes."""
    return max(1, len(os.sched_getaffinity(0)) // max(place.local_world, 1))


def class_counts(manifest: Manifest, options: MouseOptions, *, split: str) -> np.ndarray:
    """Labelled frames of each merged class in a split, (C,) int64; ValueError when there is none."""
    stored = np.array(manifest.table["histogram"].take(manifest.rows(split)).to_pylist()).reshape(-1, len(MERGE)).sum(0)
    counts = np.zeros(len(options.classes), np.int64)
    for old, new in enumerate(options.merge):
        if new >= 0:
            counts[new] += stored[old]
    if not counts.any():
        raise ValueError(f"{manifest.root}: no labelled {split} frames after merging; look at it with `tarpon look`")
    return counts


def sampling(
    manifest: Manifest, rows: np.ndarray, options: MouseOptions, *, seed: int, counts: np.ndarray
) -> tuple[plan.EpochPlan, np.ndarray | None, str]:
    """The epoch plan, the boost's frame factors (None: off), and the class table before and after the boost."""
    window, frames = options.window, options.window.train_frames
    factors = plan.rare_factors(counts, threshold_share=window.rare_threshold_share, cap=window.rare_boost_cap)
    if not window.rare_boost:
        factors = np.ones(len(counts))
    weights, seen = np.ones(len(rows)), np.zeros((len(rows), len(counts)))
    for i, row in enumerate(rows):
        labels = merged(manifest.lists("actions", np.array([row]))[0], options.merge)
        chances = plan.window_weights(labels, factors, length=frames)
        weights[i] = chances.mean()
        seen[i] = plan.seen_histogram(labels, chances, length=frames, classes=len(counts))
    boosted = (weights[:, None] * seen).sum(0)
    before, after = counts / max(counts.sum(), 1), boosted / max(boosted.sum(), 1)
    lines = [
        f"  {name:<16}{count:>9}{b:>9.1%}{a:>9.1%}{factor:>8.1f}"
        for name, count, b, a, factor in zip(options.classes, counts, before, after, factors, strict=True)
    ]
    table = "\n".join([f"  {'class':<16}{'frames':>9}{'share':>9}{'drawn':>9}{'factor':>8}", *lines])
    shard = np.unique(manifest.column("shard")[rows], return_inverse=True)[1]
    uniform = bool((factors == 1).all())
    return (
        plan.EpochPlan(rows=rows, shards=shard, seed=seed, weights=None if uniform else weights),
        None if uniform else factors,
        table,
    )


def describe(manifest: Manifest, options: MouseOptions, model: FrameTagger, points: Sequence[str]) -> list[str]:
    splits = {name: len(manifest.rows(name)) for name in ("train", "val", "test")}
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    backbone, window = options.model.backbone, options.window
    weights = "pretrained" if backbone.pretrained or backbone.weights else "random weights"
    return [
        f"data      {manifest.root}: {len(manifest)} trials ({', '.join(f'{n} {name}' for name, n in splits.items())}), "
        f"{len(set(manifest.column('group')))} groups, {manifest.card['quarantined']} in quarantine",
        f"model     {backbone.name} at {backbone.image_size} px ({weights}), "
        f"{millions:.1f} M parameters, {options.model.model_type}, {len(points)} points"
        f"{', pose input' if model.pose is not None else ''}, windows of {window.train_frames} frames",
    ]


def loss(out: Outputs, batch: Batch, *, options: LossOptions, weights: Tensor | None) -> dict[str, Tensor]:
    """out: action (B, T, C), keypoints (B, T, K, 2). batch: actions (B, T), valid (B, T), keypoints (B, T, K, 3)."""
    terms = {
        "action": losses.focal(
            out["action"], batch["actions"], gamma=options.focal_gamma, smoothing=options.label_smoothing, weights=weights
        )
    }
    if options.lambda_smooth:
        terms["smooth"] = options.lambda_smooth * losses.smoothness(out["action"], batch["valid"])
    if "keypoints" in out and options.lambda_kp:
        terms["keypoints"] = options.lambda_kp * losses.points(out["keypoints"], batch["keypoints"], beta=options.kp_beta)
    return terms


def without_download(options: MouseOptions) -> MouseOptions:
    """The same network with random weights, to load trained ones over."""
    backbone = replace(options.model.backbone, pretrained=False, weights=None)
    return replace(options, model=replace(options.model, backbone=backbone))


MOUSE = Task(options=MouseOptions, recipe=recipe, build=build, without_download=without_download)
