"""The loop on a toy problem: freezing, logging, evaluating, stopping."""

import json
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tarpon.train.alive import Watch
from tarpon.train.checkpoint import Position
from tarpon.train.config import EmaOptions, EngineOptions, Optim, Run, Schedule
from tarpon.train.ema import Ema, decay_at
from tarpon.train.engine import Engine
from tarpon.train.evaluate import evaluate
from tarpon.train.loop import train
from tarpon.train.meter import NonFinite
from tarpon.train.schedule import Plateau
from tarpon.train.sink import JsonLines, MultiSink
from tarpon.train.stepper import State
from tarpon.train.stop import Signals, Stopped

RUN = Run(
    data="toy",
    micro_batch=4,
    global_batch=4,
    epochs=3,
    log_every=1,
    freeze_backbone_epochs=0,
    optim=Optim(lr=0.01),
    schedule=Schedule(warmup_epochs=0),
    engine=EngineOptions(dtype="fp32"),
)


@pytest.fixture
def trained(context, toy, tmp_path):
    """(run, toy's arguments) -> what happened: lines, weights at each evaluation, saved positions, the last state."""

    def go(
        run: Run = RUN, *, state: State | None = None, signals: Signals | None = None, happened: dict | None = None, **given
    ):
        problem = toy(**given)
        engine, ema = Engine.of(run, context, problem.model, problem.groups), Ema(problem.model, run.ema)
        weights, saved, best = [{n: p.detach().clone() for n, p in problem.model.named_parameters()}], [], []

        def score():
            weights.append({n: p.detach().clone() for n, p in problem.model.named_parameters()})
            return evaluate(problem, "val", autocast=engine.autocast)

        if happened is not None:
            happened["saved"] = saved
        path = tmp_path / "metrics.jsonl"
        path.unlink(missing_ok=True)
        state = state or State(at=Position(), plateau=Plateau())
        last = train(
            run,
            problem,
            engine,
            MultiSink([JsonLines(path, keep_to=0)]),
            state=state,
            ema=ema,
            evaluate=score,
            save=lambda s: saved.append(s.at),
            keep_best=best.append,
            signals=signals or Signals(),
            watch=Watch(rank=0, world=1, timeout_s=60),
        )
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return {"lines": lines, "weights": weights, "saved": saved, "best": best, "state": last, "ema": ema}

    return go


def moved(before: dict, after: dict, part: str) -> bool:
    return any(not torch.equal(before[name], after[name]) for name in before if name.startswith(part))


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_the_backbone_is_still_while_frozen_and_moves_after(trained, stage, dtype):
    run = replace(RUN, freeze_backbone_epochs=1, engine=EngineOptions(zero_stage=stage, dtype=dtype), epochs=2)
    start, frozen, thawed = trained(run, steps_per_epoch=12)["weights"]
    assert not moved(start, frozen, "encoder")
    assert moved(start, frozen, "head")
    assert moved(frozen, thawed, "encoder.weight")
    assert moved(frozen, thawed, "encoder.bias")
    assert moved(frozen, thawed, "head")


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_the_first_step_after_the_thaw_is_adam_s_first(trained, stage):
    """Adam's bias correction makes a first step of the size of the rate; a counter that ran on while frozen would not."""
    run = replace(
        RUN,
        freeze_backbone_epochs=1,
        steps=13,
        engine=EngineOptions(zero_stage=stage, dtype="fp32"),
        optim=Optim(lr=0.01, weight_decay=0.0),
        schedule=Schedule(kind="constant", warmup_epochs=0),
    )
    _, frozen, thawed = trained(run, steps_per_epoch=12)["weights"]
    step = (thawed["encoder.weight"] - frozen["encoder.weight"]).abs()
    assert float(step.median()) == pytest.approx(0.01, rel=0.01)


def test_a_backbone_that_should_move_and_does_not_stops_the_run(trained, toy):
    run = replace(RUN, freeze_backbone_epochs=1, epochs=2, optim=Optim(lr=0.01, weight_decay=0.0))
    with pytest.raises(RuntimeError, match="no parameter of the backbone moved"):
        trained(run, steps_per_epoch=12, freeze=lambda on: None, model=(model := toy().model), groups=stuck(model))


def stuck(model: torch.nn.Module) -> dict:
    """Groups whose backbone is not part of the model's forward."""
    model.unused = torch.nn.Parameter(torch.ones(3))
    return {"backbone/no_decay": {"unused": model.unused}, "rest/decay": {"head.weight": model.head.weight}}


def test_a_frozen_backbone_that_moves_stops_the_run(trained, toy):
    model = toy().model
    problem = {
        "model": model,
        "groups": {"rest/decay": dict(model.named_parameters()), "backbone/decay": {"encoder.bias": model.encoder.bias}},
    }
    problem["groups"]["rest/decay"].pop("encoder.bias")

    def push(on: bool) -> None:
        with torch.no_grad():
            model.encoder.bias.add_(0.0 if on else 1.0)

    run = replace(RUN, freeze_backbone_epochs=3)
    count = lambda batch: push(False) or 4  # noqa: E731  the loop calls it at every micro-batch
    with pytest.raises(RuntimeError, match="1 frozen parameters of the backbone moved"):
        trained(run, freeze=lambda on: None, count=count, **problem)


def test_early_stop_stops_and_a_stopped_run_stays_stopped(trained):
    scores = iter([0.5, 0.6, 0.4, 0.6, 0.5, 0.9])
    seen = trained(replace(RUN, epochs=6, early_stop_patience=3), score=lambda: next(scores))
    assert seen["state"].at.epoch == 5
    assert seen["state"].plateau.best == 0.6
    assert len(seen["best"]) == 2
    again = trained(replace(RUN, epochs=6, early_stop_patience=3), state=seen["state"])
    assert again["lines"] == []
    off = trained(replace(RUN, epochs=6, early_stop_patience=0), state=seen["state"])
    assert off["state"].at.epoch == 6


def test_the_rate_falls_on_a_plateau(trained):
    run = replace(RUN, epochs=4, schedule=Schedule(kind="plateau", patience=1, factor=0.5, warmup_epochs=0))
    seen = trained(run)
    assert [line["lr"] for line in seen["lines"] if "lr" in line][::4] == pytest.approx([0.01, 0.01, 0.005, 0.0025])


def test_logging_evaluating_and_saving_come_when_they_should(trained):
    seen = trained(replace(RUN, epochs=3, eval_every=2, log_every=3, save_every=5))
    assert [at.step for at in seen["saved"]] == [5, 8, 10, 12]  # epochs of 4 steps, evaluated after the 2nd and at the end
    assert [line["step"] for line in seen["lines"] if "loss" in line] == [3, 4, 5, 6, 8, 9, 10, 12]  # also as epochs end
    assert [line["step"] for line in seen["lines"] if "val/score" in line] == [8, 12]
    assert seen["saved"][-1] == Position(step=12, epoch=3, micro=0)


def test_a_logged_loss_is_the_mean_since_the_last_line(trained):
    every = {line["step"]: line["loss"] for line in trained(replace(RUN, eval_every=9))["lines"] if "loss" in line}
    seen = {line["step"]: line["loss"] for line in trained(replace(RUN, log_every=4, eval_every=9))["lines"] if "loss" in line}
    assert seen == pytest.approx({at: sum(every[at - i] for i in range(4)) / 4 for at in (4, 8, 12)})


def test_accumulation_gives_the_steps_of_the_whole_batch(trained):
    seen = trained(replace(RUN, global_batch=8, epochs=2))
    assert seen["state"].at == Position(step=8, epoch=2, micro=0)


def test_a_loss_that_is_no_number_stops_the_run(trained):
    with pytest.raises(FloatingPointError, match="non-finite loss"):
        trained(loss=lambda out, batch: {"label": out["score"].mean() * float("nan")})


@pytest.mark.parametrize("stage", [0, 1])
def test_what_is_evaluated_is_the_average_and_training_goes_on_from_its_own_weights(trained, stage):
    run = replace(RUN, epochs=2, engine=EngineOptions(dtype="fp32", zero_stage=stage))
    plain, averaged = trained(run), trained(replace(run, ema=EmaOptions(enabled=True)))
    losses = [[line["loss"] for line in got["lines"] if "loss" in line] for got in (plain, averaged)]
    assert losses[0] == losses[1]  # the average changes nothing of the training
    live, mean = plain["weights"][-1], averaged["weights"][-1]
    assert all(not torch.equal(live[name], mean[name]) for name in live)
    assert all(torch.equal(mean[name], value) for name, value in averaged["ema"].tensors().items())


def test_the_average_is_that_of_the_weights_after_each_step(trained):
    """eval_every 1 and one step an epoch show the weights after every step to a run without an average."""
    run = replace(RUN, epochs=6)
    steps = trained(run, steps_per_epoch=1)["weights"]
    mean = {name: value.double() for name, value in steps[0].items()}
    for number, weights in enumerate(steps[1:], start=1):
        keep = decay_at(number, decay=0.999)
        mean = {name: keep * mean[name] + (1 - keep) * weights[name].double() for name in mean}
    got = trained(replace(run, ema=EmaOptions(enabled=True)), steps_per_epoch=1)["ema"].tensors()
    assert all(torch.allclose(got[name].double(), mean[name], atol=1e-6) for name in mean)


def test_a_signal_is_heard_after_the_step_and_saved(trained, toy):
    """Noted within a step: that step is finished, logged and saved, and no more is taken."""
    signals, real = Signals(), signal.raise_signal

    def at_step_5(out: dict, batch: dict) -> dict:
        seen.append(1)
        if len(seen) == 5:
            real(signal.SIGTERM)
        return {"label": out["score"].square().mean()}

    seen: list[int] = []
    happened: dict = {}
    with signals, pytest.raises(Stopped) as stopped, signals.noting():
        trained(replace(RUN, log_every=100), signals=signals, loss=at_step_5, happened=happened)
    assert (stopped.value.status, stopped.value.saved) == (143, True)
    assert [at.step for at in happened["saved"]] == [4, 5]  # at the end of the epoch and at the signal
    assert len(seen) == 5 + 1  # one of the evaluation


def test_each_evaluation_is_a_line_each_epoch_has_its_verdict_and_the_end_sums_up(trained, capsys, monkeypatch):
    monkeypatch.setattr("tarpon.train.console.VERDICT_S", 0.0)
    scores = iter([0.5, 0.25, 0.75])
    seen = trained(RUN, score=lambda: next(scores))
    first, verdict, second, _, third, _, trained_for = capsys.readouterr().out.splitlines()
    assert first.startswith("step 4/12  epoch 1/3  val score 0.5000 best  loss ")
    assert second.startswith("step 8/12  epoch 2/3  val score 0.2500 (best 0.5000 at step 4)  loss ")
    assert third.startswith("step 12/12  epoch 3/3  val score 0.7500 best  loss ")
    assert verdict.startswith("time      ")
    assert "first step" in verdict
    assert trained_for.startswith("trained   ")
    times = [line for line in seen["lines"] if "time/forward" in line]
    assert [line["step"] for line in times] == [4, 8, 12]
    assert all(0 < sum(value for name, value in line.items() if name.startswith("time/")) <= 1 for line in times)
    seen = trained(replace(RUN, eval_every=3, log_every=100))  # the time is told at each epoch all the same
    assert [line[:4] for line in capsys.readouterr().out.splitlines()] == ["time", "time", "step", "time", "trai"]
    assert [line["step"] for line in seen["lines"] if "time/forward" in line] == [4, 8, 12]


def test_an_early_stop_says_why(trained, capsys):
    scores = iter([0.6, 0.5, 0.4])
    trained(replace(RUN, epochs=9, early_stop_patience=2), score=lambda: next(scores))
    lines = capsys.readouterr().out.splitlines()
    words = "stopped early at step 12: no better val score in 2 evaluations, best 0.6000 at step 4; --early_stop_patience 2"
    assert words in lines
    assert lines[-1].startswith("trained   ")


def test_a_checkpoint_is_due_by_the_clock(trained, monkeypatch):
    clock = iter(range(0, 10_000_000, 40))  # seconds: a step looks once, a save once more
    own = SimpleNamespace(monotonic=lambda: next(clock), perf_counter=time.perf_counter)  # other threads keep theirs
    monkeypatch.setattr("tarpon.train.loop.time", own)
    saved = trained(replace(RUN, epochs=100, steps=8, eval_every=100, save_minutes=1.0))["saved"]
    assert [at.step for at in saved] == [2, 4, 6, 8]


def test_signals_outside_of_a_training_end_at_once_and_a_second_ctrl_c_too():
    with Signals() as signals:
        with pytest.raises(Stopped) as first:
            signal.raise_signal(signal.SIGINT)
        assert first.value.status == 130

    def thrice(signals: Signals) -> None:
        with signals.noting():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)  # the launcher's, after the user's
            assert signals.asked == signal.SIGINT
            signal.raise_signal(signal.SIGINT)

    with Signals() as signals, pytest.raises(Stopped):
        thrice(signals)


def test_a_loss_that_is_no_number_names_the_step_and_its_rows(trained):
    def nan_at_step_6(out: dict, batch: dict) -> dict:
        seen.append(1)
        return {"label": out["score"].square().mean() * (float("nan") if len(seen) == 7 else 1.0)}  # one was of an evaluation

    seen: list[int] = []
    with pytest.raises(NonFinite) as caught:
        trained(replace(RUN, log_every=100, optim=Optim(lr=0.01, clip_norm=0)), loss=nan_at_step_6)
    assert caught.value.at.step == 5
    assert caught.value.rows[5] == [0, 1, 2, 3]
