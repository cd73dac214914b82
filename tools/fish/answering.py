"""A backbone and a trained model on images of a folder: tables of answers.

All that is needed beside the images stands in the checkpoint: classes, network, and how an image becomes a vector.
B images of a batch, D features, L habitats.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from tarpon.models.backbones.image import ImageEncoder
from tarpon.pipelines.loader import Loader
from tarpon.shards.features import DTYPES
from tarpon.shards.manifest import Manifest
from tarpon.shards.sources.fish.source import FishSource
from tarpon.shards.sources.images import JpegImage, convert_to_jpeg
from tarpon.tools.features import Recipe, encode_images
from tarpon.tools.loose_images import LooseImages, read_pictures
from tarpon.train.checkpoint import load_weights
from tarpon.train.tasks.fish.export import load
from tarpon.train.tasks.fish.heads import CLASSES, FLAGS, HEADS
from tarpon.train.tasks.fish.joint_taxa import choose_together
from tarpon.train.tasks.fish.options import FishModel
from tarpon.train.tasks.fish.task import build_model

WRITERS = {".parquet": pq.ParquetWriter, ".csv": pyarrow.csv.CSVWriter}
BATCHES = 4  # a chunk: encoded images of this many batches are held, and as many are being read


@dataclass(frozen=True, kw_only=True, eq=False)
class FishPredictor:
    """A trained model and the backbone before it."""

    model: nn.Module  # (B, D) float32 -> task -> (B, width)
    encoder: ImageEncoder
    recipe: Recipe
    encoders: dict[str, list[str]]  # families, orders, habitats, feeding: class names by number
    tasks: tuple[str, ...]
    family_order: np.ndarray | None  # (families,) where family and order are chosen together
    stored: np.dtype  # of the features trained on: new vectors are rounded as those were
    device: torch.device

    def schema(self) -> pa.Schema:
        """Columns of the table: one row an image."""
        fields = [("image", pa.string())]
        for name in self.tasks:
            head = HEADS[name]
            if head.kind == CLASSES:
                fields += [(name, pa.string()), (f"{name}_prob", pa.float32())]
            elif head.kind == FLAGS:
                fields += [(f"{flag}_prob", pa.float32()) for flag in self.encoders[head.names]]
            else:
                fields.append((name, pa.float32()))
        return pa.schema(fields)


def load_predictor(path: Path, *, weights: str | None = None, pretrained: bool = True) -> FishPredictor:
    """Model and backbone of an exported checkpoint, in evaluation mode, on the GPU where there is one.

    Raises:
        ValueError: the file is no fish checkpoint, its features were imported, or the backbone's weights are others.
    """
    checkpoint = load(path)
    options, card = checkpoint["args"]["task"], checkpoint["features"]
    recipe = Recipe.from_card(card, weights=weights, pretrained=pretrained)
    encoder = recipe.encoder()
    recipe.check(encoder, card)
    uncertainty = options["loss"]["uncertainty_weighting"]
    model = build_model(FishModel(**options["model"]), checkpoint["dim"], checkpoint["outputs"], uncertainty=uncertainty)
    load_weights(model, checkpoint["model_state_dict"], name=str(path))
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    return FishPredictor(
        model=model.to(device).eval(),
        encoder=encoder.to(device),
        recipe=recipe,
        encoders=checkpoint["encoders"],
        tasks=tuple(checkpoint["outputs"]),
        family_order=np.array(checkpoint["family_order"]) if options.get("joint_taxa") else None,
        stored=np.dtype(DTYPES[card["dtype"]].to_pandas_dtype()),
        device=device,
    )


def predict_images(
    answerer: FishPredictor, root: Path, names: Sequence[str], faults: list[str], *, batch: int, threads: int
) -> Iterator[tuple[Mapping[str, JpegImage], pa.Table]]:
    """Chunk by chunk the readable images and a row for each; what cannot be read is added to `faults`, with its name."""
    listed = Manifest(root=str(root), card={}, table=pa.table({"key": names}))
    loose = LooseImages()
    loader = answerer.recipe.loader(listed, loose, batch=batch, device=answerer.device.index, threads=threads)
    for rows, read in read_pictures(root, names, size=BATCHES * batch, threads=threads, read=read_picture):
        faults += [f"{names[row]}: {found}" for row, found in zip(rows, read, strict=True) if isinstance(found, str)]
        sound = {row: found for row, found in zip(rows, read, strict=True) if isinstance(found, JpegImage)}
        if not sound:
            continue
        loose.held = {row: picture.content for row, picture in sound.items()}
        kept = [names[row] for row in sound]
        vectors = encode_pictures(answerer, loader, np.array(list(sound)), batch=batch)
        yield dict(zip(kept, sound.values(), strict=True)), predict_vectors(answerer, kept, vectors)


def encode_pictures(answerer: FishPredictor, loader: Loader, rows: np.ndarray, *, batch: int) -> Tensor:
    """(B, D) float32 on the device, with the precision that the trained features were stored in."""
    parts = list(encode_images(answerer.encoder, loader, rows, batch=batch, device=answerer.device))
    stored = torch.cat(parts).numpy().astype(answerer.stored)
    return torch.from_numpy(stored.astype(np.float32)).to(answerer.device)


@torch.no_grad()
def predict_vectors(answerer: FishPredictor, names: Sequence[str], vectors: Tensor) -> pa.Table:
    """Names and vectors (B, D) of images -> the table's rows."""
    out, chosen = dict(answerer.model(features=vectors)), {}
    if answerer.family_order is not None:
        out["family"], chosen["order"] = choose_together(out["family"], out["order"], answerer.family_order)
    columns: list[pa.Array | np.ndarray] = [pa.array(names, pa.string())]
    for name in answerer.tasks:
        head, scores = HEADS[name], out[name].float()
        if head.kind == CLASSES:
            prob = scores.softmax(1)
            best = chosen.get(name, prob.argmax(1))
            prob = prob.gather(1, best[:, None])[:, 0]
            columns += [pa.array([answerer.encoders[head.names][i] for i in best.tolist()], pa.string()), prob.cpu().numpy()]
        elif head.kind == FLAGS:
            columns += list(scores.sigmoid().cpu().numpy().T)
        else:
            columns.append(scores[:, 0].cpu().numpy())
    return pa.table([pa.array(column) for column in columns], schema=answerer.schema())


def read_picture(path: Path) -> JpegImage | str:
    try:
        return convert_to_jpeg(path.read_bytes(), short_side=FishSource().short_side)
    except (ValueError, OSError) as error:
        return str(error)
