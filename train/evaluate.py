"""One split through the model, on all ranks, to one result that all ranks agree on."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from tarpon.train.meter import Meter
from tarpon.train.task import Problem, Result


def evaluate(
    problem: Problem,
    split: str,
    *,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    mean: Callable[[Tensor], Tensor] = lambda values: values,
    gather: Callable[[object], list] = lambda part: [part],
) -> Result:
    """Score a split; the loss and its terms are among the scalars.

    Args:
        autocast: precision of the forward.
        mean, gather: over processes; the defaults are those of a single one. Every rank gets the same numbers.

    The model is left in evaluation mode.
    """
    problem.model.eval()
    metric, meter, rows, real = problem.metric(split), Meter(), 0, 0
    with torch.no_grad(), autocast():
        for batch in problem.data.split(split):
            out = problem.model(**{name: batch[name] for name in problem.inputs})
            losses = problem.loss(out, batch)
            meter.add({"loss": sum(losses.values())} | {f"loss_{name}": value for name, value in losses.items()})
            metric.add(out, batch)
            rows, real = rows + len(batch["row"]), real + int((batch["row"] >= 0).sum())
    parts, rows, real = zip(*gather((metric.part(), rows, real)), strict=True)
    # the padding that fills the last batches added losses of 0; how much there is depends on the number of processes
    losses = {name: value * sum(rows) / sum(real) for name, value in meter.read(mean).items()}
    result = metric.read(list(parts))
    return replace(result, scalars=losses | result.scalars)
