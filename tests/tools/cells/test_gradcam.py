"""Heat over the hours of a stack: its pages in order, and one scale for them all."""

import numpy as np
import pytest
from PIL import Image

from tarpon.tools import cli, evaluate
from tarpon.tools.cells import gradcam
from tarpon.train.figures import style
from tarpon.train.tasks.cells.figures.heat import HeatedPage, draw_heat_over_time, spread_pages
from tarpon.train.tasks.cells.metrics.predictions import load_rows


@pytest.fixture(scope="module")
def run(tmp_path_factory, cells_shards, make_cells_run):
    return make_cells_run(tmp_path_factory.mktemp("heat") / "run", cells_shards, "--model.backbone.image_size=32")


def test_both_pictures_are_written_from_any_folder(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["gradcam", str(run), "--stacks", "1", "--times", "4"]) == 0
    assert "the same stacks over time" in capsys.readouterr().out
    with Image.open(run / "gradcam_over_time.png") as picture:
        assert 1.5 < picture.width / picture.height < 2.5  # two rows of four pages
    (run / "gradcam_over_time.png").unlink()
    assert cli.main(["gradcam", str(run), "--stacks", "1", "--times", "0"]) == 0
    assert not (run / "gradcam_over_time.png").exists()
    assert cli.main(["gradcam", str(run), "--times", "-1"]) == 2


def test_pages_of_a_stack_come_in_order_of_time_with_what_was_told_of_them(run):
    rows = load_rows(run / "predictions" / "test.npz")
    first = [int(np.flatnonzero(rows.label == label)[0]) for label in (0, 1)]
    courses = gradcam.explain_courses(evaluate.open_best(run).problem, "test", rows, first, 3, mean=0.5, std=0.25)
    assert [title.splitlines()[1] for title in courses] == ["uninfected", "infected"]
    for place, pages in zip(first, courses.values(), strict=True):
        own = np.flatnonzero(rows.stack == rows.stack[place])
        assert [page.title.split(" h")[0] for page in pages] == ["0", "2", "3.5"]  # of hours 0 to 3.5, 1.75 rounds up
        assert f"told {rows.prob[own[0]]:.2f} infected" in pages[0].title


def test_pages_are_spread_from_the_first_to_the_last(run):
    rows = load_rows(run / "predictions" / "test.npz")
    own = np.flatnonzero(rows.stack == rows.stack[0])
    assert spread_pages(rows, str(rows.stack[0]), count=2) == [own[0], own[-1]]
    assert spread_pages(rows, str(rows.stack[0]), count=99) == own.tolist()


def test_a_stack_has_one_scale():
    """Where the second page is ten times as hot, the first one stays nearly as it is."""
    image, heat = np.full((40, 40), 90, np.uint8), np.ones((40, 40), np.float32)
    cold, hot = (HeatedPage(image=image, heat={"infected": heat * much}, title="") for much in (0.2, 2.0))
    drawn = style.pixels(draw_heat_over_time({"stack": [cold, hot]}), dpi=60).astype(int)
    spread = np.ptp(drawn, axis=-1).max(0)  # grey has no spread over the channels
    half = drawn.shape[1] // 2
    assert spread[:half].max() < 12 < 40 < spread[half:].max()
