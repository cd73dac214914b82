"""The head's training step as CUDA graphs on a GPU: the same losses and gradients, and no wait of the host."""

import pytest
import torch

from tarpon.models.head_graph import HeadGraph
from tarpon.train.config import EngineOptions, Run
from tarpon.train.engine import Engine
from tarpon.train.graph_head import record_head
from tarpon.train.meter import Meter
from tarpon.train.stepper import advance

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")]
OTHER = {"temporal": "transformer", "attention_frames": 8, "refine_stages": 2}
STEPS, THAW = 5, 4  # optimizer steps of two micro-batches; micro-batches with a frozen backbone
# Of a loss and of a gradient's length. Dropout and kernels are the same, but sums by atomic additions are not the same twice;
# micro-batches that were lost or counted twice, or another dropout, change them by tenths.
TOLERANCE = {"fp32": 5e-3, "bf16": 5e-2}


@pytest.mark.parametrize(
    ("task", "dtype", "options"),
    [("mouse", "fp32", {}), ("mouse", "bf16", {}), ("mouse", "bf16", {"over_time": OTHER}), ("fish", "bf16", {})],
)
def test_a_training_is_the_same_with_and_without(task, dtype, options, context, tiny_problem):
    histories, graph = [], None
    for recorded in (False, True):
        problem = tiny_problem(task, **options)
        micro = next(iter(problem.sample().values())).shape[0]
        engine_options = EngineOptions(cuda_graph_head=True, compile="off", dtype=dtype)
        run = Run(data="none", micro_batch=micro, global_batch=2 * micro, engine=engine_options)
        engine = Engine.of(run, context, problem.model, problem.groups)
        graph = record_head(run, problem, engine) if recorded else None
        engine.train()
        batches, meter, history = problem.data.batches(0, 0), Meter(), []
        for number in range(2 * STEPS):
            batch = {name: value.clone() for name, value in next(batches).items()}
            problem.freeze(number < THAW)
            engine.set_rate(1e-3, backbone=number >= THAW)
            torch.manual_seed(number)
            if advance(problem, engine, meter, batch):
                history.append(meter.read())
        histories.append(history)
    assert isinstance(graph, HeadGraph)
    assert graph.replays == 2 * STEPS
    for plain, other in zip(*histories, strict=True):
        assert other == pytest.approx(plain, rel=TOLERANCE[dtype])


def test_replays_draw_dropout_anew_and_as_without_a_graph(context, tiny_problem):
    """Without AdamW and the backbone: one batch, its outputs at a few seeds."""
    outputs = []
    for recorded in (False, True):
        problem = tiny_problem("fish")
        batch = {name: value.clone() for name, value in next(problem.data.batches(0, 0)).items()}
        run = Run(
            data="none", micro_batch=8, global_batch=8, engine=EngineOptions(cuda_graph_head=True, dtype="fp32", tf32=False)
        )
        engine = Engine.of(run, context, problem.model, problem.groups)
        graph = record_head(run, problem, engine) if recorded else None
        engine.train()
        made = []
        for seed in (1, 2, 1):
            torch.manual_seed(seed)
            made += [engine(features=batch["features"])["family"].detach() for _ in range(2)]
        outputs.append(torch.stack(made))
    assert graph.replays == 6
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)
    first, second, other, *again = outputs[1]
    assert not torch.allclose(first, second)
    assert not torch.allclose(first, other)
    torch.testing.assert_close(torch.stack(again[1:]), torch.stack([first, second]))


def test_steps_as_graphs_wait_for_nothing(context, tiny_problem):
    problem = tiny_problem("mouse")
    options = EngineOptions(cuda_graph_head=True, compile="off", dtype="bf16")
    run = Run(data="none", micro_batch=1, global_batch=1, engine=options, freeze_backbone_epochs=0)
    engine = Engine.of(run, context, problem.model, problem.groups)
    graph, meter, batches = record_head(run, problem, engine), Meter(), problem.data.batches(0, 0)
    engine.train()
    for number in range(6):
        batch = {name: value.clone() for name, value in next(batches).items()}
        torch.manual_seed(number)
        torch.cuda.set_sync_debug_mode("error" if number > 1 else "default")  # AdamW's state is made at the first
        try:
            advance(problem, engine, meter, batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert graph.replays == 6
    assert meter.read()["loss"] > 0
