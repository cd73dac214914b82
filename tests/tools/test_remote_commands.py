"""Every command that reads shards reads them at a URL as in a folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tarpon.shards import store
from tarpon.tools import cli
from tarpon.train import checkpoint
from tarpon.train.config import parse, parser_for
from tarpon.train.engine import DistContext
from tarpon.train.tasks import TASKS

pytest.importorskip("aiohttp", reason="http:// needs aiohttp: pip install 'tarpon[http]'")
TINY = ["--model.backbone.name=resnet10t", "--model.backbone.pretrained=false", "--model.backbone.image_size=32"]


@pytest.fixture
def served(cells_shards, faulty_server, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "FIRST_PAUSE_S", 0.01)
    with faulty_server.serving(shutil.copytree(cells_shards.root, tmp_path / "served")) as server:
        yield server


def said(capsys) -> str:
    return capsys.readouterr().err.strip()


def test_lint_proves_a_data_set_behind_a_server(served, tmp_path, capsys):
    words = ["lint", served.url, "--cache", str(tmp_path / "cache"), "--json"]
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    names = [name for name in served.served if name.endswith(".tar")]
    assert names
    assert all(served.served[name] == 1 for name in names)
    first, second = sorted(Path(served.source).glob("*.tar"))[:2]
    first.unlink()
    content = bytearray(second.read_bytes())
    content[600] ^= 1  # in the first sample's content
    second.write_bytes(content)
    second.with_suffix(".idx").unlink()
    words[3] = str(tmp_path / "other")
    assert cli.main(words) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert first.name in str(checks["tars"]["findings"])
    assert second.with_suffix(".idx").name in str(checks["index"]["findings"])
    assert second.name in str(checks["checksums"]["findings"])


def test_look_draws_and_features_ask_for_images(served, tmp_path, capsys):
    cache = ["--cache", str(tmp_path / "cache")]
    assert cli.main(["look", served.url, *cache, "--out", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(["features", served.url, *cache, "--backbone", "resnet10t", "--out", str(tmp_path / "f")]) == 2
    assert "without jpg images" in said(capsys)


@pytest.mark.parametrize("words", [["lint"], ["look", "--out", "sheet.png"]])
def test_without_a_cache_folder_it_is_one_line(served, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main([words[0], served.url, *words[1:]]) == 2
    assert "give a local folder for fetched tars (--cache FOLDER" in said(capsys)
    assert cli.main([words[0], served.url, *words[1:], "--cache", "c", "--cache_bytes", "0"]) == 2
    assert "cache_bytes=0 must be above 0" in said(capsys)


def test_a_run_is_scored_on_shards_behind_a_server(served, cells_shards, tmp_path, capsys):
    task, out = TASKS["cells"], tmp_path / "run"
    parser = parser_for(task.options, recipe=task.recipe(), task="cells")
    words = [f"--data={cells_shards.root}", f"--out={out}", *TINY]
    run, options, text = parse(parser, task.options, words)
    problem = task.build(run, options, DistContext(rank=0, world=1, local_rank=0, local_world=1, device=torch.device("cpu")))
    out.mkdir()
    checkpoint.save_tensors(out / checkpoint.BEST, checkpoint.model_tensors(problem.model), {"step": 0})
    (out / "run.yaml").write_text(text)
    (out / "run.json").write_text('{"task": "cells"}')
    (out / "encoders.json").write_text(json.dumps(problem.encoders))
    asked = ["evaluate", str(out), "--data", served.url, "--cache", str(tmp_path / "cache")]
    assert cli.main(["evaluate", str(out), "--json", str(tmp_path / "near.json")]) == 0
    assert cli.main([*asked, "--json", str(tmp_path / "far.json")]) == 0
    near, far = (json.loads((tmp_path / name).read_text())["test"] for name in ("near.json", "far.json"))
    assert far == pytest.approx(near, nan_ok=True)
    name = cells_shards.value(int(cells_shards.rows("test")[0]), "shard")
    (Path(served.source) / name).unlink()
    asked[-1] = str(tmp_path / "other")
    assert cli.main(asked) == 2
    told = said(capsys).splitlines()
    assert len(told) == 2  # the sample, and that the evaluation ends
    assert all(f"cannot read {name}" in line for line in told)
    assert cli.main([*asked, "--bad_rows", "100", "--json", str(tmp_path / "some.json")]) == 0
    some = json.loads((tmp_path / "some.json").read_text())["test"]
    assert f"over {some['rows']:.0f} of {far['rows']:.0f} rows" in capsys.readouterr().out.splitlines()[0]
    assert 0 < some["rows"] < far["rows"]
