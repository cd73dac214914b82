"""The sheet of variations shows each kind by itself, in the pixels of the training graph."""

import io

import numpy as np
import pytest
from PIL import Image

from tarpon.pipelines.photo.feed import PhotoRequest
from tarpon.shards.sampling.photo_draws import draw_photo
from tarpon.tools import cli
from tarpon.tools.contact_sheet import COLUMNS, TILE
from tarpon.tools.star import look_augmentations

OPTIONAL = ("colour", "clahe", "kernel", "spatter", "grain", "jpeg", "dropout")
DOES = {  # what a kind may set in a draw
    "colour jitter": "colour",
    "grey": "colour",
    "water's tint": "colour",
    "CLAHE": "clahe",
    "blur": "kernel",
    "motion blur": "kernel",
    "sharpening": "kernel",
    "spatter": "spatter",
    "noise": "grain",
    "JPEG": "jpeg",
    "pixel dropout": "dropout",
}
MOVES = ("flips", "quarter turns", "crop", "turn", "scale, shift, shear", "perspective")
HOLES = ("coarse dropout", "erasing")


@pytest.mark.parametrize("name", [name for name in look_augmentations.list_kinds() if name not in ("wildlife", "underwater")])
def test_a_kind_varies_what_it_says_and_nothing_else(name):
    draws = [draw_photo(look_augmentations.list_kinds()[name], seed=0, epoch=0, slot=slot) for slot in range(20)]
    for field in OPTIONAL:
        assert all((getattr(draw, field) is not None) == (DOES.get(name) == field) for draw in draws), field
    assert any(not np.allclose(draw.matrix, np.eye(3)) for draw in draws) == (name in MOVES)
    assert any(len(draw.boxes) for draw in draws) == (name in HOLES)


def test_the_sheet_has_a_line_for_each_kind(fish_shards, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert cli.main(["look", "augmentations", fish_shards.root, "--out", str(out), "--size", "64"]) == 0
    picture = Image.open(io.BytesIO(out.read_bytes()))
    lines = len(look_augmentations.list_kinds())
    assert picture.width > COLUMNS * TILE
    assert picture.height > lines * TILE
    assert str(out) in capsys.readouterr().out


def test_pictures_are_grey_levels_of_the_graph(fish_shards):
    (picture,) = look_augmentations.render(fish_shards, [PhotoRequest(row=0)], size=96)
    assert picture.size == (96, 96)
    assert np.asarray(picture).max() > 100


def test_shards_without_photographs_are_refused(mouse_shards):
    with pytest.raises(ValueError, match="holds mouse data; augmentations are of photographs stored as JPEG"):
        look_augmentations.run(mouse_shards.root)
