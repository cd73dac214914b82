"""`tarpon pack` of folders at URLs, as typed."""

from pathlib import Path

import numpy as np
import pytest

from tarpon.shards import store
from tarpon.shards.manifest import open_manifest
from tarpon.shards.sources.video.clips import write_video
from tarpon.tools import cli

pytest.importorskip("aiohttp", reason="http:// needs aiohttp: pip install 'tarpon[http]'")


@pytest.fixture
def serve(faulty_server, monkeypatch):
    """A folder behind a server that lists it; pauses are short."""
    monkeypatch.setattr(store, "FIRST_PAUSE_S", 0.01)
    contexts = []

    def begin(folder: Path):
        contexts.append(faulty_server.serving(folder))
        server = contexts[-1].__enter__()
        server.lists = True
        return server

    yield begin
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.fixture
def small_lab(tmp_path) -> Path:
    """A video of two trials of 20 frames, of which the first has labels."""
    lab, rng = tmp_path / "lab", np.random.default_rng(0)
    for name in ("Videos", "Annotations"):
        (lab / name).mkdir(parents=True)
    write_video(lab / "Videos/m 1.mp4", list(rng.integers(0, 255, (40, 32, 48, 3), np.uint8)))
    rows = ["Frame,Action", *(f"{frame},rest" for frame in range(20))]
    (lab / "Annotations/prediction_m 1.mp4_1.csv").write_text("\n".join(rows))
    return lab


WORDS = ("--pose", "none", "--trial_frames", "20", "--short_side", "32", "--workers", "1", "--split", "1,0,0")


def pack(lab: str, out: Path, *words: str) -> int:
    folders = ("--videos", f"{lab}/Videos", "--annotations", f"{lab}/Annotations")
    return cli.main(["pack", "mouse", *folders, "--out", str(out), *WORDS, *words])


def test_a_dry_run_tells_what_it_tells_of_the_folder(small_lab, serve, tmp_path, capsys):
    assert pack(str(small_lab), tmp_path / "out", "--dry_run") == 0
    here = capsys.readouterr().out
    url = serve(small_lab).url
    assert pack(url, tmp_path / "out", "--dry_run", "--scratch", str(tmp_path / "s")) == 0
    there = capsys.readouterr().out
    assert there == here.replace(str(small_lab), url)
    assert "m 1.mp4" in there
    assert not (tmp_path / "out").exists()


def test_processes_fetch_what_they_pack(small_lab, serve, tmp_path, capsys):
    assert pack(str(small_lab), tmp_path / "here") == 0
    server = serve(small_lab)
    assert pack(server.url, tmp_path / "there", "--scratch", str(tmp_path / "s")) == 0
    here, there = (open_manifest(tmp_path / name) for name in ("here", "there"))
    assert there.tar_sums() == here.tar_sums()
    assert server.served["m%201.mp4"] == 1
    assert server.served["prediction_m%201.mp4_1.csv"] == 2  # for how its frames count, and to be packed
    assert str(tmp_path / "s") not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--images", "nowhere://b/images"], "no store is reached by nowhere://"),
        (["--images", "{url}/images"], "does not list it; switch its directory listing on"),
        (["--images", ".", "--annotations", "{url}/none"], "does not list it; switch its directory listing on"),
        (["--images", "{url}", "--scratch_bytes", "0"], "scratch_bytes=0 must be above 0"),
    ],
)
def test_what_cannot_be_listed_is_one_line(words, said, serve, tmp_path, capsys):
    server = serve(tmp_path)
    server.lists = False
    words = [word.format(url=server.url) for word in words]
    rest = [] if "--annotations" in words else ["--annotations", str(tmp_path)]
    assert cli.main(["pack", "fish", *words, *rest, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
