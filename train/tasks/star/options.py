"""What can be set for the star task: frozen records that check themselves."""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.models.reid.backbones import BACKBONES
from tarpon.shards.sampling import photo_augment
from tarpon.shards.sampling.photo_augment import PhotoAugment
from tarpon.train import device_option
from tarpon.train.plan_kind import PlanKind, check_plan
from tarpon.train.tasks.star.loss_options import MetricLoss
from tarpon.train.tasks.star.metrics.search_options import Expansion, Reranking, SearchOptions

PUBLISHED = {  # names on the hub that the published trainers took -> ours
    "swinv2-tiny-patch4-window8-256": "swinv2-tiny",
    "swinv2-small-patch4-window16-256": "swinv2-small",
    **{f"convnext-{size}-224": f"convnext-{size}" for size in ("tiny", "small", "base")},
}
PUBLISHED |= {f"microsoft/{name}": ours for name, ours in PUBLISHED.items() if name.startswith("swinv2")}
Strategy = Literal["star_only", "pretrain", "finetune", "cotrain"]
STRATEGIES = get_args(Strategy)
PRETRAIN, FINETUNE, COTRAIN = STRATEGIES[1:]


@dataclass(frozen=True, kw_only=True)
class StarModel:
    """The network."""

    backbone: FrameBackbone = field(default_factory=lambda: BACKBONES["swinv2-tiny"])
    multi_stage: bool = True  # look at the last three stages, not the last alone
    width: int = 512  # channels of the map that is pooled
    embedding_dim: int = 512  # values of an embedding
    head_depth: int = 3  # linear layers between the pooled map and the embedding
    dropout: float = 0.1  # share of features dropped in the head

    def __post_init__(self) -> None:
        known = PUBLISHED.get(self.backbone.name, self.backbone.name)
        if known in BACKBONES:  # a published name
            named = replace(self.backbone, name=BACKBONES[known].name)
            object.__setattr__(self, "backbone", named)


@dataclass(frozen=True, kw_only=True)
class StarSearch:
    """How the test split is searched beside plain cosine; each way is reported by itself."""

    flips: bool = True  # search by embeddings averaged over mirror images too; those of flank species stay as they are
    # search re-ranked by k-reciprocal neighbours too: queries help each other, so these are no plain search's scores
    rerank: bool = True
    k1: int = 20  # re-ranking: neighbours that must be mutual
    k2: int = 6  # re-ranking: neighbours whose neighbourhoods are averaged
    share: float = 0.3  # re-ranking: share of the plain distance in the final one
    # search by expanded queries too: so many of the nearest are added to each query (alpha query expansion); 0: not
    expand: int = 0
    expand_alpha: float = 3.0  # expansion: a neighbour weighs its cosine to the power of this
    # so many of the nearest are ordered anew by local features of the two photographs, as another way (OpenCV's SIFT); 0: not
    local: int = 0
    top: int = 20  # nearest photographs kept of a query

    def __post_init__(self) -> None:
        Reranking(k1=self.k1, k2=self.k2, share=self.share)  # checks them
        Expansion(count=self.expand or 1, alpha=self.expand_alpha)
        if not 0 <= self.local <= self.top:
            raise ValueError(f"search.local={self.local} must be 0, for none, to search.top={self.top}")

    def search_options(self, *, beside: bool, within_dataset: bool) -> SearchOptions:
        """The search of a split; with what is beside plain search where both `beside` and the options say so."""
        reranking = Reranking(k1=self.k1, k2=self.k2, share=self.share) if beside and self.rerank else None
        expansion = Expansion(count=self.expand, alpha=self.expand_alpha) if beside and self.expand else None
        return SearchOptions(
            within_dataset=within_dataset,
            reranking=reranking,
            expansion=expansion,
            local=self.local if beside else 0,
            top=self.top,
        )


@dataclass(frozen=True, kw_only=True)
class StarOptions:
    """Everything of the star task beside the run."""

    # stars alone; pretrain (data: wildlife); finetune (from a checkpoint on); cotrain (both at once)
    strategy: Strategy = "star_only"
    checkpoint: str | None = None  # finetune: a run folder, or its best.pth, whose weights training starts from
    wildlife: str | None = None  # cotrain: shards of `tarpon pack wildlife`, beside the stars in data
    star_batch_ratio: float = 0.3  # cotrain: share of the photographs that are stars
    alternate_batches: bool = False  # cotrain: whole batches of either set in turn; star_batch_ratio has no effect
    num_instances: int = 4  # photographs of an identity in a batch
    include_distractors: bool = True  # identities with one session train too, as negatives of the others
    model: StarModel = field(default_factory=StarModel)
    loss: MetricLoss = field(default_factory=MetricLoss)
    augment_star: PhotoAugment = field(default_factory=photo_augment.underwater)
    augment_wildlife: PhotoAugment = field(default_factory=photo_augment.wildlife)
    search: StarSearch = field(default_factory=StarSearch)
    plan: PlanKind = "rows"  # what the order of training is made of; shards: for sets that a process should not hold whole

    def __post_init__(self) -> None:
        check_plan(self.plan)
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy={self.strategy!r} must be one of {', '.join(STRATEGIES)}")
        if (self.strategy == FINETUNE) != (self.checkpoint is not None):
            raise ValueError(
                f"strategy={self.strategy} and checkpoint={self.checkpoint}: finetune needs --checkpoint RUN, "
                f"the others start from the backbone's own weights"
            )
        if (self.strategy == COTRAIN) != (self.wildlife is not None):
            raise ValueError(
                f"strategy={self.strategy} and wildlife={self.wildlife}: cotrain needs --wildlife SHARDS beside the stars in "
                f"--data, the others train on --data alone"
            )
        if self.num_instances < 2:
            raise ValueError(f"num_instances={self.num_instances} must be at least 2: a pair of an animal's photographs")
        if not 0 < self.star_batch_ratio < 1:
            raise ValueError(f"star_batch_ratio={self.star_batch_ratio} must be between 0 and 1")


SPELLINGS: dict[str, tuple[str, ...]] = {  # the options of the published trainers
    "model": ("model.backbone.name",),
    "backbone": ("model.backbone.name",),
    "image_size": ("model.backbone.image_size",),
    "embedding_dim": ("model.embedding_dim",),
    "batch_size": ("micro_batch", "global_batch"),
    "lr": ("optim.lr",),
    "weight_decay": ("optim.weight_decay",),
    "warmup_epochs": ("schedule.warmup_epochs",),
    "circle_weight": ("loss.circle_weight",),
    "triplet_weight": ("loss.triplet_weight",),
    "num_workers": ("loader.threads",),
    "checkpoint_dir": ("out",),
    "val_every": ("eval_every",),
    "no_amp": ("engine.dtype=fp32",),
    # ours by the same name, which theirs spell with dashes
    **{name: (name,) for name in ("freeze_backbone_epochs", "num_instances", "star_batch_ratio", "alternate_batches")},
}
PACK_FIRST = "the data are packed first: `tarpon pack star` or `tarpon pack wildlife`, then --data SHARDS"
PACK_SAYS = "what is in the shards, and its split, is chosen when packing; see `tarpon pack star --help`"
REFUSED: dict[str, str] = {
    **dict.fromkeys(("star_dataset_root", "wildlife_root"), PACK_FIRST),
    **dict.fromkeys(("include_datasets", "exclude_datasets", "split_strategy", "train_outing_ratio", "min_outings"), PACK_SAYS),
    "gpus": "say them to the launcher: deepspeed --include localhost:0,1 train/launch.py star",
}
IDLE = {"device": device_option.contradiction}
