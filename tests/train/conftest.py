"""Runs of a tiny network on a tiny data set, by the real entry point; and a toy problem for the loop alone."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from tarpon.models.groups import group_parameters
from tarpon.train import launch
from tarpon.train.engine import DistContext, connect
from tarpon.train.task import Problem, Result

ROOT = Path(__file__).resolve().parents[2]
# test_vit has layer norms only, so its answers do not depend on how a batch is shared out
TINY = [
    "--model.backbone.name=test_vit",
    "--model.backbone.pretrained=false",
    "--model.backbone.image_size=32",
    "--model.hidden=16",
    "--window.train_frames=24",
    "--window.val_frames=160",
    "--engine.dtype=fp32",
    "--loader.threads=1",
    "--micro_batch=1",
    "--log_every=1",
    "--eval_every=100",
    "--freeze_backbone_epochs=1",
    "--optim.lr=1e-3",
    "--schedule.warmup_epochs=1",
]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The order of sums, and so their last bit, hangs on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def resplit(source: Path, out: Path, splits: list[str]) -> Path:
    """A copy of packed shards with other splits, row by row."""
    shutil.copytree(source, out)
    table = pq.read_table(out / "manifest.parquet")
    column = table.column_names.index("split")
    changed = table.set_column(column, "split", pa.array(splits, table.schema.field("split").type))
    pq.write_table(changed, out / "manifest.parquet")
    return out


@pytest.fixture(scope="session", name="resplit")
def given_resplit() -> Callable[[Path, Path, list[str]], Path]:
    """(packed shards, new folder, split of each row) -> that folder."""
    return resplit


@pytest.fixture(scope="session")
def shards(tmp_path_factory, mouse_shards) -> Path:
    """Five training trials (two steps an epoch at a global batch of 2), one to validate and one to test."""
    return resplit(Path(mouse_shards.root), tmp_path_factory.mktemp("train") / "shards", ["train"] * 5 + ["val", "test"])


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Options of the tiny network."""
    return tuple(TINY)


@pytest.fixture
def run(shards, tmp_path) -> Callable[..., Path]:
    """(name, options...) -> run folder, trained in this process."""

    def go(name: str, *options: str) -> Path:
        out = tmp_path / name
        assert launch.main(["mouse", f"--data={shards}", f"--out={out}", *TINY, *options]) == 0
        return out

    return go


@pytest.fixture
def spawn(shards, tmp_path) -> Callable[..., subprocess.Popen]:
    """(name, options..., processes=) -> the started command line, of `deepspeed` when there are several processes."""
    started = []

    def go(name: str, *options: str, processes: int = 1) -> subprocess.Popen:
        command = [sys.executable]
        if processes > 1:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            launcher = str(Path(sys.executable).with_name("deepspeed"))
            command = [launcher, f"--num_accelerators={processes}", f"--master_port={port}"]
        command += ["train/launch.py", "mouse", f"--data={shards}", f"--out={tmp_path / name}", *TINY, *options]
        own = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT")  # a run in this process set them
        env = {key: value for key, value in os.environ.items() if key not in own}
        env["OMP_NUM_THREADS"] = "1"
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(process)
        return process

    yield go
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def losses() -> Callable[[Path], dict[int, float]]:
    """Run folder -> step -> training loss, as logged."""

    def read(out: Path) -> dict[int, float]:
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return {line["step"]: line["loss"] for line in lines if "loss" in line}

    return read


class Toy(nn.Module):
    """x (B, 6) -> score (B, 3), by an encoder that can be frozen and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head, self.frozen = nn.Linear(6, 8), nn.Linear(8, 3), False

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            hidden = torch.tanh(self.encoder(x))
        return {"score": self.head(hidden).float()}

    def freeze(self, on: bool) -> None:
        self.frozen = on


class Rows:
    """A metric that remembers which rows it met; its score is what it was told."""

    def __init__(self, score: Callable[[], float]) -> None:
        self._score, self._rows = score, []

    def add(self, out: dict, batch: dict) -> None:
        self._rows += batch["row"].tolist()

    def part(self) -> list[int]:
        return self._rows

    def read(self, parts: list) -> Result:
        rows = sorted(row for part in parts for row in part if row >= 0)
        return Result(scalars={"score": self._score(), "rows": float(len(rows))}, save=lambda path: None, rows=rows)


@pytest.fixture
def toy() -> Callable[..., Problem]:
    """(score=, steps_per_epoch=, **changes) -> three classes to tell apart, four rows a batch."""

    def make(*, score: Callable[[], float] = lambda: 0.0, steps_per_epoch: int = 4, **changes) -> Problem:
        torch.manual_seed(0)
        model = Toy()

        def batch(seed: int, rows: np.ndarray) -> dict[str, Tensor]:
            x = torch.randn(len(rows), 6, generator=torch.Generator().manual_seed(seed))
            return {"x": x, "label": x[:, :3].argmax(1), "row": torch.from_numpy(rows)}

        def batches(first: int, skip: int) -> Iterator[dict]:
            at = first * steps_per_epoch + skip
            while True:
                yield batch(at, np.arange(4))
                at += 1

        def loss(out: dict, batch: dict) -> dict[str, Tensor]:
            each = nn.functional.cross_entropy(out["score"], batch["label"], reduction="none")
            return {"label": (each * (batch["row"] >= 0)).mean()}  # a padded row counts 0, as in the windows' losses

        problem = Problem(
            model=model,
            inputs=("x",),
            groups=group_parameters(model),
            freeze=model.freeze,
            loss=loss,
            data=SimpleNamespace(
                steps_per_epoch=steps_per_epoch,
                batches=batches,
                split=lambda name: iter([batch(99, np.arange(4))]),
                wait_s=0.0,
                measure_augment_share=lambda: None,
            ),
            splits=("val",),
            metric=lambda _: Rows(score),
            select="score",
            count=lambda b: len(b["x"]),
            unit="rows",
            fingerprint="toy",
            summary_lines=(),
            export=lambda *_: None,
        )
        return replace(problem, **changes)

    return make


@pytest.fixture(scope="session")
def context() -> DistContext:
    """This process alone."""
    return connect()


@pytest.fixture(scope="session")
def problems() -> ModuleType:
    """problems.py, loaded by its path: tests are no package."""
    spec = importlib.util.spec_from_file_location("problems", Path(__file__).with_name("problems.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tiny_problem(context, problems, request, tmp_path) -> Callable[..., Problem]:
    """Task -> its problem with a tiny network, on the tests' shards."""

    def make(task: str, *, data: str | Path | None = None, **run: object) -> Problem:
        if data is None:
            data = (
                problems.write_features(tmp_path / "features")
                if task == "fish"
                else request.getfixturevalue(f"{task}_shards").root
            )
        return problems.PROBLEMS[task](context, str(data), **run)

    return make


@pytest.fixture(scope="session")
def whole(shards, tiny, tmp_path_factory) -> Path:
    """A finished run of three epochs, evaluated at each."""
    out = tmp_path_factory.mktemp("whole") / "run"
    words = [
        "mouse",
        f"--data={shards}",
        "--verbose",
        f"--out={out}",
        *tiny,
        "--eval_every=1",
        "--epochs=3",
        "--global_batch=2",
    ]
    assert launch.main(words) == 0
    return out
