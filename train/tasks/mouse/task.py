"""Mouse: frame-wise behaviour and keypoints from video, with or without a DeepLabCut track."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tarpon.models.groups import parameter_groups
from tarpon.models.temporal.pose import PoseEncoder, PoseGraph
from tarpon.models.temporal.tagger import FrameTagger
from tarpon.pipelines.clip.checks import check_clips
from tarpon.pipelines.clip.feed import ClipFields, TrainWindows, Window, tiled_windows
from tarpon.pipelines.clip.graph import ClipGraph
from tarpon.pipelines.feed import Feed
from tarpon.pipelines.loader import Batch, Loader
from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.quarantine import Budget
from tarpon.shards.reader import Reader
from tarpon.shards.sampling.draws import NONE
from tarpon.shards.sources.video import frames_at
from tarpon.train import turns
from tarpon.train.config import DATA, Recipe, Run
from tarpon.train.engine import DistContext, cores
from tarpon.train.task import Outputs, Problem, Task
from tarpon.train.tasks.mouse import export as mouse_export
from tarpon.train.tasks.mouse import losses
from tarpon.train.tasks.mouse.figures.split import draw_split
from tarpon.train.tasks.mouse.metrics.collect import TrialMetric, TrialNames
from tarpon.train.tasks.mouse.names import run_name
from tarpon.train.tasks.mouse.options import LossOptions, MouseOptions
from tarpon.train.tasks.mouse.sampling import class_counts, sampling
from tarpon.train.tasks.mouse.spellings import REFUSED, SPELLINGS


def recipe() -> Recipe:
    """The default run: `deepspeed train/launch.py mouse --data SHARDS`; DINOv2 ViT-S at 224 px, one 16 GB GPU."""
    return Recipe(run=Run(data=DATA), options=MouseOptions())


def build_model(options: MouseOptions, points: Sequence[str]) -> FrameTagger:
    """The network for these keypoints."""
    model = options.model
    pose = PoseEncoder(PoseGraph.from_points(points), dropout=model.dropout / 2) if model.pose_input and points else None
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
    )


def fields_of(options: MouseOptions, points: Sequence[str], *, frames: int, noise: bool) -> ClipFields:
    mean, std = options.model.encoder.normalisation()
    return ClipFields(
        frames=frames,
        size=options.model.encoder.image_size,
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


def build(run: Run, options: MouseOptions, context: DistContext, *, encoders: dict | None = None) -> Problem:
    """The task met with its shards."""
    manifest = open_manifest(run.data, kind="mouse")
    check_clips(manifest, device=context.gpu)
    points = tuple(manifest.card["settings"]["keypoints"]) if manifest.card["settings"]["pose"] == "dlc" else ()
    if encoders and encoders["keypoints"] != list(points):
        raise ValueError(
            f"{manifest.root} was packed with the points {', '.join(points) or '(none)'}, the run learnt "
            f"{', '.join(encoders['keypoints']) or '(none)'}; pack again with these --keypoints"
        )
    rows, counts = manifest.rows("train"), class_counts(manifest, options, split="train")
    splits = ("val", "test") if len(manifest.rows("test")) else ("val",)
    for split in splits:
        class_counts(manifest, options, split=split)  # a split without labels cannot be scored: say so before training
    epoch, factors, table = sampling(manifest, rows, options, seed=run.seed, counts=counts)
    steps = epoch.steps(run.global_batch)
    torch.manual_seed(run.seed)  # the same weights on every rank and in every run
    model = build_model(options, points)
    weights = (
        losses.balanced_weights(torch.tensor(counts, dtype=torch.float32)).to(context.device)
        if options.loss.class_weights
        else None
    )
    loaders = Loaders(run, options, manifest, points, context)
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
        return loaders.train.run(windows(slot) for slot in turns.to_train(epoch, run, context, first=first, skip=skip))

    def split(name: str) -> Iterator[Batch]:
        tiled = tiled_windows(manifest, manifest.rows(name), frames=options.window.val_frames)
        places = turns.to_evaluate(np.arange(len(tiled)), run, context)
        return loaders.split.run([tiled[i] if i >= 0 else Window(row=-1, start=0) for i in own] for own in places)

    names = TrialNames(
        keys=manifest.column("key"),
        groups=manifest.column("group"),
        classes=options.classes,
        points=points,
        sizes=np.stack([manifest.column("width"), manifest.column("height")], 1),
    )
    row_of = {key: row for row, key in enumerate(names.keys)}
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
        figures=lambda trials: draw_split(
            trials,
            classes=names.classes,
            frames=lambda key, at: frames_at(loaders.reader.read(row_of[key], "clip"), at),
        ),
        select="macro_f1",
        wait_s=lambda: loaders.train.wait_s,
        frames=lambda batch: batch["valid"].numel(),
        unit="frames",
        fingerprint=f"{manifest.fingerprint()}:{run.seed}:{run.global_batch}",
        encoders={"keypoints": list(points)},
        say=(*describe(manifest, options, model, points), table),
        export=lambda folder, best, scores: mouse_export.export(
            folder,
            best,
            scores["val"],
            options=options,
            run=run,
            points=points,
            clip=manifest.card["settings"]["clip"],
        ),
    )


class Loaders:
    """The training and the evaluation pipeline, each built when first used."""

    def __init__(
        self, run: Run, options: MouseOptions, manifest: Manifest, points: Sequence[str], context: DistContext
    ) -> None:
        self.reader = Reader(manifest, cache=Path(run.loader.cache) if run.loader.cache else None)
        self._parts = (run, options, manifest, points, context, Budget(run.loader.bad_rows))
        self._built: dict[str, Loader] = {}

    @property
    def train(self) -> Loader:
        return self._get("train")

    @property
    def split(self) -> Loader:
        return self._get("split")

    def _get(self, name: str) -> Loader:
        if name not in self._built:
            run, options, manifest, points, context, budget = self._parts
            training = name == "train"
            augment = options.augment if training else NONE
            frames = options.window.train_frames if training else options.window.val_frames
            fields = fields_of(options, points, frames=frames, noise=training)
            pool = manifest.rows("train") if training else np.arange(len(manifest))
            feed = Feed(manifest, self.reader, fields, pool=pool, budget=budget)
            sides = np.concatenate([manifest.column("clip_width"), manifest.column("clip_height")])
            graph = ClipGraph(
                size=fields.size, batch=run.micro_batch, resize=bool((sides != fields.size).any()), noise=augment.noise_p > 0
            )
            self._built[name] = Loader(
                graph,
                feed,
                device=context.gpu,
                threads=run.loader.threads or cores(context),
                prefetch=run.loader.prefetch,
                decode_batches=run.loader.decode_batches,
            )
        return self._built[name]


def describe(manifest: Manifest, options: MouseOptions, model: FrameTagger, points: Sequence[str]) -> list[str]:
    splits = {name: len(manifest.rows(name)) for name in ("train", "val", "test")}
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    backbone, window = options.model.encoder, options.window
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
    return replace(options, model=options.model.without_weights())


def name(run: Run, options: MouseOptions) -> str:
    """As the published system names its runs."""
    return run_name(
        backbone=options.model.encoder.name,
        batch=run.global_batch,
        lr=run.optim.lr,
        gamma=options.loss.focal_gamma,
        smoothing=options.loss.label_smoothing,
        weight_decay=run.optim.weight_decay,
    )


MOUSE = Task(
    options=MouseOptions,
    name=name,
    recipe=recipe,
    build=build,
    without_download=without_download,
    spellings=SPELLINGS,
    refused=REFUSED,
)
