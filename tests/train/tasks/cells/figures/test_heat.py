"""Which pages are explained, and the picture of their heat."""

import numpy as np
import pytest

from tarpon.train.figures import style
from tarpon.train.tasks.cells.figures.heat import HeatedPage, best_and_worst, draw_heated, page_title
from tarpon.train.tasks.cells.metrics.predictions import PageRows


def pages(prob: list[float], *, error: list[float] | None = None) -> PageRows:
    """Stacks of two pages, all infected."""
    count = len(prob)
    stack = np.array([f"s{i // 2}" for i in range(count)])
    zero = np.zeros(count, np.float32)
    target = np.full(count, 10.0, np.float32)
    told = target + np.asarray(error if error else zero, np.float32)
    words = dict.fromkeys(("key", "stack", "well", "position", "path"), stack)
    return PageRows(
        clamp_range=(0.0, 48.0),
        **words,
        page=np.arange(count) % 2,
        label=np.ones(count, np.int64),
        prob=np.asarray(prob, np.float32),
        clock=zero,
        target=target,
        predicted=told,
        constant=zero,
        constant_class=zero,
    )


def test_best_page_of_the_best_stack_and_worst_of_the_worst():
    best, worst = best_and_worst(pages([0.5, 0.6, 0.9, 1.0, 0.2, 0.1, 0.7, 0.7]), count=1)
    assert best.tolist() == [3]
    assert worst.tolist() == [5]
    best, worst = best_and_worst(pages([0.5, 0.6, 0.9, 1.0, 0.2, 0.1, 0.7, 0.7]), count=9)
    assert best.tolist() == [3, 6]
    assert worst.tolist() == [5, 0]


def test_hours_count_as_well():
    best, worst = best_and_worst(pages([0.9] * 6, error=[5, 5, 0, 1, 20, 30]), count=1)
    assert (best.tolist(), worst.tolist()) == ([2], [5])


def test_one_stack_is_shown_rather_than_none():
    best, worst = best_and_worst(pages([0.3, 0.8]))
    assert (best.tolist(), worst.tolist()) == ([1], [0])


def test_heat_is_where_it_was_given():
    image = np.full((40, 40), 90, np.uint8)
    heat = np.zeros((40, 40), np.float32)
    heat[:20, 20:] = 1.0
    title = page_title(pages([0.3, 0.8]), 1)
    page = HeatedPage(image=image, heat={"infected": heat, "hours": heat * 0}, title=title)
    drawn = style.pixels(draw_heated([page], [page]), dpi=60).astype(int)
    coloured = (np.ptp(drawn, axis=-1) > 40).any(0)  # grey has no spread over the channels
    third = drawn.shape[1] // 3
    assert not coloured[:third].any()
    assert coloured[third : 2 * third].any()
    assert not coloured[2 * third + 12 :].any()  # past the gap between two panels
    with pytest.raises(ValueError, match="no page"):
        draw_heated([], [])
