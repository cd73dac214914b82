"""What many tests read: a small synthetic lab, packed once, one with every fault, and real data where it is at hand."""

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile

from tarpon.shards.manifest import CARD, CHECKSUMS, Manifest, open_manifest
from tarpon.shards.pack import Packing, pack
from tarpon.shards.quarantine import Fault
from tarpon.shards.sources.cells import source as cells
from tarpon.shards.sources.cells.record import choose_record
from tarpon.shards.sources.fish import source as fish
from tarpon.shards.sources.mouse import source as mouse
from tarpon.shards.sources.star import reid, wildlife
from tarpon.shards.sources.star import source as star
from tarpon.tools.cells.demo import lab as cells_demo
from tarpon.tools.fish.demo import lab as fish_demo
from tarpon.tools.mouse.demo import lab as demo
from tarpon.tools.star.demo import lab as star_demo
from tarpon.tools.star.demo import wildlife as wildlife_demo

THIRDS = (0.34, 0.33, 0.33)


@dataclass(frozen=True)
class SmallDisk:
    """A file system of its own."""

    folder: Path

    def mount(self, options: str) -> None:
        """Change it: `size=4m`, `ro`, `rw`."""
        subprocess.run(["mount", "-o", f"remount,{options}", self.folder], check=True)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[SmallDisk]:
    """A file system of 1 MiB; only where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() or not mount or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]).returncode:
        pytest.skip("no file system can be mounted here")
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", folder], check=True)  # a file of it may still be mapped


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings kept beside the repository; they are not part of it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data at ../shared/data")
    return folder


@pytest.fixture(scope="session")
def faulty_server() -> ModuleType:
    """faulty_server.py, loaded by its path: tests are no package."""
    spec = importlib.util.spec_from_file_location("faulty_server", Path(__file__).with_name("faulty_server.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
        found = mouse.scan(lab / "Videos", lab / "Annotations" if annotations else None, source)
        packing = Packing(out=out, split=split, workers=workers)
        return pack(mouse.MOUSE, found, options=source, packing=packing, executor=executor, progress=False)

    return run


@pytest.fixture(scope="session")
def mouse_lab(tmp_path_factory) -> Path:
    """Three good videos of 160 pixels, which every GPU decodes in every codec; one trial has a CSV of 345 rows."""
    out = tmp_path_factory.mktemp("mouse_lab")
    demo.write(out, videos=3, size=160, workers=2)
    return out


@pytest.fixture(scope="session")
def mouse_shards(tmp_path_factory, mouse_lab, pack_mouse) -> Manifest:
    """That lab, packed with the defaults, one video in each split."""
    manifest, faults = pack_mouse(mouse_lab, tmp_path_factory.mktemp("mouse_shards"), workers=2)
    assert faults == []
    return unsealed(manifest)


@pytest.fixture(scope="session")
def broken_lab(tmp_path_factory) -> tuple[Path, dict]:
    """A lab folder with every kind of fault beside good videos, and what was written."""
    out = tmp_path_factory.mktemp("broken_lab")
    return out, demo.write(out, videos=1, size=64, faults=True, workers=2)


@pytest.fixture(scope="session")
def pack_fish() -> Callable[..., tuple[Manifest | None, list[Fault]]]:
    """Pack a FishNet folder in this process: (lab, out, source=, val_share=, seed=) -> manifest, faults."""

    def run(
        lab: Path,
        out: Path,
        *,
        source: fish.FishSource | None = None,
        val_share: float = 0.15,
        seed: int = 17,
        shard_size: int = 4096,
    ) -> tuple[Manifest | None, list[Fault]]:
        source = source or fish.FishSource()
        found = fish.scan(lab / "images", lab / "anns", source)
        packing = Packing(out=out, split=(1 - val_share, val_share, 0), seed=seed, given=("test",), shard_size=shard_size)
        with ThreadPoolExecutor(1) as pool:
            return pack(fish.FISH, found, options=source, packing=packing, executor=pool, progress=False)

    return run


@pytest.fixture(scope="session")
def fish_lab(tmp_path_factory) -> Path:
    """150 images of 96 pixels in 12 families, with the faults of the demo."""
    out = tmp_path_factory.mktemp("fish_lab")
    fish_demo.write(out, images=150, families=12, size=96, workers=1)
    return out


@pytest.fixture(scope="session")
def fish_shards(tmp_path_factory, fish_lab, pack_fish) -> Manifest:
    """That folder, packed with the defaults."""
    manifest, _ = pack_fish(fish_lab, tmp_path_factory.mktemp("fish_shards"))
    return unsealed(manifest)


@pytest.fixture(scope="session")
def pack_cells() -> Callable[..., tuple[Manifest | None, list[Fault]]]:
    """Pack a folder of infected and uninfected stacks in this process: (lab, out, source=, split=) -> manifest, faults."""

    def run(
        lab: Path,
        out: Path,
        *,
        source: cells.CellsSource | None = None,
        split: tuple = THIRDS,
        shard_size: int = 512,
    ) -> tuple[Manifest | None, list[Fault]]:
        source = source or cells.CellsSource()
        found = cells.scan(lab / "infected", lab / "uninfected", source)
        packing = Packing(out=out, split=split, shard_size=shard_size)
        with ThreadPoolExecutor(1) as pool:
            return pack(choose_record(source), found, options=source, packing=packing, executor=pool, progress=False)

    return run


@pytest.fixture(scope="session")
def channel_lab(tmp_path_factory) -> Path:
    """12 stacks of 4 pages in 12 wells, of two channels: phase is noise, gfp has spots, wide in infected wells."""
    out, rng = tmp_path_factory.mktemp("channel_lab"), np.random.default_rng(0)
    rows, columns = np.mgrid[:44, :40]
    for label, folder in enumerate(("uninfected", "infected")):
        (out / folder).mkdir()
        for well in range(6):
            stack = rng.integers(100, 60_000, (4, 2, 44, 40)).astype(np.float64)
            stack[:, 1] = 200 + rng.normal(0, 20, (4, 44, 40))
            for page in range(4):
                for y, x in rng.uniform(8, 32, (3, 2)):
                    square = (rows - y) ** 2 + (columns - x) ** 2
                    stack[page, 1] += 1000 * np.exp(-square / (2 * (1.5, 5.0)[label] ** 2))
            names = {"axes": "TCYX", "Channel": {"Name": ["phase", "gfp"]}}
            path = out / folder / f"x_{'cb'[label]}{well + 2}_p1.ome.tif"
            tifffile.imwrite(path, stack.round().astype(np.uint16), ome=True, metadata=names)
    (out / "cells.yaml").write_text("data: {infected_dir: infected, uninfected_dir: uninfected}\n")
    return out


@pytest.fixture(scope="session")
def channel_shards(tmp_path_factory, channel_lab, pack_cells) -> Manifest:
    """Both channels of those stacks, phase first, two wells of each class in each split."""
    source = cells.CellsSource(group="well", channel="phase,gfp")
    manifest, faults = pack_cells(channel_lab, tmp_path_factory.mktemp("channel_shards"), source=source)
    assert faults == []
    return manifest


@pytest.fixture(scope="session")
def cells_lab(tmp_path_factory) -> Path:
    """12 stacks of 8 pages of 48 pixels in 6 wells, with cells.yaml; infected from hour 1."""
    out = tmp_path_factory.mktemp("cells_lab")
    cells_demo.write(out, stacks=12, pages=8, size=48, onset=1.0)
    return out


@pytest.fixture(scope="session")
def cells_shards(tmp_path_factory, cells_lab, pack_cells) -> Manifest:
    """Those stacks, one well of each class in each split and in each of 3 folds."""
    manifest, faults = pack_cells(
        cells_lab, tmp_path_factory.mktemp("cells_shards"), source=cells.CellsSource(group="well", folds=3)
    )
    assert faults == []
    return unsealed(manifest)


def pack_animals(
    found: reid.ReidScan, source: star.StarSource | wildlife.WildlifeSource, out: Path, *, given: tuple = ()
) -> Manifest:
    """Pack a scanned folder of known animals in this process."""
    packing = Packing(out=out, split=(0.8, 0.1, 0.1), given=given)
    with ThreadPoolExecutor(1) as pool:
        record = star.STAR if isinstance(source, star.StarSource) else wildlife.WILDLIFE
        manifest, _ = pack(record, found, options=source, packing=packing, executor=pool, progress=False)
    return unsealed(manifest)


def unsealed(manifest: Manifest) -> Manifest:
    """The set without checksums of manifest and card, as of earlier versions: tests change copies of them."""
    card = {name: value for name, value in manifest.card.items() if name not in CHECKSUMS}
    (Path(manifest.root) / CARD).write_text(json.dumps(card, indent=2) + "\n")
    return open_manifest(manifest.root)


@pytest.fixture(scope="session")
def unseal() -> Callable[[Manifest], Manifest]:
    """`unsealed`, for tests that pack their own."""
    return unsealed


@pytest.fixture(scope="session")
def star_shards(tmp_path_factory) -> Manifest:
    """Eight drawn stars of about four days and two of one, 64 pixels, packed with the defaults."""
    lab, source = tmp_path_factory.mktemp("star_lab"), star.StarSource()
    star_demo.write(lab, identities=8, distractors=2, sessions=4, images=2, size=64)
    return pack_animals(star.scan(lab, source), source, tmp_path_factory.mktemp("star_shards"))


@pytest.fixture(scope="session")
def wild_lab(tmp_path_factory) -> Path:
    """Drawn tigers, turtles, whales and sea stars, 64 pixels."""
    lab = tmp_path_factory.mktemp("wild_lab")
    wildlife_demo.write(lab, identities=16, images=8, size=64)
    return lab


@pytest.fixture(scope="session")
def wild_shards(tmp_path_factory, wild_lab) -> Manifest:
    """Twelve of these animals in three data sets, packed without the stars."""
    source = wildlife.WildlifeSource(val_share=0.2)
    return pack_animals(wildlife.scan(wild_lab, source), source, tmp_path_factory.mktemp("wild_shards"), given=("test",))
