"""What the trainer knows of a problem: two records of values and functions, no methods to override.

A `Task` is known before any data: its options and how it is built. A `Problem` is a task with its data: what the loop runs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tarpon.train.config import Recipe, Run

if TYPE_CHECKING:  # a command line is read by these records, and PyTorch takes seconds to import
    import numpy as np
    from torch import Tensor, nn

Batch = Mapping[str, "Tensor"]
Outputs = Mapping[str, "Tensor"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """One evaluation of one split."""

    scalars: dict[str, float]  # the contract's metrics in snake case
    save: Callable[[Path], None]  # write the predictions it was computed from, or this rank's share of them
    rows: object  # scored answers: what the task's figures are drawn from
    files: int = 1  # that the predictions are saved in: one, or one of each rank
    suffix: str = ".npz"  # of their names
    pr_curves: Callable[[], dict[str, tuple["np.ndarray", "np.ndarray"]]] = dict  # name -> (N,) bool truth, (N,) scores


class Metric(Protocol):
    """Collects a split's outputs on one rank; the parts of all ranks make the result. It may be one that `KeepsAnswers`."""

    def add(self, out: Outputs, batch: Batch) -> None:
        """Take in a batch; rows of -1 are padding."""

    def part(self) -> object:
        """What the scores need of all that this rank has taken in; must pickle."""

    def read(self, parts: list) -> Result:
        """The result of the parts of all ranks."""


@runtime_checkable
class KeepsAnswers(Protocol):
    """A metric whose ranks keep their own answers and write them, each its own file; of any other rank 0 writes all."""

    def save(self, path: Path) -> None:
        """Write this rank's answers: to `path` where it is alone, else to `prediction_files.share_path`."""


class DataSource(Protocol):
    """Batches on one rank: `TaskData`, or what a test gives in its place."""

    steps_per_epoch: int
    wait_s: float  # seconds the training loader has made the loop wait

    def measure_augment_share(self) -> float | None:
        """Of the time that decoding and augmenting take, the share of augmenting; None where that is not known."""

    def batches(self, epoch: int, skip: int) -> Iterator[Batch]:
        """Endless training batches after the first `skip` micro-batches of an epoch."""

    def split(self, name: str) -> Iterator[Batch]:
        """Batches of "train" | "val" | "test", equally many on every rank."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """A task with its data, on one rank."""

    model: "nn.Module"
    inputs: tuple[str, ...]  # batch fields that model.forward takes, by name
    groups: dict[str, dict[str, "nn.Parameter"]]  # as Engine wants them
    freeze: Callable[[bool], None]  # hold the backbone still, or let it learn
    loss: Callable[[Outputs, Batch], dict[str, "Tensor"]]  # named scalar terms; the loop adds them up
    data: DataSource
    splits: tuple[str, ...]  # what there is to score: "val", and "test" where the data have one
    metric: Callable[[str], Metric]
    # a result's rows -> name -> (H, W, 3) uint8, for TensorBoard
    figures: Callable[[object], dict[str, "np.ndarray"]] = lambda rows: {}
    select: str  # the validation scalar that picks the best weights; higher is better
    main: tuple[str, ...] = ()  # the few other scalars to look at first
    count: Callable[[Batch], int]  # samples in a batch, in `unit`; padding counts too
    unit: str  # what is counted, plural: throughput is logged as <unit>_per_s
    fingerprint: str  # of the data and their order; a resumed run must have the same
    summary_lines: tuple[str, ...]  # printed at the start: data, model, warnings
    export: Callable[[Path, Mapping[str, "Tensor"], dict[str, dict[str, float]]], None]  # (run folder, best weights, scores)
    # the network's inputs by name, on the CPU, shaped as in training and without meaning; None: it has no `run_head`
    sample: Callable[[], dict[str, "Tensor"]] | None = None
    keys: Sequence[str] = ()  # key of each row of the data, to name a batch by; none: rows are named by number
    # what else a run goes on with, as JSON: this process's own, and all processes' of the run that is gone on with
    memory: Callable[[], dict] = dict
    remember: Callable[[list[dict]], None] = lambda held: None
    encoders: dict = field(default_factory=dict)  # names of labels and inputs by number, kept in the run folder


@dataclass(frozen=True, kw_only=True)
class Task:
    """A kind of problem."""

    options: type  # frozen dataclass of the task's own options
    recipe: Callable[[], Recipe]  # the full default run
    does: str = ""  # what is learnt from what, in a line of --help
    first: tuple[str, ...] = ()  # its options on the first screen of --help, after those of every run
    check: Callable[[Run, object], None] = lambda run, options: None  # refuses, quickly, data that cannot be right
    # (Run, options, DistContext, encoders=those of the run that is gone on with or scored, or None)
    build: Callable[..., Problem]
    name: Callable[[Run, object], str]  # what to call a run with these options
    named_folder: bool = False  # a run makes a folder of its own, its name and the time, in --out
    without_download: Callable[[object], object]  # options for a model whose weights are loaded over it
    spellings: dict[str, tuple[str, ...]] = field(default_factory=dict)  # other names for options: theirs -> ours, dotted
    refused: dict[str, str] = field(default_factory=dict)  # names of theirs that nothing takes -> what to do
    idle: dict[str, Callable[[str], str]] = field(default_factory=dict)  # names of theirs for what is done anyway
    published: Callable[[str], dict | None] = lambda path: None  # a file of their own layout -> our options, dotted; else None
