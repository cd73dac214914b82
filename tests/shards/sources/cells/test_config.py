"""Every key of the published YAML goes to packing, to training, or is named with the reason why not."""

import pytest
import yaml

from tarpon.shards.sources.cells.config import ALIASES, FRAME_KEYS, KEYS, REFUSED, read_config, read_training_part

GUIDE = """
experiment_name: multitask_resnet50
seed: 42
data:
  infected_dir: here/infected
  uninfected_dir: here/uninfected
  infected_label: 1
  uninfected_label: 0
  split_ratios: [0.7, 0.1, 0.2]
  split_seed: 123
  batch_size: 128
  eval_batch_size_multiplier: 2
  num_workers: 4
  drop_last: false
  balance_sampler: false
  transforms: {image_size: 512, random_flip: true, random_rotation: true, color_jitter: false, mean: 0.5, std: 0.25}
  frames:
    frames_per_hour: 2.0
    infected_window_hours: [1, 48]
    uninfected_window_hours: [0, 48]
    infected_stride: 1
    uninfected_stride: 1
    uninfected_use_all: true
multitask: {infection_onset_hour: 1.0, clamp_range: [0, 48], classification_weight: 1.0, regression_weight: 1.0}
model: {name: resnet50, pretrained: true, num_classes: 2, dropout: 0.2, train_backbone: true, hidden_dim: 256}
training: {epochs: 100, amp: true, grad_clip: 1.0, checkpoint_dir: checkpoints}
optimizer: {lr: 1e-4, weight_decay: 1e-4}
scheduler: {t_max: 30, eta_min: 1e-6}
logging:
analysis: {thresholds: [0.1, 0.3, 0.5], time_bins: [[0, 6], [6, 12]]}
"""


def written(tmp_path, text):
    path = tmp_path / "cells.yaml"
    path.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    return path


def changed(tmp_path, section: str, **keys):
    held = yaml.safe_load(GUIDE)
    block = held
    for name in filter(None, section.split(".")):
        block = block.setdefault(name, {})
    block |= keys
    return written(tmp_path, held)


def test_the_guide_s_file_is_taken_as_it_is(tmp_path):
    path = written(tmp_path, GUIDE)
    config = read_config(path)
    assert (config.infected_dir, config.uninfected_dir) == (tmp_path / "here/infected", tmp_path / "here/uninfected")
    assert (config.split, config.split_seed, config.frames_per_hour, config.folds) == ((0.7, 0.1, 0.2), 123, 2.0, 0)
    told = {line.partition(" ")[0] for line in config.unused}
    assert told == {
        "data.eval_batch_size_multiplier", "data.drop_last", "training.checkpoint_dir", "analysis.thresholds",
        "analysis.time_bins", "scheduler.t_max",
    }  # fmt: skip
    part = read_training_part(path)
    assert part["optimizer.lr"] == 1e-4  # which YAML reads as text
    assert part["scheduler.eta_min"] == 1e-6
    assert part["multitask.clamp_range"] == (0, 48)
    assert part["data.transforms.mean"] == (0.5,)
    for split in ("train", "val", "test"):
        assert part[f"frames.{split}.infected_window_hours"] == (1, 48)
        assert part[f"frames.{split}.uninfected_use_all"] is True


def test_no_key_is_lost_between_the_parts(tmp_path):
    path = written(tmp_path, GUIDE)
    pack = {key for key, (_, who) in KEYS.items() if who == "pack"}
    told = {line.partition(" ")[0] for line in read_config(path).unused}

    def flat(block, prefix=""):
        for name, value in block.items():
            yield from flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]

    given = set(flat(yaml.safe_load(GUIDE))) - {"logging"}
    taken = set(read_training_part(path)) | {f"data.frames.{key}" for key in FRAME_KEYS}
    assert given <= pack | told | taken


def test_a_split_s_own_frames_go_first_and_train_s_do_not_reach_the_others(tmp_path):
    path = changed(
        tmp_path, "data.frames", train={"infected_window_hours": [16, 30], "infected_stride": 2},
        evaluation={"infected_window_hours": [1, 12]}, default={"uninfected_stride": 3, "infected_window_hours": [2, 40]},
    )  # fmt: skip
    part = read_training_part(path)
    windows = [part[f"frames.{split}.infected_window_hours"] for split in ("train", "val", "test")]
    assert windows == [(16, 30), (2, 40), (1, 12)]
    assert [part[f"frames.{split}.infected_stride"] for split in ("train", "val", "test")] == [2, 1, 1]
    assert [part[f"frames.{split}.uninfected_stride"] for split in ("train", "val", "test")] == [3, 3, 3]


def test_older_and_other_spellings(tmp_path):
    held = yaml.safe_load(GUIDE)
    held["data"]["frames"] = {"window_hours": [4, 8], "uninfected_window_hours": None}
    held["training"] |= {"batch_size": 128, "k_folds": 5}
    part, config = read_training_part(written(tmp_path, held)), read_config(written(tmp_path, held))
    assert part["frames.val.infected_window_hours"] == (4, 8)
    assert part["frames.val.uninfected_window_hours"] is None
    assert part["data.batch_size"] == 128
    assert config.folds == 5
    assert config.frames_per_hour is None
    held["frames"] = held["data"].pop("frames")
    assert read_training_part(written(tmp_path, held)) == part
    held["training"]["k_folds"] = 1
    assert read_config(written(tmp_path, held)).folds == 0


@pytest.mark.parametrize(("section", "keys", "part"), [
    ("data", {"infected_label": 0}, r"data\.infected_label=0 must be 1"),
    ("data", {"batchsize": 3}, r"data\.batchsize is no key.*data\.batch_size"),
    ("data", {"label_file": "x.csv"}, r"data\.label_file cannot be used: give data\.infected_dir"),
    ("task", {"type": "regression"}, r"task cannot be used: .*multitask\.regression_weight"),
    ("", {"nonsense": 1}, r"nonsense is no key that is known here"),
    ("data.frames", {"window": [1, 2]}, r"data\.frames\.window is no key.*window_hours"),
    ("data.frames", {"test": {"frames_per_hour": 4}}, r"test\.frames_per_hour=4, but 2 elsewhere"),
    ("data.frames", {"val": 3}, r"data\.frames\.val is 3; a block"),
    ("data.frames", {"infected_window_hours": [48, 0]}, r"must be two numbers, the smaller first or empty"),
    ("data", {"split_ratios": [0.8, 0.2]}, r"split_ratios=\[0\.8, 0\.2\] must be three numbers"),
    ("training", {"batch_size": 32}, r"data\.batch_size is given twice, as 128 and 32"),
    ("training", {"epochs": "many"}, r"training\.epochs='many' must be a whole number"),
    ("data", {"split_ratios": [0.8, float("nan"), 0.2]}, r"must be three numbers"),
    ("optimizer", {"lr": float("inf")}, r"optimizer\.lr=inf must be a number"),
    ("training", {"epochs": float("inf")}, r"training\.epochs=inf must be a whole number"),
    ("training", {"amp": 1}, r"training\.amp=1 must be true or false"),
    ("scheduler", {"type": "step"}, r"scheduler\.type='step' must be cosine"),
    ("data", {"infected_dir": None}, r"data\.infected_dir"),
])  # fmt: skip
def test_what_cannot_be_used_is_named(section, keys, part, tmp_path):
    path = changed(tmp_path, section, **keys)
    with pytest.raises(ValueError, match=part):
        read_config(path)


@pytest.mark.parametrize("text", ["", "- 1\n", "a: [", "data:\n"])
def test_other_files_are_told(text, tmp_path):
    with pytest.raises(ValueError, match=r"cells\.yaml"):
        read_config(written(tmp_path, text))


def test_folders_lie_beside_the_file_or_where_one_stands(tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    (tmp_path / "here" / "infected").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = read_config(written(tmp_path / "conf", GUIDE))
    assert config.infected_dir.resolve() == tmp_path / "here/infected"
    assert config.uninfected_dir == tmp_path / "conf/here/uninfected"  # there is none: named beside the file


def test_the_tables_do_not_contradict_one_another():
    assert not set(KEYS) & set(REFUSED)
    assert not set(KEYS) & set(ALIASES)
    assert set(ALIASES.values()) <= set(KEYS)
