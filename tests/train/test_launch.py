"""Whole runs by the entry point: processes, stopping and going on, and what is written."""

import json
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tarpon.shards.manifest import open_manifest
from tarpon.train import launch
from tarpon.train.checkpoint import load_tensors
from tarpon.train.tasks.mouse.metrics.trial import load_trials

CONSTANT = ("--schedule.kind=constant", "--global_batch=2")  # the horizon does not change the rate


def same(first: dict[int, float], second: dict[int, float]) -> bool:
    return first.keys() == second.keys() and all(first[step] == second[step] for step in first)


def finished(process) -> str:
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text[-3000:]
    return text


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(run, spawn, losses, tmp_path):
    options = ("--model.dropout=0", "--model.head_dropout=0", "--global_batch=2", "--steps=20", "--engine.zero_stage=1")
    many = spawn("two", *options, processes=2)
    one = losses(run("one", *options))
    finished(many)
    two = losses(tmp_path / "two")
    assert list(two) == list(range(1, 21))
    assert two == pytest.approx(one, abs=1e-4)
    assert one[20] < one[1]
    assert json.loads((tmp_path / "two" / "run.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_one_process_under_zero_1_goes_on_as_two_under_zero_2_within_an_epoch(run, spawn, losses, tmp_path):
    options = (*CONSTANT, "--model.dropout=0", "--model.head_dropout=0")
    unbroken = losses(run("unbroken", *options, "--steps=12"))
    run("a", *options, "--steps=7", "--engine.zero_stage=1")  # two steps an epoch: 7 is in the middle of one
    finished(spawn("a", *options, "--steps=12", "--engine.zero_stage=2", "--resume=true", processes=2))
    assert losses(tmp_path / "a") == pytest.approx(unbroken, abs=1e-4)


@pytest.mark.slow
def test_two_processes_agree_on_batch_norms_and_on_scores(run, spawn, tmp_path):
    options = (
        "--model.backbone.name=lcnet_035",
        "--model.backbone.image_size=64",
        "--freeze_backbone_epochs=0",
        "--global_batch=2",
        "--steps=4",
        "--optim.lr=1e-2",
    )
    finished(spawn("two", *options, processes=2))
    out = tmp_path / "two"
    logged = next(line for line in map(json.loads, (out / "metrics.jsonl").read_text().splitlines()) if "val/loss" in line)
    final = json.loads((out / "metrics.json").read_text())
    # the first were scored by what each process held in training, the second by what rank 0 had saved
    assert {name: logged[f"val/{name}"] for name in final["val"]} == pytest.approx(final["val"], rel=1e-5)
    shutil.copytree(out, tmp_path / "one")  # three windows of 160 cover 360 frames: two processes have a padded one
    run("one", *options, "--resume=true")
    again = json.loads((tmp_path / "one" / "metrics.json").read_text())
    for split in ("val", "test"):
        assert again[split] == pytest.approx(final[split], rel=1e-5)


def test_stopping_at_step_7_and_going_on_is_bit_identical_with_dropout(run, losses):
    """Step 7 is within epoch 3; then again at 9; then from the start of epoch 5, 10 steps in."""
    unbroken = losses(run("unbroken", *CONSTANT, "--steps=14"))
    for steps in (7, 9, 10, 14):
        out = run("broken", *CONSTANT, f"--steps={steps}", "--resume=true" if steps > 7 else "--resume=false")
    assert list(unbroken) == list(range(1, 15))
    assert same(losses(out), unbroken)


def test_an_average_of_the_weights_goes_on_bit_identically_and_is_what_is_exported(run, tmp_path):
    options = (*CONSTANT, "--use_ema", "--ema_decay=0.9", "--eval_every=1")
    whole = run("unbroken", *options, "--steps=8")
    run("broken", *options, "--steps=5")
    broken = run("broken", *options, "--steps=8", "--resume=true")
    ends = [load_tensors(out / "checkpoints" / "last.safetensors")[0] for out in (whole, broken)]
    assert any(name.startswith("ema/") for name in ends[0])
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    held = torch.load(whole / "best_model_multitask.pt", map_location="cpu", weights_only=True)
    best, meta = load_tensors(whole / "best.safetensors")
    assert all(torch.equal(held["ema_state_dict"][name], value) for name, value in best.items())
    if meta["step"] == 8:  # the best may be an earlier one
        assert all(torch.equal(ends[0][f"ema/{name}"], best[name]) for name in best)
    with pytest.raises(AssertionError):  # what it was trained without cannot be gone on with
        run("broken", *CONSTANT, "--steps=9", "--resume=true")


@pytest.mark.parametrize("stage", [0, 1])
def test_going_on_where_the_backbone_thaws_is_bit_identical(run, losses, stage):
    options = (*CONSTANT, f"--engine.zero_stage={stage}", "--freeze_backbone_epochs=2")
    unbroken = losses(run("unbroken", *options, "--steps=8"))
    run("broken", *options, "--steps=4")
    assert same(losses(run("broken", *options, "--steps=8", "--resume=true")), unbroken)


def test_another_zero_stage_goes_on(run, losses):
    options = (*CONSTANT, "--model.dropout=0", "--model.head_dropout=0")
    unbroken = losses(run("unbroken", *options, "--steps=10"))
    run("broken", *options, "--steps=5", "--engine.zero_stage=1")
    assert losses(run("broken", *options, "--steps=10", "--resume=true")) == pytest.approx(unbroken, abs=1e-4)


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_identically(run, spawn, losses, tmp_path):
    options = ("--global_batch=2", "--steps=400", "--save_every=7", "--epochs=1")  # the cosine's horizon is the same throughout
    process, out = spawn("killed", *options), tmp_path / "killed"
    waited = time.monotonic() + 120
    while not (out / "checkpoints" / "last.safetensors").exists() and process.poll() is None and time.monotonic() < waited:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, meta = load_tensors(out / "checkpoints" / "last.safetensors")
    begun = meta["position"]["step"]
    assert begun % 7 == 0
    with pytest.MonkeyPatch.context() as patch:  # 400 steps twice would take a minute: both stop a little after the kill
        patch.setattr(launch, "train", until(begun + 5))
        run("killed", *options, "--resume=true")
        run("unbroken", *options)
    assert same(losses(out), losses(tmp_path / "unbroken"))


def until(step: int):
    """The loop, left by an early stop after a step (with the horizon of the whole run)."""
    real = launch.train

    def short(run, problem, engine, sink, *, state, evaluate, keep_best, **rest):
        class Stop(Exception):
            """Enough."""

        class Sink:
            image, close = sink.image, sink.close

            def write(self, at, scalars, *, epoch):
                sink.write(at, scalars, epoch=epoch)
                if at >= step:
                    raise Stop

        try:
            return real(run, problem, engine, Sink(), state=state, evaluate=evaluate, keep_best=keep_best, **rest)
        except Stop:
            keep_best(evaluate())
            return state

    return short


@pytest.mark.slow
def test_a_training_says_its_own_words_alone(spawn, tmp_path):
    lines = finished(spawn("quiet", "--steps=4", "--eval_every=1", "--global_batch=2")).splitlines()
    begun = ("train     mouse on ", "data      ", "device    CPU, ", "steps     4: ", "out       ")
    assert lines[0].startswith(begun[0])
    assert [line[:10] for line in lines if line.startswith(begun)] == [start[:10] for start in begun]
    told = [line for line in lines if line.startswith("step ")]
    assert [line.split()[1] for line in told if " val macro_f1 " in line] == ["2/4", "4/4"]
    assert any(line.startswith("trained   ") for line in lines)
    assert lines[-2].startswith(f"next      tarpon report {tmp_path / 'quiet'} ")
    libraries = (tmp_path / "quiet" / "log.txt").read_text()
    assert "built successfully" in libraries
    assert not set(libraries.splitlines()) & set(lines)


def test_metrics_json_is_flat_and_complete(whole):
    scores = json.loads((whole / "metrics.json").read_text())
    assert set(scores) == {"val", "test", "best_step", "steps"}
    for split in ("val", "test"):
        assert {"loss", "macro_f1", "accuracy", "keypoint_mae", "f1_paw_withdraw", "segment_f1_50"} <= set(scores[split])
        assert all(isinstance(value, float) and np.isfinite(value) for value in scores[split].values())
        assert all(name == name.lower().replace("-", "_") for name in scores[split])
    assert scores["steps"] == 6


def test_a_bare_flag_is_an_option_of_the_run(whole):
    assert "\nverbose: true\n" in (whole / "run.yaml").read_text()
    assert not (whole / "log.txt").exists()  # in a test's own process nothing is taken


def test_the_best_weights_are_those_of_the_best_score(whole):
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    values = {line["step"]: line["val/macro_f1"] for line in lines if "val/macro_f1" in line}
    scores = json.loads((whole / "metrics.json").read_text())
    assert values[scores["best_step"]] == max(values.values()) == pytest.approx(scores["val"]["macro_f1"], rel=1e-6)
    assert sum("test/macro_f1" in line for line in lines) == 1  # the test split is read once


def test_the_exported_checkpoint_holds_plain_values_alone(whole):
    held = torch.load(whole / "best_model_multitask.pt", map_location="cpu", weights_only=True)
    assert set(held) == {
        "model_state_dict",
        "ema_state_dict",
        "classes",
        "orig_classes",
        "col_map",
        "merge_idxs",
        "best_thresholds",
        "kp_names",
        "val_metrics",
        "args",
    }
    best, meta = load_tensors(whole / "best.safetensors")
    assert held["model_state_dict"].keys() == best.keys()
    assert all(torch.equal(held["model_state_dict"][name], best[name]) for name in best)
    assert held["classes"] == ["rest", "paw_withdraw", "paw_lick", "paw_shake", "walk", "active"]
    assert (len(held["orig_classes"]), held["col_map"][5], held["merge_idxs"]) == (8, 1, [1, 3, 5])
    assert len(held["best_thresholds"]) == 6
    assert held["val_metrics"] == json.loads((whole / "metrics.json").read_text())["val"]
    assert held["args"]["run"]["optim"]["lr"] == 1e-3
    assert meta["step"] == json.loads((whole / "metrics.json").read_text())["best_step"]


def test_a_video_backbone_trains_and_thaws(run):
    """One training trial of two steps an epoch; the loop itself refuses a backbone that does not move once thawed."""
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    tiny = [f"--model.video_backbone.overrides.{name}={value}" for name, value in sizes.items()]
    options = ("--backbone_type=videomae2_3d", "--model.video_backbone.pretrained=false", "--img_size=32", *tiny)
    out = run("video", *options, "--global_batch=2", "--steps=14", "--window.val_frames=360")
    held = torch.load(out / "best_model_multitask.pt", map_location="cpu", weights_only=True)
    assert held["args"]["task"]["model"]["backbone_type"] == "videomae2_3d"
    assert any(name.startswith("encoder.") for name in held["model_state_dict"])


def test_predictions_are_whole_trials(whole, shards):
    manifest = open_manifest(shards)
    for split in ("val", "test"):
        trials, classes, points = load_trials(whole / "predictions" / f"{split}.npz")
        (row,) = manifest.rows(split)
        frames = manifest.value(row, "frames")
        assert [(trial.key, len(trial.actions)) for trial in trials] == [(manifest.value(row, "key"), frames)]
        assert trials[0].keypoints_pred.shape == (frames, 6, 2)
        assert (len(classes), len(points)) == (6, 6)


def test_tensorboard_has_scalars_and_pictures(whole):
    events = EventAccumulator(str(whole / "tensorboard"))
    events.Reload()
    names = {"train/loss", "train/lr", "val/main/macro_f1", "val/main/accuracy", "val/detail/f1_rest", "speed/wait_share"}
    assert names <= set(events.Tags()["scalars"])
    assert "test/text_summary" in events.Tags()["tensors"]
    pictures = {"confusion", "ethogram", "pr_curves", "frames"}
    assert {f"{split}/{name}" for split in ("val", "test") for name in pictures} <= set(events.Tags()["images"])
    assert {"val/pr_rest", "test/pr_rest"} <= set(events.PluginTagToContent("pr_curves"))
    assert "best/test/macro_f1" in events.Tags()["scalars"]  # beside the options, on the HPARAMS page
