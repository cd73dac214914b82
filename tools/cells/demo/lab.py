"""A synthetic infection experiment: two folders of multi-page TIFF stacks named like a plate imager's, and a configuration.

Nothing tells the classes apart before the onset but the wells: their light differs, and a well holds one class. Time is to be
seen in both classes, as cells divide.
"""

from pathlib import Path

import numpy as np
import tifffile

from tarpon.tools.cells.demo.drawing import culture, draw, infection, well

NAME = "20251023demo10x30minintervalinfectedvsuninfected_s{scene}_{well}_p{position}_t0-{last}_ec.tiff"
FRAMES_PER_HOUR = 2
ROWS = {1: "b", 0: "c"}  # plate rows by label
FORMATS = {1: "lzw", 2: "8-bit", 4: "deflate", 5: "rgb"}  # stacks that are not plain 16-bit grey; 0, 2, 4 ... are infected
CONFIG = """\
# Of `tarpon demo cells`. Folders are relative to this file.
experiment_name: demo
seed: 42
data:
  infected_dir: infected
  uninfected_dir: uninfected
  split_ratios: [0.7, 0.1, 0.2]
  split_seed: 123
  batch_size: 16
  transforms: {{image_size: {size}, random_flip: true, random_rotation: true, color_jitter: false}}
  frames:
    frames_per_hour: {rate:.1f}
    infected_window_hours: [0, {last:g}]
    uninfected_window_hours: [0, {last:g}]
multitask:
  infection_onset_hour: {onset:g}
  clamp_range: [0, {last:g}]
  classification_weight: 1.0
  regression_weight: 1.0
model: {{name: resnet18, pretrained: false, dropout: 0.2, hidden_dim: 256}}
training: {{epochs: 10, amp: true, grad_clip: 1.0}}
optimizer: {{lr: 1e-3, weight_decay: 1e-4}}
scheduler: {{eta_min: 1e-6}}
"""


def write(
    out: Path, *, stacks: int = 24, pages: int = 32, size: int = 96, wells: int = 6, seed: int = 0,
    confounded: bool = False, onset: float = 4.0,
) -> dict:  # fmt: skip
    """Write `out/infected`, `out/uninfected` and `out/cells.yaml`.

    Args:
        stacks: of both classes together, turn by turn over the wells.
        pages: of a stack, half an hour apart.
        size: pixels, both sides.
        wells: of both classes together, an even number.
        confounded: one well a class, b2 and c4, whatever `wells` says.
        onset: hour before which no cell is infected.

    Returns:
        `stacks`, `pages`, `wells` (names by class), `onset`, `formats` (file -> how it is stored, where that is not plain).
    """
    out = Path(out)
    _check(out, stacks=stacks, pages=pages, size=size, wells=wells, onset=onset)
    names = _wells(wells, confounded=confounded)
    lights = {
        name: well(np.random.default_rng((seed, 1, label, number)), size=size)
        for label, listed in names.items()
        for number, name in enumerate(listed)
    }
    times, formats = np.arange(pages) / FRAMES_PER_HOUR, {}
    for number in range(stacks):
        label, turn = 1 - number % 2, number // 2
        place = names[label][turn % len(names[label])]
        rng = np.random.default_rng((seed, 2, number))
        cells = culture(rng, size=size, times=times, density=lights[place].density)
        fate = infection(np.random.default_rng((seed, 3, number)), cells, onset=onset) if label else None
        course = draw(rng, lights[place], cells, fate, times=times)
        name = NAME.format(scene=5, well=place, position=turn // len(names[label]) + 1, last=pages - 1)
        path = out / ("infected" if label else "uninfected") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        formats |= {f"{path.parent.name}/{name}": FORMATS[number]} if number in FORMATS else {}
        _save(path, course, FORMATS.get(number, "plain"))
    (out / "cells.yaml").write_text(
        CONFIG.format(size=size, rate=FRAMES_PER_HOUR, last=(pages - 1) / FRAMES_PER_HOUR, onset=onset)
    )
    return {"stacks": stacks, "pages": pages, "wells": {"infected": names[1], "uninfected": names[0]}, "onset": onset,
            "formats": formats}  # fmt: skip


def _wells(count: int, *, confounded: bool) -> dict[int, list[str]]:
    """Label -> its wells."""
    if confounded:
        return {1: ["b2"], 0: ["c4"]}
    return {label: [f"{row}{number + 2}" for number in range(count // 2)] for label, row in ROWS.items()}


def _check(out: Path, *, stacks: int, pages: int, size: int, wells: int, onset: float) -> None:
    if wells < 2 or wells % 2:
        raise ValueError(f"wells={wells} must be an even number of at least 2: half of them are infected")
    if stacks < 2 or stacks % 2:
        raise ValueError(f"stacks={stacks} must be an even number of at least 2: half of them are infected")
    if pages < 2:
        raise ValueError(f"pages={pages} must be 2 or more")
    if size < 48:
        raise ValueError(f"size={size} must be 48 pixels or more")
    if onset < 0:
        raise ValueError(f"onset={onset} must be 0 h or later")
    for folder in ("infected", "uninfected"):
        if (out / folder).is_dir() and any((out / folder).iterdir()):
            raise ValueError(f"{out / folder} already holds files, which would mix with the new ones; choose an empty folder")


def _save(path: Path, course: np.ndarray, form: str) -> None:
    """A stack as TIFF: 16-bit grey, or one of FORMATS."""
    if form in ("8-bit", "rgb"):
        course = (course >> 7).clip(0, 255).astype(np.uint8)
    if form == "rgb":
        tinted = (course[..., None] * np.array([1.0, 0.97, 0.92])).astype(np.uint8)
        tifffile.imwrite(path, tinted, photometric="rgb", metadata=None)
        return
    packed = {"lzw": "lzw", "deflate": "zlib"}.get(form)  # to tifffile "deflate" is an older tag of the same
    tifffile.imwrite(path, course, photometric="minisblack", compression=packed, metadata=None)
