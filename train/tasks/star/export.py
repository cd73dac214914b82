"""The star checkpoint, and the files of a run folder: weights, what they were trained on, tables, figures, projector."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tarpon.shards import atomic
from tarpon.train.checkpoint import load_exported
from tarpon.train.config import Run
from tarpon.train.tasks.star.data import Photos
from tarpon.train.tasks.star.metrics.embeddings import WAYS
from tarpon.train.tasks.star.metrics.search_options import SearchOptions
from tarpon.train.tasks.star.options import StarOptions
from tarpon.train.tasks.star.outputs import find_run, write_outputs
from tarpon.train.tasks.star.projector import pick_identities, write_projector
from tarpon.train.tasks.star.stored_photos import StoredPhotos

NAME = "best.pth"
KEYS = ("model_state_dict", "identities", "args")
OWN = ("neck.", "classifier.")  # prefixes of weights that belong to the identities of one training
THUMBNAIL = 48  # pixels


def export(
    folder: Path,
    best: Mapping[str, Tensor],
    scores: Mapping[str, Mapping[str, float]],
    *,
    run: Run,
    options: StarOptions,
    identities: Sequence[str],
    photos: Photos | StoredPhotos,
    search_options: SearchOptions,
    device: torch.device,
) -> None:
    """Write best.pth, loadable with `weights_only=True`; tables and figures of test, else of val; the projector."""
    plain = {"run": asdict(run), "task": asdict(options), "rebuild": asdict(without_weights(options))}
    split, found, novelty = find_run(folder, search_options, device=device)
    with atomic.replace(folder / NAME) as draft:
        torch.save(
            {
                "model_state_dict": dict(best),
                "identities": list(identities),
                "val_metrics": dict(scores["val"]),
                "novelty": None if novelty is None else asdict(novelty),
                "args": json.loads(json.dumps(plain)),
            },
            draft,
        )
    write_outputs(folder, found, split=split, novelty=novelty, search_options=search_options)
    rows = found.rows
    shown = pick_identities(rows.identity)
    write_projector(
        folder / "tensorboard" / "projector",
        rows.embedding[shown],
        columns={name: getattr(rows, name)[shown] for name in ("identity", "outing", "dataset", "key")},
        step=0,
        thumbnails=read_thumbnails(photos, rows.row[shown]),
    )
    print(describe_scores(scores[split], split=split), flush=True)


def describe_scores(scores: Mapping[str, float], *, split: str) -> str:
    """One line: plain search first, and apart from it what the other ways of searching give."""
    ways = {"": "plain"} | {f"{name}_": words for name, words in WAYS.items()}
    own = [
        f"{words} mAP {scores[f'{way}map']:.4f}, CMC@1 {scores[f'{way}cmc_1']:.4f}"
        for way, words in ways.items()
        if f"{way}map" in scores
    ]
    searched = f"{int(scores['num_valid_queries'])} photographs among {int(scores['num_gallery'])}"
    return f"{split} of {searched}: {'; '.join(own)}"


def read_thumbnails(photos: Photos | StoredPhotos, rows: np.ndarray) -> np.ndarray:
    """(N, 48, 48, 3) uint8: each photograph whole, on black."""
    made = np.zeros((len(rows), THUMBNAIL, THUMBNAIL, 3), np.uint8)
    for small, row in zip(made, rows.tolist(), strict=True):
        with Image.open(io.BytesIO(photos.joined.read(row, "jpg"))) as picture:
            picture.draft("RGB", (2 * THUMBNAIL, 2 * THUMBNAIL))  # decoded small, where the codec can
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
            top, left = (THUMBNAIL - picture.height) // 2, (THUMBNAIL - picture.width) // 2
            small[top : top + picture.height, left : left + picture.width] = np.asarray(picture.convert("RGB"))
    return made


def without_weights(options: StarOptions) -> StarOptions:
    """The same network with random weights, to load trained ones over."""
    backbone = replace(options.model.backbone, pretrained=False, weights=None)
    alone = {
        "strategy": "star_only",
        "checkpoint": None,
        "wildlife": None,
    }  # the first weights and the second set are not needed
    reset = alone if options.checkpoint or options.wildlife else {}
    return replace(options, model=replace(options.model, backbone=backbone), **reset)


def load_start_weights(model: nn.Module, path: Path) -> None:
    """Put the weights of an earlier run into the model; those of its identity layers stay as initialised.

    Raises:
        ValueError: the file is none of ours, or a weight is missing, of another shape, or without a place: of another network.
    """
    held = load(path / NAME if path.is_dir() else path)["model_state_dict"]
    given = {name: value for name, value in held.items() if not name.startswith(OWN)}
    wanted = {name: value for name, value in model.state_dict().items() if not name.startswith(OWN)}
    missing, spare = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    other = [name for name in wanted.keys() & given.keys() if wanted[name].shape != given[name].shape]
    if missing or spare or other:
        first = (missing + spare + sorted(other))[0]
        raise ValueError(
            f"{path}: holds another network ({len(missing)} weights missing, {len(spare)} without a place, {len(other)} of "
            f"another shape; {first} the first); give the --model options that it was trained with"
        )
    model.load_state_dict(given, strict=False)


def load(path: Path) -> dict:
    """The checkpoint as a dict; ValueError in one line when it is missing or something else."""
    return load_exported(path, keys=KEYS, name=NAME)
