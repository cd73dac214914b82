"""The published trainer's file in the terms of our options: every key, and what is refused."""

import math
from pathlib import Path

import pytest
import yaml

from tarpon.shards.sources.cells.config import KEYS, TRAIN
from tarpon.train import config, launch
from tarpon.train.config import Run
from tarpon.train.spelling import translate_options
from tarpon.train.tasks.cells import record as cells
from tarpon.train.tasks.cells.options import CellsLoss, CellsOptions, read_published

ROOT = Path(__file__).resolve().parents[4]
# every key that training takes, none at its default; what each one sets stands in WANTED
EVERY = """\
experiment_name: every
run_id: one
output_dir: some/folder
seed: 7
data:
  infected_dir: infected
  uninfected_dir: uninfected
  batch_size: 24
  num_workers: 3
  balance_sampler: true
  transforms: {image_size: 64, random_flip: false, random_rotation: false, color_jitter: false, mean: [0.4], std: [0.2]}
  frames:
    frames_per_hour: 2.0
    infected_window_hours: [1, 30]
    uninfected_stride: 2
    train: {infected_stride: 3, uninfected_use_all: false}
    validation: {window_hours: [2, 20]}
    eval: {uninfected_window_hours: null}
    default: {uninfected_window_hours: [0, 40]}
multitask: {infection_onset_hour: 1.5, clamp_range: [0, 40], classification_weight: 2.0, regression_weight: 0.5}
model:
  {name: resnet34, pretrained: false, num_classes: 2, dropout: 0.3, train_backbone: false, hidden_dim: 0,
   use_cls_conditioning: true}
training: {epochs: 5, amp: false, grad_clip: null}
optimizer: {lr: 3e-4, weight_decay: 1e-3, betas: [0.8, 0.99], eps: 1e-8}
scheduler: {t_max: 30, eta_min: 1e-7}
"""
WANTED = {
    "wandb.name": "every", "out": "some/folder", "seed": 7, "micro_batch": 24, "global_batch": 24, "loader.threads": 3,
    "balance": True, "model.backbone.image_size": 64, "augment.flip_p": 0, "augment.angle": 0, "augment.brightness_p": 0,
    "augment.contrast_p": 0, "mean": 0.4, "std": 0.2, "infection_onset_hour": 1.5, "clamp_range": (0, 40),
    "loss.classification_weight": 2, "loss.regression_weight": 0.5, "model.backbone.name": "resnet34",
    "model.backbone.pretrained": False, "model.dropout": 0.3, "model.train_backbone": False, "model.hidden_dim": 0,
    "model.condition_on_class": True, "epochs": 5, "engine.dtype": "fp32", "optim.clip_norm": 0, "optim.lr": 3e-4,
    "optim.weight_decay": 1e-3, "optim.beta1": 0.8, "optim.beta2": 0.99, "schedule.min_lr": 1e-7,
    "frames.train.infected_window_hours": (1, 30), "frames.train.uninfected_window_hours": (0, 40),
    "frames.train.infected_stride": 3, "frames.train.uninfected_stride": 2, "frames.train.uninfected_use_all": False,
    "frames.val.infected_window_hours": (2, 20), "frames.val.uninfected_window_hours": (0, 40),
    "frames.val.infected_stride": 1, "frames.val.uninfected_stride": 2, "frames.val.uninfected_use_all": True,
    "frames.test.infected_window_hours": (1, 30), "frames.test.uninfected_window_hours": None,
    "frames.test.uninfected_stride": 2,
}  # fmt: skip


def parsed(*words: str) -> tuple[Run, CellsOptions]:
    """A command line as `train/launch.py cells` reads it."""
    parser = config.parser_for(CellsOptions, recipe=cells.recipe(), task="cells")
    return config.parse(parser, CellsOptions, translate_options(words, cells.SPELLINGS, {}, read_published))[:2]


def keys(held: dict, prefix: str = "") -> set[str]:
    """Dotted names of a file, data.frames left out."""
    found = set()
    for name, value in held.items():
        key = f"{prefix}{name}"
        found |= {key} if not isinstance(value, dict) else set() if key == "data.frames" else keys(value, f"{key}.")
    return found


def test_every_key_of_the_published_file_is_honoured(tmp_path):
    path = tmp_path / "cells.yaml"
    path.write_text(EVERY)
    assert {key for key, (_, who) in KEYS.items() if who == TRAIN} <= keys(yaml.safe_load(EVERY))
    plain, made = parsed("--data=d"), parsed("--config", str(path), "--data=d")

    def read(given: tuple[Run, CellsOptions], name: str) -> object:
        value = given[0] if hasattr(given[0], name.split(".")[0]) else given[1]
        for part in name.split("."):
            value = getattr(value, part)
        return value

    assert {name: read(made, name) for name in WANTED} == WANTED
    silent = [name for name in WANTED if read(plain, name) == WANTED[name]]
    assert silent == ["frames.val.infected_stride", "frames.val.uninfected_use_all"]  # train's block says nothing of val


def test_the_demos_file_trains_as_it_is_and_the_command_line_goes_before_it(cells_lab, cells_shards, tmp_path):
    words = ["cells", "--config", str(cells_lab / "cells.yaml"), "--data", cells_shards.root, "--out", str(tmp_path / "run")]
    run, options = parsed(*words[1:])
    assert (run.micro_batch, run.epochs, options.model.backbone.name) == (16, 10, "resnet18")
    assert (options.infection_onset_hour, options.clamp_range) == (1.0, (0.0, 3.5))
    assert launch.main([*words, "--steps=1", "--model.backbone.name=resnet10t"]) == 0
    held = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert (held["model"]["backbone"]["name"], held["model"]["hidden_dim"], held["optim"]["lr"]) == ("resnet10t", 256, 1e-3)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("dropout: 0.2", "dropuot: 0.2", r"model.dropuot is no key .* did you mean model.dropout"),
        ("dropout: 0.2", "dropout: 0.2, num_classes: 3", "model.num_classes=3 cannot be had"),
        ("epochs: 10", "epochs: ten", "training.epochs='ten' must be a whole number"),
        ("image_size: 48", "image_size: 48, mean: [0.4, 0.5, 0.6]", "must be one number, as pages are grey"),
    ],
)
def test_a_wrong_key_or_value_is_told_in_one_line(cells_lab, tmp_path, capsys, old, new, said):
    path = tmp_path / "cells.yaml"
    text = (cells_lab / "cells.yaml").read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=said):
        parsed("--config", str(path), "--data=d")
    assert launch.main(["cells", f"--config={path}", "--data=d"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"clamp_range": (5.0, 2.0)}, "clamp_range="),
        ({"clamp_range": (-8.0, 0.0)}, "clamp_range="),  # an error is shared by the highest target
        ({"clamp_range": (0.0, math.inf)}, "clamp_range="),
        ({"infection_onset_hour": -1.0}, "infection_onset_hour="),
        ({"infection_onset_hour": math.nan}, "infection_onset_hour="),
        ({"std": 0.0}, "std="),
        ({"mean": math.nan}, "mean="),
        ({"contrast": "auto"}, "contrast='auto' must be one of first, stack, frame, fixed"),
    ],
)
def test_options_that_make_no_sense_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        CellsOptions(**given)


def test_loss_weights_are_numbers():
    for given in ({"beta": 0.0}, {"beta": math.nan}, {"regression_weight": -1.0}, {"classification_weight": math.nan}):
        with pytest.raises(ValueError, match=rf"{next(iter(given))}="):
            CellsLoss(**given)


def test_the_demos_recipe_parses():
    run, options = parsed("--config", str(ROOT / "train" / "recipes" / "cells" / "demo.yaml"), "--data=d")
    assert (options.contrast, options.model.backbone.pretrained) == ("first", False)
    assert run.epochs > 1
