"""Fused operations by name, for their tests and `tarpon bench ops`."""

from tarpon.models.ops import mmoe, mmoe_experts, mmoe_gates, mmoe_mix, tcn_spec

OPS = {
    "temporal_block": tcn_spec.BLOCK,
    "temporal_block_clip": tcn_spec.CLIP_BLOCK,
    "mmoe": mmoe.MMOE,
    "mmoe_experts": mmoe_experts.EXPERTS,
    "mmoe_gates": mmoe_gates.GATES,
    "mmoe_mix": mmoe_mix.MIX,
}
