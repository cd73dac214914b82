"""Embedded photographs against those of known animals: nearest, decided, written. Q photographs, G of the gallery."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tarpon.shards import atomic, spreadsheet
from tarpon.tools.star.embed import Embedded, make_vector_columns
from tarpon.tools.star.gallery import Gallery
from tarpon.tools.star.ways import search_known
from tarpon.tools.table import table
from tarpon.train.tasks.star.metrics.embeddings import VECTORS, WAYS
from tarpon.train.tasks.star.metrics.open_set import Novelty
from tarpon.train.tasks.star.metrics.retrieval import Retrieval

EMBEDDINGS, MATCHES = "embeddings.parquet", "matches.csv"
COLUMNS = ("file", "rank", "identity", "similarity", "gallery_picture", "new_animal", "decision")
SHOWN = 30  # photographs printed; the files hold all
DECISIONS = ("known", "new")


@dataclass(frozen=True, kw_only=True, eq=False)
class Matches:
    """What a gallery says of the readable photographs."""

    names: list[str]  # of Q photographs
    gallery: Gallery
    nearest: np.ndarray  # (Q, K) int64 places in the gallery, most similar first
    similarity: np.ndarray  # (Q, K) float32 cosine
    new: np.ndarray | None  # (Q,) probability that the animal is new; None where validation could not teach it
    decided: np.ndarray | None  # (Q,) bool: called new


def write_outputs(
    out: Path,
    found: Embedded,
    known: Gallery | None,
    novelty: Novelty | None,
    *,
    names: Sequence[str],
    top: int,
    others: Mapping[str, Retrieval] | None = None,
) -> Iterator[str]:
    """Write the files; lines on what they hold.

    Args:
        others: searches in further ways, by their names in `WAYS`; each has a file of its own.
    """
    kept = found.names(names)
    _write_embeddings(out / EMBEDDINGS, found, kept)
    if known is not None:
        matched = match(kept, found, known, novelty, top=top)
        _write_matches(out / MATCHES, matched)
        yield from _format_nearest(matched)
        yield ""
        yield from _format_decisions(matched, novelty, flips=VECTORS[1] in found.vectors)
        yield (
            f"{out / MATCHES}: the {matched.nearest.shape[1]} nearest of {len(known.identity):,} photographs of "
            f"{len(set(known.identity)):,} animals"
        )
        for name, other in (others or {}).items():
            yield _write_other(out, matched, other, name=name)
    yield f"{out / EMBEDDINGS}: {len(kept):,} of {len(names):,} photographs"


def match(names: Sequence[str], found: Embedded, gallery: Gallery, novelty: Novelty | None, *, top: int) -> Matches:
    """The nearest photographs of the gallery, by embeddings over mirror images where there are some; the decision always by
    plain ones, from which it was learnt."""
    plain = search_known(found, gallery, top=top)
    shown = search_known(found, gallery, top=top, vectors=VECTORS[1]) if VECTORS[1] in found.vectors else plain
    count = min(top, len(gallery.identity))
    return Matches(
        names=list(names),
        gallery=gallery,
        nearest=shown.nearest[:, :count],
        similarity=shown.similarity[:, :count],
        new=None if novelty is None else novelty.probability(plain.best),
        decided=None if novelty is None else novelty.is_new(plain.best),
    )


def _write_embeddings(path: Path, found: Embedded, names: Sequence[str]) -> None:
    columns = {"row": pa.array(found.row), "file": pa.array(names, pa.string()), **make_vector_columns(found.vectors)}
    with atomic.replace(path) as draft:
        pq.write_table(pa.table(columns), draft, compression="zstd")


def _write_matches(path: Path, matched: Matches) -> None:
    with atomic.replace(path) as draft, open(draft, "w", newline="", encoding="utf-8") as file:
        writer = spreadsheet.Writer(file)
        writer.writerow(COLUMNS)
        for query, name in enumerate(matched.names):
            novelty = _format_novelty(matched, query)
            for rank, (item, value) in enumerate(zip(matched.nearest[query], matched.similarity[query], strict=True), start=1):
                known = matched.gallery.identity[item], f"{value:.6f}", matched.gallery.picture[item]
                writer.writerow([name, rank, *known, *novelty])


def _write_other(out: Path, matched: Matches, other: Retrieval, *, name: str) -> str:
    """Write the matches of another way of searching; a line on how they differ."""
    count = matched.nearest.shape[1]
    path = out / f"matches_{name}.csv"
    _write_matches(path, replace(matched, nearest=other.nearest[:, :count], similarity=other.similarity[:, :count]))
    identity = matched.gallery.identity
    moved = int((identity[other.nearest[:, 0]] != identity[matched.nearest[:, 0]]).sum())
    return f"{path}: {WAYS[name]}; another animal is the nearest of {moved:,} of {len(matched.names):,} photographs"


def _format_novelty(matched: Matches, query: int) -> tuple[str, str]:
    """Probability that the animal is new, and the decision; empty where neither is known."""
    if matched.new is None or matched.decided is None:
        return "", ""
    return f"{matched.new[query]:.4f}", DECISIONS[int(matched.decided[query])]


def _format_nearest(matched: Matches) -> Iterator[str]:
    rows = []
    for query, name in enumerate(matched.names[:SHOWN]):
        item = matched.nearest[query, 0]
        probability, decision = _format_novelty(matched, query)
        similarity = f"{matched.similarity[query, 0]:.3f}"
        rows.append([name, matched.gallery.identity[item], similarity, matched.gallery.picture[item], probability, decision])
    yield from table(["photograph", "nearest animal", "similarity", "its photograph", "P(new)", "decision"], rows)
    if len(matched.names) > SHOWN:
        yield f"... and {len(matched.names) - SHOWN:,} more in {MATCHES}"


def _format_decisions(matched: Matches, novelty: Novelty | None, *, flips: bool) -> Iterator[str]:
    if novelty is None or matched.decided is None:
        yield "no decision on new animals: validation of this run could not teach it; new_animal and decision are empty"
        return
    yield (
        f"decided new: {int(matched.decided.sum()):,} of {len(matched.names):,} (nothing in the gallery is as similar as "
        f"{novelty.threshold:.3f}; on the run's own validation {novelty.false_positive_rate:.0%} of new animals passed "
        f"for known)"
    )
    if flips:
        yield "the decision goes by plain similarity, from which it was learnt; the matches go by mirror images"


def format_unread(photographs: Sequence[tuple[str, str]], gallery: Sequence[tuple[str, str]]) -> Iterator[str]:
    rows = [[name, reason] for name, reason in photographs] + [[f"gallery: {name}", reason] for name, reason in gallery]
    if rows:
        yield ""
        yield from table(["could not be read", "why"], rows)
