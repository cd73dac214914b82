"""`tarpon demo cells`: a synthetic lab folder in the real layout, to try everything on."""

import time
from pathlib import Path

from tarpon.tools.cells.demo import lab


def cells(
    *,
    out: str,
    stacks: int = 24,
    pages: int = 32,
    size: int = 96,
    wells: int = 6,
    seed: int = 0,
    confounded: bool = False,
    onset: float = 4.0,
) -> int:
    """Write drawn time courses of infected and healthy cells: two folders of multi-page TIFF stacks and cells.yaml.

    Args:
        out: folder to make; infected, uninfected and cells.yaml are written into it.
        stacks: of both classes together.
        pages: of a stack, half an hour apart.
        size: pixels, both sides.
        wells: of both classes together; every well has its own light.
        seed: the same seed gives the same cells.
        confounded: one well a class, so that the well tells the class.
        onset: hour before which nothing of the infection is to be seen.
    """
    begun = time.perf_counter()
    made = lab.write(
        Path(out), stacks=stacks, pages=pages, size=size, wells=wells, seed=seed, confounded=confounded, onset=onset
    )
    print(
        f"{made['stacks']} stacks of {made['pages']} pages, wells {', '.join(made['wells']['infected'])} infected from hour "
        f"{made['onset']:g} and {', '.join(made['wells']['uninfected'])} not, in {time.perf_counter() - begun:.0f} s: {out}"
    )
    for file, form in made["formats"].items():
        print(f"  {form}: {file}")
    print(f"next: tarpon pack cells --config {out}/cells.yaml --out SHARDS --group well")
    return 0
