"""The Hugging Face hub, asked first whether it answers: without a network its client tries again for a minute and more."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from huggingface_hub import constants

ANSWER_S = 5.0  # seconds for a connection, name look-up included
PORTS = {"http": 80, "https": 443}


@contextmanager
def asking_hub() -> Iterator[None]:
    """Inside, what is not in the hub's cache is missed at once where the hub does not answer.

    Raises:
        OSError: it does not answer, and what was asked for is not in the cache.
    """
    if constants.HF_HUB_OFFLINE or answers(constants.ENDPOINT):
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    except (OSError, RuntimeError) as error:
        host = urlsplit(constants.ENDPOINT).hostname
        raise OSError(f"no connection to {host}, and nothing in the cache {constants.HF_HUB_CACHE}") from error
    finally:
        constants.HF_HUB_OFFLINE = False


def answers(url: str, *, timeout_s: float = ANSWER_S) -> bool:
    """Whether the host of a URL, or the proxy before it, takes a connection."""
    host, port = find_door(url)
    taken, done = threading.Event(), threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=timeout_s).close()
        except OSError:
            pass
        else:
            taken.set()
        finally:
            done.set()

    threading.Thread(target=connect, daemon=True).start()  # a name look-up has no time limit of its own
    done.wait(timeout_s)
    return taken.is_set()


def find_door(url: str) -> tuple[str, int]:
    """Host and port that a request for a URL goes to first."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return parts.hostname or "", parts.port or PORTS.get(parts.scheme, 443)
