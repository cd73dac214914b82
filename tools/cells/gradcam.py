"""`tarpon gradcam RUN`: where on a page a cells model looks, for its best and its worst stacks."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tarpon.models.pages import gradcam
from tarpon.models.pages.reader import PageReader
from tarpon.shards import atomic
from tarpon.shards.page_planes import KEY
from tarpon.tools.cells.report import GRADCAM, GRADCAM_OVER_TIME
from tarpon.tools.evaluate import open_best, run_folder
from tarpon.train.figures import style
from tarpon.train.prediction_files import list_shares
from tarpon.train.task import Batch, Problem
from tarpon.train.tasks.cells.figures.heat import (
    HeatedPage,
    best_and_worst,
    draw_heat_over_time,
    draw_heated,
    page_title,
    spread_pages,
    time_title,
)
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS, PageRows, load_rows

EXPLAINED = {"infected": gradcam.score_infected, "uninfected": gradcam.score_uninfected, "hours": gradcam.score_hours}


def run(run: str, *, stacks: int = 3, times: int = 6, split: str = "test", data: str | None = None) -> int:
    """Where on a page the answers come from: gradcam.png, of the best page of each best stack and the worst of each worst one.

    And gradcam_over_time.png, of pages of the same stacks over their hours.

    Args:
        run: run folder of a cells run, with predictions of the split.
        stacks: how many of the best, and of the worst.
        times: pages of a stack in the second picture; 0: none is made.
        split: val or test.
        data: the run's shards, where they have been moved.
    """
    if stacks < 1 or times < 0:
        raise ValueError(f"stacks={stacks} must be at least 1 and times={times} at least 0")
    folder = run_folder(Path(run))
    opened = open_best(folder, data=data)
    if not isinstance(opened.problem.model, PageReader):
        raise ValueError(f"{folder} is a run of {opened.kind}; heat is drawn over the pages of cells runs")
    path = folder / "predictions" / f"{split}.npz"
    if not list_shares(path):
        raise ValueError(f"{path}: no such file; let the training finish, or give another --split (val, test)")
    rows = load_rows(path)
    grey = {"mean": opened.options.mean, "std": opened.options.std}
    best, worst = best_and_worst(rows, count=stacks)
    wanted = [*best.tolist(), *worst.tolist()]
    pages = explain_pages(opened.problem, split, rows, wanted, **grey)
    drawn = [pages[index] for index in wanted]
    out = folder / GRADCAM
    channels = opened.problem.encoders.get(KEY, ())
    note = f"pages are shown by their first channel, {channels[0]}; heat is of all channels" if channels[1:] else ""
    atomic.write_bytes(out, style.png(draw_heated(drawn[: len(best)], drawn[len(best) :], note=note)))
    print(f"{len(best)} best and {len(worst)} worst pages: {out}")
    if times:
        shown = folder / GRADCAM_OVER_TIME
        courses = explain_courses(opened.problem, split, rows, wanted, times, **grey)
        atomic.write_bytes(shown, style.png(draw_heat_over_time(courses, note=note)))
        print(f"the same stacks over time: {shown}")
    return 0


def explain_courses(
    problem: Problem, split: str, rows: PageRows, pages: Sequence[int], times: int, *, mean: float, std: float
) -> dict[str, list[HeatedPage]]:
    """Title of each stack that one of `pages` is of -> `times` of its pages over its hours, with heat as it is."""
    stacks = {str(rows.stack[page]): CONDITIONS[rows.label[page]] for page in pages}
    wanted = {stack: spread_pages(rows, stack, count=times) for stack in stacks}
    found: dict[int, HeatedPage] = {}
    for index, batch in iterate_pages(problem, split, [page for own in wanted.values() for page in own]):
        check_page(batch, rows, index, split=split)
        heat = gradcam.compute_heat_maps(
            problem.model, batch["clip"], batch["valid"], of=gradcam.score_infected, relative=False
        )
        found[index] = HeatedPage(
            image=to_grey(batch["clip"], mean=mean, std=std),
            heat={"infected": heat[0].cpu().numpy()},
            title=time_title(rows, index),
        )
    return {f"{style.plain(stack, limit=24)}\n{stacks[stack]}": [found[page] for page in own] for stack, own in wanted.items()}


def check_page(batch: Mapping[str, Tensor], rows: PageRows, index: int, *, split: str) -> None:
    """ValueError where a page of the split is no longer the one that was predicted."""
    if int(batch["label"]) != rows.label[index] or abs(float(batch["hours"]) - rows.clock[index]) > 1e-3:
        raise ValueError(f"{split} no longer holds the pages that were predicted; the shards were packed anew: train again")


def explain_pages(
    problem: Problem, split: str, rows: PageRows, wanted: Sequence[int], *, mean: float, std: float
) -> dict[int, HeatedPage]:
    """Place in `rows` -> that page with its heat.

    Args:
        rows: the split's predictions; its pages come in the order of the split.
        mean, std: that grey levels of 0..1 were normalised with.
    """
    found: dict[int, HeatedPage] = {}
    for index, batch in iterate_pages(problem, split, wanted):
        check_page(batch, rows, index, split=split)
        heat = {
            name: gradcam.compute_heat_maps(problem.model, batch["clip"], batch["valid"], of=of)[0].cpu().numpy()
            for name, of in EXPLAINED.items()
        }
        found[index] = HeatedPage(image=to_grey(batch["clip"], mean=mean, std=std), heat=heat, title=page_title(rows, index))
    if len(found) < len(set(wanted)):
        raise ValueError(f"{split} has fewer pages than were predicted; the shards were packed anew: train again")
    return found


def iterate_pages(problem: Problem, split: str, wanted: Sequence[int]) -> Iterator[tuple[int, Mapping[str, Tensor]]]:
    """(place in the split, batch of that page alone); no further than to the last one."""
    first, left = 0, sorted(set(wanted))
    for batch in problem.data.split(split):
        real: Batch = {name: value[batch["row"] >= 0] for name, value in batch.items()}
        count = len(real["row"])
        for index in (index for index in left if first <= index < first + count):
            yield index, {name: value[index - first : index - first + 1] for name, value in real.items()}
        first += count
        left = [index for index in left if index >= first]
        if not left:
            return


def to_grey(clip: Tensor, *, mean: float, std: float) -> np.ndarray:
    """clip (1, W, C, H, W') normalised -> (H, W') uint8 of the middle page's first channel as the network sees it."""
    page = clip[0, clip.shape[1] // 2, 0].float() * std + mean
    return (page.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
