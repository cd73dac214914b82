"""Batches from several processes, with padding, become one searched split."""

import numpy as np
import pytest
import torch

from tarpon.train.tasks.star.figures.split import draw_split
from tarpon.train.tasks.star.metrics.collect import EmbeddingMetric, embeddings_path
from tarpon.train.tasks.star.metrics.embeddings import (
    GALLERY,
    NEW,
    QUERY,
    RowNames,
    SearchOptions,
    load_embeddings,
    search_split,
)
from tarpon.train.tasks.star.metrics.scores import score
from tarpon.train.tasks.star.metrics.search_options import Reranking

ROWS = 90
LABEL = np.arange(ROWS) % 10
IDENTITY = np.array([f"{'ST'[k % 2]}__{k}" for k in LABEL])
ROLES = np.where(np.arange(ROWS) < 30, QUERY, GALLERY).astype(np.int8)
ROLES[[0, 4, 8]] = NEW  # as if their animals were not in the gallery
ROLES[40] = 0
NAMES = RowNames(
    key=np.array([f"key{i:02}" for i in range(ROWS)]),
    identity=np.where(ROLES == NEW, "S__new", IDENTITY),
    outing=np.array([f"{name}/{i % 3}_2_2024" for i, name in enumerate(IDENTITY)]),
    dataset=np.array([name[0] for name in IDENTITY]),
)


@pytest.fixture
def outputs() -> dict[str, torch.Tensor]:
    """Embeddings of all rows and one more for padding, which would spoil any score."""
    made = torch.Generator().manual_seed(0)
    centre = torch.randn(10, 8, generator=made)
    plain = centre[LABEL] + 0.8 * torch.randn(ROWS, 8, generator=made)
    both = {"embedding": plain, "embedding_flips": plain + 0.1 * torch.randn(ROWS, 8, generator=made)}
    return {name: torch.cat([value, torch.full((1, 8), torch.nan)]) for name, value in both.items()}


def read(outputs, ranks: list[list[list[int]]], **options):
    made = {"roles": ROLES, "protocol": "queries of val among train", "resamples": 50} | options
    parts = []
    for batches in ranks:
        metric = EmbeddingMetric(NAMES, **made)
        for rows in batches:
            at = torch.tensor(rows)
            metric.add({name: value[at] for name, value in outputs.items()}, {"row": at})
        parts.append(metric.part())
    return EmbeddingMetric(NAMES, **made).read(parts)


ALL = [[list(range(ROWS))]]


def test_scores_do_not_depend_on_batches_processes_and_padding(outputs):
    one = read(outputs, ALL)
    order = np.random.default_rng(0).permutation(ROWS).tolist()
    two = read(outputs, [[order[:30], order[60:80], [*order[80:], -1, -1]], [order[30:60], [-1] * 5], [[-1]]])
    assert one.scalars == two.scalars
    assert one.scalars["num_valid_queries"] == 27
    assert one.scalars["num_gallery"] == 59
    assert 0.2 < one.scalars["map"] < 1
    assert all(isinstance(value, float) and np.isfinite(value) for value in one.scalars.values())


def test_what_is_asked_for_is_told_apart(outputs):
    got = read(outputs, ALL, search_options=SearchOptions(reranking=Reranking(k1=5, k2=2))).scalars
    for prefix in ("", "flips_", "reranked_"):
        assert {f"{prefix}{name}" for name in ("map", "cmc_1", "cmc_5", "cmc_10", "cmc_20", "minp", "mean_rank")} <= set(got)
    assert got["reranked_map"] != got["map"] != got["flips_map"]
    assert got["map_macro"] == pytest.approx((got["map_S"] + got["map_T"]) / 2)
    assert {"map_low", "map_high", "open_auroc", "open_tpr_at_fpr_5"} <= set(got)
    assert got["num_new_queries"] == 3
    bare = read({"embedding": outputs["embedding"]}, ALL, resamples=0).scalars
    assert not any(name.startswith(("flips", "reranked")) or name.endswith("_low") for name in bare)
    assert bare["map"] == got["map"]


def test_scores_are_those_of_the_file(outputs, tmp_path):
    result = read(outputs, ALL)
    result.save(tmp_path / "predictions" / "val.npz")  # as the run folder asks
    rows = load_embeddings(embeddings_path(tmp_path, "val"))
    np.testing.assert_array_equal(rows.embedding, np.delete(outputs["embedding"][:ROWS].numpy(), 40, 0))
    assert rows.protocol == "queries of val among train"
    found = search_split(rows, SearchOptions())
    again = score(found.plain, identities=found.query_values("identity"), resamples=50)
    assert again == {name: result.scalars[name] for name in again}


def test_low_precision_outputs_and_a_diverged_model(outputs):
    half = read({name: value.bfloat16() for name, value in outputs.items()}, ALL, resamples=0)
    assert half.scalars["map"] == pytest.approx(read(outputs, ALL, resamples=0).scalars["map"], abs=0.02)
    outputs["embedding"][50, 3] = torch.nan
    with pytest.raises(ValueError, match="not all finite"):
        read(outputs, ALL)


def test_no_query_with_a_match_is_refused(outputs):
    with pytest.raises(ValueError, match="without a match"):
        read(outputs, ALL, roles=np.where(LABEL == 1, QUERY, GALLERY))


def test_pictures_are_rgb(outputs):
    shown = draw_split(read(outputs, ALL).rows)
    assert set(shown) == {"cmc", "ranks", "similarity"}
    assert all(pixels.dtype == np.uint8 and pixels.shape[-1] == 3 for pixels in shown.values())


@pytest.mark.gpu
def test_gpu_finds_what_the_cpu_finds(outputs):
    search_options = SearchOptions(reranking=Reranking(k1=5, k2=2))
    cpu = read(outputs, ALL, search_options=search_options).scalars
    gpu = read(
        {name: value.cuda() for name, value in outputs.items()}, ALL, search_options=search_options, device="cuda"
    ).scalars
    assert gpu == pytest.approx(cpu, abs=1e-6)
