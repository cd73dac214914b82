"""The page over HTTP, for this machine alone: the standard library's server is enough for one reader of local files.

Only what the album lists can be asked for, by number: there are no paths in requests, so none can lead out of the shards.
A page of another site may name this server in a link, or point its own name at 127.0.0.1 (DNS rebinding): requests by another
name than this machine's are refused, and nothing here may be framed, embedded or read by another origin.
"""

import json
import re
import time
from dataclasses import asdict
from functools import partial
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tarpon.shards.quarantine import BadSample
from tarpon.tools.view.record import Album

FOLDER = Path(__file__).parent
LOOPBACK = "127.0.0.1"
NAMES = {"127.0.0.1", "localhost", "[::1]"}  # a tunnel (ssh -L) brings the port that it has on its own side
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/draw.js": ("draw.js", "text/javascript; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
STARTED = time.time_ns()  # in the address of every picture: another run's pictures are never taken from the browser's memory
LISTED = 200  # entries of one answer: data sets have 100,000 rows
WHOLE = re.compile(r"\d{1,9}", re.ASCII)


def make_server(album: Album, *, title: str, port: int = 0) -> ThreadingHTTPServer:
    """The server, listening; `serve_forever` answers."""
    server = ThreadingHTTPServer((LOOPBACK, port), partial(Handler, album=album, title=title))
    server.daemon_threads = True
    return server


class NotThere(Exception):
    """What was asked for is none of what there is."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"  # connections stay open: a video is many small requests

    def __init__(self, *args, album: Album, title: str) -> None:
        self.album, self.title = album, title
        super().__init__(*args)

    def do_GET(self) -> None:
        if not is_own_name(self.headers.get("Host", "")):
            return self._answer(HTTPStatus.FORBIDDEN, b"asked by another name than this machine's\n", "text/plain")
        try:
            content, kind = self._find(self.path)
            return self._answer(HTTPStatus.OK, content, kind)
        except NotThere:
            return self._answer(HTTPStatus.NOT_FOUND, b"there is no such thing here\n", "text/plain")
        except (BadSample, ValueError, OSError) as error:  # a damaged row: said on the page, and the others go on
            words = f"cannot be read: {error}\n".encode()
            return self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, words, "text/plain; charset=utf-8")

    def log_message(self, format: str, *args: object) -> None:
        """Silent: a line a frame would bury what the terminal says."""

    def _find(self, target: str) -> tuple[bytes, str]:
        parts = urlsplit(target)
        if parts.path in FILES:
            name, kind = FILES[parts.path]
            content = (FOLDER / name).read_text(encoding="utf-8")
            filled = content.replace("{{title}}", escape(self.title)).replace("{{started}}", str(STARTED))
            return filled.encode(), kind
        words = parts.path.split("/")[1:]
        if words == ["entries"]:
            return as_json(list_entries(self.album, parse_qs(parts.query)))
        if len(words) == 2 and words[0] == "entry":
            entry = self._number(words[1], below=len(self.album.entries))
            return as_json({"key": self.album.entries[entry].key, **asdict(self.album.detail(entry))})
        if len(words) == 3 and words[0] == "picture":
            entry = self._number(words[1], below=len(self.album.entries))
            return self.album.picture(entry, self._number(words[2], below=self.album.steps(entry)))
        raise NotThere

    def _number(self, word: str, *, below: int) -> int:
        if not WHOLE.fullmatch(word) or int(word) >= below:
            raise NotThere
        return int(word)

    def _answer(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store" if not kind.startswith("image/") else "private, max-age=600")
        try:
            self.end_headers()
            self.wfile.write(content)
        except ConnectionError:  # the page has gone on to another picture
            self.close_connection = True


def is_own_name(host: str) -> bool:
    """Whether a Host header names this machine by its loopback."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or host.endswith("]"):
        return host.lower() in NAMES
    return name in NAMES and port.isdecimal()


def as_json(value: object) -> tuple[bytes, str]:
    return json.dumps(value, allow_nan=False).encode(), "application/json"


def list_entries(album: Album, asked: dict[str, list[str]]) -> dict:
    """The entries of a split that hold a text, from a place on; all splits with their sizes beside them."""
    split, text = (asked.get(name, [""])[0] for name in ("split", "text"))
    first = asked.get("first", ["0"])[0]
    if not WHOLE.fullmatch(first):
        raise NotThere
    text = text.casefold()
    found = [
        number
        for number, entry in enumerate(album.entries)
        if (not split or entry.split == split) and (not text or text in f"{entry.key} {entry.words}".casefold())
    ]
    splits: dict[str, int] = {}
    for entry in album.entries:
        splits[entry.split] = splits.get(entry.split, 0) + 1
    shown = found[int(first) : int(first) + LISTED]
    told = {entry.split for entry in album.entries if entry.predicted}
    return {
        "of": len(found),
        "splits": splits,
        "predicted": sorted(told),
        "entries": [{"number": number, **asdict(album.entries[number])} for number in shown],
        "numbers": found if len(found) <= 100_000 else [],
    }
