"""Frames counted without decoding are those that decoding gives; a cut file has those of its header."""

import av
import numpy as np
import pytest

from tarpon.shards.sources.video import clips as video
from tarpon.shards.sources.video.length import count_frames


@pytest.fixture
def frames() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 255, (37, 48, 64, 3)).astype(np.uint8))


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "mov", "ts"])
def test_count_is_that_of_decoding(tmp_path, frames, ending):
    path = tmp_path / f"a.{ending}"
    video.write_video(path, frames, gop=10)
    assert count_frames(path) == 37 == sum(1 for _ in video.decode(path))


def test_frames_that_an_edit_list_cuts_off_do_not_count(tmp_path, frames):
    """Copied from within a group of pictures: the decoder needs the frames before, and does not show them."""
    whole, part = tmp_path / "whole.mp4", tmp_path / "part.mp4"
    video.write_video(whole, frames, gop=40)
    with av.open(str(whole)) as source, av.open(str(part), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        first = None
        for packet in source.demux(video=0):
            if packet.size:
                first = packet.dts if first is None else first
                shift = 10 * packet.duration
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                out.mux(packet)
    shown = sum(1 for _ in video.decode(part))
    assert shown < 37
    assert count_frames(part) == shown


def test_a_cut_file_has_the_frames_of_its_header(tmp_path, frames):
    path = tmp_path / "a.mp4"
    video.write_video(path, frames)
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.mp4"), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    content = (tmp_path / "b.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(content[: len(content) // 2])
    assert count_frames(tmp_path / "b.mp4") == 37


def test_no_video_is_told(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no")
    with pytest.raises(ValueError, match="does not open"):
        count_frames(tmp_path / "a.mp4")
