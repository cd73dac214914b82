"""Packing what lies behind a web server: the shards of a folder, byte for byte, whatever the network does."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile

from tarpon.shards import store
from tarpon.shards.manifest import Manifest
from tarpon.shards.pack import Packing, pack
from tarpon.shards.quarantine import Fault, Trouble
from tarpon.shards.remote_units import Listing, scan_places
from tarpon.shards.scratch import Scratch
from tarpon.shards.source import Source
from tarpon.shards.source_mirror import Mirror
from tarpon.shards.sources.cells.record import choose_record
from tarpon.shards.sources.cells.source import CellsSource
from tarpon.shards.sources.fish.source import FISH, FishSource
from tarpon.shards.sources.mouse.source import MOUSE
from tarpon.shards.sources.mouse.units import MouseSource
from tarpon.shards.sources.star.wildlife import WILDLIFE, WildlifeSource
from tarpon.shards.sources.video.clips import ClipFormat
from tarpon.shards.store import StoreError

pytest.importorskip("aiohttp", reason="http:// needs aiohttp: pip install 'tarpon[http]'")


@dataclass
class Kind:
    """How a lab of one kind is packed."""

    source: Source
    options: object
    folders: tuple[str, ...]  # below the lab
    split: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    given: tuple[str, ...] = ()

    def scan(self, root: str, scratch: Path, *, size: int = 2**30, workers: int = 1) -> Listing:
        names = [f"{root}/{name}".rstrip("/") for name in self.folders]
        places = names if store.is_url(root) else [Path(name) for name in names]
        limit = Scratch(folder=str(scratch), size=size)
        return scan_places(self.source, places, self.options, listing={}, scratch=limit, workers=workers)

    def pack(self, listed: Listing, out: Path) -> tuple[Manifest, list[Fault]]:
        packing = Packing(out=out, split=self.split, given=self.given, shard_size=200)
        with ThreadPoolExecutor(1) as pool:
            return pack(listed.source, listed.found, options=self.options, packing=packing, executor=pool, progress=False)


@pytest.fixture
def labs(request):
    """name -> (the lab's folder, its Kind); drawn when it is asked for."""
    kinds = {
        "fish_lab": Kind(FISH, FishSource(short_side=32), ("images", "anns"), split=(0.8, 0.2, 0), given=("test",)),
        "wild_lab": Kind(WILDLIFE, WildlifeSource(val_share=0.2, longest_side=32), ("",), given=("test",)),
        "cells_lab": Kind(choose_record(CellsSource()), CellsSource(group="well", folds=3), ("infected", "uninfected")),
        "broken_lab": Kind(MOUSE, MouseSource(clip=ClipFormat(short_side=16)), ("Videos", "Annotations")),
    }

    def find(name: str) -> tuple[Path, Kind]:
        lab = request.getfixturevalue(name)
        return (lab[0] if isinstance(lab, tuple) else lab), kinds[name]

    return find


@pytest.fixture
def serve(faulty_server, monkeypatch):
    """A folder behind a server that lists it; pauses are short."""
    monkeypatch.setattr(store, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(store, "RETRY_S", 5.0)
    open_servers = []

    def begin(folder: Path):
        context = faulty_server.serving(folder)
        server = context.__enter__()
        open_servers.append(context)
        server.lists = True
        return server

    yield begin
    for context in open_servers:
        context.__exit__(None, None, None)


def tars(manifest: Manifest) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(manifest.root).glob("shard-*")) if path.suffix != ".parquet"}


@pytest.mark.parametrize("name", ["fish_lab", "wild_lab", "cells_lab", pytest.param("broken_lab", marks=pytest.mark.slow)])
def test_the_shards_and_faults_are_those_of_the_folder(name, labs, serve, tmp_path):
    lab, kind = labs(name)
    here, faults = kind.pack(kind.scan(str(lab), tmp_path / "s"), tmp_path / "here")
    server = serve(lab)
    listed = kind.scan(server.url, tmp_path / "s")
    there, told = kind.pack(listed, tmp_path / "there")
    assert tars(there) == tars(here)
    assert there.table.equals(here.table)
    assert told == faults
    assert not any(str(tmp_path) in str(fault) for fault in told)
    assert there.card["inputs"] == [f"{server.url}/{folder}".rstrip("/") for folder in kind.folders]
    own = ("inputs", "made_from", "card_sha256", "manifest_sha256")
    assert {name: value for name, value in there.card.items() if name not in own and "sha256" not in name} == {
        name: value for name, value in here.card.items() if name not in own and "sha256" not in name
    }
    assert list((tmp_path / "s").rglob("*")) == [tmp_path / "s" / f"tarpon-inputs-{os.getuid()}"]  # nothing is left there


@pytest.mark.parametrize("fault", ["cut", "short", 503])
def test_trouble_on_the_way_is_no_bad_sample(fault, labs, serve, tmp_path):
    lab, kind = labs("fish_lab")
    here, faults = kind.pack(kind.scan(str(lab), tmp_path / "s"), tmp_path / "here")
    server = serve(lab)
    often = 1 if fault == "short" else 3  # a file that is short twice is one that has changed
    server.faults = {".jpg": [fault] * often, "train.csv": [fault]}
    there, told = kind.pack(kind.scan(server.url, tmp_path / "s"), tmp_path / "there")
    assert not any(server.faults.values())
    assert (tars(there), told) == (tars(here), faults)


def test_a_server_that_is_silent_ends_the_packing_and_the_same_command_goes_on(labs, serve, tmp_path, monkeypatch):
    lab, kind = labs("fish_lab")
    server = serve(lab)
    listed = kind.scan(server.url, tmp_path / "s")
    monkeypatch.setattr(store, "RETRY_S", 0.1)
    server.faults = {".jpg": [503] * 10_000}
    with pytest.raises(StoreError, match=rf"{server.url}/images/.*: no answer for .* The same command goes on"):
        kind.pack(listed, tmp_path / "there")
    assert not (tmp_path / "there" / "manifest.parquet").exists()
    assert not (tmp_path / "there" / "quarantine.jsonl").exists()
    server.faults = {}
    monkeypatch.setattr(store, "RETRY_S", 5.0)
    again = kind.scan(server.url, tmp_path / "s")
    assert [unit.fingerprint() for unit in again.found.units] == [unit.fingerprint() for unit in listed.found.units]
    manifest, faults = kind.pack(again, tmp_path / "there")
    here, expected = kind.pack(kind.scan(str(lab), tmp_path / "s"), tmp_path / "here")
    assert (tars(manifest), faults) == (tars(here), expected)


def test_what_was_made_before_a_kill_is_not_fetched_again(labs, serve, tmp_path):
    lab, kind = labs("fish_lab")
    server = serve(lab)
    manifest, _ = kind.pack(kind.scan(server.url, tmp_path / "s"), tmp_path / "out")
    sources = manifest.column("source")
    finished = kind.scan(server.url, tmp_path / "s")
    before = server.served.copy()
    kind.pack(finished, tmp_path / "out")
    assert server.served == before
    (Path(server.source) / "images").joinpath(str(sources[0])).exists()


def test_a_file_that_is_gone_since_it_was_listed_is_its_own_fault_and_a_changed_one_stops(labs, serve, tmp_path):
    lab, kind = labs("fish_lab")
    copy = shutil.copytree(lab, tmp_path / "copy")
    server = serve(copy)
    listed = kind.scan(server.url, tmp_path / "s")
    gone, grown = (copy / "images" / name for name in listed.found.units[0].unit.rows["source"].to_pylist()[:2])
    content = grown.read_bytes()
    gone.unlink()
    grown.write_bytes(content + b"more")
    with pytest.raises(StoreError, match=rf"{grown.name}: \d+ bytes came, {len(content)} were listed"):
        kind.pack(listed, tmp_path / "out")
    grown.write_bytes(content)
    _, faults = kind.pack(listed, tmp_path / "out")
    (fault,) = (fault for fault in faults if fault.file.endswith(gone.name) and "No such file" in fault.reason)
    assert f"{server.url}/images/" in fault.reason
    assert str(tmp_path) not in fault.reason


def test_files_are_fetched_for_a_second_look_only_where_they_must(labs, serve, tmp_path):
    lab, kind = labs("cells_lab")
    server = serve(lab)
    stacks = [path.name for folder in kind.folders for path in (lab / folder).iterdir()]
    size = max(path.stat().st_size for path in lab.rglob("*_p*"))
    listed = kind.scan(server.url, tmp_path / "s", size=size * 64)
    assert all(server.served[name] == 1 for name in stacks)
    with pytest.raises(ValueError, match=r"bytes, and each process may fetch \d+; give more --scratch_bytes"):
        kind.scan(server.url, tmp_path / "s", size=size * 64, workers=100)
    kind.pack(listed, tmp_path / "out")
    assert {server.served[name] for name in stacks} == {3}
    with pytest.raises(Trouble, match=r"bytes to look at, the scratch folder may hold 100"):
        kind.scan(server.url, tmp_path / "s", size=100)


def test_a_server_without_lists_and_a_wrong_address_are_one_line_each(labs, serve, tmp_path):
    lab, kind = labs("cells_lab")
    server = serve(lab)
    server.lists = False
    with pytest.raises(ValueError, match="does not list it; switch its directory listing on") as caught:
        kind.scan(server.url, tmp_path / "s")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{server.url}/infected: ")
    (lab_copy := tmp_path / "web").mkdir()
    (lab_copy / "infected").write_text("<html>no links</html>")
    with pytest.raises(ValueError, match="lists no files there"):
        kind.scan(serve(lab_copy).url, tmp_path / "s")


def test_a_kind_that_does_not_say_what_it_reads_is_packed_from_folders_only(toy, serve, tmp_path):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "a.txt").write_text("a")
    source = Source(**{**vars(toy.TOY), "scan": lambda root, options: toy.scan(3, options)})
    with pytest.raises(ValueError, match="packed from folders only; copy it to one"):
        scan_places(
            source, [serve(tmp_path / "lab").url], toy.Options(), listing={}, scratch=Scratch(folder=str(tmp_path)), workers=1
        )


def test_what_a_unit_carries_names_the_url_and_no_local_path(labs, serve, tmp_path):
    lab, kind = labs("cells_lab")
    server = serve(lab)
    found = kind.scan(server.url, tmp_path / "s").found
    assert found.units
    for unit in found.units:
        assert unit.unit.path.startswith((f"{server.url}/infected/", f"{server.url}/uninfected/"))
        assert str(tmp_path) not in json.dumps([repr(unit.unit), unit.fingerprint(), unit.name()])
        assert [f"{file.root}/{file.name}" for file in unit.files] == [unit.unit.path]


def test_keys_that_no_folder_could_hold_are_named(tmp_path):
    files = fsspec.filesystem("memory")
    root = f"/{tmp_path.name}/images"
    for key in ("Fam/a.jpg", "Fam//b.jpg", "Fam/../c.jpg", "Fam/d", "Fam/d/e.jpg", "Fam/"):
        files.store[f"{root}/{key}"] = MemoryFile(files, f"{root}/{key}", data=b"x")
    mirror = Mirror(tmp_path / "base", bound=100)
    folder = mirror.add_folder(f"memory:/{root}")
    files.store.clear()
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg")) == ["Fam/a.jpg", "Fam/d/e.jpg"]
    assert sorted(fault.file for fault in mirror.faults) == ["Fam/../c.jpg", "Fam//b.jpg", "Fam/d"]
