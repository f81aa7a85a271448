"""A certificate authority, a Dolt with a certificate of its, and a connection that is overheard."""

import socket
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from conftest import DoltServer


@dataclass(frozen=True)
class Authority:
    """Its own certificate is `folder`/ca.pem."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        folder.mkdir(parents=True, exist_ok=True)
        new = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=tests -keyout ca.key -out ca.pem"
        _openssl(new, folder)
        return cls(folder)

    def certify(self, name: str) -> tuple[Path, Path]:
        """A key and a certificate for this name, in the form `DNS:localhost` or `IP:127.0.0.1`."""
        stem = name.replace(":", "-")
        (self.folder / f"{stem}.ext").write_text(f"subjectAltName={name}\n")
        _openssl(f"req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout {stem}.key -out {stem}.csr", self.folder)
        sign = f"x509 -req -in {stem}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {stem}.ext"
        _openssl(f"{sign} -out {stem}.pem", self.folder)
        return self.folder / f"{stem}.key", self.folder / f"{stem}.pem"


def _openssl(words: str, folder: Path) -> None:
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)


@dataclass(eq=False)
class TlsDolt(DoltServer):
    key: Path = Path()
    certificate: Path = Path()

    def words(self) -> list[str]:
        config = self.home / "config.yaml"
        config.write_text(
            f"data_dir: {self.home}/data\n"
            f"listener:\n  host: 127.0.0.1\n  port: {self.port}\n"
            f"  tls_key: {self.key}\n  tls_cert: {self.certificate}\n"
        )
        return ["--config", str(config)]


@dataclass
class Overheard:
    """A loopback port that relays to another one. `sent`: what clients have sent through it."""

    to: int
    sent: bytearray = field(default_factory=bytearray)
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def __post_init__(self) -> None:
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.to))
                threading.Thread(target=self._pass, args=(client, server, self.sent), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, bytearray()), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, kept: bytearray) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                kept += data
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
