"""Per-frame tagging of a clip: an action for every frame and, as a second task, the position of every keypoint.

B clips, T frames, K points, C classes, D channels.
"""

import torch
from torch import Tensor, nn

from tarpon.models.temporal.heads import ActionHead, KeypointHead
from tarpon.models.temporal.kinds import TEMPORAL
from tarpon.models.temporal.pose import PoseEncoder
from tarpon.models.temporal.refinement import Refinement
from tarpon.models.temporal.tcn import TCN
from tarpon.models.temporal.transformer import TemporalTransformer


class FrameTagger(nn.Module):
    """Frames -> encoder -> [visual, pose] -> network over time -> actions (-> refinement); frames -> encoder -> keypoints.

    The two paths share the encoder only: keypoints never see the pose input, so they cannot copy it.
    Padding reaches no valid frame's output. (Padded frames are encoded all the same: leaving them out would cost a wait
    for the GPU every step; a batch norm in the backbone sees them in training, as repeats of the edge frame.)
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        classes: int,
        points: int = 0,
        pose: PoseEncoder | None = None,
        hidden: int = 256,
        layers: int = 3,
        dropout: float = 0.3,
        head_dropout: float = 0.2,
        norm: str = "frame",
        keypoints: bool = True,
        temporal: str = "tcn",
        attention_frames: int = 16,
        refine_stages: int = 0,
        refine_shared: bool = False,
    ) -> None:
        """Put the parts together.

        Args:
            encoder: a `FrameEncoder`, or anything with its forward, `dim`, `grid_dim` and `freeze`.
            points: keypoints to regress; needed with `keypoints`.
            pose: None for a model that needs no pose.
            keypoints: False leaves the second task out (action only).
            temporal: "tcn" or "transformer", what looks over time; `norm` is of the TCN.
            attention_frames: frames to either side that a layer of the transformer sees.
            refine_stages: stages after the first scores, each a TCN over the probabilities of the one before.
            refine_shared: these have one set of parameters.
        """
        super().__init__()
        if keypoints and points < 1:
            raise ValueError(f"points={points} must be at least 1 with keypoints=True; use keypoints=False for actions only")
        self.encoder = encoder
        self.visual = nn.Sequential(nn.LayerNorm(encoder.dim), nn.Linear(encoder.dim, hidden), nn.GELU())
        self.pose = pose
        if temporal not in TEMPORAL:
            raise ValueError(f"temporal={temporal!r} must be one of {', '.join(TEMPORAL)}")
        width, size = hidden + (pose.dim if pose else 0), {"hidden": hidden, "layers": layers, "dropout": dropout}
        self.tcn = TCN(width, norm=norm, **size) if temporal == "tcn" else None
        self.transformer = None if self.tcn else TemporalTransformer(width, reach=attention_frames, **size)
        self.action = ActionHead(hidden, classes, dropout=head_dropout)
        self.keypoint = KeypointHead(encoder.grid_dim, points) if keypoints else None
        self.refinement = None
        if refine_stages:
            self.refinement = Refinement(classes, stages=refine_stages, shared=refine_shared, norm=norm, **size)

    @property
    def reach(self) -> int:
        """Frames to either side whose features an action depends on."""
        return (self.tcn or self.transformer).reach + (self.refinement.reach if self.refinement else 0)

    def forward(self, clip: Tensor, valid: Tensor, pose: Tensor | None = None) -> dict[str, Tensor]:
        """Tag a batch of clips.

        Args:
            clip: (B, T, 3, H, W) float, normalised for the encoder.
            valid: (B, T) bool, False on padding.
            pose: (B, T, K, `pose_width`) as in `PoseFeatures`, exactly when the model was built with a pose encoder.

        Returns:
            "action" (B, T, C) float32 scores before the softmax, and, unless built for actions only,
            "keypoints" (B, T, K, 2) float32 in [0, 1]; with refinement also "action_stages" (B, S + 1, T, C) float32, the
            scores of the first stage to the last, which are "action". Values on padding mean nothing.
        """
        if (pose is None) != (self.pose is None):
            raise ValueError(
                f"this model was built {'without' if self.pose is None else 'with'} pose input and got "
                f"{'none' if pose is None else 'one'}; set pose_input to match the data"
            )
        pooled, grid = self.encoder(clip)
        return self.run_head(pooled, None if self.keypoint is None else grid, valid, pose)

    def run_head(self, pooled: Tensor, grid: Tensor | None, valid: Tensor, pose: Tensor | None) -> dict[str, Tensor]:
        """Everything after the encoder: pooled (B, T, dim) and grid (B, T, h, w, grid_dim) of it, the rest as in `forward`."""
        features = self.visual(pooled.to(self.visual[0].weight.dtype))
        if pose is not None:
            features = torch.cat([features, self.pose(pose)], -1)
        over_time = self.tcn or self.transformer
        out = {"action": self.action(over_time(features, valid)).float()}
        if self.refinement is not None:
            out["action_stages"] = self.refinement(out["action"], valid)
            out["action"] = out["action_stages"][:, -1]
        if self.keypoint is not None:
            out["keypoints"] = self.keypoint(grid)
        return out

    def freeze_backbone(self, on: bool = True) -> None:
        """Freeze the encoder (True), or train it (False)."""
        self.encoder.freeze(on)
