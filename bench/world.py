"""What both sides work on: one Dolt server with a database for each size, the stand-in services, the two pairs."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from conftest import DoltServer, Place, make_place, tool
from process import Counts, count
from progress import say
from report import LOOP, SHELL, WATCH
from services import TOKEN, Services

HERE = Path(__file__).parent

INSTALLED = HERE.parent / ".bench" / "bin"  # not editable, compiled, with the image's packages: `make bench` makes it
# Settings that spare bd work which has nothing to do with dispatching. The product sets them itself; the original
# shell pair did not have them, so it was dearer than the one that is measured here.
QUIET = {"BD_NO_HOOKS": "1", "BD_EXPORT_AUTO": "false", "BD_BACKUP_ENABLED": "false", "BEADS_DOLT_AUTO_START": "0"}


@dataclass(frozen=True, slots=True)
class Database:
    """A workspace with so many beads."""

    size: int
    place: Place

    def sql(self, question: str, *values: object) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.place.sql(question, *values)
        return rows

    def add(self, prefix: str, count: int, assignee: str = "agent") -> list[str]:
        """Beads that can be dispatched once they are the agent's. In one transaction, so they come all at once."""
        names = [f"{prefix}-{number}" for number in range(count)]
        columns = _columns(self, "id", "assignee", "acceptance_criteria", "updated_at")
        number = "ROW_NUMBER() OVER (ORDER BY id) - 1"
        self.sql(
            f"INSERT INTO issues (id, assignee, acceptance_criteria, updated_at, {columns}) "
            f"SELECT CONCAT('{prefix}-', {number}), '{assignee}', 'it works', UTC_TIMESTAMP(), {columns} "
            f"FROM (SELECT template.* FROM issues AS template JOIN issues AS many WHERE template.id = 'f-50' "
            f"LIMIT {count}) AS copies"
        )
        self.commit()
        return names

    def close(self, bead: str) -> None:
        """As an agent ends its work, but without the cost of a bd."""
        self.sql("UPDATE issues SET status = 'closed' WHERE id = %s", bead)

    def commit(self) -> None:
        """So that the next write of bd commits its own change only."""
        self.sql("CALL DOLT_COMMIT('-A', '--allow-empty', '-m', 'bench')")


@dataclass(slots=True)
class World:
    dolt: DoltServer
    services: Services
    databases: list[Database] = field(default_factory=list)  # the smallest first
    spares: list[Database] = field(default_factory=list)  # as small: the shell's own, where both sides work at once

    @property
    def small(self) -> Database:
        return self.databases[0]

    @property
    def middle(self) -> Database:
        return self.databases[len(self.databases) // 2]

    @property
    def dolt_pid(self) -> int:
        assert self.dolt.process
        return int(self.dolt.process.pid)

    def environ(self, side: str, database: Database) -> dict[str, str]:
        """As in a pod of this side."""
        path = f"{INSTALLED}:{Path(tool('bd')).parent}:/usr/local/bin:/usr/bin:/bin"
        common = {"PATH": path, "LANG": "C.UTF-8", "TZ": "UTC", "BEADBOARD_URL": self.services.url}
        if side in (SHELL, LOOP):
            return {**common, **QUIET, "METADATA": str(database.place.metadata)}
        service = {"AGENT_SERVICE_URL": self.services.url, "API_BEARER_TOKEN": TOKEN}
        return {**common, **service, "BEADS_METADATA": str(database.place.metadata)}

    def count(self, words: Sequence[str], side: str, database: Database) -> Counts:
        """What a run does, the requests and statements that it makes included."""
        self.services.reset()
        own, before = self.statement_overhead(database), self.statements(database)
        counts = count(words, self.environ(side, database))
        statements = self.statements(database) - before - own
        return replace(counts, requests=len(self.services.asked), statements=statements)

    def statements(self, database: Database) -> int:
        """What Dolt was asked since it started, this question included."""
        (row,) = database.sql("SHOW GLOBAL STATUS LIKE 'Questions'")
        return int(str(row["Value"]))

    def statement_overhead(self, database: Database) -> int:
        """What one such question adds."""
        before = self.statements(database)
        return self.statements(database) - before

    def accepted(self, bead: str, patience: float) -> float:
        """When it was: monotonic seconds. Waits; raises RuntimeError if that takes too long."""
        until = time.monotonic() + patience
        while bead not in self.services.accepted():
            if time.monotonic() > until:
                raise RuntimeError(f"{bead} was not accepted within {patience:.0f} s")
            time.sleep(0.02)
        return self.services.accepted()[bead]

    def loop(self, side: str, pause: float) -> Sequence[str]:
        """What dispatches bead after bead. `pause`: seconds between two ticks of the shell pair."""
        return self.watcher() if side == WATCH else [str(HERE / "shell" / "loop"), f"{pause:g}"]

    def watcher(self, *words: str) -> Sequence[str]:
        return [str(INSTALLED / "beads-dispatch"), "watch", *words]


def command(side: str, what: str) -> Sequence[str]:
    """`what`: dispatcher or reaper."""
    return [str(HERE / "shell" / what) if side == SHELL else str(INSTALLED / f"beads-{what}")]


@contextmanager
def open_world(sizes: Sequence[int]) -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="beads-bench-") as name:
        (Path(name) / "dolt").mkdir()
        world = World(DoltServer(Path(name) / "dolt"), Services())
        try:
            say("starting Dolt, and a workspace by bd init")
            world.dolt.start()
            world.services.start()
            world.databases = [_database(Path(name) / f"{size}", world.dolt, size) for size in sizes]
            world.spares = [_database(Path(name) / "spare", world.dolt, sizes[0])]
            say("starting Dolt anew")  # it would take minutes to free the memory that these writes took
            world.dolt.stop(signal.SIGTERM)
            world.dolt.start()
            yield world
        finally:
            world.services.stop()
            world.dolt.stop()


def _database(folder: Path, dolt: DoltServer, size: int) -> Database:
    say(f"filling a database with {size:,} beads")
    database = Database(size, make_place(folder, dolt))
    _fill(database)
    database.commit()
    return database


def _fill(database: Database) -> None:
    """By SQL: beads of others, one in fifty open; five of the agent's that lack criteria, and five that are blocked."""
    first = database.place.create("template", acceptance=None)
    others = _columns(database, "id", "status", "assignee", "notes")
    made = 1
    while made < database.size:
        step = min(made, database.size - made, 20_000)
        number = f"ROW_NUMBER() OVER (ORDER BY id) + {made}"
        database.sql(
            f"INSERT INTO issues (id, status, assignee, notes, {others}) SELECT CONCAT('f-', {number}), "
            f"IF(({number}) %% 50 = 0, 'open', 'closed'), 'somebody', '', {others} FROM issues LIMIT {step}"
        )
        made += step
    notice = "status = 'open', assignee = 'agent', notes = 'not dispatched: no acceptance criteria'"
    database.sql(f"UPDATE issues SET {notice} WHERE id = '{first}' OR id IN ('f-2','f-3','f-4','f-5')")
    database.sql(
        "UPDATE issues SET status = 'blocked', assignee = 'agent' WHERE id IN ('f-6','f-7','f-8','f-9','f-10')"
    )


def _columns(database: Database, *without: str) -> str:
    """The names of the others, for SQL."""
    rows = database.sql("SHOW COLUMNS FROM issues")
    names = [str(row["Field"]) for row in rows if "GENERATED" not in str(row["Extra"])]
    return ", ".join(f"`{name}`" for name in names if name not in without)


def versions() -> str:
    """bd, Dolt, Python and the machine, in one line."""
    bd = subprocess.run([tool("bd"), "version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    dolt = subprocess.run([tool("dolt"), "version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    return f"{bd}, {dolt}, Python {sys.version.split()[0]}, {os.cpu_count()} cores"


def missing() -> list[str]:
    """What a measurement needs and the machine has not."""
    return [name for name in ("curl", "git", "jq", "strace") if not shutil.which(name)]
