"""A small HTTP server: one function answers every request."""

import errno
import socket
import sys
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from beads_dispatch.core.errors import Failure


class Page(NamedTuple):
    status: int
    kind: str  # Content-Type
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})


Answer = Callable[[str], Page]  # the page of a path


def server(host: str, port: int, answer: Answer) -> ThreadingHTTPServer:
    """Listen; the caller serves. Port 0: a free one. `::`: every address, IPv4's too. Raise Failure."""
    try:
        try:
            return _Server((host, port), answer)
        except OSError as error:  # a node without IPv6 has neither the family nor the address
            if host != "::" or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            return _Server(("0.0.0.0", port), answer)
    except (OSError, UnicodeError) as error:
        raise Failure(f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}") from None


class _Server(ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], answer: Answer) -> None:
        self.answer = answer
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            # Without this, some systems answer only IPv6.
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that has gone. Anything else is a bug of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 30  # seconds; a silent client must not hold a thread for ever

    def do_GET(self) -> None:
        if self._is_ours():
            self._reply(*self.server.answer(self.path))

    def do_HEAD(self) -> None:
        self.do_GET()  # `_reply` leaves the body out

    def _is_ours(self) -> bool:
        """Refuse a name of somebody else's for this machine's own address (DNS rebinding).

        Without this, any web site that its user visits could read what we serve on 127.0.0.1.
        """
        local = ip_address(str(self.server.server_address[0])).is_loopback
        if not local or _is_address(self.headers.get("Host", "localhost")):
            return True
        self._reply(421, "text/plain", b"ask for localhost, or by address\n")
        return False

    def _reply(self, status: int, kind: str, body: bytes, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "beads-dispatch"  # and not which Python this is

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the function that answers writes the log."""


def _is_address(host: str) -> bool:
    """Return whether a Host header is an address or `localhost`, which no other machine's name can be."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ip_address(name))
    except ValueError:
        return False
