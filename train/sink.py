"""Where scalars, pictures and curves go: metrics.jsonl, TensorBoard, Weights & Biases, or nowhere. All share their methods."""

import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tarpon.shards import atomic

Value = bool | int | float | str | None  # of an option


class JsonLines:
    """One JSON object a line: {"step", "epoch", names...}. A resumed run cuts off what was written past its step.

    The file is never written anew: it is cut at the end of the last line that stays.

    Attributes:
        last: the names of each line of the step that is gone on from: they are not written twice.
    """

    def __init__(self, path: Path, *, keep_to: int) -> None:
        self.last: set[tuple[int, tuple[str, ...]]] = set()
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  open for the run's whole life, closed by close()
        end = 0
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                step, names = (held := json.loads(line))["step"], tuple(sorted(held))
            except (ValueError, KeyError, TypeError):
                break  # a line cut by a kill
            if step > keep_to or not line.endswith(b"\n"):
                break  # steps only grow
            end += len(line)
            self.last |= {(step, names)} if step == keep_to else set()
        os.ftruncate(self._file.fileno(), end)
        os.fsync(self._file.fileno())

    def write(self, step: int, scalars: Mapping[str, float], *, epoch: int) -> None:
        self._file.write((json.dumps({"step": step, "epoch": epoch, **scalars}) + "\n").encode())

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Pictures have no place in a text file."""

    def pr_curve(self, step: int, name: str, positive: np.ndarray, scores: np.ndarray) -> None:
        """Nor have curves; average precision is among the scalars."""

    def hparams(self, step: int, values: Mapping[str, Value], scores: Mapping[str, float]) -> None:
        """run.yaml and metrics.json hold them."""

    def flush(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Event files under the run folder. A resumed run hides what was written past its step.

    Charts are grouped as `train/`, `speed/`, `time/`, `val/main/` (few) and `val/detail/` (all others). What is known once (the
    scores of the test split) is a table on the TEXT page, for a chart of it would be one point.

    Args:
        keep_to: the step that is gone on from, 0 at the start: its own points stay.
        main: scores of validation to look at first.
    """

    def __init__(self, folder: Path, *, keep_to: int = 0, main: Sequence[str] = ()) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import; only rank 0 needs it

        self._main, self._keep_to = {*main}, keep_to
        threading.excepthook = leave_to_the_next_write
        # TensorBoard drops this step and all after it from the files before; of a start that saved nothing, everything
        self._writer = SummaryWriter(str(folder), purge_step=keep_to + 1 if keep_to else 0)

    def write(self, step: int, scalars: Mapping[str, float], *, epoch: int) -> None:
        test = {name: value for name, value in scalars.items() if name.startswith("test/")}
        if test:
            rows = "".join(f"| {name.removeprefix('test/')} | {value:.4f} |\n" for name, value in test.items())
            self._writer.add_text("test", f"| score of the test split | best weights |\n| --- | ---: |\n{rows}", step)
        epochs = {"epoch": epoch} if "loss" in scalars else {}  # once a step, not with every group
        for name, value in {**scalars, **epochs}.items():
            if name not in test:
                self._writer.add_scalar(self._tag(name), value, step)

    def _tag(self, name: str) -> str:
        """Where a name of metrics.jsonl is charted."""
        group, _, rest = name.partition("/")
        if group == "val":
            return f"val/{'main' if rest in self._main else 'detail'}/{rest}"
        if group in ("time", "best"):
            return name
        if name.endswith("_per_s") or group == "loader":
            return f"speed/{rest or name}"
        return f"train/{name}"

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """pixels (H, W, 3) uint8."""
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def pr_curve(self, step: int, name: str, positive: np.ndarray, scores: np.ndarray) -> None:
        """A precision-recall curve with a slider over the steps. positive (N,) bool, scores (N,) in [0, 1]."""
        self._writer.add_pr_curve(name, positive, scores, step)

    def hparams(self, step: int, values: Mapping[str, Value], scores: Mapping[str, float]) -> None:
        """Options and final scores, for the table that compares runs.

        The scores are written as scalars best/<name>, where the table finds them: under their own names they would be points
        of the curves. Each is a level over this part of the run, to be seen in a chart. None is left out.
        """
        from torch.utils.tensorboard.summary import hparams

        best = {f"best/{name}": value for name, value in scores.items()}
        begun = min(self._keep_to + 1, step) if self._keep_to else 0
        for summary in hparams(dict(values), best):  # SummaryWriter.add_hparams would make a second run, a folder below
            self._writer.file_writer.add_summary(summary)
        for name, value in best.items():
            for at in sorted({begun, step}):
                self._writer.add_scalar(name, value, at)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def leave_to_the_next_write(thrown: threading.ExceptHookArgs) -> None:
    """What TensorBoard's thread meets (a full disk) the next write raises again: it is told there, once."""
    if type(thrown.thread).__name__ != "_AsyncWriterThread":
        threading.__excepthook__(thrown)


class WandB:
    """A run on Weights & Biases, or with WANDB_MODE=offline in the run folder, to be sent with `wandb sync` later.

    The run's id is kept in FOLDER/wandb_id.txt, and where there is one that run is gone on with. Weights & Biases takes no step
    twice: what a resumed run does again is left as it was, and it was the same. Offline each part is a folder of its own with
    that id, and `wandb sync` sends those of one run in the order of their start.

    Args:
        folder: the run folder.
        project, entity: where the run belongs; entity None is the user's own default.
        config: options to sort and filter runs by.

    Raises:
        ValueError: wandb is not installed, or refuses (not logged in, unknown project).
    """

    def __init__(
        self,
        folder: Path,
        *,
        project: str,
        entity: str | None = None,
        name: str,
        config: Mapping[str, object],
        tags: Sequence[str] = (),
    ) -> None:
        try:
            from wandb import Error, Image, init
        except ImportError as error:
            raise ValueError("Weights & Biases is not installed: pip install 'tarpon[wandb]', or run without it") from error
        known = folder / "wandb_id.txt"
        self._image = Image
        try:
            self._run = init(
                dir=str(folder),
                project=project,
                entity=entity,
                name=name,
                config=dict(config),
                tags=list(tags),
                id=known.read_text().strip() if known.exists() else None,
                resume="allow",
            )
        except Error as error:
            said = " ".join(str(error).split()).rstrip(".")
            raise ValueError(f"Weights & Biases: {said}; set WANDB_MODE=offline to keep the run here") from error
        if not self._run.disabled:  # WANDB_MODE=disabled: there is no such run to go on with
            atomic.write_text(known, f"{self._run.id}\n")
        self._first = self._run.step  # the next step it takes: 0, or past the last one of the run that is gone on with

    def write(self, step: int, scalars: Mapping[str, float], *, epoch: int) -> None:
        self._log(step, {**scalars, "epoch": epoch})

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """pixels (H, W, 3) uint8."""
        self._log(step, {name: self._image(pixels)})

    def pr_curve(self, step: int, name: str, positive: np.ndarray, scores: np.ndarray) -> None:
        """The picture of the curves and average precision say it; a table of every frame would be sent for each curve."""

    def hparams(self, step: int, values: Mapping[str, Value], scores: Mapping[str, float]) -> None:
        self._run.config.update(dict(values), allow_val_change=True)
        self._run.summary.update({f"best/{name}": value for name, value in scores.items()})

    def flush(self) -> None:
        """Its own process writes as it goes."""

    def close(self) -> None:
        self._run.finish()

    def _log(self, step: int, values: dict) -> None:
        if step >= self._first:
            self._run.log(values, step=step)


class MultiSink:
    """Several sinks as one; with none of them it is the sink of every rank but the first."""

    def __init__(self, sinks: Sequence[JsonLines | TensorBoard | WandB] = ()) -> None:
        self._sinks = sinks
        self._written = {line for sink in sinks if isinstance(sink, JsonLines) for line in sink.last}

    def write(self, step: int, scalars: Mapping[str, float], *, epoch: int) -> None:
        if (step, tuple(sorted({*scalars, "step", "epoch"}))) in self._written:
            return  # by a run that was ended after it, before it was through
        for sink in self._sinks:
            sink.write(step, scalars, epoch=epoch)

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        for sink in self._sinks:
            sink.image(step, name, pixels)

    def pr_curve(self, step: int, name: str, positive: np.ndarray, scores: np.ndarray) -> None:
        for sink in self._sinks:
            sink.pr_curve(step, name, positive, scores)

    def hparams(self, step: int, values: Mapping[str, Value], scores: Mapping[str, float]) -> None:
        for sink in self._sinks:
            sink.hparams(step, values, scores)

    def flush(self) -> None:
        """To the disk: what a checkpoint goes on from must be there when the checkpoint is."""
        for sink in self._sinks:
            sink.flush()

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()
