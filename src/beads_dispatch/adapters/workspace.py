"""Where bd's database is: in a cluster a mounted metadata.json says it, everywhere else bd is asked."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from beads_dispatch.adapters.waiting import Waiting, unheard
from beads_dispatch.errors import Misconfigured

CLUSTER_METADATA = Path("/etc/beads-metadata/metadata.json")


@dataclass(frozen=True, slots=True)
class Server:
    """A Dolt sql-server, as both bd and our lock reach it. `socket`: a Unix socket to use instead of host and port."""

    host: str
    port: int
    user: str
    database: str
    tls: bool = False
    socket: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.socket or f'{self.host}:{self.port}'}/{self.database}"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A `.beads` folder, by its `metadata.json`. `server`: None in embedded mode.

    `mounted`: the content of a mounted metadata.json, because bd may write only to a copy of it; else empty.
    `database`: the name of the database where the folder itself names another one.
    """

    metadata: Path
    server: Server | None
    mounted: str = field(default="", repr=False)
    database: str = ""

    def __str__(self) -> str:
        return str(self.server or self.metadata.parent)

    def stamp(self) -> object:
        """A value that changes when metadata.json does. A file that is mounted from a ConfigMap gets another inode."""
        try:
            seen = os.stat(self.metadata)
        except OSError:
            return None
        return seen.st_mtime_ns, seen.st_ino, seen.st_size


def find(environ: Mapping[str, str], cwd: Path, waiting: Waiting = unheard) -> Workspace:
    """The workspace that the environment names, else the one that bd finds from `cwd`. Raises Failure."""
    named = environ.get("BEADS_METADATA")
    path = Path(named) if named else CLUSTER_METADATA
    if named or path.exists():
        text = _text(path)
        return Workspace(path, _mounted_server(path, parse(path, text), environ), mounted=text)
    from beads_dispatch.adapters import discovery  # a cluster's idle tick runs no bd

    return discovery.ask(environ, cwd, waiting)


def read(path: Path) -> dict[str, object]:
    """A metadata.json. Raises Misconfigured."""
    return parse(path, _text(path))


def is_on(value: object) -> bool:
    """How bd reads BEADS_DOLT_SERVER_TLS, and dolt_server_tls in metadata.json."""
    return str(value).lower() in ("1", "true")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise Misconfigured(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Misconfigured(f"{path}: is not valid JSON: {error}") from None


def parse(path: Path, text: str) -> dict[str, object]:
    """The content of a metadata.json. Raises Misconfigured."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"{path}: is not valid JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise Misconfigured(f"{path}: must be a JSON object")
    return metadata


def _mounted_server(path: Path, metadata: Mapping[str, object], environ: Mapping[str, str]) -> Server:
    """Environment, then metadata.json, as bd has it (configfile.go)."""
    mode = str(metadata.get("dolt_mode") or "embedded").lower()
    if mode not in ("server", "embedded"):
        raise Misconfigured(f"{path}: dolt_mode is {mode!r}; it must be server or embedded")
    if mode == "embedded" and environ.get("BEADS_DOLT_SERVER_MODE") != "1":
        raise Misconfigured(f"BEADS_METADATA: {path} is of an embedded workspace; its dolt_mode must be server")

    def setting(name: str, key: str, default: str) -> str:
        return environ.get(f"BEADS_DOLT_SERVER_{name}") or str(metadata.get(key) or default)

    port = setting("PORT", "dolt_server_port", "")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        # A Kubernetes Service named `beads-dolt-server` sets this variable to tcp://…
        variable = "BEADS_DOLT_SERVER_PORT"
        source = variable if environ.get(variable) else f"{path}: dolt_server_port"
        raise Misconfigured(f"{source} is {port or 'missing'}; a port from 1 to 65535 is needed")
    return Server(
        host=setting("HOST", "dolt_server_host", "127.0.0.1"),
        port=int(port),
        user=setting("USER", "dolt_server_user", "root"),
        database=setting("DATABASE", "dolt_database", "beads"),
        tls=is_on(setting("TLS", "dolt_server_tls", "")),
        password=environ.get("BEADS_DOLT_PASSWORD", ""),
    )
