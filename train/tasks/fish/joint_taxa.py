"""Family and order chosen together: the order that is named is that of the family that is named."""

import numpy as np
import torch
from torch import Tensor


def choose_together(family: Tensor, order: Tensor, family_order: np.ndarray) -> tuple[Tensor, Tensor]:
    """The family whose own probability times that of its order is highest, and its order.

    A family whose order no training row shows counts with the likeliest order, and gets that.

    Args:
        family: (B, F) scores before the softmax. order: (B, O).
        family_order: (F,) order of each family, -1 unknown.

    Returns:
        (B, F) joint scores, log P(family) + log P(its order), and (B,) int64 orders of the best of them.
    """
    belongs = torch.as_tensor(np.asarray(family_order), device=family.device)
    log_order = order.float().log_softmax(1)
    own = torch.where(belongs >= 0, log_order[:, belongs.clamp(min=0)], log_order.amax(1, keepdim=True))
    joint = family.float().log_softmax(1) + own
    named = belongs[joint.argmax(1)]
    return joint, torch.where(named >= 0, named, log_order.argmax(1))
