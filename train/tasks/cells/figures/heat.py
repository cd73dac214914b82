"""Which pages to explain, and pages with the heat of their answers laid over them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tarpon.train.figures import style
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS, PageRows
from tarpon.train.tasks.cells.metrics.scores import F1_SHARE, HOURS_SHARE

OPACITY = 0.55  # of the hottest place; a cold one shows the page as it is


@dataclass(frozen=True, kw_only=True, eq=False)
class HeatedPage:
    """A page and why it was answered as it was."""

    image: np.ndarray  # (H, W) or (H, W, 3) uint8
    heat: Mapping[str, np.ndarray]  # what is explained -> (H, W) in [0, 1], from `models.pages.gradcam.compute_heat_maps`
    title: str


def best_and_worst(rows: PageRows, *, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Pages to explain: (n,) indices into `rows` of the best page of each best stack, and of the worst page of each worst one.

    A page is as good as 0.6 x the probability of its class + 0.4 x (1 - error / highest target); a stack as its mean. Of few
    stacks none is both best and worst: n is at most half of them, at least one.
    """
    right = np.where(rows.label == 1, rows.prob, 1 - rows.prob).astype(np.float64)
    error = np.abs(rows.predicted.astype(np.float64) - rows.target) / rows.clamp_range[1]
    good = F1_SHARE * right + HOURS_SHARE * np.maximum(0.0, 1 - error)
    _, stack_of_row, pages = np.unique(rows.stack, return_inverse=True, return_counts=True)
    order = np.argsort(-np.bincount(stack_of_row, weights=good) / pages, kind="stable")
    count = max(1, min(count, len(order) // 2))
    own = [np.flatnonzero(stack_of_row == stack) for stack in order]
    best = [at[good[at].argmax()] for at in own[:count]]
    worst = [at[good[at].argmin()] for at in own[::-1][:count]]
    return np.array(best), np.array(worst)


def page_title(rows: PageRows, page: int) -> str:
    """Two lines: stack, hour and class of a page; the model's answer and the truth."""
    return (
        f"{style.plain(str(rows.stack[page]), limit=24)}, {rows.clock[page]:g} h: {CONDITIONS[rows.label[page]]}\n"
        f"told {rows.prob[page]:.2f} infected, {rows.predicted[page]:.1f} h (true {rows.target[page]:.1f} h)"
    )


def draw_heated(best: Sequence[HeatedPage], worst: Sequence[HeatedPage], *, note: str = "") -> Figure:
    """One page a row: as it is, then under the heat of each answer; the best pages above the worst.

    The heat of each panel is relative to its own hottest place: panels show where, not how strongly. note: said below.
    """
    pages = [*best, *worst]
    if not pages:
        raise ValueError("no page to show; give at least one")
    names = list(pages[0].heat)
    columns = 1 + len(names)
    figure = Figure(figsize=(3.1 * columns, 3.35 * len(pages) + 0.4), layout="constrained")
    grid = figure.subplots(len(pages), columns, squeeze=False)
    for row, page in enumerate(pages):
        kind = "best" if row < len(best) else "worst"
        grid[row, 0].set_ylabel(kind, fontsize=11)
        grid[row, 0].set_title(page.title, loc="left", fontsize=8)
        _picture(grid[row, 0], page.image)
        for axes, name in zip(grid[row, 1:], names, strict=True):
            _picture(axes, page.image)
            axes.imshow(page.heat[name], cmap="inferno", vmin=0, vmax=1, alpha=OPACITY * np.clip(page.heat[name], 0, 1))
            axes.set_title(f"for {name}", loc="left", fontsize=8)
    words = "warm: what speaks for the answer, every panel in its own scale; without heat: nothing does"
    figure.supxlabel("\n".join(filter(None, (words, note))), fontsize=9)
    return figure


def spread_pages(rows: PageRows, stack: str, *, count: int) -> list[int]:
    """Indices into `rows` of `count` pages of a stack, evenly over its hours, the first and the last among them."""
    own = np.flatnonzero(rows.stack == stack)
    own = own[np.argsort(rows.clock[own], kind="stable")]
    return own[np.unique(np.linspace(0, len(own) - 1, count).round().astype(int))].tolist()


def time_title(rows: PageRows, page: int) -> str:
    """One line: hour of a page and what the model tells."""
    return f"{rows.clock[page]:g} h: told {rows.prob[page]:.2f} infected"


def draw_heat_over_time(courses: Mapping[str, Sequence[HeatedPage]], *, note: str = "") -> Figure:
    """A stack a row, its pages from left to right in time, under the heat of "infected", in one scale for all pages of a stack.

    Args:
        courses: title of a stack -> its pages, with heat that is not relative to the page.
        note: said below.
    """
    columns = max(map(len, courses.values()))
    figure = Figure(figsize=(2.4 * columns, 2.75 * len(courses) + 0.4), layout="constrained")
    grid = figure.subplots(len(courses), columns, squeeze=False)
    for line, (title, pages) in zip(grid, courses.items(), strict=True):
        peak = max(float(page.heat["infected"].max()) for page in pages) or 1.0
        for axes, page in zip(line, pages, strict=False):
            heat = np.clip(page.heat["infected"] / peak, 0, 1)
            _picture(axes, page.image)
            axes.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=OPACITY * heat)
            axes.set_title(page.title, loc="left", fontsize=8)
        for axes in line[len(pages) :]:
            axes.set_axis_off()
        line[0].set_ylabel(title, fontsize=9)
    words = "time from left to right; warm: what speaks for infected, in one scale for a stack's pages"
    figure.supxlabel("\n".join(filter(None, (words, note))), fontsize=9)
    return figure


def _picture(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
