"""What labs train with today, to compare with: experts, gates and towers as modules of their own, rows from a DataLoader.

The network is the published GatedMMoE with its names; the losses are its masked ones, with masks that work: a missing
attribute counts nowhere. Written to be as quick as this way of working allows: vectors lie in memory as float32, labels as
tensors; nothing is scored while training.
B rows, E experts, H features of an expert.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tarpon.models.ops.mmoe.published import make_expert, make_gate


class GatedMMoE(nn.Module):
    """Shared experts, and a gate and a tower a task, each run by itself."""

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
    ) -> None:
        super().__init__()
        self.temperature = max(1e-6, temperature)
        self.experts = nn.ModuleList(make_expert(dim, hidden, dropout=dropout) for _ in range(experts))
        self.task_gates = nn.ModuleDict({name: make_gate(dim, experts) for name in outputs})
        self.task_towers = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(hidden, tower),
                    nn.GELU(),
                    nn.Dropout(dropout),
                    nn.Sequential(nn.LayerNorm(tower), nn.Dropout(dropout), nn.Linear(tower, width)),
                )
                for name, width in outputs.items()
            }
        )

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """(B, D) float32 -> task -> (B, width)."""
        experts = torch.stack([expert(features) for expert in self.experts], dim=1)  # (B, E, H)
        out = {}
        for name, tower in self.task_towers.items():
            gate = torch.softmax(self.task_gates[name](features) / self.temperature, dim=-1)
            out[name] = tower(torch.einsum("be,beh->bh", gate, experts))
        return out


def sum_losses(out: Mapping[str, Tensor], labels: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Weighted sum of each attribute's mean over the rows where it is known.

    Args:
        labels: habitat (B, 8) 0, 1 or -1; troph (B,), NaN unknown; all others (B,) int64, -1 unknown.
    """
    total = torch.zeros((), device=out["family"].device)
    for name, weight in weights.items():
        label = labels[name]
        if name == "habitat":
            mask = label[:, 0] >= 0
            each = F.binary_cross_entropy_with_logits(out[name], label.clamp(min=0).float(), reduction="none").mean(1)
        elif name == "troph":
            mask = torch.isfinite(label)
            each = F.smooth_l1_loss(out[name].squeeze(1), torch.nan_to_num(label), reduction="none")
        else:
            mask = label >= 0
            each = F.cross_entropy(out[name], label, ignore_index=-1, reduction="none")
        total = total + weight * (each * mask).sum() / mask.sum().clamp(min=1)
    return total


def make_dataset(features: np.ndarray, labels: Mapping[str, np.ndarray], rows: np.ndarray) -> TensorDataset:
    """Vectors as float32 and labels of these rows, copied into memory."""
    vectors = torch.from_numpy(features[rows].astype(np.float32))
    return TensorDataset(vectors, *(torch.from_numpy(label[rows]) for label in labels.values()))


def make_loader(data: TensorDataset, *, batch: int, workers: int, pin: bool = False) -> DataLoader:
    # fork, PyTorch's usual way on Linux, said because a spawned process hands "spawn" on to its own workers
    return DataLoader(
        data,
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin,
        multiprocessing_context="fork" if workers else None,
    )


def iterate_batches(batches: DataLoader, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Epoch after epoch: features (B, D) and each label by its name."""
    while True:
        for features, *labels in batches:
            yield {"features": features, **dict(zip(names, labels, strict=True))}
