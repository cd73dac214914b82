"""`tarpon bench plan --task star`: what a training on photographs does with all rows before its first step."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tarpon.shards.lazy_manifest import LazyManifest
from tarpon.shards.manifest import Manifest
from tarpon.shards.sampling.identity_shard_plan import IdentityShardPlan
from tarpon.shards.sampling.pk_plan import IdentityPlan
from tarpon.shards.sources.star.reid import SCHEMA
from tarpon.tools.bench.plan import PlanBenchmark, ways
from tarpon.tools.bench.plan_sets import DrawnRows
from tarpon.train.tasks.star.data import number_identities, training_order
from tarpon.train.tasks.star.options import StarOptions
from tarpon.train.tasks.star.stored_photos import make_index, read_entries

ANIMAL = 10  # photographs of an animal
OPTIONS = StarOptions()


def draw_photos(shard: int, count: int) -> dict[str, pa.Array]:
    """Columns of a shard's photographs: animal after animal, none of which is in another shard."""
    animal = np.arange(count) // ANIMAL
    return {
        "identity": pa.array(np.char.mod(f"demo__{shard}-%d", animal)),
        "distractor": pa.repeat(pa.scalar(value=False), count),
        "novel": pa.repeat(pa.scalar(value=False), count),
    }


def begin_rows(manifest: Manifest) -> IdentityPlan:
    """What a training does with every row, to its plan."""
    rows, names = manifest.rows("train"), np.array(manifest.column("identity")).astype(str)
    labels = number_identities(names, sorted(set(names[rows].tolist())))
    return training_order([rows], labels, OPTIONS, seed=0)


def begin_shards(manifest: LazyManifest) -> IdentityShardPlan:
    """The same over shards."""
    trained = read_entries(manifest, "train")
    sorted(pc.unique(trained.name).to_pylist())  # the animals by name, whose places are their numbers
    index = make_index(manifest, trained, distractors=True, instances=OPTIONS.num_instances)
    return IdentityShardPlan(sets=(index,), seed=0)


PLAN = PlanBenchmark(
    drawn=DrawnRows(schema=SCHEMA, draw=draw_photos, card={"stars": True, "protocol": "made up"}, distinct=True),
    ways=ways(begin_rows, begin_shards),
)
