"""What is written comes back, whole or not at all."""

import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tarpon.train import checkpoint
from tarpon.train.checkpoint import Position
from tarpon.train.schedule import Plateau


@pytest.fixture
def model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.mark.parametrize("plateau", [Plateau(), Plateau(best=0.5, best_step=7, since=2, waited=1, falls=3)])
def test_a_round_trip_changes_nothing(tmp_path, model, plateau):
    weights, at = checkpoint.model_tensors(model), Position(step=9, epoch=2, micro=3)
    optimizer = {"step/a": torch.tensor([9.0]), "exp_avg/a": torch.randn(4, 3)}
    ema = {"0.weight": torch.randn(4, 3)}
    checkpoint.save_last(tmp_path, model=weights, optimizer=optimizer, ema=ema, at=at, plateau=plateau, fingerprint="f")
    got = checkpoint.load_last(tmp_path, fingerprint="f")
    for before, after in ((weights, got.model), (optimizer, got.optimizer), (ema, got.ema)):
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    assert (got.at, got.plateau) == (at, plateau)
    assert math.isinf(Plateau().best)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.safetensors"]


def test_model_tensors_are_copies(model):
    held = checkpoint.model_tensors(model)
    before = held["0.weight"].clone()
    with torch.no_grad():
        model[0].weight.add_(1)
    assert torch.equal(held["0.weight"], before)


@pytest.mark.parametrize("spoil", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"\0" * len(data)])
def test_a_spoilt_file_is_said_in_one_line(tmp_path, model, spoil):
    path = tmp_path / "x.safetensors"
    checkpoint.save_tensors(path, checkpoint.model_tensors(model), {})
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match="not a readable checkpoint") as caught:
        checkpoint.load_tensors(path)
    assert str(path) in str(caught.value)


def test_a_file_of_others_and_a_missing_one(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "theirs.safetensors")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        checkpoint.load_tensors(tmp_path / "theirs.safetensors")
    with pytest.raises(ValueError, match="no such checkpoint"):
        checkpoint.load_tensors(tmp_path / "none.safetensors")


def save(folder, step: int, *, keep: int = 1, fingerprint: str = "data:1:2", **given) -> None:
    """A checkpoint whose one weight is its step."""
    checkpoint.save_last(
        folder,
        model={"w": torch.full((2,), float(step))},
        optimizer={},
        ema={},
        at=Position(step=step),
        plateau=Plateau(),
        fingerprint=fingerprint,
        keep=keep,
        **given,
    )


@pytest.mark.parametrize(
    ("now", "said"),
    [("other:1:2", "data or labels;"), ("data:3:2", r"seed \(1, now 3\)"), ("data:1:4", r"global_batch \(2, now 4\)")],
)
def test_what_is_not_as_it_was_is_named(tmp_path, now, said):
    save(tmp_path, 1)
    with pytest.raises(ValueError, match=said):
        checkpoint.load_last(tmp_path, fingerprint=now)


def test_the_newest_are_kept_and_a_damaged_one_is_passed_over(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, step, keep=3)
    kept = checkpoint.list_checkpoints(tmp_path)
    assert [checkpoint.load_tensors(path)[1]["position"]["step"] for path in kept.values()] == [4, 3, 2]
    kept[0].write_bytes(kept[0].read_bytes()[:50])
    last = checkpoint.load_last(tmp_path, fingerprint="data:1:2")
    assert (last.at.step, last.model["w"].tolist()) == (3, [3.0, 3.0])
    assert [str(kept[0]) in line for line in last.passed] == [True]
    save(tmp_path, 5, keep=1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.safetensors"]


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_between_two_renames_leaves_the_newest(tmp_path, monkeypatch, renames):
    """Of the file's own draft, of the one before, of the new one: after any of them the newest whole one is found."""
    save(tmp_path, 1, keep=2)
    real, done = checkpoint.os.replace, []

    def killed(source, target):
        if len(done) > renames:
            raise KeyboardInterrupt
        done.append(target)
        real(source, target)

    monkeypatch.setattr(checkpoint.os, "replace", killed)
    if renames < 2:
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 2, keep=2)
    else:
        save(tmp_path, 2, keep=2)
    monkeypatch.undo()
    assert checkpoint.load_last(tmp_path, fingerprint="data:1:2").at.step == 2
    save(tmp_path, 3, keep=2)
    assert [checkpoint.load_tensors(p)[1]["position"]["step"] for p in checkpoint.list_checkpoints(tmp_path).values()] in (
        [3, 2],
        [3, 1],
    )


def test_what_else_a_run_remembers_comes_back(tmp_path):
    save(tmp_path, 1, memory=[{"quarantine": ["a"]}, {}])
    assert checkpoint.load_last(tmp_path, fingerprint="data:1:2").memory == [{"quarantine": ["a"]}, {}]


def test_weights_of_another_model_are_named(model):
    weights = checkpoint.model_tensors(model)
    with pytest.raises(ValueError, match=r"w: weight 0\.weight is \(4, 3\), the model wants \(4, 5\)"):
        checkpoint.load_weights(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), weights, name="w")
    with pytest.raises(ValueError, match="only in the file"):
        checkpoint.load_weights(nn.Sequential(nn.Linear(3, 4)), weights, name="w")
    with pytest.raises(ValueError, match="only in the model"):
        checkpoint.load_weights(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)), weights, name="w")


def test_a_position_counts_micro_batches_at_its_own_accumulation():
    at = Position(step=13, epoch=2, micro=12)  # 5 steps an epoch, 4 micro-batches a step
    assert checkpoint.rescale(at, steps_per_epoch=5, accumulation=4) == at
    assert checkpoint.rescale(at, steps_per_epoch=5, accumulation=2).micro == 6
