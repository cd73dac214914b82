"""The commands on pages of two channels: pictures, checks, new stacks, exported networks and what is refused."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
import torch

from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.page_planes import LEVELS
from tarpon.shards.reader import Reader
from tarpon.shards.sources.cells.source import CellsSource
from tarpon.tools import cli, evaluate, lint
from tarpon.tools.cells import gradcam
from tarpon.tools.cells.export import EXPORT
from tarpon.tools.cells.look import format_tables, mix_colours, read_page
from tarpon.tools.cells.view import CellsAlbum
from tarpon.tools.export.formats import load_module
from tarpon.tools.export.record import BATCH, Request
from tarpon.tools.export.work import write_checked
from tarpon.train.tasks.cells.metrics.predictions import load_rows


@pytest.fixture(scope="module")
def run(tmp_path_factory, channel_shards, make_cells_run) -> Path:
    return make_cells_run(tmp_path_factory.mktemp("channels") / "run", channel_shards, "--model.backbone.image_size=32")


@pytest.fixture(scope="module")
def swapped(tmp_path_factory, channel_lab, pack_cells) -> Manifest:
    source = CellsSource(group="well", channel="gfp,phase")
    return pack_cells(channel_lab, tmp_path_factory.mktemp("swapped"), source=source)[0]


def test_a_choice_that_makes_no_sense_is_told_in_one_line(channel_lab, tmp_path, capsys):
    words = ["pack", "cells", "--config", str(channel_lab / "cells.yaml"), "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--channel", "phase,phase"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "channel='phase,phase' must be a name or number" in said


def test_sound_shards_and_a_wrong_level_of_a_further_channel(channel_shards, tmp_path, unseal):
    shards = shutil.copytree(channel_shards.root, tmp_path / "shards")
    unseal(open_manifest(shards))
    assert lint.lint(str(shards), workers=1) == []
    table = pq.read_table(shards / "manifest.parquet")
    for name, checks in (("frame_max", {"image", "meta"}), ("low", {"levels", "meta"})):
        rows = table.to_pylist()
        rows[0]["further_levels"][LEVELS.index(name)] = 65_535 if name == "frame_max" else 70_000
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), shards / "manifest.parquet")
        found = {finding.check: finding.what for finding in lint.lint(str(shards), workers=1)}
        assert checks <= set(found) <= checks | {"card"}
        assert "of channel 2" in found[min(checks - {"meta"})]


def test_tables_tell_of_each_channel_and_pages_are_shown_in_colours(channel_shards):
    lines = list(format_tables(channel_shards))
    assert "channels of a page: phase, shown in grey; on it gfp in green" in lines
    (head,) = (line for line in lines if line.startswith("well "))
    assert [word for word in ("phase low", "phase high", "gfp low", "gfp high") if word in head] != []
    assert any("16-bit grey, 2 channels" in line for line in lines)
    picture = np.asarray(read_page(Reader(channel_shards), 0)).astype(int)
    assert picture.shape == (44, 40, 3)
    assert np.array_equal(picture[..., 0], picture[..., 2])  # grey, with green on it
    assert (picture[..., 1] >= picture[..., 0]).all()
    assert (picture[..., 1] > picture[..., 0] + 50).any()


def test_colours_by_hand():
    grey, green, magenta = (np.full((1, 1), value) for value in (0.5, 0.25, 0.75))
    assert mix_colours([grey]) is grey
    assert mix_colours([grey, green])[0, 0].tolist() == [0.5, 0.75, 0.5]
    assert mix_colours([grey, green, magenta])[0, 0].tolist() == [1.0, 0.75, 1.0]


def test_the_viewer_says_what_its_colours_are(channel_shards):
    album = CellsAlbum(channel_shards, None)
    assert ("channels", "phase, shown in grey; on it gfp in green") in album.detail(0).facts
    assert album.picture(0, 0)[0].startswith(b"\x89PNG")


def test_new_stacks_are_answered_as_evaluation_answers_their_packed_pages(run, channel_lab, channel_shards, tmp_path):
    rows, images = load_rows(run / "predictions" / "test.npz"), tmp_path / "images"
    images.mkdir()
    for path in sorted(set(rows.path.tolist())):
        shutil.copy(channel_lab / path, images)
    tifffile.imwrite(images / "plain.tif", np.zeros((3, 40, 36), np.uint16))
    words = ["predict", "cells", "--checkpoint", str(run), "--images", str(images), "--out", str(tmp_path / "out.csv")]
    assert cli.main(words) == 1  # plain.tif has not got these channels
    with open(tmp_path / "out.csv", newline="") as file:
        told = {(line["stack"], int(line["page"])): float(line["probability_infected"]) for line in csv.DictReader(file)}
    assert len(told) == len(rows) == 4 * 4
    expected = dict(zip(zip(rows.stack.tolist(), rows.page.tolist(), strict=True), rows.prob.tolist(), strict=True))
    assert told == pytest.approx(expected, abs=1e-5)


def test_a_stack_whose_channels_are_named_otherwise_is_left_out(tmp_path, channel_lab, pack_cells, make_cells_run, capsys):
    """Chosen by number: the file's own names tell that its channels lie in another order."""
    shards, _ = pack_cells(channel_lab, tmp_path / "shards", source=CellsSource(group="well", channel="1,2"))
    run, images = make_cells_run(tmp_path / "run", shards, "--model.backbone.image_size=32"), tmp_path / "images"
    images.mkdir()
    stack = tifffile.imread(channel_lab / "infected" / "x_b2_p1.ome.tif")
    names = {"axes": "TCYX", "Channel": {"Name": ["gfp", "phase"]}}
    tifffile.imwrite(images / "a.ome.tif", stack[:, ::-1], ome=True, metadata=names)
    words = ["predict", "cells", "--checkpoint", str(run), "--images", str(images), "--out", str(tmp_path / "out.csv")]
    assert cli.main(words) == 1
    said = capsys.readouterr().out
    assert "a.ome.tif: pages of 2 channels (gfp, phase), and the weights were trained on 2 channels (phase, gfp)" in said


@pytest.mark.parametrize("command", ["evaluate", "gradcam", "export"])
def test_shards_of_other_channels_are_refused_in_one_line(run, swapped, command, capsys):
    assert cli.main([command, str(run), "--data", swapped.root]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "pages of 2 channels (gfp, phase), and the weights were trained on 2 channels (phase, gfp)" in said


def test_heat_is_drawn_over_the_first_channel(run):
    rows, opened = load_rows(run / "predictions" / "test.npz"), evaluate.open_best(run)
    (page,) = gradcam.explain_pages(opened.problem, "test", rows, [0], mean=0.5, std=0.25).values()
    batch = next(iter(opened.problem.data.split("test")))
    assert np.array_equal(page.image, ((batch["clip"][0, 0, 0] * 0.25 + 0.5) * 255).round().numpy().astype(np.uint8))
    assert page.heat["infected"].shape == (32, 32)
    assert cli.main(["gradcam", str(run), "--stacks", "1", "--times", "2"]) == 0


def test_the_exported_network_takes_both_channels_with_levels_of_each(run, tmp_path):
    one = evaluate.open_best(run, micro_batch=BATCH)
    one.problem.model.eval()
    with torch.no_grad():
        what = EXPORT.open(Request(folder=run, opened=one, split="test"))
        samples = [next(what.samples), next(what.samples)]
        path, _ = write_checked(what, "cells", "safetensors", tmp_path, samples)  # which compares answers of both
        pages, levels = samples[0].inputs
        assert [port.shape for port in what.inputs] == [("B", 1, 2, 32, 32), ("B", 1, 2, 2)]
        assert "of the channels phase, gfp in this order" in what.inputs[0].holds
        assert pages.shape[1:] == (1, 2, 32, 32)
        assert levels[0, 0, 0, 1] > 50_000 > 10_000 > levels[0, 0, 1, 1]  # of phase, of gfp
        probability, _ = load_module(path)(pages, levels)
    assert torch.allclose(probability, samples[0].expected[0], atol=1e-5)
