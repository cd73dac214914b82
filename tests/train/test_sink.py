"""Lines of a run, its stop and its going on."""

import json

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tarpon.train.sink import Fan, JsonLines, TensorBoard


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


def test_every_sink_of_a_fan_gets_everything(tmp_path, path):
    fan = Fan([JsonLines(path, keep_to=0), TensorBoard(tmp_path / "tb")])
    fan.write(3, {"val/loss": 0.25}, epoch=1)
    fan.image(3, "val/confusion", np.zeros((4, 5, 3), np.uint8))
    fan.close()
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("val/loss")] == [(3, 0.25)]
    assert (events.Images("val/confusion")[0].width, events.Images("val/confusion")[0].height) == (5, 4)
    assert steps(path) == [3]


def test_a_fan_of_nothing_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fan = Fan()
    fan.write(1, {"loss": 1.0}, epoch=0)
    fan.image(1, "x", np.zeros((1, 1, 3), np.uint8))
    fan.close()
    assert list(tmp_path.iterdir()) == []
