"""The state of every bead of the assignee, and why it is not running."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from beads_dispatch.adapters.runner import NOWHERE, Runner
from beads_dispatch.commands.table import Look, head, render
from beads_dispatch.core import eligibility, hours, ledger, marks, reasons, staleness, times
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.capacity import AgentState, without_services
from beads_dispatch.core.errors import Failure, NoBead, ServiceFailed, WritesRefused
from beads_dispatch.core.reasons import Known, QueueState, Standing
from beads_dispatch.core.runner import Stage
from beads_dispatch.core.text import one_line, utc
from beads_dispatch.jobs import room
from beads_dispatch.jobs.cycle import Outside, frozen_holder
from beads_dispatch.jobs.holding import all_holds
from beads_dispatch.settings import Settings

GROUPS = ("in_progress", "open", "deferred", "blocked")  # what runs, what waits, what a person must look at


@dataclass(frozen=True, slots=True)
class Status:
    """`rows`: in the order in which they are shown. `unreadable`: a line for each bead that cannot be read.

    `unknown`: a line for each id that was asked for and fits no bead, or several. `counts`: the queue in one line.
    """

    rows: Sequence[tuple[Bead, Standing]]
    known: Known
    unreadable: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    counts: str = ""

    @property
    def beads(self) -> list[Bead]:
        return [bead for bead, _ in self.rows]


def status(
    outside: Outside, settings: Settings, ids: Collection[str] = (), last_line: Callable[[Bead], str] = lambda _: ""
) -> Status:
    """Return every bead that is not closed, or those with these ids.

    Raise Failure if the database or bd does not answer.
    """
    beads, known, unreadable = survey(outside, settings)
    known = replace(known, doing={bead.id: text for bead in beads if (text := _doing(bead, known.now, last_line))})
    standings = reasons.standings(beads, known)
    every = {bead.id: (bead, standings[bead.id]) for bead in _in_order(beads, standings)}
    if not ids:
        closed = len(outside.queue.closed(hours.day_start(known.now, outside.clock.zone())))
        return Status(list(every.values()), known, unreadable, counts=reasons.counted(beads, closed, known.now))
    chosen, unknown = {}, []
    for bead_id in dict.fromkeys(ids):
        try:
            row = every.get(bead_id) or _other(outside, known, every, bead_id)
            chosen[row[0].id] = row
        except NoBead as error:
            unknown.append(str(error))
    return Status(list(chosen.values()), known, unreadable, tuple(unknown))


def _doing(bead: Bead, now: datetime, last_line: Callable[[Bead], str]) -> str:
    """Return for how long the bead's run has been going, and the last line that it wrote, if that is known."""
    claim = marks.claim(bead)
    if bead.status != "in_progress" or not (claim and marks.job(bead)):
        return ""
    since = f"for {times.span((now - claim[1]).total_seconds())}"
    return f"{since}: {line}" if (line := last_line(bead)) else since


def survey(outside: Outside, settings: Settings) -> tuple[tuple[Bead, ...], Known, tuple[str, ...]]:
    """Return the assignee's beads, what a tick would know about them, and a line for each that cannot be read."""
    snapshot, now = outside.queue.snapshot(), outside.queue.now()
    eligible = eligibility.eligible(snapshot.beads, now)
    unwritable = _unwritable(outside)
    try:
        ready = frozenset(outside.bd.ready(settings.assignee)) if eligible else frozenset()
    except WritesRefused as error:  # bd 1.3 cannot even read 1.0.2's schema
        unwritable, ready = str(error), frozenset(bead.id for bead in eligible)
    known_holds = all_holds(outside.queue, settings, outside.clock.zone)
    known = Known(
        settings.assignee,
        now,
        reasons.queue_state(known_holds, snapshot.beads, now, unwritable),
        ready,
        _waiting_for_runs(outside, settings, eligible),
        _needs(outside, {bead.id for bead in eligible} - ready),
    )
    return snapshot.beads, known, snapshot.unreadable


def _needs(outside: Outside, waiting: Collection[str]) -> Mapping[str, str]:
    """Return what each of these beads depends on, in words. bd's answer is worth one call, and no failure."""
    try:
        found = outside.bd.blocked() if waiting else {}
    except Failure:
        return {}
    return {key: " and ".join(needed) for key, needed in found.items() if key in waiting and needed}


def _unwritable(outside: Outside) -> str:
    try:
        outside.queue.check_writable()
    except Failure as error:
        return str(error)
    return frozen_holder(outside, "dispatcher", "tick")


def _waiting_for_runs(outside: Outside, settings: Settings, eligible: Sequence[Bead]) -> Mapping[str, str]:
    """Return what the last run of each of these open beads keeps it waiting for, by id."""
    found, entries = {}, outside.queue.ledger([bead.id for bead in eligible])
    for bead in eligible:
        known = entries.get(bead.id)
        back = known if ledger.taken_back(bead, known) else None
        if why := room.waits_for(outside, settings, bead, back):
            found[bead.id] = why
        elif back:
            found[bead.id] = "another client has undone the record of its dispatch: the next tick blocks it"
    return found


def _in_order(beads: Sequence[Bead], standings: Mapping[str, Standing]) -> list[Bead]:
    """Return what runs, then the line in its order, then what waits, then what a person must look at."""

    def rank(bead: Bead) -> tuple[int, bool, int]:
        group = GROUPS.index(bead.status) if bead.status in GROUPS else len(GROUPS)
        place = standings[bead.id].place
        return group, place is None, place or 0

    return sorted(eligibility.in_order(beads), key=rank)


def _other(
    outside: Outside, known: Known, every: Mapping[str, tuple[Bead, Standing]], text: str
) -> tuple[Bead, Standing]:
    """Return the row of a bead that is closed, or somebody else's, or whose id is shortened. Raise NoBead."""
    bead = outside.bd.find(text)
    return every.get(bead.id) or (bead, reasons.standing(bead, known))


def agent_state(outside: Outside, beads: Iterable[Bead] = ()) -> AgentState:
    """Return whether an agent could start now, as a tick would find out.

    `beads`: if one of them runs, its job is asked about too, because a doubt (a wrong token, say) hides every end.
    """
    if outside.runner is NOWHERE:
        return without_services(outside.queue.holder("watcher"))
    try:
        room = outside.runner.room()
    except ServiceFailed as error:
        return AgentState(f"not reachable at {error.url}: {error}", failed_url=error.url)
    return AgentState(f"{room}{_doubt(outside.runner, beads)}", room.free)


def _doubt(runner: Runner, beads: Iterable[Bead]) -> str:
    jobs = (runner.job_of(bead) for bead in beads if bead.status == "in_progress")
    job_id = next((job_id for job_id in jobs if job_id), "") if runner.follows else ""
    job = runner.job(job_id) if job_id else None
    return f"; it does not say how jobs are: {job.words}" if job and job.stage is Stage.DOUBT else ""


def as_json(found: Status) -> str:
    """Return the rows for a program. docs/status.md describes the schema."""
    return json.dumps(
        [_row(bead, standing, found.known) for bead, standing in found.rows], indent=2, ensure_ascii=False
    )


def _row(bead: Bead, standing: Standing, known: Known) -> dict[str, object]:
    queue: QueueState = known.queue
    return {
        "id": bead.id,
        "title": one_line(bead.title, 2000),
        "priority": bead.priority,
        "state": bead.status,
        "kind": standing.kind,
        "reason": one_line(standing.reason, 2000),
        "job": marks.job(bead) or None,
        "runs": marks.runs(bead),
        "attempts": marks.attempts(bead),
        "retry_at": utc(standing.retry_at) if standing.retry_at else None,
        "idle_seconds": int(staleness.idle_for(bead, known.now).total_seconds()),
        "queue": {
            "state": queue.kind,
            "text": one_line(queue.text, 2000),
            "held_until": utc(queue.until) if queue.until else None,
            "place": standing.place,
        },
    }


def as_table(found: Status, agent: AgentState, look: Look) -> str:
    """Return the lines above, then a line for each bead."""
    lines = above(found, agent, look)
    if not found.rows:
        return "\n".join([*lines, *([] if found.unknown else [nothing(found.known.assignee)])])
    return "\n".join([*lines, "", render(found.rows, look)])


def above(found: Status, agent: AgentState, look: Look) -> list[str]:
    """Return the counts, and two lines about the queue and the agent."""
    return [
        *([found.counts] if found.counts else []),
        head("queue", found.known.queue.text, look),
        head("agent", agent.text, look),
    ]


def nothing(assignee: str) -> str:
    return f"No bead is assigned to {assignee} (closed ones are not shown)."
