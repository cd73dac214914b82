"""Photographs of known animals for `tarpon view`: a run's nearest matches, or the animal's other photographs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tarpon.shards.manifest import Manifest
from tarpon.shards.sources.star.split import group_indices
from tarpon.tools.view.record import Album, Detail, Entry, Match
from tarpon.train.prediction_files import list_shares

NEAREST, OTHERS = 12, 24  # photographs shown beside one


class StarAlbum(Album):
    """Photographs of a data set, in its order, with a run's embeddings where there are any."""

    def __init__(self, manifest: Manifest, run: Path | None) -> None:
        super().__init__(manifest, run)
        self.identity, self.session = (manifest.column(name).tolist() for name in ("identity", "session"))
        self.dataset = manifest.column("dataset")
        self.own = group_indices(self.identity)
        self.searches = [] if run is None else list(_searches(run, manifest))

    def _entries(self) -> Iterator[Entry]:
        columns = (self.manifest.column(name).tolist() for name in ("key", "split", "distractor", "novel"))
        for row, (key, split, distractor, novel) in enumerate(zip(*columns, strict=True)):
            role = ", seen once" if distractor else ", held out as new" if novel else ""
            told = any(row in search.query for search in self.searches)
            yield Entry(key=key, split=split, words=f"{self.identity[row]}{role}", predicted=told)

    def picture(self, row: int, step: int) -> tuple[bytes, str]:
        return self.reader.read(row, "jpg"), "image/jpeg"

    def detail(self, row: int) -> Detail:
        known = self.manifest.table.slice(row, 1).to_pylist()[0]
        facts = [
            ("animal", known["identity"]),
            ("split", known["split"]),
            ("session", known["session"] or "not known"),
            ("date", known["date"] or "not known"),
            ("data set", known["dataset"]),
            ("source", known["source"]),
            ("photograph", f"{known['width']} x {known['height']} px"),
        ]
        for search in self.searches:
            if row in search.query:
                rank = search.first_rank(row, self.identity)
                facts.append(("first right match", "none in the gallery" if rank is None else f"rank {rank}"))
                matches = [
                    Match(
                        entry=other,
                        words=f"{self.identity[other]}, {self.session[other]}, similarity {similarity:.2f}",
                        right=self.identity[other] == known["identity"],
                    )
                    for other, similarity in search.nearest(row)[:NEAREST]
                ]
                head = f"Nearest of the {len(search.gallery)} photographs that {search.split} is searched in"
                return Detail(facts=facts, matches=matches, matches_head=head)
        others = [other for other in self.own[known["identity"]] if other != row][:OTHERS]
        matches = [
            Match(entry=other, words=f"{self.session[other]}, {self.manifest.value(other, 'split')}") for other in others
        ]
        return Detail(facts=facts, matches=matches, matches_head="Other photographs of this animal")


class Search:
    """One split's search by a run's embeddings, plain cosine, as the run's headline scores are made."""

    def __init__(
        self, split: str, rows: np.ndarray, role: np.ndarray, vectors: np.ndarray, datasets: np.ndarray | None
    ) -> None:
        """rows: (N,) of the manifest; role: (N,); vectors: (N, D); datasets: (R,) to search within, None: in all."""
        from tarpon.train.tasks.star.metrics.embeddings import GALLERY, NEW, QUERY

        self.split, self.datasets = split, datasets
        self.vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        self.query = {int(row): place for place, row in enumerate(rows) if role[place] & (QUERY | NEW)}
        self.gallery = np.flatnonzero(role & GALLERY)  # places
        self.rows = rows

    def nearest(self, row: int) -> list[tuple[int, float]]:
        """Gallery rows, most similar first, with their cosines; the photograph itself is not among them."""
        similarity = self.vectors[self.gallery] @ self.vectors[self.query[row]]
        rows = self.rows[self.gallery]
        order = np.argsort(-similarity, kind="stable")
        kept = [i for i in order if rows[i] != row and (self.datasets is None or self.datasets[rows[i]] == self.datasets[row])]
        return [(int(rows[i]), float(similarity[i])) for i in kept]

    def first_rank(self, row: int, identity: list[str]) -> int | None:
        """Place of the first photograph of the same animal, from 1; None where the gallery has none."""
        ranks = (rank for rank, (other, _) in enumerate(self.nearest(row), start=1) if identity[other] == identity[row])
        return next(ranks, None)


def _searches(run: Path, manifest: Manifest) -> Iterator[Search]:
    from tarpon.train.tasks.star.metrics.embeddings import load_embeddings  # PyTorch, which shards alone need not wait for

    datasets = None if manifest.card["stars"] else manifest.column("dataset")
    keys = manifest.column("key")
    for split in ("test", "val"):
        path = run / "predictions" / f"{split}.parquet"
        if list_shares(path):
            held = load_embeddings(path)
            here = (held.row < len(manifest)).nonzero()[0]  # rows of a second data set come after those of the first
            if not (keys[held.row[here]] == held.key[here]).all():
                raise ValueError(f"{path}: made of other shards than {manifest.root}; give those with --data")
            rows = {"rows": held.row[here], "role": held.role[here], "vectors": held.embedding[here]}
            yield Search(split, **rows, datasets=datasets)
