"""A trained star model as a tool: photographs of shards or of a folder -> embeddings, through the graph of evaluation.

B photographs of a batch, N photographs, D values of an embedding.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.models.reid.embedder import ReidModel
from tarpon.pipelines.feed import Feed, SampleReader
from tarpon.pipelines.loader import Loader
from tarpon.pipelines.photo.feed import PhotoFields, request_photos
from tarpon.pipelines.photo.graph import PhotoGraph
from tarpon.shards.manifest import Manifest
from tarpon.shards.progress import track
from tarpon.shards.quarantine import Budget
from tarpon.shards.sampling import plan
from tarpon.shards.sources.images import JpegImage, convert_to_jpeg
from tarpon.shards.sources.star.reid import MATTE
from tarpon.tools.loose_images import LooseImages, read_pictures
from tarpon.train.checkpoint import find_exported, load_weights
from tarpon.train.config import Run, parser_for
from tarpon.train.engine import DistContext
from tarpon.train.tasks.star import export
from tarpon.train.tasks.star.metrics.embeddings import VECTORS
from tarpon.train.tasks.star.metrics.open_set import Novelty
from tarpon.train.tasks.star.options import StarOptions, StarSearch
from tarpon.train.tasks.star.task import build_model

BATCHES = 4  # a chunk of loose files: encoded pictures of this many batches are held, and as many are being read


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedder:
    """A trained model and what goes with it."""

    model: ReidModel  # in evaluation mode, on the device
    backbone: FrameBackbone
    novelty: Novelty | None  # how to tell a new animal; None where validation could not teach it
    search: StarSearch  # how the run searched its own test
    sha256: str  # of the checkpoint's file
    device: torch.device
    batch: int  # photographs a pass
    threads: int  # that read and decode
    flips: bool  # also embed the mirror images, as "embedding_flips"

    def loader(self, manifest: Manifest, reader: SampleReader, rows: np.ndarray) -> Loader:
        """Photographs whole, as evaluation sees them. `rows` are those that can be asked for."""
        mean, std = self.backbone.normalisation()
        fields = PhotoFields(size=self.backbone.image_size, mean=mean, std=std)
        return Loader(
            PhotoGraph(batch=self.batch, size=self.backbone.image_size, augment=False),
            Feed(manifest, reader, fields, pool=rows, budget=Budget(0)),
            device=self.device.index,
            threads=self.threads,
        )

    @torch.no_grad()
    def embed(self, loader: Loader, rows: np.ndarray, *, turned: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Embeddings of rows (N,), in their order.

        Args:
            turned: (N,) bool: may be turned into its mirror image; None: all may. Not looked at without `flips`.

        Returns:
            embedding (N, D) float32 of length 1, and with `flips` embedding_flips (N, D), averaged over mirror images.
        """
        parts: list[dict[str, Tensor]] = []
        turns = list(plan.sequential_batches(len(rows), micro=self.batch))
        work = (request_photos(np.where(turn >= 0, rows[turn], -1)) for turn in turns)
        may = np.ones(len(rows), bool) if turned is None else turned
        for turn, out in zip(turns, loader.run(work), strict=True):
            flips = torch.from_numpy((turn >= 0) & may[turn]) if self.flips else False
            answer = self.model(image=out["image"], flips=flips)
            parts.append({name: values[torch.from_numpy(turn >= 0)].cpu() for name, values in answer.items()})
        return {name: torch.cat([part[name] for part in parts]).numpy() for name in VECTORS if name in parts[0]}


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedded:
    """The readable photographs of a folder."""

    row: np.ndarray  # (N,) int64 place among the names that were given
    vectors: dict[str, np.ndarray]  # as Embedder.embed; empty where nothing could be read
    faults: list[tuple[str, str]]  # name and reason of those that could not

    def names(self, given: Sequence[str]) -> list[str]:
        """(N,) of the names that were given."""
        return [given[row] for row in self.row]


def load_embedder(path: Path, *, batch: int, threads: int, flips: bool) -> Embedder:
    """The model of an exported checkpoint (best.pth, or its run folder), on the GPU where there is one.

    Raises:
        ValueError: in one line, when the file is no star checkpoint.
    """
    path = find_exported(path, name=export.NAME)
    checkpoint = export.load(path)
    parser = parser_for(StarOptions, recipe=None, task="star")
    made = parser.instantiate(parser.parse_object({**checkpoint["args"]["run"], **checkpoint["args"]["rebuild"]}))
    run, options = (owner(**{field.name: made[field.name] for field in fields(owner)}) for owner in (Run, StarOptions))
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    context = DistContext(rank=0, world=1, local_rank=0, local_world=1, device=device)
    model = build_model(run, options, context, identities=len(checkpoint["identities"]))
    load_weights(model, checkpoint["model_state_dict"], name=str(path))
    novelty = checkpoint.get("novelty")
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Embedder(
        model=model.to(device).eval(),
        backbone=options.model.backbone,
        novelty=Novelty(**novelty) if novelty else None,
        search=options.search,
        sha256=digest,
        device=device,
        batch=batch,
        threads=threads,
        flips=flips,
    )


def embed_files(embedder: Embedder, root: Path, names: Sequence[str], *, longest_side: int) -> Embedded:
    """Photographs below a folder, each as packing would have stored it: upright, no larger than `longest_side`."""
    listed, loose = Manifest(root=str(root), card={}, table=pa.table({"key": names})), LooseImages()
    loader, faults = embedder.loader(listed, loose, np.arange(len(names))), []
    rows, parts = [], []
    read = partial(read_picture, longest_side=longest_side)
    chunks = read_pictures(root, names, size=BATCHES * embedder.batch, threads=embedder.threads, read=read)
    for positions, found in track(chunks, total=len(names), what="embed", unit="photographs", count=count_read):
        given = dict(zip(positions, found, strict=True))
        faults += [(names[position], reason) for position, reason in given.items() if isinstance(reason, str)]
        loose.held = {position: picture.content for position, picture in given.items() if isinstance(picture, JpegImage)}
        if loose.held:
            rows.append(np.array(list(loose.held), np.int64))
            parts.append(embedder.embed(loader, rows[-1]))
    row = np.concatenate(rows) if rows else np.empty(0, np.int64)
    return Embedded(row=row, vectors=concatenate(parts), faults=faults)


def count_read(chunk: tuple) -> int:
    """Photographs of a chunk of `read_pictures`."""
    return len(chunk[0])


def concatenate(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Vectors of several parts, one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}


def read_picture(path: Path, *, longest_side: int) -> JpegImage | str:
    """The picture as packing would have stored it, or why it cannot be."""
    try:
        return convert_to_jpeg(path.read_bytes(), longest_side=longest_side, matte=MATTE)
    except (ValueError, OSError) as error:
        return str(error)


def make_vector_columns(vectors: Mapping[str, np.ndarray]) -> dict[str, pa.Array]:
    """(N, D) float32 each -> columns of lists of D."""
    return {
        name: pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values, np.float32).ravel()), values.shape[1])
        for name, values in vectors.items()
    }


def read_vectors(table: pa.Table) -> dict[str, np.ndarray]:
    """The inverse of `make_vector_columns`: columns of lists of D -> (N, D) float32 each."""
    return {
        name: np.concatenate([chunk.flatten().to_numpy() for chunk in table[name].chunks]).reshape(len(table), -1)
        for name in VECTORS
        if name in table.column_names
    }
