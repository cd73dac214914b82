"""Forward and backward of `mmoe_experts` in both ways. Letters as there; everything is contiguous.

Products write into tensors made before (`out=`): so autocast, which has chosen the dtypes already, leaves them alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tarpon.models.ops.dropout import compute_threshold
from tarpon.models.ops.launch import cdiv, find_limits, next_power
from tarpon.models.ops.mmoe import experts_kernel as kernels
from tarpon.models.ops.mmoe.tiles import product_blocks


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """Dropout as kernels take it."""

    seed: Tensor | None = None  # () int64 where the rows are; read by the kernels alone, so a CUDA graph may change it
    threshold: int = 0
    keep_scale: float = 1.0  # 1 / share kept
    on: bool = False

    @classmethod
    def of(cls, share: float, seed: Tensor | None) -> "Dropout":
        """As the operation has them; no seed without a share."""
        if not share:
            return cls()
        return cls(seed=seed, threshold=compute_threshold(share), keep_scale=1 / (1 - share), on=True)

    def arguments(self) -> dict[str, Tensor | int | float | bool | None]:
        return {
            "p_seed": self.seed,
            "threshold": self.threshold,
            "keep_scale": self.keep_scale,
            "DROP": self.on,
        }


def blocks(rows: int, columns: int, depth: int, *, left: Tensor, right: Tensor) -> tuple[dict[str, int], dict[str, int]]:
    """`product_blocks` of two tensors on their GPU."""
    return product_blocks(rows, columns, depth, left=left.dtype, right=right.dtype, limits=find_limits(right.device))


def experts_forward(
    normal: Tensor,
    scale: Tensor,
    shift: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    *,
    drop: Dropout,
    fused: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The output, and the first layer's product and hidden values (both empty without `keep`)."""
    (E, D, H), B = in_weight.shape, len(normal)
    product, answer = (in_weight.new_empty(E, B, H) for _ in range(2))
    hidden = torch.empty_like(product) if keep else product  # in place, where no gradient will ask for the product
    if fused:
        size, options = blocks(B, H, D, left=normal, right=in_weight)
        grid = (cdiv(B, size["BLOCK_M"]) * cdiv(H, size["BLOCK_N"]), E)
        kernels.expert_in_kernel[grid](
            normal, scale, shift, in_weight, in_bias, product, hidden, B, D, H, **drop.arguments(), KEEP=keep, **size, **options
        )
    else:
        rows = in_weight.new_empty(E, B, D)
        size = kernels.flat_tile(D)
        grid = (cdiv(B, size["BLOCK_R"]), cdiv(D, size["BLOCK_C"]))
        kernels.affine_kernel[grid](normal, scale, shift, rows, B, D, E=E, **size)
        torch.bmm(rows, in_weight, out=product)
        size = kernels.flat_tile(H)
        grid = (cdiv(B, size["BLOCK_R"]), cdiv(H, size["BLOCK_C"]), E)
        kernels.activate_kernel[grid](product, in_bias, hidden, B, H, **drop.arguments(), **size)
    torch.bmm(hidden, out_weight, out=answer)
    return (answer, product, hidden) if keep else (answer, in_weight.new_empty(0), in_weight.new_empty(0))


def experts_backward(
    grad: Tensor,
    product: Tensor,
    hidden: Tensor,
    normal: Tensor,
    scale: Tensor,
    shift: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    *,
    drop: Dropout,
    fused: bool,
    needs_normal: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of normal (empty if not needed), scale, shift, in_weight, in_bias, out_weight."""
    d_out = torch.bmm(hidden.mT, grad, out=torch.empty_like(out_weight))
    d_product, bias = (_product_fused if fused else _product_library)(grad, product, in_bias, out_weight, drop)
    weights = _weights_fused if fused else _weights_library
    d_in, d_scale, d_shift = weights(normal, d_product, in_weight, scale, shift, bias)
    d_normal = normal.new_empty(normal.shape if needs_normal else (0,))
    if needs_normal:
        rows = torch.bmm(d_product, in_weight.mT, out=in_weight.new_empty(*d_product.shape[:2], normal.shape[1]))
        (E, B, D), size = rows.shape, kernels.flat_tile(normal.shape[1])
        grid = (cdiv(B, size["BLOCK_R"]), cdiv(D, size["BLOCK_C"]))
        kernels.normal_gradient_kernel[grid](rows, scale, d_normal, B, D, E=E, **size)
    return d_normal, d_scale.to(scale.dtype), d_shift.to(shift.dtype), d_in, bias.to(in_bias.dtype), d_out


def _product_library(grad: Tensor, product: Tensor, bias: Tensor, out_weight: Tensor, drop: Dropout) -> tuple[Tensor, Tensor]:
    """Gradients of the first layer's product and, float32, of its bias."""
    E, B, H = product.shape
    d_product = torch.bmm(grad, out_weight.mT, out=torch.empty_like(product))
    size = kernels.flat_tile(H)
    parts = product.new_empty((cdiv(B, size["BLOCK_R"]), E, H), dtype=torch.float32)
    grid = (len(parts), cdiv(H, size["BLOCK_C"]), E)
    kernels.activate_gradient_kernel[grid](d_product, product, bias, parts, B, H, **drop.arguments(), **size)
    return d_product, parts.sum(0)


def _product_fused(grad: Tensor, product: Tensor, bias: Tensor, out_weight: Tensor, drop: Dropout) -> tuple[Tensor, Tensor]:
    E, B, H = product.shape
    d_product = torch.empty_like(product)
    size, options = blocks(B, H, H, left=grad, right=out_weight)
    parts = product.new_empty((cdiv(B, size["BLOCK_M"]), E, H), dtype=torch.float32)
    grid = (len(parts) * cdiv(H, size["BLOCK_N"]), E)
    kernels.expert_in_gradient_kernel[grid](
        grad, out_weight, product, bias, d_product, parts, B, H, **drop.arguments(), **size, **options
    )
    return d_product, parts.sum(0)


def _weights_library(
    normal: Tensor, d_product: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of weight and, float32, of scale and shift; bias: (E, H) float32 gradient of the bias."""
    E, D, H = weight.shape
    left = normal.to(weight.dtype).T.expand(E, D, len(normal))
    d_weight = torch.bmm(left, d_product, out=torch.empty_like(weight))
    d_scale, d_shift = (weight.new_empty((E, D), dtype=torch.float32) for _ in range(2))
    kernels.weight_gradient_kernel[(E * D,)](
        d_weight, weight, scale, shift, bias, d_scale, d_shift, D, H, BLOCK_C=min(max(next_power(H), 16), 1024)
    )
    return d_weight, d_scale, d_shift


def _weights_fused(
    normal: Tensor, d_product: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    E, D, H = weight.shape
    d_weight = torch.empty_like(weight)
    size, options = blocks(D, H, len(normal), left=normal, right=d_product)
    parts = weight.new_empty((2, cdiv(H, size["BLOCK_N"]), E, D), dtype=torch.float32)
    grid = (cdiv(D, size["BLOCK_M"]) * parts.shape[1], E)
    kernels.expert_in_weight_kernel[grid](
        normal, d_product, weight, scale, shift, bias, d_weight, parts, len(normal), D, H, **size, **options
    )
    return d_weight, parts[0].sum(0), parts[1].sum(0)  # two tensors, not two views of one
