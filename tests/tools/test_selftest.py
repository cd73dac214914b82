"""A killed training ends as one that was not; a difference would be found."""

import json

import pytest
import torch

from tarpon.tools import replay, selftest
from tarpon.tools.tasks import TOOLS
from tarpon.train import launch
from tarpon.train.checkpoint import LAST, save_tensors


def run_folder(out, *, weight: float = 1.0, steps: tuple[int, ...] = (1, 2, 3)):
    save_tensors(out / LAST, {"model/w": torch.full((3,), weight), "optimizer/step": torch.ones(1)}, {})
    (out / "metrics.jsonl").write_text("".join(json.dumps({"step": step, "loss": 0.5}) + "\n" for step in steps))
    return out


def test_what_differs_is_named(tmp_path):
    straight = run_folder(tmp_path / "a")
    assert selftest.compare(straight, run_folder(tmp_path / "b"), steps=3).different == []
    nearly = run_folder(tmp_path / "c", weight=1.0 + 2**-23)
    assert selftest.compare(straight, nearly, steps=3).different == ["model/w"]
    for steps in ((1, 2, 2, 3), (1, 3)):
        found = selftest.compare(straight, run_folder(tmp_path / f"d{len(steps)}", steps=steps), steps=3)
        assert found.different == ["steps of metrics.jsonl"]


def test_the_last_step_of_a_log_cut_by_a_kill(tmp_path):
    log = tmp_path / "metrics.jsonl"
    assert selftest.last_step(log) == 0
    log.write_text('{"step": 7, "loss": 1}\n{"step": 8, "lo')
    assert selftest.last_step(log) == 7


def test_every_task_has_one_and_an_unknown_is_answered_with_them():
    assert all(tools.selftest for tools in TOOLS.values())
    with pytest.raises(ValueError, match=f"there is: {', '.join(TOOLS)}"):
        selftest.resume(task="mose")
    with pytest.raises(ValueError, match="kills=0"):
        selftest.resume(task="fish", kills=0)


@pytest.mark.slow
@pytest.mark.parametrize("task", list(TOOLS))
def test_two_kills_change_no_bit(task, capfd):
    assert selftest.resume(task=task, kills=2) == 0, capfd.readouterr().out


def test_a_step_that_goes_wrong_is_dumped_and_made_again(tmp_path, capfd):
    """At a rate of 1e30 the second step's outputs are no numbers; the first is of finite weights, so it is not blamed."""
    words = TOOLS["fish"].selftest
    options = selftest.part_of_task("fish", "selftest", where="")(tmp_path)
    out = tmp_path / "out"
    assert words == "fish.selftest:prepare"
    more = ["--engine.dtype=fp32", "--optim.lr=1e30", "--optim.clip_norm=0", "--schedule.kind=constant", "--ema.enabled=false"]
    assert launch.main(["fish", *options, *more, f"--out={out}", "--name=run", "--log_every=4"]) == 2
    said = capfd.readouterr().err
    (dump,) = (out / "run" / "nonfinite").iterdir()
    assert f"`tarpon replay {dump}`" in said
    told = json.loads((dump / "dump.json").read_text())
    assert len(told["keys"]) == 16
    assert all(key.startswith("image") for key in told["keys"])
    assert replay.run(str(dump)) == 1
    assert f"step {told['step']}, epoch 0: " in (again := capfd.readouterr().out)
    assert "is not finite" in again
    with pytest.raises(ValueError, match=r"no dump\.json here"):
        replay.run(str(out))
