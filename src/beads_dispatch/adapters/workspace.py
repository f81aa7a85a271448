"""A bd workspace: its metadata.json, its Dolt server if it has one, and how bd runs on it."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from beads_dispatch.core.errors import Misconfigured

PROXIED = (
    "dolt_mode is proxied-server, which beads-dispatch does not support: only bd itself reaches such a server. "
    "`bd migrate from-proxied-server-to-server` (bd 1.3) makes it a workspace in server mode"
)


@dataclass(frozen=True, slots=True)
class Server:
    """A Dolt sql-server, as bd and our own connection reach it. `socket`: a Unix socket instead of host and port."""

    host: str
    port: int
    user: str
    database: str
    tls: bool = False
    socket: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.socket or f'{self.host}:{self.port}'}/{self.database}"

    def variables(self) -> dict[str, str]:
        """Return the variables that make bd use this server, whatever its files say."""
        known = {"HOST": self.host, "PORT": str(self.port), "USER": self.user, "DATABASE": self.database}
        known |= {"MODE": "1", "TLS": str(int(self.tls))}
        return {f"BEADS_DOLT_SERVER_{key}": value for key, value in known.items()}


@dataclass(frozen=True, slots=True)
class Workspace:
    """A place where beads are, and how bd runs on it. It is found once per process.

    `metadata`: the metadata.json, in its .beads folder or mounted from a ConfigMap.
    `server`: None in embedded mode.
    `environ`: bd's whole environment. For a mounted file it lacks BEADS_DIR, because bd may write only to a copy.
    `folder`: the folder that bd runs in.
    `mounted`: the content of a mounted metadata.json, else empty.
    """

    metadata: Path
    server: Server | None
    environ: Mapping[str, str] = field(repr=False)
    folder: Path
    mounted: str = field(default="", repr=False)

    def __str__(self) -> str:
        return str(self.server or self.metadata.parent)

    def identity(self) -> str:
        """Return what tells this project from every other, also when its server has another port."""
        text = self.mounted or text_of(self.metadata)
        return str(parse(self.metadata, text).get("project_id") or self)

    def stamp(self) -> object:
        """Return a value that changes when metadata.json does. A ConfigMap that is updated gets a new inode."""
        try:
            seen = os.stat(self.metadata)
        except OSError:
            return None
        return seen.st_mtime_ns, seen.st_ino, seen.st_size


def is_on(value: object) -> bool:
    """Return whether bd reads this as true, in BEADS_DOLT_SERVER_TLS and in dolt_server_tls of metadata.json."""
    return str(value).lower() in ("1", "true")


def text_of(path: Path) -> str:
    """Return the text of a metadata.json. Raise Misconfigured if it cannot be read."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise Misconfigured(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Misconfigured(f"{path}: is not valid JSON: {error}") from None


def parse(path: Path, text: str) -> dict[str, object]:
    """Return the content of a metadata.json. Raise Misconfigured if it is not one, or of a mode that we cannot use."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"{path}: is not valid JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise Misconfigured(f"{path}: must be a JSON object")
    if mode(metadata) == "proxied-server":
        raise Misconfigured(f"{path}: {PROXIED}")
    return metadata


def mode(metadata: Mapping[str, object]) -> str:
    """Return the workspace's dolt_mode. bd ignores its case, and reads a missing one as embedded."""
    return str(metadata.get("dolt_mode") or "embedded").lower()
