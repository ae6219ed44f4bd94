"""What uvicorn is told, and what the kernel is told."""

import socket

import pytest
import uvicorn

from snippets.serving import listen, server_options


def test_the_server_knows_its_options():
    """Limits: `server_options()` are options that uvicorn has."""
    config = uvicorn.Config("app", **server_options())
    assert config.ws_max_size == 2**16
    assert not config.ws_per_message_deflate
    assert (config.ws_ping_interval, config.ws_ping_timeout) == (20, 20)
    assert config.timeout_graceful_shutdown == 15


def accept(listener: socket.socket) -> socket.socket:
    """Connect to it, and return what it accepts."""
    with socket.create_connection(listener.getsockname()):
        return listener.accept()[0]


@pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="needs Linux"
)
def test_the_kernel_gives_up_on_who_takes_nothing():
    """Limits: with `listen()` the kernel drops who takes nothing for 30 s, on
    Linux, and the server gets its descriptor back.
    """
    for listener, milliseconds in (
        (listen("127.0.0.1", 0), 30_000),
        (listen("127.0.0.1", 0, user_timeout=1.5), 1_500),
    ):
        with listener, accept(listener) as accepted:
            assert milliseconds == accepted.getsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT
            )


def test_elsewhere_it_listens_too(monkeypatch: pytest.MonkeyPatch):
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    with listen("127.0.0.1", 0) as listener, accept(listener):
        pass
