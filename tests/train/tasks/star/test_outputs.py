"""What a re-identification run leaves behind: tables and summary of one search, which agree to the last digit shown."""

import csv
import json

import numpy as np
import pytest

from tarpon.train.tasks.star.metrics.collect import embeddings_path
from tarpon.train.tasks.star.metrics.embeddings import (
    GALLERY,
    NEW,
    QUERY,
    EmbeddingRows,
    save_embeddings,
    search_split,
)
from tarpon.train.tasks.star.metrics.search_options import Reranking, SearchOptions
from tarpon.train.tasks.star.outputs import find_run, fit_novelty, format_csv, write_outputs

RANKS = (1, 5, 10, 20)
FILES = {
    "star_identity_metrics.csv",
    "star_folder_metrics.csv",
    "star_evaluation_summary.json",
    "cmc.png",
    "ranks_by_identity.png",
    "similarities.png",
}


def rows(seed: int = 0, *, new: bool = True, skipped: int = 2) -> EmbeddingRows:
    """80 queries of 12 animals on outings of two names, 150 gallery rows, three photographs of new animals."""
    rng = np.random.default_rng(seed)
    count = 80 + 150 + 3 * new
    label = np.arange(count) % 12
    role = np.where(np.arange(count) < 80, QUERY, GALLERY).astype(np.int8)
    role[230:] = NEW
    identity = np.array([f"{'AB'[k % 2]}__{k:02}" for k in label])
    identity[:skipped] = "A__nowhere"
    identity[230:] = "B__new"
    outing = np.array([f"{name.replace('__', '/')}/{i % 5 % 2}_2_2024" for i, name in enumerate(identity)])
    embedding = (rng.normal(size=(12, 8))[label] + 1.2 * rng.normal(size=(count, 8))).astype(np.float32)
    return EmbeddingRows(
        protocol="query: test; gallery: train and val",
        row=np.arange(count),
        key=np.arange(count).astype(str),
        identity=identity,
        outing=outing,
        dataset=np.array([name[0] for name in identity]),
        role=role,
        embedding=embedding,
        embedding_flips=embedding + 0.1 * rng.normal(size=embedding.shape).astype(np.float32),
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    reranking = Reranking(k1=6, k2=3)
    found = search_split(rows(), SearchOptions(reranking=reranking))
    paths = write_outputs(folder, found, novelty=fit_novelty(found), search_options=SearchOptions(reranking=reranking))
    assert {path.name for path in paths} == {path.name for path in folder.iterdir()} == FILES
    return folder, found


def table(path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def test_columns_are_those_published(written):
    folder, _ = written
    shares = ["mAP", "CMC@1", "CMC@5", "CMC@10", "CMC@20"]
    by_identity, by_folder = (table(folder / f"star_{kind}_metrics.csv") for kind in ("identity", "folder"))
    head = ["identity", "folder", "mean_rank", "best_rank", "worst_rank", "num_queries"]
    assert list(by_identity[0]) == head + shares
    assert list(by_folder[0]) == ["folder", "num_identities", "mean_rank", "std_rank", "num_queries", *shares]
    for records in (by_identity, by_folder):
        precision = [float(record["mAP"]) for record in records]
        assert precision == sorted(precision, reverse=True)
        assert all(len(record[name].partition(".")[2]) == 4 for record in records for name in ("mAP", "CMC@5", "mean_rank"))
    assert {record["best_rank"] for record in by_identity} >= {"1"}


@pytest.mark.parametrize("kind", ["identity", "folder"])
def test_the_summary_is_the_mean_of_the_tables(written, kind):
    folder, _ = written
    held = json.loads((folder / "star_evaluation_summary.json").read_text())
    records = table(folder / f"star_{kind}_metrics.csv")
    weight = np.array([int(record["num_queries"]) for record in records])
    assert weight.sum() == held["num_queries"] == 78
    for name in ("mAP", "mean_rank", *(f"CMC@{k}" for k in RANKS)):
        values = np.array([float(record[name]) for record in records])
        assert (values * weight).sum() / weight.sum() == pytest.approx(held[name], abs=5e-5)


def test_the_summary_says_what_it_counts(written):
    folder, found = written
    held = json.loads((folder / "star_evaluation_summary.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    by_identity, by_folder = (table(folder / f"star_{kind}_metrics.csv") for kind in ("identity", "folder"))
    assert held["num_identities"] == len(by_identity) == 12
    assert held["num_folders"] == len(by_folder)
    assert {record["folder"].count("/") for record in by_folder} == {2}  # whole paths
    assert held["num_skipped_queries"] == 2
    assert held["num_gallery"] == 150
    assert held["protocol"] == "query: test; gallery: train and val"
    for name, retrieval in found.variants().items():
        valid = retrieval.valid
        assert held[name]["map"] == pytest.approx(retrieval.average_precision[valid].mean())
    assert held["mAP"] == held["plain"]["map"]
    assert len({held[name]["map"] for name in ("plain", "flips", "reranked")}) == 3
    assert (held["reranked"]["k1"], held["reranked"]["share"]) == (6, 0.3)
    assert "all the others" in held["reranked"]["transductive"]
    assert "transductive" not in held["plain"]
    assert held["open_set"]["num_new_queries"] == 3
    assert held["new_animal"]["slope"] < 0
    assert held["by_dataset"]["num_datasets"] == 2


def test_a_run_folder_is_read_again(tmp_path):
    with pytest.raises(ValueError, match=r"no predictions/test\.parquet"):
        find_run(tmp_path, SearchOptions())
    save_embeddings(embeddings_path(tmp_path, "val"), rows(1, new=False))
    split, found, novelty = find_run(tmp_path, SearchOptions())
    assert (split, novelty) == ("val", fit_novelty(found))
    save_embeddings(embeddings_path(tmp_path, "test"), rows(2))
    split, found, again = find_run(tmp_path, SearchOptions())
    assert (split, again) == ("test", novelty)  # the decision is never learnt on the test split
    names = [path.name for path in write_outputs(tmp_path, found, split=split, novelty=novelty)]
    before = {name: (tmp_path / name).read_bytes() for name in names if not name.endswith("png")}
    write_outputs(tmp_path, find_run(tmp_path, SearchOptions())[1], split=split, novelty=novelty)
    assert before == {name: (tmp_path / name).read_bytes() for name in before}
    assert not list(tmp_path.glob(".*"))


def test_without_flips_reranking_and_new_animals(tmp_path):
    given = rows(new=False, skipped=0)
    bare = EmbeddingRows(**{name: getattr(given, name) for name in vars(given) if name != "embedding_flips"})
    write_outputs(tmp_path, search_split(bare, SearchOptions()), prefix="wildlife", split="val")
    held = json.loads((tmp_path / "wildlife_evaluation_summary.json").read_text())
    assert not {"flips", "reranked", "open_set", "new_animal"} & set(held)
    assert held["split"] == "val"


def test_names_with_commas_and_quotes_survive():
    text = format_csv([{"identity": 'a,"b"\nc', "map": 0.123456, "num_queries": 3}], ("identity", "num_queries", "map"))
    assert text.splitlines()[0] == "identity,num_queries,mAP"
    record = next(csv.DictReader(text.splitlines(keepends=True)))
    assert record == {"identity": 'a,"b"\nc', "num_queries": "3", "mAP": "0.1235"}
