"""`tarpon predict star`: which known animal new photographs show, or that it is a new one."""

import os
from pathlib import Path

from tarpon.shards.tar_cache import CACHE_BYTES, Cache
from tarpon.tools.loose_images import list_images


def star(
    *,
    checkpoint: str,
    images: str,
    gallery: str | None = None,
    out: str = "star_predictions",
    splits: str = "train,val,test",
    top: int = 5,
    flips: bool = False,
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
        batch: photographs a pass.
        threads: reading and decoding threads; 0: one a core.
        cache: folder for fetched tars, of gallery shards at a URL.
        cache_bytes: most bytes that it may hold.
    """
    if top < 1 or batch < 1 or threads < 0:
        raise ValueError(f"top={top} and batch={batch} must be at least 1, threads={threads} at least 0")
    from tarpon.tools.star.embed import embed_files, load_embedder  # here: --help need not wait for PyTorch
    from tarpon.tools.star.gallery import find_longest_side, open_gallery
    from tarpon.tools.star.matching import format_unread, write_outputs

    names, target = list_images(Path(images)), Path(out)
    threads = threads or len(os.sched_getaffinity(0))
    embedder = load_embedder(Path(checkpoint), batch=batch, threads=threads, flips=flips)
    target.mkdir(parents=True, exist_ok=True)
    wanted = [name.strip() for name in splits.split(",") if name.strip()]
    kept = Cache.of(cache, cache_bytes)
    known = open_gallery(gallery, embedder, splits=wanted, kept=target, cache=kept) if gallery else None
    found = embed_files(embedder, Path(images), names, longest_side=find_longest_side(gallery))
    if len(found.row):
        print("\n".join(write_outputs(target, found, known, embedder.novelty, names=names, top=top)))
    for line in format_unread(found.faults, [] if known is None else known.faults):
        print(line)
    return 0 if len(found.row) else 1
