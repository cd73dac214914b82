"""Embeddings of batches of photographs, from every process, put together into one searched and scored split."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tarpon.pipelines.fallback_rows import left_out
from tarpon.train.task import Result
from tarpon.train.tasks.star.metrics.embeddings import (
    VECTORS,
    RowNames,
    SearchOptions,
    SearchResult,
    join_batches,
    save_embeddings,
    search_split,
)
from tarpon.train.tasks.star.metrics.local_search import LocalRescorer
from tarpon.train.tasks.star.metrics.open_set import open_set_scores
from tarpon.train.tasks.star.metrics.scores import MEANS, score, score_datasets

LEFT_OUT = "left_out"  # rows that could not be read
SUFFIX = ".parquet"


class EmbeddingMetric:
    """Batches in, a scored split out.

    Args:
        names: by the `row` of a batch.
        roles: (R,) int8 by row: QUERY, GALLERY, QUERY + GALLERY or NEW of `embeddings`; 0 for a row that is not looked at.
        protocol: one sentence: which rows are queries and which are the gallery.
        search_options: how; `SearchOptions(reranking=Reranking())` also re-ranks.
        rescorer: compares local features of a query and its nearest; None: this way of searching is left out.
        device: where the search runs.
        resamples: of the bootstrap; 0 leaves its intervals out.
        stored: float32 or float16, of the embeddings in the file.
    """

    def __init__(
        self,
        names: RowNames,
        *,
        roles: np.ndarray,
        protocol: str,
        search_options: SearchOptions | None = None,
        rescorer: LocalRescorer | None = None,
        device: torch.device | str = "cpu",
        resamples: int = 1000,
        stored: str = "float32",
    ) -> None:
        self._names, self._roles, self._protocol = names, roles, protocol
        self._searching, self._device = search_options or SearchOptions(), device
        self._rescorer = rescorer
        self._resamples, self._stored = resamples, stored
        self._parts: list[dict[str, np.ndarray]] = []

    def add(self, out: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """out: embedding (B, D) and, averaged over flips, embedding_flips (B, D) if any; batch: row (B,), -1 for padding."""
        self._parts.append(take_batch(out, batch))

    def part(self) -> list[dict[str, np.ndarray]]:
        """All batches of this process as one: the fewer arrays, the faster they travel."""
        self._parts = [join_parts(self._parts)] if self._parts else []
        return self._parts

    def read(self, parts: list[list[dict[str, np.ndarray]]]) -> Result:
        """The scored split of the parts of all processes; ValueError where a row comes twice or is missing."""
        batches = [batch for part in parts for batch in part]
        roles = self._roles.copy()
        for batch in batches:
            roles[batch[LEFT_OUT]] = 0  # neither query nor gallery: its photograph cannot be read
        rows = join_batches(batches, names=self._names, roles=roles, protocol=self._protocol)
        found = search_split(rows, self._searching, rescorer=self._rescorer, device=self._device)

        def save(path: Path) -> None:
            save_embeddings(parquet_path(path), found.rows, dtype=self._stored)

        scalars = score_search(found, resamples=self._resamples)
        if self._rescorer is not None:
            scalars["local_seconds"] = self._rescorer.seconds
        return Result(scalars=scalars, save=save, rows=found, suffix=SUFFIX)


def take_batch(out: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """row (n,) and vectors (n, D) of what is no padding, and LEFT_OUT (m,) rows that could not be read."""
    real = batch["row"] >= 0
    arrays = {"row": batch["row"]} | {name: out[name].float() for name in VECTORS if name in out}
    held = {name: value[real.to(value.device)].detach().cpu().numpy() for name, value in arrays.items()}
    told = batch["row"].cpu().numpy()
    return held | {LEFT_OUT: left_out(told[told <= left_out(0)])}


def join_parts(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Batches end to end."""
    return parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def parquet_path(path: Path) -> Path:
    """The parquet file beside the npz that other tasks would write."""
    return path.with_suffix(SUFFIX)


def score_search(found: SearchResult, *, resamples: int = 1000) -> dict[str, float]:
    """Scalars of a searched split: those of `scores.score`; a way's name (`WAYS`) before the means of that search;
    `score_datasets` where the queries are of several data sets; `open_set_scores` where there are new animals; num_gallery."""
    identities, datasets = found.query_values("identity"), found.query_values("dataset")
    out = score(found.plain, identities=identities, resamples=resamples) | {"num_gallery": float(len(found.gallery))}
    for name, retrieval in found.variants().items():
        if name != "plain":
            own = score(retrieval, identities=identities, resamples=0)
            out |= {f"{name}_{mean}": own[mean] for mean in MEANS}
    if len(np.unique(datasets)) > 1:
        out |= score_datasets(found.plain, datasets=datasets)
    return out | score_open_set(found)


def score_open_set(found: SearchResult) -> dict[str, float]:
    """Known queries, those with a match, against new ones; empty without new ones."""
    if found.new is None:
        return {}
    new = found.new.best
    return open_set_scores(found.plain.best[found.plain.valid], new[np.isfinite(new)]) | {"num_new_queries": float(len(new))}


def embeddings_path(folder: Path, split: str) -> Path:
    """Where a run folder keeps a split's embeddings."""
    return folder / "predictions" / f"{split}{SUFFIX}"
