"""DeepSpeed's configuration, and its optimizer state as plain tensors."""

import json
from dataclasses import replace

import pytest
import torch

from tarpon.train.config import EngineOptions, Optim
from tarpon.train.deepspeed_config import deepspeed_dict
from tarpon.train.engine import Engine

SIZES = {"micro_batch": 2, "accumulation": 3, "world": 4, "clip_norm": 1.0, "bf16": False}


@pytest.fixture
def merged(tmp_path):
    """What a user's file makes of the configuration."""

    def make(theirs: object, **options) -> dict:
        path = tmp_path / "ds.json"
        path.write_text(theirs if isinstance(theirs, str) else json.dumps(theirs))
        return deepspeed_dict(EngineOptions(deepspeed_config=str(path), **options), **SIZES)

    return make


def test_batch_sizes_follow_from_the_run():
    made = deepspeed_dict(EngineOptions(zero_stage=2), **SIZES)
    assert (made["train_batch_size"], made["train_micro_batch_size_per_gpu"], made["gradient_accumulation_steps"]) == (24, 2, 3)
    assert made["zero_optimization"] == {"stage": 2}
    assert made["torch_autocast"]["enabled"] is False


def test_a_file_adds_what_the_run_does_not_own(merged):
    made = merged(
        {
            "zero_optimization": {"stage": 1, "reduce_bucket_size": 5000},
            "wall_clock_breakdown": True,
            "train_batch_size": 24,
            "gradient_clipping": 1.0,
            "steps_per_print": 5,
            "bf16": {"enabled": False},
        },
        zero_stage=1,
    )
    assert made["zero_optimization"] == {"stage": 1, "reduce_bucket_size": 5000}
    assert made["wall_clock_breakdown"] is True
    assert made["train_batch_size"] == 24


def test_auto_is_the_run_s_value_everywhere(merged):
    plain = deepspeed_dict(EngineOptions(), **SIZES)
    assert (
        merged(
            {
                "train_batch_size": "auto",
                "train_micro_batch_size_per_gpu": "auto",
                "gradient_accumulation_steps": "auto",
                "gradient_clipping": "auto",
                "optimizer": "auto",
                "scheduler": None,
                "fp16": {"enabled": "auto"},
                "bf16": {"enabled": "auto"},
                "zero_optimization": {"stage": "auto", "reduce_bucket_size": "auto"},
            }
        )
        == plain
    )
    assert merged({"zero_optimization": "auto", "bf16": "auto", "fp16": {"enabled": False}}) == plain


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"train_batch_size": 8}, "train_batch_size=8 contradicts the run's 24"),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps=1 contradicts"),
        ({"gradient_clipping": 0.5}, "gradient_clipping=0.5 contradicts"),
        ({"zero_optimization": {"stage": 3}}, "zero_optimization.stage=3 contradicts the run's 0"),
        ({"zero_optimization": 2}, "zero_optimization=2 must be an object"),
        ({"optimizer": {"type": "Adam"}}, "'optimizer' is the run's own; remove it and set --optim"),
        ({"scheduler": {"type": "WarmupLR"}}, "'scheduler' is the run's own"),
        ({"bf16": {"enabled": True}}, "bf16.enabled=True, the run has engine.dtype fp32"),
        ({"bf16": True}, "bf16=True must be an object"),
        ({"fp16": {"enabled": True}}, "fp16 is not supported"),
        ({"torch_autocast": {"enabled": True}}, "torch_autocast.enabled=True contradicts"),
        ([1], "a JSON object is needed, got list"),
        ("{", "cannot be read"),
    ],
)
def test_contradictions_are_refused_in_one_line(merged, theirs, said):
    with pytest.raises(ValueError) as caught:
        merged(theirs)
    assert said in str(caught.value)
    assert "ds.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(ValueError, match=r"nowhere\.json: cannot be read"):
        deepspeed_dict(EngineOptions(deepspeed_config="nowhere.json"), **SIZES)


@pytest.fixture
def engine_of(context, toy):
    """(stage, dtype) -> engine and its toy."""

    def make(stage: int, dtype: str = "fp32") -> tuple[Engine, object]:
        problem = toy()
        options = EngineOptions(zero_stage=stage, dtype=dtype)
        engine = Engine(
            context, problem.model, problem.groups, optim=Optim(lr=0.01), options=options, micro_batch=4, accumulation=1
        )
        return engine, problem

    return make


def advance(engine: Engine, problem, *, first: int, steps: int) -> list[float]:
    engine.train()
    engine.set_rate(0.01, backbone=True)
    batches, out = problem.data.batches(0, first), []
    for _ in range(steps):
        batch = next(batches)
        loss = sum(problem.loss(engine(x=batch["x"]), batch).values())
        engine.backward(loss)
        assert engine.step()
        out.append(loss.item())
    return out


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (0, 1), (1, 2), (2, 0)])
def test_optimizer_state_goes_from_any_stage_to_any_other(engine_of, before, after):
    unbroken = advance(*engine_of(0), first=0, steps=8)
    engine, problem = engine_of(before)
    assert advance(engine, problem, first=0, steps=4) == pytest.approx(unbroken[:4], abs=1e-6)
    state, weights = engine.optimizer_state(), {n: p.detach().clone() for n, p in problem.model.state_dict().items()}
    names = {name for group in problem.groups.values() for name in group}
    assert state.keys() == {f"{key}/{name}" for key in ("step", "exp_avg", "exp_avg_sq") for name in names}
    assert all(state[f"exp_avg/{n}"].shape == p.shape for group in problem.groups.values() for n, p in group.items())

    problem = replace(engine_of(0)[1])
    problem.model.load_state_dict(weights)
    engine = Engine(
        engine.context,
        problem.model,
        problem.groups,
        optim=Optim(lr=0.01),
        micro_batch=4,
        accumulation=1,
        options=EngineOptions(zero_stage=after, dtype="fp32"),
    )
    engine.load_optimizer_state(state)
    again = engine.optimizer_state()
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert advance(engine, problem, first=4, steps=4) == pytest.approx(unbroken[4:], abs=1e-6)


def test_a_frozen_backbone_has_no_rate_and_the_scale_is_applied(context, toy):
    problem = toy()
    engine = Engine(
        context,
        problem.model,
        problem.groups,
        optim=Optim(lr=1.0, backbone_lr_scale=0.1),
        micro_batch=4,
        accumulation=1,
        options=EngineOptions(dtype="fp32"),
    )
    for backbone in (False, True):
        engine.set_rate(0.5, backbone=backbone)
        rates = {group["name"]: group["lr"] for group in engine._engine.optimizer.param_groups}
        assert {rate for name, rate in rates.items() if name.startswith("backbone/")} == {0.5 * 0.1 if backbone else 0.0}
        assert {rate for name, rate in rates.items() if name.startswith("rest/")} == {0.5}


def test_state_goes_into_weights_that_lie_channels_last(context):
    """Fused AdamW goes by memory, so its averages must lie as the weights do; a file of them is always contiguous."""

    def make() -> tuple[torch.nn.Conv2d, Engine]:
        torch.manual_seed(0)
        model = torch.nn.Conv2d(3, 4, 3)
        groups, options = {"rest/decay": dict(model.named_parameters())}, EngineOptions(dtype="fp32")
        engine = Engine(context, model, groups, optim=Optim(lr=0.01), options=options, micro_batch=1, accumulation=1)
        model.to(memory_format=torch.channels_last)
        engine.set_rate(0.01, backbone=True)
        return model, engine

    def learn(engine: Engine, *, seeds: range) -> None:
        for seed in seeds:
            x = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
            engine.backward(engine._engine(x).square().mean())
            engine.step()

    model, engine = make()
    learn(engine, seeds=range(3))
    state, weights = engine.optimizer_state(), {name: p.detach().clone() for name, p in model.state_dict().items()}
    assert all(value.is_contiguous() for value in state.values())
    learn(engine, seeds=range(3, 6))
    other, again = make()
    other.load_state_dict(weights)
    again.load_optimizer_state(state)
    learn(again, seeds=range(3, 6))
    assert other.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(other.weight, model.weight)
