"""What both sides work on: one Dolt server with a database for each size, the stand-in services, the two pairs."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conftest import DoltServer, Place, make_place, tool
from progress import say
from services import TOKEN, Services

HERE = Path(__file__).parent

OURS, SHELL = "ours", "shell"
INSTALLED = HERE.parent / ".bench" / "bin"  # not editable, compiled, with the image's packages: `make bench` makes it
# Settings that spare bd work which has nothing to do with dispatching. The product sets them itself; the original
# shell pair did not have them, so it was dearer than the one that is measured here.
QUIET = {"BD_NO_HOOKS": "1", "BD_EXPORT_AUTO": "false", "BD_BACKUP_ENABLED": "false", "BEADS_DOLT_AUTO_START": "0"}


@dataclass(frozen=True, slots=True)
class Database:
    """A workspace with so many beads."""

    size: int
    place: Place

    def sql(self, question: str, *values: object) -> list[dict[str, object]]:
        return self.place.sql(question, *values)

    def commit(self) -> None:
        """So that the next write of bd commits its own change only."""
        self.sql("CALL DOLT_COMMIT('-A', '--allow-empty', '-m', 'bench')")


@dataclass(slots=True)
class World:
    dolt: DoltServer
    services: Services
    databases: dict[int, Database]

    @property
    def dolt_pid(self) -> int:
        assert self.dolt.process
        return self.dolt.process.pid

    def environ(self, side: str, database: Database) -> dict[str, str]:
        """As in a pod of this side."""
        path = f"{INSTALLED}:{Path(tool('bd')).parent}:/usr/local/bin:/usr/bin:/bin"
        common = {"PATH": path, "LANG": "C.UTF-8", "TZ": "UTC", "BEADBOARD_URL": self.services.url}
        if side == SHELL:
            return {**common, **QUIET, "METADATA": str(database.place.metadata)}
        service = {"AGENT_SERVICE_URL": self.services.url, "API_BEARER_TOKEN": TOKEN}
        return {**common, **service, "BEADS_METADATA": str(database.place.metadata)}


def command(side: str, what: str) -> Sequence[str]:
    """`what`: dispatcher or reaper."""
    return [str(HERE / "shell" / what) if side == SHELL else str(INSTALLED / f"beads-{what}")]


@contextmanager
def open_world(sizes: Sequence[int]) -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="beads-bench-") as name:
        (Path(name) / "dolt").mkdir()
        world = World(DoltServer(Path(name) / "dolt"), Services(), {})
        try:
            say("starting Dolt, and a workspace by bd init")
            world.dolt.start()
            world.services.start()
            for size in sizes:
                world.databases[size] = _database(Path(name), world.dolt, size)
            say("starting Dolt anew")  # it would take minutes to free the memory that these writes took
            world.dolt.stop(signal.SIGTERM)
            world.dolt.start()
            yield world
        finally:
            world.services.stop()
            world.dolt.stop()


def _database(folder: Path, dolt: DoltServer, size: int) -> Database:
    say(f"filling a database with {size:,} beads")
    database = Database(size, make_place(folder / str(size), dolt))
    _fill(database)
    database.commit()
    return database


def _fill(database: Database) -> None:
    """By SQL: beads of others, one in fifty open; five of the agent's that lack criteria, and five that are blocked."""
    first = database.place.create("template", acceptance=None)
    rows = database.sql("SHOW COLUMNS FROM issues")
    columns = [str(row["Field"]) for row in rows if "GENERATED" not in str(row["Extra"])]
    others = ", ".join(f"`{name}`" for name in columns if name not in ("id", "status", "assignee", "notes"))
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


def versions() -> str:
    """bd, Dolt, Python and the machine, in one line."""
    bd = subprocess.run([tool("bd"), "version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    dolt = subprocess.run([tool("dolt"), "version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    return f"{bd}, {dolt}, Python {sys.version.split()[0]}, {os.cpu_count()} cores"


def missing() -> list[str]:
    """What a measurement needs and the machine has not."""
    return [name for name in ("curl", "jq", "strace") if not shutil.which(name)]
