"""Training on a GPU in bf16: weights move, freezing holds, a stop and a resume change nothing, memory stays in bounds."""

import numpy as np
import pytest
import torch

from tarpon.tools.gpu import resume
from tarpon.tools.gpu.stepper import Stepper, measure_changes
from tarpon.train import checkpoint
from tarpon.train.engine import DistContext, connect

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")]
LR = 1e-3
SMALL = [
    "--model.backbone.name=vit_tiny_patch16_224",
    "--model.backbone.pretrained=false",
    "--model.backbone.image_size=64",
    "--model.hidden=32",
    "--window.train_frames=16",
    "--window.val_frames=120",
    "--engine.dtype=bf16",
    "--engine.compile=off",  # a compiler for every engine here would take longer than all the steps
    f"--optim.lr={LR}",
    "--schedule.kind=constant",
    "--schedule.warmup_epochs=0",
    "--freeze_backbone_epochs=0",
    "--early_stop_patience=0",
    "--eval_every=1000",
]
STAGES = pytest.mark.parametrize("stage", [0, 1, 2])


@pytest.fixture(scope="session")
def context() -> DistContext:
    """This process, alone; it stays connected, as DeepSpeed cannot join another group in one process."""
    return connect()


@pytest.fixture
def trainer(context, mouse_shards):
    """(stage=, saved=) -> a small mouse problem under an engine, in bf16."""

    def make(*, stage: int, saved: tuple | None = None) -> Stepper:
        return Stepper("mouse", context, mouse_shards.root, [*SMALL, f"--engine.zero_stage={stage}"], saved=saved)

    return make


@STAGES
def test_steps_in_bf16_move_every_part_and_lower_the_loss(trainer, stage):
    one = trainer(stage=stage)
    before = {part: one.weights(part) for part in ("backbone", "rest")}
    losses = one.steps(12)
    assert one.engine.bf16
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    for part, weights in before.items():
        changes = list(measure_changes(weights, one.weights(part)).values())
        # AdamW takes about LR a step; weight decay alone would be a thousandth of that
        assert np.mean(np.array(changes) > 0.1 * LR) > 0.8, part
        assert all(weight.dtype == torch.float32 for weight in weights.values())


def test_the_network_computes_in_bf16(trainer):
    one, seen = trainer(stage=0), []
    linear = next(module for module in one.problem.model.encoder.modules() if isinstance(module, torch.nn.Linear))
    linear.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    one.steps(1)
    assert seen == [torch.bfloat16]


@STAGES
def test_a_frozen_backbone_stays_and_then_learns(trainer, stage):
    one = trainer(stage=stage)
    one.freeze(True)
    backbone, rest = one.weights("backbone"), one.weights("rest")
    one.steps(4)
    held = one.weights("backbone")
    assert all(torch.equal(held[name], weight) for name, weight in backbone.items())
    assert max(measure_changes(rest, one.weights("rest")).values()) > 0.1 * LR
    one.freeze(False)
    one.steps(4)
    changes = np.array(list(measure_changes(backbone, one.weights("backbone")).values()))
    assert np.mean(changes > 0.1 * LR) > 0.8


@STAGES
def test_a_saved_state_goes_on_as_if_never_stopped(trainer, stage):
    """One more step after a resume is the step that the run itself takes; without AdamW's past it would be another."""
    one = trainer(stage=stage)
    one.steps(5)
    state = one.engine.optimizer_state()
    saved = (checkpoint.model_tensors(one.problem.model), state)
    other = trainer(stage=stage, saved=saved)
    other.done = one.done
    again = other.engine.optimizer_state()
    assert set(again) == set(state)
    assert all(torch.equal(again[name], value) for name, value in state.items())
    at = one.weights("rest") | one.weights("backbone")
    assert other.steps(1) == pytest.approx(one.steps(1), rel=1e-2)
    ours, theirs = (each.weights("rest") | each.weights("backbone") for each in (one, other))
    step = np.mean(list(measure_changes(at, ours).values()))
    assert np.mean(list(measure_changes(theirs, ours).values())) < 0.05 * step


def test_a_stopped_and_resumed_run_has_the_same_losses(mouse_shards, tmp_path):
    straight, resumed = resume.train_both("mouse", mouse_shards.root, tmp_path, SMALL)
    assert list(straight) == list(range(1, resume.STEPS + 1))
    assert list(resumed) == list(straight)
    assert resume.relative_difference(straight, resumed) < 0.25


def peak(one: Stepper) -> int:
    """Bytes, at the highest point of a step."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    one.steps(1)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def test_memory_does_not_grow_and_a_frozen_backbone_needs_less(trainer):
    one = trainer(stage=0)
    one.steps(3)
    held, thawed = torch.cuda.memory_allocated(), peak(one)
    one.steps(5)
    assert torch.cuda.memory_allocated() <= held + 2**20
    assert peak(one) <= thawed + 2**20
    one.freeze(True)
    one.steps(1)
    # no activations of the backbone are kept for the backward
    assert peak(one) < thawed
