"""Multi-gate mixture of experts (Ma et al., KDD 2018) on feature vectors: every task mixes all experts by its own gate.

B rows, D features, E experts, H features of an expert, K tasks, T features of a tower.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tarpon.models.moe.stacked import StackedLinear, StackedNorm, Standardiser, TaskOutputs, promote_to_float32
from tarpon.models.ops.mmoe.mixture import mmoe


class MMoE(nn.Module):
    """Standardised features -> shared experts -> one mixture a task -> one tower a task.

    An expert is norm, linear, GELU, dropout, linear, GELU; a gate norm, linear, softmax; a tower linear, GELU, dropout,
    norm, dropout, linear. All experts always run. Nothing in it loops over experts, nor over tasks before the last layer.
    """

    def __init__(
        self,
        dim: int,
        outputs: Mapping[str, int],
        *,
        experts: int = 4,
        hidden: int = 2048,
        tower: int = 1024,
        dropout: float = 0.1,
        temperature: float = 1.0,
        uncertainty: bool = False,
    ) -> None:
        """Put the parts together.

        Args:
            dim: D, features of a row.
            outputs: task -> width of its output, in the order of the gates.
            temperature: gate scores are divided by it; above 1 evens the gates out.
            uncertainty: learn one log-variance a task, for the loss (Kendall, Gal and Cipolla, CVPR 2018).
        """
        super().__init__()
        if min(dim, experts, hidden, tower, len(outputs)) < 1 or min(outputs.values()) < 1:
            raise ValueError(
                f"dim={dim}, experts={experts}, hidden={hidden}, tower={tower} and every width of {dict(outputs)} must be "
                f"at least 1"
            )
        if not 0 <= dropout < 1 or temperature <= 0:
            raise ValueError(f"dropout={dropout} must be in [0, 1) and temperature={temperature} above 0")
        self.dropout, self.temperature, tasks = dropout, temperature, len(outputs)
        self.standardise = Standardiser(dim)
        self.expert_norm = StackedNorm(experts, dim)
        self.expert_in = StackedLinear(experts, dim, hidden)
        self.expert_out = StackedLinear(experts, hidden, hidden)
        self.gate_norm = StackedNorm(tasks, dim)
        self.gate = StackedLinear(tasks, dim, experts)
        self.tower = StackedLinear(tasks, hidden, tower)
        self.tower_norm = StackedNorm(tasks, tower)
        self.last = TaskOutputs(tower, outputs)
        self.log_variance = nn.Parameter(torch.zeros(tasks)) if uncertainty else None

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Predict every task for a batch of rows.

        Args:
            features: (B, D) float16, bfloat16, float32 or float64; cast to the dtype of the parameters.

        Returns:
            task -> (B, width) before any softmax or sigmoid; "gates" (B, K, E), each task's weights over the experts,
            which sum to 1; with `uncertainty` "log_variance" (K,). All at least float32.
        """
        return self.run_head(features)

    def run_head(self, features: Tensor) -> dict[str, Tensor]:
        """As `forward`: there is nothing before it."""
        p = self.dropout if self.training else 0.0
        mixed, gates = mmoe(
            self.standardise(features),
            self.expert_norm.scale,
            self.expert_norm.shift,
            self.expert_in.weight,
            self.expert_in.bias,
            self.expert_out.weight,
            self.expert_out.bias,
            self.gate_norm.scale,
            self.gate_norm.shift,
            self.gate.weight,
            self.gate.bias,
            temperature=self.temperature,
            dropout=p,
        )
        hidden = F.dropout(F.gelu(self.tower(mixed.transpose(0, 1))), p, training=p > 0)
        out = self.last(F.dropout(self.tower_norm(hidden), p, training=p > 0))
        out["gates"] = promote_to_float32(gates)
        if self.log_variance is not None:
            out["log_variance"] = promote_to_float32(self.log_variance)
        return out

    def set_standardisation(self, mean: Tensor, std: Tensor) -> None:
        """mean, std: (D,) of the training rows; from now on part of the weights."""
        self.standardise.set(mean, std)
