"""A run folder stands for the file that its task exported."""

import pytest
import torch

from tarpon.train.tasks.fish import export as fish
from tarpon.train.tasks.mouse import export as mouse
from tarpon.train.tasks.star import export as star

EXPORTS = pytest.mark.parametrize("export", [fish, mouse, star], ids=lambda export: export.__name__.split(".")[-2])


@EXPORTS
def test_a_run_folder_stands_for_its_file(export, tmp_path):
    path = tmp_path / export.NAME
    path.parent.mkdir(exist_ok=True)
    torch.save(dict.fromkeys(export.KEYS, 1), path)
    assert export.load(tmp_path) == export.load(path) == dict.fromkeys(export.KEYS, 1)


@EXPORTS
def test_what_lacks_it_is_told_what_to_give(export, tmp_path):
    with pytest.raises(ValueError, match=rf"{tmp_path}: no {export.NAME} here; give the folder of a run of this task"):
        export.load(tmp_path)
    with pytest.raises(ValueError, match=rf"no such checkpoint; give a run folder or its {export.NAME}"):
        export.load(tmp_path / "nowhere")
