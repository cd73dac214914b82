"""Gradient clipping: ours is DeepSpeed's to rounding at every ZeRO stage, over micro-batches and processes too."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tarpon.train.clipping import clip_parts
from tarpon.train.config import EngineOptions, Optim
from tarpon.train.engine import DistContext, Engine, connect

CLIP, STEPS, ROWS = 0.05, 5, 8  # the norms of these gradients are 0.5 and more


def learn(context: DistContext, *, stage: int = 0, theirs: bool = False, micro: int = ROWS, clip: float = CLIP) -> dict:
    """Parameters after STEPS steps on ROWS rows, `micro` of them a forward of a process; `theirs` leaves it to DeepSpeed."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    groups = {"rest/decay": dict(model.named_parameters())}
    accumulation = ROWS // micro // context.world
    optim, options = Optim(lr=0.01, clip_norm=clip), EngineOptions(zero_stage=stage, dtype="fp32")
    engine = Engine(context, model, groups, optim=optim, options=options, micro_batch=micro, accumulation=accumulation)
    if theirs:
        engine._clip_norm = 0.0
        engine._engine._config.gradient_clipping = clip
    engine.train()
    engine.set_rate(0.01, backbone=True)
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        x = torch.randn(ROWS, 6, generator=generator)
        for turn in range(accumulation):
            at = (turn * context.world + context.rank) * micro
            part = x[at : at + micro]
            scores = engine._engine(part)
            engine.backward(10 * nn.functional.cross_entropy(scores, part[:, :3].argmax(1)))
            assert engine.step() == (turn == accumulation - 1)
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_same(ours: dict, theirs: dict, *, atol: float = 1e-6) -> None:
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=atol, msg=lambda said, name=name: f"{name}: {said}")


@pytest.mark.parametrize("micro", [ROWS, 2])
def test_stage_0_is_deepspeeds_own(context, micro):
    ours = learn(context, micro=micro)
    assert_same(ours, learn(context, micro=micro, theirs=True))
    unclipped = learn(context, micro=micro, clip=0.0)
    assert max((ours[name] - unclipped[name]).abs().max() for name in ours) > 1e-5  # or the test would prove nothing


def test_accumulation_and_stages_clip_the_same_gradient(context):
    whole = learn(context)
    assert_same(learn(context, micro=2), whole)
    for stage in (1, 2):
        assert_same(learn(context, stage=stage), whole)
        assert_same(learn(context, stage=stage, micro=2), whole)


def test_parts_are_shortened_together_and_short_ones_left_alone():
    parts = [torch.tensor([3.0, 0.0]), None, torch.tensor([[4.0]]), torch.zeros(5)]
    assert clip_parts(parts, limit=10.0, world=1) == 5
    assert parts[0].tolist() == [3, 0]
    assert clip_parts(parts, limit=1.0, world=1) == 5
    torch.testing.assert_close(
        torch.cat([part.flatten() for part in parts if part is not None])[:3], torch.tensor([0.6, 0, 0.8])
    )
    broken = [torch.tensor([float("nan")])]
    assert clip_parts(broken, limit=1.0, world=1).isnan()


@pytest.mark.parametrize("stage", [1, 2])
def test_with_zero_the_norm_is_told_and_the_host_looks_at_none(context, stage, monkeypatch):
    """DeepSpeed's own test of a norm reads it on the host."""
    monkeypatch.setattr("deepspeed.runtime.zero.stage_1_and_2.is_invalid_grad_norm", lambda norm: pytest.fail("a wait"))
    norms = []
    monkeypatch.setattr(
        "tarpon.train.engine.clip_parts", lambda *args, **kw: norms.append(clip_parts(*args, **kw)) or norms[-1]
    )
    learn(context, stage=stage)
    assert len(norms) == STEPS
    assert min(norms) > CLIP


def test_a_deepspeed_file_may_say_the_clipping_again(context, tmp_path):
    (tmp_path / "ds.json").write_text('{"gradient_clipping": 0.05}')
    model = nn.Linear(2, 2)
    options = EngineOptions(dtype="fp32", deepspeed_config=str(tmp_path / "ds.json"))
    groups, optim = {"rest/decay": dict(model.named_parameters())}, Optim(clip_norm=CLIP)
    engine = Engine(context, model, groups, optim=optim, options=options, micro_batch=1, accumulation=1)
    assert (engine._clip_norm, engine._engine.gradient_clipping()) == (CLIP, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 2])
def test_two_processes_clip_the_mean_of_their_gradients(context, stage, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    plain = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE")}
    shared = {"WORLD_SIZE": "2", "LOCAL_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path / "two.safetensors"), str(stage)],
            env=plain | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    assert_same(load_file(tmp_path / "two.safetensors"), learn(context))


if __name__ == "__main__":
    here = connect()
    found = learn(here, micro=2, stage=int(sys.argv[2]))
    if here.first:
        save_file(found, Path(sys.argv[1]))
