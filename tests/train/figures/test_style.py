"""The drawn pixels and texts are checked, not only that something was drawn."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from tarpon.train.figures import curves, style
from tarpon.train.tasks.mouse.figures import classes as class_figures
from tarpon.train.tasks.mouse.figures import trials

CLASSES = ["rest", "paw_withdraw", "walk"]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def close_to(image, colour, *, tolerance=30):
    """How many pixels have about this colour."""
    return int((np.abs(image.astype(int) - np.round(np.array(to_rgb(colour)) * 255)).max(-1) <= tolerance).sum())


def overlap(figure, artists):
    """Pairs of texts that cover each other in the drawn figure."""
    style.png(figure)
    boxes = [artist.get_window_extent() for artist in artists if artist.get_text()]
    return [(i, j) for i in range(len(boxes)) for j in range(i) if boxes[i].overlaps(boxes[j])]


def test_png_and_pixels_hold_the_same_picture():
    drawn = style.pixels(class_figures.confusion(np.eye(3, dtype=int), classes=CLASSES))
    stored = style.png(class_figures.confusion(np.eye(3, dtype=int), classes=CLASSES))
    stored = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"))
    assert drawn.dtype == np.uint8
    assert drawn.ndim == 3
    np.testing.assert_array_equal(drawn, stored)
    assert (drawn[0, 0] == 255).all()  # white ground


def test_a_palette_makes_a_photograph_smaller_and_keeps_the_marks_colour():
    image = np.repeat(np.random.default_rng(0).integers(0, 255, (1, 64, 64, 1), dtype=np.uint8), 3, axis=3)
    places = np.array([[[0.5, 0.5]]])
    figure = trials.points(image, true=None, predicted=places, titles=["t"])
    full, small = style.png(figure), style.png(figure, colours=128)
    assert len(small) < 0.6 * len(full)
    assert close_to(np.asarray(Image.open(io.BytesIO(small)).convert("RGB")), trials.PREDICTED_COLOUR) > 10


@pytest.mark.parametrize("count", [1, 6, 8, 20])
def test_class_colours_are_distinct_and_do_not_depend_on_the_number_of_classes_up_to_eight(count):
    colours = style.class_colours(count)
    assert len(set(colours)) == count
    if count <= 8:
        assert colours == style.class_colours(8)[:count]
        assert style.UNLABELLED not in colours


def test_curves_draw_each_line_at_its_step_and_classes_in_their_colours():
    lines = [{"step": s, "epoch": 0, "loss": 4.0 / s, "loss/keypoints": 0.001 / s, "lr": 0.1 * s} for s in (1, 2, 3)]
    lines += [{"step": 3, "epoch": 0, "val/macro_f1": 0.5, "val/macro_f1_low": 0.1, "val/f1_walk": 0.25, "val/frames": 900.0}]
    drawn = [figure.axes[0] for figure in curves.curves(lines, classes=CLASSES)]
    panels = {axes.get_title(loc="left"): {line.get_label(): line for line in axes.lines} for axes in drawn}
    assert list(panels) == ["Loss", "Scores on validation", "F1 of each class on validation", "Learning rate"]
    assert panels["Loss"]["training loss"].get_xydata().tolist() == [[1, 4], [2, 2], [3, 4 / 3]]
    assert list(panels["Loss"]) == ["training loss", "training loss: keypoints"]
    assert list(panels["Scores on validation"]) == ["macro F1"]
    assert panels["F1 of each class on validation"]["walk"].get_color() == style.class_colours(3)[2]
    assert drawn[0].get_yscale() == "log"  # the two terms lie a factor of thousands apart
    assert drawn[1].get_ylim()[1] == pytest.approx(1.02)


def test_curves_of_another_task_show_its_own_scores():
    (figure,) = curves.curves([{"step": 1, "val/map": 0.4, "val/rank_1": 0.6, "val/hours_mae": 7.0}])
    assert [line.get_label() for line in figure.axes[0].lines] == ["mAP", "rank 1"]


def test_curves_survive_a_value_that_is_not_a_number():
    (figure,) = curves.curves([{"step": 1, "loss": float("nan")}, {"step": 2, "loss": 1.0}])
    assert style.png(figure).startswith(b"\x89PNG")
    assert 1.0 in figure.axes[0].lines[0].get_ydata()


def test_nothing_to_draw_is_known_beforehand():
    assert not curves.has_curves([])
    assert not curves.has_curves([{"step": 1, "epoch": 0, "frames_per_s": 3.0}])
    with pytest.raises(ValueError, match="no curve"):
        curves.curves([])


def test_confusion_colours_the_share_of_the_true_class_and_writes_the_counts():
    counts = np.array([[1500, 500, 0], [1, 3, 0], [0, 0, 0]])
    axes = class_figures.confusion(counts, classes=CLASSES).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25, 0], [0.25, 0.75, 0], [0, 0, 0]])
    assert texts(axes) == ["1,500\n75%", "500\n25%", "0\n0%", "1\n25%", "3\n75%", "0\n0%", "–", "–", "–"]
    assert [label.get_text() for label in axes.get_yticklabels()] == CLASSES
    assert [label.get_text() for label in axes.get_xticklabels()] == CLASSES


def test_confusion_labels_do_not_overlap_with_long_names_and_large_counts():
    classes = [f"a_rather_long_class_{i}" for i in range(8)]
    figure = class_figures.confusion(np.full((8, 8), 1234567), classes=classes)
    axes = figure.axes[0]
    assert overlap(figure, [*axes.texts, *axes.get_yticklabels()]) == []


def test_f1_bars_say_when_a_class_has_no_frames():
    axes = class_figures.f1_bars([0.5, float("nan"), 1.0], support=[1200, 0, 3], classes=CLASSES).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.0, 1.0]
    assert texts(axes) == ["0.500 (n = 1,200)", "no frames (n = 0)", "1.000 (n = 3)"]
    assert [bar.get_facecolor()[:3] for bar in axes.patches] == [to_rgb(colour) for colour in style.class_colours(3)]


def test_the_text_of_a_full_bar_stays_inside_the_figure():
    figure = class_figures.f1_bars([1.0], support=[12345678], classes=["x"])
    style.png(figure)
    assert figure.axes[0].texts[0].get_window_extent().x1 < figure.bbox.x1
    assert figure.axes[0].get_xlim() == (0.0, 1.0)


def test_precision_recall_curves_have_their_class_colour_and_say_what_is_missing():
    curve = np.array([[1.0, 0.5], [0.5, 1.0], [0.0, 1.0]])
    figure = class_figures.precision_recall(
        [curve, None, curve], average=[0.75, float("nan"), 0.5], support=[1500, 0, 500], classes=CLASSES
    )
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["rest: AP 0.750 (n = 1,500)", "paw_withdraw: no true frames", "walk: AP 0.500 (n = 500)"]
    solid = {line.get_color(): line for line in figure.axes[0].lines if line.get_linestyle() == "-" and len(line.get_xdata())}
    rest, _, walk = style.class_colours(3)
    assert set(solid) == {rest, walk}
    assert solid[rest].get_xydata().tolist() == curve[::-1].tolist()
    assert solid[rest].get_drawstyle() == "steps-pre"
    blind = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert blind == [0.75, 0.25]


def test_names_with_a_dollar_sign_are_text_and_not_mathematics():
    classes = ["cost_$a$", "b$", "$\\frac{"]
    figure = class_figures.confusion(np.eye(3, dtype=int), classes=classes)
    assert style.png(figure).startswith(b"\x89PNG")
    assert not any(
        label.get_parse_math() and "$" in label.get_text().replace("\\$", "") for label in figure.axes[0].get_xticklabels()
    )
