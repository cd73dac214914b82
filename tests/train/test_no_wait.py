"""A training step asks the device for no value: on a GPU each such question waits until all that is queued has run.

Here on a CPU, by refusing the operations that would ask: item and bool of a tensor, nonzero and masks as indices, and tensors
made of Python numbers, which on a GPU are copied from the host. tests/train/test_gpu_sync.py has CUDA itself refuse.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tarpon.train.config import EmaOptions, EngineOptions, Run
from tarpon.train.ema import Ema
from tarpon.train.engine import Engine
from tarpon.train.meter import Meter
from tarpon.train.stepper import advance
from tarpon.train.task import Problem

aten = torch.ops.aten
ASKS = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.is_nonzero.default,
    aten.equal.default,
    aten.repeat_interleave.Tensor,
    aten._unique2.default,
    aten.lift_fresh.default,
}


class Refuse(TorchDispatchMode):
    """Raises at an operation whose answer, or the size of it, the host would wait for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in ASKS:
            raise AssertionError(f"{func} waits for the GPU")
        if func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default):
            indices = [index for index in args[1] if index is not None]
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                raise AssertionError(f"{func} by a mask waits for the GPU")
        return func(*args, **(kwargs or {}))


class RefuseCalls(TorchFunctionMode):
    """The same for methods that on a CPU read memory without an operation."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu, torch.Tensor.__array__):
            raise AssertionError(f"{func.__name__} waits for the GPU")
        return func(*args, **(kwargs or {}))


@contextmanager
def all_threads() -> Iterator[None]:
    """Backward runs on this thread, where the mode is."""
    with torch.autograd.set_multithreading_enabled(False), RefuseCalls(), Refuse():
        yield


@pytest.mark.parametrize(
    "asks",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.index_put((x > 0,), x.new_zeros(())),
        lambda x: (x > 0).nonzero(),
        lambda x: torch.tensor([1.0]) + x,
        lambda x: torch.nn.functional.one_hot(x.long().abs(), 9),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x * x.new_tensor([0.5, 0.1, 0.2, 0.3]),
    ],
)
def test_what_asks_is_refused(asks):
    x = torch.randn(4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(AssertionError, match="waits for the GPU"), all_threads():
        asks(x)


def test_what_does_not_ask_passes():
    x = torch.tensor([1.0, -1.0, 1.0, -1.0], requires_grad=True)
    with all_threads():
        torch.where(x > 0, x, 0.0)[torch.arange(2)].sum().backward()
    assert x.grad.tolist() == [1, 0, 0, 0]


def step(problem: Problem, engine: Engine, ema: Ema, meter: Meter, batch: dict, *, number: int) -> None:
    """As in the loop."""
    torch.manual_seed(number)
    engine.set_rate(1e-3, backbone=True)
    advance(problem, engine, meter, batch)
    assert problem.count(batch) > 0
    ema.update(number + 1)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("task", ["mouse", "fish", "cells", "star"])
def test_a_step_asks_for_nothing(task, dtype, context, tiny_problem):
    problem = tiny_problem(task)
    run = Run(data="none", micro_batch=1, global_batch=2, engine=EngineOptions(dtype=dtype), ema=EmaOptions(enabled=True))
    engine = Engine.of(run, context, problem.model, problem.groups)
    ema, meter, batches = Ema(problem.model, run.ema), Meter(), problem.data.batches(0, 0)
    engine.train()
    for number in range(4):  # two optimizer steps: the first makes AdamW's state
        batch = {name: value.clone() for name, value in next(batches).items()}
        with all_threads():
            step(problem, engine, ema, meter, batch, number=number)
    assert set(meter.read()) >= {"loss"}


@pytest.mark.parametrize("stage", [1, 2])
def test_a_step_with_zero_asks_for_nothing(stage, context, tiny_problem):
    problem = tiny_problem("mouse")
    run = Run(data="none", micro_batch=1, global_batch=2, engine=EngineOptions(dtype="bf16", zero_stage=stage))
    engine = Engine.of(run, context, problem.model, problem.groups)
    ema, meter, batches = Ema(problem.model, run.ema), Meter(), problem.data.batches(0, 0)
    engine.train()
    for number in range(4):
        batch = {name: value.clone() for name, value in next(batches).items()}
        with all_threads():
            step(problem, engine, ema, meter, batch, number=number)
    assert set(meter.read()) >= {"loss", "gradient_norm"}


def test_a_frozen_backbone_and_its_thaw_ask_for_nothing(context, tiny_problem):
    problem = tiny_problem("mouse")
    run = Run(data="none", micro_batch=1, global_batch=1, engine=EngineOptions(dtype="fp32"))
    engine = Engine.of(run, context, problem.model, problem.groups)
    ema, meter, batches = Ema(problem.model, run.ema), Meter(), problem.data.batches(0, 0)
    engine.train()
    backbone = [p for name, group in problem.groups.items() if name.startswith("backbone/") for p in group.values()]
    moved = []
    for number, frozen in enumerate((True, True, False)):
        before = [parameter.detach().clone() for parameter in backbone]
        batch = {name: value.clone() for name, value in next(batches).items()}
        with all_threads():
            problem.freeze(frozen)
            engine.restart("backbone")
            step(problem, engine, ema, meter, batch, number=number)
        moved.append(any(not torch.equal(old, new) for old, new in zip(before, backbone, strict=True)))
    assert moved == [False, False, True]
    assert set(meter.read()) >= {"loss"}
