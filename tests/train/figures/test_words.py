"""Names and figures as a reader is told of them."""

import pytest
from matplotlib.figure import Figure

from tarpon.train.figures import curves
from tarpon.train.figures.alternative import describe_figure
from tarpon.train.figures.style import png
from tarpon.train.figures.words import in_words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("loss", "training loss"),
        ("loss/keypoints", "training loss: keypoints"),
        ("val/loss", "validation loss"),
        ("val/loss_label", "validation loss: label"),
        ("val/macro_f1", "macro F1"),
        ("val/segment_f1_50", "segmental F1@50"),
        ("val/cmc_5", "CMC@5"),
        ("val/mae_troph", "mean absolute error trophic level"),
        ("lr", "learning rate"),
        ("val/something_new", "something new"),
    ],
)
def test_names_are_words(name, words):
    assert in_words(name) == words


def test_lines_are_told_from_where_to_where():
    lines = [{"step": step, "loss": 4.0 / step, "val/map": 0.1 * step} for step in (1, 2, 4)]
    loss, scores = curves.curves(lines)
    assert describe_figure(loss) == "Loss, lines, over optimizer step: training loss from 4 to 1."
    assert describe_figure(scores) == "Scores on validation, lines, over optimizer step: mAP from 0.1 to 0.4."


def test_unnamed_lines_and_values_that_are_no_number_are_left_out():
    axes = (figure := Figure()).subplots()
    axes.plot([0, 1, 2], [float("nan"), 2000.0, 3.0], label="score")
    axes.axhline(1.0)
    png(figure)
    assert describe_figure(figure) == "lines: score from 2,000 to 3."


def test_many_series_are_cut_and_say_so():
    axes = (figure := Figure()).subplots()
    for number in range(10):
        axes.plot([0, 1], [0, number], label=f"line {number}")
    assert describe_figure(figure).endswith("line 7 from 0 to 7; and 2 more.")


def test_pictures_points_and_empty_panels():
    left, middle, right = (figure := Figure()).subplots(1, 3)
    left.imshow([[0, 1], [1, 0]])
    left.set_title("a frame")
    middle.scatter([0, 1, 2], [0, 1, 2])
    middle.set_xlabel("true level")
    middle.set_ylabel("predicted level")
    right.set_axis_off()
    assert describe_figure(figure) == "a frame, a picture. 3 points, predicted level over true level."


def test_runs_are_compared_in_their_own_colours_and_none_is_drawn_of_nothing():
    runs = {"a": [{"step": 1, "val/map": 0.5}], "b": [{"step": 1, "val/map": 0.25}, {"step": 2, "val/map": 0.75}], "c": []}
    axes = curves.compare_curves(runs, "val/map", title="mAP").axes[0]
    assert {line.get_label(): line.get_ydata().tolist() for line in axes.lines} == {"a": [0.5], "b": [0.25, 0.75]}
    assert axes.get_ylim()[1] == pytest.approx(1.02)
    assert curves.compare_curves(runs, "loss", title="Loss") is None
