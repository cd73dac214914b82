"""Files of a unit are there while samples are made of it, and those of the next are on their way; at the end there are none."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tarpon.shards import store
from tarpon.shards.fetched_units import RemoteUnit, fetched_ahead, make_fetched
from tarpon.shards.quarantine import Fault
from tarpon.shards.scratch import Scratch
from tarpon.shards.source_mirror import RemoteFile
from tarpon.shards.store import Store, StoreError

pytest.importorskip("aiohttp", reason="http:// needs aiohttp: pip install 'tarpon[http]'")

SIZE = 1000  # bytes of each unit's one file


@dataclass(frozen=True)
class TextUnit:
    """A source's unit of one file."""

    path: str

    def name(self) -> str:
        return self.path.rpartition("/")[2]


def make(unit: TextUnit):
    """What a source yields of it: here one remark with the file's first byte and place."""
    yield Fault(file=unit.name(), reason=f"{Path(unit.path).read_bytes()[:1].decode()} of {unit.path}")


@pytest.fixture
def server(faulty_server, tmp_path, monkeypatch):
    """Files a, b and c behind a server."""
    monkeypatch.setattr(store, "FIRST_PAUSE_S", 0.01)
    (tmp_path / "web").mkdir()
    for name in "abc":
        (tmp_path / "web" / name).write_text(name * SIZE)
    with faulty_server.serving(tmp_path / "web") as begun:
        yield begun


@pytest.fixture
def units(server, tmp_path) -> Callable[..., list[RemoteUnit]]:
    def listed(*, room: int = 2 * SIZE) -> list[RemoteUnit]:
        scratch = Scratch(folder=str(tmp_path / "s"), size=room)
        files = [RemoteFile(root=server.url, name=name, size=SIZE, changed_ns=0, tag="") for name in "abc"]
        return [
            RemoteUnit(
                unit=TextUnit(f"{server.url}/{file.name}"), files=(file,), roots=(server.url,), make=make, scratch=scratch,
                stamp=file.name,
            )
            for file in files
        ]  # fmt: skip

    return listed


def held(tmp_path: Path) -> list[str]:
    """Names of the fetched files that lie in the scratch folder."""
    return sorted(path.name for path in (tmp_path / "s").rglob("?") if path.is_file())


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_the_next_unit_is_fetched_while_one_is_in_use_and_no_further_one(units, server, tmp_path):
    with fetched_ahead(units()) as fetched:
        assert [item.reason for item in make_fetched(next(fetched))] == [f"a of {server.url}/a"]
        wait_for(lambda: held(tmp_path) == ["a", "b"])
        assert not server.served["c"]
        next(fetched)
        wait_for(lambda: held(tmp_path) == ["b", "c"])
        assert server.served == {"a": 1, "b": 1, "c": 1}
        assert [unit.name() for unit in fetched] == ["c"]
    assert [path.name for path in (tmp_path / "s").rglob("*")] == [f"tarpon-inputs-{os.getuid()}"]


def test_without_room_for_two_each_is_fetched_when_it_is_asked_for(units, server, tmp_path):
    with fetched_ahead(units(room=2 * SIZE - 1)) as fetched:
        for name in "abc":
            next(fetched)
            assert held(tmp_path) == [name]
            assert sum(server.served.values()) == "abc".index(name) + 1


def test_an_error_of_the_next_unit_is_raised_when_that_is_asked_for(units, server, tmp_path):
    server.faults = {"/b": [401]}
    with fetched_ahead(units()) as fetched:
        unit = next(fetched)
        wait_for(lambda: not server.faults["/b"])
        assert [item.reason for item in make_fetched(unit)] == [f"a of {server.url}/a"]
        with pytest.raises(StoreError, match=rf"{server.url}/b: refused"):
            next(fetched)
    assert not held(tmp_path)


@pytest.mark.parametrize("fault", [[503] * 10_000, ["endless"]], ids=["no answer", "a download of a terabyte"])
def test_an_interrupt_gives_up_what_is_being_fetched_and_leaves_nothing(units, server, tmp_path, fault):
    server.faults = {"/b": fault[:]}

    def pack() -> None:
        with fetched_ahead(units()) as fetched:
            next(fetched)
            wait_for(lambda: len(server.faults["/b"]) < len(fault))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack()
    assert [path.name for path in (tmp_path / "s").rglob("*")] == [f"tarpon-inputs-{os.getuid()}"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch unit")]


def test_a_store_that_is_to_stop_is_not_asked_any_more(server, tmp_path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoreError, match=f"{server.url}/a: given up"):
        Store(server.url, stop=stop).fetch("a", tmp_path / "a")
    assert not server.served
