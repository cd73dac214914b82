"""The run folder: what is written into it, and when. Every rank calls; only rank 0 writes, but for shares of predictions."""

import json
import os
import platform
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import yaml

from tarpon.shards import atomic
from tarpon.train import checkpoint
from tarpon.train.collect import collect
from tarpon.train.ema import Ema
from tarpon.train.engine import Engine
from tarpon.train.evaluate import left_out_words
from tarpon.train.prediction_files import remove_others
from tarpon.train.sink import MultiSink
from tarpon.train.stepper import State
from tarpon.train.task import Problem, Result

ENCODERS = "encoders.json"


def read_encoders(folder: Path) -> dict | None:
    """What the run's labels and inputs are called; None where the folder has not been begun."""
    path = folder / ENCODERS
    return json.loads(path.read_text()) if path.exists() else None


def with_absolute_data(text: str) -> str:
    """The configuration with `data` as a whole path, so that the run is evaluated from any folder; a URL stays."""
    held = yaml.safe_load(text).get("data")
    if not held or "://" in str(held):
        return text
    line = f"data: {json.dumps(os.path.abspath(held), ensure_ascii=False)}"
    return re.sub(r"(?m)^data:.*(\n .*)*", lambda _: line, text, count=1)  # a long value goes on in indented lines


class RunFolder:
    """Writes one run's files."""

    def __init__(self, out: Path, problem: Problem, engine: Engine, ema: Ema, *, keep: int) -> None:
        self.out, self._problem, self._engine, self._ema, self._keep = out, problem, engine, ema, keep
        self._first, self._sink = engine.context.first, MultiSink()

    def write_to(self, sink: MultiSink) -> None:
        """Where the numbers go from now on."""
        self._sink = sink

    def begin(self, *, task: str, text: str) -> None:
        """run.yaml: the whole configuration, once nothing refuses it; run.json: which task, and what it runs on; encoders."""
        import deepspeed

        if not self._first:
            return
        context = self._engine.context
        (self.out / "metrics.json").unlink(missing_ok=True)  # of a finished run that goes on: it is not finished now
        atomic.write_text(self.out / "run.yaml", with_absolute_data(text))
        atomic.write_text(self.out / ENCODERS, json.dumps(self._problem.encoders) + "\n")
        facts = {
            "task": task,
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "deepspeed": deepspeed.__version__,
            "device": torch.cuda.get_device_name(context.device) if context.device.type == "cuda" else "cpu",
            "processes": context.world,
            "cores": len(os.sched_getaffinity(0)),
            "dtype": "bf16" if self._engine.bf16 else "fp32",
        }
        atomic.write_text(self.out / "run.json", json.dumps(facts, indent=2) + "\n")

    def save(self, state: State) -> None:
        """All that the run needs to go on."""
        self._engine.share_buffers()
        held, memory = self._engine.optimizer_state(), collect(self._engine.context, self._problem.memory())
        if self._first:
            self._sink.flush()
            checkpoint.save_last(
                self.out,
                model=checkpoint.model_tensors(self._problem.model),
                optimizer=held,
                ema=self._ema.tensors(),
                at=state.at,
                plateau=state.plateau,
                fingerprint=self._problem.fingerprint,
                memory=memory,
                keep=self._keep,
            )
        self._engine.barrier()

    def keep_best(self, result: Result, *, step: int) -> None:
        """The weights in the model as the best so far, with the validation that says so."""
        if self._first:
            checkpoint.save_tensors(self.out / checkpoint.BEST, checkpoint.model_tensors(self._problem.model), {"step": step})
        self._save_predictions(result, "val")
        if self._first:
            self._show("val", result, step=step)

    def finish(self, state: State, score: Callable[[str], Result], *, task: str, config: dict[str, object]) -> None:
        """Best weights back in, every split scored with them, everything written.

        Args:
            config: the run's options as flat plain values, to stand beside its scores.
        """
        self._engine.barrier()
        best, meta = checkpoint.load_tensors(self.out / checkpoint.BEST)
        checkpoint.load_weights(self._problem.model, best, name=str(self.out / checkpoint.BEST))
        scores: dict[str, dict[str, float]] = {}
        for split in self._problem.splits:
            result = score(split)
            scores[split] = result.scalars
            self._save_predictions(result, split)
            if self._first and split == "test":
                test = {f"test/{name}": value for name, value in result.scalars.items()}
                self._sink.write(state.at.step, test, epoch=state.at.epoch)
                self._show(split, result, step=state.at.step)
        if self._first:
            atomic.write_text(
                self.out / "metrics.json",
                json.dumps({**scores, "best_step": meta["step"], "steps": state.at.step}, indent=2) + "\n",
            )
            self._problem.export(self.out, best, scores)
            told = {f"{split}/{name}": scores[split][name] for split in scores for name in (self._problem.select, "loss")}
            self._sink.hparams(state.at.step, config, told)
            print("\n".join(self._last_lines(scores, best_step=meta["step"], task=task)), flush=True)
        self._engine.barrier()

    def _save_predictions(self, result: Result, split: str) -> None:
        """Each rank what it keeps; they are all there once this returns on rank 0."""
        path = self.out / "predictions" / f"{split}.npz"
        result.save(path)
        self._engine.barrier()
        if self._first:
            remove_others(path.with_suffix(result.suffix), places=result.files)

    def _last_lines(self, scores: Mapping[str, Mapping[str, float]], *, best_step: int, task: str) -> list[str]:
        """The scores of the best weights, and what to do with them."""
        lines = []
        for split, held in scores.items():
            name = self._problem.select
            low, high = held.get(f"{name}_low"), held.get(f"{name}_high")
            interval = "" if low is None or high is None else f" (95% interval {low:.4f} to {high:.4f})"
            lines.append(f"{split:<10}{name} {held[name]:.4f}{interval}  loss {held['loss']:.4f}{left_out_words(held)}")
        lines[0] += f"  of the weights of step {best_step}"
        return [
            *lines,
            f"run folder {self.out}",
            f"next      tarpon report {self.out}    one page: scores with their intervals, curves, mistakes",
            f"          tarpon predict {task} --help    the best weights on new data",
        ]

    def _show(self, split: str, result: Result, *, step: int) -> None:
        for name, pixels in self._problem.figures(result.rows).items():
            self._sink.image(step, f"{split}/{name}", pixels)
        for name, (truth, given) in result.pr_curves().items():
            self._sink.pr_curve(step, f"{split}/{name}", truth, given)
