"""The head's recorded step on a CPU, with a recorder in the place of CUDA graphs that runs again and overwrites, as they do."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from tarpon.models import head_graph
from tarpon.models.head_graph import HeadGraph
from tarpon.train.config import EngineOptions, Run
from tarpon.train.engine import Engine
from tarpon.train.graph_head import capture_head, frozen_states, record_head
from tarpon.train.meter import Meter
from tarpon.train.stepper import advance
from tarpon.train.task import Problem

STEPS = 5
OTHER = {"temporal": "transformer", "attention_frames": 8, "refine_stages": 2}


@contextmanager
def rerunning(device: torch.device) -> Iterator[Callable]:
    """As `head_graph.recording`: a replay fills the memory of the recording; here by running the same functions again."""

    def record(run: Callable[[], list]) -> tuple[list, Callable[[], None]]:
        made = [x.clone() for x in run()]

        def replay() -> None:
            with torch.enable_grad():
                for own, new in zip(made, run(), strict=True):
                    own.copy_(new)

        return made, replay

    with torch.random.fork_rng(devices=[]):
        yield record


@pytest.fixture(autouse=True)
def recorder(monkeypatch) -> None:
    monkeypatch.setattr(head_graph, "recording", rerunning)


class Net(nn.Module):
    """x (B, 6), bias (B, 4) -> score, and an output that is a parameter itself; with dropout and a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8))
        self.last, self.unused = nn.Linear(8, 4), nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.ones(()))
        self.frozen = False

    def forward(self, x: Tensor, bias: Tensor) -> dict[str, Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            hidden = self.encoder(x)
        return self.run_head(hidden, None, bias)

    def run_head(self, hidden: Tensor, none: None, bias: Tensor) -> dict[str, Tensor]:
        score = self.last(nn.functional.dropout(hidden, 0.5, self.training)) * self.scale + bias
        return {"score": score, "positive": score > 0, "scale": self.scale}


def sample(rows: int = 3) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(rows)
    return {"x": torch.randn(rows, 6, generator=draw), "bias": torch.randn(rows, 4, generator=draw)}


@pytest.fixture
def graphed() -> tuple[Net, HeadGraph]:
    net = Net()
    graph = HeadGraph(net)
    for frozen in (True, False):
        graph.capture(sample(), frozen=frozen, autocast=nullcontext)
    return net, graph


def learn(net: Net, inputs: dict[str, Tensor], *, seed: int) -> dict[str, Tensor]:
    """One forward and backward, gradients added to those that are there."""
    torch.manual_seed(seed)
    out = net(**inputs)
    (out["score"].square().mean() * out["scale"]).backward()
    return out


def test_recording_changes_no_weight_statistic_mode_or_generator():
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    HeadGraph(net).capture(sample(), frozen=False, autocast=nullcontext)
    assert torch.equal(torch.rand(3), want)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert net.training
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("frozen", [False, True])
def test_outputs_and_gradients_are_the_networks_own_over_micro_batches(graphed, frozen):
    net, graph = graphed
    plain = Net()
    plain.frozen = net.frozen = frozen
    for seed in range(4):
        one, two = (learn(each, sample(), seed=seed) for each in (net, plain))
        assert all(torch.equal(one[name], two[name]) for name in two)
        for (name, p), q in zip(net.named_parameters(), plain.parameters(), strict=True):
            assert (p.grad is None) == (q.grad is None), name
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-6, atol=1e-7)
    assert graph.replays == 4
    assert plain.last.weight.grad is not None
    assert (plain.encoder[0].weight.grad is None) == frozen


def test_what_a_step_gave_is_not_overwritten_by_the_next(graphed):
    net, _ = graphed
    first = learn(net, sample(), seed=0)
    held = {name: value.detach().clone() for name, value in first.items()}
    gradients = [p.grad.clone() for p in net.last.parameters()]
    parameters = list(net.last.parameters())
    kept = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    learn(net, {name: 2 * value for name, value in sample().items()}, seed=1)
    assert all(torch.equal(first[name], value) for name, value in held.items())
    assert all(map(torch.equal, kept, gradients))


def test_evaluation_and_other_shapes_take_the_head_itself(graphed):
    net, graph = graphed
    plain = Net()
    plain.eval()
    net.eval()
    assert torch.equal(net(**sample())["score"], plain(**sample())["score"])
    net.train()
    with torch.no_grad():
        net(**sample())
    assert graph.replays == 0
    with pytest.warns(UserWarning, match=r"without its CUDA graph: none was captured for \(2, 8\)"):
        net(**sample(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is told once
        net(**sample(2))
    assert graph.replays == 0
    learn(net, sample(), seed=0)
    assert graph.replays == 1


def test_a_parameter_that_moved_and_a_late_backward_are_errors(graphed):
    net, _ = graphed
    first = net(**sample())
    net(**sample())
    with pytest.raises(RuntimeError, match="ran forwards again before the backward"):
        first["score"].sum().backward()
    net.last.weight.data = net.last.weight.data.clone()
    with pytest.raises(RuntimeError, match="moved in memory"):
        net(**sample())


def make_engine(problem: Problem, context, **options) -> tuple[Run, Engine]:
    micro = len(problem.sample()["features" if "features" in problem.inputs else "valid"])
    options = EngineOptions(cuda_graph_head=True, compile="off", **options)
    run = Run(data="none", micro_batch=micro, global_batch=2 * micro, engine=options)
    return run, Engine.of(run, context, problem.model, problem.groups)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize(("task", "options"), [("mouse", {}), ("mouse", {"over_time": OTHER}), ("fish", {})])
def test_a_training_is_the_same_with_and_without(task, options, dtype, context, tiny_problem):
    """Five optimizer steps of two micro-batches; the backbone thaws after the second."""
    histories, replays = [], 0
    for recorded in (False, True):
        problem = tiny_problem(task, **options)
        run, engine = make_engine(problem, context, dtype=dtype)
        graph = record_head(run, problem, engine) if recorded else None
        engine.train()
        batches, meter, history = problem.data.batches(0, 0), Meter(), []
        for number in range(2 * STEPS):
            batch = {name: value.clone() for name, value in next(batches).items()}
            problem.freeze(number < 4)
            engine.set_rate(1e-3, backbone=number >= 4)
            torch.manual_seed(number)
            if advance(problem, engine, meter, batch):
                history.append(meter.read())
        histories.append(history)
        replays = graph.replays if graph else 0
    assert replays == 2 * STEPS
    assert len(histories[0]) == STEPS
    assert {"loss", "gradient_norm"} <= set(histories[0][0])
    for plain, other in zip(*histories, strict=True):
        assert other == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("task", ["mouse", "fish"])
def test_the_sample_is_shaped_as_a_training_batch(task, tiny_problem):
    problem = tiny_problem(task)
    batch, sample = next(problem.data.batches(0, 0)), problem.sample()
    assert tuple(sample) == problem.inputs
    assert {name: (x.shape, x.dtype) for name, x in sample.items()} == {
        name: (batch[name].shape, batch[name].dtype) for name in problem.inputs
    }


def test_without_a_gpu_or_a_head_it_is_told_and_left_out(context, tiny_problem, toy):
    problem = tiny_problem("fish")
    run, engine = make_engine(problem, context)
    capture_head(run, problem, engine)
    assert engine.speed.endswith("head without CUDA graphs: there is no GPU")
    assert not isinstance(problem.model.run_head, HeadGraph)
    gpu = SimpleNamespace(context=SimpleNamespace(device=torch.device("cuda", 0)), speed="bf16")
    capture_head(run, toy(), gpu)
    assert gpu.speed == "bf16, head without CUDA graphs: this task's network has no head of its own"


def test_a_head_that_cannot_be_recorded_ends_the_run_in_one_line(monkeypatch, toy):
    def refuse(run: Run, problem: Problem, engine: object) -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore lines")

    monkeypatch.setattr("tarpon.train.graph_head.record_head", refuse)
    gpu = SimpleNamespace(context=SimpleNamespace(device=torch.device("cuda", 0)), speed="bf16")
    run = Run(data="none", engine=EngineOptions(cuda_graph_head=True))
    with pytest.raises(ValueError, match=r"cannot be recorded \(CUDA error: .* capturing\); leave it out$"):
        capture_head(run, toy(sample=dict), gpu)


def test_with_zero_it_is_refused():
    with pytest.raises(ValueError, match=r"cuda_graph_head=true is for zero_stage 0 and got 1"):
        EngineOptions(cuda_graph_head=True, zero_stage=1)


@pytest.mark.parametrize(
    ("settings", "states"),
    [
        ({"freeze_backbone_epochs": 0}, [False]),
        ({"freeze_backbone_epochs": 3, "epochs": 30}, [True, False]),
        ({"freeze_backbone_epochs": 30, "epochs": 30}, [True]),
        ({"freeze_backbone_epochs": 30, "epochs": 30, "steps": 9}, [True, False]),
    ],
)
def test_what_is_recorded_is_what_the_run_comes_through(settings, states):
    assert frozen_states(Run(data="none", **settings)) == states
