"""What tests of several tools share: a star run, hardly trained on drawn animals; tars whose content is changed."""

import hashlib
import importlib.util
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tarpon.shards.manifest import MANIFEST, Manifest, open_manifest
from tarpon.shards.writer import format_dali_index, index_tar
from tarpon.tools import cli
from tarpon.tools.star.demo import lab as star_demo
from tarpon.train import launch

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
