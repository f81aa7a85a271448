"""The health endpoints' server: `[::]` answers IPv4 and IPv6, also on a node that has no IPv6."""

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer

import pytest

from beads_dispatch.adapters import http_server
from beads_dispatch.core.errors import Failure


@contextmanager
def serving(host: str) -> Iterator[ThreadingHTTPServer]:
    server = http_server.server(host, 0, lambda *_: (200, "text/plain", b"here"))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(host: str, port: int) -> bytes:
    connection = HTTPConnection(host, port, timeout=10)
    connection.request("GET", "/")
    return connection.getresponse().read()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_every_address_is_both_families() -> None:
    with serving("::") as server:
        assert asked("127.0.0.1", server.server_port) == b"here"
        if has_ipv6():
            assert asked("::1", server.server_port) == b"here"


@pytest.mark.parametrize("why", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_node_without_ipv6_serves_ipv4(monkeypatch: pytest.MonkeyPatch, why: int) -> None:
    known = http_server._Server.server_bind

    def bind(self: http_server._Server) -> None:
        if self.address_family == socket.AF_INET6:
            raise OSError(why, "no IPv6 here")
        known(self)

    monkeypatch.setattr(http_server._Server, "server_bind", bind)
    with serving("::") as server:
        assert asked("127.0.0.1", server.server_port) == b"here"
    with pytest.raises(Failure, match="cannot listen on ::1:0: no IPv6 here"):
        http_server.server("::1", 0, lambda *_: (200, "text/plain", b""))
