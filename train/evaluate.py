"""One split through the model, on all ranks, to one result that all ranks agree on."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tarpon.pipelines.fallback_rows import left_out, row_left_out
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
    """Score a split; the loss and its terms are among the scalars, and `rows` of `rows_of`: over how many of how many.

    Args:
        autocast: precision of the forward.
        mean, gather: over processes; the defaults are those of a single one. Every rank gets the same numbers.

    The model is left in evaluation mode.

    Raises:
        ValueError: no row of the split can be read, or more rows cannot than are allowed.
    """
    problem.model.eval()
    metric, meter, told = problem.metric(split), Meter(), []
    with torch.no_grad(), autocast():
        for batch in problem.data.split(split):
            out = problem.model(**{name: batch[name] for name in problem.inputs})
            losses = problem.loss(out, batch)
            meter.add({"loss": sum(losses.values())} | {f"loss_{name}": value for name, value in losses.items()})
            metric.add(out, batch)
            told.append(batch["row"])
    own = torch.cat(told).cpu().numpy() if told else np.zeros(0, np.int64)
    parts, rows = zip(*gather((metric.part(), own)), strict=True)
    scored, asked = count(np.concatenate(rows))
    if not scored:
        raise ValueError(f"{split}: none of its {asked} rows can be read; run `tarpon lint` on the data")
    # the padding that fills the last batches added losses of 0; how much there is depends on the number of processes
    share = sum(map(len, rows)) / sum(int((part >= 0).sum()) for part in rows)
    losses = {name: value * share for name, value in meter.read(mean).items()}
    result = metric.read(list(parts))
    return replace(result, scalars=losses | {"rows": float(scored), "rows_of": float(asked)} | result.scalars)


def count(told: np.ndarray) -> tuple[int, int]:
    """(rows scored, rows asked for) of the `row` of all batches: a row of which a part is left out is not scored."""
    missing = {row_left_out(row) for row in told[told <= left_out(0)].tolist()}
    met = set(told[told >= 0].tolist())
    return len(met - missing), len(met | missing)


def left_out_words(scalars: Mapping[str, float]) -> str:
    """`  over 38 of 40 rows` where some were left out, else nothing."""
    scored, asked = (scalars.get(name, 0) for name in ("rows", "rows_of"))
    return f"  over {scored:.0f} of {asked:.0f} rows" if scored < asked else ""
