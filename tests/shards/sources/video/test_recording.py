"""What a pass over a recording remembers: the times of its frames, and what the file promised and did not give."""

from pathlib import Path

import av
import numpy as np
import pytest

from tarpon.shards.sources.video.recording import Recording


def passed(path: Path) -> Recording:
    recording = Recording(path)
    for _ in recording:
        pass
    return recording


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_a_variable_rate_has_the_times_that_were_written(tmp_path, write_source, suffix):
    pts = np.cumsum(np.random.default_rng(3).integers(5, 130, 40)) + 300  # milliseconds, the first frame not at 0
    encoder = "libvpx-vp9" if suffix == ".webm" else "libx264"
    write_source(tmp_path / f"a{suffix}", encoder, pts=pts)
    edges = passed(tmp_path / f"a{suffix}").edges()
    assert len(edges) == 41
    np.testing.assert_allclose(edges[:-1], (pts - pts[0]) / 1000, atol=1e-6)
    assert edges[-1] > edges[-2]


def test_a_constant_rate_is_constant(tmp_path, write_source):
    write_source(tmp_path / "a.mp4", fps=25)
    recording = passed(tmp_path / "a.mp4")
    np.testing.assert_allclose(recording.edges(), np.arange(41) / 25, atol=1e-9)
    assert recording.faults() == []


def test_without_time_stamps_the_mean_rate_counts(tmp_path, write_source):
    write_source(tmp_path / "a.mp4", fps=25)
    recording = passed(tmp_path / "a.mp4")
    recording._pts[7] = None
    assert not recording.timed()
    np.testing.assert_allclose(recording.edges(), np.arange(41) / 25)


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("a.mp4", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx-vp9"),
        ("a.ts", "libx264"),
        ("a.mpg", "mpeg2video"),
        ("a.wmv", "wmv2"),
        ("b.mp4", "mpeg4"),
    ],
)
def test_a_whole_file_lacks_nothing(tmp_path, write_source, name, encoder):
    write_source(tmp_path / name, encoder)
    assert passed(tmp_path / name).faults() == []


def cut(path: Path, *, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize(("name", "encoder"), [("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.mkv", "libx264")])
def test_a_file_that_was_cut_short_says_so(tmp_path, write_source, name, encoder):
    path = tmp_path / name
    write_source(path, encoder, count=60, options={"crf": "10"} if encoder == "libx264" else {"qscale": "2"})
    if name.endswith("mp4"):
        header_first(path)
    cut(path, share=0.6)
    fault = passed(path).faults()[0]
    assert fault.startswith("cut short: ") or "decoding fails" in fault
    assert "60 frames" in fault or "of the 2.00 s" in fault


def header_first(path: Path) -> None:
    """Remux with the index at the head, as cameras that stream and `-movflags faststart` write it."""
    draft = path.with_name("draft.mp4")
    with av.open(str(path)) as source, av.open(str(draft), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    draft.replace(path)


def test_a_cut_at_a_frame_is_noticed_by_the_count_alone(tmp_path, write_source):
    """Cut between two packets: nothing fails to decode."""
    write_source(tmp_path / "a.mp4", "mjpeg", count=60, pix_fmt="yuvj420p")
    header_first(tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.dts is not None]
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: places[45]])
    assert passed(tmp_path / "a.mp4").faults() == ["cut short: 45 of the 60 frames that its header promises"]
