"""Ten training steps of each task in which CUDA itself refuses every wait of the host for the device."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from tarpon.train.config import EmaOptions, EngineOptions, Run
from tarpon.train.ema import Ema
from tarpon.train.engine import Engine
from tarpon.train.meter import Meter
from tarpon.train.stepper import advance

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")]


@contextmanager
def refuse_waits() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_wait_is_refused():
    x = torch.ones(4, device="cuda")
    with pytest.raises(RuntimeError, match="synchronizing"), refuse_waits():
        x.sum().item()


CASES = [(task, dtype, 0) for task in ("mouse", "fish", "cells", "star") for dtype in ("fp32", "bf16")]


@pytest.mark.parametrize(("task", "dtype", "stage"), [*CASES, ("mouse", "bf16", 1), ("mouse", "bf16", 2)])
def test_ten_steps_wait_for_nothing(task, dtype, stage, context, tiny_problem):
    problem = tiny_problem(task)
    options = EngineOptions(dtype=dtype, compile="off", zero_stage=stage)  # compiling waits, once
    run = Run(data="none", micro_batch=1, global_batch=2, engine=options, ema=EmaOptions(enabled=True))
    engine = Engine.of(run, context, problem.model, problem.groups)
    ema, meter, batches = Ema(problem.model, run.ema), Meter(), problem.data.batches(0, 0)
    engine.train()
    for number in range(12):
        batch = {name: value.clone() for name, value in next(batches).items()}  # the loader's own waits are not the loop's
        if number < 2:  # the first optimizer step makes AdamW's state and picks algorithms
            step(problem, engine, ema, meter, batch, number=number)
            continue
        with refuse_waits():
            step(problem, engine, ema, meter, batch, number=number)
    assert all(torch.isfinite(torch.tensor(list(meter.read().values()))))


def step(problem, engine: Engine, ema: Ema, meter: Meter, batch: dict, *, number: int) -> None:
    """As in the loop."""
    torch.manual_seed(number)
    engine.set_rate(1e-3, backbone=True)
    advance(problem, engine, meter, batch)
    assert problem.count(batch) > 0
    ema.update(number + 1)
