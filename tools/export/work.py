"""A run's network into one file: opened, written, read back, compared with the model on the run's own data, described."""

import os
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch

from tarpon.tools.evaluate import OpenedRun, open_best, read_task, run_folder
from tarpon.tools.export.card import CARD, write_card
from tarpon.tools.export.formats import FORMATS, Runner, make_note
from tarpon.tools.export.record import BATCH, Exportable, Exporting, Port, Request, Sample
from tarpon.tools.table import table
from tarpon.tools.tasks import part_of_task

TOLERANCE = 1e-4  # of an output's largest value, or of 1 where that is smaller; float32 of other kernels is within 1e-5


def export_run(
    run: Path,
    *,
    format: str,
    out: Path | None,
    split: str,
    samples: int,
    data: str | None = None,
    images: str | None = None,
    weights: str | None = None,
    pretrained: bool = True,
) -> Path:
    """Write the file and the card, and say what goes in, what comes out and how far it is from the model.

    Args: as of `tarpon export`. Returns: the file.

    Raises:
        ValueError: in one line: an option is none that there is, or the file answers otherwise than the model.
    """
    if format not in FORMATS:
        raise ValueError(f"format={format!r} must be one of {', '.join(FORMATS)}")
    if samples < 1:
        raise ValueError(f"samples={samples} must be at least 1: a file that nothing was checked on is not written")
    folder = run_folder(run)
    exporting: Exporting = part_of_task(read_task(folder), "export", where=str(folder))
    opened = open_best(folder, data=data, micro_batch=BATCH)
    opened.problem.model.cpu().eval()
    split = choose_split(opened, split, folder=folder)
    asked = {"data": data, "images": images, "weights": weights, "pretrained": pretrained}
    out = out or folder / "export"
    with torch.no_grad():
        what = exporting.open(Request(folder=folder, opened=opened, split=split, **asked))
        proofs = list(islice(what.samples, 2 * -(-samples // BATCH)))
        path, differences = write_checked(what, opened.kind, format, out, proofs)
    written = sorted(out.glob(f"{what.stem}.*"))
    write_card(out / CARD, folder, what, exporting, told=opened.problem.summary_lines, files=written)
    print("\n".join(describe(what, differences)))
    size, checked = path.stat().st_size / 2**20, sum(sample.rows for sample in proofs)
    print(f"{path}: {size:.1f} MiB, for {FORMATS[format].runs_in}; answers as the model on {checked} samples of {split}")
    print(f"{out / CARD}: what it was trained on, how well it does, and what it must not be used for")
    return path


def choose_split(opened: OpenedRun, split: str, *, folder: Path) -> str:
    """The split to check on: val in place of a test that the run does not have; ValueError for any other that is not there."""
    known = ("train", *opened.problem.splits)
    if split == "test" and split not in known:
        return "val"
    if split not in known:
        raise ValueError(f"{folder} has no split {split}; give --split {' or '.join(known)}")
    return split


def write_checked(
    what: Exportable, task: str, format: str, out: Path, proofs: Sequence[Sample]
) -> tuple[Path, dict[str, tuple[float, float]]]:
    """The file, renamed into place once it has answered as the model does; and for each output the largest difference and
    what was allowed.

    Raises:
        ValueError: it answers otherwise; no file is left.
    """
    form = FORMATS[format]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".draft") as drafts:
        draft = Path(drafts) / f"{what.stem}{form.suffix}"
        form.write(what, make_note(task, what), draft)
        differences = compare(form.read(draft), what.outputs, proofs)
        wrong = {name: pair for name, pair in differences.items() if not pair[0] <= pair[1]}
        if wrong:
            words = "; ".join(
                f"{name} by {found:.2g} where {allowed:.2g} is allowed" for name, (found, allowed) in wrong.items()
            )
            raise ValueError(f"the {format} file answers otherwise than the model ({words}); nothing was written")
        draft.chmod(0o644)  # safetensors lets nobody else read
        path = out / draft.name
        os.replace(draft, path)
    return path, differences


def compare(run: Runner, outputs: Sequence[Port], proofs: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    """Output -> (largest difference to what is expected, tolerance); a value that is no number is infinitely far."""
    worst = {port.name: (0.0, TOLERANCE) for port in outputs}
    for sample in proofs:
        for port, answer, expected in zip(outputs, run(sample.inputs), sample.expected, strict=True):
            if answer.shape != expected.shape:
                raise ValueError(f"{port.name} comes out as {tuple(answer.shape)} and should be {tuple(expected.shape)}")
            gap = (answer.double() - expected.double()).abs().nan_to_num(nan=float("inf")).max().item()
            allowed = TOLERANCE * max(1.0, expected.abs().max().item())
            found, limit = worst[port.name]
            worst[port.name] = (max(found, gap), max(limit, allowed))
    return worst


def describe(what: Exportable, differences: dict[str, tuple[float, float]]) -> list[str]:
    """Lines of a table: what goes in, what comes out, and how far that is from the model's own answer."""
    told = {name: f"{found:.1e} of {allowed:.0e}" for name, (found, allowed) in differences.items()}
    ports = [("in", port) for port in what.inputs] + [("out", port) for port in what.outputs]
    rows = [
        (way, port.name, " x ".join(map(str, port.shape)), port.dtype, told.get(port.name, ""), port.holds)
        for way, port in ports
    ]
    return list(table(("", "name", "shape", "type", "difference", "holds"), rows))
