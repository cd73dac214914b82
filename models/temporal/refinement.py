"""Refinement of frame-wise classes in further stages (MS-TCN++: Li, Abu Farha, Liu, Cheng and Gall, TPAMI 2020).

B clips, T frames, C classes, S stages. A stage sees the probabilities of the stage before and nothing else: it can learn how
classes follow one another and how long they last.
"""

import torch
from torch import Tensor, nn

from tarpon.models.temporal.tcn import TCN


class RefinementStage(nn.Module):
    """Class scores -> new class scores: one linear layer, a TCN over time, one linear layer."""

    def __init__(self, classes: int, *, hidden: int, layers: int, dropout: float, norm: str) -> None:
        super().__init__()
        self.widen = nn.Linear(classes, hidden)
        self.tcn = TCN(hidden, hidden=hidden, layers=layers, dropout=dropout, norm=norm)
        self.linear = nn.Linear(hidden, classes)

    def forward(self, scores: Tensor, valid: Tensor) -> Tensor:
        """Args: scores (B, T, C) before the softmax; valid (B, T) bool. Returns: (B, T, C) before the softmax."""
        probabilities = scores.float().softmax(-1).to(self.widen.weight.dtype)
        return self.linear(self.tcn(self.widen(probabilities), valid))


class Refinement(nn.Module):
    """`stages` refinement stages one after the other, each with its own parameters, or `shared`: one set for all."""

    def __init__(self, classes: int, *, stages: int, shared: bool = False, **options: object) -> None:
        """Args: options: of every `RefinementStage`."""
        super().__init__()
        self.stages = nn.ModuleList(RefinementStage(classes, **options) for _ in range(1 if shared else stages))
        self.turns = stages
        self.reach = stages * self.stages[0].tcn.reach  # frames on either side that the last scores depend on

    def forward(self, scores: Tensor, valid: Tensor) -> Tensor:
        """Args: scores (B, T, C) of the stage before; valid (B, T) bool. Returns: (B, S + 1, T, C) float32, the given first."""
        made = [scores.float()]
        for turn in range(self.turns):
            made.append(self.stages[turn % len(self.stages)](made[-1], valid).float())
        return torch.stack(made, 1)
