"""`tarpon bench plan --task cells`: what a training on pages does with all rows before its first step."""

import numpy as np
import pyarrow as pa

from tarpon.shards.lazy_manifest import LazyManifest
from tarpon.shards.manifest import Manifest
from tarpon.shards.sampling.plan import EpochPlan
from tarpon.shards.sampling.shard_plan import ShardPlan
from tarpon.shards.sources.cells.schema import SCHEMA
from tarpon.tools.bench.plan import PlanBenchmark, ways
from tarpon.tools.bench.plan_sets import DrawnRows
from tarpon.train.tasks.cells.held_pages import HeldPages
from tarpon.train.tasks.cells.options import CellsOptions
from tarpon.train.tasks.cells.stored_pages import StoredPages

STACK, RATE = 97, 2.0  # pages of a stack, 48 hours of them, and pages an hour
INFECTED_SHARE = 0.2  # of the stacks, so that weighing has something to do
OPTIONS = CellsOptions(balance=True)


def draw_pages(shard: int, count: int) -> dict[str, pa.Array]:
    """Columns of a shard's pages: stacks, some of them infected; the first of a shard always is, the second never."""
    page, stack = np.arange(count) % STACK, np.arange(count) // STACK
    infected = np.random.default_rng(shard).random(stack[-1] + 1) < INFECTED_SHARE
    infected[:2] = [True, False][: len(infected)]
    name = np.char.mod(f"s{shard}-%d", stack)
    return {
        "stack": pa.array(name),
        "well": pa.array(name),
        "page": pa.array(page),
        "hours": pa.array((page / RATE).astype(np.float32)),
        "label": pa.array((infected[stack] if count > STACK else page % 2).astype(np.int8)),
        "onset_hour": pa.nulls(count, pa.float32()),
        **{name: pa.repeat(value, count) for name, value in (("bits", 16), ("channels", 1), ("fold", -1))},
    }


def begin_rows(manifest: Manifest) -> EpochPlan:
    """All that a training does with every row, to its plan."""
    return HeldPages(manifest, OPTIONS).order(0)


def begin_shards(manifest: LazyManifest) -> ShardPlan:
    """The same over shards."""
    return StoredPages(manifest, OPTIONS).order(0)


PLAN = PlanBenchmark(
    drawn=DrawnRows(schema=SCHEMA, draw=draw_pages, card={"frames_per_hour": RATE}), ways=ways(begin_rows, begin_shards)
)
