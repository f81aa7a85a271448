"""Where bd's database is: in a cluster a mounted metadata.json says so, everywhere else bd is asked."""

from collections.abc import Mapping
from pathlib import Path

from beads_dispatch.adapters.bd.environment import environment
from beads_dispatch.adapters.waiting import Waiting, unheard
from beads_dispatch.adapters.workspace import Server, Workspace, is_on, mode, parse, text_of
from beads_dispatch.core.errors import Misconfigured

CLUSTER_METADATA = Path("/etc/beads-metadata/metadata.json")

# bd also reads the nearest .beads/config.yaml above the folder that it runs in. Above our copy in /tmp, anybody could
# put one that names another `db:`.
NOWHERE = Path("/")


def find(environ: Mapping[str, str], cwd: Path, waiting: Waiting = unheard) -> Workspace:
    """Return the workspace that the environment names, else the one that bd finds from `cwd`. Raise Failure."""
    named = environ.get("BEADS_METADATA")
    path = Path(named) if named else CLUSTER_METADATA
    if not (named or path.exists()):
        from beads_dispatch.adapters import discovery  # an idle tick in a cluster runs no bd

        return discovery.ask(environ, cwd, waiting)
    text = text_of(path)
    server = _mounted_server(path, parse(path, text), environ)
    env = environment(environ, cwd, mounted=True) | server.variables()
    return Workspace(path, server, env, NOWHERE, mounted=text)


def _mounted_server(path: Path, metadata: Mapping[str, object], environ: Mapping[str, str]) -> Server:
    """Return the server: the environment comes before metadata.json, as in bd (configfile.go)."""
    if mode(metadata) not in ("server", "embedded"):
        raise Misconfigured(f"{path}: dolt_mode is {mode(metadata)!r}; it must be server or embedded")
    if mode(metadata) == "embedded" and environ.get("BEADS_DOLT_SERVER_MODE") != "1":
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
