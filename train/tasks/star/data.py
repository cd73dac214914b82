"""The photographs of the star task: one or two packed data sets as one, their rows by what they are for, and the loaders.

R rows of the joined sets, B photographs of a batch.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch

from tarpon.pipelines.loader import Batch, Loader
from tarpon.pipelines.photo.feed import PhotoFields, PhotoRequest, request_photos
from tarpon.pipelines.photo.graph import PhotoGraph
from tarpon.shards.fetch_ahead import FetchAhead
from tarpon.shards.joined import JoinedDatasets
from tarpon.shards.manifest import open_manifest
from tarpon.shards.reader import Reader
from tarpon.shards.sampling.pk_plan import IdentityPlan, MixedPlan
from tarpon.shards.sampling.plan import Slots
from tarpon.train.config import Run
from tarpon.train.data import TaskData, decoding_loader
from tarpon.train.engine import DistContext
from tarpon.train.quarantine import Quarantine
from tarpon.train.tasks.star.metrics.embeddings import GALLERY, NEW, QUERY, RowNames
from tarpon.train.tasks.star.options import COTRAIN, PRETRAIN, StarOptions

FLANKS = ("left", "right")  # orientations of an animal that a mirror image would turn into the other one
NO_FLIPS = torch.zeros(0, dtype=torch.bool)


class Photos:
    """The data sets of a run; stars come first where there are two."""

    def __init__(self, run: Run, options: StarOptions) -> None:
        """Open them.

        Raises:
            ValueError: the wildlife set holds sea stars, which the stars' own test may show again.
        """
        roots = [run.data] + ([options.wildlife] if options.strategy == COTRAIN else [])
        manifests = [open_manifest(root, kind="reid", cache=run.loader.tar_cache()) for root in roots]
        if options.strategy == COTRAIN and manifests[1].card.get("stars"):
            raise ValueError(
                f"{options.wildlife}: holds sea stars, which would train on what the stars' test split asks; "
                f"pack the wildlife set without --keep_seastar"
            )
        always = run.loader.verify_always
        self.joined = JoinedDatasets([(manifest, Reader(manifest, always=always)) for manifest in manifests])
        self.scored = manifests[0]  # the set whose splits are searched
        self.within_dataset = not self.scored.card["stars"]  # as published: stars all together, wildlife by data set
        self.protocol = self.scored.card["protocol"] + ("; each within its own data set" if self.within_dataset else "")
        self.identity = np.array(self.joined.column("identity")).astype(str)
        self.split = np.array(self.joined.column("split")).astype(str)
        self.distractor = np.asarray(self.joined.column("distractor"), bool)
        self.novel = np.asarray(self.joined.column("novel"), bool)
        self.flank = np.isin(np.char.lower(np.array(self.joined.column("orientation")).astype(str)), FLANKS)
        self.second = np.arange(len(self.joined)) >= len(self.scored)

    def roles(self, split: str) -> np.ndarray:
        """(R,) int8 role of every row in a split's search: QUERY, GALLERY, both added up, NEW or 0.

        The gallery is train for val, train and val for test; queries whose animal is not in it are NEW.
        """
        own = ~self.second
        gallery = np.isin(self.split, ("train",) if split == "val" else ("train", "val")) & ~self.novel & own
        queries = (self.split == split) & own
        return (queries & ~self.novel) * np.int8(QUERY) + gallery * np.int8(GALLERY) + (queries & self.novel) * np.int8(NEW)

    def check_validation(self) -> None:
        """ValueError where no query of val has a match in train: the best weights could not be chosen."""
        if not (self.roles("val") & QUERY).any():
            raise ValueError(
                f"{self.scored.root}: no photograph of the val split is of an animal in train; the best weights could not be "
                f"chosen. Pack data with three sessions or more of some animals"
            )

    def training(self, *, distractors: bool) -> list[np.ndarray]:
        """Rows to train on, of each data set, (n,) int64 ascending."""
        trained = (self.split == "train") & (distractors | ~self.distractor)
        return [np.flatnonzero(trained & (self.second == number)) for number in range(len(self.joined.parts))]

    def names(self) -> RowNames:
        """Key, identity, outing and data set of every row."""
        keys = [np.array(manifest.column("key")).astype(str) for manifest, _ in self.joined.parts]
        return RowNames(
            key=np.concatenate(keys),
            identity=self.identity,
            outing=np.array(self.joined.column("outing")).astype(str),  # the whole path: one name may be many folders'
            dataset=np.array(self.joined.column("dataset")).astype(str),
        )


def star_data(
    run: Run,
    options: StarOptions,
    context: DistContext,
    *,
    photos: Photos,
    order: IdentityPlan | MixedPlan,
    labels: np.ndarray,
) -> TaskData:
    """Augmented photographs for training, photographs as stored for a split.

    Args:
        labels: (R,) int64 number of each row's identity, -1 for one that is not trained on.
    """
    quarantine = Quarantine(run, context)
    wild = photos.second | (options.strategy == PRETRAIN)
    sets = 2 * wild.astype(int) + photos.flank  # index into `augments`
    augments = tuple(
        augment for own in (options.augment_star, options.augment_wildlife) for augment in (own, own.without_mirroring())
    )
    columns = {
        "identity": torch.tensor(labels, device=context.device),
        "anchor": torch.tensor(~photos.distractor, device=context.device),
    }

    def train_work(slots: Slots) -> list[PhotoRequest]:
        draw = {"augments": augments, "sets": sets[slots.rows], "seed": run.seed, "epoch": slots.epoch, "slots": slots.slots}
        return request_photos(slots.rows, **draw)

    def make_loader(training: bool) -> Loader:
        backbone = options.model.backbone
        mean, std = backbone.normalisation()
        return decoding_loader(
            PhotoGraph(batch=run.micro_batch, size=backbone.image_size, augment=training),
            PhotoFields(size=backbone.image_size, mean=mean, std=std),
            run=run,
            context=context,
            manifest=photos.joined,
            reader=photos.joined,
            pool=np.flatnonzero(photos.split == "train") if training else np.arange(len(photos.joined)),
            quarantine=quarantine,
            substitute=training,
        )

    return TaskData(
        run=run,
        context=context,
        order=order,
        items=lambda split: np.flatnonzero(photos.roles(split)),
        train_work=train_work,
        split_work=request_photos,
        make_loader=make_loader,
        quarantine=quarantine,
        ahead=FetchAhead(photos.joined.parts),
        finish=partial(finish_photos, columns=columns, flank=photos.flank, flips=options.search.flips, device=context.device),
    )


def finish_photos(
    out: Batch, split: str, *, columns: Mapping[str, torch.Tensor], flank: np.ndarray, flips: bool, device: torch.device
) -> Batch:
    """A loader's batch as the model's: image (B, 3, S, S), identity, anchor, row (B,), flips (B,) bool: embed mirrored too.

    Args:
        columns: identity, anchor -> (R,) of every row, on the device. flank: (R,) bool, shows one side of an animal.
        flips: whether the test split is searched by mirror images as well.
    """
    row = out["row"].to(device, non_blocking=True)
    labels_of_rows = {name: values[row.clamp(min=0)] for name, values in columns.items()}
    labels_of_rows["identity"] = labels_of_rows["identity"].masked_fill(row < 0, -1)
    with_flips = split == "test" and flips
    mirrored = torch.from_numpy(~flank[out["row"].clamp(min=0).numpy()]) if with_flips else NO_FLIPS
    return {"image": out["image"], "row": row, "flips": mirrored, **labels_of_rows}


def number_identities(names: np.ndarray, identities: list[str]) -> np.ndarray:
    """(R,) int64 index of each name in `identities`, which is sorted; -1 where it is not among them."""
    known = np.array(identities)
    index = np.searchsorted(known, names).clip(max=len(known) - 1)
    return np.where(known[index] == names, index, -1).astype(np.int64)


def training_order(rows: list[np.ndarray], labels: np.ndarray, options: StarOptions, *, seed: int) -> IdentityPlan | MixedPlan:
    """P x K batches of the one data set, or of both mixed."""
    plans = [
        IdentityPlan(rows=own, identities=labels[own], seed=seed + number, instances=options.num_instances)
        for number, own in enumerate(rows)
    ]
    if options.strategy != COTRAIN:
        return plans[0]
    stars, wildlife = plans
    return MixedPlan(first=wildlife, second=stars, share=options.star_batch_ratio, alternate=options.alternate_batches)


def order_key(options: StarOptions) -> str:
    """The options that the order of photographs depends on, as a part of the run's fingerprint."""
    mix = f"{options.star_batch_ratio}:{options.alternate_batches}" if options.strategy == COTRAIN else ""
    return f"{options.num_instances}:{options.include_distractors}:{mix}"
