"""Tracks beside the videos: of another length, our own, none, two; and a video that lies on its side."""

import shutil
from types import SimpleNamespace

import av
import numpy as np

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.shards.sources.video import clips as video
from tarpon.shards.sources.video.display import Display
from tarpon.shards.sources.video.recording import Recording
from tarpon.tools import cli
from tarpon.tools.mouse import tagging
from tarpon.train.tasks.mouse.options import ModelOptions, MouseOptions


def test_a_turned_video_is_seen_upright(tmp_path):
    """A model is shown the picture that packing would have stored: turned, and of the upright size."""
    frames = np.zeros((3, 96, 128, 3), np.uint8)
    frames[:, :48, :64] = (200, 60, 60)  # a corner
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.set_display_rotation(-90)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    tagger = SimpleNamespace(
        clip=video.ClipFormat(),
        options=MouseOptions(model=ModelOptions(backbone=FrameBackbone(image_size=64, pretrained=False))),
    )
    recording = Recording(tmp_path / "a.mp4")
    assert (recording.info.width, recording.info.height) == (96, 128)
    picture = tagging.picture(next(iter(recording)), tagger, recording.info, Display())
    quarters = [picture[0, y : y + 20, x : x + 20].float().mean().item() for y in (6, 38) for x in (6, 38)]
    assert np.argmax(quarters) == 1  # top left goes to top right


def test_a_track_shorter_than_the_video_is_refused(tmp_path, one_video, capsys, checkpoint):
    folder = tmp_path / "videos"
    shutil.copytree(one_video, folder)
    path = next(folder.glob("*.csv"))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:100]))
    weights = checkpoint(tmp_path / "run")
    assert (
        cli.main(["predict", "mouse", "--checkpoint", str(weights), "--videos", str(folder), "--out", str(tmp_path / "out")])
        == 1
    )
    assert "DeepLabCut file has 97 rows" in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("*.csv"))


def predict_with(weights, videos, out, *more):
    return cli.main(["predict", "mouse", "--checkpoint", str(weights), "--videos", str(videos), "--out", str(out), *more])


def test_a_track_longer_than_the_video_is_refused(tmp_path, one_video, capsys, checkpoint):
    folder = shutil.copytree(one_video, tmp_path / "videos")
    path = next(folder.glob("*.csv"))
    lines = path.read_text().splitlines()
    rows = len(lines) - 2  # one more than there are
    path.write_text("\n".join([*lines, f"{rows - 1},{lines[-1].split(',', 1)[1]}"]) + "\n")
    assert predict_with(checkpoint(tmp_path / "run"), folder, tmp_path / "out") == 1
    assert f"{rows} rows, the video has {rows - 1} frames: every point may be shifted" in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("*.csv"))


def test_its_own_points_are_never_the_next_ones(tmp_path, one_video, capsys, checkpoint):
    """Into the folder of the videos, twice: the second time finds the file of the first and leaves it."""
    folder = shutil.copytree(one_video, tmp_path / "videos")
    next(folder.glob("*DLC_*.csv")).unlink()
    weights, stem = checkpoint(tmp_path / "run"), next(folder.glob("*.mp4")).stem
    answers = []
    for _ in range(2):
        assert predict_with(weights, folder, folder) == 1
        answers.append((folder / f"{stem}_predictions.csv").read_text())
        assert (folder / f"{stem}DLC_tarpon.csv").exists()
    assert answers[0] == answers[1]
    assert f"{stem}DLC_tarpon.csv is Tarpon's own prediction" in capsys.readouterr().out
    assert predict_with(weights, folder, tmp_path / "out", "--scorer", "DLC_tarpon") == 0


def test_without_points_a_model_that_needs_them_says_so_in_every_place(tmp_path, one_video, capsys, checkpoint, rows_of):
    folder = shutil.copytree(one_video, tmp_path / "videos")
    next(folder.glob("*DLC_*.csv")).unlink()
    weights, stem = checkpoint(tmp_path / "run"), next(folder.glob("*.mp4")).stem
    assert predict_with(weights, folder, tmp_path / "auto") == 1
    assert "WARNING: 1 of 1 videos have no pose file" in capsys.readouterr().out
    for table in ("predictions", "bouts"):
        head, *rows = rows_of(tmp_path / "auto" / f"{stem}_{table}.csv")
        assert head[-1] == "Note"
        assert {row[-1] for row in rows} == {"no pose file: the model was trained with points and saw none"}
    assert predict_with(weights, folder, tmp_path / "none", "--pose", "none") == 0
    assert "WARNING" not in capsys.readouterr().out
    assert rows_of(tmp_path / "none" / f"{stem}_predictions.csv")[0][-1] != "Note"
    assert predict_with(weights, folder, tmp_path / "dlc", "--pose", "dlc") == 1
    assert not list((tmp_path / "dlc").iterdir())


def test_two_tracks_are_refused_as_in_packing(tmp_path, one_video, capsys, checkpoint):
    folder = shutil.copytree(one_video, tmp_path / "videos")
    path, stem = next(folder.glob("*DLC_*.csv")), next(folder.glob("*.mp4")).stem
    shutil.copy(path, folder / f"{stem}DLC_other.csv")
    weights = checkpoint(tmp_path / "run")
    assert predict_with(weights, folder, tmp_path / "out") == 1
    assert "2 pose files of different scorers" in capsys.readouterr().out
    assert predict_with(weights, folder, tmp_path / "out", "--scorer", "DLC_other") == 0
