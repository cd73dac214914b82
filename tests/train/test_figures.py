"""The drawn pixels and texts are checked, not only that something was drawn."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from tarpon.train import figures
from tarpon.train.metrics.trial import Trial

CLASSES = ["rest", "paw_withdraw", "walk"]


def trial(actions, predicted, *, key="a", classes=3):
    probs = np.eye(classes, dtype=np.float32)[np.asarray(predicted)]
    return Trial(key=key, group=f"mouse {key}", actions=np.asarray(actions, np.int64), probs=probs, size=(100, 80))


def strips(axes):
    """Per strip, top first: the (start, stop, colour) of its bouts in order of time."""
    return [
        sorted(
            (*path.get_extents().intervalx.tolist(), tuple(colour[:3]))
            for path, colour in zip(strip.get_paths(), strip.get_facecolors(), strict=True)
        )
        for strip in axes.collections
    ]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def close_to(image, colour, *, tolerance=30):
    """How many pixels have about this colour."""
    return int((np.abs(image.astype(int) - np.round(np.array(to_rgb(colour)) * 255)).max(-1) <= tolerance).sum())


def overlap(figure, artists):
    """Pairs of texts that cover each other in the drawn figure."""
    figures.png(figure)
    boxes = [artist.get_window_extent() for artist in artists if artist.get_text()]
    return [(i, j) for i in range(len(boxes)) for j in range(i) if boxes[i].overlaps(boxes[j])]


def test_png_and_pixels_hold_the_same_picture():
    drawn = figures.pixels(figures.confusion(np.eye(3, dtype=int), classes=CLASSES))
    stored = figures.png(figures.confusion(np.eye(3, dtype=int), classes=CLASSES))
    stored = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"))
    assert drawn.dtype == np.uint8
    assert drawn.ndim == 3
    np.testing.assert_array_equal(drawn, stored)
    assert (drawn[0, 0] == 255).all()  # white ground


def test_a_palette_makes_a_photograph_smaller_and_keeps_the_marks_colour():
    image = np.repeat(np.random.default_rng(0).integers(0, 255, (1, 64, 64, 1), dtype=np.uint8), 3, axis=3)
    places = np.array([[[0.5, 0.5]]])
    figure = figures.points(image, true=None, predicted=places, titles=["t"])
    full, small = figures.png(figure), figures.png(figure, colours=128)
    assert len(small) < 0.6 * len(full)
    assert close_to(np.asarray(Image.open(io.BytesIO(small)).convert("RGB")), figures.PREDICTED_COLOUR) > 10


@pytest.mark.parametrize("count", [1, 6, 8, 20])
def test_class_colours_are_distinct_and_do_not_depend_on_the_number_of_classes_up_to_eight(count):
    colours = figures.class_colours(count)
    assert len(set(colours)) == count
    if count <= 8:
        assert colours == figures.class_colours(8)[:count]
        assert figures.UNLABELLED not in colours


def test_curves_draw_each_line_at_its_step_and_classes_in_their_colours():
    lines = [{"step": s, "epoch": 0, "loss": 4.0 / s, "loss/keypoints": 0.001 / s, "lr": 0.1 * s} for s in (1, 2, 3)]
    lines += [{"step": 3, "epoch": 0, "val/macro_f1": 0.5, "val/macro_f1_low": 0.1, "val/f1_walk": 0.25, "val/frames": 900.0}]
    figure = figures.curves(lines, classes=CLASSES)
    panels = {axes.get_title(loc="left"): {line.get_label(): line for line in axes.lines} for axes in figure.axes}
    assert list(panels) == ["Loss", "Scores on val", "F1 of each class on val", "Learning rate"]
    assert panels["Loss"]["loss"].get_xydata().tolist() == [[1, 4], [2, 2], [3, 4 / 3]]
    assert list(panels["Scores on val"]) == ["val/macro_f1"]
    assert panels["F1 of each class on val"]["walk"].get_color() == figures.class_colours(3)[2]
    assert figure.axes[0].get_yscale() == "log"  # the two terms lie a factor of thousands apart
    assert figure.axes[1].get_ylim()[1] == pytest.approx(1.02)


def test_curves_of_another_task_show_its_own_scores():
    figure = figures.curves([{"step": 1, "val/map": 0.4, "val/rank_1": 0.6, "val/hours_mae": 7.0}])
    assert [line.get_label() for line in figure.axes[0].lines] == ["val/map", "val/rank_1"]


def test_curves_survive_a_value_that_is_not_a_number():
    figure = figures.curves([{"step": 1, "loss": float("nan")}, {"step": 2, "loss": 1.0}])
    assert figures.png(figure).startswith(b"\x89PNG")
    assert 1.0 in figure.axes[0].lines[0].get_ydata()


def test_nothing_to_draw_is_known_beforehand():
    assert not figures.has_curves([])
    assert not figures.has_curves([{"step": 1, "epoch": 0, "frames_per_s": 3.0}])
    with pytest.raises(ValueError, match="no curve"):
        figures.curves([])


def test_confusion_colours_the_share_of_the_true_class_and_writes_the_counts():
    counts = np.array([[1500, 500, 0], [1, 3, 0], [0, 0, 0]])
    axes = figures.confusion(counts, classes=CLASSES).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25, 0], [0.25, 0.75, 0], [0, 0, 0]])
    assert texts(axes) == ["1,500\n75%", "500\n25%", "0\n0%", "1\n25%", "3\n75%", "0\n0%", "–", "–", "–"]
    assert [label.get_text() for label in axes.get_yticklabels()] == CLASSES
    assert [label.get_text() for label in axes.get_xticklabels()] == CLASSES


def test_confusion_labels_do_not_overlap_with_long_names_and_large_counts():
    classes = [f"a_rather_long_class_{i}" for i in range(8)]
    figure = figures.confusion(np.full((8, 8), 1234567), classes=classes)
    axes = figure.axes[0]
    assert overlap(figure, [*axes.texts, *axes.get_yticklabels()]) == []


def test_f1_bars_say_when_a_class_has_no_frames():
    axes = figures.f1_bars([0.5, float("nan"), 1.0], support=[1200, 0, 3], classes=CLASSES).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.0, 1.0]
    assert texts(axes) == ["0.500 (n = 1,200)", "no frames (n = 0)", "1.000 (n = 3)"]
    assert [bar.get_facecolor()[:3] for bar in axes.patches] == [to_rgb(colour) for colour in figures.class_colours(3)]


def test_the_text_of_a_full_bar_stays_inside_the_figure():
    figure = figures.f1_bars([1.0], support=[12345678], classes=["x"])
    figures.png(figure)
    assert figure.axes[0].texts[0].get_window_extent().x1 < figure.bbox.x1


def test_ethogram_draws_the_bouts_of_truth_above_those_of_the_prediction():
    axes = figures.ethogram([trial([0, 0, 1, -1, -1], [2, 2, 2, 2, 1])], classes=CLASSES).axes[0]
    rest, withdraw, walk = map(to_rgb, figures.class_colours(3))
    truth, prediction = strips(axes)
    assert truth == [(0, 2, rest), (2, 3, withdraw), (3, 5, to_rgb(figures.UNLABELLED))]
    assert prediction == [(0, 4, walk), (4, 5, withdraw)]
    low = [min(path.get_extents().y0 for path in strip.get_paths()) for strip in axes.collections]
    assert low[0] > low[1]


def test_ethogram_legend_names_every_class_and_grey_only_where_needed():
    def legend(actions):
        return [text.get_text() for text in figures.ethogram([trial(actions, [0, 0])], classes=CLASSES).legends[0].get_texts()]

    assert legend([0, 1]) == CLASSES
    assert legend([0, -1]) == [*CLASSES, "not labelled"]


def test_a_bout_of_one_frame_is_seen_in_a_long_trial():
    actions = np.zeros(20_000, np.int64)
    actions[7777] = 1
    drawn = figures.pixels(figures.ethogram([trial(actions, np.zeros(20_000, int))], classes=CLASSES))
    legend_only = figures.pixels(figures.ethogram([trial(actions * 0, np.zeros(20_000, int))], classes=CLASSES))
    withdraw = figures.class_colours(3)[1]
    assert close_to(drawn, withdraw, tolerance=110) > close_to(legend_only, withdraw, tolerance=110) + 10


def test_heat_shows_the_probabilities_of_each_trial_below_it():
    trials = [trial([0, 1, 2, 2], [0, 1, 1, 2], key="a"), trial([0, 0], [2, 2], key="b")]
    figure = figures.ethogram(trials, classes=CLASSES, heat=True)
    assert len(figure.axes) == 4
    for place, one in enumerate(trials):
        np.testing.assert_array_equal(figure.axes[2 * place + 1].images[0].get_array(), one.probs.T)
    assert figure.axes[-1].get_xlim() == (0, 4)  # all trials share the axis of the longest


def test_ethogram_texts_do_not_overlap():
    trials = [trial([0, 1], [0, 1], key=f"shortened_2024-05-01_cohort_{i}_267M_tracking.mp4_1") for i in range(3)]
    figure = figures.ethogram(trials, classes=CLASSES, heat=True)
    labels = [text for axes in figure.axes for text in (axes.title, axes._left_title, *axes.get_yticklabels())]
    assert overlap(figure, [*labels, *figure.legends[0].get_texts()]) == []


def test_ethogram_of_no_trial_is_refused():
    with pytest.raises(ValueError, match="at least one trial"):
        figures.ethogram([], classes=CLASSES)


def test_points_are_drawn_at_their_place_and_hidden_ones_are_not():
    images = np.zeros((1, 50, 100, 3), np.uint8)
    true = np.array([[[0.25, 0.5, 1], [0.9, 0.9, 0]]])
    predicted = np.array([[[0.5, 0.2], [0.1, 0.1]]])
    axes = figures.points(images, true=true, predicted=predicted, titles=["t"]).axes[0]
    drawn = {line.get_marker(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn["o"] == [[25, 25]]
    assert drawn["x"] == [[50, 10]]
    assert drawn["None"] == [[25, 25], [50, 10]]  # the line that joins the two
    assert axes.images[0].get_extent() == [0, 100, 50, 0]


def test_points_without_truth_are_all_drawn():
    axes = figures.points(np.zeros((1, 8, 8, 3), np.uint8), true=None, predicted=np.full((1, 4, 2), 0.5), titles=["t"]).axes[0]
    assert [len(line.get_xydata()) for line in axes.lines] == [4]


@pytest.mark.parametrize("count", [1, 3, 4])
def test_point_titles_stay_inside_the_figure(count):
    images = np.zeros((count, 60, 80, 3), np.uint8)
    words = ["frame 1234, largest error\ntrue: a, predicted: b"] * count
    figure = figures.points(images, true=None, predicted=None, titles=words)
    figures.png(figure)
    titles = [axes.title for axes in figure.axes[:count]]
    assert overlap(figure, titles) == []
    assert all(title.get_window_extent().y1 <= figure.bbox.y1 for title in titles)


@pytest.mark.parametrize(("shape", "dtype"), [((1, 8, 8), "uint8"), ((1, 8, 8, 3), "float32"), ((0, 8, 8, 3), "uint8")])
def test_points_refuse_what_is_not_an_rgb_frame(shape, dtype):
    with pytest.raises(ValueError, match="points wants images"):
        figures.points(np.zeros(shape, dtype), true=None, predicted=None, titles=["t"])


def test_names_with_a_dollar_sign_are_text_and_not_mathematics():
    classes = ["cost_$a$", "b$", "$\\frac{"]
    figure = figures.confusion(np.eye(3, dtype=int), classes=classes)
    assert figures.png(figure).startswith(b"\x89PNG")
    assert not any(
        label.get_parse_math() and "$" in label.get_text().replace("\\$", "") for label in figure.axes[0].get_xticklabels()
    )
    assert figures.png(figures.ethogram([trial([0, 1, 2], [0, 1, 2])], classes=classes)).startswith(b"\x89PNG")
