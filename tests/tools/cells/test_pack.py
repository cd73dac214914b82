"""`tarpon demo cells` and `tarpon pack cells`: what is printed and the exit status."""

import pytest
import yaml

from tarpon.shards.manifest import open_manifest
from tarpon.shards.sources.cells.source import CellsSource
from tarpon.tools import cli
from tarpon.tools.cells.pack import format_packed

PACK = ["--workers", "1"]


def test_demo_then_pack_then_lint(tmp_path, capsys):
    lab, out = tmp_path / "lab", tmp_path / "shards"
    words = ["demo", "cells", "--out", str(lab), "--stacks", "8", "--pages", "3", "--size", "48", "--wells", "4"]
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    assert "8 stacks of 3 pages, wells b2, b3 infected from hour 4 and c2, c3 not" in text
    assert f"next: tarpon pack cells --config {lab}/cells.yaml" in text
    held = yaml.safe_load((lab / "cells.yaml").read_text())
    held["data"]["drop_last"] = True
    held["training"]["k_folds"] = 2
    (lab / "guide.yaml").write_text(yaml.safe_dump(held))
    words = ["pack", "cells", "--config", f"{lab}/guide.yaml", "--out", str(out), *PACK, "--seed", "9"]
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    assert "24 pages of 8 stacks packed, 0 in quarantine" in text
    assert "guide.yaml: data.drop_last has no effect: training steps are always full" in text
    assert "WARNING: no well holds both classes" in text
    assert [line.split() for line in text.splitlines() if line.startswith("fold ")] == [
        ["fold", k, "12", "4", "2", "2"] for k in "01"
    ]
    card = open_manifest(out, kind="cells").card
    assert (card["split"]["ratios"], card["split"]["seed"]) == ([0.7, 0.1, 0.2], 9)
    assert card["folds"] == 2
    assert cli.main(["lint", str(out)]) == 0
    assert cli.main(words) == 0  # what is done is left alone


def test_one_well_a_class_is_said_and_kept(tmp_path, pack_cells):
    lab = tmp_path / "lab"
    words = ["demo", "cells", "--out", str(lab), "--stacks", "6", "--pages", "2", "--size", "48", "--confounded"]
    assert cli.main(words) == 0
    manifest, _ = pack_cells(lab, tmp_path / "out")
    text = "\n".join(format_packed(manifest))
    assert "WARNING: every infected stack is from well 20251023_b2" in text
    assert "WARNING: every uninfected stack is from well 20251023_c4" in text
    with pytest.raises(ValueError, match=r"2 group\(s\) cannot fill train, val, test without a leak"):
        pack_cells(lab, tmp_path / "apart", source=CellsSource(group="well"))


def test_wells_apart_raise_no_warning(cells_shards):
    assert cells_shards.card["warnings"] == []
    assert len(cells_shards.card["wells"]) == 6


def test_nothing_to_pack_is_status_1_with_likely_causes(tmp_path, capsys):
    for folder in ("infected", "uninfected"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.tif").write_bytes(b"x")
    (tmp_path / "c.yaml").write_text("data: {infected_dir: infected, uninfected_dir: uninfected}\n")
    assert cli.main(["pack", "cells", "--config", f"{tmp_path}/c.yaml", "--out", str(tmp_path / "x")]) == 1
    out = capsys.readouterr().out
    assert "No samples found" in out
    assert "infected/a.tif" in out
    assert "data.name_regex" in out


@pytest.mark.parametrize(("words", "part"), [
    (["--config", "nowhere.yaml"], "nowhere.yaml"),
    (["--group", "dish"], "group='dish'"),
    (["--folds", "9"], "folds=9, but class 0 has 6 group(s)"),
    (["--folds", "1"], "folds=1"),
    (["--split", "1,2"], "split='1,2'"),
    (["--side", "31"], "side=31 must be 0"),
    (["--side", "wide"], "side"),
    (["--project", "median"], "project='median' must be one of max, mean, focus"),
    (["--values", "1"], "values='1' must be two numbers by comma"),
    (["--values", "9,3"], "must be two numbers, the smaller first"),
])  # fmt: skip
def test_mistakes_are_one_line_and_status_2(words, part, cells_lab, tmp_path, capsys):
    base = ["pack", "cells", "--config", f"{cells_lab}/cells.yaml", "--out", str(tmp_path / "x"), *PACK]
    assert cli.main([*base, *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert part in line
