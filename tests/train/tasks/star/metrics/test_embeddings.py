"""The file of embeddings gives back what was written, and each search is the one its roles ask for."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tarpon.train.tasks.star.metrics.embeddings import (
    GALLERY,
    NEW,
    QUERY,
    EmbeddingRows,
    RowNames,
    SearchOptions,
    join_batches,
    load_embeddings,
    save_embeddings,
    search_split,
)
from tarpon.train.tasks.star.metrics.rerank import rerank
from tarpon.train.tasks.star.metrics.retrieval import search
from tarpon.train.tasks.star.metrics.search_options import Reranking

ROWS = 60


def rows(*, flips: bool = True, role: np.ndarray | None = None) -> EmbeddingRows:
    """A third queries, the rest gallery; the last three rows are new animals."""
    rng = np.random.default_rng(0)
    label = np.arange(ROWS) % 8
    if role is None:
        role = np.where(np.arange(ROWS) % 3 == 0, QUERY, GALLERY)
        role[-3:] = NEW
    identity = np.array([f"S{k % 2}__{k}é" for k in label])
    identity[-3:] = "S0__new"
    embedding = (rng.normal(size=(8, 6))[label] + rng.normal(size=(ROWS, 6))).astype(np.float32)
    return EmbeddingRows(
        protocol="queries of val among train",
        row=np.arange(ROWS) * 2,
        key=np.array([f"k{i}" for i in range(ROWS)]),
        identity=identity,
        outing=np.array([f"{name}/1_2_2024" for name in identity]),
        dataset=np.array([name[:2] for name in identity]),
        role=role.astype(np.int8),
        embedding=embedding,
        embedding_flips=embedding + rng.normal(size=(ROWS, 6)).astype(np.float32) if flips else None,
    )


@pytest.mark.parametrize("flips", [True, False])
def test_file_and_back(tmp_path, flips):
    path = tmp_path / "predictions" / "val.parquet"
    save_embeddings(path, rows(flips=flips))
    got, want = load_embeddings(path), rows(flips=flips)
    assert got.protocol == want.protocol
    for name in ("row", "key", "identity", "outing", "dataset", "role", "embedding"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    assert got.embedding.dtype == np.float32
    assert (got.embedding_flips is not None) == flips
    assert [found.name for found in path.parent.iterdir()] == ["val.parquet"]
    schema = pq.read_schema(path)
    assert schema.field("embedding").type == pa.list_(pa.float32(), 6)  # anyone's reader sees vectors


def test_half_precision_is_kept_as_such(tmp_path):
    save_embeddings(tmp_path / "x.parquet", rows(), dtype="float16")
    got = load_embeddings(tmp_path / "x.parquet")
    assert got.embedding.dtype == np.float32
    np.testing.assert_array_equal(got.embedding, rows().embedding.astype(np.float16))
    with pytest.raises(ValueError, match="float32 or float16"):
        save_embeddings(tmp_path / "x.parquet", rows(), dtype="int8")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match="not a parquet file"):
        load_embeddings(tmp_path / "a.parquet")
    pq.write_table(pa.table({"row": [1]}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="not a file of embeddings"):
        load_embeddings(tmp_path / "b.parquet")


def test_roles_say_who_is_looked_for_among_whom():
    found = search_split(rows(), SearchOptions(reranking=Reranking(k1=4, k2=2), top=3))
    table = rows()
    query, gallery = np.flatnonzero(table.role == QUERY), np.flatnonzero(table.role == GALLERY)
    np.testing.assert_array_equal(found.query, query)
    np.testing.assert_array_equal(found.gallery, gallery)
    named = {"query_labels": table.identity[query], "gallery_labels": table.identity[gallery], "top": 3}
    vectors, flips = torch.from_numpy(table.embedding), torch.from_numpy(table.embedding_flips)
    for got, want in (
        (found.plain, search(vectors[query], vectors[gallery], **named)),
        (found.flips, search(flips[query], flips[gallery], **named)),
        (found.reranked, rerank(vectors[query], vectors[gallery], **named, reranking=Reranking(k1=4, k2=2))),
    ):
        np.testing.assert_array_equal(got.nearest, want.nearest)
        np.testing.assert_array_equal(got.average_precision, want.average_precision)
    assert list(found.variants()) == ["plain", "flips", "reranked"]
    assert not found.new.valid.any()
    assert len(found.new) == 3
    assert found.query_values("key").tolist() == table.key[query].tolist()


def test_rows_that_are_both_are_left_out_for_themselves():
    role = np.full(ROWS, GALLERY)
    role[::4] = QUERY + GALLERY
    role[1] = QUERY
    found = search_split(rows(role=role, flips=False), SearchOptions())
    assert found.plain.candidates.tolist() == [ROWS - 2 if place != 1 else ROWS - 1 for place in found.query]
    assert not (found.gallery[found.plain.nearest] == found.query[:, None]).any()
    assert found.flips is found.reranked is found.new is None


def test_within_a_data_set():
    found = search_split(rows(), SearchOptions(within_dataset=True, top=50))
    near = found.plain.nearest
    dataset = found.rows.dataset[found.gallery]
    for i, own in enumerate(found.query_values("dataset")):
        assert set(dataset[near[i][near[i] >= 0]]) == {own}
        assert (near[i] >= 0).sum() == (dataset == own).sum() == found.plain.candidates[i]


def names(count: int) -> RowNames:
    word = np.array([f"w{i}" for i in range(count)])
    return RowNames(key=word, identity=word, outing=word, dataset=word)


def test_join_orders_leaves_out_and_refuses():
    vectors = np.arange(12, dtype=np.float32).reshape(6, 2)
    roles = np.array([QUERY, 0, GALLERY, GALLERY, 0, QUERY])
    parts = [{"row": np.array(part), "embedding": vectors[part]} for part in ([5, 1], [3, 0, 2])]
    got = join_batches(parts, names=names(6), roles=roles, protocol="p")
    assert got.row.tolist() == [0, 2, 3, 5]
    np.testing.assert_array_equal(got.embedding, vectors[[0, 2, 3, 5]])
    assert got.key.tolist() == ["w0", "w2", "w3", "w5"]
    assert got.indices(GALLERY).tolist() == [1, 2]
    assert got.embedding_flips is None
    with pytest.raises(ValueError, match="embedded more than once"):
        join_batches([*parts, parts[0]], names=names(6), roles=roles, protocol="p")
    with pytest.raises(ValueError, match="1 rows of the split were not embedded, w5 the first"):
        join_batches(
            [{name: value[1:] for name, value in parts[0].items()}, parts[1]], names=names(6), roles=roles, protocol="p"
        )
    with pytest.raises(ValueError, match="0 queries and 2 gallery rows"):
        join_batches(parts, names=names(6), roles=np.where(roles == QUERY, 0, roles), protocol="p")
    with pytest.raises(ValueError, match="rows of the split were not embedded"):
        join_batches([], names=names(6), roles=roles, protocol="p")
