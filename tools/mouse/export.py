"""The mouse network for `tarpon export`: pixels and points as they are stored in, probabilities and places out.

B videos or windows, T frames, S pixels of a side, K points, C classes.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace

import torch
from torch import Tensor, nn

from tarpon.models.temporal.tagger import FrameTagger
from tarpon.pipelines.clip.gaps import fill_gaps
from tarpon.pipelines.clip.stance import usual_distances
from tarpon.pipelines.feed import StoredRow
from tarpon.pipelines.loader import Loader
from tarpon.shards.npy import read_npy
from tarpon.shards.sampling.draws import index_window_frames
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
from tarpon.train.task import Batch
from tarpon.train.tasks.mouse.options import MouseOptions
from tarpon.train.tasks.mouse.record import without_download
from tarpon.train.tasks.mouse.task import build_model

FRAMES = 64  # of a sample: enough for every layer of the TCN, and quick on a CPU


class ExportedTagger(nn.Module):
    """Frames, which of them are real, and points in pixels -> probabilities, and points as shares of the frame."""

    def __init__(self, tagger: FrameTagger, options: MouseOptions) -> None:
        super().__init__()
        self.normalise = Normalise(*options.model.encoder.normalisation())
        self.likelihood = options.window.kp_likelihood
        self.tagger = tagger
        for name in ("frames_per_pass", "clips_per_pass"):
            if hasattr(tagger.encoder, name):
                setattr(tagger.encoder, name, None)  # a pass of fixed size would fix the number of frames

    def forward(
        self,
        frames: Tensor,
        valid: Tensor,
        points: Tensor | None = None,
        body: Tensor | None = None,
        usual: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """frames (B, T, S, S, 3) uint8, valid (B, T) bool; with a pose encoder points (B, T, K, 3) and body (B,); with the
        stance also usual (B, T, K, K)."""
        pose = None if points is None else self.make_pose(points, body, valid, usual)
        out = self.tagger(self.normalise(frames), valid, pose)
        return tuple(read_outputs(out))

    def make_pose(self, points: Tensor, body: Tensor, valid: Tensor, usual: Tensor | None = None) -> Tensor:
        """As `PoseFeatures` takes it: x, y in body lengths, visible 0 or 1, and where the network wants them the usual
        distances and the likelihood."""
        labelled = points[..., :2].isfinite().all(-1) & valid[..., None]
        known = labelled & (points[..., 2] >= self.likelihood)
        seen = known & (body.isfinite() & (body > 0))[:, None, None]
        length = torch.where(body > 0, body, 1.0)[:, None, None, None]
        place = torch.where(seen[..., None], points[..., :2] / length, 0.0)
        pose = [place, seen[..., None].float()]
        if usual is not None:
            pose.append(torch.where(valid[..., None, None], usual / length, 0.0))
        if self.tagger.pose.features.likelihood:
            pose.append(torch.where(labelled & (points[..., 2] > 0), points[..., 2], 0.0)[..., None])
        return torch.cat(pose, -1)


def read_outputs(out: Mapping[str, Tensor]) -> Iterator[Tensor]:
    """The model's outputs as they leave: probabilities (B, T, C), and points (B, T, K, 2) where it regresses them."""
    yield out["action"].softmax(-1)
    if "keypoints" in out:
        yield out["keypoints"]


def open_tagger(request: Request) -> Exportable:
    """The run's network."""
    options: MouseOptions = request.opened.options
    points = request.opened.problem.encoders["keypoints"]
    model: FrameTagger = request.opened.problem.model
    facts = {"options": asdict(without_download(options)), "points": list(points)}
    return Exportable(
        module=ExportedTagger(model, options).eval(),
        inputs=tuple(list_inputs(model, options, points)),
        outputs=tuple(list_outputs(model, options, points)),
        facts=json.loads(json.dumps(facts)),
        samples=read_samples(request),
        backbone=options.model.encoder.name,
        pretrained=options.model.encoder.pretrained,
    )


def list_inputs(model: FrameTagger, options: MouseOptions, points: list[str]) -> Iterator[Port]:
    side = options.model.encoder.image_size
    yield Port(
        name="frames",
        dtype="uint8",
        shape=("B", "T", side, side, 3),
        holds=f"whole upright frames, RGB 0..255, resized to {side} x {side}; at least 3",
    )
    yield Port(name="valid", dtype="bool", shape=("B", "T"), holds="false on frames that fill up a shorter video")
    if model.pose is not None:
        holds = f"{', '.join(points)}: x, y in pixels of the source and likelihood; NaN or 0 where unknown"
        if options.window.fill_gaps:
            holds += f"; gaps of up to {options.window.fill_gaps} frames filled as pipelines.clip.gaps.fill_gaps does"
        yield Port(name="points", dtype="float32", shape=("B", "T", len(points), 3), holds=holds)
        yield Port(name="body", dtype="float32", shape=("B",), holds="body length in pixels of the source; 0: no track")
    if model.pose is not None and model.pose.features.stance:
        holds = (
            f"median distance in pixels of the source between each two points over the {options.model.stance_frames} frames "
            "around; 0: not known"
        )
        yield Port(name="usual", dtype="float32", shape=("B", "T", len(points), len(points)), holds=holds)


def list_outputs(model: FrameTagger, options: MouseOptions, points: list[str]) -> Iterator[Port]:
    shape, names = ("B", "T", len(options.classes)), ", ".join(options.classes)
    yield Port(name="probabilities", dtype="float32", shape=shape, holds=f"of {names}")
    if model.keypoint is not None:
        holds = "x as a share of the frame's width, y of its height"
        yield Port(name="places", dtype="float32", shape=("B", "T", len(points), 2), holds=holds)


def read_samples(request: Request) -> Iterator[Sample]:
    """Windows of the split, cut to FRAMES; the first of each batch also alone and cut to half of them."""
    problem, split, model = request.opened.problem, request.split, request.opened.problem.model
    loader = without_normalisation(problem.data.make_loader(False))
    pixels = replace(problem.data, make_loader=lambda training: loader)
    for batch, raw in zip(problem.data.split(split), pixels.split(split), strict=True):
        kept = {name: batch[name].cpu()[:, :FRAMES].clone() for name in problem.inputs}
        inputs = [to_pixels(raw["clip"].cpu()[:, :FRAMES]), kept["valid"]]
        if model.pose is not None:
            inputs += read_points(loader, batch, count=kept["clip"].shape[1])
        if model.pose is not None and model.pose.features.stance:
            inputs.append(read_stance(loader, batch, count=kept["clip"].shape[1]))
        yield Sample(inputs=tuple(inputs), expected=tuple(read_outputs(model(**kept))), rows=count_rows(batch))
        half = max(kept["clip"].shape[1] // 2, 3)
        short = {name: value[:1, :half].contiguous() for name, value in kept.items()}
        cut = tuple(value[:1] if value.ndim == 1 else value[:1, :half].contiguous() for value in inputs)
        yield Sample(inputs=cut, expected=tuple(read_outputs(model(**short))), rows=0)


def read_points(loader: Loader, batch: Batch, *, count: int) -> tuple[Tensor, Tensor]:
    """Points (B, T, K, 3), with gaps filled as the run fills them, and body lengths (B,) of a batch of windows."""
    manifest, reader = loader.feed.manifest, loader.feed.reader
    shape = (count, batch["pose"].shape[2], 3)
    points, bodies = torch.full((len(batch["row"]), *shape), float("nan")), torch.zeros(len(batch["row"]))
    for place, (row, start) in enumerate(zip(batch["row"].tolist(), batch["start"].tolist(), strict=True)):
        stored = StoredRow(manifest, reader, row)
        if row < 0 or not stored.value("keypoints_size"):
            continue
        index, _, _ = index_window_frames(trial=int(stored.value("frames")), start=start, frames=count, roll=0)
        trial = read_npy(stored.read("keypoints"))
        filled = fill_gaps(trial, frames=loader.feed.fields.fill_gaps, likelihood=loader.feed.fields.likelihood)
        points[place] = torch.from_numpy(filled[index].copy())
        bodies[place] = float(stored.value("body_length"))
    return points, bodies.nan_to_num(0.0)


def read_stance(loader: Loader, batch: Batch, *, count: int) -> Tensor:
    """Usual distances (B, T, K, K) in pixels of a batch of windows."""
    fields, points = loader.feed.fields, batch["pose"].shape[2]
    usual = torch.zeros(len(batch["row"]), count, points, points)
    for place, (row, start) in enumerate(zip(batch["row"].tolist(), batch["start"].tolist(), strict=True)):
        stored = StoredRow(loader.feed.manifest, loader.feed.reader, row)
        if row >= 0 and stored.value("keypoints_size"):
            index, _, _ = index_window_frames(trial=int(stored.value("frames")), start=start, frames=count, roll=0)
            trial = read_npy(stored.read("keypoints"))
            made = usual_distances(trial, frames=fields.stance_frames, likelihood=fields.likelihood)
            usual[place] = torch.from_numpy(made[index])
    return usual


def rebuild(facts: Mapping) -> ExportedTagger:
    """The same module with random weights."""
    options = read_options("mouse", facts["options"])
    return ExportedTagger(build_model(options, facts["points"]), options)


EXPORT = Exporting(
    open=open_tagger,
    rebuild=rebuild,
    answers="For every frame of a video the probability of each behaviour and, where it was trained for it, the place of each "
    "keypoint.",
    use="Scoring behaviour in recordings made as those of the training data: the same arena, camera, light and strain. Check a "
    "few labelled videos of your own first.",
    misuse=(
        "Another camera angle, species, arena or behaviour than it was trained on, without new labels and a new test.",
        "Conclusions about one animal or one bout: read the scores as those of many frames and animals.",
        "Decisions on the welfare or the end point of an animal, or clinical use.",
    ),
)
