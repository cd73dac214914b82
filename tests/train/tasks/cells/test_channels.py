"""The cells task on pages of two channels: what the network is fed, what it learns from, what it refuses."""

from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.shards.manifest import Manifest
from tarpon.shards.reader import Reader
from tarpon.shards.sampling.draws import PageAugment
from tarpon.shards.sources.cells.pages import decode_tiff
from tarpon.shards.sources.cells.source import CellsSource
from tarpon.train.config import Run
from tarpon.train.evaluate import evaluate
from tarpon.train.task import Problem
from tarpon.train.tasks.cells import task as cells
from tarpon.train.tasks.cells.options import CellsModel, CellsOptions

STEPS = 40


@pytest.fixture(scope="module")
def phase_shards(tmp_path_factory, channel_lab, pack_cells) -> Manifest:
    source = CellsSource(group="well", channel="phase")
    return pack_cells(channel_lab, tmp_path_factory.mktemp("phase"), source=source)[0]


@pytest.fixture
def build(context):
    """(manifest, encoders=, the model's options) -> the problem."""

    def make(manifest: Manifest, *, encoders: dict | None = None, **model) -> Problem:
        backbone = FrameBackbone(name="test_resnet", pretrained=False, image_size=32)
        options = CellsOptions(
            model=CellsModel(backbone=backbone, hidden_dim=16, tcn_hidden=16, dropout=0.0, **model),
            infection_onset_hour=0.0,
            augment=PageAugment(angle_p=0.0),
        )
        run = Run(data=manifest.root, micro_batch=8, global_batch=8, seed=1)
        return cells.build(run, options, context, encoders=encoders)

    return make


def test_the_channels_are_the_network_s_inputs_in_their_order(build, channel_shards):
    problem = build(channel_shards, window=3)
    batch = next(iter(problem.data.split("val")))
    assert batch["clip"].shape == (8, 3, 2, 32, 32)
    row = int(batch["row"][0])
    page = decode_tiff(Reader(channel_shards).read(row, "tif")).reshape(2, 44, 40).astype(np.float64)
    shown = (batch["clip"][0, 1] * 0.25 + 0.5).double()
    known = channel_shards.table.slice(row, 1).to_pylist()[0]
    levels = [(known["first_low"], known["first_high"]), tuple(known["further_levels"][2:4])]
    for channel, (low, high) in enumerate(levels):
        scaled = torch.from_numpy((page[channel] - low) / (high - low)).clamp(0, 1)
        small = F.interpolate(scaled[None, None], size=(32, 32), mode="bilinear", antialias=True)[0, 0]
        assert (shown[channel] - small).abs().mean() < 0.01
    assert problem.encoders["channels"] == ["phase", "gfp"]
    assert "channels  phase, gfp: input channels of the network" in problem.summary_lines


def test_one_channel_is_fed_as_ever(build, phase_shards):
    problem = build(phase_shards)
    clip = next(iter(problem.data.split("val")))["clip"]
    assert clip.shape == (8, 1, 3, 32, 32)
    assert torch.equal(clip, clip[:, :, :1].expand_as(clip))  # one page, shown three times


@pytest.mark.parametrize(("trained", "said"), [
    ({"channels": ["gfp", "phase"]}, r"pages of 2 channels \(phase, gfp\), and the weights were trained on 2 channels \(gfp"),
    ({"classes": []}, "trained on one channel;"),
])  # fmt: skip
def test_weights_of_other_channels_are_refused(build, channel_shards, trained, said):
    with pytest.raises(ValueError, match=said):
        build(channel_shards, encoders=trained)


def test_what_only_the_second_channel_tells_is_learned(build, channel_shards, phase_shards):
    """On wells never seen: nearly every page right from both channels, no better than a guess from the first alone."""
    found = {}
    for name, manifest in (("both", channel_shards), ("phase", phase_shards)):
        problem = build(manifest)
        model = problem.model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        batches = (batch for epoch in range(STEPS) for batch in problem.data.batches(epoch, 0))
        for batch in islice(batches, STEPS):
            loss = F.cross_entropy(model(clip=batch["clip"], valid=batch["valid"])["label"], batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found[name] = evaluate(problem, "test").scalars["auc"]
    assert found["both"] > 0.95
    assert found["phase"] < 0.85
