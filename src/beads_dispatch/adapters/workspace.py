"""Where bd finds its database, worked out once and the way bd 1.0 does it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from beads_dispatch.errors import Misconfigured

CLUSTER_METADATA = Path("/etc/beads-metadata/metadata.json")


@dataclass(frozen=True, slots=True)
class Server:
    """A Dolt sql-server, as both bd and our lock reach it."""

    host: str
    port: int
    user: str
    database: str
    tls: bool = False
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A `metadata.json`. `server`: None in embedded mode. `mounted`: bd may write only to a copy of it."""

    metadata: Path
    server: Server | None
    mounted: bool = False

    def __str__(self) -> str:
        return str(self.server or self.metadata.parent)


def find(environ: Mapping[str, str], cwd: Path) -> Workspace:
    """The workspace that the environment names, else bd's own discovery. Raises Misconfigured."""
    named = environ.get("BEADS_METADATA")
    mounted = Path(named) if named else CLUSTER_METADATA
    if named or mounted.exists():
        workspace = _read(mounted, environ, mounted=True)
        if workspace.server is None:
            raise Misconfigured(f"BEADS_METADATA: {mounted} is of an embedded workspace; its dolt_mode must be server")
        return workspace
    return _read(_folder(environ, cwd) / "metadata.json", environ, mounted=False)


def _folder(environ: Mapping[str, str], cwd: Path) -> Path:
    if named := environ.get("BEADS_DIR"):
        return _redirected(Path(named).resolve())
    for folder in (cwd, *cwd.parents):
        found = _redirected(folder / ".beads")
        if (found / "metadata.json").exists():
            return found
        if (folder / ".git").exists():  # bd also looks no further up than the repository
            if shared := _shared_by_worktrees(folder / ".git"):
                return _redirected(shared)
            break
    raise Misconfigured(
        f"no beads workspace in {cwd} or above it: run `bd init`, or set BEADS_DIR to a .beads folder, "
        "or BEADS_METADATA to a server's metadata.json"
    )


def _redirected(folder: Path) -> Path:
    """The folder that `.beads/redirect` names (relative to the project, one step only), or the folder itself."""
    try:
        lines = (folder / "redirect").read_text().splitlines()
    except OSError:
        return folder
    target = next((line.strip() for line in lines if line.strip() and not line.strip().startswith("#")), "")
    found = (folder.parent / target).resolve()
    return found if target and found.is_dir() else folder


def _shared_by_worktrees(git: Path) -> Path | None:
    """The main checkout's `.beads` where `git` is the `.git` file of a worktree, or None."""
    if not git.is_file():
        return None
    try:
        private = git.parent / git.read_text().removeprefix("gitdir:").strip()
        common = (private / (private / "commondir").read_text().strip()).resolve()
    except (OSError, UnicodeDecodeError):
        return None
    return (common.parent if common.name == ".git" else common) / ".beads"


def _read(path: Path, environ: Mapping[str, str], *, mounted: bool) -> Workspace:
    try:
        metadata = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Misconfigured(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Misconfigured(f"{path}: is not valid JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise Misconfigured(f"{path}: must be a JSON object")
    return Workspace(path, _server(path, metadata, environ), mounted)


def _server(path: Path, metadata: Mapping[str, object], environ: Mapping[str, str]) -> Server | None:
    """Environment, then port file, then metadata.json: the order in bd's doltserver.DefaultConfig."""
    if environ.get("BEADS_DOLT_SHARED_SERVER", "").lower() in ("1", "true"):
        raise Misconfigured("BEADS_DOLT_SHARED_SERVER: unset it and set BEADS_DOLT_SERVER_HOST and _PORT instead")
    mode = str(metadata.get("dolt_mode") or "embedded").lower()
    if mode not in ("server", "embedded"):
        raise Misconfigured(f"{path}: dolt_mode is {mode!r}; it must be server or embedded")
    if mode == "embedded" and environ.get("BEADS_DOLT_SERVER_MODE") != "1":
        return None

    def setting(variable: str, key: str, default: str) -> str:
        return environ.get(variable) or str(metadata.get(key) or default)

    port = environ.get("BEADS_DOLT_SERVER_PORT") or _port_file(path.parent) or str(metadata.get("dolt_server_port", ""))
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Misconfigured(f"{path}: dolt_server_port is {port or 'missing'}; a port from 1 to 65535 is needed")
    return Server(
        host=setting("BEADS_DOLT_SERVER_HOST", "dolt_server_host", "127.0.0.1"),
        port=int(port),
        user=setting("BEADS_DOLT_SERVER_USER", "dolt_server_user", "root"),
        database=setting("BEADS_DOLT_SERVER_DATABASE", "dolt_database", "beads"),
        tls=setting("BEADS_DOLT_SERVER_TLS", "dolt_server_tls", "").lower() in ("1", "true"),
        password=environ.get("BEADS_DOLT_PASSWORD", ""),
    )


def _port_file(folder: Path) -> str:
    try:
        return (folder / "dolt-server.port").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
