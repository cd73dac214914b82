"""Figures of classes and hours show the numbers that the scores hold, also where there is little to show."""

from dataclasses import replace

import numpy as np
import pytest

from tarpon.train.figures import style
from tarpon.train.tasks.cells.figures import curves
from tarpon.train.tasks.cells.figures import hours as hour_figures
from tarpon.train.tasks.cells.metrics.predictions import PageRows
from tarpon.train.tasks.cells.metrics.scores import score_stacks
from tarpon.train.tasks.cells.metrics.windows import find_good_hour, score_windows


def pages(stacks: int = 6, count: int = 30, *, labels: tuple[int, ...] = (0, 1)) -> PageRows:
    rng = np.random.default_rng(0)
    number, page = np.repeat(np.arange(stacks), count), np.tile(np.arange(count), stacks)
    label = np.asarray(labels)[number % len(labels)]
    clock = (page / 2).astype(np.float32)
    name = np.array([f"$w_{value:02}" for value in number])  # a dollar sign would start matplotlib's mathematics
    words = dict.fromkeys(("stack", "well", "position", "path"), name)
    return PageRows(
        clamp_range=(0.0, 48.0),
        key=np.arange(len(page)).astype(str),
        **words,
        page=page,
        label=label,
        prob=rng.random(len(page)).astype(np.float32),
        clock=clock,
        target=clock,
        predicted=np.clip(clock + rng.normal(1, 2, len(page)), 0, 48).astype(np.float32),
        constant=clock,
        constant_class=clock,
    )


DRAWN = (hour_figures.scatter, hour_figures.over_time, hour_figures.calibration, hour_figures.stacks)


@pytest.mark.parametrize("draw", DRAWN)
@pytest.mark.parametrize("rows", [pages(1, 1), pages(2, 3, labels=(0,)), pages(60, 2)], ids=["one page", "one class", "many"])
def test_little_and_much_can_be_drawn(draw, rows):
    assert style.pixels(draw(rows, split="test"), dpi=40).std() > 0


LINES = [{"step": 1, "loss": 3.0, "lr": 1e-4, "val/loss": 4.0, "val/auc": 0.5, "val/mae": 5.0, "val/auc_before_onset": 0.5}]


@pytest.mark.parametrize(
    "figure",
    [*(draw(pages()) for draw in DRAWN), curves.training_curves(LINES), curves.validation_metrics(LINES)],
    ids=[*(draw.__name__ for draw in DRAWN), "training", "validation"],
)
def test_every_axis_says_what_it_is_and_legends_are_words(figure):
    for axes in figure.axes:
        shared_below = not axes.get_subplotspec().is_last_row() and not axes.get_xlabel()
        assert axes.get_xlabel() or shared_below
        assert axes.get_ylabel() or not axes.get_subplotspec().is_first_col() or axes.get_yticklabels()
        for label in axes.get_legend_handles_labels()[1]:
            assert "_" not in label
            assert "/" not in label


def test_scatter_panels_are_all_infected_uninfected():
    rows = pages()
    axes = hour_figures.scatter(rows).axes
    for panel, chosen in zip(axes, (rows.label >= 0, rows.label == 1, rows.label == 0), strict=True):
        error = np.abs(rows.predicted - rows.target)[chosen].mean()
        assert f"MAE {error:.2f} h" in panel.get_title("left")
        points = panel.collections[0].get_offsets()
        np.testing.assert_allclose(np.sort(points[:, 1]), np.sort(rows.predicted[chosen]), rtol=1e-6)


def test_scores_over_time_are_those_of_the_windows():
    rows = pages()
    found = score_windows(rows)
    top, middle, bottom = hour_figures.over_time(rows).axes
    auc = next(line for line in top.get_lines() if line.get_label() == "AUC")
    np.testing.assert_array_equal(auc.get_ydata(), [window.scores["auc"] for window in found])
    np.testing.assert_array_equal(auc.get_xdata(), [window.centre for window in found])
    whole = next(line for line in middle.get_lines() if line.get_label() == "all")
    np.testing.assert_array_equal(whole.get_ydata(), [window.scores["mae"] for window in found])
    assert sum(int(text.get_text()) for text in bottom.texts) == len(rows)  # windows overlap, bars do not
    hour = find_good_hour(found)
    assert np.isnan(hour)
    assert "does not stay" in top.get_title("left")


def test_the_hour_in_the_title_is_that_of_a_point_that_is_good():
    rows = pages()
    rows = replace(rows, prob=np.where(rows.clock >= 5, 0.5 + 0.4 * (2 * rows.label - 1), rows.prob).astype(np.float32))
    top = hour_figures.over_time(rows).axes[0]
    auc = next(line for line in top.get_lines() if line.get_label() == "AUC")
    hour = find_good_hour(score_windows(rows))
    assert f"from hour {hour:g} on" in top.get_title("left")
    at = dict(zip(auc.get_xdata().tolist(), auc.get_ydata().tolist(), strict=True))
    assert at[hour] >= 0.95 > at[hour - 3]


def test_the_worst_stack_is_on_top_and_few_are_named():
    rows = pages(60, 2)
    left, right = hour_figures.stacks(rows).axes
    widths = [bar.get_width() for bar in right.patches]
    assert len(widths) == hour_figures.MAX_STACKS
    assert widths == sorted(widths)
    assert widths[-1] == max(record["mae"] for record in score_stacks(rows))
    assert "48 with the largest errors" in left.get_title("left")


def test_curves_show_what_was_written_and_leave_out_what_was_not():
    lines = [
        {"step": 1, "loss": 3.0, "lr": 1e-4},
        {"step": 1, "val/loss": 4.0},
        {"step": 2, "loss": 2.0},
        {"step": 2, "val/mae": 5.0},
    ]
    loss, label, _, rate = curves.training_curves(lines).axes
    assert [line.get_ydata().tolist() for line in loss.get_lines()] == [[3.0, 2.0], [4.0]]
    assert [line.get_label() for line in loss.get_lines()] == ["training", "validation"]
    assert rate.get_lines()[0].get_ydata().tolist() == [1e-4]
    assert not label.get_lines()
    _, hours, _, _ = curves.validation_metrics(lines, best_step=2).axes
    assert hours.get_lines()[0].get_ydata().tolist() == [5.0]
    assert list(hours.get_lines()[-1].get_xdata()) == [2, 2]  # the best step
    assert style.pixels(curves.training_curves([])).std() > 0
