"""Where scalars and pictures go: metrics.jsonl, TensorBoard, or nowhere. All share write and image."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


class JsonLines:
    """One JSON object a line: {"step", "epoch", names...}. A resumed run drops what was written past its step."""

    def __init__(self, path: Path, *, keep_to: int) -> None:
        kept = []
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                if json.loads(line)["step"] <= keep_to:
                    kept.append(line)
            except (ValueError, KeyError):
                continue  # a line cut by a kill
        path.write_text("".join(line + "\n" for line in kept))
        self._file = open(path, "a", buffering=1)  # noqa: SIM115  open for the run's whole life, closed by close()

    def write(self, step: int, scalars: Mapping[str, float], *, epoch: int) -> None:
        self._file.write(json.dumps({"step": step, "epoch": epoch, **scalars}) + "\n")

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Pictures have no place in a text file."""

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Event files under the run folder."""

    def __init__(self, folder: Path, *, purge_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import; only rank 0 needs it

        self._writer = SummaryWriter(str(folder), purge_step=purge_step)

    def write(self, step: int, scalars: Mapping[str, float], *, epoch: int) -> None:
        for name, value in {**scalars, "epoch": epoch}.items():
            self._writer.add_scalar(name, value, step)

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """pixels (H, W, 3) uint8."""
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class Fan:
    """Several sinks as one; with none of them it is the sink of every rank but the first."""

    def __init__(self, sinks: Sequence[JsonLines | TensorBoard] = ()) -> None:
        self._sinks = sinks

    def write(self, step: int, scalars: Mapping[str, float], *, epoch: int) -> None:
        for sink in self._sinks:
            sink.write(step, scalars, epoch=epoch)

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        for sink in self._sinks:
            sink.image(step, name, pixels)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()
