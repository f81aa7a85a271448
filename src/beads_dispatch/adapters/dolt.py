"""Our questions to a Dolt sql-server, over one connection. No other module uses pymysql."""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pymysql
import pymysql.cursors

from beads_dispatch.adapters.waiting import Waiting, reported, unheard
from beads_dispatch.adapters.workspace import Server
from beads_dispatch.core.bead import TOO_LARGE_COMMENTS
from beads_dispatch.core.errors import DoltFailed

if TYPE_CHECKING:
    import ssl

_BROKEN_STREAM = (AssertionError, LookupError, struct.error)  # pymysql does not translate them

CONNECT_SECONDS = 5
ANSWER_SECONDS = 15

_COLUMNS = (
    "id, title, description, design, acceptance_criteria, notes, status, priority, issue_type, "
    "assignee, created_at, updated_at, defer_until, ephemeral, pinned, no_history, metadata"
)
_OUR_COMMENT = " OR ".join(f"c.text LIKE '{text}%%'" for text in TOO_LARGE_COMMENTS)

# Three plain questions cost Dolt less than one with a UNION and a subquery: with 200 beads, half.
# UTC_TIMESTAMP(), never NOW(): NOW() is in the server's zone. Wisps are in a table of their own.
_ASSIGNED, _ASSIGNED_WISPS = (
    f"SELECT UTC_TIMESTAMP() AS utc_now, {_COLUMNS} FROM {table} WHERE assignee = %s AND status <> 'closed'"
    for table in ("issues", "wisps")
)
# `closed_at` is in UTC, as bd writes it.
_CLOSED = f"SELECT {_COLUMNS} FROM issues WHERE assignee = %s AND status = 'closed' AND closed_at >= %s"
# Beads that represent an agent are no work for one.
_AGENT_BEADS = "SELECT issue_id FROM labels WHERE label = 'gt:agent' AND issue_id IN %s"

# We ask this for few beads.
_COMMENTED, _COMMENTED_WISPS = (
    f"""
SELECT c.issue_id, MAX(c.created_at) AS commented_at,
       MAX(CASE WHEN {_OUR_COMMENT} THEN c.created_at END) AS too_large_notice_at
  FROM {table} c WHERE c.issue_id IN %s GROUP BY c.issue_id"""
    for table in ("comments", "wisp_comments")
)

# dolt_diff_issues has a row for each change of the bead: a tenth of a second, with 3,000 commits of other beads.
# dolt_history_issues, which `bd history` reads, has a row for each commit of anything.
_VERSIONED = (
    "id", "title", "description", "acceptance_criteria", "notes", "status", "priority", "issue_type", "assignee",
    "updated_at", "defer_until", "created_at",
)  # fmt: skip
_HISTORY = f"""
SELECT to_commit_date AS committed_at, {", ".join(f"to_{name} AS {name}" for name in _VERSIONED)}
  FROM dolt_diff_issues WHERE to_id = %s AND to_commit_date IS NOT NULL"""

_HELD = "IS_USED_LOCK(%s) = CONNECTION_ID() AS locked"  # NULL if nobody holds it

_FETCH = f"""
SELECT {_HELD}, {_COLUMNS}, EXISTS (SELECT 1 FROM labels l WHERE l.issue_id = i.id AND l.label = 'gt:agent') AS agent
  FROM (SELECT 1) AS one LEFT JOIN issues i ON i.id = %s"""

# A row found by its key, and no alias: Dolt 1.86 answers this without a goroutine of its own. A SELECT without a table
# makes it copy all of the server's variables (340 KB a question, nearly twice the CPU).
_HASH = "SELECT dolt_hashof_db() FROM metadata WHERE `key` = '_project_id'"
_HASH_WITHOUT_ID = "SELECT dolt_hashof_db()"


# Lock names belong to the whole server and are case-sensitive, but `code`, `CODE` and `code/main` open one database.
# So the project's id names the lock. A database without one (bd works on it too) is named in its plainest form.
# MySQL allows a lock's name 64 characters, hence the hash.
def _lock_name(project: str) -> str:
    return f"CONCAT(%s, SHA1(CONCAT({project}, '/', %s)))"


_LOCK_NAME = _lock_name("""
COALESCE((SELECT NULLIF(value, '') FROM metadata WHERE `key` = '_project_id'),
         LOWER(SUBSTRING_INDEX(DATABASE(), '/', 1)))""")
_GET_LOCK = f"SELECT name, GET_LOCK(name, 0) AS got FROM (SELECT {_LOCK_NAME} AS name) AS n"
# The same lock for a database with an id, in a statement that costs Dolt a sixth.
_BY_ID = _lock_name("value")
_GET_LOCK_BY_ID = f"""
SELECT {_BY_ID} AS name, GET_LOCK({_BY_ID}, 0) AS got FROM metadata WHERE `key` = '_project_id' AND value <> ''"""
_HOLDER = f"SELECT id, user, host, time FROM information_schema.processlist WHERE id = IS_USED_LOCK({_LOCK_NAME})"

_NO_ACCESS = " (bd may have a password from .beads/.env or a credentials file: put it in BEADS_DOLT_PASSWORD)"
_NO_TRUST = " (the authority must be the system's or in the file that SSL_CERT_FILE names, as for bd)"


# These change nothing, not even the database's hash, but Dolt checks the privilege for each.
_MAY_WRITE = (
    "UPDATE issues SET title = title WHERE id = ''",
    "INSERT INTO events SELECT * FROM events WHERE FALSE",
    "INSERT INTO local_metadata SELECT * FROM local_metadata WHERE FALSE",  # a REPLACE needs this one and the next
    "DELETE FROM local_metadata WHERE `key` = ''",
)


class Dolt:
    """One connection, opened at the first question. It holds our lock, so only `close` lets us open another one."""

    def __init__(self, server: Server, waiting: Waiting = unheard) -> None:
        self.server = server
        self._waiting = waiting
        self._connection: pymysql.Connection[Any] | None = None

    def again(self) -> "Dolt":
        """Return a new connection to the same database, without our lock."""
        return Dolt(self.server, self._waiting)

    def lock(self, job: str, assignee: str) -> str | None:
        """Take the job's lock without waiting. Return its name; None if another connection holds it."""
        name = (f"beads-{job}:", assignee)
        row = (self.ask(_GET_LOCK_BY_ID, *name, *name) or self.ask(_GET_LOCK, *name))[0]
        return str(row["name"]) if row["got"] == 1 else None

    def locked(self, lock: str) -> bool:
        """Return whether this connection still holds the lock of this name."""
        return bool(self.ask(f"SELECT {_HELD}", lock)[0]["locked"] == 1)

    def holder(self, job: str, assignee: str, idle_for: float = 0.0) -> str:
        """Describe the connection that holds the job's lock; empty if none does, or if it is not ours to see.

        `idle_for`: only if it has asked nothing for so many seconds.
        """
        found = self.ask(_HOLDER, f"beads-{job}:", assignee)
        if not found or found[0]["time"] < idle_for:
            return ""
        idle = f", idle for {int(found[0]['time'])} s" if idle_for else ""
        return f"connection {found[0]['id']} of {found[0]['user']} from {found[0]['host']}{idle}"

    def assigned(self, assignee: str) -> list[dict[str, Any]]:
        """Return the assignee's rows that are not closed, including wisps, each with `utc_now`."""
        rows = self.ask(_ASSIGNED, assignee)
        asked = self.ask(_AGENT_BEADS, tuple(str(row["id"]) for row in rows)) if rows else []
        agents = {row["issue_id"] for row in asked}
        wisps = self.ask(_ASSIGNED_WISPS, assignee)
        return [_as_bd_writes_it(row, agent=row["id"] in agents) for row in (*rows, *wisps)]

    def closed(self, assignee: str, since: datetime) -> list[dict[str, Any]]:
        """Return the assignee's rows that were closed since."""
        rows = self.ask(_CLOSED, assignee, f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S}")
        return [_as_bd_writes_it(row, agent=False) for row in rows]

    def commented(self, beads: Sequence[str], *, wisps: bool = False) -> dict[str, dict[str, Any]]:
        """Return, by id, when each bead was last commented on, and when we commented that it is too large."""
        rows = self.ask(_COMMENTED_WISPS if wisps else _COMMENTED, tuple(beads)) if beads else []
        return {str(row.pop("issue_id")): row for row in rows}

    def now(self) -> datetime:
        """Return the server's time, aware, UTC."""
        now: datetime = self.ask("SELECT UTC_TIMESTAMP() AS utc_now")[0]["utc_now"]
        return now.replace(tzinfo=UTC)

    def hash(self) -> str:
        """Return a hash of everything in the database. It changes with every write, and is cheaper than `SELECT 1`.

        A long wait for it is not reported: an idle watcher asks every second, and the timer of a report would cost it
        a quarter more CPU.
        """
        rows = self._ask(_HASH) or self._ask(_HASH_WITHOUT_ID)
        return str(*rows[0].values())

    def fetch(self, lock: str, bead_id: str) -> tuple[bool, dict[str, Any] | None]:
        """Return whether this connection still holds the lock, and the bead, if there is one. It is one question.

        The bead lacks the times of its comments: see `commented`.
        """
        row = self.ask(_FETCH, lock, bead_id)[0]
        return row["locked"] == 1, _as_bd_writes_it(row, agent=row["agent"] == 1) if row["id"] else None

    def history(self, bead_id: str) -> list[dict[str, Any]]:
        """Return the bead after each of its changes that was committed, as bd writes it."""
        rows = self.ask(_HISTORY, bead_id)
        return [{"CommitDate": row.pop("committed_at"), "Issue": row} for row in rows]

    def events(self, bead_id: str) -> list[dict[str, Any]]:
        """Return bd's own record of who changed what."""
        what = "SELECT event_type, actor, old_value, new_value, created_at FROM events WHERE issue_id = %s"
        return self.ask(what, bead_id)

    def check_writable(self) -> None:
        """Raise DoltFailed if this user may not write beads or holds."""
        try:
            for statement in _MAY_WRITE:
                self.ask(statement)
        except DoltFailed as error:
            if "denied" not in str(error):
                raise
            raise DoltFailed(f"{error}: this user may not write; grant it SELECT, INSERT, UPDATE and DELETE") from None

    def local_values(self, *keys: str) -> dict[str, str]:
        """Return the values of these keys in `local_metadata`, a table that bd never commits and never pushes."""
        places = ", ".join(["%s"] * len(keys))
        rows = self.ask(f"SELECT `key`, value FROM local_metadata WHERE `key` IN ({places})", *keys)
        return {str(row["key"]): str(row["value"]) for row in rows}

    def set_local(self, key: str, value: str | None, over: str = "") -> None:
        """Write a value there. None removes it. `over`: only if this is the value until now."""
        if over:
            self.ask("UPDATE local_metadata SET value = %s WHERE `key` = %s AND value = %s", str(value), key, over)
        elif value is None:
            self.ask("DELETE FROM local_metadata WHERE `key` = %s", key)
        else:
            self.ask("REPLACE INTO local_metadata (`key`, value) VALUES (%s, %s)", key, value)

    def prune_local(self, like: str, before: str) -> None:
        """Remove the values below these keys that are less than `before`, as texts."""
        self.ask("DELETE FROM local_metadata WHERE `key` LIKE %s AND value < %s", like, before)

    def ask(self, sql: str, *values: str | tuple[str, ...]) -> list[dict[str, Any]]:
        """Ask one question. Values are bound, never part of the text. Raise DoltFailed."""
        with reported(self._waiting, f"waiting for Dolt at {self.server}, for up to {ANSWER_SECONDS} s"):
            return self._ask(sql, *values)

    def _ask(self, sql: str, *values: str | tuple[str, ...]) -> list[dict[str, Any]]:
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection.cursor() as cursor:
                cursor.execute(sql, values or None)  # without values there is nothing to fill in
                return list(cursor.fetchall())
        except (pymysql.Error, OSError, RuntimeError, UnicodeError, *_BROKEN_STREAM) as error:
            raise DoltFailed(f"Dolt at {self.server}: {_reason(error)}") from None

    def close(self) -> None:
        """Close the connection, which releases the lock. The next question opens a new one."""
        if self._connection is not None and self._connection.open:
            self._connection.close()
        self._connection = None

    def _connect(self) -> "pymysql.Connection[Any]":
        server = self.server
        # Left to itself, pymysql 1.2 tries TLS without verifying it, which takes 20 ms even if Dolt has none.
        tls: dict[str, Any] = {"ssl": _verifying()} if server.tls else {"ssl_disabled": True}
        return pymysql.connect(
            host=server.host, port=server.port, unix_socket=server.socket or None, user=server.user,
            password=server.password.encode(), database=server.database, autocommit=True, **tls,
            connect_timeout=CONNECT_SECONDS, read_timeout=ANSWER_SECONDS, write_timeout=ANSWER_SECONDS,
            cursorclass=pymysql.cursors.DictCursor,
        )  # fmt: skip


def _verifying() -> "ssl.SSLContext":
    """Return a context that verifies as bd does: the host's name, by the system's authorities or SSL_CERT_FILE's."""
    import ssl

    context = ssl.create_default_context()
    # Go accepts only subjectAltName, any trusted link of a chain, and certificates that are too sloppy for Python 3.13.
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _reason(error: Exception) -> str:
    cause = getattr(error, "original_exception", error)  # what pymysql has wrapped
    if refused := getattr(cause, "verify_message", ""):
        return f"its TLS certificate is refused: {refused}{_NO_TRUST}"
    text = " ".join(str(error.args[-1] if error.args else error).split()) or type(error).__name__
    denied = "access denied" in text.lower() or "no authentication methods" in text.lower()
    return text + _NO_ACCESS * denied


def _as_bd_writes_it(row: dict[str, Any], *, agent: bool) -> dict[str, Any]:
    return {**row, "labels": ["gt:agent"] if agent else []}
