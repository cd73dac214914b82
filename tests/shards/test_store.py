"""Store: what is not there, what is refused and what may come back are three things, and each is one line."""

import builtins
import sys
import time

import pytest
from fsspec.registry import _registry

from tarpon.shards import store as module
from tarpon.shards.manifest import open_manifest
from tarpon.shards.store import NotThere, Store, StoreError


@pytest.fixture
def served(tmp_path, faulty_server, monkeypatch):
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp: pip install 'tarpon[http]'")
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 400)
    with faulty_server.serving(tmp_path) as server:
        yield server


@pytest.mark.parametrize("fault", ["cut", 503, 429, 500, "slow"])
def test_what_passes_is_tried_again(served, tmp_path, fault):
    served.faults["a.bin"] = [fault, fault]
    files = Store(served.url)
    assert files.read("a.bin") == (tmp_path / "a.bin").read_bytes()
    served.faults["a.bin"] = [fault, fault]
    files.fetch("a.bin", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "a.bin").read_bytes()


@pytest.mark.parametrize(("fault", "kind", "words"), [(404, NotThere, "no such file"), (410, NotThere, "no such file"),
                                                      (403, StoreError, "refused"), (401, StoreError, "refused"),
                                                      (400, StoreError, "refused")])  # fmt: skip
def test_what_no_second_try_mends_is_raised_at_once(served, fault, kind, words):
    served.faults["a.bin"] = [fault]
    with pytest.raises(StoreError, match=words) as caught:
        Store(served.url).read("a.bin")
    assert type(caught.value) is kind
    assert served.url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert served.served["a.bin"] == 1  # one answer, the fault's


def test_who_waits_is_told_once_that_it_is_tried_again(served, monkeypatch, capsys):
    monkeypatch.setattr(module, "TOLD_S", 0.05)
    served.faults["a.bin"] = [503] * 8
    Store(served.url).read("a.bin")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{served.url}/a.bin: no answer yet (ClientResponseError: 503")
    assert line.endswith("trying again for up to 300 s")
    served.faults["a.bin"] = [503]
    Store(served.url).read("a.bin")
    assert not capsys.readouterr().err  # a blip


def test_after_the_time_the_store_is_given_up(served):
    served.faults["a.bin"] = [503] * 1000
    with pytest.raises(StoreError, match=r"a.bin: no answer for \d+ s \(ClientResponseError: 503"):
        Store(served.url, retry_s=0.3).read("a.bin")
    assert len(served.faults["a.bin"]) <= 998  # it was tried more than once


def test_a_server_that_is_not_there(served):
    gone = Store(served.url, retry_s=0.2)
    served.close()
    with pytest.raises(StoreError, match="no answer"):
        gone.read("a.bin")


def test_silence_is_given_up_and_tried_again(served, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SILENCE_S", 0.02)  # below the 0.05 s of "slow"
    served.faults["a.bin"] = ["slow"]
    assert Store(served.url).read("a.bin") == (tmp_path / "a.bin").read_bytes()
    assert served.faults["a.bin"] == []


def test_a_folder_is_read_as_it_is(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    files = Store(f"{tmp_path}/")
    assert (files.root, files.folder, files.read("a"), files.list_names()) == (str(tmp_path), tmp_path, b"x", ["a"])
    with pytest.raises(NotThere):
        files.read("b")


def test_one_attempt_only_where_that_is_asked(served, tmp_path):
    served.faults["a.bin"] = [503]
    with pytest.raises(StoreError):
        Store(served.url).fetch("a.bin", tmp_path / "copy", once=True)


@pytest.mark.parametrize("scheme", ["s3", "gs", "http", "https"])
def test_a_missing_backend_is_one_line_with_its_extra(monkeypatch, scheme):
    package, extra = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs")}.get(scheme, ("aiohttp", "http"))
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    for name in [name for name in sys.modules if name.partition(".")[0] == package or name == "fsspec.implementations.http"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("s3", "s3a", "gs", "gcs", "http", "https"):
        monkeypatch.delitem(_registry, name, raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    words = rf"{scheme}:// needs the package {package}: pip install 'tarpon\[{extra}\]'"
    with pytest.raises(ValueError, match=words) as caught:
        open_manifest(f"{scheme}://bucket/set")
    assert "\n" not in str(caught.value)


def test_an_unknown_scheme_is_one_line():
    with pytest.raises(ValueError, match="no store is reached by nowhere://"):
        Store("nowhere://bucket/set")


def test_a_clock_that_stands_for_long_downloads(served, tmp_path):
    """The time limit counts from the first failure, not from the start: what works may take as long as it takes."""
    begun = time.monotonic()
    served.faults["a.bin"] = ["slow"]
    assert Store(served.url, retry_s=0.01).read("a.bin")
    assert time.monotonic() - begun > 0.01
