"""`tarpon pack fish`: FishNet's folder of images and annotations into shards."""

import os
import time
from functools import partial
from pathlib import Path

from tarpon.shards.pack import Packing, pack
from tarpon.shards.sources.fish import source
from tarpon.tools.pack import packed, quarantine

SHARD_IMAGES = 4096  # a tar of about 250 MB


def fish(
    *,
    images: str,
    annotations: str,
    out: str,
    order_column: str = "NewOrder",
    val_share: float = 0.15,
    seed: int = 17,
    short_side: int = 512,
    workers: int = 0,
) -> int:
    """Pack images and train.csv, test.csv into shards; run again after a kill it goes on.

    Args:
        images: folder of <family>/<image>.
        annotations: folder of train.csv and test.csv.
        out: folder for the shards.
        order_column: NewOrder (harmonised, up to its first slash) or Order (as it stands, differs between sources).
        val_share: of each family's training images, for validation; species stay whole, so it is met about.
        seed: of that cut.
        short_side: pixels; larger images are made smaller once, here. 0: never.
        workers: processes; 0: one a core.
    """
    if not 0 <= val_share < 1:
        raise ValueError(f"val_share={val_share} must be in [0, 1); 0.15 is usual")
    chosen = source.FishSource(order_column=order_column, short_side=short_side)
    begun = time.perf_counter()
    units, faults = source.scan(Path(images), Path(annotations), chosen)
    manifest, faults = pack(
        units,
        faults,
        make=source.make,
        schema=source.SCHEMA,
        settings=source.settings(chosen),
        packing=Packing(
            out=Path(out),
            split=(1 - val_share, val_share, 0),
            seed=seed,
            given=("test",),
            workers=workers or len(os.sched_getaffinity(0)),
            shard_size=SHARD_IMAGES,
        ),
        assign=partial(source.assign, val_share=val_share, seed=seed),
        card=source.card,
    )
    if manifest is None:
        print("\n".join(quarantine(faults)))
        print(
            f"No samples found in {images}. Likely causes: the images are not in family folders (<family>/<image>), the "
            f"folders or file names are not those of the annotations' Folder and image columns, or --images is one folder too "
            f"high or too low."
        )
        return 1
    print("\n".join(packed(manifest, faults, seconds=time.perf_counter() - begun)))
    return 0
