"""Runs of the star task on small shards, and shards with other columns."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.train import launch
from tarpon.train.config import Run
from tarpon.train.task import Problem
from tarpon.train.tasks.star import task as star
from tarpon.train.tasks.star.options import StarModel, StarOptions, StarSearch

# test_vit has layer norms only, so its answers do not depend on how a batch is shared out
SMALL = (
    "--model.backbone.name=test_vit",
    "--model.backbone.pretrained=false",
    "--model.backbone.image_size=32",
    "--model.width=16",
    "--model.embedding_dim=16",
    "--model.head_depth=1",
    "--search.k1=6",
    "--search.k2=2",
    "--num_instances=2",
    "--micro_batch=8",
    "--global_batch=8",
    "--log_every=1",
    "--engine.dtype=fp32",
    "--loader.threads=1",
)


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Options of the tiny network."""
    return SMALL


@pytest.fixture(scope="session")
def small_options() -> StarOptions:
    """The same as a record."""
    backbone = FrameBackbone(name="test_vit", pretrained=False, image_size=32)
    model = StarModel(backbone=backbone, width=16, embedding_dim=16, head_depth=1)
    return StarOptions(model=model, num_instances=2, search=StarSearch(k1=6, k2=2))


@pytest.fixture
def star_problem(star_shards, context, small_options) -> Callable[..., Problem]:
    """(data=, encoders=, micro_batch=, options that differ...) -> the built problem."""

    def make(*, data: str = star_shards.root, encoders: dict | None = None, micro_batch: int = 8, **options) -> Problem:
        run = Run(data=str(data), micro_batch=micro_batch, global_batch=micro_batch, seed=42)
        return star.build(run, replace(small_options, **options), context, encoders=encoders)

    return make


@pytest.fixture
def star_run(star_shards, tmp_path) -> Callable[..., Path]:
    """(name, options..., data=) -> run folder, trained in this process."""

    def go(name: str, *options: str, data: str = star_shards.root) -> Path:
        assert launch.main(["star", f"--data={data}", f"--out={tmp_path / name}", *SMALL, *options]) == 0
        return tmp_path / name

    return go


@pytest.fixture(scope="session")
def with_columns() -> Callable[..., Path]:
    """(packed shards, new folder, column=values...) -> a copy with these columns in its manifest."""

    def make(source: str, out: Path, **columns: Sequence) -> Path:
        shutil.copytree(source, out)
        table = pq.read_table(out / "manifest.parquet")
        for name, values in columns.items():
            at = table.column_names.index(name)
            table = table.set_column(at, name, pa.array(list(values), table.schema.field(name).type))
        pq.write_table(table, out / "manifest.parquet")
        return out

    return make


@pytest.fixture
def refused(capfd, small, star_shards, tmp_path) -> Callable[..., str]:
    """(options..., data=) -> the one line that the entry point says, with exit status 2."""

    def go(*options: str, data: str = star_shards.root) -> str:
        capfd.readouterr()
        assert launch.main(["star", f"--data={data}", f"--out={tmp_path / 'refused'}", *small, *options]) == 2
        lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("train/launch.py: ")]
        assert len(lines) == 1
        return lines[0]

    return go
