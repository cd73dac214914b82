"""Pose-graph features: posture and motion from keypoints, invariant to position, scale and rotation.

B clips, T frames, K points, E edges, A angles, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

CENTROID = "centroid"  # the mean of the visible points, usable in edges under this name
SHORTEST = 1e-6  # body lengths; a side shorter than this has no direction
MOTION_GAIN = 10.0  # motion is in tenths of its unit a frame: real steps are about 0.01 body lengths, lengths about 1
MOUSE_POINTS = ("mouth", "tail_base", "L_frontpaw", "R_frontpaw", "L_hindpaw", "R_hindpaw")
MOUSE_EDGES = (
    ("mouth", "tail_base"),
    ("mouth", "L_frontpaw"),
    ("mouth", "R_frontpaw"),
    ("tail_base", "L_hindpaw"),
    ("tail_base", "R_hindpaw"),
    ("L_frontpaw", "R_frontpaw"),
    ("L_hindpaw", "R_hindpaw"),
    ("mouth", CENTROID),
)
MOUSE_ANGLES = (  # (centre, a, b)
    ("tail_base", "mouth", "L_frontpaw"),
    ("tail_base", "mouth", "R_frontpaw"),
    ("mouth", "tail_base", "L_hindpaw"),
    ("mouth", "tail_base", "R_hindpaw"),
    ("mouth", "L_frontpaw", "L_hindpaw"),
    ("mouth", "R_frontpaw", "R_hindpaw"),
    ("tail_base", "L_frontpaw", "L_hindpaw"),
    ("tail_base", "R_frontpaw", "R_hindpaw"),
    ("L_frontpaw", "mouth", "R_frontpaw"),
    ("L_hindpaw", "tail_base", "R_hindpaw"),
)


@dataclass(frozen=True, kw_only=True)
class PoseGraph:
    """The lengths and angles that are measured, by point name."""

    points: tuple[str, ...]  # in the order of the pose tensor
    edges: tuple[tuple[str, str], ...]
    angles: tuple[tuple[str, str, str], ...]  # (centre, a, b)

    def __post_init__(self) -> None:
        if len(self.points) < 2:
            raise ValueError(f"points={list(self.points)}: a pose graph needs at least 2 points")
        if len(set(self.points)) < len(self.points) or CENTROID in self.points:
            raise ValueError(f"points={list(self.points)} must be distinct, and none may be named {CENTROID!r}")
        for kind, rows, width, allowed in (
            ("edge", self.edges, 2, {*self.points, CENTROID}),
            ("angle", self.angles, 3, set(self.points)),
        ):
            for row in rows:
                if len(row) != width or len(set(row)) != width or not set(row) <= allowed:
                    raise ValueError(f"{kind} {list(row)} must be {width} different names out of {sorted(allowed)}")

    @classmethod
    def from_points(
        cls,
        points: Sequence[str],
        edges: Sequence[Sequence[str]] | None = None,
        angles: Sequence[Sequence[str]] | None = None,
    ) -> "PoseGraph":
        """The graph of these points; None takes a default.

        The mouse's six points, in any order, get the published 8 edges and 10 angles. Any other set gets its consecutive
        pairs, each point to the centroid, and the angle at the middle of each consecutive triple.
        """
        if set(points) == set(MOUSE_POINTS):
            own_edges, own_angles = MOUSE_EDGES, MOUSE_ANGLES
        else:
            own_edges = (*pairwise(points), *((point, CENTROID) for point in points))
            own_angles = tuple((points[i], points[i - 1], points[i + 1]) for i in range(1, len(points) - 1))
        return cls(
            points=tuple(points),
            edges=tuple(tuple(row) for row in (own_edges if edges is None else edges)),
            angles=tuple(tuple(row) for row in (own_angles if angles is None else angles)),
        )

    def feature_names(self, *, stance: bool = False, likelihood: bool = False) -> tuple[str, ...]:
        """Names of the F features, in order; with `stance` also those measured against the animal's usual posture, with
        `likelihood` also the tracker's likelihood of each point."""
        lengths = [f"length {a}-{b}" for a, b in self.edges]
        angles = [f"angle {a}-{centre}-{b}" for centre, a, b in self.angles]
        speeds = [f"speed {point}" for point in self.points]
        usual = [f"length {a}-{b}" for a, b in self.edges if CENTROID not in (a, b)] + angles if stance else []
        changes = [f"change of {name}" for name in lengths + angles]
        sure = [f"likelihood {point}" for point in self.points] if likelihood else []
        return (*lengths, *angles, *speeds, *changes, *(f"{name} against usual" for name in usual), *sure)


class PoseFeatures(nn.Module):
    """Lengths, angles, speeds and frame-to-frame changes of a pose, in float32, differentiable, without parameters.

    F = 2E + 2A + K, in the order of `PoseGraph.feature_names`:
        lengths, in body lengths;
        angles, unsigned, in units of pi, so 0..1 and without a jump (a mirrored pose has the same);
        speeds: displacement of each point since the frame before, in tenths of a body length;
        changes since the frame before of each length (tenths of a body length) and angle (tenths of pi), signed.
    With `stance`, F is larger by the edges without the centroid and A:
        each such length (tenths of a body length) and angle (tenths of pi) less what it is in the animal's usual posture. One
        animal's stance differs from another's as much as a paw held up does from one on the ground.
    With `likelihood`, F is larger by K, the tracker's likelihood of each point.
    All are unchanged by moving or turning the pose; dividing by the body length makes them unchanged by scale.
    """

    def __init__(self, graph: PoseGraph, *, stance: bool = False, likelihood: bool = False) -> None:
        super().__init__()
        self.graph = graph
        self.stance = stance
        self.likelihood = likelihood
        self.width = len(graph.feature_names(stance=stance, likelihood=likelihood))
        index = {name: i for i, name in enumerate((*graph.points, CENTROID))}
        edges = torch.tensor([[index[name] for name in row] for row in graph.edges], dtype=torch.long).view(-1, 2)
        angles = torch.tensor([[index[name] for name in row] for row in graph.angles], dtype=torch.long).view(-1, 3)
        self.register_buffer("edges", edges, persistent=False)
        self.register_buffer("angles", angles, persistent=False)
        loose = (edges == index[CENTROID]).any(-1)
        self.register_buffer("loose", loose, persistent=False)
        # numbers of the other edges: picking by a mask would wait for the GPU
        self.register_buffer("tight", (~loose).nonzero()[:, 0], persistent=False)

    @property
    def pose_width(self) -> int:
        """Numbers a point in the pose that `forward` takes."""
        return 3 + len(self.graph.points) * self.stance + self.likelihood

    def forward(self, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Measure a pose.

        Args:
            pose: (B, T, K, 3): x, y in body lengths of the trial with the same unit on both axes, and visible 0 or 1.
                Coordinates of invisible points are never read; they may be NaN. With `stance` (B, T, K, 3 + K): then the
                usual distances to each point, in the same unit, 0 where not known. With `likelihood` one more at the end: the
                likelihood of the point, of an invisible one too, 0 where not known.

        Returns:
            features (B, T, F) float32, 0 where not known; mask (B, T, F) float32, 1 where known.
            Speeds and changes need the point in both frames and are not known in the first frame.
        """
        points = len(self.graph.points)
        if pose.ndim != 4 or pose.shape[2:] != (points, self.pose_width):
            raise ValueError(
                f"pose must be (B, T, {points}, {self.pose_width}) for {self.graph.points}, got {tuple(pose.shape)}"
            )
        visible = pose[..., 2] > 0.5
        xy = torch.where(visible[..., None], pose[..., :2], 0).float()
        lengths, has_length = self._measure_lengths(xy, visible)
        angles, has_angle = self._measure_angles(xy, visible)
        speeds, has_speed = _compute_speeds(xy, visible)
        # The centroid jumps when a point appears or goes: its length is then known but its change is not.
        same_set = (visible[:, 1:] == visible[:, :-1]).all(-1, keepdim=True)
        length_change, has_length_change = _compute_changes(lengths, has_length, same_set | ~self.loose)
        angle_change, has_angle_change = _compute_changes(angles, has_angle, torch.ones_like(same_set))
        features = [lengths, angles, speeds, length_change, angle_change]
        mask = [has_length, has_angle, has_speed, has_length_change, has_angle_change]
        if self.stance:
            usual, known = self._measure_stance(pose[..., 3 : 3 + points].float())
            now = torch.cat([lengths[..., self.tight], angles], -1)
            features.append((now - usual) * MOTION_GAIN)
            mask.append(known & torch.cat([has_length[..., self.tight], has_angle], -1))
        if self.likelihood:
            features.append(pose[..., -1].float())
            mask.append(pose[..., -1] > 0)
        features, mask = torch.cat(features, -1), torch.cat(mask, -1)
        return torch.where(mask, features, 0), mask.float()

    def _measure_stance(self, usual: Tensor) -> tuple[Tensor, Tensor]:
        """Usual distances (B, T, K, K) -> usual lengths and angles (B, T, E without the centroid + A), and which are known."""
        a, b = self.edges[self.tight].unbind(-1)
        lengths = usual[..., a, b]
        centre, a, b = self.angles.unbind(-1)
        u, v, w = usual[..., centre, a], usual[..., centre, b], usual[..., a, b]
        known = (u > SHORTEST) & (v > SHORTEST) & (w > 0)
        cosine = (u.square() + v.square() - w.square()) / torch.where(known, 2 * u * v, 1)  # of the triangle's corner
        angles = torch.where(known, cosine, 0).clamp(-1, 1).acos() / torch.pi
        return torch.cat([lengths, angles], -1), torch.cat([lengths > 0, known], -1)

    def _measure_lengths(self, xy: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        count = visible.sum(-1)
        centroid = xy.sum(2) / count.clamp_min(1)[..., None]
        # Half of the points at least: the mean of fewer is not the middle of the body.
        points = torch.cat([xy, centroid[:, :, None]], 2)
        known = torch.cat([visible, (2 * count >= visible.shape[-1])[..., None]], -1)
        a, b = self.edges.unbind(-1)
        return torch.linalg.vector_norm(points[:, :, a] - points[:, :, b], dim=-1), known[..., a] & known[..., b]

    def _measure_angles(self, xy: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        centre, a, b = self.angles.unbind(-1)
        u, v = xy[:, :, a] - xy[:, :, centre], xy[:, :, b] - xy[:, :, centre]
        cross = (u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]).abs()
        dot = (u * v).sum(-1)
        long = (u.detach().square().sum(-1) > SHORTEST**2) & (v.detach().square().sum(-1) > SHORTEST**2)
        known = visible[..., centre] & visible[..., a] & visible[..., b] & long
        # atan2 and not arccos, whose slope is infinite at 0 and pi; atan2(0, 0) has no slope at all, hence the 1.
        return torch.atan2(torch.where(known, cross, 0), torch.where(known, dot, 1)) / torch.pi, known


class PoseEncoder(nn.Module):
    """A pose, as `PoseFeatures` takes it, -> (B, T, dim): features and mask, one linear layer, GELU, dropout."""

    def __init__(
        self, graph: PoseGraph, *, dim: int = 128, dropout: float = 0.15, stance: bool = False, likelihood: bool = False
    ) -> None:
        super().__init__()
        self.features = PoseFeatures(graph, stance=stance, likelihood=likelihood)
        self.linear = nn.Linear(2 * self.features.width, dim)
        self.dropout = nn.Dropout(dropout)
        self.dim = dim

    def forward(self, pose: Tensor) -> Tensor:
        """(B, T, K, `features.pose_width`) as in `PoseFeatures.forward` -> (B, T, dim)."""
        x = torch.cat(self.features(pose), -1).to(self.linear.weight.dtype)
        return self.dropout(nn.functional.gelu(self.linear(x)))


def _compute_speeds(xy: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, K, 2), (B, T, K) -> (B, T, K) values and bool mask; the first frame is not known."""
    step = torch.linalg.vector_norm(xy[:, 1:] - xy[:, :-1], dim=-1) * MOTION_GAIN
    return _pad_first_frame(step), _pad_first_frame(visible[:, 1:] & visible[:, :-1])


def _compute_changes(values: Tensor, known: Tensor, comparable: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, n), (B, T, n) bool, (B, T - 1, n or 1) bool -> (B, T, n) difference to the frame before, and bool mask."""
    change = (values[:, 1:] - values[:, :-1]) * MOTION_GAIN
    return _pad_first_frame(change), _pad_first_frame(known[:, 1:] & known[:, :-1] & comparable)


def _pad_first_frame(x: Tensor) -> Tensor:
    """(B, T - 1, n) -> (B, T, n), the first frame zero or False."""
    return torch.cat([x.new_zeros(x.shape[0], 1, x.shape[2]), x], 1)
