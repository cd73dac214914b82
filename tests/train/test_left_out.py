"""A bad row of a split is left out by name and nothing stands in for it: the other rows' answers are those of sound data."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tarpon.shards.manifest import Manifest
from tarpon.train.config import LoaderOptions
from tarpon.train.evaluate import evaluate, left_out_words
from tarpon.train.quarantine import Quarantine, read_quarantine
from tarpon.train.task import Result

MEDIA = {"mouse": "clip", "cells": "tif", "star": "jpg"}


def damage(manifest: Manifest, out: Path, column: str, rows: list[int]) -> Path:
    """A copy of shards with a byte changed in a component of some rows."""
    shutil.copytree(manifest.root, out)
    for row in rows:
        path = out / manifest.value(row, "shard")
        content = bytearray(path.read_bytes())
        content[manifest.value(row, f"{column}_offset") + manifest.value(row, f"{column}_size") // 2] ^= 255
        path.write_bytes(content)
    return out


def answers(task: str, result: Result) -> dict[str, np.ndarray]:
    """Key -> what the model answered."""
    if task == "mouse":
        return {trial.key: trial.probs for trial in result.rows}
    if task == "cells":
        return dict(zip(result.rows.key.tolist(), result.rows.predicted, strict=True))
    rows = result.rows.rows
    return dict(zip(rows.key.tolist(), rows.embedding, strict=True))


@pytest.mark.parametrize("task", list(MEDIA))
def test_the_other_rows_are_scored_as_ever(task, tiny_problem, request, tmp_path, capsys):
    manifest = request.getfixturevalue(f"{task}_shards")
    sound = evaluate(tiny_problem(task), "val")
    assert sound.scalars["rows"] == sound.scalars["rows_of"] > 1
    assert left_out_words(sound.scalars) == ""
    bad = int(manifest.rows("val")[-1])
    data = damage(manifest, tmp_path / "bad", MEDIA[task], [bad])
    found = evaluate(tiny_problem(task, data=data, loader=LoaderOptions(bad_rows=1)), "val")
    want, got = answers(task, sound), answers(task, found)
    gone = set(want) - set(got)
    assert manifest.value(bad, "key") in gone
    assert found.scalars["rows_of"] == sound.scalars["rows"]
    assert found.scalars["rows"] == sound.scalars["rows"] - len(gone)
    assert len(gone) == (1 if task != "cells" else len(touching(manifest, bad)))
    for key, value in got.items():
        np.testing.assert_allclose(value, want[key], rtol=1e-5, atol=1e-6, err_msg=key)
    said = capsys.readouterr().err
    assert manifest.value(bad, "key") in said
    assert "checksum differs" in said
    assert f"over {found.scalars['rows']:.0f} of {sound.scalars['rows']:.0f} rows" in left_out_words(found.scalars)


def touching(manifest: Manifest, bad: int) -> list[int]:
    """Pages of val whose window of three holds the bad page."""
    stack, page = manifest.column("stack"), manifest.column("page")
    return [row for row in manifest.rows("val") if stack[row] == stack[bad] and abs(int(page[row]) - int(page[bad])) <= 1]


@pytest.mark.parametrize("task", list(MEDIA))
def test_past_the_budget_the_evaluation_ends(task, tiny_problem, request, tmp_path):
    manifest = request.getfixturevalue(f"{task}_shards")
    bad = [int(row) for row in manifest.rows("val")[-2:]]
    data = damage(manifest, tmp_path / "bad", MEDIA[task], bad)
    with pytest.raises(ValueError, match=r"2 bad samples, 1 allowed \(bad_rows\); the first: \S*shard-"):
        evaluate(tiny_problem(task, data=data, loader=LoaderOptions(bad_rows=1)), "val")


def test_a_split_of_bad_rows_is_no_score(tiny_problem, mouse_shards, tmp_path):
    rows = [int(row) for row in mouse_shards.rows("val")]
    data = damage(mouse_shards, tmp_path / "bad", "clip", rows)
    with pytest.raises(ValueError, match=f"val: none of its {len(rows)} rows can be read"):
        evaluate(tiny_problem("mouse", data=data, loader=LoaderOptions(bad_rows=9)), "val")


@pytest.mark.parametrize("task", list(MEDIA))
def test_what_training_meets_is_told_kept_and_remembered(task, tiny_problem, request, tmp_path, capsys):
    manifest, out = request.getfixturevalue(f"{task}_shards"), tmp_path / "run"
    out.mkdir()
    bad = [int(row) for row in manifest.rows("train")]
    data = damage(manifest, tmp_path / "bad", MEDIA[task], bad[:1])
    made = {"data": data, "out": str(out), "loader": LoaderOptions(bad_rows=1)}
    problem = tiny_problem(task, **made)
    batches = problem.data.batches(0, 0)
    for _ in range(2 * problem.data.steps_per_epoch * 4):
        next(batches)
        if problem.data.quarantine.budget.faults:
            break
    (line,) = read_quarantine(out)
    assert Path(line["tar"]).name == manifest.value(bad[0], "shard")  # of several data sets with its root
    assert line["key"] == manifest.value(bad[0], "key")
    assert line["offset"] == manifest.value(bad[0], f"{MEDIA[task]}_offset")
    assert "checksum differs" in line["error"]
    assert line["process"] == 0
    assert line["key"] in capsys.readouterr().err
    held = problem.memory()
    again = tiny_problem(task, **made)
    again.remember([held])
    assert again.data.quarantine.budget.faults == problem.data.quarantine.budget.faults
    batches = again.data.batches(0, 0)
    for _ in range(2):
        next(batches)
    assert len(read_quarantine(out)) == 1  # told once


def test_parts_of_all_processes_are_remembered(context):
    from dataclasses import replace

    from tarpon.shards.quarantine import Fault
    from tarpon.train.config import Run

    run = Run(data="x", out="", loader=LoaderOptions(bad_rows=9))
    parts = []
    for rank in range(3):
        one = Quarantine(run, replace(context, rank=rank, world=3))
        one.budget.spend(Fault(file=f"t:{rank}", reason="checksum"), row=rank, split=np.arange(9))
        one.rejected[rank] = Fault(file=f"t:{rank}", reason="does not decode")
        parts.append(one.memory())
    for world in (1, 2, 3, 4):
        found, rows = [], set()
        for rank in range(world):
            one = Quarantine(run, replace(context, rank=rank, world=world))
            one.remember(parts)
            found += [fault.file for fault in one.budget.faults]
            rows |= one.budget.rows
            assert sorted(one.rejected) == [0, 1, 2]  # every process keeps away from them
        assert sorted(found) == ["t:0", "t:1", "t:2"]
        assert rows == {0, 1, 2}
