"""The mixture as it was published, for timing: every expert and every gate a module of its own, one after the other.

What `mmoe` is timed against beside the batched reference. B rows, D features, E experts, H features of an expert, K tasks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tarpon.models.ops.spec import Baseline

TEMPERATURE_MIN = 1e-6


def make_expert(dim: int, hidden: int, *, dropout: float) -> nn.Sequential:
    """Norm, linear, GELU, dropout, linear, GELU: (B, D) -> (B, H)."""
    inner = (nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.GELU())
    return nn.Sequential(*inner)


def make_gate(dim: int, experts: int) -> nn.Sequential:
    """Norm, linear: (B, D) -> (B, E), before the softmax."""
    return nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, experts))


class LoopedMixture(nn.Module):
    """Experts of norm, linear, GELU, dropout, linear, GELU; gates of norm, linear, softmax; no product is batched."""

    def __init__(self, *, dim: int, hidden: int, experts: int, tasks: int, dropout: float, temperature: float) -> None:
        super().__init__()
        self.experts = nn.ModuleList(make_expert(dim, hidden, dropout=dropout) for _ in range(experts))
        self.gates = nn.ModuleList(make_gate(dim, experts) for _ in range(tasks))
        self.temperature = max(temperature, TEMPERATURE_MIN)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) -> mixed (B, K, H), gates (B, K, E)."""
        values = torch.stack([expert(x) for expert in self.experts], 1)  # (B, E, H)
        shares = [F.softmax(gate(x) / self.temperature, -1) for gate in self.gates]
        mixed = [(share[..., None] * values).sum(1) for share in shares]
        return torch.stack(mixed, 1), torch.stack(shares, 1)


def make_looped_baseline(given: dict[str, object]) -> Baseline:
    """The modules with the weights of the inputs of `mmoe`, their copies; everything in the dtype of the weights."""
    E, D, H = given["in_weight"].shape
    weight = given["in_weight"]
    sizes = {"dim": D, "hidden": H, "experts": E, "tasks": len(given["gate_bias"])}
    with torch.device(weight.device):
        model = LoopedMixture(**sizes, dropout=given["dropout"], temperature=given["temperature"]).to(weight.dtype)
    experts = ("expert_scale", "expert_shift", "in_weight", "in_bias", "out_weight", "out_bias")
    gates = ("gate_scale", "gate_shift", "gate_weight", "gate_bias")
    with torch.no_grad():
        for modules, names in ((model.experts, experts), (model.gates, gates)):
            for i, module in enumerate(modules):
                for parameter, name in zip(module.parameters(), names, strict=True):
                    value = given[name][i]
                    parameter.copy_(value.T if value.dim() == 2 else value)
    x = given["x"].detach().to(weight.dtype).requires_grad_(given["x"].requires_grad)
    leaves = [tensor for tensor in (x, *model.parameters()) if tensor.requires_grad]
    return Baseline(function=model, arguments={"x": x}, leaves=leaves)
