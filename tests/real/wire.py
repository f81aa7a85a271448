"""A small HTTP server on raw sockets that misbehaves as the test asks. Its loopback port stays reserved."""

import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

HOST = "127.0.0.1"
PATIENCE = 120.0  # longer than any deadline of a tick, so this side never ends a hanging connection

# What is done with a connection whose request has been read.
Act = Callable[[socket.socket], None]


def _bound(port: int) -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind((HOST, port))
    return one


@dataclass
class Wire:
    """Answers each "METHOD /path" by its act, one connection after the other, and remembers what it was asked."""

    acts: dict[str, Act] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    # Bound but not listening: connections are refused, and the port stays reserved.
    _holder: socket.socket = field(default_factory=lambda: _bound(0))
    _listener: socket.socket | None = None
    _waiting: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self._holder.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def count(self, what: str) -> int:
        return self.seen.count(what)

    def listen(self) -> None:
        self._listener = _bound(self.port)
        self._listener.listen(16)
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """From now on connections are refused; one that is open stays."""
        if self._listener:
            try:
                self._listener.shutdown(socket.SHUT_RDWR)  # a close alone does not wake up accept()
            except OSError:
                pass  # our own thread has closed it
            self._listener.close()
            self._listener = None

    def hang(self) -> None:
        """From now on connecting hangs: nobody accepts, and the listener's backlog is full."""
        self.refuse()
        self._listener = _bound(self.port)
        self._listener.listen(0)
        self._waiting = [socket.create_connection((HOST, self.port), 5)]
        with socket.socket() as one:  # Linux lets one in with a backlog of 0, and drops the next
            one.settimeout(1)
            try:
                one.connect((HOST, self.port))
            except TimeoutError:
                return
        raise AssertionError("the backlog is not full: connecting does not hang")

    def close(self) -> None:
        self.refuse()
        for one in (*self._waiting, self._holder):
            one.close()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(PATIENCE)
                try:
                    self._answer(connection)
                except OSError:
                    pass  # the client has gone

    def _answer(self, connection: socket.socket) -> None:
        what = _read_request(connection)
        if what:
            self.seen.append(what)
            self.acts[what](connection)


def _read_request(connection: socket.socket) -> str:
    """Reads one request to its end; "METHOD /path", or "" where the client went away."""
    with connection.makefile("rb") as stream:
        words = stream.readline().decode("latin-1").split()
        length = 0
        while (line := stream.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        stream.read(length)
    return " ".join(words[:2])


def head(status: int, length: int, kind: str = "application/json", more: str = "") -> bytes:
    typed = f"Content-Type: {kind}\r\n" if kind else ""
    return f"HTTP/1.1 {status} X\r\n{typed}{more}Content-Length: {length}\r\nConnection: close\r\n\r\n".encode()


def reply(status: int, body: object, kind: str = "application/json", more: str = "") -> Act:
    """A whole answer; a body that is neither text nor bytes is sent as JSON."""
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    data = text.encode() if isinstance(text, str) else text
    return lambda connection: connection.sendall(head(status, len(data), kind, more) + data)


def wait_for_the_client(connection: socket.socket) -> None:
    """Sends nothing (more) until the client gives up."""
    while connection.recv(4096):
        pass


def hang_in_body(body: bytes) -> Act:
    """The headers and half of the body, then nothing."""

    def act(connection: socket.socket) -> None:
        connection.sendall(head(200, len(body)) + body[: len(body) // 2])
        wait_for_the_client(connection)

    return act


def cut_off(body: bytes) -> Act:
    """The headers and half of the body, then the end of the connection."""
    return lambda connection: connection.sendall(head(200, len(body)) + body[: len(body) // 2])


def reset(connection: socket.socket) -> None:
    """A RST instead of an answer: close() sends it where SO_LINGER is 0 s."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def after(first: Callable[[], None], act: Act) -> Act:
    """`first`, then the answer, so that `first` is done before the client's next step."""

    def both(connection: socket.socket) -> None:
        first()
        act(connection)

    return both
