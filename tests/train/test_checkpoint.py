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


def test_other_data_are_refused(tmp_path, model):
    checkpoint.save_last(tmp_path, model={}, optimizer={}, ema={}, at=Position(), plateau=Plateau(), fingerprint="a")
    with pytest.raises(ValueError, match="other data, seed or batch size"):
        checkpoint.load_last(tmp_path, fingerprint="b")


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
    assert checkpoint.rescaled(at, steps_per_epoch=5, accumulation=4) == at
    assert checkpoint.rescaled(at, steps_per_epoch=5, accumulation=2).micro == 6
