"""Ensembles: several trained models predict the same rows, and the mean of their predictions is scored like one model's.

Probabilities are averaged, not the scores before them (deep ensembles, Lakshminarayanan et al., NeurIPS 2017).
M members.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tarpon.train.task import Batch, Outputs, Problem

MeanFunction = Callable[[Tensor], Tensor]  # (M, ...) one output of every member -> (...) the ensemble's answer
MATCH = 1e-4  # hours, or shares of a side: labels of one row computed for two input sizes may differ by so much


def mean_class_scores(scores: Tensor) -> Tensor:
    """Scores before a softmax (M, ..., C) -> those whose softmax is the mean of the members' probabilities (..., C)."""
    return _log_mean(F.log_softmax(scores, -1))


def mean_flag_scores(scores: Tensor) -> Tensor:
    """Scores before a sigmoid (M, ...) -> those whose sigmoid is the mean of the members' probabilities (...)."""
    return _log_mean(F.logsigmoid(scores)) - _log_mean(F.logsigmoid(-scores))


def mean_values(answers: Tensor) -> Tensor:
    """Numbers (M, ...) -> their mean (...)."""
    return answers.mean(0)


def join_vectors(units: Tensor) -> Tensor:
    """(M, ..., D) of length 1 -> (..., M x D) of length 1, whose cosines are the mean of the members' cosines."""
    return torch.cat(list(units), -1) / math.sqrt(len(units))


def _log_mean(log_p: Tensor) -> Tensor:
    return log_p.logsumexp(0) - math.log(len(log_p))


@dataclass(frozen=True, kw_only=True)
class Averaging:
    """How a task's outputs are averaged."""

    means: Mapping[str, MeanFunction]  # output -> its mean; what is not here (gates) has none and is left out
    masks: tuple[str, ...] = ()  # inputs that also say which frames are scored, so all members must have the same


class Ensemble(nn.Module):
    """A network whose outputs are the means of its members' outputs."""

    def __init__(self, members: Sequence[nn.Module], means: Mapping[str, MeanFunction]) -> None:
        super().__init__()
        self.members, self._means = nn.ModuleList(members), means

    def forward(self, members: Sequence[Batch]) -> Outputs:
        """Args: members: (M,) what each member's own forward takes. Returns: the outputs that all members have."""
        outs = [member(**own) for member, own in zip(self.members, members, strict=True)]
        return {
            name: mean(torch.stack([out[name] for out in outs])) for name, mean in self._means.items() if is_in_all(name, outs)
        }


def is_in_all(name: str, outs: Sequence[Outputs]) -> bool:
    return all(name in out for out in outs)


@dataclass(frozen=True, kw_only=True)
class MemberBatches:
    """A split's batches with every member's own input; nothing is trained on them."""

    split: Callable[[str], Iterator[Batch]]
    steps_per_epoch: int = 0
    wait_s: float = 0.0

    def measure_augment_share(self) -> None:
        """Nothing is augmented."""

    def batches(self, epoch: int, skip: int) -> Iterator[Batch]:
        raise NotImplementedError("an ensemble is not trained")


def average(problems: Sequence[Problem], averaging: Averaging) -> Problem:
    """The first member's problem with an ensemble as its model. Networks and inputs may differ, rows and labels may not.

    Args:
        problems: with trained weights, one at least; equal in micro-batch.
        averaging: of the task; its masks must be the same in all.

    Raises:
        ValueError: here where classes differ, and while a split is read where rows or labels do.
    """
    first = problems[0]
    for problem in problems[1:]:
        for name in first.encoders.keys() | problem.encoders.keys():
            if first.encoders.get(name) != problem.encoders.get(name):
                raise ValueError(f"the runs were trained with different {name}; only runs that learnt the same can be averaged")
    inputs = {name for problem in problems for name in problem.inputs} - set(averaging.masks)

    def split(name: str) -> Iterator[Batch]:
        for batches in zip_longest(*(problem.data.split(name) for problem in problems)):
            check_same(batches, but=inputs)
            own = [{name: batch[name] for name in p.inputs} for p, batch in zip(problems, batches, strict=True)]
            yield {**batches[0], "members": own}

    model = Ensemble([problem.model for problem in problems], averaging.means)
    return replace(first, model=model, inputs=("members",), data=MemberBatches(split=split))


def check_same(batches: Sequence[Batch | None], *, but: set[str]) -> None:
    """ValueError unless all batches hold the same rows with the same labels.

    Args:
        batches: None where a member's split has ended.
        but: fields that are the members' own.
    """
    first = batches[0]
    for batch in batches[1:]:
        if first is None or batch is None or not _equal(first["row"], batch["row"]):
            raise ValueError(
                "the runs do not have the same rows in this split; average runs of one split or fold of the same data"
            )
        for name in sorted((first.keys() & batch.keys()) - but):
            if not _equal(first[name], batch[name]):
                raise ValueError(f"the runs were trained for different labels ({name}); give both the same options for labels")


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.double(), other.double(), rtol=0, atol=MATCH, equal_nan=True)
