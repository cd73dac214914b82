"""Fused operations by name, for their tests and `tarpon bench ops`."""

from tarpon.models.ops.mmoe import experts as mmoe_experts
from tarpon.models.ops.mmoe import gates as mmoe_gates
from tarpon.models.ops.mmoe import mix as mmoe_mix
from tarpon.models.ops.mmoe import mixture as mmoe
from tarpon.models.ops.tcn import spec as tcn_spec

OPS = {
    "temporal_block": tcn_spec.BLOCK,
    "temporal_block_clip": tcn_spec.CLIP_BLOCK,
    "mmoe": mmoe.MMOE,
    "mmoe_experts": mmoe_experts.EXPERTS,
    "mmoe_gates": mmoe_gates.GATES,
    "mmoe_mix": mmoe_mix.MIX,
}
