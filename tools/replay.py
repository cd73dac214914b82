"""`tarpon replay DUMP`: the steps up to one whose loss or gradient was no number, made again and looked into."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from tarpon.train import checkpoint
from tarpon.train.checkpoint import Position
from tarpon.train.config import parser_for, read_run
from tarpon.train.dump import CHECKPOINT, Dump, read_dump
from tarpon.train.engine import connect
from tarpon.train.folder import read_encoders
from tarpon.train.launch import begin
from tarpon.train.meter import Meter
from tarpon.train.stepper import State, Stepper
from tarpon.train.task import Problem
from tarpon.train.tasks import TASKS


class Found(Exception):
    """The first thing that is not finite."""


def run(dump: str) -> int:
    """Go on from the checkpoint kept in the dump to the step, in one process, and say what in it is not finite first.

    Exit status 1 when something is, 0 when all is finite here.

    Args:
        dump: a folder RUN/nonfinite/step_N.
    """
    folder = Path(dump)
    told = read_dump(folder)
    problem, stepper, state = reopen(folder, told)
    print(f"step {told.step} of {told.run}, samples {', '.join(told.keys)}", flush=True)
    if told.processes > 1:
        print(f"made by {told.processes} processes, again by one: the same samples, another draw of dropout", flush=True)
    print(f"from step {state.at.step}", flush=True)
    with watch_values(problem.model, lambda: state.at):
        try:
            while state.at.step < told.step:
                stepper.step()
                look(problem, lambda: state.at)
        except Found as found:
            print(found)
            return 1
    print(f"step {told.step}: loss, outputs, gradients and weights are finite here")
    return 0


def reopen(folder: Path, told: Dump) -> tuple[Problem, Stepper, State]:
    """The run as it stood before the step."""
    task = TASKS.get(told.task)
    if not task:
        raise ValueError(f"{folder}: a dump of task {told.task!r}; there is: {', '.join(TASKS)}")
    parser = parser_for(task.options, recipe=task.recipe(), task=told.task)
    given, options = read_run(Path(told.run), task.options, parser)
    context = connect()
    problem = task.build(given, options, context, encoders=read_encoders(Path(told.run)))
    last, path = None, folder / CHECKPOINT
    if path.exists():
        last = checkpoint.read_last(path, fingerprint=problem.fingerprint)
    engine, _, state = begin(given, problem, context, last)
    engine.train()
    return problem, Stepper(given, problem, engine, state=state, meter=Deaf()), state


class Deaf(Meter):
    """Looks at each micro-batch's losses at once, instead of their means later."""

    def add(self, losses: dict[str, Tensor], *, of: tuple[Position, Tensor] | None = None) -> None:
        for name, value in losses.items():
            check(value, f"{name.replace('/', ' term ') if name != 'loss' else 'loss'}", of[0])

    def note(self, name: str, value: Tensor) -> None:
        """Of the gradients themselves: `look`."""


@contextmanager
def watch_values(model: nn.Module, at: Callable[[], Position]) -> Iterator[None]:
    """Every module's inputs and outputs, and every parameter's gradient, are looked at as they come."""
    hooks = [model.register_forward_pre_hook(lambda _, args, given: inputs(args, given, at()), with_kwargs=True)]
    for name, module in model.named_modules():
        called = f"{name or 'model'} ({type(module).__name__})"
        hooks.append(module.register_forward_hook(lambda _, given, out, called=called: outputs(out, called, at())))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            hooks.append(parameter.register_hook(lambda gradient, name=name: check(gradient, f"gradient of {name}", at())))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def inputs(args: tuple, given: dict, at: Position) -> None:
    for name, value in (*enumerate(args), *given.items()):
        if isinstance(value, Tensor):
            check(value, f"input {name} of the model", at)


def outputs(out: object, name: str, at: Position) -> None:
    parts = out.items() if isinstance(out, dict) else enumerate(out) if isinstance(out, (tuple, list)) else [("", out)]
    for part, value in parts:
        if isinstance(value, Tensor):
            check(value, f"output {part} of {name}".replace("output  ", "output "), at)


def look(problem: Problem, at: Callable[[], Position]) -> None:
    """The weights after a step."""
    for name, parameter in problem.model.named_parameters():
        check(parameter, f"weight {name} after the step", at())


def check(value: Tensor, what: str, at: Position) -> None:
    """Raise Found with the share and place of what is no number."""
    value = value.detach()
    if not value.is_floating_point() or bool((finite := torch.isfinite(value)).all()):
        return
    first = (~finite).nonzero()[0].tolist()
    bad = f"{int((~finite).sum())} of {value.numel()} numbers" if value.numel() > 1 else f"{value.item()}"
    where = f", the first at {first}" if value.numel() > 1 else ""
    raise Found(f"step {at.step + ('after the step' not in what)}, epoch {at.epoch}: {what} is not finite: {bad}{where}")
