"""`tarpon pack fish`: FishNet's folder of images and annotations into shards."""

from tarpon.shards.scratch import SCRATCH_BYTES
from tarpon.shards.sources.fish.source import FISH, FishSource
from tarpon.shards.sources.images import MAX_PIXELS
from tarpon.shards.store import find_place
from tarpon.tools.pack import run


def fish(
    *,
    images: str,
    annotations: str,
    out: str,
    order_column: str = "NewOrder",
    val_share: float = 0.15,
    seed: int = 17,
    short_side: int = 512,
    max_pixels: int = MAX_PIXELS,
    workers: int = 0,
    cluster: str | None = None,
    dry_run: bool = False,
    scratch: str | None = None,
    scratch_bytes: int = SCRATCH_BYTES,
) -> int:
    """Pack images and train.csv, test.csv into shards; run again after a kill it goes on.

    Args:
        images: folder or URL of <family>/<image>.
        annotations: folder or URL of train.csv and test.csv.
        out: folder for the shards.
        order_column: NewOrder (harmonised, up to its first slash) or Order (as it stands, differs between sources).
        val_share: of each family's training images, for validation; species stay whole, so it is met about.
        seed: of that cut.
        short_side: pixels; larger images are made smaller once, here. 0: never.
        max_pixels: a picture whose header tells of more is kept out, unread.
        workers: processes; 0: one a core.
        cluster: tcp://HOST:PORT of a dask scheduler whose workers make the shards, or slurm, which starts `workers` jobs.
        dry_run: tell what would be packed and what would not and why, after trying a few; write nothing.
        scratch: folder for files of a URL while they are packed; unset: the machine's for temporary files.
        scratch_bytes: of it, shared by the `workers`.
    """
    if not 0 <= val_share < 1:
        raise ValueError(f"val_share={val_share} must be in [0, 1); 0.15 is usual")
    chosen = FishSource(order_column=order_column, short_side=short_side, max_pixels=max_pixels)
    return run(
        FISH,
        (find_place(images), find_place(annotations)),
        options=chosen,
        out=out,
        split=(1 - val_share, val_share, 0),
        seed=seed,
        given=("test",),
        workers=workers,
        cluster=cluster,
        dry_run=dry_run,
        scratch=scratch,
        scratch_bytes=scratch_bytes,
    )
