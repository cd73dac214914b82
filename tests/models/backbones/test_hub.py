"""The hub is asked first whether it answers; where it does not, nothing waits for it."""

import socket
import time

import pytest
from huggingface_hub import constants

from tarpon.models.backbones import hub


@pytest.fixture
def no_proxy(monkeypatch):
    monkeypatch.setattr(hub, "getproxies", dict)


@pytest.fixture
def port():
    """Of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_who_takes_a_connection_answers(port, no_proxy):
    assert hub.answers(f"http://127.0.0.1:{port}")


def test_a_closed_port_does_not(no_proxy):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not hub.answers(f"http://127.0.0.1:{port}")


def test_a_name_that_is_looked_up_for_long_does_not(monkeypatch, no_proxy):
    def look_up(*given, **options):
        time.sleep(2)
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert not hub.answers("https://hub.example", timeout_s=0.05)


@pytest.mark.parametrize(
    ("proxies", "door"),
    [
        ({}, ("huggingface.co", 443)),
        ({"https": "http://proxy.example:3128"}, ("proxy.example", 3128)),
        ({"https": "proxy.example:3128"}, ("proxy.example", 3128)),
        ({"http": "http://proxy.example:3128"}, ("huggingface.co", 443)),
    ],
)
def test_behind_a_proxy_it_is_the_proxy_that_must_answer(proxies, door, monkeypatch):
    monkeypatch.setattr(hub, "getproxies", lambda: proxies)
    monkeypatch.setattr(hub, "proxy_bypass", lambda host: False)
    assert hub.find_door("https://huggingface.co") == door


def test_inside_the_client_is_offline_only_where_the_hub_does_not_answer(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for there in (True, False):
        monkeypatch.setattr(hub, "answers", lambda url, there=there: there)
        with hub.asking_hub():
            assert constants.HF_HUB_OFFLINE is not there
        assert constants.HF_HUB_OFFLINE is False


def test_what_is_missed_names_the_host_and_the_cache(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "answers", lambda url: False)
    with (
        pytest.raises(OSError, match=rf"no connection to \S+, and nothing in the cache {constants.HF_HUB_CACHE}"),
        hub.asking_hub(),
    ):
        raise OSError("Cannot find the requested files")
    with pytest.raises(ValueError, match="mine"), hub.asking_hub():
        raise ValueError("mine")
    assert constants.HF_HUB_OFFLINE is False


def test_a_user_who_is_offline_on_purpose_is_not_asked_for(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "answers", lambda url: pytest.fail("asked"))
    with hub.asking_hub():
        pass
    assert constants.HF_HUB_OFFLINE is True
