"""What many tests read: a small synthetic lab, packed once, one with every fault, and real data where it is at hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tarpon.shards.manifest import Manifest
from tarpon.shards.pack import Packing, pack
from tarpon.shards.quarantine import Fault
from tarpon.shards.sources import mouse
from tarpon.tools.demos import mouse as demo

THIRDS = (0.34, 0.33, 0.33)


def histogram(table: pa.Table) -> np.ndarray:
    return np.array(table["histogram"].to_pylist())


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings kept beside the repository; they are not part of it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data at ../shared/data")
    return folder


@pytest.fixture(scope="session")
def pack_mouse() -> Callable[..., tuple[Manifest | None, list[Fault]]]:
    """Pack a lab folder: (lab, out, source=, split=, workers=, executor=) -> manifest, faults."""

    def run(
        lab: Path,
        out: Path,
        *,
        source: mouse.MouseSource | None = None,
        annotations: bool = True,
        split: tuple = THIRDS,
        workers: int = 1,
        executor=None,
    ) -> tuple[Manifest | None, list[Fault]]:
        source = source or mouse.MouseSource()
        units, faults = mouse.scan(lab / "Videos", lab / "Annotations" if annotations else None, source)
        packing = Packing(out=out, split=split, workers=workers)
        return pack(
            units,
            faults,
            make=mouse.make,
            schema=mouse.SCHEMA,
            settings=mouse.settings(source),
            packing=packing,
            histogram=histogram,
            card={},
            executor=executor,
            progress=False,
        )

    return run


@pytest.fixture(scope="session")
def mouse_lab(tmp_path_factory) -> Path:
    """Three good videos of 128 pixels; one trial has a CSV of 345 rows."""
    out = tmp_path_factory.mktemp("mouse_lab")
    demo.write(out, videos=3, size=128, workers=2)
    return out


@pytest.fixture(scope="session")
def mouse_shards(tmp_path_factory, mouse_lab, pack_mouse) -> Manifest:
    """That lab, packed with the defaults, one video in each split."""
    manifest, faults = pack_mouse(mouse_lab, tmp_path_factory.mktemp("mouse_shards"), workers=2)
    assert faults == []
    return manifest


@pytest.fixture(scope="session")
def broken_lab(tmp_path_factory) -> tuple[Path, dict]:
    """A lab folder with every kind of fault beside good videos, and what was written."""
    out = tmp_path_factory.mktemp("broken_lab")
    return out, demo.write(out, videos=1, size=64, faults=True, workers=2)
