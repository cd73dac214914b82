"""What can be set for the mouse task: frozen records that check themselves."""

from dataclasses import dataclass, field, replace
from typing import Literal

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.models.backbones.video_backbone import VideoBackbone
from tarpon.shards.sampling.draws import ClipAugment
from tarpon.train.plan_kind import PlanKind, check_plan

CLASSES = ("rest", "paw_withdraw", "paw_lick", "paw_shake", "walk", "active")
MERGE = (0, 1, 2, 1, 3, 1, 4, 5)  # paw_guard and flinch count as paw_withdraw


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The network."""

    # vit_2d: `backbone` frame by frame; videomae2_3d: `video_backbone` on 16-frame clips
    backbone_type: Literal["vit_2d", "videomae2_3d"] = "vit_2d"
    backbone: FrameBackbone = field(default_factory=FrameBackbone)
    video_backbone: VideoBackbone = field(default_factory=VideoBackbone)
    model_type: Literal["multitask", "action_only"] = "multitask"  # multitask: actions and keypoints; action_only: actions
    pose_input: bool = True  # feed the tracked points too; false needs no DeepLabCut file when predicting
    # frames around each one whose median posture its own is compared with, before the model sees it: one animal's stance
    # differs from another's as much as a held paw does from one on the ground; 0 = not compared, as published
    stance_frames: int = 0
    likelihood_input: bool = False  # feed the tracker's likelihood of each point too, beside whether it is visible
    hidden: int = 256  # channels of the TCN over time
    layers: int = 3  # blocks of the TCN, with dilations 1, 2, 4, ...
    # normalised per frame, the same for any window length; or over the clip, as published
    norm: Literal["frame", "clip"] = "frame"
    dropout: float = 0.3  # share of channels dropped in the TCN
    head_dropout: float = 0.2  # share of features dropped before the heads

    def __post_init__(self) -> None:
        if self.backbone_type not in ("vit_2d", "videomae2_3d"):
            raise ValueError(f"model.backbone_type={self.backbone_type!r} must be vit_2d or videomae2_3d")
        if self.model_type not in ("multitask", "action_only"):
            raise ValueError(f"model.model_type={self.model_type!r} must be multitask or action_only")
        if self.norm not in ("frame", "clip"):
            raise ValueError(f"model.norm={self.norm!r} must be frame or clip")
        if self.stance_frames < 0 or self.stance_frames == 1:
            raise ValueError(
                f"model.stance_frames={self.stance_frames} must be at least 2, better some hundreds; 0 = not compared"
            )
        if self.hidden < 8 or self.layers < 1 or not (0 <= self.dropout < 1 and 0 <= self.head_dropout < 1):
            raise ValueError(
                f"model: hidden={self.hidden} must be at least 8, layers={self.layers} at least 1, "
                f"dropout={self.dropout} and head_dropout={self.head_dropout} in [0, 1)"
            )

    @property
    def encoder(self) -> FrameBackbone | VideoBackbone:
        """The description of the backbone that was chosen."""
        return self.backbone if self.backbone_type == "vit_2d" else self.video_backbone

    def without_weights(self) -> "ModelOptions":
        """The same network with random weights, to load trained ones over; needs no network and no file."""
        if self.backbone_type == "vit_2d":
            return replace(self, backbone=replace(self.backbone, pretrained=False, weights=None))
        return replace(self, video_backbone=self.video_backbone.without_weights())


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """The terms, each on its own switch."""

    focal_gamma: float = 2.5  # how much easy frames count less (focal loss); 0 = cross-entropy
    label_smoothing: float = 0.1  # share of a label spread over the other classes
    class_weights: bool = True  # weigh classes by the inverse of how often they are labelled
    lambda_smooth: float = 1e-3  # weight of the change of log-probabilities from frame to frame
    # weight of the squared change of log-probabilities between frames of one label, so within bouts and not where one gives
    # way to another (after GS-TMSE of ASRF); 0 = none
    lambda_boundary: float = 0.0
    lambda_kp: float = 1.0  # weight of the keypoint term
    kp_beta: float = 0.02  # where smooth L1 of a keypoint turns linear, as a share of the frame

    def __post_init__(self) -> None:
        if (
            min(self.focal_gamma, self.lambda_smooth, self.lambda_boundary, self.lambda_kp) < 0
            or self.kp_beta <= 0
            or not 0 <= self.label_smoothing < 1
        ):
            raise ValueError(
                "loss: focal_gamma, lambda_smooth, lambda_boundary and lambda_kp must be at least 0, kp_beta above 0, "
                "label_smoothing in [0, 1)"
            )


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """What a training sample is."""

    train_frames: int = 345  # frames of a training window
    val_frames: int = 345  # frames of the windows that tile a trial in evaluation
    kp_likelihood: float = 0.9  # likelihood below which a tracked point is invisible
    # frames for which a point may be lost and the model still be given one, on the straight line between where it was seen
    # before and after; 0 = a lost point is invisible, as published
    fill_gaps: int = 0
    rare_boost: bool = True  # windows with rare classes come more often
    rare_threshold_share: float = 0.02  # a class under this share of labelled frames is rare
    rare_boost_cap: float = 30.0  # how many times as often such a window comes, at most

    def __post_init__(self) -> None:
        if min(self.train_frames, self.val_frames) < 2 or not 0 <= self.kp_likelihood <= 1:
            raise ValueError(
                f"window: train_frames={self.train_frames} and val_frames={self.val_frames} must be at least 2, "
                f"kp_likelihood={self.kp_likelihood} in [0, 1]"
            )
        if self.fill_gaps < 0:
            raise ValueError(f"window.fill_gaps={self.fill_gaps} must be 0 (no gap is filled) or a number of frames")
        if self.rare_boost_cap < 1 or not 0 <= self.rare_threshold_share <= 1:
            raise ValueError(f"window: rare_boost_cap={self.rare_boost_cap} must be at least 1, rare_threshold_share in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class MouseOptions:
    """Everything of the mouse task beside the run."""

    model: ModelOptions = field(default_factory=ModelOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    window: WindowOptions = field(default_factory=WindowOptions)
    augment: ClipAugment = field(default_factory=ClipAugment)
    classes: tuple[str, ...] = CLASSES  # names of the classes after merging
    merge: tuple[int, ...] = MERGE  # class of each stored action, in the order of the shards' classes; -1 leaves it out
    # points that change places when augment.flip_p mirrors a clip: auto: by their names; none; or by hand, a:b,c:d
    mirror_pairs: str = "auto"
    plan: PlanKind = "rows"  # what the order of training is made of; shards: for sets that a process should not hold whole

    def __post_init__(self) -> None:
        if len(self.merge) < 2 or not all(-1 <= to < len(self.classes) for to in self.merge):
            raise ValueError(
                f"merge={list(self.merge)} must give each of the stored actions (8 of the published set) a class of 0 to "
                f"{len(self.classes) - 1}, or -1 to leave it out"
            )
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise ValueError(f"classes={list(self.classes)} must be two or more different names")
        check_plan(self.plan)
