"""Ask bd where its database is, so that redirects, worktrees, config.yaml and port files count as they do for bd."""

import re
from collections.abc import Mapping
from pathlib import Path

from beads_dispatch.adapters.bd import command as bd_command
from beads_dispatch.adapters.bd.answers import Answer
from beads_dispatch.adapters.bd.environment import environment
from beads_dispatch.adapters.waiting import Waiting
from beads_dispatch.adapters.workspace import Server, Workspace, is_on, parse, text_of
from beads_dispatch.core.errors import BdFailed, Failure, Misconfigured
from beads_dispatch.core.text import one_line

SECONDS = 20.0  # each question takes bd 60 to 70 ms and opens no database

# bd 1.0.2's `dolt show` reads the first two too late from .beads/.env, and does not report the others.
_DOTENV = re.compile(
    r"""^\s*(?:export\s+)?(BEADS_DOLT_(?:SERVER_MODE|SHARED_SERVER|SERVER_TLS|SERVER_SOCKET))\s*[=:]\s*["']?([^\s"']+)""",
    re.MULTILINE,
)

_DB = re.compile(r"""^db\s*:[ \t]*["']?([^\s"'#]+)""", re.MULTILINE)


def ask(environ: Mapping[str, str], cwd: Path, waiting: Waiting) -> Workspace:
    """Return the workspace that bd finds from `cwd`. Raise Misconfigured, or Failure if its server is not running."""
    if not environ.get("BEADS_DIR") and (named := [name for name in ("BEADS_DB", "BD_DB") if environ.get(name)]):
        raise Misconfigured(f"{named[0]}: unset it and set BEADS_DIR to the .beads folder instead")
    env = environment(environ, cwd)
    found, where = _where(env, cwd, waiting)
    beads = _beads_folder(where)
    _require_the_named_one(environ, cwd, Path(str(where["path"])))
    _require_no_other(beads, found, env)
    metadata = _metadata(beads)
    env = {**dict(_DOTENV.findall(_text(beads / ".env"))), **env}
    env |= _database_of_source(where, env)
    shown = _dolt_show(env, found, waiting)
    server = None if shown is None else _server(shown, beads, metadata, env)
    variables = server.variables() if server else {}
    return Workspace(beads / "metadata.json", server, {**env, "BEADS_DIR": str(beads), **variables}, found)


def _where(env: Mapping[str, str], cwd: Path, waiting: Waiting) -> tuple[Path, dict[str, object]]:
    """Return what bd says about its workspace, and the folder in which it says so.

    A version manager's shim (mise, asdf) runs bd in the project that BEADS_DIR names, or where we are, or in neither.
    """
    project = Path(env["BEADS_DIR"]).parent if env.get("BEADS_DIR") else cwd
    for folder in dict.fromkeys((project if project.is_dir() else cwd, cwd)):
        answer = bd_command.run("where", "--json", env=env, cwd=folder, seconds=SECONDS, waiting=waiting)
        if not answer.code or "no_beads_directory" in answer.out:
            break
    if answer.code and "no_beads_directory" in answer.out:
        _require_the_named_one(env, cwd, None)
        raise Misconfigured(
            f"no beads workspace in {cwd} or above it: run `bd init --skip-hooks`, or set BEADS_DIR to a .beads "
            "folder, or BEADS_METADATA to a server's metadata.json"
        )
    return folder, _object("where", answer, "path")


def _beads_folder(where: Mapping[str, object]) -> Path:
    """Return the .beads folder that has the database.

    In a git worktree with a .beads of its own (bd's metadata.json is committed), bd 1.0.2 names that one as its path,
    and works on the database of the main checkout. Our locks must be beside the database.
    """
    database = Path(str(where.get("database_path") or ""))
    return database.parent if database.name == "embeddeddolt" else Path(str(where["path"]))


def _metadata(beads: Path) -> dict[str, object]:
    file = beads / "metadata.json"
    return parse(file, text_of(file)) if file.exists() else {}


def _require_the_named_one(environ: Mapping[str, str], cwd: Path, found: Path | None) -> None:
    """Raise Misconfigured if bd passed over a BEADS_DIR that is no workspace, and found another one or none."""
    if not (named := environ.get("BEADS_DIR")):
        return
    folder = cwd / named
    if found is None or not (_is_same(folder, found) or (folder / "redirect").exists()):
        raise Misconfigured(f"BEADS_DIR: {named} is not a .beads folder with a workspace, or it cannot be read")


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return False


def _require_no_other(beads: Path, folder: Path, env: Mapping[str, str]) -> None:
    """Raise Misconfigured if `db:` in a config.yaml names another folder's database.

    bd works on that one, relative to the `folder` that it runs in, while `bd where` passes over the setting.
    """
    for file in _configs(beads, folder, env):
        for named in _DB.findall(_text(file)):
            if not _is_same((folder / named).parent, beads):
                raise Misconfigured(
                    f"{file}: remove `db: {named}`, and set BEADS_DIR to the .beads folder that is meant"
                )


def _configs(beads: Path, folder: Path, env: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files from which bd takes its settings when it runs in this folder."""
    home = Path(env.get("HOME") or "/")
    above = (parent / ".beads" / "config.yaml" for parent in (folder, *folder.parents))
    return (
        home / ".beads" / "config.yaml",
        Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "bd" / "config.yaml",
        next((file for file in above if _text(file)), beads / "config.yaml"),
        beads / "config.yaml",
        beads / "config.local.yaml",
    )


def _dolt_show(env: Mapping[str, str], folder: Path, waiting: Waiting) -> dict[str, object] | None:
    """Return what bd says about its server; None in embedded mode, in which bd 1.0.2 exits with 1."""
    answer = bd_command.run("dolt", "show", "--json", env=env, cwd=folder, seconds=SECONDS, waiting=waiting)
    if answer.code and "embedded mode" in answer.message:
        return None
    shown = _object("dolt show", answer, "database")
    return None if shown.get("embedded") else shown


def _server(shown: Mapping[str, object], beads: Path, metadata: Mapping[str, object], env: Mapping[str, str]) -> Server:
    def unsaid(name: str) -> object:
        return env.get(f"BEADS_DOLT_SERVER_{name}") or metadata.get(f"dolt_server_{name.lower()}") or ""

    # bd 1.3 prefers a Unix socket, and does not say so. bd 1.0.2 knows none; it does not say `tls` either.
    socket = _live(str(unsaid("SOCKET"))) if "tls" in shown else ""
    if not (socket or shown.get("port")):  # a server that bd manages: each start writes its port to a file
        raise Failure(f"{beads}: its Dolt server is not running: start it with `bd dolt start`")
    return Server(
        host=str(shown["host"]),
        port=int(str(shown["port"])),
        user=str(shown["user"]),
        database=env.get("BEADS_DOLT_SERVER_DATABASE") or str(shown["database"]),
        tls=is_on(shown["tls"] if "tls" in shown else unsaid("TLS")),
        socket=socket,
        password=env.get("BEADS_DOLT_PASSWORD", ""),
    )


def _live(socket: str) -> str:
    """Return the socket if there is one: otherwise bd falls back to host and port."""
    try:
        return socket if socket and Path(socket).is_socket() else ""
    except OSError:
        return ""


def _database_of_source(where: Mapping[str, object], env: Mapping[str, str]) -> dict[str, str]:
    """Return the variable with the database that the folder with a `redirect` names in its own metadata.json, if any.

    bd uses that one, while `dolt show` names the database of the folder that it redirects to. bd 1.3 does not say
    where it was redirected from if that was BEADS_DIR.
    """
    named = str(where.get("redirected_from") or env.get("BEADS_DIR") or "")
    source = Path(named)
    redirects = named and (source / "redirect").exists() and not _is_same(source, Path(str(where["path"])))
    if not redirects or env.get("BEADS_DOLT_SERVER_DATABASE"):
        return {}
    database = _metadata(source).get("dolt_database")
    return {"BEADS_DOLT_SERVER_DATABASE": str(database)} if database else {}


def _text(file: Path) -> str:
    """Return the text of a file that need not be there."""
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


def _object(words: str, answer: Answer, key: str) -> dict[str, object]:
    """Return bd's answer as an object with this key. Raise Misconfigured if bd found a fault; BdFailed."""
    if answer.code:
        raise Misconfigured(f"bd {words}: {answer.message}")
    document = answer.document()
    if not isinstance(document, dict) or key not in document:
        raise BdFailed(f"bd {words}: its answer is not as expected: {one_line(answer.out, 80)!r}")
    return document
