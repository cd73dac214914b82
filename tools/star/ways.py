"""New photographs searched in a gallery in other ways than by plain cosine: expanded, re-ranked, by local features.

Q photographs, G of the gallery; for local features they are rows 0 to Q - 1 and Q to Q + G - 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from tarpon.shards.sources.images import JpegImage
from tarpon.shards.tar_cache import Cache
from tarpon.tools.star.embed import Embedded, read_picture
from tarpon.tools.star.gallery import Gallery, picture_reader
from tarpon.train.tasks.star.metrics.embeddings import VECTORS
from tarpon.train.tasks.star.metrics.expansion import search_expanded
from tarpon.train.tasks.star.metrics.local_search import LocalRescorer, Read, rank_by_local_features
from tarpon.train.tasks.star.metrics.rerank import rerank
from tarpon.train.tasks.star.metrics.retrieval import Retrieval, search
from tarpon.train.tasks.star.metrics.search_options import Expansion, Reranking


@dataclass(frozen=True, kw_only=True)
class Ways:
    """Which of them are taken, and how."""

    expansion: Expansion | None = None
    reranking: Reranking | None = None
    local: int = 0  # nearest whose local features are compared; 0: not


def search_known(
    found: Embedded, gallery: Gallery, *, top: int, vectors: str = VECTORS[0], method: Callable[..., Retrieval] = search
) -> Retrieval:
    """The gallery's photographs nearest to each of the new ones by a method with the arguments of `search`."""
    queries, known = (torch.from_numpy(embedded.vectors[vectors]) for embedded in (found, gallery))
    nobody = np.full(len(queries), -1)  # nothing in the gallery is known to be the same animal
    labels = np.zeros(len(known), np.int64)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return method(queries, known, query_labels=nobody, gallery_labels=labels, top=top, device=device)


def search_in_ways(
    found: Embedded, gallery: Gallery, ways: Ways, *, top: int, read: Read | None = None
) -> dict[str, Retrieval]:
    """Name of `WAYS` -> the search, by plain embeddings.

    Args:
        read: a row's encoded photograph; needed for local features.
    """
    made = {}
    if ways.expansion:
        made["expanded"] = search_known(found, gallery, top=top, method=partial(search_expanded, expansion=ways.expansion))
    if ways.reranking:
        made["reranked"] = search_known(found, gallery, top=top, method=partial(rerank, reranking=ways.reranking))
    if ways.local:
        nearest = search_known(found, gallery, top=ways.local).nearest
        count = len(found.row)
        rows = np.where(nearest >= 0, nearest + count, -1)
        compared = {"nearest": nearest, "shared": LocalRescorer(read).count(np.arange(count), rows)}
        made["local"] = search_known(found, gallery, top=top, method=partial(rank_by_local_features, **compared))
    return made


def read_rows(
    images: Path, names: Sequence[str], gallery: str, known: Gallery, *, longest_side: int, cache: Cache | None = None
) -> Read:
    """Row -> the encoded photograph, empty where it can no longer be read.

    Args:
        names: (Q,) files below the folder `images`, each read as packing would have stored it.
        gallery: shards or folder, in which the photographs of `known` lie.
    """
    reader = picture_reader(gallery, cache=cache)

    def read(row: int) -> bytes:
        if row >= len(names):
            return reader(known.picture[row - len(names)])
        found = read_picture(images / names[row], longest_side=longest_side)
        return found.content if isinstance(found, JpegImage) else b""

    return read
