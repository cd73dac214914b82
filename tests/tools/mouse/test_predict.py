"""Whole videos through a model: chunked equals whole, files in the contract's layout, with and without points."""

import itertools
import re
import shutil
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from tarpon.shards.sources.mouse.pose_points import MOUSE_POINTS
from tarpon.shards.sources.mouse.pose_track import read_track
from tarpon.shards.sources.video import clips as video
from tarpon.tools import cli
from tarpon.tools.mouse import predict, tagging
from tarpon.train.tasks.mouse import export as mouse_export
from tarpon.train.tasks.mouse.metrics.bouts import merge_short
from tarpon.train.tasks.mouse.options import MouseOptions


@pytest.mark.parametrize(
    ("pose_input", "pose", "backbone", "stance"),
    [
        (True, "dlc", "vit_2d", 0),
        (True, "dlc", "vit_2d", 120),
        (True, "none", "vit_2d", 120),
        (False, "auto", "vit_2d", 0),
        (False, "none", "videomae2_3d", 0),
    ],
)
def test_chunks_do_not_change_the_answers(tmp_path, one_video, pose_input, pose, backbone, stance, checkpoint, rows_of):
    inputs = {"pose_input": pose_input, "stance_frames": stance, "likelihood_input": stance > 0}
    weights = checkpoint(tmp_path / "run", backbone_type=backbone, **inputs)
    for chunk in (97, 100_000):
        words = [
            "predict",
            "mouse",
            "--checkpoint",
            str(weights),
            "--videos",
            str(one_video),
            "--out",
            str(tmp_path / str(chunk)),
            "--pose",
            pose,
            "--chunk",
            str(chunk),
        ]
        assert cli.main(words) == 0
    stem = next(one_video.glob("*.mp4")).stem
    few, whole = (rows_of(tmp_path / chunk / f"{stem}_predictions.csv") for chunk in ("97", "100000"))
    assert few[0] == ["Frame", "Action", *(f"{name}_prob" for name in MouseOptions().classes)]
    frames = sum(1 for _ in video.decode(one_video / f"{stem}.mp4"))
    assert [int(row[0]) for row in few[1:]] == list(range(frames))
    a, b = (np.array([[float(p) for p in row[2:]] for row in rows[1:]]) for rows in (few, whole))
    np.testing.assert_allclose(a, b, atol=2e-4)
    np.testing.assert_allclose(a.sum(1), 1, atol=1e-3)
    assert all(row[1] == MouseOptions().classes[int(np.argmax(p))] for row, p in zip(few[1:], a, strict=True))


@pytest.mark.parametrize(
    ("group", "name"),
    [("model", "stance_frames"), ("model", "likelihood_input"), ("loss", "lambda_boundary"), ("window", "fill_gaps")],
)
def test_a_checkpoint_from_before_an_option_opens(tmp_path, checkpoint, group, name):
    folder = tmp_path / "run"
    checkpoint(folder)
    held = torch.load(folder / mouse_export.NAME, weights_only=True)
    del held["args"]["rebuild"][group][name]
    torch.save(held, folder / mouse_export.NAME)
    assert not getattr(getattr(tagging.load_tagger(folder).options, group), name)


def test_points_come_back_as_a_track_in_source_pixels(tmp_path, one_video, checkpoint, rows_of):
    weights = checkpoint(tmp_path / "run")
    assert cli.main(["predict", "mouse", "--checkpoint", str(weights), "--videos", str(one_video), "--out", str(tmp_path)]) == 0
    stem = next(one_video.glob("*.mp4")).stem
    track = read_track(tmp_path / f"{stem}DLC_tarpon.csv", MOUSE_POINTS, scorer="DLC_tarpon")
    scorer, parts, coords = rows_of(tmp_path / f"{stem}DLC_tarpon.csv")[:3]  # the three header rows of DeepLabCut
    assert scorer == ["scorer", *["DLC_tarpon"] * 18]
    assert parts == ["bodyparts", *(name for name in MOUSE_POINTS for _ in range(3))]
    assert coords == ["coords", *["x", "y", "likelihood"] * 6]
    info = video.probe(one_video / f"{stem}.mp4")
    assert track.xyl.shape[1:] == (6, 3)
    assert (track.xyl[..., 0] >= 0).all()
    assert (track.xyl[..., 0] <= info.width).all()
    assert (track.xyl[..., 2] == 1).all()


def test_other_programs_files_and_the_annotated_video_are_written_on_demand(tmp_path, one_video, checkpoint, rows_of):
    weights = checkpoint(tmp_path / "run")
    words = ["predict", "mouse", "--checkpoint", str(weights), "--videos", str(one_video), "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--formats", "csv,boris,deepethogram,dlc", "--annotated"]) == 0
    (source,) = one_video.glob("*.mp4")
    ends = ("_predictions.csv", "_bouts.csv", "_boris.csv", "_labels.csv", "DLC_tarpon.csv", "_annotated.mp4")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {source.stem + end for end in ends}
    frames = sum(1 for _ in video.decode(source))
    assert sum(1 for _ in video.decode(tmp_path / "out" / f"{source.stem}_annotated.mp4")) == frames
    assert len(rows_of(tmp_path / "out" / f"{source.stem}_labels.csv")) == frames + 1
    assert rows_of(tmp_path / "out" / f"{source.stem}DLC_tarpon.csv")[2][1:4] == ["x", "y", "likelihood"]
    bouts = rows_of(tmp_path / "out" / f"{source.stem}_bouts.csv")[1:]
    events = rows_of(tmp_path / "out" / f"{source.stem}_boris.csv")
    starts = [dict(zip(events[0], row, strict=True)) for row in events[1::2]]
    assert [(row["Behavior"], int(row["Image index"])) for row in starts] == [(row[1], int(row[2])) for row in bouts]


def test_a_format_that_is_not_known_is_refused_before_any_video_is_labelled(tmp_path, one_video, capsys, checkpoint):
    weights = checkpoint(tmp_path / "run")
    words = ["predict", "mouse", "--checkpoint", str(weights), "--videos", str(one_video), "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--formats", "excel"]) == 2
    assert "'excel' is none of csv, boris" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def labelled(rows_of):
    """(folder, stem) -> actions by name, probabilities (T, C), rows of the bout table without its header."""

    def read(out, stem):
        frames, bouts = (rows_of(out / f"{stem}_{table}.csv") for table in ("predictions", "bouts"))
        return [row[1] for row in frames[1:]], np.array([[float(p) for p in row[2:]] for row in frames[1:]]), bouts[1:]

    return read


@pytest.fixture(scope="module")
def filtered(tmp_path_factory, one_video, checkpoint, labelled):
    """One video without a filter and with bouts of 5 frames or more."""
    folder = tmp_path_factory.mktemp("filtered")
    stem = next(one_video.glob("*.mp4")).stem

    def labels(name, *, bias, min_bout):
        weights = checkpoint(folder / name, pose_input=False, model_type="action_only", bias=bias)
        words = ["predict", "mouse", "--checkpoint", str(weights), "--videos", str(one_video), "--out", str(folder / name)]
        assert cli.main([*words, "--min_bout", str(min_bout)]) == 0
        return labelled(folder / name, stem)

    _, probs, _ = labels("as_made", bias=None, min_bout=1)
    even = -np.log(probs).mean(0)  # random weights favour one action; with this each is about as likely, so bouts are short
    return labels("unfiltered", bias=even, min_bout=1), labels("filtered", bias=even, min_bout=5)


def test_the_bout_table_is_the_action_column_run_by_run(filtered, one_video):
    fps = video.probe(next(one_video.glob("*.mp4"))).fps
    classes = list(MouseOptions().classes)
    for actions, probs, bouts in filtered:
        assert len(bouts) > 3
        assert [name for _, name, _, _, frames, *_ in bouts for _ in range(int(frames))] == actions
        assert all(a[1] != b[1] for a, b in itertools.pairwise(bouts))
        assert [int(row[0]) for row in bouts] == list(range(1, len(bouts) + 1))
        for _, name, onset, offset, frames, *seconds, mean in bouts:
            first, last = int(onset), int(offset)
            assert int(frames) == last - first + 1
            assert [float(s) for s in seconds] == pytest.approx(
                [float(first / fps), float((last + 1) / fps), float((last + 1 - first) / fps)], abs=1e-4
            )
            assert float(mean) == pytest.approx(probs[first : last + 1, classes.index(name)].mean(), abs=2e-5)


def test_the_filter_reaches_both_tables_and_leaves_the_probabilities(filtered):
    (actions, probs, bouts), (kept, same, longer) = filtered
    assert np.array_equal(probs, same)
    assert min(int(row[4]) for row in bouts) < 5 <= min(int(row[4]) for row in longer)
    numbers = np.array([MouseOptions().classes.index(name) for name in actions])
    assert kept == [MouseOptions().classes[n] for n in merge_short(numbers, min_bout=5)]


def test_a_bad_video_costs_only_itself(tmp_path, one_video, capsys, checkpoint):
    folder = tmp_path / "videos"
    shutil.copytree(one_video, folder)
    (folder / "broken.mp4").write_bytes(b"not a video")
    weights = checkpoint(tmp_path / "run", model_type="action_only")
    assert (
        cli.main(["predict", "mouse", "--checkpoint", str(weights), "--videos", str(folder), "--out", str(tmp_path / "out")])
        == 1
    )
    out = capsys.readouterr().out
    assert "1 of 2 videos labelled" in out
    rate, *shares = map(int, re.search(r"(\d+) frames/s: decode (\d+)%, backbone (\d+)%, rest (\d+)%", out).groups())
    assert min(rate, *shares) > 0
    assert sum(shares) == pytest.approx(100, abs=2)
    assert "broken.mp4" in out
    assert not list((tmp_path / "out").glob("*broken*"))
    assert not list((tmp_path / "out").glob("*DLC*"))


def remux(source, target, *, times=None, **options):
    """The packets of a video into another file, undecoded; packet i of display order shown at times[i] milliseconds."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.dts is not None]
        place = {pts: number for number, pts in enumerate(sorted(packet.pts for packet in packets))}
        for number, packet in enumerate(packets):
            if times is not None:  # decoded a second before they are shown: in order, whatever B-frames there are
                decoded, shown = int(times[number]) - 1000, int(times[place[packet.pts]])
                packet.time_base, packet.dts, packet.pts = Fraction(1, 1000), decoded, shown
            packet.stream = stream
            new.mux(packet)


@pytest.fixture(scope="module")
def actions_only(tmp_path_factory, checkpoint):
    return checkpoint(tmp_path_factory.mktemp("run"), pose_input=False, model_type="action_only")


def predicted(weights, videos, out, capsys):
    status = cli.main(["predict", "mouse", "--checkpoint", str(weights), "--videos", str(videos), "--out", str(out)])
    return status, capsys.readouterr().out


def test_seconds_of_a_variable_rate_are_the_time_stamps(tmp_path, mouse_lab, actions_only, capsys, labelled):
    source = sorted((mouse_lab / "Videos").glob("*.mp4"))[0]
    frames = sum(1 for _ in video.decode(source))
    times = np.cumsum(np.random.default_rng(0).integers(10, 90, frames))
    (tmp_path / "videos").mkdir()
    remux(source, tmp_path / "videos" / "m.MKV", times=times)
    status, _ = predicted(actions_only, tmp_path / "videos", tmp_path, capsys)
    assert status == 0
    _, _, bouts = labelled(tmp_path, "m")
    seconds = (times - times[0]) / 1000
    for _, _, onset, offset, _, begin, end, length, _ in bouts:
        assert float(begin) == pytest.approx(seconds[int(onset)], abs=1e-4)
        assert float(length) == pytest.approx(float(end) - float(begin), abs=2e-4)
        if int(offset) + 1 < frames:
            assert float(end) == pytest.approx(seconds[int(offset) + 1], abs=1e-4)


def test_a_video_that_was_cut_short_is_labelled_and_told(tmp_path, mouse_lab, actions_only, capsys, labelled):
    source = sorted((mouse_lab / "Videos").glob("*.mp4"))[0]
    frames = sum(1 for _ in video.decode(source))
    (tmp_path / "videos").mkdir()
    remux(source, tmp_path / "videos" / "m.mp4", movflags="faststart")
    content = (tmp_path / "videos" / "m.mp4").read_bytes()
    (tmp_path / "videos" / "m.mp4").write_bytes(content[: len(content) * 2 // 3])
    status, out = predicted(actions_only, tmp_path / "videos", tmp_path, capsys)
    assert status == 1
    line = next(line for line in out.splitlines() if line.startswith("m.mp4"))
    assert f"of the {frames} frames that its header promises" in line or f"of {frames} frames: decoding fails" in line
    assert "1 of 1 videos labelled, 1 of them not whole" in out
    actions, *_ = labelled(tmp_path, "m")
    assert 0 < len(actions) < frames


def test_a_rendering_is_not_labelled_but_told(tmp_path, one_video, actions_only, capsys):
    folder = tmp_path / "videos"
    folder.mkdir()
    source = next(one_video.glob("*.mp4"))
    shutil.copy(source, folder / "m.mp4")
    shutil.copy(source, folder / "mDLC_net_labeled.mp4")
    (folder / "n.flv").write_bytes(b"")
    status, out = predicted(actions_only, folder, tmp_path / "out", capsys)
    assert status == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["m_bouts.csv", "m_predictions.csv"]
    assert "not used: a rendering" in out
    assert "not used: .flv files are not read" in out
    with pytest.raises(ValueError, match="no video files to read"):
        predict.videos_in(tmp_path)


def test_mistakes_name_what_is_wrong():
    with pytest.raises(ValueError, match="auto, none or dlc"):
        predict.mouse(checkpoint="x", videos="y", out="z", pose="maybe")
    with pytest.raises(ValueError, match="unfiltered or filtered"):
        predict.mouse(checkpoint="x", videos="y", out="z", track="maybe")
    with pytest.raises(ValueError, match="chunk=0"):
        predict.mouse(checkpoint="x", videos="y", out="z", chunk=0)
    with pytest.raises(ValueError, match="min_bout=0"):
        predict.mouse(checkpoint="x", videos="y", out="z", min_bout=0)
    with pytest.raises(ValueError, match="trial_frames=-1"):
        predict.mouse(checkpoint="x", videos="y", out="z", trial_frames=-1)
