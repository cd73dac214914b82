"""One split through the model, on all ranks, to one result that all ranks agree on."""

import torch

from tarpon.train.engine import Engine
from tarpon.train.meter import Meter
from tarpon.train.task import Problem, Result


def evaluate(engine: Engine, problem: Problem, split: str) -> Result:
    """Score a split; `loss` and its terms are among the scalars. Every rank gets the same numbers.

    The model's mode is left in evaluation; the loop sets it back.
    """
    engine.train(False)
    metric, meter = problem.metric(split), Meter()
    with torch.no_grad(), engine.autocast():
        for batch in problem.split(split):
            out = engine.model(**{name: batch[name] for name in problem.inputs})
            losses = problem.loss(out, batch)
            meter.add({"loss": sum(losses.values())} | {f"loss_{name}": value for name, value in losses.items()})
            metric.add(out, batch)
    losses = meter.read(engine.mean)
    result = metric.read(engine.gather(metric.part()))
    return Result(scalars=losses | result.scalars, save=result.save, pictures=result.pictures)
