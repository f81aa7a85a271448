"""One tick, idle and dispatching: what it costs each side, at each size of the database."""

from collections.abc import Callable

from process import Cost, Counts, measure
from progress import counted, say
from report import OURS, SHELL, Row, Section
from world import Database, World, command

MIB = 1 << 20


def measure_ticks(world: World, quick: bool) -> list[Section]:
    sections = []
    for database in world.databases:
        sections.append(_section(world, database, "idle", lambda database: None, 5 if quick else 15))
        sections.append(_section(world, database, "dispatching", _offer, 3 if quick else 15))
        database.sql("UPDATE issues SET status = 'closed' WHERE id = 'f-11'")
        database.commit()
    return sections


def _offer(database: Database) -> None:
    """One bead waits, as if it had never been dispatched."""
    database.sql(
        "UPDATE issues SET status = 'open', assignee = 'agent', acceptance_criteria = 'it works', notes = '', "
        "metadata = '{}', updated_at = UTC_TIMESTAMP() WHERE id = 'f-11'"
    )
    database.sql("DELETE FROM local_metadata WHERE `key` LIKE 'beads_dispatch.ledger.%%'")  # or it counts as taken back
    database.commit()


def _section(world: World, database: Database, kind: str, prepare: Callable[[Database], None], runs: int) -> Section:
    title = f"{kind.capitalize()} tick, {database.size:,} beads"
    costs: dict[str, list[Cost]] = {SHELL: [], OURS: []}
    for run in counted(title, runs + 1):
        for side in (OURS, SHELL) if run % 2 else (SHELL, OURS):
            prepare(database)
            cost = measure(command(side, "dispatcher"), world.environ(side, database), world.dolt_pid)
            if run:  # the first one warms what is cached
                costs[side].append(cost)
    say(f"{title}, under strace")
    counts = {}
    for side in (SHELL, OURS):
        prepare(database)
        counts[side] = world.count(command(side, "dispatcher"), side, database)
        if len(world.services.jobs) != (kind == "dispatching"):
            raise RuntimeError(f"{side}: {len(world.services.jobs)} beads were sent by a tick that is {kind}")
    return Section(title, [*_timed(costs), *_counted(counts)])


def _timed(costs: dict[str, list[Cost]]) -> list[Row]:
    def row(what: str, value: Callable[[Cost], float]) -> Row:
        return Row(what, "ms", {side: [1000 * value(cost) for cost in all_] for side, all_ in costs.items()})

    return [
        row("time", lambda cost: cost.wall),
        row("CPU of its processes", lambda cost: cost.cpu),
        row("CPU of Dolt", lambda cost: cost.dolt),
    ]


def _counted(counts: dict[str, Counts]) -> list[Row]:
    def row(what: str, unit: str, value: Callable[[Counts], float]) -> Row:
        return Row(what, unit, {side: [value(one)] for side, one in counts.items()})

    return [
        row("memory at most", "MiB", lambda one: one.memory / MIB),
        row("programs started", "", lambda one: one.processes),
        row("files written", "", lambda one: one.files),
        row("bytes written", "", lambda one: one.written),
        row("HTTP requests", "", lambda one: one.requests),
        row("SQL statements", "", lambda one: one.statements),
    ]
