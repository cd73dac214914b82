"""Trials as they are drawn: the bouts, the marks and the frames are checked, not only that something was drawn."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from tarpon.train.figures import style
from tarpon.train.tasks.mouse.figures import trials as trial_figures
from tarpon.train.tasks.mouse.metrics.trial import Trial

CLASSES = ["rest", "paw_withdraw", "walk"]


def trial(actions, predicted, *, key="a", classes=3):
    probs = np.eye(classes, dtype=np.float32)[np.asarray(predicted)]
    return Trial(key=key, group=f"mouse {key}", actions=np.asarray(actions, np.int64), probs=probs, size=(100, 80))


def pointed(key, *, frames, worst=None):
    """A trial whose predicted points lie off by 0.1 in one frame, and right elsewhere; worst None: it has no true points."""
    places = np.full((frames, 2, 2), 0.5, np.float32)
    true = np.concatenate([places, np.ones((frames, 2, 1), np.float32)], -1)
    places[worst] += 0.1
    actions = np.arange(frames) % 3
    return Trial(
        key=key,
        group="g",
        actions=actions,
        probs=np.eye(3, dtype=np.float32)[actions],
        size=(64, 48),
        keypoints=None if worst is None else true,
        keypoints_pred=places,
    )


def strips(axes):
    """Per strip, top first: the (start, stop, colour) of its bouts in order of time."""
    return [
        sorted(
            (*path.get_extents().intervalx.tolist(), tuple(colour[:3]))
            for path, colour in zip(strip.get_paths(), strip.get_facecolors(), strict=True)
        )
        for strip in axes.collections
    ]


def close_to(image, colour, *, tolerance=30):
    """How many pixels have about this colour."""
    return int((np.abs(image.astype(int) - np.round(np.array(to_rgb(colour)) * 255)).max(-1) <= tolerance).sum())


def overlap(figure, artists):
    """Pairs of texts that cover each other in the drawn figure."""
    style.png(figure)
    boxes = [artist.get_window_extent() for artist in artists if artist.get_text()]
    return [(i, j) for i in range(len(boxes)) for j in range(i) if boxes[i].overlaps(boxes[j])]


def test_ethogram_draws_the_bouts_of_truth_above_those_of_the_prediction():
    axes = trial_figures.ethogram([trial([0, 0, 1, -1, -1], [2, 2, 2, 2, 1])], classes=CLASSES).axes[0]
    rest, withdraw, walk = map(to_rgb, style.class_colours(3))
    truth, prediction = strips(axes)
    assert truth == [(0, 2, rest), (2, 3, withdraw), (3, 5, to_rgb(style.UNLABELLED))]
    assert prediction == [(0, 4, walk), (4, 5, withdraw)]
    low = [min(path.get_extents().y0 for path in strip.get_paths()) for strip in axes.collections]
    assert low[0] > low[1]


def test_ethogram_legend_names_every_class_and_grey_only_where_needed():
    def legend(actions):
        return [
            text.get_text() for text in trial_figures.ethogram([trial(actions, [0, 0])], classes=CLASSES).legends[0].get_texts()
        ]

    assert legend([0, 1]) == CLASSES
    assert legend([0, -1]) == [*CLASSES, "not labelled"]


def test_a_bout_of_one_frame_is_seen_in_a_long_trial():
    actions = np.zeros(20_000, np.int64)
    actions[7777] = 1
    drawn = style.pixels(trial_figures.ethogram([trial(actions, np.zeros(20_000, int))], classes=CLASSES))
    legend_only = style.pixels(trial_figures.ethogram([trial(actions * 0, np.zeros(20_000, int))], classes=CLASSES))
    withdraw = style.class_colours(3)[1]
    assert close_to(drawn, withdraw, tolerance=110) > close_to(legend_only, withdraw, tolerance=110) + 10


def test_heat_shows_the_probabilities_of_each_trial_below_it():
    trials = [trial([0, 1, 2, 2], [0, 1, 1, 2], key="a"), trial([0, 0], [2, 2], key="b")]
    figure = trial_figures.ethogram(trials, classes=CLASSES, heat=True)
    assert len(figure.axes) == 4
    for place, one in enumerate(trials):
        np.testing.assert_array_equal(figure.axes[2 * place + 1].images[0].get_array(), one.probs.T)
    assert figure.axes[-1].get_xlim() == (0, 4)  # all trials share the axis of the longest


def test_ethogram_texts_do_not_overlap():
    trials = [trial([0, 1], [0, 1], key=f"shortened_2024-05-01_cohort_{i}_267M_tracking.mp4_1") for i in range(3)]
    figure = trial_figures.ethogram(trials, classes=CLASSES, heat=True)
    labels = [text for axes in figure.axes for text in (axes.title, axes._left_title, *axes.get_yticklabels())]
    assert overlap(figure, [*labels, *figure.legends[0].get_texts()]) == []


def test_ethogram_of_no_trial_is_refused():
    with pytest.raises(ValueError, match="at least one trial"):
        trial_figures.ethogram([], classes=CLASSES)


def test_points_are_drawn_at_their_place_and_hidden_ones_are_not():
    images = np.zeros((1, 50, 100, 3), np.uint8)
    true = np.array([[[0.25, 0.5, 1], [0.9, 0.9, 0]]])
    predicted = np.array([[[0.5, 0.2], [0.1, 0.1]]])
    axes = trial_figures.points(images, true=true, predicted=predicted, titles=["t"]).axes[0]
    drawn = {line.get_marker(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn["o"] == [[25, 25]]
    assert drawn["x"] == [[50, 10]]
    assert drawn["None"] == [[25, 25], [50, 10]]  # the line that joins the two
    assert axes.images[0].get_extent() == [0, 100, 50, 0]


def test_points_without_truth_are_all_drawn():
    axes = trial_figures.points(
        np.zeros((1, 8, 8, 3), np.uint8), true=None, predicted=np.full((1, 4, 2), 0.5), titles=["t"]
    ).axes[0]
    assert [len(line.get_xydata()) for line in axes.lines] == [4]


@pytest.mark.parametrize("count", [1, 3, 4])
def test_point_titles_stay_inside_the_figure(count):
    images = np.zeros((count, 60, 80, 3), np.uint8)
    words = ["frame 1234, largest error\ntrue: a, predicted: b"] * count
    figure = trial_figures.points(images, true=None, predicted=None, titles=words)
    style.png(figure)
    titles = [axes.title for axes in figure.axes[:count]]
    assert overlap(figure, titles) == []
    assert all(title.get_window_extent().y1 <= figure.bbox.y1 for title in titles)


def test_frames_of_two_sizes_each_have_their_own_scale():
    images = [np.zeros((50, 100, 3), np.uint8), np.zeros((80, 40, 3), np.uint8)]
    truth = [None, np.array([[0.25, 0.5, 1.0]])]
    one, two = trial_figures.points(images, true=truth, predicted=[np.full((1, 2), 0.5)] * 2, titles=["a", "b"]).axes
    assert [line.get_xydata().tolist() for line in one.lines] == [[[50, 25]]]  # no truth: the prediction alone
    assert {line.get_marker(): line.get_xydata().tolist() for line in two.lines}["o"] == [[10, 40]]


@pytest.mark.parametrize(("shape", "dtype"), [((1, 8, 8), "uint8"), ((1, 8, 8, 3), "float32"), ((0, 8, 8, 3), "uint8")])
def test_points_refuse_what_is_not_an_rgb_frame(shape, dtype):
    with pytest.raises(ValueError, match="points wants images"):
        trial_figures.points(np.zeros(shape, dtype), true=None, predicted=None, titles=["t"])


@pytest.mark.parametrize(("worst", "places"), [(2, [2, 5, 15]), (15, [5, 10, 15]), (None, [5, 10, 15])])
def test_moments_are_three_frames_with_the_worst_among_them(worst, places):
    found, titles = trial_figures.moments(pointed("a", frames=20, worst=worst), classes=CLASSES)
    assert found == places
    assert [place for place, title in zip(found, titles, strict=True) if "largest error" in title] == (
        [] if worst is None else [worst]
    )
    assert titles[-1].endswith("true: rest, predicted: rest")


def test_moments_of_a_trial_of_one_frame():
    assert trial_figures.moments(pointed("a", frames=1, worst=0), classes=CLASSES)[0] == [0]


def test_samples_give_each_of_four_trials_its_row_and_its_own_frames():
    asked = []

    def frames(key, places):
        asked.append((key, list(places)))
        return np.stack([np.full((48, 64, 3), place, np.uint8) for place in places])

    trials = [pointed(f"trial {n}", frames=20, worst=n) for n in range(9)] + [trial([0, 1], [0, 1], key="without")]
    figure = trial_figures.point_samples(trials, classes=CLASSES, frames=frames)
    assert [key for key, _ in asked] == ["trial 0", "trial 3", "trial 5", "trial 8"]
    assert all(places == sorted(places) for _, places in asked)
    shown = [(axes.get_title().split("\n")[0], int(axes.images[0].get_array()[0, 0, 0])) for axes in figure.axes]
    assert shown == [(key, place) for key, places in asked for place in places]


def test_samples_need_predicted_points():
    assert trial_figures.point_samples([trial([0], [0])], classes=CLASSES, frames=lambda *_: 1 / 0) is None


def test_names_with_a_dollar_sign_are_text_and_not_mathematics():
    figure = trial_figures.ethogram([trial([0, 1, 2], [0, 1, 2])], classes=["cost_$a$", "b$", "$\\frac{"])
    assert style.png(figure).startswith(b"\x89PNG")
