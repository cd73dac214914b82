"""A task's data on one rank: which samples it trains on and evaluates, and the pipelines that deliver them.

One way for all tasks: a plan's slots or a split's rows become work, a loader makes batches of the work, and `finish` adds
what no pipeline knows (labels of a table).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tarpon.pipelines.feed import Feed, Fields, SampleReader
from tarpon.pipelines.graph_shell import Graph
from tarpon.pipelines.loader import Batch, Loader
from tarpon.shards.fetch_ahead import FetchAhead
from tarpon.shards.manifest import Manifest
from tarpon.shards.sampling import plan
from tarpon.train.config import Run
from tarpon.train.engine import DistContext, cores
from tarpon.train.quarantine import Quarantine

TRAIN = "train"
TRAIN_AHEAD = 1024  # micro-batches whose tars are fetched early; drawing their rows takes some 10 us each
SPLIT_AHEAD = 64  # of a split: requests are held, not rows alone


class EpochOrder(Protocol):
    """Interface of a plan; `EpochPlan`, `IdentityPlan` and `MixedPlan` have it."""

    def steps(self, global_batch: int) -> int:
        """Optimizer steps of an epoch."""

    def stream(self, epoch: int, *, skip: int, micro: int, accumulation: int, rank: int, world: int) -> Iterator[plan.Slots]:
        """This rank's micro-batches from an epoch on, without end, after the first `skip`."""


class BatchLoader(Protocol):
    """What turns work into batches: `pipelines.loader.Loader`, or `FeatureLoader` where nothing is decoded."""

    wait_s: float  # that callers waited for batches

    def run(self, work: Iterable) -> Iterator[Batch]:
        """A batch for each element of the work, in order."""

    def measure_augment_share(self) -> float | None:
        """Of the time that decoding and augmenting take, the share of augmenting; None where that is not known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskData:
    """Training batches and splits of one rank; each pipeline is built when it is first used."""

    run: Run
    context: DistContext
    order: EpochOrder  # of the training samples
    items: Callable[[str], np.ndarray]  # split -> (N,) int64 what is evaluated, in order
    train_work: Callable[[plan.Slots], Sequence]  # a micro-batch of the plan -> the loader's work
    split_work: Callable[[np.ndarray], Sequence]  # (B,) items of a split, -1 pads -> the loader's work
    make_loader: Callable[[bool], BatchLoader]  # training? -> its pipeline
    finish: Callable[[Batch, str], Batch] = lambda batch, split: batch  # (a pipeline's batch, split) -> the model's
    begins: Callable[[int], bool] = lambda item: True  # whether an item is the first of its trial, which no two processes share
    quarantine: Quarantine | None = None  # of what is read row by row
    ahead: FetchAhead | None = None  # of what may lie in a remote store
    _built: dict[str, BatchLoader] = field(default_factory=dict, init=False)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps, the same on every rank."""
        return self.order.steps(self.run.global_batch)

    @property
    def wait_s(self) -> float:
        """Seconds that training has waited for batches."""
        return self._built[TRAIN].wait_s if TRAIN in self._built else 0.0

    def measure_augment_share(self) -> float | None:
        """Of the training batches; takes some seconds."""
        return self._built[TRAIN].measure_augment_share() if TRAIN in self._built else None

    def batches(self, epoch: int, skip: int) -> Iterator[Batch]:
        """This process's training batches from an epoch on, without end, after the first `skip` of it."""
        slots: Iterator[plan.Slots] = self.order.stream(
            epoch,
            skip=skip,
            micro=self.run.micro_batch,
            accumulation=self.run.accumulation(self.context.world),
            rank=self.context.rank,
            world=self.context.world,
        )
        if self.ahead:
            slots = self.ahead.stream(slots, lambda micro: micro.rows, most=TRAIN_AHEAD)
        return (self.finish(batch, TRAIN) for batch in self._loader(TRAIN).run(map(self.train_work, slots)))

    def split(self, name: str) -> Iterator[Batch]:
        """This process's stretch of a split in its order, as stored; equally many batches on every process."""
        items = self.items(name)
        cuts = plan.cut_stretches(len(items), world=self.context.world, begins=lambda index: self.begins(int(items[index])))
        index_batches = plan.stretch_batches(cuts, micro=self.run.micro_batch, rank=self.context.rank)
        work = (self.split_work(np.where(index >= 0, items[index], -1)) for index in index_batches)
        if self.ahead:
            work = self.ahead.stream(work, lambda asked: np.array([request.row for request in asked]), most=SPLIT_AHEAD)
        return (self.finish(batch, name) for batch in self._loader("split").run(work))

    def _loader(self, name: str) -> BatchLoader:
        if name not in self._built:
            self._built[name] = self.make_loader(name == TRAIN)
        return self._built[name]


def decoding_loader(
    graph: Graph,
    fields: Fields,
    *,
    run: Run,
    context: DistContext,
    manifest: Manifest,
    reader: SampleReader,
    pool: np.ndarray,
    quarantine: Quarantine,
    substitute: bool,
) -> Loader:
    """A DALI pipeline over stored samples, with the run's options.

    Args:
        pool: rows that may stand in for a bad one. quarantine: of the run.
        substitute: False, in evaluation: a bad row is left out and nothing stands in for it.
    """
    return Loader(
        graph,
        Feed(
            manifest,
            reader,
            fields,
            pool=pool,
            budget=quarantine.budget,
            substitute=substitute,
            rejected=quarantine.rejected,
        ),
        device=context.gpu,
        threads=run.loader.threads or cores(context),
        prefetch=run.loader.prefetch,
        decode_batches=run.loader.decode_batches,
    )
