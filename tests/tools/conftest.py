"""What tests of several tools share: a star run, hardly trained on drawn animals; runs of each task with random weights; tars
whose content is changed."""

import hashlib
import importlib.util
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tarpon.shards.manifest import MANIFEST, Manifest, open_manifest
from tarpon.shards.writer import format_dali_index, index_tar
from tarpon.tools import cli
from tarpon.tools.star.demo import lab as star_demo
from tarpon.train import checkpoint, launch
from tarpon.train.config import parse, parser_for
from tarpon.train.engine import DistContext
from tarpon.train.evaluate import evaluate
from tarpon.train.tasks import TASKS

TINY = [
    *("--model.backbone.name=resnet10t", "--model.backbone.pretrained=false", "--model.backbone.image_size=32"),
    *("--model.width=16", "--model.embedding_dim=16", "--model.head_depth=1", "--search.k1=6", "--search.k2=3"),
    *("--micro_batch=16", "--global_batch=16", "--steps=4", "--eval_every=1", "--optim.lr=1e-3", "--loader.threads=1"),
]


@dataclass(frozen=True, kw_only=True)
class StarRun:
    """A finished run with what it was made from."""

    folder: Path
    lab: Path  # <data set>/<animal>/<outing>/<picture>
    shards: Manifest


@pytest.fixture(scope="session")
def star_run(tmp_path_factory) -> StarRun:
    """8 animals of several days, one of them held out as new, 2 distractors; pictures of 64 pixels."""
    root = tmp_path_factory.mktemp("star_run")
    star_demo.write(root / "lab", identities=8, distractors=2, sessions=4, images=2, size=64)
    packed = ["--root", str(root / "lab"), "--out", str(root / "shards"), "--open_set", "0.15", "--workers", "1"]
    assert cli.main(["pack", "star", *packed]) == 0
    assert launch.main(["star", f"--data={root / 'shards'}", f"--out={root / 'run'}", *TINY]) == 0
    return StarRun(folder=root / "run", lab=root / "lab", shards=open_manifest(root / "shards"))


PLACE = DistContext(rank=0, world=1, local_rank=0, local_world=1, device=torch.device("cpu"))


@pytest.fixture(scope="session")
def make_untrained() -> Callable[..., Path]:
    """A run folder as training leaves it, with weights as they are before the first step: (task, out, data, *options)."""

    def make(name: str, out: Path, data: str, *words: str) -> Path:
        task = TASKS[name]
        parser = parser_for(task.options, recipe=task.recipe(), task=name)
        run, options, text = parse(parser, task.options, [f"--data={data}", f"--out={out}", *words])
        problem = task.build(run, options, PLACE)
        (out / "predictions").mkdir(parents=True)
        checkpoint.save_tensors(out / checkpoint.BEST, checkpoint.model_tensors(problem.model), {"step": 0})
        (out / "run.yaml").write_text(text)
        (out / "run.json").write_text(json.dumps({"task": name}))
        (out / "encoders.json").write_text(json.dumps(problem.encoders))
        result = evaluate(problem, "test")
        result.save(out / "predictions" / ("test.parquet" if name == "star" else "test.npz"))
        (out / "metrics.json").write_text(json.dumps({"test": result.scalars}))
        (out / "metrics.jsonl").write_text('{"step": 0}\n')
        return out

    return make


@pytest.fixture(scope="session")
def untrained_mouse(tmp_path_factory, mouse_shards, make_untrained) -> Path:
    """Actions and keypoints of 32-pixel frames, with a pose input."""
    small = ("--model.backbone.name=lcnet_035", "--model.backbone.pretrained=false", "--model.backbone.image_size=32")
    options = (*small, "--model.hidden=16", "--window.val_frames=96", "--micro_batch=2", "--global_batch=2")
    return make_untrained("mouse", tmp_path_factory.mktemp("untrained") / "mouse", mouse_shards.root, *options)


@pytest.fixture(scope="session")
def untrained_cells(tmp_path_factory, cells_shards, make_untrained) -> Path:
    """Windows of three pages of 32 pixels."""
    small = ("--model.backbone.name=resnet10t", "--model.backbone.pretrained=false", "--model.backbone.image_size=32")
    options = (*small, "--model.window=3", "--model.tcn_hidden=16", "--micro_batch=4", "--global_batch=4")
    return make_untrained("cells", tmp_path_factory.mktemp("untrained") / "cells", cells_shards.root, *options)


@pytest.fixture(scope="session")
def fish_features(tmp_path_factory, fish_shards) -> Path:
    """Features of the fish shards by a small backbone of random weights."""
    out = tmp_path_factory.mktemp("fish_features") / "features"
    backbone = ["--backbone", "resnet10t", "--pretrained", "false", "--image_size", "32", "--resize", "40", "--out", str(out)]
    assert cli.main(["features", fish_shards.root, *backbone]) == 0
    return out


@pytest.fixture(scope="session")
def untrained_fish(tmp_path_factory, fish_features, make_untrained) -> Path:
    """A mixture of experts on those features."""
    small = ("--model.hidden=16", "--model.tower=8", "--micro_batch=32", "--global_batch=32")
    return make_untrained("fish", tmp_path_factory.mktemp("untrained") / "fish", str(fish_features), *small)


@pytest.fixture(scope="session")
def untrained_star(tmp_path_factory, star_shards, make_untrained) -> Path:
    """Embeddings of 16 numbers of 32-pixel photographs."""
    return make_untrained("star", tmp_path_factory.mktemp("untrained") / "star", star_shards.root, *TINY)


@pytest.fixture(scope="session")
def rewrite_tar() -> Callable[..., None]:
    """Rewrite the first tar of shards through edit(member name, content) -> content | None.

    Offsets, checksums and index are made to match; with truthful=False the manifest stays as it was.
    """

    def rewrite(shards: Path, edit: Callable[[str, bytes], bytes | None], *, truthful: bool = True) -> None:
        path = min(shards.glob("*.tar"))
        with tarfile.open(path) as tar:
            members = [(member.name, tar.extractfile(member).read()) for member in tar]
        kept = {name: content for name, old in members if (content := edit(name, old)) is not None}
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, content in kept.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        places = index_tar(path)
        path.with_suffix(".idx").write_text(format_dali_index(places))
        if not truthful:
            return
        table = pq.read_table(shards / MANIFEST)
        rows = table.to_pylist()
        for row in rows:
            for name, (offset, size) in places.get(row["key"], {}).items():
                column = name.partition(".")[0]
                digest = hashlib.sha256(kept[f"{row['key']}.{name}"]).hexdigest()
                row |= {f"{column}_offset": offset, f"{column}_size": size, f"{column}_sha256": digest}
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), shards / MANIFEST)

    return rewrite


@pytest.fixture(scope="session")
def report_runs() -> ModuleType:
    """report_runs.py, loaded by its path: tests are no package."""
    spec = importlib.util.spec_from_file_location("report_runs", Path(__file__).with_name("report_runs.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
