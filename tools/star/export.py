"""The re-identification network for `tarpon export`: a photograph on black in, an embedding of length 1 out.

B photographs, S pixels of a side, D values of an embedding.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace

import torch
from torch import Tensor, nn

from tarpon.models.reid.embedder import ReidModel
from tarpon.tools.export.options import read_options
from tarpon.tools.export.record import (
    Exportable,
    Exporting,
    Normalise,
    Port,
    Request,
    Sample,
    count_rows,
    to_pixels,
    without_normalisation,
)
from tarpon.train.config import Run
from tarpon.train.engine import DistContext
from tarpon.train.tasks.star.export import without_weights
from tarpon.train.tasks.star.options import StarOptions
from tarpon.train.tasks.star.task import build_model


class ExportedEmbedder(nn.Module):
    """Photographs (B, S, S, 3) uint8 -> embeddings (B, D) of length 1."""

    def __init__(self, model: ReidModel, options: StarOptions) -> None:
        super().__init__()
        self.normalise = Normalise(*options.model.backbone.normalisation())
        self.model = model
        model.encoder.frames_per_pass = None  # a pass of fixed size would fix the number of photographs

    def forward(self, photo: Tensor) -> tuple[Tensor]:
        return (self.model(self.normalise(photo))["embedding"],)


def open_embedder(request: Request) -> Exportable:
    """The run's network."""
    options: StarOptions = request.opened.options
    side, identities = options.model.backbone.image_size, request.opened.problem.encoders["identities"]
    holds = f"upright, RGB 0..255, whole: the longer side resized to {side}, in the middle of black"
    return Exportable(
        module=ExportedEmbedder(request.opened.problem.model, options).eval(),
        inputs=(Port(name="photo", dtype="uint8", shape=("B", side, side, 3), holds=holds),),
        outputs=(
            Port(
                name="embedding",
                dtype="float32",
                shape=("B", options.model.embedding_dim),
                holds="of length 1; the dot product of two is their similarity",
            ),
        ),
        facts=json.loads(json.dumps({"options": asdict(without_weights(options)), "identities": len(identities)})),
        samples=read_samples(request),
        backbone=options.model.backbone.name,
        pretrained=options.model.backbone.pretrained,
    )


def read_samples(request: Request) -> Iterator[Sample]:
    """Photographs of the split; the first of each batch also alone."""
    problem, split = request.opened.problem, request.split
    pixels = replace(problem.data, make_loader=lambda training: without_normalisation(problem.data.make_loader(training)))
    for batch, raw in zip(problem.data.split(split), pixels.split(split), strict=True):
        for count, new in ((len(batch["row"]), count_rows(batch)), (1, 0)):
            expected = problem.model(batch["image"][:count].cpu())["embedding"]
            yield Sample(inputs=(to_pixels(raw["image"][:count].cpu()),), expected=(expected,), rows=new)


def rebuild(facts: Mapping) -> ExportedEmbedder:
    """The same module with random weights."""
    options: StarOptions = read_options("star", facts["options"])
    alone = DistContext(rank=0, world=1, local_rank=0, local_world=1, device=torch.device("cpu"))
    return ExportedEmbedder(build_model(Run(data=""), options, alone, identities=facts["identities"]), options)


EXPORT = Exporting(
    open=open_embedder,
    rebuild=rebuild,
    answers="For a photograph of an animal a vector; photographs of the same animal lie near each other.",
    use="Proposing which known animal a photograph shows, for a person who then compares the photographs, in a population "
    "photographed as the training data were.",
    misuse=(
        "Counting animals or estimating survival from matches that nobody has looked at.",
        "Another species or body side, without new photographs and a new test.",
        "Recognising people.",
    ),
)
