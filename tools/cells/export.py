"""The cells network for `tarpon export`: grey values as they are stored in, probability of infection and hours out.

B pages (each with its neighbours in time), W pages of a window, S pixels of a side; C channels of a page, where it has several.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor, nn

from tarpon.models.pages.reader import PageReader
from tarpon.pipelines.page.feed import FIXED, FULL, STORED, find_neighbours, select_levels
from tarpon.shards.manifest import open_manifest
from tarpon.shards.page_planes import KEY, count_channels
from tarpon.tools.evaluate import open_best
from tarpon.tools.export.options import read_options
from tarpon.tools.export.record import BATCH, Exportable, Exporting, Port, Request, Sample, count_rows
from tarpon.train.config import Run
from tarpon.train.task import Batch
from tarpon.train.tasks.cells.data import COLOURS, page_onsets
from tarpon.train.tasks.cells.export import without_weights
from tarpon.train.tasks.cells.metrics.control import describe_onsets
from tarpon.train.tasks.cells.options import CellsOptions
from tarpon.train.tasks.cells.task import build_model

UNSCALED = f"mean=0.0 std=1.0 contrast={STORED}"  # a pipeline whose pages are the stored grey values, divided by 65535


class ExportedReader(nn.Module):
    """Pages and the grey levels that become 0 and 1 -> probability of infection, hours."""

    def __init__(self, reader: PageReader, options: CellsOptions) -> None:
        super().__init__()
        self.reader = reader
        self.register_buffer("mean", torch.tensor(options.mean))
        self.register_buffer("std", torch.tensor(options.std))
        self.hours = options.clamp_range
        reader.encoder.frames_per_pass = None  # a pass of fixed size would fix the number of pages

    def forward(self, pages: Tensor, levels: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """pages (B, W, S, S) uint16, levels (B, W, 2) float32; valid (B, W) bool with W > 1.

        Of several channels pages (B, W, C, S, S), levels (B, W, C, 2).
        """
        low, high = levels[..., 0, None, None], levels[..., 1, None, None]
        grey = ((pages.float() - low) / (high - low).clamp(min=1)).clamp(0, 1)
        clip = (grey - self.mean) / self.std
        clip = clip[:, :, None].expand(-1, -1, COLOURS, -1, -1) if pages.ndim == 4 else clip
        there = torch.ones(pages.shape[:2], dtype=torch.bool, device=pages.device) if valid is None else valid
        return read_outputs(self.reader(clip, there), self.hours)


def read_outputs(out: Mapping[str, Tensor], hours: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """The model's outputs as they leave: probability (B,), hours (B,) within the range that it was trained on."""
    return out["label"].softmax(1)[:, 1], out["hours"].clamp(*hours)


def open_reader(request: Request) -> Exportable:
    """The run's network."""
    options: CellsOptions = request.opened.options
    model: PageReader = request.opened.problem.model
    channels = request.opened.problem.encoders.get(KEY, [""])
    several = {KEY: channels} if len(channels) > 1 else {}
    return Exportable(
        module=ExportedReader(model, options).eval(),
        inputs=tuple(list_inputs(options, channels)),
        outputs=(
            Port(
                name="infected", dtype="float32", shape=("B",), holds="probability that the middle page's culture is infected"
            ),
            Port(name="hours", dtype="float32", shape=("B",), holds=describe_hours(options, request.opened.data)),
        ),
        facts=json.loads(json.dumps({"options": asdict(without_weights(options))} | several)),
        samples=read_samples(request),
        backbone=options.model.backbone.name,
        pretrained=options.model.backbone.pretrained,
    )


def describe_hours(options: CellsOptions, data: str) -> str:
    manifest, (low, high) = open_manifest(data, kind="cells"), options.clamp_range
    onset = page_onsets(manifest, options)[manifest.column("label") == 1]
    return f"hours since {describe_onsets(onset)}, {low:g} to {high:g}"


def list_inputs(options: CellsOptions, channels: Sequence[str]) -> Iterator[Port]:
    side, window = options.model.backbone.image_size, options.model.window
    shape = ("B", window, len(channels)) if len(channels) > 1 else ("B", window)
    each = f", of the channels {', '.join(channels)} in this order" if len(channels) > 1 else ""
    pages = "the page" if window == 1 else f"the page in the middle of its {window} neighbours in time"
    yield Port(
        name="pages",
        dtype="uint16",
        shape=(*shape, side, side),
        holds=f"{pages}, grey values as stored, resized to {side} x {side}{each}",
    )
    levels = {
        "stack": "0.1 and 99.9 percentile of the stack",
        "first": "0.1 and 99.9 percentile of the stack's first usable page",
        "frame": "least and greatest value of each page",
        FIXED: "0 and the greatest value of the camera's bits, 4095 of 12",
        STORED: "0 and the greatest value of the stored depth, 255 or 65535",
    }
    yield Port(
        name="levels",
        dtype="float32",
        shape=(*shape, 2),
        holds=f"the grey values that become black and white: {levels[options.contrast]}{each}",
    )
    if window > 1:
        yield Port(name="valid", dtype="bool", shape=("B", window), holds="false on pages before the first and after the last")


def read_samples(request: Request) -> Iterator[Sample]:
    """Pages of the split; the first of each batch also alone."""
    problem, options = request.opened.problem, request.opened.options
    unscaled = open_best(request.folder, data=request.data, change=UNSCALED, micro_batch=BATCH).problem
    manifest = open_manifest(request.opened.data, kind="cells")
    low, high = map(torch.from_numpy, select_levels(manifest, options.contrast))
    rows, _ = find_neighbours(manifest.column("stack"), manifest.column("page"), window=options.model.window)
    for batch, raw in zip(problem.data.split(request.split), unscaled.data.split(request.split), strict=True):
        own = torch.from_numpy(rows[batch["row"].cpu().clamp(min=0).numpy()])
        pages = (raw["clip"].cpu() * FULL).round().to(torch.uint16)
        pages = pages[:, :, 0] if low.ndim == 1 else pages
        inputs = [pages, torch.stack([low[own], high[own]], -1)]
        inputs += [batch["valid"].cpu().clone()] if options.model.window > 1 else []
        yield from make_samples(problem.model, batch, tuple(inputs), hours=options.clamp_range)


def make_samples(
    model: PageReader, batch: Batch, inputs: tuple[Tensor, ...], *, hours: tuple[float, float]
) -> Iterator[Sample]:
    """A whole batch, and its first row alone."""
    for count, new in ((len(batch["row"]), count_rows(batch)), (1, 0)):
        given = {name: batch[name][:count].cpu() for name in ("clip", "valid")}
        expected = read_outputs(model(**given), hours)
        yield Sample(inputs=tuple(value[:count] for value in inputs), expected=expected, rows=new)


def rebuild(facts: Mapping) -> ExportedReader:
    """The same module with random weights."""
    options: CellsOptions = read_options("cells", facts["options"])
    return ExportedReader(build_model(Run(data=""), options, channels=count_channels(facts)), options)


EXPORT = Exporting(
    open=open_reader,
    rebuild=rebuild,
    answers="For every page of a time course the probability that the culture is infected, and the hours since the onset.",
    use="Ranking cultures filmed as those of the training data: the same cells, virus, dose, microscope, magnification and "
    "interval between pages. Check it on wells of your own whose state is known.",
    misuse=(
        "Diagnosis of a patient or release of a product: it is a research tool and was not validated for either.",
        "Another virus, cell line, dose, stain or microscope, without new data and a new test.",
        "The hours of a culture that is not infected, which mean nothing; and pages before the onset, where there is nothing "
        "to see.",
    ),
)
