"""A small HTTP server over a folder, or in front of another server, whose answers can be spoilt."""

import contextlib
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

HOP = {"connection", "transfer-encoding", "server", "date", "content-length", "host"}


class FaultyServer:
    """Spoils the next answers for names that end in a word.

    Faults: "cut" half of the bytes, then the connection closed; "short" half of them, said to be all; "corrupt" a byte changed;
    "slow" 0.05 s of silence in the middle; "endless" bytes until the client goes; a number: that HTTP status.
    """

    def __init__(self, source: Path | str) -> None:
        self.source = source  # a folder, or the URL of the server behind
        self.lists = False  # whether folders are shown, as pages of links
        self.faults: dict[str, list[str | int]] = {}  # end of a path -> faults of its next answers, used up one by one
        self.served: Counter[str] = Counter()  # last part of a path -> answers whose content was sent
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                owner.answer(self, body=True)

            def do_HEAD(self):
                owner.answer(self, body=False)

            def do_PUT(self):
                owner.answer(self, body=True)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = request.path.partition("?")[0]
        sent = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        with self._lock:
            waiting = next((found for end, found in self.faults.items() if path.endswith(end) and found and body), [])
            fault = waiting.pop(0) if waiting else None
        status, headers, content = (fault, {}, b"spoilt") if isinstance(fault, int) else self.content(request, path, sent)
        if fault == "corrupt":
            half = len(content) // 2
            content = content[:half] + bytes([content[half] ^ 255]) + content[half + 1 :]
        if fault == "short":
            content = content[: len(content) // 2]
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        length = headers.get("X-Length") or str(2**40 if fault == "endless" else len(content))
        request.send_header("Content-Length", length)
        request.end_headers()
        if not body or request.command == "HEAD":
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while fault == "endless":
                request.wfile.write(bytes(2**10))
        half = len(content) // 2
        request.wfile.write(content[:half])
        if fault == "cut":
            request.close_connection = True
            request.wfile.flush()
            request.connection.shutdown(2)
            return
        if fault == "slow":
            request.wfile.flush()
            time.sleep(0.05)
        with self._lock:  # before the client can have it all
            self.served[path.rpartition("/")[2]] += 1
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client may have given the silence up
            request.wfile.write(content[half:])

    def content(self, request: BaseHTTPRequestHandler, path: str, sent: bytes) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, content) of a path."""
        if isinstance(self.source, Path):
            file = self.source / unquote(path).lstrip("/")
            if file.is_dir() and self.lists:
                return 200, {"Content-Type": "text/html"}, show_folder(file).encode()
            if not file.is_file():
                return 404, {}, b""
            return 200, {"Last-Modified": formatdate(int(file.stat().st_mtime), usegmt=True)}, file.read_bytes()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP - {"host"}}
        asked = urllib.request.Request(self.source + request.path, data=sent or None, headers=headers, method=request.command)
        try:
            with urllib.request.urlopen(asked) as got:
                kept = {name: value for name, value in got.headers.items() if name.lower() not in HOP}
                if request.command == "HEAD":
                    kept["X-Length"] = got.headers.get("Content-Length", "0")
                return got.status, kept, got.read()
        except urllib.error.HTTPError as error:
            return error.code, {}, error.read()


def show_folder(folder: Path) -> str:
    """The page of a folder, with links to sort it and to the folder above, as servers write them."""
    links = [f'<a href="{quote(path.name)}{"/" * path.is_dir()}">{path.name}</a>' for path in sorted(folder.iterdir())]
    return "<html><body><a href='?C=M;O=A'>Date</a><a href='../'>Parent</a>" + "<br>".join(links) + "</body></html>"


@contextmanager
def serving(source: Path | str) -> Iterator[FaultyServer]:
    server = FaultyServer(source)
    try:
        yield server
    finally:
        server.close()
