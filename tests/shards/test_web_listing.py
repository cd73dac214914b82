"""What a web server's pages of links are read as."""

import pytest

from tarpon.shards import store
from tarpon.shards.store import Store, StoreError
from tarpon.shards.web_listing import split_links

APACHE = """<table><tr><th><a href="?C=N;O=D">Name</a></th></tr>
<tr><td><a href="/lab/">Parent Directory</a></td></tr>
<tr><td><a href="m1.mp4">m1.mp4</a></td></tr><tr><td><a href='a%20b%231.mp4'>a b#1.mp4</a></td></tr>
<tr><td><a href="/lab/Videos/m2.mp4">m2</a></td></tr><tr><td><A HREF="old/">old/</A></td></tr></table>"""


def test_links_below_the_folder_are_its_files_and_folders():
    assert split_links("http://h/lab/Videos/", APACHE) == (["m1.mp4", "a b#1.mp4", "m2.mp4"], ["old"])
    assert split_links("http://h/lab/Videos", APACHE) == (["m1.mp4", "a b#1.mp4", "m2.mp4"], ["old"])


@pytest.mark.parametrize(
    "link",
    ["../x", "/lab/x", "http://other/lab/Videos/x", "x/y", "", "#top", "x?v=1", "%2e%2e/x", "..%2fx", "mailto:a@b", "x%00"],
)
def test_links_elsewhere_are_none(link):
    assert split_links("http://h/lab/Videos/", f'<a href="{link}">x</a>') == ([], [])


@pytest.fixture
def served(tmp_path, faulty_server, monkeypatch):
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp: pip install 'tarpon[http]'")
    monkeypatch.setattr(store, "FIRST_PAUSE_S", 0.01)
    for name in ("a b.txt", "below/c#d?.txt", "below/deeper/100%25.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    with faulty_server.serving(tmp_path) as server:
        server.lists = True
        yield server


def test_a_tree_of_odd_names_is_listed_and_read(served):
    files = Store(served.url)
    found = files.list_tree()
    assert {name: told["size"] for name, told in found.items()} == {name: len(name) for name in found}
    assert sorted(found) == ["a b.txt", "below/c#d?.txt", "below/deeper/100%25.txt"]
    assert {name: files.read(name).decode() for name in found} == {name: name for name in found}
    assert all("GMT" in told["Last-Modified"] for told in found.values())


def test_a_listing_is_tried_again_and_given_up_in_one_line(served):
    served.faults = {"below/": [503, "cut"]}
    assert len(Store(served.url).list_tree()) == 3
    served.faults = {"below/": [503] * 1000}
    with pytest.raises(StoreError, match=r"below/: no answer|below: no answer"):
        Store(served.url, retry_s=0.1).list_tree()
    served.faults = {"/": [403]}
    with pytest.raises(ValueError, match="does not list it; switch its directory listing on"):
        Store(served.url).list_tree()
