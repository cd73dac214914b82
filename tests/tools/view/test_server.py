"""The page's server: what it gives, to whom, and nothing else."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tarpon.tools import cli
from tarpon.tools.view.record import Detail, Entry
from tarpon.tools.view.server import LISTED, is_own_name

SPITEFUL = '<script>alert("x")</script>'


def made_album(count: int = 3) -> SimpleNamespace:
    """Entries of two steps whose pictures say where they are from; the second cannot be read."""

    def picture(entry: int, step: int) -> tuple[bytes, str]:
        if entry == 1:
            raise ValueError("shard-0.tar: checksum differs")
        return f"{entry}/{step}".encode(), "image/png"

    entries = [
        Entry(key=f"{SPITEFUL}{i}", split="test" if i % 2 else "train", words="a", predicted=i == 0) for i in range(count)
    ]
    return SimpleNamespace(  # what the server asks of an album
        entries=entries,
        detail=lambda entry: Detail(facts=[("a", "b")], steps=2),
        picture=picture,
        steps=lambda entry: 2,
        close=lambda: None,
    )


def test_gives_pictures_and_details_of_what_the_album_lists(serve, get):
    with serve(made_album()) as port:
        status, headers, content = get(port, "/picture/2/1")
        assert (status, headers["Content-Type"], content) == (200, "image/png", b"2/1")
        status, headers, content = get(port, "/entry/0")
        assert (status, headers["Content-Type"]) == (200, "application/json")
        assert json.loads(content)["key"] == f"{SPITEFUL}0"


@pytest.mark.parametrize(
    "path",
    [
        *("/picture/3/0", "/picture/0/2", "/picture/-1/0", "/picture/0/-1", "/picture/a/0", "/picture/0", "/picture/0/0/0"),
        *("/entry/3", "/entry/", "/entry/%2e%2e", "/entry/1e0", "/entry/%D9%A3", "/entries?first=-1", "/entries?first=x"),
        *("/../page.js", "/..%2f..%2fetc%2fpasswd", "/page.html", "/server.py", "//etc/passwd", "/etc/passwd", "/favicon.ico"),
        f"/picture/{9 * '9'}9/0",
    ],
)
def test_nothing_else_can_be_asked_for(serve, get, path):
    with serve(made_album()) as port:
        assert get(port, path)[0] == 404


def test_nothing_can_be_changed(serve, get):
    with serve(made_album()) as port:
        assert all(get(port, "/", method=method)[0] == 501 for method in ("POST", "PUT", "DELETE"))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", ""])
def test_another_name_is_refused(serve, get, host):
    """A page whose own name was pointed at 127.0.0.1 (DNS rebinding) asks by that name."""
    with serve(made_album()) as port:
        assert get(port, "/entries", host=host)[0] == 403


@pytest.mark.parametrize(
    ("host", "own"),
    [
        *((name, True) for name in ("localhost", "LocalHost:8000", "127.0.0.1", "127.0.0.1:9", "[::1]", "[::1]:8000")),
        *((name, False) for name in ("localhost:x", "127.0.0.1:", "::1", "[::1]x", "a@localhost:1", "localhost:80:80")),
    ],
)
def test_names_of_this_machine(host, own):
    assert is_own_name(host) == own


def test_names_are_escaped_and_other_origins_kept_out(serve, get):
    with serve(made_album(), title=SPITEFUL) as port:
        status, headers, content = get(port, "/")
        assert status == 200
        assert SPITEFUL.encode() not in content
        assert b"&lt;script&gt;" in content
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_row_that_cannot_be_read_says_so_and_the_others_go_on(serve, get):
    with serve(made_album()) as port:
        status, _, content = get(port, "/picture/1/0")
        assert status == 500
        assert b"shard-0.tar: checksum differs" in content
        assert get(port, "/picture/0/0")[0] == 200


def test_the_list_is_by_split_and_text_a_part_at_a_time(serve, get):
    count = LISTED + 150
    with serve(made_album(count)) as port:
        first, rest, test, one = (
            json.loads(get(port, f"/entries?{query}")[2])
            for query in ("", f"first={LISTED}", "split=test", f"text=script%3E{count - 1}")
        )
    assert (first["of"], len(first["entries"]), len(rest["entries"])) == (count, LISTED, 150)
    assert first["numbers"] == list(range(count))
    assert first["splits"] == {"train": count / 2, "test": count / 2}
    assert first["predicted"] == ["train"]
    assert test["numbers"] == list(range(1, count, 2))
    assert one["numbers"] == [count - 1]


def test_help_waits_for_no_heavy_library():
    code = (
        "import sys; from tarpon.tools import cli\n"
        "try: cli.main(['view', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'nvidia', 'matplotlib', 'av', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{tmp}"], "neither shards (no manifest.parquet) nor a run folder (no run.yaml)"),
        (["{tmp}", "--data", "x"], "goes with a run folder"),
        (["{tmp}", "--port", "70000"], "port=70000 must be 0"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, capsys, words, said):
    assert cli.main(["view", *(word.format(tmp=tmp_path) for word in words)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_run_without_its_shards_is_told(untrained_fish, capsys):
    assert cli.main(["view", str(untrained_fish)]) == 2
    assert "are no shards that are here; give the shards with --data" in capsys.readouterr().err


def test_shards_of_another_task_are_told(untrained_fish, cells_shards, capsys):
    assert cli.main(["view", str(untrained_fish), "--data", cells_shards.root]) == 2
    assert "holds cells data, fish is needed" in capsys.readouterr().err
