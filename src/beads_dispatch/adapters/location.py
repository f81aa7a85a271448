"""Where bd's database is: in a cluster a mounted metadata.json says it, everywhere else bd is asked."""

from collections.abc import Mapping
from pathlib import Path

from beads_dispatch.adapters.waiting import Waiting, unheard
from beads_dispatch.adapters.workspace import Server, Workspace, is_on, parse, text_of
from beads_dispatch.core.errors import Misconfigured

CLUSTER_METADATA = Path("/etc/beads-metadata/metadata.json")


def find(environ: Mapping[str, str], cwd: Path, waiting: Waiting = unheard) -> Workspace:
    """The workspace that the environment names, else the one that bd finds from `cwd`. Raises Failure."""
    named = environ.get("BEADS_METADATA")
    path = Path(named) if named else CLUSTER_METADATA
    if named or path.exists():
        text = text_of(path)
        return Workspace(path, _mounted_server(path, parse(path, text), environ), mounted=text)
    from beads_dispatch.adapters import discovery  # a cluster's idle tick runs no bd

    return discovery.ask(environ, cwd, waiting)


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
