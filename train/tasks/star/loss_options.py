"""The weights and margins of the star task's loss terms."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MetricLoss:
    """The terms and their weights; 0 switches one off."""

    circle_weight: float = 0.7  # weight of the circle loss (Sun et al., CVPR 2020)
    circle_margin: float = 0.25  # its margin m
    circle_gamma: float = 64.0  # its scale gamma
    triplet_weight: float = 0.3  # weight of the triplet loss
    triplet_margin: float = 0.3  # its margin, of cosine distances
    identity_weight: float = 0.0  # weight of the identity classifier (ArcFace, Deng et al., CVPR 2019)
    arc_margin: float = 0.5  # its margin, radians
    arc_scale: float = 64.0  # its scale

    def __post_init__(self) -> None:
        weights = {name: getattr(self, f"{name}_weight") for name in ("circle", "triplet", "identity")}
        if min(weights.values()) < 0 or not sum(weights.values()) > 0:
            given = ", ".join(f"{name}_weight={value}" for name, value in weights.items())
            raise ValueError(f"loss: {given} must be at least 0, and one of them above")
        if not 0 <= self.circle_margin < 1 or min(self.circle_gamma, self.arc_scale) <= 0:
            raise ValueError(
                f"loss: circle_margin={self.circle_margin} must be in [0, 1), circle_gamma={self.circle_gamma} and "
                f"arc_scale={self.arc_scale} above 0"
            )
        if not 0 <= self.triplet_margin <= 2 or not 0 <= self.arc_margin < math.pi / 2:
            raise ValueError(
                f"loss: triplet_margin={self.triplet_margin} must be in [0, 2], "
                f"arc_margin={self.arc_margin} in [0, pi/2) radians"
            )
