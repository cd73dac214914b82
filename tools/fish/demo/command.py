"""`tarpon demo fish`: a synthetic lab folder in the real layout, to try everything on."""

import time
from pathlib import Path

from tarpon.tools.fish.demo import lab


def fish(*, out: str, images: int = 1200, families: int = 24, seed: int = 0, size: int = 160, workers: int = 0) -> int:
    """Write drawn fish in family folders, with train.csv and test.csv, in the layout and with the faults of FishNet.

    Args:
        out: folder to make; images and anns are written into it.
        images: how many, in families of very unequal size; a few faulty ones come on top.
        families: 2 to 32.
        seed: the same seed gives the same fish.
        size: pixels, the longer side about.
        workers: processes; 0: one a core.
    """
    begun = time.perf_counter()
    made = lab.write(Path(out), images=images, families=families, seed=seed, size=size, workers=workers or None)
    held = sum(path.stat().st_size for path in Path(out).rglob("*.jpg"))
    print(
        f"{made['images']} images ({held / 2**20:.1f} MiB), {made['families']} families of {made['largest']} to 1 images "
        f"({made['singletons']} of one), {made['species']} species in {time.perf_counter() - begun:.0f} s: {out}\n"
        f"{made['train']} rows in train.csv, {made['test']} in test.csv, {made['blank']} without attributes"
    )
    for fault in made["faults"]:
        print(f"  fault {fault['kind']}: {fault['file']}")
    print(f"next: tarpon pack fish --images {out}/images --annotations {out}/anns --out SHARDS")
    return 0
