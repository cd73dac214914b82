"""What look counts and draws of fish is what was packed."""

import csv
import io
import shutil
from collections import Counter

import pytest
from PIL import Image

from tarpon.tools import look
from tarpon.tools.contact_sheet import COLUMNS, contact_sheet
from tarpon.tools.fish import look as look_fish


def test_families_by_frequency(fish_shards):
    ranked = look_fish.count_families(fish_shards)
    assert sum(count for _, count in ranked) == len(fish_shards)
    assert [count for _, count in ranked] == sorted((count for _, count in ranked), reverse=True)
    assert ranked[0][0] == "Labridae"


def test_picks_are_shared_out_over_families(fish_shards):
    families = fish_shards.table["family"].to_pylist()
    picks = look_fish.pick_rows(fish_shards, count=12, seed=0)
    assert len({families[row] for row in picks}) == 12
    assert families[picks[0]] == "Labridae"
    assert picks == look_fish.pick_rows(fish_shards, count=12, seed=0)
    assert picks != look_fish.pick_rows(fish_shards, count=12, seed=1)
    assert sorted(look_fish.pick_rows(fish_shards, count=9999, seed=0)) == list(range(len(fish_shards)))
    assert Counter(families[row] for row in look_fish.pick_rows(fish_shards, count=20, seed=0)).most_common(1)[0][1] <= 3


def test_run_prints_the_tables_and_writes_the_picture(fish_lab, fish_shards, tmp_path, capsys):
    shards = shutil.copytree(fish_shards.root, tmp_path / "shards")
    assert look.run(str(shards), frames=8) == 0
    text = capsys.readouterr().out
    assert "150 samples" in text
    assert "frames" not in text
    assert all(name in text for name in ("Labridae", "Tropical", "brackish", "trophic level", "quarantine: 7 left out"))
    blank = sum(row["habitat"] is None for row in fish_shards.table.to_pylist())
    assert any(line.split()[:2] == ["habitat", str(blank)] for line in text.splitlines())
    held = []
    for split in ("train", "test"):
        with open(fish_lab / f"anns/{split}.csv", newline="") as file:
            held += [int(row["Polar"]) for row in csv.DictReader(file) if row["Polar"]]
    share = next(line.split()[1] for line in text.splitlines() if line.startswith("Polar"))
    assert float(share.rstrip("%")) / 100 == pytest.approx(sum(held) / len(held), abs=0.02)  # faulty rows are in the files too
    with Image.open(shards / "contact_sheet.png") as picture:
        assert picture.width > picture.height


def test_a_sheet_shows_every_picture_whole():
    pictures = [Image.new("RGB", size, "red") for size in ((10, 40), (400, 40), (30, 30)) * 3]
    with Image.open(io.BytesIO(contact_sheet(pictures, [("a",), ("b", "c" * 99), ()] * 3))) as page:
        red = sum(count for count, colour in page.convert("RGB").getcolors(1 << 20) if colour == (255, 0, 0))
        assert red == pytest.approx(3 * (50 * 200 + 200 * 20 + 200 * 200), rel=0.02)
        assert page.width == 8 + COLUMNS * 208
