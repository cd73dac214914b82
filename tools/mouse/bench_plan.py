"""`tarpon bench plan --task mouse`: what a training on trials does with all rows before its first step."""

import numpy as np
import pyarrow as pa

from tarpon.pipelines.clip.checks import check_clips
from tarpon.pipelines.clip.tiles import tile
from tarpon.shards.lazy_manifest import LazyManifest
from tarpon.shards.manifest import Manifest
from tarpon.shards.sampling.plan import EpochPlan
from tarpon.shards.sampling.shard_plan import ShardPlan
from tarpon.shards.sources.mouse.source import SCHEMA
from tarpon.shards.sources.mouse.units import CLASSES
from tarpon.tools.bench.plan import PlanBenchmark, ways
from tarpon.tools.bench.plan_sets import DrawnRows
from tarpon.train.tasks.mouse.data import stored_splits, trial_names
from tarpon.train.tasks.mouse.options import MouseOptions
from tarpon.train.tasks.mouse.sampling import class_counts, sampling
from tarpon.train.tasks.mouse.shard_sampling import shard_sampling

FRAMES, BOUT = 360, 30  # frames of a trial, and of each of its bouts
RARE_SHARE = 0.005  # of the bouts: the last class, so that weighing has something to do


def draw_trials(shard: int, count: int) -> dict[str, pa.Array]:
    """Columns of a shard's trials: bouts of classes, the last of which is rare."""
    rng, number = np.random.default_rng(shard), len(CLASSES)
    chances = np.append(np.full(number - 1, (1 - RARE_SHARE) / (number - 1)), RARE_SHARE)
    bouts = rng.choice(number, (count, FRAMES // BOUT), p=chances)
    histogram = BOUT * np.stack([(bouts == name).sum(1) for name in range(number)], 1).astype(np.int32)
    return {
        "codec": pa.repeat("vp9", count),
        "frames": pa.repeat(FRAMES, count),
        "actions": _lists(np.repeat(bouts, BOUT, axis=1).astype(np.int8)),
        "histogram": _lists(histogram),
    }


def _lists(values: np.ndarray) -> pa.Array:
    ends = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(ends, values.ravel())


def begin_rows(manifest: Manifest) -> EpochPlan:
    """All that a training does with every row, to its plan."""
    return sampling(manifest, manifest.rows("train"), MouseOptions(), **_begin(manifest))[0]


def begin_shards(manifest: LazyManifest) -> ShardPlan:
    """The same over shards."""
    return shard_sampling(manifest, MouseOptions(), **_begin(manifest))[0]


def _begin(manifest: Manifest | LazyManifest) -> dict[str, object]:
    options = MouseOptions()
    check_clips(manifest, device=None)
    counts = {split: class_counts(manifest, options, split=split) for split in stored_splits(manifest)}
    trial_names(manifest, options, ())
    tile(manifest, frames=options.window.val_frames)
    manifest.count_groups()
    return {"seed": 0, "counts": counts["train"]}


PLAN = PlanBenchmark(
    drawn=DrawnRows(schema=SCHEMA, draw=draw_trials, card={"classes": CLASSES, "settings": {"pose": "none", "keypoints": []}}),
    ways=ways(begin_rows, begin_shards),
)
