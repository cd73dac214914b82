"""`tarpon demo mouse`: a synthetic lab folder in the real layout, to try everything on."""

import time
from pathlib import Path

from tarpon.tools.mouse.demo import lab


def mouse(
    *,
    out: str,
    videos: int = 12,
    seed: int = 7,
    size: int = 512,
    faults: bool = False,
    apart: bool = False,
    workers: int = 0,
) -> int:
    """Write drawn mouse videos, DeepLabCut files and annotation CSVs.

    Args:
        out: folder to make; Videos and Annotations are written into it.
        videos: how many.
        seed: the same seed gives the same lab.
        size: pixels, both sides.
        faults: add one file of every bad kind, to see what packing does with it.
        apart: the trials of a video have no action in common but rest: who reads one trial's frames for all cannot score.
        workers: processes; 0: one a core.
    """
    begun = time.perf_counter()
    made = lab.write(Path(out), videos=videos, seed=seed, size=size, faults=faults, apart=apart, workers=workers or None)
    shares = ", ".join(f"{name} {share:.1%}" for name, share in made["shares"].items())
    print(
        f"{made['videos']} videos, {made['animals']} animals, {made['trials']} trials, {made['frames']} frames in "
        f"{time.perf_counter() - begun:.0f} s: {out}\n{shares}"
    )
    for fault in made["faults"]:
        print(f"  fault {fault['kind']}: {fault['file']}")
    return 0
