"""Independent heads on feature vectors: the baseline that a mixture of experts must beat.

B rows, D features, K tasks, T features of a hidden layer.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tarpon.models.moe.stacked import StackedLinear, StackedNorm, Standardiser, TaskOutputs, promote_to_float32


class MultiHead(nn.Module):
    """For each task norm, (linear, GELU, dropout) x (layers - 1), linear; the tasks share nothing but the input."""

    def __init__(
        self,
        dim: int,
        outputs: Mapping[str, int],
        *,
        layers: int = 2,
        hidden: int = 1024,
        dropout: float = 0.1,
        uncertainty: bool = False,
    ) -> None:
        """Put the parts together.

        Args:
            dim: D, features of a row.
            outputs: task -> width of its output.
            layers: linear layers of a head; 1 is a linear probe behind a norm.
            hidden: T.
            uncertainty: learn one log-variance a task, for the loss (Kendall, Gal and Cipolla, CVPR 2018).
        """
        super().__init__()
        if min(dim, layers, hidden, len(outputs)) < 1 or min(outputs.values()) < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"dim={dim}, layers={layers}, hidden={hidden} and every width of {dict(outputs)} must be at least 1, "
                f"dropout={dropout} in [0, 1)"
            )
        tasks, widths = len(outputs), [dim] + [hidden] * (layers - 1)
        self.dropout = dropout
        self.standardise = Standardiser(dim)
        self.norm = StackedNorm(tasks, dim)
        self.hidden = nn.ModuleList(StackedLinear(tasks, widths[i], widths[i + 1]) for i in range(layers - 1))
        self.last = TaskOutputs(widths[-1], outputs)
        self.log_variance = nn.Parameter(torch.zeros(tasks)) if uncertainty else None

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """As `MMoE.forward`, without "gates"."""
        return self.run_head(features)

    def run_head(self, features: Tensor) -> dict[str, Tensor]:
        """As `forward`: there is nothing before it."""
        p = self.dropout if self.training else 0.0
        x = self.norm(self.standardise(features))  # (K, B, D)
        for layer in self.hidden:
            x = F.dropout(F.gelu(layer(x)), p, training=p > 0)
        out = self.last(x)
        if self.log_variance is not None:
            out["log_variance"] = promote_to_float32(self.log_variance)
        return out

    def set_standardisation(self, mean: Tensor, std: Tensor) -> None:
        """mean, std: (D,) of the training rows; from now on part of the weights."""
        self.standardise.set(mean, std)
