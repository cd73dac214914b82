"""Replays the training step of a network's head as CUDA graphs: one launch forwards and one backwards for all its kernels.

A head is `model.run_head(*tensors) -> name -> tensor`, all that a network does after its encoder: some hundred small kernels a
step, which at small shapes the host launches more slowly than the GPU runs them.

`torch.cuda.make_graphed_callables` does this for any module, but it returns the graph's own memory as parameters' gradients,
and autograd keeps that as `.grad` without a copy: the next micro-batch overwrites what it should be added to. And before
PyTorch 2.15 a CUDA call of another thread, as a data loader makes them, spoils its recording.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

ENCODER = "encoder."  # begins the names of the parameters that no head has
WARM_UPS = 3  # runs before the capture, in which libraries choose algorithms, make handles and compile kernels


@dataclass(frozen=True)
class Key:
    """What must be equal for a captured step to serve another call."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    needs_gradient: bool

    @classmethod
    def of(cls, x: Tensor | None) -> "Key | None":
        return None if x is None else cls(tuple(x.shape), x.dtype, x.requires_grad)


class HeadGraph:
    """Stands in for a network's head: replays steps that were captured, and runs the head itself for everything else.

    Replayed are calls in training mode, with gradient, of the shapes, dtypes and needs of gradients of a capture. Parameters
    must stay where they are in memory; their values may change. A replay goes on in torch's generator, so dropout is as
    without it.

    Attributes:
        replays: steps that were replayed so far.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model, self._head = model, model.run_head
        self._steps: dict[tuple[Key | None, ...], CapturedStep] = {}
        self._warned = False
        self.replays = 0
        model.run_head = self

    def __call__(self, *inputs: Tensor | None) -> dict[str, Tensor]:
        if not (self._model.training and torch.is_grad_enabled()):
            return self._head(*inputs)
        step = self._steps.get(tuple(map(Key.of, inputs)))
        if step is None:
            if self._steps and not self._warned:
                self._warned = True
                shapes = ", ".join("none" if x is None else f"{tuple(x.shape)} {x.dtype}" for x in inputs)
                warnings.warn(f"the head runs without its CUDA graph: none was captured for {shapes}", stacklevel=2)
            return self._head(*inputs)
        self.replays += 1
        return step.replay(inputs)

    def capture(self, sample: Mapping[str, Tensor], *, frozen: bool, autocast: Callable[[], AbstractContextManager]) -> None:
        """Capture the step on inputs like these of the whole network; nothing is learnt from their values.

        The network is in training mode. Nothing else may be at work on the GPU: a data loader begins after this.

        Args:
            sample: the network's inputs by name, on its device, shaped as in training.
            frozen: the encoder will give no gradient.
            autocast: makes the context of the network's forward.
        """
        inputs = self._find_inputs(sample, frozen=frozen, autocast=autocast)
        key = tuple(map(Key.of, inputs))
        if key in self._steps:
            return
        parameters = {name: p for name, p in self._model.named_parameters() if p.requires_grad and not name.startswith(ENCODER)}
        self._steps[key] = capture_step(self._head, self._model, inputs, parameters, autocast=autocast)

    def _find_inputs(self, sample: Mapping[str, Tensor], *, frozen: bool, autocast: Callable) -> list[Tensor | None]:
        """Blank tensors like those that the network hands its head; what its encoder made takes a gradient unless frozen."""
        seen: list[Tensor | None] = []

        def note(*inputs: Tensor | None) -> dict[str, Tensor]:
            seen.extend(inputs)
            return {}

        self._model.run_head, mode = note, self._model.training
        self._model.eval()  # a batch norm would take the blank pictures into its statistics
        try:
            with torch.no_grad(), autocast():
                self._model(**sample)
        finally:
            self._model.run_head = self
            self._model.train(mode)
        given = {id(x) for x in sample.values()}
        made = [x is not None and x.is_floating_point() and id(x) not in given for x in seen]
        return [
            None if x is None else torch.zeros_like(x).requires_grad_(mine and not frozen)
            for x, mine in zip(seen, made, strict=True)
        ]


class HeadCall(nn.Module):
    """The head as a module whose parameters can be exchanged for a call."""

    def __init__(self, model: nn.Module, head: Callable[..., dict[str, Tensor]]) -> None:
        super().__init__()
        self.model, self.head = model, head

    def forward(self, *inputs: Tensor | None) -> dict[str, Tensor]:
        return self.head(*inputs)


@dataclass(eq=False)
class CapturedStep:
    """A head's forward and backward, as recorded, and the memory they read and write."""

    inputs: list[Tensor | None]
    parameters: list[nn.Parameter]
    outputs: dict[str, Tensor]
    slopes: list[Tensor | None]  # the outputs' gradients; None for an output without one
    gradients: list[Tensor | None]  # of the inputs, then of the parameters
    forward: Callable[[], None]
    backward: Callable[[], None]
    turn: int = 0  # forwards so far

    def __post_init__(self) -> None:
        self._places = [p.data_ptr() for p in self.parameters]

    def replay(self, inputs: Sequence[Tensor | None]) -> dict[str, Tensor]:
        if [p.data_ptr() for p in self.parameters] != self._places:
            raise RuntimeError("a parameter of the head has moved in memory since its CUDA graph was captured")
        return dict(zip(self.outputs, ReplayedStep.apply(self, *inputs, *self.parameters), strict=True))


class ReplayedStep(torch.autograd.Function):
    """Replays a captured step. All that leaves it is a copy: the next replay writes where this one did."""

    @staticmethod
    def forward(ctx, step: CapturedStep, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        for own, given in zip(step.inputs, tensors, strict=False):  # the parameters behind them are read where they are
            if own is not None:
                own.copy_(given)
        step.forward()
        step.turn += 1
        ctx.step, ctx.turn = step, step.turn
        ctx.set_materialize_grads(False)
        outputs = tuple(output.detach().clone() for output in step.outputs.values())
        ctx.mark_non_differentiable(*(out for out, slope in zip(outputs, step.slopes, strict=True) if slope is None))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx, *slopes: Tensor | None) -> tuple[Tensor | None, ...]:
        step = ctx.step
        if ctx.turn != step.turn:
            raise RuntimeError("the head ran forwards again before the backward of this step, whose values are overwritten")
        for own, given in zip(step.slopes, slopes, strict=True):
            if own is not None:
                own.zero_() if given is None else own.copy_(given)
        step.backward()
        inputs, parameters = step.gradients[: len(step.inputs)], step.gradients[len(step.inputs) :]
        # what an input gets is used up before the next replay; a parameter may keep its own over micro-batches
        return None, *(None if x is None else x.detach() for x in inputs), *torch._foreach_mul(parameters, 1.0)


def capture_step(
    head: Callable[..., dict[str, Tensor]],
    model: nn.Module,
    inputs: list[Tensor | None],
    parameters: Mapping[str, nn.Parameter],
    *,
    autocast: Callable[[], AbstractContextManager],
) -> CapturedStep:
    """Record a head's forward and backward; torch's generators are afterwards where they were.

    The parameters themselves stay out of it: the recording differentiates by other tensors in the same memory, so that neither
    their hooks nor the streams of earlier uses get into it.
    """
    call = HeadCall(model, head)
    aliases = {name: p.detach().requires_grad_() for name, p in parameters.items()}
    learning = [x for x in inputs if x is not None and x.requires_grad]
    device = next(x.device for x in inputs if x is not None)
    made: dict[str, Tensor] = {}

    def forward() -> list[Tensor]:
        # casts of weights must be made in each replay, not found in a cache of the recording
        with autocast(), torch.autocast(device.type, enabled=torch.is_autocast_enabled(device.type), cache_enabled=False):
            out = torch.func.functional_call(call, {f"model.{name}": p for name, p in aliases.items()}, tuple(inputs))
        made.clear()
        made.update(out)
        return [x.detach() for x in made.values()]

    def differentiate(wanted: Sequence[Tensor], slopes: Sequence[Tensor | None]) -> list[Tensor | None]:
        ends = [(out, slope) for out, slope in zip(made.values(), slopes, strict=True) if slope is not None]
        outputs, given = zip(*ends, strict=True)
        return list(torch.autograd.grad(outputs, wanted, given, allow_unused=True))

    def make_slopes() -> list[Tensor | None]:
        return [torch.zeros_like(out) if out.requires_grad else None for out in made.values()]

    with recording(device) as record:
        for _ in range(WARM_UPS):
            forward()
            found = differentiate([*learning, *aliases.values()], make_slopes())
        used = [name for name, gradient in zip(aliases, found[len(learning) :], strict=True) if gradient is not None]
        made.clear()
        outputs, replay_forward = record(forward)
        slopes = make_slopes()
        wanted = [*learning, *(aliases[name] for name in used)]
        found, replay_backward = record(lambda: differentiate(wanted, slopes))
    given = iter(found)
    step = CapturedStep(
        inputs=[None if x is None else x.detach() for x in inputs],
        parameters=[parameters[name] for name in used],
        outputs=dict(zip(made, outputs, strict=True)),
        slopes=slopes,
        gradients=[*(next(given) if x is not None and x.requires_grad else None for x in inputs), *given],
        forward=replay_forward,
        backward=replay_backward,
    )
    made.clear()  # and with it what autograd keeps of the recording
    return step


@contextmanager
def recording(device: torch.device) -> Iterator[Callable[[Callable[[], list]], tuple[list, Callable[[], None]]]]:
    """Gives record(run) -> (run's tensors, a function that makes them anew in the same memory), on a stream of its own."""
    stream, pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def record(run: Callable[[], list]) -> tuple[list, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        # thread_local: what other threads ask of CUDA meanwhile (NCCL's watch, a library's pool) must not spoil the recording
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            made = run()
        return made, graph.replay

    with torch.cuda.device(device), torch.random.fork_rng(devices=[device.index], device_type="cuda"):
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            yield record
        torch.cuda.synchronize()
