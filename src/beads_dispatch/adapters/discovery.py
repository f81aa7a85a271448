"""bd is asked where its database is: redirects, worktrees, config.yaml and port files are bd's business."""

import re
from collections.abc import Mapping
from pathlib import Path

from beads_dispatch.adapters.bd import command as bd_command
from beads_dispatch.adapters.bd.command import Answer
from beads_dispatch.adapters.bd.environment import environment
from beads_dispatch.adapters.bd.process import CWD
from beads_dispatch.adapters.waiting import Waiting
from beads_dispatch.adapters.workspace import Server, Workspace, is_on, read
from beads_dispatch.core.errors import BdFailed, Failure, Misconfigured
from beads_dispatch.core.outcomes import json_object
from beads_dispatch.core.text import one_line

SECONDS = 20.0  # each question takes bd 60 to 70 ms and opens no database

# bd 1.0.2's `dolt show` reads the first two too late from .beads/.env, and does not report the others.
_DOTENV = re.compile(
    r"""^\s*(?:export\s+)?(BEADS_DOLT_(?:SERVER_MODE|SHARED_SERVER|SERVER_TLS|SERVER_SOCKET))\s*[=:]\s*["']?([^\s"']+)""",
    re.MULTILINE,
)

_DB = re.compile(r"""^db\s*:[ \t]*["']?([^\s"'#]+)""", re.MULTILINE)


def ask(environ: Mapping[str, str], cwd: Path, waiting: Waiting) -> Workspace:
    """The workspace that bd finds from `cwd`. Raises Misconfigured; Failure where its server is not running."""
    if not environ.get("BEADS_DIR") and (named := [name for name in ("BEADS_DB", "BD_DB") if environ.get(name)]):
        raise Misconfigured(f"{named[0]}: unset it and set BEADS_DIR to the .beads folder instead")
    where = _where(environ, cwd, waiting)
    folder = Path(str(where["path"]))
    _require_the_named_one(environ, cwd, folder)
    _require_no_other(folder, environ)
    environ = {**_dotenv(folder), **environ}
    database = _database_of_source(where, environ, cwd)
    shown = _dolt_show(environ, cwd, waiting)
    server = None if shown is None else _server(shown, folder, environ, database)
    return Workspace(folder / "metadata.json", server, database=database)


def _where(environ: Mapping[str, str], cwd: Path, waiting: Waiting) -> dict[str, object]:
    answer = _bd("where", environ=environ, cwd=cwd, waiting=waiting)
    if answer.code and "no_beads_directory" in answer.out:
        _require_the_named_one(environ, cwd, None)
        raise Misconfigured(
            f"no beads workspace in {cwd} or above it: run `bd init --skip-hooks`, "
            "or set BEADS_DIR to a .beads folder, or BEADS_METADATA to a server's metadata.json"
        )
    return _object("where", answer, "path")


def _require_the_named_one(environ: Mapping[str, str], cwd: Path, found: Path | None) -> None:
    """Raises Misconfigured where bd passed over a BEADS_DIR that is none, and found another folder, or nothing."""
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


def _require_no_other(folder: Path, environ: Mapping[str, str]) -> None:
    """Raises Misconfigured where `db:` in a config.yaml names another folder's database.

    bd works on that one, from the folder that it runs in, while `bd where` passes over the setting.
    """
    for file in (folder / "config.yaml", folder / "config.local.yaml", _home_config(environ)):
        for named in _DB.findall(_text(file)):
            if not _is_same((CWD / named).parent, folder):
                raise Misconfigured(
                    f"{file}: remove `db: {named}`, and set BEADS_DIR to the .beads folder that is meant"
                )


def _home_config(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "/") / ".config") / "bd" / "config.yaml"


def _dolt_show(environ: Mapping[str, str], cwd: Path, waiting: Waiting) -> dict[str, object] | None:
    """What bd says of its server; None in embedded mode, where bd 1.0.2 exits 1."""
    answer = _bd("dolt", "show", environ=environ, cwd=cwd, waiting=waiting)
    if answer.code and "embedded mode" in answer.message:
        return None
    shown = _object("dolt show", answer, "database")
    return None if shown.get("embedded") else shown


def _server(shown: Mapping[str, object], folder: Path, environ: Mapping[str, str], database: str) -> Server:
    metadata = read(folder / "metadata.json") if (folder / "metadata.json").exists() else {}

    def unsaid(name: str) -> object:
        return environ.get(f"BEADS_DOLT_SERVER_{name}") or metadata.get(f"dolt_server_{name.lower()}") or ""

    # bd 1.3 prefers a Unix socket, and does not say so. bd 1.0.2 knows none; it does not say `tls` either.
    socket = _live(str(unsaid("SOCKET"))) if "tls" in shown else ""
    if not (socket or shown.get("port")):  # a server that bd manages: each start writes its port to a file
        raise Failure(f"{folder}: its Dolt server is not running: start it with `bd dolt start`")
    return Server(
        host=str(shown["host"]),
        port=int(str(shown["port"])),
        user=str(shown["user"]),
        database=database or str(shown["database"]),
        tls=is_on(shown["tls"] if "tls" in shown else unsaid("TLS")),
        socket=socket,
        password=environ.get("BEADS_DOLT_PASSWORD", ""),
    )


def _live(socket: str) -> str:
    """The socket, where there is one: otherwise bd falls back to host and port."""
    try:
        return socket if socket and Path(socket).is_socket() else ""
    except OSError:
        return ""


def _database_of_source(where: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> str:
    """The database that the folder with a `redirect` names in its own metadata.json, or nothing.

    bd uses that one, while `dolt show` names the database of the folder that it redirects to. bd 1.3 does not say
    where it was redirected from if that was BEADS_DIR.
    """
    named = str(where.get("redirected_from") or environ.get("BEADS_DIR") or "")
    source = cwd / named
    redirects = (source / "redirect").exists() and not _is_same(source, Path(str(where["path"])))
    if (
        not (named and redirects)
        or environ.get("BEADS_DOLT_SERVER_DATABASE")
        or not (source / "metadata.json").exists()
    ):
        return ""
    return str(read(source / "metadata.json").get("dolt_database") or "")


def _dotenv(folder: Path) -> dict[str, str]:
    return dict(_DOTENV.findall(_text(folder / ".env")))


def _text(file: Path) -> str:
    """What a file holds that need not be there."""
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


def _bd(*words: str, environ: Mapping[str, str], cwd: Path, waiting: Waiting) -> Answer:
    return bd_command.run(*words, "--json", env=environment(environ), cwd=cwd, seconds=SECONDS, waiting=waiting)


def _object(words: str, answer: Answer, key: str) -> dict[str, object]:
    """bd's answer as an object that has this key. Raises Misconfigured where bd found a fault; BdFailed."""
    if answer.code:
        raise Misconfigured(f"bd {words}: {answer.message}")
    document = json_object(answer.out)
    if document is None or key not in document:
        raise BdFailed(f"bd {words}: its answer is not as expected: {one_line(answer.out, 80)!r}")
    return document
