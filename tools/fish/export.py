"""The fish network for `tarpon export`: an image, or the vector of one, in; probabilities of every attribute out.

B images, S pixels of a side, D features.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from tarpon.models.backbones.frames import FrameBackbone
from tarpon.models.backbones.image import ImageEncoder
from tarpon.pipelines.image.feed import request_images
from tarpon.shards.features import open_features, read_card
from tarpon.shards.manifest import open_manifest
from tarpon.shards.reader import Reader
from tarpon.tools.export.record import (
    BATCH,
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
from tarpon.tools.features import Recipe
from tarpon.train.tasks.fish.data import output_widths
from tarpon.train.tasks.fish.heads import CLASSES, FLAGS, HEADS
from tarpon.train.tasks.fish.options import FishModel
from tarpon.train.tasks.fish.task import build_model


class ExportedAttributes(nn.Module):
    """Vectors (B, D) float32, or with an encoder images (B, S, S, 3) uint8 -> each attribute's probabilities or number."""

    def __init__(self, model: nn.Module, tasks: Sequence[str], encoder: nn.Module | None = None, mean=(), std=()) -> None:
        super().__init__()
        self.model, self.tasks, self.encoder = model, tuple(tasks), encoder
        self.normalise = None if encoder is None else Normalise(mean, std)

    def forward(self, given: Tensor) -> tuple[Tensor, ...]:
        vectors = given if self.encoder is None else self.encoder(self.normalise(given))
        return read_outputs(self.model(vectors), self.tasks)


def read_outputs(out: Mapping[str, Tensor], tasks: Sequence[str]) -> tuple[Tensor, ...]:
    """The model's outputs as they leave: (B, width) probabilities; (B,) of a number."""
    made = []
    for task in tasks:
        kind = HEADS[task].kind
        made.append(out[task].softmax(1) if kind == CLASSES else out[task].sigmoid() if kind == FLAGS else out[task][:, 0])
    return tuple(made)


def open_attributes(request: Request) -> Exportable:
    """The run's network; with `images` the backbone stands before it."""
    opened, options = request.opened, request.opened.options
    encoders, card = opened.problem.encoders, read_card(Path(opened.data))
    widths, dim = output_widths(options, encoders), opened.problem.model.standardise.mean.shape[0]
    facts = {
        "options": asdict(options),
        "outputs": widths,
        "dim": dim,
        "names": {HEADS[task].names: encoders[HEADS[task].names] for task in widths if HEADS[task].names},
    }
    backbone = str(card.get("backbone") or "")
    port = Port(name="features", dtype="float32", shape=("B", dim), holds=f"vectors of {backbone or 'the backbone'}")
    module, samples = ExportedAttributes(opened.problem.model, tuple(widths)), read_vectors(request, tuple(widths))
    if request.images:
        recipe = Recipe.from_card(card, weights=request.weights, pretrained=request.pretrained)
        encoder = recipe.encoder()
        recipe.check(encoder, card)
        module = ExportedAttributes(opened.problem.model, tuple(widths), encoder, *recipe.backbone.normalisation())
        facts["recipe"] = {"backbone": asdict(without_weights(recipe.backbone)), "l2": recipe.l2, "multi": recipe.multi_scale}
        side = recipe.backbone.image_size
        holds = f"upright, RGB 0..255: shorter side resized to {recipe.resize} (bicubic), the middle {side} x {side}"
        port = Port(name="image", dtype="uint8", shape=("B", side, side, 3), holds=holds)
        samples = read_images(request, recipe, encoder, tuple(widths))
    return Exportable(
        module=module.eval(),
        inputs=(port,),
        outputs=tuple(list_outputs(widths, encoders)),
        facts=json.loads(json.dumps(facts)),
        samples=samples,
        backbone=backbone,
        pretrained=request.pretrained if request.images else None,
        stem="model" if request.images else "model_on_features",
    )


def list_outputs(widths: Mapping[str, int], encoders: Mapping[str, Sequence[str]]) -> Iterator[Port]:
    for task, width in widths.items():
        head = HEADS[task]
        if head.kind not in (CLASSES, FLAGS):
            yield Port(name=task, dtype="float32", shape=("B",), holds="a number")
            continue
        names = list(encoders[head.names])
        said = ", ".join(names[:4]) + (f" and {len(names) - 4} more, in the file's metadata" if len(names) > 4 else "")
        kind = "probabilities, summing to 1" if head.kind == CLASSES else "a probability each"
        yield Port(name=task, dtype="float32", shape=("B", width), holds=f"{kind}: {said}")


def read_vectors(request: Request, tasks: Sequence[str]) -> Iterator[Sample]:
    """Vectors of the split as they are stored; the first of each batch also alone."""
    for batch in request.opened.problem.data.split(request.split):
        vectors = batch["features"].float().cpu()
        for count, new in ((len(vectors), count_rows(batch)), (1, 0)):
            given = vectors[:count].clone()
            expected = read_outputs(request.opened.problem.model(given), tasks)
            yield Sample(inputs=(given,), expected=expected, rows=new)


def read_images(request: Request, recipe: Recipe, encoder: ImageEncoder, tasks: Sequence[str]) -> Iterator[Sample]:
    """Images of the split, as the features were made of them, without the rounding of the stored vectors."""
    manifest, table = open_manifest(request.images), open_features(request.opened.data)
    if manifest.fingerprint() != table.card.get("manifest"):
        raise ValueError(f"images={request.images}: not the shards that {request.opened.data} was made of; give those")
    of = {key: row for row, key in enumerate(manifest.column("key").tolist())}
    keys = table.labels["key"].to_pylist()
    rows = np.array([of[keys[row]] for row in table.split(request.split)])
    filled = np.pad(rows, (0, -len(rows) % BATCH), constant_values=-1)
    loaders = [recipe.loader(manifest, Reader(manifest), batch=BATCH, device=None, threads=1) for _ in range(2)]
    without_normalisation(loaders[1])
    for batch, raw in zip(*(loader.run(request_images(filled.reshape(-1, BATCH))) for loader in loaders), strict=True):
        for count, new in ((BATCH, count_rows(batch)), (1, 0)):
            expected = read_outputs(request.opened.problem.model(encoder(batch["image"][:count])), tasks)
            yield Sample(inputs=(to_pixels(raw["image"][:count]),), expected=expected, rows=new)


def without_weights(backbone: FrameBackbone) -> FrameBackbone:
    return replace(backbone, weights=None, pretrained=False)


def rebuild(facts: Mapping) -> ExportedAttributes:
    """The same module with random weights."""
    held, recipe = facts["options"], facts.get("recipe")
    uncertainty = held["loss"]["uncertainty_weighting"]
    model = build_model(FishModel(**held["model"]), facts["dim"], facts["outputs"], uncertainty=uncertainty)
    if recipe is None:
        return ExportedAttributes(model, tuple(facts["outputs"]))
    backbone = FrameBackbone(**recipe["backbone"])
    encoder = ImageEncoder(backbone, l2=recipe["l2"], multi_scale=recipe["multi"])
    return ExportedAttributes(model, tuple(facts["outputs"]), encoder, *backbone.normalisation())


EXPORT = Exporting(
    open=open_attributes,
    rebuild=rebuild,
    answers="For an image of a fish its family and order, the habitats it lives in, its trophic level and, where it was "
    "trained for it, how it feeds.",
    use="Sorting large sets of fish images by family, and first guesses at attributes of species whose relatives are known.",
    misuse=(
        "Records of a species' occurrence or trade, or the edibility of a fish: nobody should act on an answer without a "
        "specialist's look.",
        "Families of few training images, which are seldom named: see the scores of rare families.",
        "Attributes as measurements of the fish in the image: they are those of its species, guessed from its looks.",
    ),
)
