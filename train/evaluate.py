"""One split through the model, on all ranks, to one result: rank 0 scores what all hand on, the others get its scores."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tarpon.pipelines.fallback_rows import left_out
from tarpon.train.meter import Meter
from tarpon.train.packed_rows import PackedRows, join_packed, pack_rows
from tarpon.train.task import KeepsAnswers, Metric, Problem, Result


@dataclass(frozen=True, kw_only=True, eq=False)
class RowsMet:
    """What one process's batches told of their rows."""

    places: int  # of all its batches, padding among them
    real: int  # of these, those that were answered
    answered: PackedRows  # each once, though several windows may be of one
    left_out: PackedRows  # of which a part could not be read


def evaluate(
    problem: Problem,
    split: str,
    *,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    mean: Callable[[Tensor], Tensor] = lambda values: values,
    collect: Callable[[object], list | None] = lambda part: [part],
    agree: Callable[[Callable[[], object]], object] = lambda make: make(),
) -> Result:
    """Score a split; the loss and its terms are among the scalars, and `rows` of `rows_of`: over how many of how many.

    Args:
        autocast: precision of the forward.
        mean, collect, agree: over processes: the mean on each; everybody's value on rank 0, None elsewhere; and what rank 0
            makes, on each. The defaults are those of a single one.

    Returns:
        The scalars, the same on every rank, and how to save; on rank 0 with answers for figures, which no other rank is sent.

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
    met = note_rows(torch.cat(told).cpu().numpy() if told else np.zeros(0, np.int64))
    parts, results = collect((metric.part(), met)), []

    def score() -> tuple[float, dict[str, float]]:
        share, result = _score(metric, parts, split=split)
        results.append(result)
        return share, result.scalars

    share, scalars = agree(score)
    losses = {name: value * share for name, value in meter.read(mean).items()}
    save = metric.save if isinstance(metric, KeepsAnswers) else lambda path: None
    result = results[0] if results else Result(scalars=scalars, save=save, rows=None)
    return replace(result, scalars=losses | scalars)


def _score(metric: Metric, parts: Sequence[tuple[object, RowsMet]], *, split: str) -> tuple[float, Result]:
    """What mean losses are to be multiplied with, and the result without them, of the parts and rows of all processes."""
    answers, met = zip(*parts, strict=True)
    scored, asked = count(met)
    if not scored:
        raise ValueError(f"{split}: none of its {asked} rows can be read; run `tarpon lint` on the data")
    # the padding that fills the last batches added losses of 0; how much there is depends on the number of processes
    share = sum(own.places for own in met) / sum(own.real for own in met)
    result = metric.read(list(answers))
    return share, replace(result, scalars={"rows": float(scored), "rows_of": float(asked)} | result.scalars)


def note_rows(told: np.ndarray) -> RowsMet:
    """Of the `row` of a process's batches, (n,) int64."""
    answered, missing = told[told >= 0], left_out(told[told <= left_out(0)])
    return RowsMet(
        places=len(told),
        real=len(answered),
        answered=pack_rows(np.unique(answered)),
        left_out=pack_rows(np.unique(missing)),
    )


def count(met: Sequence[RowsMet]) -> tuple[int, int]:
    """(rows scored, rows asked for) of all processes: a row of which a part is left out is not scored."""
    answered, missing = (join_packed([getattr(own, name) for own in met]) for name in ("answered", "left_out"))
    asked = np.union1d(answered, missing)
    return len(np.setdiff1d(answered, missing)), len(asked)


def left_out_words(scalars: Mapping[str, float]) -> str:
    """`  over 38 of 40 rows` where some were left out, else nothing."""
    scored, asked = (scalars.get(name, 0) for name in ("rows", "rows_of"))
    return f"  over {scored:.0f} of {asked:.0f} rows" if scored < asked else ""
