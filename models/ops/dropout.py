"""Dropout whose mask is a hash of (seed, row, column): no state, nothing stored, the same in PyTorch and in Triton.

The hash is lowbias32 (Wellons, 2018): once over each half of the seed with the row, once more with the column.
A value is kept where the hash, read as a signed 32-bit number, is at least `compute_threshold(share)`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SEEDS = 2**62  # two halves of 31 bits
GOLDEN = 0x9E3779B9 - 2**32  # 2**32 divided by the golden ratio, as a signed number: spreads neighbouring columns
CHUNK = 2**16  # elements hashed at a time on a CPU: their dozen passes stay in its cache


def draw_seed(device: torch.device | str = "cpu") -> Tensor:
    """() int64 in [0, SEEDS) on a device, from torch's generator there, which `torch.manual_seed` repeats.

    No wait for a GPU; and a CUDA graph, whose replays go on in that generator, draws another one each time.
    """
    return torch.randint(SEEDS, (), device=device)


def split_seed(seed: Tensor) -> tuple[Tensor, Tensor]:
    """The low and the high 31 bits of a seed, int32."""
    return (seed & 0x7FFFFFFF).int(), (seed >> 31).int()


def compute_threshold(share: float) -> int:
    """The signed 32-bit number that a share `share` of all hashes lies below; 0 <= share < 1."""
    return round(share * 2**32) - 2**31


def check_share(share: float) -> None:
    """Raises ValueError unless 0 <= share < 1."""
    if not 0 <= share < 1:
        raise ValueError(f"dropout={share} must be in [0, 1)")


def keep_mask(shape: tuple[int, int], *, share: float, seed: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """(rows, columns) bool, True where a value is kept."""
    rows, columns = shape
    low, high = (half.to(device) for half in split_seed(seed))
    key = _mix(_mix(torch.arange(rows, dtype=torch.int32, device=device) ^ low) ^ high)[:, None]
    column = torch.arange(columns, dtype=torch.int32, device=device) * GOLDEN
    if not rows or key.device.type != "cpu":  # on a GPU every chunk would be a dozen launches
        return _mix(key ^ column) >= compute_threshold(share)
    step = max(CHUNK // columns, 1)
    chunks = [_mix(part ^ column) >= compute_threshold(share) for part in key.split(step)]
    return torch.cat(chunks)


def hash_dropout(x: Tensor, share: float, seed: Tensor | None) -> Tensor:
    """x / (1 - share) where the mask of (seed, row, column) keeps it, 0 elsewhere; all axes but the last are one row number.

    Args: seed () int64; None takes PyTorch's own dropout, with its generator; not read with share 0.
    """
    if not share:
        return x
    if seed is None:
        return F.dropout(x, share)
    keep = keep_mask((x.shape[:-1].numel(), x.shape[-1]), share=share, seed=seed, device=x.device).view(x.shape)
    return x * (keep * (1 / (1 - share))).to(x.dtype)


def _mix(x: Tensor) -> Tensor:
    """lowbias32 but for its last step, which touches only the low bits; int32 arithmetic wraps around as unsigned does."""
    x = x ^ ((x >> 16) & 0xFFFF)
    x = x * 0x7FEB352D
    x ^= (x >> 15) & 0x1FFFF
    return x * (0x846CA68B - 2**32)
