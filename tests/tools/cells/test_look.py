"""What look counts and draws of cells is what was packed."""

import shutil

from PIL import Image

from tarpon.tools import look
from tarpon.tools.cells import look as look_cells


def test_picks_show_stacks_over_time_and_both_classes(cells_shards):
    stack, page, label = (cells_shards.column(name) for name in ("stack", "page", "label"))
    picks = look_cells.pick_rows(cells_shards, count=24, seed=0)
    assert len(set(picks)) == 24
    lines = [picks[i : i + 6] for i in range(0, 24, 6)]
    for line in lines:
        assert len(set(stack[line])) == 1
        assert page[line].tolist() == sorted(page[line])
        assert (page[line].min(), page[line].max()) == (0, 7)
    assert [label[line[0]] for line in lines] == [1, 0, 1, 0]
    assert picks == look_cells.pick_rows(cells_shards, count=24, seed=0)
    assert picks != look_cells.pick_rows(cells_shards, count=24, seed=1)
    assert len(look_cells.pick_rows(cells_shards, count=1, seed=0)) == 1
    assert len(set(look_cells.pick_rows(cells_shards, count=9999, seed=0))) == 72  # six of each stack


def test_run_prints_the_tables_and_writes_the_picture(cells_shards, tmp_path, capsys):
    shards = shutil.copytree(cells_shards.root, tmp_path / "shards")
    assert look.run(str(shards), frames=6) == 0
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines()]
    assert ["infected", "6", "2", "2", "2", "48", "0", "to", "3.5"] in lines
    assert any(line[:4] == ["20251023_b2", "infected", "2", "16"] for line in lines)
    assert any(line[:5] == ["16-bit", "grey", "48", "x", "48"] and line[5:7] == ["10", "80"] for line in lines)
    assert ["2", "2", "2"] in lines  # of the last fold
    assert "quarantine: nothing was left out" in text
    assert "WARNING" not in text
    with Image.open(shards / "contact_sheet.png") as picture:
        assert picture.width > 3 * picture.height
        least, most = picture.convert("L").crop((8, 8, 208, 208)).getextrema()
        assert most - least > 150  # scaled to the range of the stack
