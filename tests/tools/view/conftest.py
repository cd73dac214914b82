"""Pages of albums, served; and a headless Chromium where there is one."""

import importlib.util
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tarpon.tools.view.open import open_album
from tarpon.tools.view.record import Album
from tarpon.tools.view.server import make_server


@pytest.fixture(scope="session")
def serve():
    """Context of a server of an album, or of shards or a run: the port."""

    @contextmanager
    def serve(source: Path | Album, *, data: str | None = None, title: str = "title") -> Iterator[int]:
        album, title = open_album(source, data=data) if isinstance(source, Path) else (source, title)
        server = make_server(album, title=title)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            album.close()

    return serve


@pytest.fixture(scope="session")
def get():
    """(port, path, host=) -> status, headers, content."""

    def get(port: int, path: str, *, host: str | None = None, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", f"127.0.0.1:{port}" if host is None else host)
        connection.endheaders()
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    return get


@pytest.fixture(scope="session")
def browser():
    """One tab of a headless Chromium; the test is skipped, saying so, where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium here: the page is not tried in a browser")
    spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.Browser(program) as tab:
        yield tab
