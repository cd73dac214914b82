"""Columns made by shard: what a whole column holds, in the order asked for, of shards of which a few are kept."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from tarpon.shards.by_shard import ByShard
from tarpon.shards.lazy_manifest import ChosenRows, LazyManifest, open_lazily
from tarpon.shards.manifest import open_manifest, write_card
from tarpon.shards.shard_table import write_shard_table
from tarpon.tools.bench.plan_sets import DrawnRows, write_set

ROWS, SHARDS = 95, 10


@pytest.fixture(scope="module")
def lazy(tmp_path_factory) -> LazyManifest:
    """95 rows in 10 shards, labels 0 to 94."""
    root, labels = tmp_path_factory.mktemp("by_shard") / "set", iter(range(ROWS))
    drawn = DrawnRows(draw=lambda shard, count: {"label": pa.array([next(labels) for _ in range(count)], pa.int32())})
    write_set(root, drawn, rows=ROWS, shards=SHARDS)
    manifest = open_manifest(root)
    added = write_shard_table(manifest.store, manifest.table, drawn.schema, rows_sum=manifest.fingerprint())
    write_card(manifest.store, manifest.card | added)
    return open_lazily(root)


def squares(made: list[int]) -> Callable:
    def make(held, first):
        made.append(first)
        labels = np.asarray(held.column("label"), np.int64)
        return labels, np.stack([labels**2, labels + first], 1)

    return make


def test_rows_come_in_the_order_asked_for(lazy):
    by_shard = ByShard(manifest=lazy, make=squares([]))
    rows = np.random.default_rng(0).integers(0, ROWS, 200)
    one, two = by_shard.take(rows)
    np.testing.assert_array_equal(one, rows)
    np.testing.assert_array_equal(two[:, 0], rows**2)
    firsts = np.array([lazy.first_row(shard) for shard in range(SHARDS)])
    np.testing.assert_array_equal(two[:, 1], rows + firsts[lazy.tar_numbers(rows)])
    assert by_shard.at(50)[0] == 50
    assert by_shard.at(50)[1].tolist() == [2500, 50 + firsts[lazy.tar_numbers(np.array([50]))[0]]]


def test_only_so_many_shards_are_kept(lazy):
    made = []
    by_shard = ByShard(manifest=lazy, make=squares(made), held=2)
    for shard in (0, 1, 0, 2, 0, 1):
        by_shard.of(shard)
    assert [lazy.tar_numbers(np.array([first]))[0] for first in made] == [0, 1, 2, 1]


def test_columns_that_no_manifest_keeps_are_read_anew(lazy):
    by_shard = ByShard(
        manifest=lazy, make=lambda held, _: (np.array(held.column("source_sha256")),), columns=("source_sha256",)
    )
    whole = np.array(open_manifest(lazy.root).column("source_sha256"))
    np.testing.assert_array_equal(by_shard.take(np.arange(ROWS))[0], whole)


def test_chosen_rows_are_a_sequence_of_which_none_is_held():
    counts = np.array([2, 0, 3])
    chosen = ChosenRows(counts, lambda shard: 10 * shard + np.arange(counts[shard]))
    assert [*chosen] == [0, 1, 20, 21, 22]
    assert (len(chosen), chosen[-1]) == (5, 22)
    np.testing.assert_array_equal(np.asarray(chosen), [0, 1, 20, 21, 22])
    with pytest.raises(IndexError):
        chosen[5]
