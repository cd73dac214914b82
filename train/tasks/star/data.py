"""The photographs of the star task: one or two packed data sets as one, their rows by what they are for, and the loaders.

R rows of the joined sets, B photographs of a batch.
"""

from collections.abc import Callable, Mapping
from functools import cached_property, partial

import numpy as np
import torch

from tarpon.pipelines.loader import Batch, Loader
from tarpon.pipelines.photo.feed import PhotoFields, PhotoRequest, request_photos
from tarpon.pipelines.photo.graph import PhotoGraph
from tarpon.shards.fetch_ahead import FetchAhead
from tarpon.shards.sampling.identity_shard_plan import IdentityShardPlan
from tarpon.shards.sampling.pk_plan import IdentityPlan, MixedPlan
from tarpon.shards.sampling.plan import Slots
from tarpon.train.config import Run
from tarpon.train.data import TaskData, decoding_loader
from tarpon.train.engine import DistContext
from tarpon.train.quarantine import Quarantine
from tarpon.train.tasks.star.metrics.embeddings import RowNames
from tarpon.train.tasks.star.opening import find_flanks, join_photos, read_protocol
from tarpon.train.tasks.star.options import COTRAIN, PRETRAIN, StarOptions
from tarpon.train.tasks.star.roles import has_role, searched_roles
from tarpon.train.tasks.star.stored_photos import StoredPhotos

NO_FLIPS = torch.zeros(0, dtype=torch.bool)


class Photos:
    """The data sets of a run, held whole; stars come first where there are two."""

    def __init__(self, run: Run, options: StarOptions) -> None:
        """Open them; errors as of `join_photos`."""
        self.joined = join_photos(run, options)
        self.scored = self.joined.parts[0][0]  # the set whose splits are searched
        self.within_dataset, self.protocol = read_protocol(self.scored)
        self.identity = np.array(self.joined.column("identity")).astype(str)
        self.split = np.array(self.joined.column("split")).astype(str)
        self.distractor = np.asarray(self.joined.column("distractor"), bool)
        self.novel = np.asarray(self.joined.column("novel"), bool)
        self.flank = find_flanks(self.joined.column("orientation"))
        self.second = np.arange(len(self.joined)) >= len(self.scored)

    def roles(self, split: str) -> np.ndarray:
        """(R,) int8 role of every row in a split's search, as of `searched_roles`; 0 in the set that is not searched."""
        return searched_roles(self.split, self.novel, split) * ~self.second

    def count_role(self, split: str, role: int) -> int:
        """Photographs that have a role in a split's search."""
        return int(has_role(self.roles(split), role).sum())

    def training(self, *, distractors: bool) -> list[np.ndarray]:
        """Rows to train on, of each data set, (n,) int64 ascending."""
        trained = (self.split == "train") & (distractors | ~self.distractor)
        return [np.flatnonzero(trained & (self.second == number)) for number in range(len(self.joined.parts))]

    def list_identities(self, *, distractors: bool) -> list[str]:
        """Names of all animals that are trained on, sorted."""
        return sorted(set(self.identity[np.concatenate(self.training(distractors=distractors))].tolist()))

    def count_training(self, *, distractors: bool) -> list[tuple[int, int]]:
        """(photographs, animals) trained on, of each data set."""
        return [(len(own), len(set(self.identity[own]))) for own in self.training(distractors=distractors)]

    def order(self, options: StarOptions, *, identities: list[str], seed: int) -> IdentityPlan | MixedPlan:
        """P x K batches of the one data set, or of both mixed."""
        rows = self.training(distractors=options.include_distractors)
        return training_order(rows, number_identities(self.identity, identities), options, seed=seed)

    def find_flanks(self, rows: np.ndarray) -> np.ndarray:
        """(n,) bool: which of some rows show one side of an animal."""
        return self.flank[rows]

    @property
    def pool(self) -> np.ndarray:
        """Rows that may stand in for a bad one in training."""
        return np.flatnonzero(self.split == "train")

    def make_finish(self, identities: list[str], *, flips: bool, device: torch.device) -> Callable[[Batch, str], Batch]:
        """What makes a loader's batch the model's; labels lie on the device."""
        columns = {
            "identity": torch.tensor(number_identities(self.identity, identities), device=device),
            "anchor": torch.tensor(~self.distractor, device=device),
        }
        return partial(finish_photos, columns=columns, flank=self.flank, flips=flips, device=device)

    @cached_property
    def keys(self) -> np.ndarray:
        """(R,) str key of every row in its own data set."""
        return np.concatenate([np.array(manifest.column("key")).astype(str) for manifest, _ in self.joined.parts])

    def names(self) -> RowNames:
        """Key, identity, outing and data set of every row."""
        return RowNames(
            key=self.keys,
            identity=self.identity,
            outing=np.array(self.joined.column("outing")).astype(str),  # the whole path: one name may be many folders'
            dataset=np.array(self.joined.column("dataset")).astype(str),
        )


def star_data(
    run: Run,
    options: StarOptions,
    context: DistContext,
    *,
    photos: Photos | StoredPhotos,
    order: IdentityPlan | MixedPlan | IdentityShardPlan,
    identities: list[str],
) -> TaskData:
    """Augmented photographs for training, photographs as stored for a split.

    Args:
        identities: in the order of their numbers.
    """
    quarantine = Quarantine(run, context)
    augments = tuple(
        augment for own in (options.augment_star, options.augment_wildlife) for augment in (own, own.without_mirroring())
    )

    def train_work(slots: Slots) -> list[PhotoRequest]:
        wild = (slots.rows >= len(photos.scored)) | (options.strategy == PRETRAIN)
        sets = 2 * wild.astype(int) + photos.find_flanks(slots.rows)  # index into `augments`
        draw = {"augments": augments, "sets": sets, "seed": run.seed, "epoch": slots.epoch, "slots": slots.slots}
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
            pool=photos.pool if training else range(len(photos.joined)),
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
        finish=photos.make_finish(identities, flips=options.search.flips, device=context.device),
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
