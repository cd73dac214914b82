"""`tarpon pack leaf`: a folder of leaves into shards."""

from pathlib import Path

from tarpon.shards.sources.leaf.source import LEAF, LeafSource
from tarpon.tools.pack import run, shares


def leaf(
    *, root: str, out: str, split: str = "0.6,0.2,0.2", seed: int = 0, short_side: int = 256, workers: int = 0,
    dry_run: bool = False,
) -> int:  # fmt: skip
    """Pack <species>/<plant>_<number>.jpg into shards; run again after a kill it goes on.

    Args:
        root: folder of the species' folders.
        out: folder for the shards.
        split: shares of train, val and test, by plant.
        seed: of the split.
        short_side: pixels; larger pictures are made smaller once, here. 0: never.
        workers: processes; 0: one a core.
        dry_run: tell what would be packed and what would not and why, after trying a few; write nothing.
    """
    options = LeafSource(short_side=short_side)
    packing = {"out": out, "split": shares(split), "seed": seed, "workers": workers, "dry_run": dry_run}
    return run(LEAF, (Path(root),), options=options, **packing)
