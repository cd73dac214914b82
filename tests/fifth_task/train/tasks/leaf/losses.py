"""The loss of the leaf task. B pictures, K classes."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def species_loss(out: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """out: species (B, K). batch: species (B,) int64, row (B,), -1 for padding, which counts 0.

    Divided by B, padding included, so that any split of a global batch over processes gives the same gradient.
    """
    real = batch["row"] >= 0
    each = F.cross_entropy(out["species"], torch.where(real, batch["species"], 0), reduction="none")
    return {"species": (each * real).sum() / len(real)}
