"""The plan over shards: how often what is seen in training, from what `shards.parquet` tells, without reading every trial.

C classes after merging, K classes as stored, S shards.
"""

import numpy as np

from tarpon.shards.lazy_manifest import LazyManifest
from tarpon.shards.manifest import list_cells
from tarpon.shards.sampling.shard_plan import ShardPlan
from tarpon.shards.sources.mouse.summary import share_of_frames
from tarpon.train.tasks.mouse.options import MouseOptions
from tarpon.train.tasks.mouse.sampling import boost_factors, class_table, weigh_trials

LOOKED_AT = 2048  # trials from which the table's shares of what is drawn are estimated
AT_ONCE = 256  # of them: all together would take 50 MB


def shard_sampling(
    manifest: LazyManifest, options: MouseOptions, *, seed: int, counts: np.ndarray
) -> tuple[ShardPlan, np.ndarray | None, str]:
    """As `sampling.sampling`, with a plan over shards.

    A trial's weight is the mean factor of its frames, not of its windows' frames: that is known of a shard from its sums.
    """
    factors = boost_factors(options, counts)
    uniform = bool((factors == 1).all())
    extra = np.array([factors[new] - 1 if new >= 0 else 0.0 for new in options.merge])  # (K,) beyond a weight of 1

    def rows_of(shard: int) -> np.ndarray:
        return manifest.split_rows("train", shard)

    def weights_of(shard: int) -> np.ndarray:
        rows = manifest.read_shard(shard)
        return 1 + (share_of_frames(rows) * extra).sum(-1)[manifest.split_mask("train", shard)]

    order = ShardPlan(
        counts=manifest.split_counts("train"),
        rows_of=rows_of,
        seed=seed,
        totals=None if uniform else _weigh_shards(manifest, extra),
        weights_of=None if uniform else weights_of,
    )
    shards = _choose_shards(order)
    looked_at = np.concatenate([rows_of(shard) for shard in shards])[:LOOKED_AT]
    weights = np.concatenate([weights_of(shard) for shard in shards])[:LOOKED_AT]
    drawn = np.zeros(len(factors))
    for begin in range(0, len(looked_at), AT_ONCE):
        _, seen = weigh_trials(manifest, looked_at[begin : begin + AT_ONCE], options, factors=factors)
        drawn += (weights[begin : begin + AT_ONCE, None] * seen).sum(0)
    table = class_table(options, counts, drawn=drawn, factors=factors)
    note = f"  drawn: estimated from {len(looked_at)} of {int(order.counts.sum())} trials"
    return order, None if uniform else factors, f"{table}\n{note}"


def _weigh_shards(manifest: LazyManifest, extra: np.ndarray) -> np.ndarray:
    """(S,) sum of the weights of a shard's training trials; no matrix product, whose last bit depends on the machine."""
    values, offsets = list_cells(manifest.summary("train", "share"))
    totals = manifest.split_counts("train").astype(np.float64)
    totals[np.diff(offsets) > 0] += (values.reshape(-1, len(extra)) * extra).sum(-1)
    return totals


def _choose_shards(order: ShardPlan) -> list[int]:
    """Shards with `LOOKED_AT` trials or all there are, in an order of their own."""
    shards = np.random.default_rng(order.seed).permutation(np.flatnonzero(order.counts))
    upto = np.cumsum(order.counts[shards])
    return shards[: int(np.searchsorted(upto, LOOKED_AT)) + 1].tolist()
