"""One tick, idle and dispatching: what it costs each side, at each size of the database."""

from collections.abc import Callable

from process import Cost, Counts, count, measure
from progress import counted, say
from report import Row
from world import OURS, SHELL, Database, World, command

MIB = 1 << 20


def measure_ticks(world: World, *, quick: bool) -> list[Row]:
    rows = []
    for database in world.databases.values():
        rows += _rows(world, database, "idle", lambda database: None, 5 if quick else 20)
        rows += _rows(world, database, "dispatching", _offer, 3 if quick else 11)
        database.sql("UPDATE issues SET status = 'closed' WHERE id = 'f-11'")
        database.commit()
    return rows


def _offer(database: Database) -> None:
    """One bead waits, as if it had never been dispatched."""
    database.sql(
        "UPDATE issues SET status = 'open', assignee = 'agent', acceptance_criteria = 'it works', notes = '', "
        "metadata = '{}', updated_at = UTC_TIMESTAMP() WHERE id = 'f-11'"
    )
    database.commit()


def _rows(world: World, database: Database, kind: str, prepare: Callable[[Database], None], runs: int) -> list[Row]:
    section = f"{kind} tick, {database.size:,} beads"
    costs: dict[str, list[Cost]] = {OURS: [], SHELL: []}
    for run in counted(section, runs + 1):
        for side in (OURS, SHELL) if run % 2 else (SHELL, OURS):
            prepare(database)
            cost = measure(command(side, "dispatcher"), world.environ(side, database), world.dolt_pid)
            if run:  # the first one warms what is cached
                costs[side].append(cost)
    say(f"{section}, under strace")
    counts, requests = {}, {}
    for side in (OURS, SHELL):
        prepare(database)
        world.services.reset()
        counts[side] = count(command(side, "dispatcher"), world.environ(side, database))
        requests[side] = len(world.services.asked)
        dispatched = len(world.services.jobs)
        if dispatched != (kind == "dispatching"):
            raise RuntimeError(f"{side}: dispatched {dispatched} beads in the {section}")
    return [*_timed(section, costs), *_counted(section, counts, requests)]


def _timed(section: str, costs: dict[str, list[Cost]]) -> list[Row]:
    def row(what: str, value: Callable[[Cost], float]) -> Row:
        return Row(section, what, "ms", {side: [1000 * value(cost) for cost in all_] for side, all_ in costs.items()})

    return [
        row("time", lambda cost: cost.wall),
        row("CPU of its processes", lambda cost: cost.cpu),
        row("CPU of Dolt", lambda cost: cost.dolt),
    ]


def _counted(section: str, counts: dict[str, Counts], requests: dict[str, int]) -> list[Row]:
    def row(what: str, unit: str, value: Callable[[Counts], float]) -> Row:
        return Row(section, what, unit, {side: [value(one)] for side, one in counts.items()})

    return [
        row("memory at most", "MiB", lambda one: one.memory / MIB),
        row("programs started", "", lambda one: one.processes),
        row("files written", "", lambda one: one.files),
        row("bytes written", "", lambda one: one.written),
        Row(section, "HTTP requests", "", {side: [float(asked)] for side, asked in requests.items()}),
    ]
