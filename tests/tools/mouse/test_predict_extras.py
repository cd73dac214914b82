"""What labs want back: other programs' files read by their own rules, and the annotated video looked at pixel by pixel."""

from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, ImageColor

from tarpon.shards.sources.mouse.pose_track import read_track
from tarpon.shards.sources.video import clips as video
from tarpon.tools.mouse import annotate_video, export_boris, export_deepethogram, export_dlc
from tarpon.tools.mouse.labelled import Labelled
from tarpon.tools.mouse.predict_extras import Extras
from tarpon.train.figures.style import class_colours

CLASSES, POINTS, FPS = ("rest", "groom", "rear"), ("nose", "tail"), 20
ACTIONS = np.array([0] * 10 + [1] * 20 + [0] * 5 + [2] * 25)
SIDES = (200, 120)


@pytest.fixture
def made(tmp_path) -> Callable[..., Labelled]:
    """(changes...) -> a grey video of 60 frames at 20 a second, labelled; the nose walks right, the tail stands still."""

    def make(**changes) -> Labelled:
        path = tmp_path / "trial 1.mp4"
        if not path.exists():
            frames = [np.full((SIDES[1], SIDES[0], 3), 128, np.uint8)] * len(ACTIONS)
            video.write_video(path, frames, fps=FPS)
        probs = np.full((len(ACTIONS), 3), 0.1, np.float32)
        probs[np.arange(len(ACTIONS)), ACTIONS] = 0.8
        xy = np.stack([np.stack([20 + 2.0 * np.arange(60), np.full(60, 40.0)], 1), np.full((60, 2), 90.0)], 1)
        said = {"path": path, "fps": Fraction(FPS), "size": SIDES, "classes": CLASSES, "actions": ACTIONS, "probs": probs}
        return Labelled(**{**said, "points": POINTS, "predicted": xy, "given": None, **changes})

    return make


def nearest(pixel: np.ndarray, colours: list[tuple[int, int, int]]) -> int:
    """Which of the colours a pixel is, after a codec."""
    return int(np.abs(np.array(colours) - pixel).sum(1).argmin())


def test_boris_has_a_start_and_a_stop_of_every_bout_in_order(made, tmp_path, rows_of):
    head, *rows = rows_of(export_boris.write(made(), tmp_path))
    told = [dict(zip(head, row, strict=True)) for row in rows]
    events = [(row["Behavior"], row["Behavior type"], float(row["Time"]), int(row["Image index"])) for row in told]
    assert events == [
        ("rest", "START", 0, 0), ("rest", "STOP", 0.5, 10), ("groom", "START", 0.5, 10), ("groom", "STOP", 1.5, 30),
        ("rest", "START", 1.5, 30), ("rest", "STOP", 1.75, 35), ("rear", "START", 1.75, 35), ("rear", "STOP", 3, 60),
    ]  # fmt: skip
    assert {(row["Observation id"], row["Media file name"], row["FPS (frame/s)"]) for row in told} == {
        ("trial 1", "trial 1.mp4", "20.000")
    }
    assert {float(row["Media duration (s)"]) for row in told} == {3.0}


@pytest.mark.parametrize(("classes", "columns"), [
    (CLASSES, ["background", "groom", "rear"]),
    (("walk", "groom", "rear"), ["background", "walk", "groom", "rear"]),  # nothing means background: that column is 0
])  # fmt: skip
def test_deepethogram_has_one_column_of_each_row_on(made, tmp_path, classes, columns, rows_of):
    path = export_deepethogram.write(made(classes=classes), tmp_path)
    assert path.name == "trial 1_labels.csv"
    head, *rows = rows_of(path)
    assert head == ["", *columns]
    assert [int(row[0]) for row in rows] == list(range(60))
    table = np.array([[int(cell) for cell in row[1:]] for row in rows])
    assert (table.sum(1) == 1).all()
    expected = ["background" if classes[a] == "rest" else classes[a] for a in ACTIONS]
    assert [columns[at] for at in table.argmax(1)] == expected


def test_deeplabcut_has_three_rows_of_header_and_a_likelihood(made, tmp_path):
    pandas = pytest.importorskip("pandas")
    xy = made().predicted.copy()
    xy[7, 0] = (-1, 5)  # outside of the picture
    path = export_dlc.write(made(predicted=xy), tmp_path)
    table = pandas.read_csv(path, header=[0, 1, 2], index_col=0)  # as DeepLabCut and SimBA read it
    assert table.columns.names == ["scorer", "bodyparts", "coords"]
    assert list(table.columns) == [("DLC_tarpon", name, axis) for name in POINTS for axis in ("x", "y", "likelihood")]
    read = table.to_numpy().reshape(60, 2, 3)
    np.testing.assert_allclose(read[..., :2], xy, atol=1e-3)
    assert np.argwhere(read[..., 2] != 1).tolist() == [[7, 0]]
    assert read_track(path, POINTS, scorer="DLC_tarpon").xyl.shape == (60, 2, 3)  # and as we do


@pytest.mark.parametrize("source", ["predicted", "given", None])
def test_nwb_is_read_back_by_pynwb(made, tmp_path, source):
    pynwb = pytest.importorskip("pynwb")
    pytest.importorskip("ndx_pose")
    xyl = np.concatenate([made().predicted + 3, np.full((60, 2, 1), 0.7)], -1)
    changes = {"predicted": {}, "given": {"predicted": None, "given": xyl}, None: {"predicted": None}}[source]
    labelled = made(**changes)
    (path,) = Extras(formats=("csv", "nwb")).write(labelled, tmp_path)
    with pynwb.NWBHDF5IO(str(path), "r") as io:
        module = io.read().processing["behavior"]
        bouts = module["bouts"].to_dataframe()
        assert bouts["label"].tolist() == ["rest", "groom", "rest", "rear"]
        assert bouts["start_time"].tolist() == pytest.approx([0, 0.5, 1.5, 1.75])
        assert bouts["stop_time"].tolist() == pytest.approx([0.5, 1.5, 1.75, 3])
        np.testing.assert_array_equal(module["probabilities"].data[:], labelled.probs)
        assert module["probabilities"].rate == FPS
        if source is None:
            assert "PoseEstimation" not in module.data_interfaces
            return
        pose = module["PoseEstimation"]
        assert list(pose.skeleton.nodes[:]) == list(POINTS)
        series = pose.pose_estimation_series["nose"]
        np.testing.assert_allclose(series.data[:], (labelled.predicted if source == "predicted" else xyl[..., :2])[:, 0])
        assert np.isnan(series.confidence[:]).all() == (source == "predicted")
    assert not list(pynwb.validate(path=str(path)))


def test_a_format_that_cannot_be_written_is_refused_first(monkeypatch):
    with pytest.raises(ValueError, match="formats='csv,bors': 'bors' is none of csv, boris, deepethogram, dlc, nwb"):
        Extras.parse("csv,bors", annotated=False, regresses=True)
    with pytest.raises(ValueError, match="formats=dlc: this model regresses no points"):
        Extras.parse("dlc", annotated=False, regresses=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'formats=nwb needs pynwb and ndx_pose: pip install "tarpon\[nwb\]"'):
        Extras.parse("nwb", annotated=False, regresses=True)
    assert Extras.parse("CSV, boris,boris", annotated=True, regresses=False) == Extras(formats=("csv", "boris"), annotated=True)


def test_the_annotated_video_has_every_frame_with_points_class_and_strip(made, tmp_path):
    labelled = made()
    path = annotate_video.write(labelled, tmp_path)
    assert path.name == "trial 1_annotated.mp4"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == ("h264" if "libx264" in av.codecs_available else "mpeg4")
        frames = [(frame.time, frame.to_ndarray(format="rgb24").astype(int)) for frame in container.decode(stream)]
    assert [time for time, _ in frames] == pytest.approx([number / FPS for number in range(60)], abs=1e-3)
    drawer = annotate_video.Drawer(labelled)
    assert frames[0][1].shape[:2] == drawer.size[::-1]
    assert drawer.scale == 2  # 200 pixels are too few for words
    for number in (3, 15, 50):
        shown, colours = frames[number][1], [ImageColor.getrgb(name) for name in class_colours(3)]
        points = [ImageColor.getrgb(name) for name in class_colours(2)]
        for place, (x, y) in enumerate(labelled.predicted[number] * drawer.scale):
            assert nearest(shown[int(y), int(x)], [*points, (128, 128, 128)]) == place
        np.testing.assert_allclose(shown[10, 10], 128, atol=6)
        action = ACTIONS[number]
        assert nearest(shown[drawer.shown[1] + drawer.unit, drawer.unit // 2], colours) == action
        beside = drawer.names + (drawer.shown[0] - drawer.names) // 2 + 4  # a moment later, in the strip
        for line in range(3):
            pixel = shown[drawer.shown[1] + drawer.words + line * drawer.unit + drawer.unit // 2, beside]
            assert nearest(pixel, [*colours, (40, 40, 40)]) == (line if line == action else 3)


def test_unsure_points_of_a_pose_file_are_not_drawn(made):
    xyl = np.concatenate([made().predicted, np.array([[[0.9], [0.1]]]).repeat(60, 0)], -1)
    drawer = annotate_video.Drawer(made(predicted=None, given=xyl))
    drawn = np.asarray(drawer.draw(Image.new("RGB", SIDES, (128, 128, 128)), 0)).astype(int)
    assert abs(drawn[80, 40] - 128).max() > 30  # the nose at (20, 40), twice as large
    assert (drawn[180, 180] == 128).all()  # the tail at (90, 90)


def test_time_stamps_of_a_variable_rate_are_those_of_the_source(made, tmp_path):
    path, stamps = tmp_path / "vfr.mp4", np.cumsum([0] + [1, 3] * 10)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264" if "libx264" in av.codecs_available else "mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for stamp in stamps.tolist():
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    short = made(path=path, size=(64, 48), actions=ACTIONS[:21], probs=made().probs[:21], predicted=None)
    with av.open(str(annotate_video.write(short, tmp_path))) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx((stamps / 30).tolist(), abs=1e-3)
