"""Processes, here threads, that search for their own queries: scores and files are those of one that searches for all."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tarpon.pipelines.fallback_rows import left_out
from tarpon.shards.sampling.plan import cut_stretches
from tarpon.train.prediction_files import list_shares
from tarpon.train.tasks.star.figures.split import draw_split
from tarpon.train.tasks.star.metrics import local_search
from tarpon.train.tasks.star.metrics.collect import EmbeddingMetric, embeddings_path
from tarpon.train.tasks.star.metrics.embeddings import GALLERY, NEW, QUERY, RowNames, SearchOptions, load_embeddings
from tarpon.train.tasks.star.metrics.local_search import LocalRescorer
from tarpon.train.tasks.star.metrics.search_options import Expansion, Reranking
from tarpon.train.tasks.star.metrics.shares import SharedEmbeddingMetric

ROWS = 90
LABEL = np.arange(ROWS) % 10
ROLES = np.where(np.arange(ROWS) < 30, QUERY, GALLERY).astype(np.int8)
ROLES[[0, 4, 8]] = NEW
ROLES[40] = 0
ROLES[60:66] = QUERY + GALLERY
IDENTITY = np.array([f"{'ST'[k % 2]}__{k}" for k in LABEL])
NAMES = RowNames(
    key=np.array([f"key{i:02}" for i in range(ROWS)]),
    identity=np.where(ROLES == NEW, "S__new", IDENTITY),
    outing=np.array([f"{name}/{i % 3}_2_2024" for i, name in enumerate(IDENTITY)]),
    dataset=np.array([name[0] for name in IDENTITY]),
)
PROTOCOL = "queries of val among train"


class Threads:
    """An exchange between threads of one process."""

    def __init__(self, held: dict, barrier: threading.Barrier, rank: int, world: int) -> None:
        self._held, self._barrier, self.rank, self.world = held, barrier, rank, world

    def gather(self, value: object) -> list:
        self._barrier.wait()  # all have read what was held before
        self._held[self.rank] = value
        self._barrier.wait()
        return [self._held[rank] for rank in range(self.world)]

    def pass_tiles(self, rows, counts, *, size):
        for part in self.gather(rows):
            for first in range(0, len(part), 7):  # whatever the size: several tiles of each
                yield part[first : first + 7]


def outputs(seed: int = 0) -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    centre = torch.randn(10, 8, generator=made)
    plain = centre[LABEL] + 0.8 * torch.randn(ROWS, 8, generator=made)
    return {"embedding": plain, "embedding_flips": plain + 0.1 * torch.randn(ROWS, 8, generator=made)}


def fill(metric, out: dict[str, torch.Tensor], rows: np.ndarray, bad: tuple[int, ...]) -> None:
    for batch in np.array_split(rows, 2):
        at = torch.from_numpy(batch.astype(np.int64))
        told = torch.tensor([left_out(row) if row in bad else row for row in batch.tolist()] + [-1])
        metric.add({name: torch.cat([value[at], value[:1]]) for name, value in out.items()}, {"row": told})


def run_alone(out, *, bad=(), **options):
    metric = EmbeddingMetric(NAMES, roles=ROLES, protocol=PROTOCOL, resamples=50, **options)
    fill(metric, out, np.flatnonzero(ROLES), bad)
    return metric.read([metric.part()])


def run_shared(
    out,
    world: int,
    *,
    bad=(),
    roles=ROLES,
    after: Callable = lambda metric: None,
    rescorer: Callable = lambda: None,
    **options,
):
    """What rank 0 reads of `world` processes; `after` is done by each with its metric, `rescorer` makes one for each."""
    rows, held, barrier = np.flatnonzero(ROLES), {}, threading.Barrier(world)
    cuts = cut_stretches(len(rows), world=world)
    told = {"roles": roles, "protocol": PROTOCOL, "resamples": 50, "search_options": SearchOptions(), **options}

    def work(rank: int):
        metric = SharedEmbeddingMetric(NAMES, exchange=Threads(held, barrier, rank, world), rescorer=rescorer(), **told)
        fill(metric, out, rows[cuts[rank] : cuts[rank + 1]], bad)
        try:
            return metric, metric.part()
        except BaseException:
            barrier.abort()  # nobody waits for this one
            raise

    with ThreadPoolExecutor(world) as pool:
        futures = [pool.submit(work, rank) for rank in range(world)]
    for error in filter(None, (future.exception() for future in futures)):
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    done = [future.result() for future in futures]
    for metric, _ in done:
        after(metric)
    return done[0][0].read([part for _, part in done])


@pytest.mark.parametrize(("world", "within"), [(1, False), (2, False), (3, True), (8, False)])
def test_scores_are_those_of_one_process(world, within):
    options = {"search_options": SearchOptions(within_dataset=within)}
    alone, shared = run_alone(outputs(), **options), run_shared(outputs(), world, **options)
    assert shared.scalars == pytest.approx(alone.scalars, rel=1e-12, abs=1e-7)
    assert {"map_low", "flips_map", "open_auroc", "map_S", "num_new_queries"} <= shared.scalars.keys()
    assert shared.files == world
    assert shared.rows.rows.embedding.shape == (89, 0)  # rank 0 holds none


WAYS = {
    "expanded": {"expansion": Expansion(count=4)},
    "expanded within": {"expansion": Expansion(count=4), "within_dataset": True},
    "expanded by more than there are": {"expansion": Expansion(count=70, alpha=0.0)},
    "reranked": {"reranking": Reranking(k1=6, k2=3)},
    "both": {"reranking": Reranking(k1=6, k2=3), "expansion": Expansion(count=2)},
}


@pytest.mark.parametrize("world", [2, 8])
@pytest.mark.parametrize("way", WAYS)
def test_other_ways_of_searching_score_as_in_one_process(way, world):
    options = {"search_options": SearchOptions(**WAYS[way])}
    alone, shared = run_alone(outputs(), **options), run_shared(outputs(), world, **options)
    assert shared.scalars == pytest.approx(alone.scalars, rel=1e-12, abs=1e-7)
    assert f"{way.split()[0].replace('both', 'reranked')}_map" in shared.scalars
    assert shared.files == world


@pytest.mark.parametrize("world", [1, 3])
def test_local_features_are_compared_by_each_process_for_its_own_queries(world, monkeypatch, tmp_path):
    table, looked_at = np.random.default_rng(0).integers(0, 4, (ROWS, ROWS)), []

    class Matcher:
        """Pictures are their rows' numbers; the table tells what they share."""

        def describe(self, picture: bytes) -> int:
            return int(picture)

        def count_matches(self, first: int, second: int) -> int:
            looked_at.append(first)
            return int(table[first, second])

    monkeypatch.setattr(local_search, "SiftMatcher", Matcher)
    options, path = {"search_options": SearchOptions(local=6, expansion=Expansion(count=3))}, tmp_path / "predictions" / "test"

    def make() -> LocalRescorer:
        return LocalRescorer(lambda row: str(row).encode(), shown=False)

    alone = run_alone(outputs(), rescorer=make(), **options)
    alone.save(path)
    want, asked = load_embeddings(embeddings_path(tmp_path, "test")), sorted(looked_at)
    embeddings_path(tmp_path, "test").unlink()
    looked_at.clear()
    shared = run_shared(outputs(), world, after=lambda metric: metric.save(path), rescorer=make, **options)
    assert sorted(looked_at) == asked
    assert alone.scalars.pop("local_seconds") > 0
    assert shared.scalars.pop("local_seconds") > 0
    assert shared.scalars == pytest.approx(alone.scalars, rel=1e-12, abs=1e-7)
    assert shared.scalars["local_map"] != shared.scalars["map"]
    held = load_embeddings(embeddings_path(tmp_path, "test"))
    for name in ("row", "candidates", "shared", "embedding"):
        np.testing.assert_array_equal(getattr(held, name), getattr(want, name))


def test_pictures_are_those_of_one_process():
    alone, shared = draw_split(run_alone(outputs()).rows), draw_split(run_shared(outputs(), 3).rows)
    assert alone.keys() == shared.keys()
    for name, pixels in alone.items():
        np.testing.assert_array_equal(shared[name], pixels)


@pytest.mark.parametrize("world", [2, 3])
def test_rows_that_cannot_be_read_are_neither_asked_nor_found(world):
    bad = (5, 44, 89)
    alone, shared = run_alone(outputs(), bad=bad), run_shared(outputs(), world, bad=bad)
    assert shared.scalars == pytest.approx(alone.scalars, rel=1e-12, abs=1e-7)
    assert shared.scalars["num_gallery"] == run_alone(outputs()).scalars["num_gallery"] - 2


@pytest.mark.parametrize("world", [1, 3])
def test_the_files_together_are_that_of_one_process(world, tmp_path):
    path = tmp_path / "predictions" / "val.npz"
    run_alone(outputs()).save(path)
    want = load_embeddings(embeddings_path(tmp_path, "val"))
    embeddings_path(tmp_path, "val").unlink()
    run_shared(outputs(), world, after=lambda metric: metric.save(path))
    assert len(list_shares(embeddings_path(tmp_path, "val"))) == world
    held = load_embeddings(embeddings_path(tmp_path, "val"))
    assert held.protocol == want.protocol
    for name in ("row", "key", "identity", "outing", "dataset", "role", "embedding", "embedding_flips"):
        np.testing.assert_array_equal(getattr(held, name), getattr(want, name))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"roles": np.where(ROLES == QUERY, 0, ROLES) & ~QUERY}, "0 queries and"),
        ({"roles": np.where(np.arange(ROWS) == 40, GALLERY, ROLES)}, "1 rows of the split were not embedded, key40"),
    ],
)
def test_what_cannot_be_searched_is_told_by_all(change, said):
    with pytest.raises(ValueError, match=said):
        run_shared(outputs(), 2, **change)


def test_a_diverged_model_is_told_by_all():
    out = outputs()
    out["embedding"][70, 2] = torch.nan
    with pytest.raises(ValueError, match="not all finite"):
        run_shared(out, 3)
