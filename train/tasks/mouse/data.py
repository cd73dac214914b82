"""The data of the mouse task: windows of trials, clipped from stored clips. T frames of a window, K points."""

from collections.abc import Sequence

import numpy as np

from tarpon.pipelines.clip.feed import ClipFields, ClipRequest, TrainWindows
from tarpon.pipelines.clip.graph import ClipGraph
from tarpon.pipelines.clip.tiles import tile
from tarpon.pipelines.loader import Loader
from tarpon.shards.fetch_ahead import FetchAhead
from tarpon.shards.lazy_manifest import LazyManifest
from tarpon.shards.manifest import Manifest
from tarpon.shards.reader import Reader
from tarpon.shards.row_view import KeyView, RowView
from tarpon.shards.sampling.draws import NO_AUGMENT, ClipAugment
from tarpon.shards.sampling.plan import EpochPlan
from tarpon.shards.sampling.shard_plan import ShardPlan
from tarpon.shards.sources.mouse.pose_mirror import mirror_pairs
from tarpon.shards.sources.video.clips import frames_at
from tarpon.train.config import Run
from tarpon.train.data import TaskData, decoding_loader
from tarpon.train.engine import DistContext
from tarpon.train.figures.style import Frames
from tarpon.train.quarantine import Quarantine
from tarpon.train.tasks.mouse.metrics.collect import TrialNames
from tarpon.train.tasks.mouse.options import MouseOptions

PADDING = ClipRequest(row=-1, start=0)


def stored_points(manifest: Manifest | LazyManifest, encoders: dict | None) -> tuple[str, ...]:
    """Names of the K keypoints in the shards, () without a track.

    Raises:
        ValueError: `encoders`, of the run that is gone on with or scored, hold other points.
    """
    points = tuple(manifest.card["settings"]["keypoints"]) if manifest.card["settings"]["pose"] == "dlc" else ()
    if encoders and encoders["keypoints"] != list(points):
        raise ValueError(
            f"{manifest.root} was packed with the points {', '.join(points) or '(none)'}, the run learnt "
            f"{', '.join(encoders['keypoints']) or '(none)'}; pack again with these --keypoints"
        )
    return points


def stored_splits(manifest: Manifest | LazyManifest) -> tuple[str, ...]:
    """train, val and, where the shards hold one, test."""
    return ("train", "val", "test") if manifest.split_size("test") else ("train", "val")


def trial_names(manifest: Manifest | LazyManifest, options: MouseOptions, points: tuple[str, ...]) -> TrialNames:
    """Key, group, frame size (px) and number of frames of every row, and the names of classes and points."""
    return TrialNames(
        keys=KeyView(manifest),
        groups=RowView(manifest, "group"),
        sizes=RowView(manifest, "width", "height"),
        frames=RowView(manifest, "frames"),
        classes=options.classes,
        points=points,
    )


def stored_frames(reader: Reader, keys: KeyView) -> Frames:
    """A function (key of a scored trial, frame numbers) -> (n, H, W, 3) uint8, decoded from the stored clip."""
    return lambda key, numbers: frames_at(reader.read(keys.row_of[key], "clip"), numbers)


def mouse_data(
    run: Run,
    options: MouseOptions,
    context: DistContext,
    *,
    manifest: Manifest | LazyManifest,
    reader: Reader,
    points: Sequence[str],
    order: EpochPlan | ShardPlan,
    factors: np.ndarray | None,
) -> TaskData:
    """Windows drawn by the plan for training, whole trials in tiles for a split.

    Args:
        factors: (C,) frame factors of the rare-class boost; None: starts are uniform.

    Raises:
        ValueError: flips are on and a point of one side has no partner on the other.
    """
    swap = mirror_pairs(points, pairs=options.mirror_pairs, need_partners=options.augment.flip_p > 0)
    quarantine = Quarantine(run, context)
    windows = TrainWindows(
        manifest=manifest,
        augment=options.augment,
        frames=options.window.train_frames,
        points=len(points),
        seed=run.seed,
        merge=options.merge,
        factors=factors,
    )
    tiles = tile(manifest, frames=options.window.val_frames)

    def make_loader(training: bool) -> Loader:
        frames = options.window.train_frames if training else options.window.val_frames
        fields = clip_fields(options, swap, frames=frames, noise=training)
        return decoding_loader(
            clip_graph(run, manifest, size=fields.size, augment=options.augment if training else NO_AUGMENT),
            fields,
            run=run,
            context=context,
            manifest=manifest,
            reader=reader,
            pool=manifest.rows("train") if training else range(len(manifest)),
            quarantine=quarantine,
            substitute=training,
        )

    return TaskData(
        run=run,
        context=context,
        order=order,
        items=tiles.of_split,
        train_work=windows,
        split_work=lambda items: [tiles[item] if item >= 0 else PADDING for item in items],
        make_loader=make_loader,
        begins=lambda item: tiles[item].start == 0,
        quarantine=quarantine,
        ahead=FetchAhead([(manifest, reader)]),
    )


def clip_graph(run: Run, manifest: Manifest | LazyManifest, *, size: int, augment: ClipAugment) -> ClipGraph:
    """The pipeline of a batch's clips; it resizes only where some are stored in another size than `size` px."""
    sides = {side for *kind, _ in manifest.count_kinds("clip_width", "clip_height") for side in kind}
    return ClipGraph(size=size, batch=run.micro_batch, resize=sides != {size}, noise=augment.noise_p > 0)


def clip_fields(options: MouseOptions, swap: tuple[int, ...], *, frames: int, noise: bool) -> ClipFields:
    """How a stored trial becomes one clip's arrays. `swap`: for each point the one it becomes in a mirror."""
    mean, std = options.model.encoder.normalisation()
    return ClipFields(
        frames=frames,
        size=options.model.encoder.image_size,
        mean=mean,
        std=std,
        likelihood=options.window.kp_likelihood,
        merge=options.merge,
        swap=swap,
        noise_sd=options.augment.noise_sd if noise and options.augment.noise_p else 0.0,
        stance_frames=options.model.stance_frames if options.model.pose_input else 0,
        with_likelihood=options.model.pose_input and options.model.likelihood_input,
        fill_gaps=options.window.fill_gaps if options.model.pose_input else 0,
    )
