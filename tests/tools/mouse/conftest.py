"""A model with random weights and a video that predictions are made of."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.models.backbones.video_backbone import VideoBackbone
from tarpon.train import config
from tarpon.train.tasks.mouse import export as mouse_export
from tarpon.train.tasks.mouse.metrics.trial import Trial, save_trials
from tarpon.train.tasks.mouse.options import ModelOptions, MouseOptions
from tarpon.train.tasks.mouse.task import build_model

POINTS = ("mouth", "tail_base", "L_frontpaw", "R_frontpaw", "L_hindpaw", "R_hindpaw")


TINY_VIDEO = {
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "patch_size": 16,
}


def write_checkpoint(folder, *, bias=None, **of_model):
    """An exported model with random weights; `bias` is added to the scores of the actions."""
    model = ModelOptions(
        backbone=FrameBackbone(name="test_vit", pretrained=False, image_size=32),
        video_backbone=VideoBackbone(pretrained=False, image_size=32, overrides=TINY_VIDEO),
        hidden=16,
        **of_model,
    )
    options = MouseOptions(model=model)
    torch.manual_seed(0)
    net = build_model(options, POINTS)
    if bias is not None:
        net.action.linear.bias.data += torch.from_numpy(bias).float()
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(6), 20).astype(np.float32)
    trial = Trial(key="a", group="a", actions=rng.integers(0, 6, 20), probs=probs, size=(64, 64))
    (folder / "predictions").mkdir(parents=True)
    save_trials(folder / "predictions" / "val.npz", [trial], classes=options.classes, points=())
    mouse_export.export(
        folder,
        net.state_dict(),
        {"macro_f1": 0.1},
        options=options,
        run=config.Run(data="d"),
        points=POINTS,
        stored=options.classes,
        clip={"codec": "vp9", "gop": 16, "short_side": 64, "multiple": 16},
    )
    return folder / mouse_export.NAME


@pytest.fixture(scope="session")
def checkpoint() -> Callable[..., Path]:
    """`write_checkpoint`."""
    return write_checkpoint


@pytest.fixture(scope="session")
def one_video(tmp_path_factory, mouse_lab):
    """A folder with one video of the lab and its points file."""
    folder = tmp_path_factory.mktemp("one")
    name = sorted((mouse_lab / "Videos").glob("*.mp4"))[0]
    for path in (mouse_lab / "Videos").glob(f"{name.stem}*"):
        shutil.copy(path, folder)
    return folder


def read_rows(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Path], list[list[str]]]:
    """A CSV file's rows as text."""
    return read_rows


def draw_noisy(seed: int, *, group: str = "a", answers: int = 0, count: int = 6, frames: int = 240) -> list[Trial]:
    """Trials of six classes, bouts of 20 frames, with answers so noisy that argmax tears them; `answers` seeds those alone."""
    rng, noise = np.random.default_rng(seed), np.random.default_rng((seed, answers))
    trials = []
    for n in range(count):
        actions = np.repeat(rng.permutation(np.tile(np.arange(6), 2)), 20)[:frames]
        scores = 3 * np.eye(6)[actions] + 2 * noise.normal(size=(frames, 6))
        probs = (np.exp(scores) / np.exp(scores).sum(1, keepdims=True)).astype(np.float32)
        trials.append(Trial(key=f"{group}{n}", group=group, actions=actions, probs=probs, size=(64, 64)))
    return trials


@pytest.fixture(scope="session")
def noisy_trials() -> Callable[..., list[Trial]]:
    """`draw_noisy`."""
    return draw_noisy
