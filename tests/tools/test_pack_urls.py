"""`tarpon pack` of folders at URLs, as typed."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

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


@pytest.fixture
def tables_lab(small_lab) -> Path:
    """The lab with a table of its videos, whose folder it names, and a map of its classes."""
    (small_lab / "videos.csv").write_text("video,labels,trial\nm 1.mp4,prediction_m 1.mp4_1.csv,1\n")
    (small_lab / "map.csv").write_text("label,class\nrest,walk\n")
    return small_lab


@pytest.fixture
def wells_lab(tmp_path) -> Path:
    """Stacks of four wells in one folder, a plate map and the file that names both, relative to itself."""
    lab, rng = tmp_path / "wells" / "lab", np.random.default_rng(0)
    (lab / "stacks").mkdir(parents=True)
    for well in ("b2", "b3", "c2", "c3"):
        tifffile.imwrite(lab / f"stacks/x_{well}_p1.tif", rng.integers(0, 4000, (12, 24, 24), np.uint16))
    (lab / "plate.csv").write_text("well,condition\nb2,infected\nb3,infected\nc2,mock\nc3,mock\n")
    config = "data:\n  stacks_dir: ../lab/stacks\n  plate_map: plate.csv\n  frames: {frames_per_hour: 2}\n"
    (lab / "cells.yaml").write_text(config)
    return lab


@pytest.fixture
def outings_lab(tmp_path) -> Path:
    """Two animals on two outings whose names tell no day, and a table that does."""
    lab, rng = tmp_path / "stars", np.random.default_rng(0)
    for animal in ("ann", "bob"):
        for outing in ("first", "second"):
            (folder := lab / "Demo" / animal / outing).mkdir(parents=True)
            Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).save(folder / "1.png")
    days = [f"{animal}/{outing},2024-03-{day:02d}" for animal in ("ann", "bob") for outing, day in DAYS]
    (lab / "days.csv").write_text("\n".join(["folder,date", *(f"Demo/{line}" for line in days)]))
    return lab


DAYS = (("first", 4), ("second", 9))
OF_KIND = {  # what is packed, and the options that name a file
    "tables_lab": (
        ("mouse", "--videos", "{lab}/Videos", "--annotations", "{lab}/Annotations", *WORDS),
        ("--table", "{lab}/videos.csv", "--class_map", "{lab}/map.csv"),
    ),
    "wells_lab": (("cells", "--workers", "1", "--split", "0.5,0.25,0.25"), ("--config", "{lab}/cells.yaml")),
    "outings_lab": (("star", "--root", "{lab}", "--workers", "1"), ("--dates", "month_first,{lab}/days.csv")),
}


def fill(words: tuple[str, ...], lab: str) -> list[str]:
    return [word.format(lab=lab) for word in words]


@pytest.mark.parametrize("name", list(OF_KIND))
def test_tables_and_settings_lie_at_urls_as_folders_do(name, serve, tmp_path, request, capsys):
    lab, (words, files) = request.getfixturevalue(name), OF_KIND[name]
    url, scratch = f"{serve(lab.parent).url}/{lab.name}", tmp_path / "s"
    for out, settings in {"here": str(lab), "there": url}.items():
        given = [*fill(words, str(lab)), *fill(files, settings)]
        status = cli.main(["pack", *given, "--out", str(tmp_path / out), "--scratch", str(scratch)])
        assert status == 0, capsys.readouterr()
    here, there = (open_manifest(tmp_path / name) for name in ("here", "there"))
    assert here.tar_sums() == there.tar_sums()
    assert repr(here.table.to_pylist()) == repr(there.table.to_pylist())  # without points some cells are NaN
    assert not list(scratch.glob("*/*"))
    assert str(scratch) not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "files", "spoilt", "said"),
    [
        ("tables_lab", ("--class_map", "{lab}/map.csv"), None, "/map.csv: no such file"),
        ("tables_lab", ("--table", "{lab}/videos.csv"), None, "/videos.csv: no such file"),
        ("tables_lab", ("--table", "{lab}/videos.csv"), b"film\na.mp4\n", "/videos.csv: column 'film' is none;"),
        ("wells_lab", ("--config", "{lab}/cells.yaml"), None, "/cells.yaml: no such file"),
        (
            "wells_lab",
            ("--config", "{lab}/cells.yaml"),
            b"data: {side: 3}",
            "/cells.yaml: data.side is no key that is known here",
        ),
        ("wells_lab", ("--config", "{lab}/cells.yaml"), b"data: {stacks_dir: s, plate_map: no.csv}", "/no.csv: no such file"),
        ("outings_lab", ("--dates", "{lab}/days.csv"), b"name\nx\n", "/days.csv: "),
    ],
)
def test_what_is_wrong_with_a_file_at_a_url_is_one_line_that_names_it(
    name, files, spoilt, said, serve, tmp_path, request, capsys
):
    lab, words = request.getfixturevalue(name), OF_KIND[name][0]
    (file,) = fill(files[1:], str(lab))
    Path(file).unlink()
    if spoilt is not None:
        Path(file).write_bytes(spoilt)
    url = f"{serve(lab.parent).url}/{lab.name}"
    words = [*fill(words, str(lab)), *fill(files, url), "--out", str(tmp_path / "out"), "--scratch", str(tmp_path / "s")]
    assert cli.main(["pack", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{url}{said}" in line
    assert str(tmp_path / "s") not in line
