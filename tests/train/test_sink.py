"""Lines of a run, its stop and its going on."""

import importlib.util
import json
import time

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.util.tensor_util import make_ndarray

from tarpon.train.sink import JsonLines, MultiSink, TensorBoard, WandB


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def steps(path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_lines_can_be_read_while_the_run_goes_on(path):
    sink = JsonLines(path, keep_to=0)
    sink.write(1, {"loss": 0.5}, epoch=0)
    assert json.loads(path.read_text()) == {"step": 1, "epoch": 0, "loss": 0.5}
    sink.close()


def test_resuming_drops_what_came_after_the_checkpoint_and_a_half_line(path):
    sink = JsonLines(path, keep_to=0)
    for step in (1, 2, 3, 4):
        sink.write(step, {"loss": 1.0}, epoch=0)
    sink.close()
    with path.open("a") as file:
        file.write('{"step": 2, "epoch": 0, "lo')
    sink = JsonLines(path, keep_to=2)
    assert steps(path) == [1, 2]
    sink.write(3, {"loss": 2.0}, epoch=0)
    sink.close()
    assert steps(path) == [1, 2, 3]


def test_every_step_stands_once_after_a_resume(tmp_path, path):
    """Ended after step 12, gone on with from 10: also the line that was written of step 10 last of all."""

    def part(begun: int, steps: range) -> None:
        fan = MultiSink([JsonLines(path, keep_to=begun), TensorBoard(tmp_path / "tb", keep_to=begun, main=("f1",))])
        if begun:
            fan.write(begun, {"test/f1": 0.5}, epoch=0)
        for step in steps:
            fan.write(step, {"loss": 1.0 / step}, epoch=0)
            if step % 5 == 0:
                fan.write(step, {"val/f1": step / 100}, epoch=0)
        if not begun:
            fan.write(10, {"test/f1": 0.5}, epoch=0)
        fan.flush()
        fan.close()

    part(0, range(1, 11))
    with path.open("a") as file:
        file.write('{"step": 11, "epoch": 0, "loss": 1}\n{"step": 12, "epo')
    size = path.stat().st_ino
    time.sleep(1.1)  # TensorBoard orders its files by the second
    part(10, range(11, 15))
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 15))
    assert [event.step for event in events.Scalars("train/epoch")] == list(range(1, 15))
    assert [event.step for event in events.Scalars("val/main/f1")] == [5, 10]
    assert [event.step for event in events.Tensors("test/text_summary")] == [10]
    assert set(events.Tags()["scalars"]) == {"train/loss", "train/epoch", "val/main/f1"}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 15))
    assert [line["step"] for line in lines if "test/f1" in line] == [10]
    assert path.stat().st_ino == size  # cut, not written anew


def test_a_start_that_saved_nothing_leaves_no_points(tmp_path, path):
    for loss in (1.0, 2.0):
        fan = MultiSink([JsonLines(path, keep_to=0), TensorBoard(tmp_path / "tb", keep_to=0)])
        fan.write(1, {"loss": loss}, epoch=0)
        fan.close()
        time.sleep(1.1)
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [event.value for event in events.Scalars("train/loss")] == [2.0]
    assert [json.loads(line)["loss"] for line in path.read_text().splitlines()] == [2.0]


def test_every_sink_of_a_fan_gets_everything(tmp_path, path):
    fan = MultiSink([JsonLines(path, keep_to=0), TensorBoard(tmp_path / "tb")])
    fan.write(3, {"val/loss": 0.25}, epoch=1)
    fan.image(3, "val/confusion", np.zeros((4, 5, 3), np.uint8))
    fan.close()
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("val/detail/loss")] == [(3, 0.25)]
    assert (events.Images("val/confusion")[0].width, events.Images("val/confusion")[0].height) == (5, 4)
    assert steps(path) == [3]


def test_charts_are_grouped_and_none_has_one_point(tmp_path):
    sink = TensorBoard(tmp_path, main=("macro_f1", "loss"))
    for step in (2, 4):
        training = {"loss": 1.0, "loss/actions": 0.5, "lr": 0.1, "gradient_norm": 2.0}
        sink.write(step, training | {"frames_per_s": 9.0, "loader/wait_share": 0.1}, epoch=1)
        sink.write(step, {"val/loss": 1.0, "val/macro_f1": 0.5, "val/f1_walk": 0.5}, epoch=1)
        sink.write(step, {"time/forward": 0.5}, epoch=1)
    sink.write(4, {"test/macro_f1": 0.25, "test/f1_walk": 0.125}, epoch=2)
    sink.hparams(4, {"optim.lr": 0.1}, {"test/macro_f1": 0.25})
    sink.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    names = ("train/loss", "train/loss/actions", "train/lr", "train/gradient_norm", "train/epoch")
    names += ("speed/frames_per_s", "speed/wait_share", "time/forward")
    names += ("val/main/loss", "val/main/macro_f1", "val/detail/f1_walk", "best/test/macro_f1")
    assert set(events.Tags()["scalars"]) == set(names)
    assert all(len(events.Scalars(name)) == 2 for name in names)
    (told,) = events.Tensors("test/text_summary")
    assert "| macro_f1 | 0.2500 |" in make_ndarray(told.tensor_proto).item().decode()


def test_a_fan_of_nothing_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fan = MultiSink()
    fan.write(1, {"loss": 1.0}, epoch=0)
    fan.image(1, "x", np.zeros((1, 1, 3), np.uint8))
    fan.pr_curve(1, "x", np.array([True]), np.array([0.5]))
    fan.hparams(1, {"lr": 1.0}, {"val/macro_f1": 0.5})
    fan.close()
    assert list(tmp_path.iterdir()) == []


def test_options_and_scores_stand_in_the_run_itself(tmp_path, path):
    sink = MultiSink([JsonLines(path, keep_to=0), TensorBoard(tmp_path / "tb")])
    sink.write(7, {"val/macro_f1": 0.25}, epoch=1)
    sink.hparams(7, {"optim.lr": 5e-5, "model": "vit_small", "ema.enabled": True, "weights": None}, {"val/macro_f1": 0.75})
    sink.close()
    assert [file.is_dir() for file in (tmp_path / "tb").iterdir()] == [False]  # one event file, no run below
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    content = events.PluginTagToContent("hparams")
    stored = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG]).hparams
    assert {name: value.number_value or value.string_value for name, value in stored.items()} == {
        "optim.lr": 5e-5,
        "model": "vit_small",
        "ema.enabled": 1.0,
    }
    experiment = metadata.parse_experiment_plugin_data(content[metadata.EXPERIMENT_TAG])
    assert [metric.name.tag for metric in experiment.metric_infos] == ["best/val/macro_f1"]
    assert [(event.step, event.value) for event in events.Scalars("best/val/macro_f1")] == [(0, 0.75), (7, 0.75)]
    assert [(event.step, event.value) for event in events.Scalars("val/detail/macro_f1")] == [(7, 0.25)]
    assert steps(path) == [7]


def test_tensorboard_has_the_precision_recall_curve(tmp_path):
    sink = TensorBoard(tmp_path)
    sink.pr_curve(5, "val/pr_walk", np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.1], np.float32))
    sink.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert "val/pr_walk" in events.PluginTagToContent("pr_curves")
    (event,) = events.Tensors("val/pr_walk")
    *_, precision, recall = make_ndarray(event.tensor_proto)  # at 127 thresholds, rising
    assert event.step == 5
    assert (precision[0], recall[0]) == (0.5, 1.0)
    assert (precision[95], recall[95]) == (0.5, 0.5)  # threshold 0.75: two are taken, one of them rightly
    assert (precision[108], recall[108]) == (1.0, 0.5)  # 0.86


@pytest.fixture
def wandb(monkeypatch):
    """The library, its runs kept in the folder; it reads its environment once, so each test ends its service."""
    library = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield library
    library.teardown()


def test_wandb_keeps_one_run_over_a_resume(wandb, tmp_path):
    for loss in (0.53125, 0.28125):
        config = {"optim.lr": 5e-5}
        sink = WandB(tmp_path, project="p", entity="lab", name="vit_small_b2", config=config, tags=["multitask"])
        sink.write(3, {"loss": loss, "val/macro_f1": 0.5}, epoch=1)
        sink.image(3, "val/confusion", np.zeros((4, 5, 3), np.uint8))
        sink.pr_curve(3, "val/pr_walk", np.array([True]), np.array([0.5]))
        sink.hparams(3, {"optim.lr": 5e-5, "weights": None}, {"val/macro_f1": 0.625})
        sink.close()
        wandb.teardown()  # the end of the process: its service writes the last lines only then
    run = (tmp_path / "wandb_id.txt").read_text().strip()
    logs = list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert logs
    assert {log.name for log in logs} == {f"run-{run}.wandb"}
    stored = b"".join(log.read_bytes() for log in logs)  # values stand in it as JSON
    for words in (b"vit_small_b2", b"multitask", b"optim.lr", b"0.53125", b"0.28125", b"best/val/macro_f1", b"0.625"):
        assert words in stored
    assert list((tmp_path / "wandb").glob("offline-run-*/files/media/images/val/confusion_3_*.png"))


def test_wandb_switched_off_leaves_no_run_to_go_on_with(wandb, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    sink = WandB(tmp_path, project="p", name="n", config={})
    sink.write(1, {"loss": 1.0}, epoch=0)
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_wandb_without_an_account_is_one_line(wandb, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "not a key")
    with pytest.raises(ValueError, match=r"^Weights & Biases: .*; set WANDB_MODE=offline to keep the run here$"):
        WandB(tmp_path, project="p", name="n", config={})
    assert not (tmp_path / "wandb_id.txt").exists()


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_without_wandb_the_user_is_told_what_to_install(tmp_path):
    with pytest.raises(ValueError, match=r"pip install 'tarpon\[wandb\]'"):
        WandB(tmp_path, project="p", name="n", config={})
