"""The photographs of data sets that are planned by their shards, known by the animals that each shard counts.

R rows of the joined data sets, S shards of one, E entries (an animal in a shard's split).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from tarpon.pipelines.loader import Batch
from tarpon.shards.by_shard import ByShard
from tarpon.shards.joined import JoinedDatasets
from tarpon.shards.lazy_manifest import ChosenRows, LazyManifest
from tarpon.shards.manifest import SPLITS, Manifest, list_cells
from tarpon.shards.sampling.identity_index import IdentityIndex
from tarpon.shards.sampling.identity_shard_plan import IdentityShardPlan
from tarpon.shards.sampling.mix import Mix
from tarpon.shards.sources.star.summary import IMAGES, KIND
from tarpon.train.config import Run
from tarpon.train.tasks.star.metrics.embeddings import WORDS, RowNames
from tarpon.train.tasks.star.opening import find_flanks, join_photos, read_protocol
from tarpon.train.tasks.star.options import COTRAIN, StarOptions
from tarpon.train.tasks.star.roles import has_role, searched_roles

FACTS = ("identity", "distractor", "orientation")  # columns that a photograph's place in training depends on


@dataclass(frozen=True, kw_only=True, eq=False)
class Entries:
    """Animals of one split in each shard, (E,) each, by shard."""

    shard: np.ndarray  # int64
    name: pa.Array  # of identities
    distractor: np.ndarray  # bool
    novel: np.ndarray  # bool
    images: np.ndarray  # int64

    def take(self, which: np.ndarray) -> "Entries":
        """Some of them: (E,) bool."""
        arrays = {name: getattr(self, name)[which] for name in ("shard", "distractor", "novel", "images")}
        return Entries(name=self.name.filter(pa.array(which)), **arrays)


def read_entries(manifest: LazyManifest, split: str) -> Entries:
    """The animals of a split, from `shards.parquet`."""
    told = {name: list_cells(manifest.summary(split, name)) for name in ("distractor", "novel", IMAGES)}
    names = pc.list_flatten(manifest.summary(split, KIND[0][0])).combine_chunks()
    return Entries(
        shard=np.repeat(np.arange(len(manifest.tars)), np.diff(told[IMAGES][1])),
        name=names if isinstance(names, pa.Array) else pa.concat_arrays(names.chunks),
        distractor=told["distractor"][0],
        novel=told["novel"][0],
        images=told[IMAGES][0].astype(np.int64),
    )


class StoredPhotos:
    """As `Photos`."""

    def __init__(self, run: Run, options: StarOptions) -> None:
        """Open them; errors as of `Photos`."""
        self.joined: JoinedDatasets = join_photos(run, options)
        self.sets: list[LazyManifest] = [manifest for manifest, _ in self.joined.parts]
        self.scored = self.sets[0]
        self.within_dataset, self.protocol = read_protocol(self.scored)
        self.entries = [{split: read_entries(manifest, split) for split in SPLITS} for manifest in self.sets]

    def list_identities(self, *, distractors: bool) -> list[str]:
        """Names of all animals that are trained on, sorted."""
        names = [pc.unique(own.name).to_pylist() for own in self._trained(distractors)]
        return sorted(set().union(*names))

    def _trained(self, distractors: bool) -> list[Entries]:
        """What is trained on, of each set."""
        return [own["train"].take(distractors | ~own["train"].distractor) for own in self.entries]

    def order(self, options: StarOptions, *, identities: list[str], seed: int) -> IdentityShardPlan:
        """P x K batches of the one data set, or of both mixed; the same whatever `identities` are numbered."""
        trained = self._trained(options.include_distractors)
        sets = [
            make_index(manifest, own, distractors=options.include_distractors, instances=options.num_instances)
            for manifest, own in zip(self.sets, trained, strict=True)
        ]
        if options.strategy != COTRAIN:
            return IdentityShardPlan(sets=(sets[0],), seed=seed)
        mix = Mix(share=options.star_batch_ratio, alternate=options.alternate_batches)
        offsets = (int(self.joined.offsets[1]), 0)
        return IdentityShardPlan(sets=(sets[1], sets[0]), seed=seed, mix=mix, offsets=offsets)

    def count_training(self, *, distractors: bool) -> list[tuple[int, int]]:
        """(photographs, animals) trained on, of each set."""
        return [(int(own.images.sum()), pc.count_distinct(own.name).as_py()) for own in self._trained(distractors)]

    def count_role(self, split: str, role: int) -> int:
        """Photographs that have a role in a split's search."""
        return sum(
            int(own.images[has_role(searched_roles(np.full(len(own.novel), name), own.novel, split), role)].sum())
            for name, own in self.entries[0].items()
        )

    def roles(self, split: str) -> np.ndarray:
        """(R,) int8 as of `Photos.roles`; reads the shards in which not all rows are alike."""
        found = np.zeros(len(self.joined), np.int8)
        known = ByShard(manifest=self.scored, make=_split_and_novel, columns=("split", "novel"), held=1)
        lines = {name: self.scored.lines[name].to_numpy() for name in ("rows", *SPLITS)}
        new = {
            name: np.bincount(own.shard, weights=own.images * own.novel, minlength=len(self.scored.tars)).astype(np.int64)
            for name, own in self.entries[0].items()
        }
        for shard, rows in enumerate(lines["rows"].tolist()):
            alike = [name for name in SPLITS if lines[name][shard] == rows and new[name][shard] in (0, rows)]
            whole = (np.array(alike), new[alike[0]][shard : shard + 1] > 0) if alike else known.of(shard)
            first = self.scored.first_row(shard)
            found[first : first + rows] = searched_roles(*whole, split)
        return found

    def find_flanks(self, rows: np.ndarray) -> np.ndarray:
        """As `Photos.find_flanks`."""
        return self._flanks.take(rows)[0]

    @cached_property
    def _flanks(self) -> "ByPart":
        return self._by_part(lambda held, _first: (find_flanks(held.column("orientation")),))

    def _by_part(self, make: Callable[[Manifest, int], tuple[np.ndarray, ...]]) -> "ByPart":
        return ByPart(self.joined, [ByShard(manifest=own, make=make) for own in self.sets])

    @property
    def pool(self) -> ChosenRows:
        """Rows that may stand in for a bad one in training."""
        counts = [manifest.split_counts("train") for manifest in self.sets]
        ends = np.cumsum([len(own) for own in counts])

        def rows_of(shard: int) -> np.ndarray:
            number = int(np.searchsorted(ends, shard, side="right"))
            inside = shard - (int(ends[number - 1]) if number else 0)
            return self.sets[number].split_rows("train", inside) + int(self.joined.offsets[number])

        return ChosenRows(np.concatenate(counts), rows_of)

    def make_finish(self, identities: list[str], *, flips: bool, device: torch.device) -> Callable[[Batch, str], Batch]:
        """What makes a loader's batch the model's; labels are looked up by row."""
        number = {name: place for place, name in enumerate(identities)}
        facts = self._by_part(partial(_facts, number=number))
        return partial(finish_stored_photos, facts=facts, flips=flips, device=device)

    def names(self) -> "StoredNames":
        """Key, identity, outing and data set of every row, read at the first look."""
        return StoredNames(self.sets)

    @property
    def keys(self) -> "StoredKeys":
        """Key of each row in its own data set."""
        return StoredKeys(self.joined)


def make_index(manifest: LazyManifest, trained: Entries, *, distractors: bool, instances: int) -> IdentityIndex:
    """The index of what is trained on. trained: by shard, without what `distractors` leaves out."""
    coded = pc.dictionary_encode(trained.name)
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    identity = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.searchsorted(trained.shard, np.arange(len(manifest.tars) + 1))

    def members(held: Manifest, first: int) -> tuple[np.ndarray, np.ndarray]:
        shard = int(manifest.tar_numbers(np.array([first]))[0])
        own = slice(int(ends[shard]), int(ends[shard + 1]))
        taken = np.array(held.column("split")) == "train"
        if not distractors:
            taken &= ~np.asarray(held.column("distractor"), bool)
        rows = np.flatnonzero(taken)
        names = pc.index_in(held.table["identity"].take(pa.array(rows)), value_set=trained.name[own])
        codes = identity[own][names.to_numpy()]
        order = np.argsort(codes, kind="stable")
        return codes[order], first + rows[order]

    by_identity = np.lexsort((trained.shard, identity))
    identities, shards = identity[by_identity], trained.shard[by_identity]
    # an animal may be counted twice in a shard, as a distractor and not, or novel and not
    begins = np.flatnonzero((np.diff(identities, prepend=-1) != 0) | (np.diff(shards, prepend=-1) != 0))
    return IdentityIndex(
        identity=identities[begins],
        shard=shards[begins],
        images=np.add.reduceat(trained.images[by_identity], begins) if len(begins) else begins,
        shards=len(manifest.tars),
        members=ByShard(manifest=manifest, make=members).of,
        instances=instances,
    )


class ByPart:
    """Arrays by row of the joined sets."""

    def __init__(self, joined: JoinedDatasets, by_shard: list[ByShard]) -> None:
        self._joined, self._by_shard = joined, by_shard

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of (n,) rows, one or more, in their order."""
        part = np.searchsorted(self._joined.offsets, rows, side="right") - 1
        order = np.argsort(part, kind="stable")
        found = [
            self._by_shard[number].take(rows[part == number] - self._joined.offsets[number])
            for number in np.unique(part).tolist()
        ]
        back = np.argsort(order)
        return tuple(np.concatenate(arrays)[back] for arrays in zip(*found, strict=True))


def finish_stored_photos(out: Batch, split: str, *, facts: ByPart, flips: bool, device: torch.device) -> Batch:
    """As `data.finish_photos`. facts: identity number, anchor and flank of each row."""
    rows = out["row"].numpy()
    identity, anchor, flank = facts.take(np.maximum(rows, 0))
    held = {"identity": np.where(rows < 0, -1, identity), "anchor": anchor, "row": rows}
    batch = {name: torch.from_numpy(values).to(device, non_blocking=True) for name, values in held.items()}
    mirrored = ~flank if split == "test" and flips else np.zeros(0, bool)
    return {"image": out["image"], "flips": torch.from_numpy(mirrored), **batch}


class StoredNames:
    """As `RowNames`: the words of all rows, for the search of a split, which holds an embedding of each as well."""

    def __init__(self, sets: list[LazyManifest]) -> None:
        self._sets = sets

    @cached_property
    def _all(self) -> RowNames:
        parts = [
            manifest.open_rows(shard).read(list(WORDS), use_threads=False)
            for manifest in self._sets
            for shard in range(len(manifest.tars))
        ]
        table = pa.concat_tables(parts)
        return RowNames(**{name: table[name].to_numpy().astype(str) for name in WORDS})

    def __getattr__(self, name: str) -> np.ndarray:
        if name not in WORDS:
            raise AttributeError(name)
        return getattr(self._all, name)


class StoredKeys:
    """keys[row]"""

    def __init__(self, joined: JoinedDatasets) -> None:
        self._joined = joined

    def __len__(self) -> int:
        return len(self._joined)

    def __getitem__(self, row: int) -> str:
        part = self._joined.find_part(int(row))
        return str(self._joined.parts[part][0].value(int(row) - int(self._joined.offsets[part]), "key"))


def _split_and_novel(held: Manifest, _first: int) -> tuple[np.ndarray, np.ndarray]:
    return np.array(held.column("split")).astype(str), np.asarray(held.column("novel"), bool)


def _facts(held: Manifest, _first: int, *, number: Mapping[str, int]) -> tuple[np.ndarray, ...]:
    names, distractor, orientation = (held.column(name) for name in FACTS)
    known = np.array([number.get(name, -1) for name in names], np.int64)
    return known, ~np.asarray(distractor, bool), find_flanks(orientation)
