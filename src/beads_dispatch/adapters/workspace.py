"""A bd workspace: its `.beads` folder, its metadata.json, and its Dolt server, if it has one."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from beads_dispatch.core.errors import Misconfigured


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


def read(path: Path) -> dict[str, object]:
    """A metadata.json. Raises Misconfigured."""
    return parse(path, text_of(path))


def is_on(value: object) -> bool:
    """How bd reads BEADS_DOLT_SERVER_TLS, and dolt_server_tls in metadata.json."""
    return str(value).lower() in ("1", "true")


def text_of(path: Path) -> str:
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
