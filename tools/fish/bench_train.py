"""The fish task's part of `tarpon bench train`: a feature table as large as FishNet's, and the trainings to compare.

All train the same network on the same rows with the same losses, batch, precision and threads.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tarpon.shards.features import FeatureCache, FeatureTable, open_features
from tarpon.shards.sources.fish.rows import HABITATS
from tarpon.tools.bench.step_timing import Trainer, Variant, own_mib
from tarpon.tools.bench.train import TrainBenchmark
from tarpon.tools.fish import baseline_trainer
from tarpon.train.config import Run, parse, parser_for
from tarpon.train.engine import Engine, connect, disconnect
from tarpon.train.meter import Meter
from tarpon.train.task import Batch, Problem
from tarpon.train.tasks.fish import task
from tarpon.train.tasks.fish.data import output_widths, read_labels
from tarpon.train.tasks.fish.options import FishOptions
from tarpon.train.tasks.fish.record import recipe

FAMILIES, ORDERS = 463, 83  # of FishNet
TAIL = 8, 1.4  # family r has a share in proportion to (r + 8) ** -1.4: the first has 6% of rows, the first ten 35%
VAL_SHARE = 0.15
MISSING = 0.05  # of rows, without any attribute
WATER = (0.79, 0.65, 0.82, 0.16, 0.05, 0.45, 0.78, 0.17)  # share of yes, habitat by habitat
FEEDING = ("benthic", "pelagic")
WORKERS = (0, 2)  # of the baseline's DataLoader; the better is taken


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What every variant trains."""

    features: str
    batch: int
    threads: int
    experts: int = 4
    hidden: int = 2048
    tower: int = 1024

    def __post_init__(self) -> None:
        if min(self.batch, self.threads) < 1:
            raise ValueError(f"batch={self.batch} and threads={self.threads} must be 1 or more")

    def words(self) -> list[str]:
        """Options of the training; all others are the recipe's."""
        options = {
            "data": self.features,
            "out": "unused",
            "micro_batch": self.batch,
            "global_batch": self.batch,
            "model.experts": self.experts,
            "model.hidden": self.hidden,
            "model.tower": self.tower,
        }
        return [f"--{name}={value}" for name, value in options.items()]

    def read(self) -> tuple[Run, FishOptions]:
        run, options, _ = parse(parser_for(FishOptions, recipe=recipe(), task="fish"), FishOptions, self.words())
        return run, options


def write_table(out: Path, *, rows: int, dim: int, seed: int = 0) -> None:
    """A cache like `tarpon features` writes, of random unit vectors in float16 with labels as unevenly spread as FishNet's."""
    if rows < 10 or dim < 1:
        raise ValueError(f"rows={rows} must be 10 or more and dim={dim} 1 or more")
    classes = {
        "families": [f"Family{i:03d}" for i in range(FAMILIES)],
        "orders": [f"Order{i:03d}" for i in range(ORDERS)],
        "habitats": list(HABITATS),
        "feeding": list(FEEDING),
    }
    card = {"backbone": "none: random vectors", "kind": "fish", "dim": dim, "dtype": "fp16", "count": rows, "classes": classes}
    cache = FeatureCache(out=out, card=card)
    cache.begin()
    for chunk in cache.chunks():
        vectors = np.random.default_rng((seed, 1, chunk.start)).standard_normal((len(chunk), dim), dtype=np.float32)
        cache.write(chunk, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    cache.finish(random_labels(rows, classes, np.random.default_rng((seed, 0))))


def random_labels(rows: int, classes: dict[str, list[str]], draw: np.random.Generator) -> pa.Table:
    """Every family and order comes at least once where there are rows enough."""
    share = (np.arange(FAMILIES) + TAIL[0]) ** -TAIL[1]
    family = np.concatenate([np.arange(FAMILIES), draw.choice(FAMILIES, rows, p=share / share.sum())])[:rows]
    family = draw.permutation(family)
    order = np.concatenate([np.arange(ORDERS), draw.integers(ORDERS, size=FAMILIES - ORDERS)])[family]
    habitat = (draw.random((rows, len(WATER))) < WATER).astype(np.int8)
    missing = draw.random(rows) < MISSING
    val = draw.permutation(rows) < max(1, round(rows * VAL_SHARE))
    names = [f"image{i:06d}" for i in range(rows)]
    return pa.table({
        "key": names,
        "group": names,
        "split": np.where(val, "val", "train"),
        "family": np.array(classes["families"])[family],
        "order": np.array(classes["orders"])[order],
        "troph": pa.array(draw.uniform(2, 5, rows).astype(np.float32), mask=missing),
        "feeding": pa.array(np.array(FEEDING)[draw.integers(len(FEEDING), size=rows)], mask=missing),
        "habitat": pa.array([None if gone else row for gone, row in zip(missing, habitat, strict=True)], pa.list_(pa.int8())),
    })  # fmt: skip


def make_tarpon(*, work: Workload, resident: bool) -> Trainer:
    """Training as `train/launch.py fish` does it, step for step; `resident` on its first batch over and over."""
    torch.set_num_threads(work.threads)
    run, options = work.read()
    context = connect()
    empty = own_mib()
    problem = task.build(run, options, context)
    data_mib = own_mib() - empty - weights_mib(problem.model)
    engine = Engine.of(run, context, problem.model, problem.groups)
    batches = problem.data.batches(0, 0)
    if resident:
        batches = itertools.repeat({name: value.clone() for name, value in next(batches).items()})
    engine.train()
    engine.set_rate(run.optim.lr, backbone=True)
    return Trainer(
        batches=batches,
        forward=make_forward(problem, engine, run),
        backward=engine.backward,
        advance=engine.step,
        close=disconnect,
        device=context.device,
        data_mib=data_mib,
    )


def make_forward(problem: Problem, engine: Engine, run: Run) -> Callable[[Batch], Tensor]:
    """Batch -> loss, with what the loop does beside it in every step."""
    meter, steps = Meter(), itertools.count()

    def go(batch: Batch) -> Tensor:
        torch.manual_seed(run.seed * 1_000_003 + next(steps))
        out = engine(**{name: batch[name] for name in problem.inputs})
        terms = problem.loss(out, batch)
        loss = sum(terms.values())
        meter.add({"loss": loss} | {f"loss/{name}": value for name, value in terms.items()})
        return loss

    return go


def make_baseline(*, work: Workload, workers: int) -> Trainer:
    """The baseline, with as many workers in its DataLoader."""
    torch.set_num_threads(work.threads)
    run, options = work.read()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    empty = own_mib()
    names, outputs, data = read_baseline_data(open_features(work.features), options)
    data_mib = own_mib() - empty
    torch.manual_seed(run.seed)
    loader = baseline_trainer.make_loader(data, batch=work.batch, workers=workers, pin=device.type == "cuda")
    model = baseline_trainer.GatedMMoE(
        data.tensors[0].shape[1], outputs, experts=work.experts, hidden=work.hidden, tower=work.tower
    ).to(device)
    model.train()
    adam = torch.optim.AdamW(model.parameters(), lr=run.optim.lr, weight_decay=run.optim.weight_decay)
    weights = options.task_weights()

    def forward(batch: Batch) -> Tensor:
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            out = model(batch["features"])
        return baseline_trainer.sum_losses({name: value.float() for name, value in out.items()}, batch, weights)

    def advance() -> None:
        adam.step()
        adam.zero_grad()

    return Trainer(
        batches=baseline_trainer.iterate_batches(loader, names),
        forward=forward,
        backward=Tensor.backward,
        advance=advance,
        close=lambda: None,
        device=device,
        data_mib=data_mib,
    )


def read_baseline_data(table: FeatureTable, options: FishOptions) -> tuple[tuple[str, ...], dict[str, int], TensorDataset]:
    """Names of the labels, task -> width of its output, and the training rows in memory."""
    labels = read_labels(table, options, table.card["classes"])
    data = baseline_trainer.make_dataset(table.features, labels, table.split("train"))
    return tuple(labels), output_widths(options, table.card["classes"]), data


def weights_mib(model: nn.Module) -> float:
    return sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20


def variants(work: Workload) -> Iterator[Variant]:
    """Tarpon, the baseline in several forms, and Tarpon without its loader."""
    yield Variant(kind="tarpon", name="tarpon", make=make_tarpon, arguments={"work": work, "resident": False})
    for workers in WORKERS:
        name = f"modules + DataLoader, {workers} workers"
        yield Variant(kind="baseline", name=name, make=make_baseline, arguments={"work": work, "workers": workers})
    arguments = {"work": work, "resident": True}
    yield Variant(kind="resident", name="tarpon on one resident batch", make=make_tarpon, arguments=arguments)


BENCHMARK = TrainBenchmark(write_table=write_table, workload=Workload, variants=variants)
