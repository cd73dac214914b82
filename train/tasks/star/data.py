"""The photographs of the star task: one or two packed data sets as one, their rows by what they are for, and the loaders.

R rows of the joined sets, B photographs of a batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from tarpon.pipelines.feed import Feed
from tarpon.pipelines.loader import Batch, Loader
from tarpon.pipelines.photo.feed import PhotoFields, PhotoRequest, photo_requests
from tarpon.pipelines.photo.graph import PhotoGraph
from tarpon.shards.joined import Joined
from tarpon.shards.manifest import open_manifest
from tarpon.shards.quarantine import Budget
from tarpon.shards.reader import Reader
from tarpon.shards.sampling import plan
from tarpon.train.config import Run
from tarpon.train.engine import DistContext, cores
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
        manifests = [open_manifest(root, kind="reid") for root in roots]
        if options.strategy == COTRAIN and manifests[1].card.get("stars"):
            raise ValueError(
                f"{options.wildlife}: holds sea stars, which would train on what the stars' test split asks; "
                f"pack the wildlife set without --keep_seastar"
            )
        cache = Path(run.loader.cache) if run.loader.cache else None
        self.joined = Joined([(manifest, Reader(manifest, cache=cache)) for manifest in manifests])
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
        """(R,) int8: whom a split asks and among whom it searches, as the card's protocol says."""
        own = ~self.second
        gallery = np.isin(self.split, ("train",) if split == "val" else ("train", "val")) & ~self.novel & own
        asked = (self.split == split) & own
        return (asked & ~self.novel) * np.int8(QUERY) + gallery * np.int8(GALLERY) + (asked & self.novel) * np.int8(NEW)

    def training(self, *, distractors: bool) -> list[np.ndarray]:
        """Rows to train on, of each data set."""
        chosen = (self.split == "train") & (distractors | ~self.distractor)
        return [np.flatnonzero(chosen & (self.second == number)) for number in range(len(self.joined.parts))]

    def names(self) -> RowNames:
        keys = [np.array(manifest.column("key")).astype(str) for manifest, _ in self.joined.parts]
        return RowNames(
            key=np.concatenate(keys),
            identity=self.identity,
            outing=np.array(self.joined.column("outing")).astype(str),  # the whole path: one name may be many folders'
            dataset=np.array(self.joined.column("dataset")).astype(str),
        )


class PhotoLoaders:
    """The training and the evaluation pipeline, each built when first used, with the labels of what they deliver."""

    def __init__(self, run: Run, options: StarOptions, photos: Photos, context: DistContext, *, labels: np.ndarray) -> None:
        self._run, self._options, self._photos, self._context = run, options, photos, context
        self._budget = Budget(run.loader.bad_rows)
        wild = photos.second | (options.strategy == PRETRAIN)
        self._sets = 2 * wild.astype(int) + photos.flank  # place in the augments below
        self._augments = tuple(
            augment for own in (options.augment_star, options.augment_wildlife) for augment in (own, own.one_sided())
        )
        self._known = {
            "identity": torch.tensor(labels, device=context.device),
            "anchor": torch.tensor(~photos.distractor, device=context.device),
        }
        self._built: dict[str, Loader] = {}

    @property
    def wait_s(self) -> float:
        return self._built["train"].wait_s if "train" in self._built else 0.0

    def train(self, slots: Iterable[plan.Slots]) -> Iterator[Batch]:
        """Augmented batches of (row, place in the epoch)."""
        work = (
            photo_requests(
                slot.rows,
                augments=self._augments,
                sets=self._sets[slot.rows],
                seed=self._run.seed,
                epoch=slot.epoch,
                slots=slot.slots,
            )
            for slot in slots
        )
        return self._run_loader("train", work, flips=False)

    def split(self, turns: Iterable[np.ndarray], *, flips: bool) -> Iterator[Batch]:
        """Batches of rows as stored; -1 pads."""
        return self._run_loader("split", (photo_requests(rows) for rows in turns), flips=flips)

    def _run_loader(self, name: str, work: Iterable[Sequence[PhotoRequest]], *, flips: bool) -> Iterator[Batch]:
        for out in self._get(name).run(work):
            row = out["row"].to(self._context.device, non_blocking=True)
            known = {label: values[row.clamp(min=0)] for label, values in self._known.items()}
            known["identity"] = known["identity"].masked_fill(row < 0, -1)
            mirrored = torch.from_numpy(~self._photos.flank[out["row"].numpy()]) if flips else NO_FLIPS
            yield {"image": out["image"], "row": row, "flips": mirrored, **known}

    def _get(self, name: str) -> Loader:
        if name not in self._built:
            run, context, backbone = self._run, self._context, self._options.model.backbone
            training, (mean, std) = name == "train", backbone.normalisation()
            fields = PhotoFields(size=backbone.image_size, mean=mean, std=std)
            pool = np.flatnonzero(self._photos.split == "train") if training else np.arange(len(self._photos.joined))
            feed = Feed(self._photos.joined, self._photos.joined, fields, pool=pool, budget=self._budget)
            self._built[name] = Loader(
                PhotoGraph(batch=run.micro_batch, size=backbone.image_size, augment=training),
                feed,
                device=context.gpu,
                threads=run.loader.threads or cores(context),
                prefetch=run.loader.prefetch,
                decode_batches=run.loader.decode_batches,
            )
        return self._built[name]
