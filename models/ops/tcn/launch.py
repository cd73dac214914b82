"""Launches the kernels of the temporal block, forward and backward, and allocates their outputs.

Letters as in `tcn/block.py`; M = B * T rows. All inputs are contiguous and of the right shape.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from tarpon.models.ops.choices import LIBRARY, Choice, Tile
from tarpon.models.ops.dropout import compute_threshold
from tarpon.models.ops.launch import Limits, cdiv, device_name, find_limits, next_power
from tarpon.models.ops.tcn import gradients, kernels
from tarpon.models.ops.tcn.reference import GROUPS, shifted_frames, tap_copies, temporal_conv
from tarpon.models.ops.tcn.tiles import choose, row_tile

CLIP_VALUES = 4096  # values a program of the norm "clip" has at a time


@dataclass(frozen=True, kw_only=True)
class Call:
    """The numbers of one call, and the kernels' arguments that follow from them."""

    batch: int
    frames: int
    channels: int
    hidden: int
    taps: int
    dilation: int
    causal: bool
    norm: str
    dropout: float
    eps: float
    seed: Tensor | None  # () int64 where x is; read by the kernels alone, so a CUDA graph may change it
    dtype: torch.dtype
    limits: Limits
    device: str

    @property
    def op(self) -> str:
        return "temporal_block" if self.norm == "frame" else "temporal_block_clip"

    @property
    def parts(self) -> int:
        """Programs that sums over all rows are split among; the order of adding is that of this number."""
        return 2 * self.limits.processors

    @property
    def rows(self) -> int:
        return self.batch * self.frames

    @property
    def reach(self) -> int:
        """Frames that the first tap lies back."""
        return self.dilation * ((self.taps - 1) if self.causal else self.taps // 2)

    @property
    def width(self) -> int:
        """Channels of a group of the norm "clip"."""
        return self.hidden // GROUPS

    @cached_property
    def drop(self) -> tuple[Tensor | None, int, float]:
        """Arguments of the kernels' dropout."""
        return self.seed, compute_threshold(self.dropout), 1 / (1 - self.dropout)

    @cached_property
    def choice(self) -> Choice:
        """With all three tiles."""
        shape = (self.batch, self.frames, self.channels, self.hidden)
        return choose(self.op, shape, self.dtype, limits=self.limits, device=self.device)

    @property
    def library_products(self) -> bool:
        """Also where the table says that plain PyTorch is fastest, which `temporal_block` takes on its own when it may."""
        return self.choice.way in ("library_products", LIBRARY)


def describe(x: Tensor, weight: Tensor, seed: Tensor | None, dilation, causal, norm, dropout, eps) -> Call:
    """The record of a call; the seed is where x is."""
    batch, frames, channels = x.shape
    hidden, taps, _ = weight.shape
    return Call(
        batch=batch,
        frames=frames,
        channels=channels,
        hidden=hidden,
        taps=taps,
        dilation=dilation,
        causal=causal,
        norm=norm,
        dropout=dropout,
        eps=eps,
        seed=seed,
        dtype=x.dtype,
        limits=find_limits(x.device),
        device=device_name(x.device),
    )


def forward(
    call: Call,
    x: Tensor,
    valid: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    shift: Tensor,
    project: Tensor | None,
    project_bias: Tensor | None,
    *,
    save: bool,
) -> tuple[Tensor, ...]:
    """y (B, T, H); h (B, T, H), mean, rstd and count as the backward wants them; the last four of size 0 without `save`."""
    y = x.new_empty(call.batch, call.frames, call.hidden)
    if call.choice.way == "one_pass":
        kept = allocate_saved(call, x, save=save)
        run_one_pass(call, x, valid, weight, bias, scale, shift, project, project_bias, y, *kept[:3], save=save)
        return y, *kept
    h, skip = compute_products(call, x, weight, bias, project, project_bias)
    h, mean, rstd, count = allocate_saved(call, x, save=save, h=h)
    clip = call.norm == "clip"
    if clip:
        mean, rstd, count = clip_statistics(call, h, valid)
    rows, columns = row_tile(call.hidden)
    kernels.apply_kernel[(cdiv(call.rows, rows),)](
        h, skip, valid, scale, shift, mean, rstd, y, call.rows, call.frames, *call.drop, call.eps, call.hidden, call.width,
        CLIP=clip, GROUPS=GROUPS, DROP=call.dropout > 0, SAVE=save, BLOCK_M=rows, BLOCK_N=columns, num_warps=8,
    )  # fmt: skip
    return (y, h, mean, rstd, count) if save else (y, *allocate_saved(call, x, save=False))


def allocate_saved(call: Call, x: Tensor, *, save: bool, h: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Empty tensors for h (M, H), mean and rstd (M,) and count (0,); all of size 0 without `save`, h unless given."""
    if h is None:
        h = x.new_empty((call.batch, call.frames, call.hidden) if save else (0,))
    rows = call.rows if save and call.norm == "frame" else 0
    mean, rstd, count = (torch.empty(size, dtype=torch.float32, device=x.device) for size in (rows, rows, 0))
    return h, mean, rstd, count


def run_one_pass(call, x, valid, weight, bias, scale, shift, project, project_bias, y, h, mean, rstd, *, save) -> None:
    """Launch the kernel of the way "one_pass", which writes y, h, mean and rstd."""
    tile = call.choice.tiles["forward"]
    kernels.block_kernel[(cdiv(call.rows, tile.rows),)](
        x, valid, weight, bias, scale, shift, project, project_bias, y, h, mean, rstd,
        call.rows, call.frames, call.dilation, call.reach, *call.drop, call.eps, call.channels, call.hidden,
        TAPS=call.taps, PROJECT=project is not None, DROP=call.dropout > 0, SAVE=save,
        BLOCK_M=tile.rows, BLOCK_N=max(next_power(call.hidden), 16), BLOCK_K=limit_depth(tile, call.channels),
        num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip


def compute_products(call, x, weight, bias, project, project_bias) -> tuple[Tensor, Tensor]:
    """h and the trunk, (B, T, H) each."""
    if call.library_products:
        h = temporal_conv(x, weight, bias.to(x.dtype), dilation=call.dilation, causal=call.causal)
        return h, x if project is None else F.linear(x, project, project_bias.to(x.dtype))
    h = conv(call, x, weight, bias, taps=call.taps, reach=call.reach)
    return h, x if project is None else conv(call, x, project, project_bias, taps=1, reach=0)


def conv(call, x, weight, bias, *, taps, reach) -> Tensor:
    """(B, T, H); with one tap and no reach a linear layer."""
    tile = call.choice.tiles["forward"]
    out = x.new_empty(call.batch, call.frames, call.hidden)
    kernels.conv_kernel[(cdiv(call.rows, tile.rows) * cdiv(call.hidden, tile.columns),)](
        x, weight, bias, out, call.rows, call.frames, call.dilation, reach, call.channels, call.hidden,
        TAPS=taps, **tile_arguments(tile, call.channels),
    )  # fmt: skip
    return out


def clip_statistics(call: Call, h: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """mean (B, G), 1 / standard deviation (B, G), count (B,), float32."""
    mean, rstd = (torch.empty(call.batch, GROUPS, dtype=torch.float32, device=h.device) for _ in range(2))
    count = torch.empty(call.batch, dtype=torch.float32, device=h.device)
    rows, columns = clip_tile(call)
    kernels.clip_kernel[(call.batch, GROUPS)](
        h, valid, mean, rstd, count, call.frames, call.eps, call.hidden, call.width,
        BLOCK_T=rows, BLOCK_N=columns, num_warps=8,
    )  # fmt: skip
    return mean, rstd, count


def backward(
    call: Call,
    dy: Tensor,
    x: Tensor,
    valid: Tensor,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    project: Tensor | None,
    saved: tuple[Tensor, Tensor, Tensor, Tensor],
    *,
    want_x: bool,
) -> tuple[Tensor, ...]:
    """dx (size 0 unless wanted), dweight, dproject (size 0 without one), and (4, H) of scale, shift, bias, project_bias."""
    dh, dskip, vectors = norm_gradient(call, dy, valid, scale, shift, *saved, project=project is not None)
    if call.library_products:
        dx, dweight, dproject = library_gradients(call, x, weight, project, dh, dskip, dy, valid, want_x=want_x)
    else:
        dx = input_gradient(call, dh, dskip, dy, valid, weight, project) if want_x else x.new_empty(0)
        dweight, dproject = weight_gradient(call, x, dh, dskip)
    dproject = x.new_empty(0) if dproject is None else dproject
    return dx, dweight.to(weight.dtype).contiguous(), dproject.to(weight.dtype).contiguous(), vectors


def norm_gradient(call, dy, valid, scale, shift, h, mean, rstd, count, *, project) -> tuple[Tensor, Tensor | None, Tensor]:
    """dh (B, T, H); the trunk's gradient (B, T, H) where a projection needs it; (4, H) float32 as in `backward`."""
    clip = call.norm == "clip"
    dh, dskip = torch.empty_like(h), torch.empty_like(h) if project else None
    sums = None
    if clip:
        sums = torch.empty(2, call.batch, GROUPS, dtype=torch.float32, device=h.device)
        rows, columns = clip_tile(call)
        gradients.clip_gradient_kernel[(call.batch, GROUPS)](
            dy, h, valid, scale, shift, mean, rstd, count, sums, call.frames, *call.drop, call.hidden, call.width,
            DROP=call.dropout > 0, BLOCK_T=rows, BLOCK_N=columns, num_warps=8,
        )  # fmt: skip
    rows, columns = row_tile(call.hidden)
    parts = torch.empty(min(cdiv(call.rows, rows), call.parts), 4, call.hidden, dtype=torch.float32, device=h.device)
    gradients.norm_gradient_kernel[(len(parts),)](
        dy, h, valid, scale, shift, mean, rstd, sums, dh, dskip, parts,
        call.rows, call.frames, *call.drop, call.hidden, call.width, call.batch * GROUPS,
        CLIP=clip, GROUPS=GROUPS, DROP=call.dropout > 0, PROJECT=project, BLOCK_M=rows, BLOCK_N=columns, num_warps=8,
    )  # fmt: skip
    return dh, dskip, parts.sum(0)


def input_gradient(call, dh, dskip, dy, valid, weight, project) -> Tensor:
    """dx (B, T, C), by one kernel."""
    tile = call.choice.tiles["input_gradient"]
    dx = dh.new_empty(call.batch, call.frames, call.channels)
    gradients.input_gradient_kernel[(cdiv(call.rows, tile.rows) * cdiv(call.channels, tile.columns),)](
        dh, dy if project is None else dskip, valid, weight, project, dx,
        call.rows, call.frames, -call.dilation, -call.reach, call.channels, call.hidden,
        TAPS=call.taps, PROJECT=project is not None, **tile_arguments(tile, call.hidden),
    )  # fmt: skip
    return dx


def weight_gradient(call, x, dh, dskip) -> tuple[Tensor, Tensor | None]:
    """(H, k, C) and, with a projection, (H, C), float32."""
    tile, taps = call.choice.tiles["weight_gradient"], call.taps + (dskip is not None)
    programs = cdiv(call.hidden, tile.rows) * taps * cdiv(call.channels, tile.columns)
    steps = max(cdiv(call.rows, tile.depth), 1)
    steps_each = cdiv(steps, min(max(call.parts // programs, 1), steps))
    splits = cdiv(steps, steps_each)
    parts = torch.empty(splits, call.hidden, taps, call.channels, dtype=torch.float32, device=x.device)
    gradients.weight_gradient_kernel[(programs, splits)](
        x, dh, dskip, parts, call.rows, call.frames, call.dilation, call.reach, steps_each * tile.depth,
        call.channels, call.hidden, TAPS=call.taps, PROJECT=dskip is not None, **tile_arguments(tile, tile.depth),
    )  # fmt: skip
    total = parts.sum(0)
    return total[:, : call.taps], None if dskip is None else total[:, call.taps]


def library_gradients(call, x, weight, project, dh, dskip, dy, valid, *, want_x) -> tuple[Tensor, Tensor, Tensor | None]:
    """dx, (H, k, C) and (H, C) by the library's matrix products over the shifted copies of the frames."""
    copies = shifted_frames(x, taps=call.taps, dilation=call.dilation, causal=call.causal)
    rows = dh.flatten(0, 1)
    dweight = (rows.T @ copies.flatten(0, 1)).unflatten(1, (call.taps, call.channels))
    dproject = None if dskip is None else dskip.flatten(0, 1).T @ x.flatten(0, 1)
    if not want_x:
        return x.new_empty(0), dweight, dproject
    # A convolution once more, with the taps in the opposite order: one product that adds the taps up in float32.
    back = call.dilation * (call.taps - 1) - call.reach
    copies = tap_copies(dh, taps=call.taps, dilation=call.dilation, back=back).flatten(0, 1)
    mirrored = weight.flip(1).transpose(0, 1).flatten(0, 1)  # (k * H, C)
    trunk = dy.masked_fill(~valid.bool()[..., None], 0).flatten(0, 1) if dskip is None else dskip.flatten(0, 1) @ project
    return torch.addmm(trunk, copies, mirrored).view(x.shape), dweight, dproject


def clip_tile(call: Call) -> tuple[int, int]:
    """(frames, channels) of a program of the norm "clip" at a time."""
    columns = next_power(call.width)
    return max(CLIP_VALUES // columns, 1), columns


def limit_depth(tile: Tile, inner: int) -> int:
    """The tile's depth, at most the length of the sum."""
    return min(tile.depth, max(next_power(inner), 16))


def tile_arguments(tile: Tile, inner: int) -> dict[str, int]:
    """A tile as the arguments of a kernel whose products sum over `inner` values."""
    sizes = {"BLOCK_M": tile.rows, "BLOCK_N": tile.columns, "BLOCK_K": limit_depth(tile, inner)}
    return sizes | {"num_warps": tile.warps, "num_stages": tile.stages}
