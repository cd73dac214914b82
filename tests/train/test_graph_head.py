"""The head's recorded step on a CPU, with a recorder in the place of CUDA graphs that runs again and overwrites, as they do."""

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
from tarpon.train.graph_head import capture_head, frozen_states
from tarpon.train.meter import Meter
from tarpon.train.stepper import advance
from tarpon.train.task import Problem

STEPS = 5


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
    net(**sample(2))  # told once: a second warning would be an error here
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
    micro = len(next(problem.data.batches(0, 0))["row"])
    options = EngineOptions(cuda_graph_head=True, compile="off", **options)
    run = Run(data="none", micro_batch=micro, global_batch=2 * micro, engine=options)
    return run, Engine.of(run, context, problem.model, problem.groups)


def on_gpu(engine: Engine) -> SimpleNamespace:
    """The engine as `capture_head` sees it, with a device that says it is a GPU; tensors stay where they are."""
    gpu = SimpleNamespace(type="cuda", __torch_function__=None)
    context = SimpleNamespace(device=gpu)
    return SimpleNamespace(
        context=context,
        speed="",
        train=engine.train,
        autocast=engine.autocast,
        matrix_precision=engine.matrix_precision,
    )
