"""Scores of a search by hand, by group, and what they say of queries that cannot be scored."""

import numpy as np
import pytest
import torch

from tarpon.train.tasks.star.metrics.retrieval import Retrieval, search
from tarpon.train.tasks.star.metrics.scores import cmc_curve, score, score_datasets, score_folders, score_identities

IDENTITY = np.array(["a", "a", "b", "b", "c", "x"])
OUTING = np.array(["S/a/1_2_2024", "S/a/2_3_2024", "S/b/1_2_2024", "S/b/1_2_2024", "T/c/1_2_2024", "T/x/9_9_2024"])


def made() -> Retrieval:
    """Six queries: the first matches at rank 1, 3, 2, 12 and 7, one match each but the second of two; the last has none."""
    first = np.array([1, 3, 2, 12, 7, 0])
    matches = np.array([1, 2, 1, 1, 1, 0])
    worst = np.array([1, 6, 2, 12, 7, 0])
    nan = np.nan
    return Retrieval(
        matches=matches,
        candidates=np.full(6, 30),
        first_rank=first,
        worst_rank=worst,
        average_precision=np.array([1, (1 / 3 + 2 / 6) / 2, 1 / 2, 1 / 12, 1 / 7, nan]),
        average_precision_at_r=np.array([1.0, 0, 0, 0, 0, nan]),
        inverse_negative_penalty=np.array([1, 2 / 6, 1 / 2, 1 / 12, 1 / 7, nan]),
        best_own=np.array([0.9, 0.5, 0.5, 0.2, 0.3, nan], np.float32),
        best_other=np.array([0.4, 0.6, 0.7, 0.8, 0.5, 0.6], np.float32),
        nearest=np.zeros((6, 3), np.int64),
        similarity=np.zeros((6, 3), np.float32),
    )


def test_means_are_over_the_queries_with_a_match():
    scores = score(made(), identities=IDENTITY, resamples=0)
    ap = [1, 1 / 3, 1 / 2, 1 / 12, 1 / 7]
    assert scores == pytest.approx(
        {
            "map": np.mean(ap),
            "map_at_r": 0.2,
            "minp": np.mean([1, 1 / 3, 1 / 2, 1 / 12, 1 / 7]),
            "cmc_1": 1 / 5,
            "cmc_5": 3 / 5,
            "cmc_10": 4 / 5,
            "cmc_20": 1,
            "mean_rank": 5.0,
            "best_rank": 1,
            "worst_rank": 12,
            "num_valid_queries": 5,
            "num_skipped_queries": 1,
            "num_identities": 3,
        }
    )
    assert all(isinstance(value, float) for value in scores.values())


def test_by_identity():
    records = score_identities(made(), identities=IDENTITY, outings=OUTING)
    assert [record["identity"] for record in records] == ["a", "b", "c"]  # by map, highest first; x is not scored
    first = records[0]
    assert first["folder"] == "S/a/1_2_2024;S/a/2_3_2024"
    assert (first["mean_rank"], first["best_rank"], first["worst_rank"], first["num_queries"]) == (2.0, 1, 3, 2)
    assert first["map"] == pytest.approx(2 / 3)
    assert [first[f"cmc_{k}"] for k in (1, 5, 10, 20)] == [0.5, 1, 1, 1]
    assert [records[1][f"cmc_{k}"] for k in (1, 5, 10, 20)] == [0, 0.5, 0.5, 1]


def test_by_folder_keeps_folders_of_one_name_apart():
    records = {record["folder"]: record for record in score_folders(made(), identities=IDENTITY, outings=OUTING)}
    assert set(records) == {"S/a/1_2_2024", "S/a/2_3_2024", "S/b/1_2_2024", "T/c/1_2_2024"}
    two = records["S/b/1_2_2024"]
    assert (two["num_queries"], two["num_identities"], two["mean_rank"]) == (2, 1, 7.0)
    assert two["std_rank"] == pytest.approx(np.std([2, 12], ddof=1))
    assert records["T/c/1_2_2024"]["std_rank"] == 0.0  # of a single query, never NaN
    shared = score_folders(made(), identities=IDENTITY, outings=np.full(6, "pool"))
    assert [(record["num_identities"], record["num_queries"]) for record in shared] == [(3, 5)]


def test_by_dataset_and_macro_mean():
    names = np.array(["S", "S", "S", "T", "T", "T"])
    got = score_datasets(made(), datasets=names, least=2)
    assert got["map_S"] == pytest.approx(np.mean([1, 1 / 3, 1 / 2]))
    assert got["map_T"] == pytest.approx(np.mean([1 / 12, 1 / 7]))  # the query without a match is left out
    assert got["map_macro"] == pytest.approx((got["map_S"] + got["map_T"]) / 2)
    assert (got["cmc_1_S"], got["cmc_1_T"], got["cmc_1_macro"], got["num_datasets"]) == (
        pytest.approx(1 / 3),
        0,
        pytest.approx(1 / 6),
        2,
    )
    one = score_datasets(made(), datasets=names, least=3)  # T is told, and is no part of the mean
    assert (one["map_T"], one["queries_T"], one["queries_S"], one["num_datasets"]) == (got["map_T"], 2, 3, 1)
    assert one["map_macro"] == one["map_S"] == got["map_S"]
    none = score_datasets(made(), datasets=names)  # published: at least four
    assert {"map_S", "map_T"} <= none.keys()
    assert not [name for name in none if name.endswith("macro") or name == "num_datasets"]


def test_curve_is_the_share_found_within_each_rank():
    curve = cmc_curve(made(), most=13)
    assert curve[[0, 1, 2, 5, 6, 11, 12]].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.6, 0.8, 1, 1])
    assert cmc_curve(made(), most=2).tolist() == pytest.approx([0.2, 0.4])


def test_all_skipped_is_refused():
    with pytest.raises(ValueError, match="all 1 queries are without a match"):
        score(made().take(np.array([5])), identities=IDENTITY[5:])


def test_intervals_hold_the_score_and_are_over_identities():
    made_by = torch.Generator().manual_seed(0)
    labels = np.arange(300) % 30
    centre = torch.randn(30, 16, generator=made_by)
    embedding = centre[labels] + 1.5 * torch.randn(300, 16, generator=made_by)
    found = search(embedding[:100], embedding[100:], query_labels=labels[:100], gallery_labels=labels[100:])
    scores = score(found, identities=labels[:100], resamples=300)
    for name in ("map", "cmc_1", "minp"):
        assert scores[f"{name}_low"] < scores[name] < scores[f"{name}_high"]
    again = score(found, identities=labels[:100], resamples=300)
    assert scores == again
    one = score(found, identities=np.zeros(100), resamples=300)  # of one identity no spread can be known
    assert "map_low" not in one
