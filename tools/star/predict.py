"""`tarpon predict star`: which known animal new photographs show, or that it is a new one."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tarpon.shards.tar_cache import CACHE_BYTES, Cache
from tarpon.tools.loose_images import list_images

if TYPE_CHECKING:
    from tarpon.tools.star.ways import Ways
    from tarpon.train.tasks.star.options import StarSearch


def star(
    *,
    checkpoint: str,
    images: str,
    gallery: str | None = None,
    out: str = "star_predictions",
    splits: str = "train,val,test",
    top: int = 5,
    flips: bool = False,
    expand: int = 0,
    rerank: bool = False,
    local: int = 0,
    batch: int = 32,
    threads: int = 0,
    cache: str | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> int:
    """Embed every photograph of a folder and, with a gallery, name the animals it looks most like, or say that it is new.

    Args:
        checkpoint: run folder, or its best.pth.
        images: folder of photographs, in folders of any depth.
        gallery: shards of known animals, or a folder <animal>/<photograph>; without it only embeddings are written.
        out: folder for embeddings.parquet, matches.csv, and the gallery's embeddings, which the next call takes from there.
        splits: of gallery shards, by comma.
        top: nearest photographs of the gallery told for each.
        flips: match by the mean over a photograph and its mirror images; not for photographs of an animal's flank.
        expand: also match by expanded queries: so many of the nearest are added to each photograph; 0: not. As the two next,
            these matches go into a file of their own (matches_expanded.csv) beside those of plain search.
        rerank: also match with k-reciprocal re-ranking (matches_reranked.csv), in which the new photographs help each other.
        local: also match by local features (matches_local.csv): so many of the nearest are ordered by how many features both
            photographs share, some 2 to 10 ms a pair; 0: not. Needs pip install 'tarpon[local]'.
        batch: photographs a pass.
        threads: reading and decoding threads; 0: one a core.
        cache: folder for fetched tars, of gallery shards at a URL.
        cache_bytes: most bytes that it may hold.
    """
    check_counts(top=top, batch=batch, threads=threads, expand=expand, local=local)
    if not gallery and (expand or rerank or local):
        raise ValueError("expand, rerank and local are ways of searching a gallery; give --gallery")
    from tarpon.tools.star.embed import embed_files, load_embedder  # here: --help need not wait for PyTorch
    from tarpon.tools.star.gallery import find_longest_side, open_gallery
    from tarpon.tools.star.matching import format_unread, write_outputs
    from tarpon.tools.star.ways import read_rows, search_in_ways

    names, target = list_images(Path(images)), Path(out)
    embedder = load_embedder(Path(checkpoint), batch=batch, threads=threads or len(os.sched_getaffinity(0)), flips=flips)
    ways = choose_ways(embedder.search, expand=expand, rerank=rerank, local=local)
    target.mkdir(parents=True, exist_ok=True)
    wanted = [name.strip() for name in splits.split(",") if name.strip()]
    kept, longest = Cache.of(cache, cache_bytes), find_longest_side(gallery)
    known = open_gallery(gallery, embedder, splits=wanted, kept=target, cache=kept) if gallery else None
    found = embed_files(embedder, Path(images), names, longest_side=longest)
    if len(found.row):
        read = read_rows(Path(images), found.names(names), gallery, known, longest_side=longest, cache=kept) if local else None
        others = search_in_ways(found, known, ways, top=top, read=read) if known else {}
        print("\n".join(write_outputs(target, found, known, embedder.novelty, names=names, top=top, others=others)))
    for line in format_unread(found.faults, [] if known is None else known.faults):
        print(line)
    return 0 if len(found.row) else 1


def check_counts(*, top: int, batch: int, threads: int, expand: int, local: int) -> None:
    """ValueError, before PyTorch is imported."""
    if top < 1 or batch < 1 or threads < 0:
        raise ValueError(f"top={top} and batch={batch} must be at least 1, threads={threads} at least 0")
    if expand < 0 or local < 0:
        raise ValueError(f"expand={expand} and local={local} must be at least 0, for none")


def choose_ways(search: "StarSearch", *, expand: int, rerank: bool, local: int) -> "Ways":
    """The ways of searching beside plain cosine, with the settings of the run's own; ValueError where OpenCV is missing."""
    from tarpon.tools.star.ways import Ways  # here: see `star`
    from tarpon.train.tasks.star.metrics.local_features import SiftMatcher
    from tarpon.train.tasks.star.metrics.search_options import Expansion, Reranking

    if local:
        SiftMatcher()  # before anything is embedded
    return Ways(
        expansion=Expansion(count=expand, alpha=search.expand_alpha) if expand else None,
        reranking=Reranking(k1=search.k1, k2=search.k2, share=search.share) if rerank else None,
        local=local,
    )
