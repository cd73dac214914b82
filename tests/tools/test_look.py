"""What look counts and draws is what was packed."""

import io
import shutil
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from tarpon.shards.manifest import SPLITS
from tarpon.shards.quarantine import Fault
from tarpon.shards.sources.mouse.pose_points import MOUSE_POINTS
from tarpon.shards.sources.mouse.units import CLASSES
from tarpon.tools import look
from tarpon.tools.mouse import look as look_mouse
from tarpon.tools.table import table


def test_class_counts_add_up_to_what_the_annotation_files_hold(mouse_lab, mouse_shards):
    frames = sum(look_mouse.count_classes(mouse_shards, split)[0] for split in SPLITS)
    lines = [line for path in (mouse_lab / "Annotations").iterdir() for line in path.read_text().splitlines()[1:]]
    assert frames.tolist() == [sum(line.endswith(f",{action}") for line in lines) for action in range(8)] + [0]


def test_bouts_are_counted_a_trial_at_a_time(mouse_shards):
    bouts = sum(look_mouse.count_classes(mouse_shards, split)[1].sum() for split in SPLITS)
    # by hand: one bout at the start of each trial and one more at every change of label
    expected = sum(1 + sum(a != b for a, b in pairwise(actions)) for actions in mouse_shards.table["actions"].to_pylist())
    assert bouts == expected


def test_picks_carry_their_label_share_out_the_classes_and_depend_on_the_seed(mouse_shards):
    picks = look_mouse.pick_frames(mouse_shards, count=24, seed=0)
    assert len(set(picks)) == 24
    assert all(mouse_shards.value(pick.row, "actions")[pick.frame] == pick.action for pick in picks)
    assert np.bincount([pick.action for pick in picks]).tolist() == [3] * 8
    assert picks == look_mouse.pick_frames(mouse_shards, count=24, seed=0)
    assert picks != look_mouse.pick_frames(mouse_shards, count=24, seed=1)
    assert len({pick.row for pick in picks}) > 2


def test_fewer_frames_than_classes_and_more_than_a_data_set_has(mouse_shards):
    assert len({pick.action for pick in look_mouse.pick_frames(mouse_shards, count=5, seed=0)}) == 5
    total = int(mouse_shards.column("frames").sum())
    assert len(set(look_mouse.pick_frames(mouse_shards, count=total + 99, seed=0))) == total


def test_a_point_is_drawn_where_it_is_in_the_frame():
    """A point at (150, 50) of a 200 x 100 source stored as 100 x 50: three quarters across, half way down."""
    points = np.array([[150, 50, 1.0], [np.nan, np.nan, 0.0]], np.float32)
    blank = np.full((50, 100, 3), 255, np.uint8)
    tile = np.asarray(look_mouse._tile(blank, points, side=np.array([200.0, 100.0])), int)
    painted = np.argwhere((tile != 255).any(-1) & (tile != 0xC9).any(-1))  # neither the frame's white nor the margin's grey
    assert painted.mean(0) == pytest.approx([look_mouse.TILE / 2, look_mouse.TILE * 3 / 4], abs=1.5)


def test_run_prints_the_tables_and_writes_the_picture(mouse_shards, capsys, tmp_path):
    shards = shutil.copytree(mouse_shards.root, tmp_path / "shards")  # the picture goes into the folder
    assert look.run(str(shards), frames=8) == 0
    text = capsys.readouterr().out
    assert f"{len(mouse_shards)} samples" in text
    assert all(name in text for name in (*CLASSES, *MOUSE_POINTS, "vp9", "nothing was left out"))
    picture = Image.open(shards / "contact_sheet.png")
    look.run(str(shards), frames=8, out=str(tmp_path / "other.png"))
    assert Image.open(io.BytesIO((tmp_path / "other.png").read_bytes())).size == picture.size


def test_quarantine_reasons_are_counted():
    faults = [Fault(file=f"{i}.csv", reason="blank" if i else "late") for i in range(4)]
    lines = list(look.quarantine_table(faults))
    assert lines == ["quarantine: 4 left out", "     3 x blank (e.g. 1.csv)", "     1 x late (e.g. 0.csv)"]
    remarks = [Fault(file=f"{i}.csv", reason=f"tile {i} of 9", packed=True) for i in range(2)]
    assert list(look.quarantine_table([*faults, *remarks])) == [
        *lines, "packed with a remark: 2", "     2 x tile 0 of 9 (e.g. 0.csv)",
    ]  # fmt: skip
    assert next(iter(look.quarantine_table(remarks))) == "quarantine: nothing was left out"


def test_table_aligns_and_prints_shares_in_percent():
    assert list(table(["a", "share"], [["long", 0.125], ["b", 7]])) == ["a     share", "long  12.5%", "b         7"]


def test_an_empty_picture_is_refused(mouse_shards):
    with pytest.raises(ValueError, match="frames=0"):
        look.run(mouse_shards.root, frames=0)
