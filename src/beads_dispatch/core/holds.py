"""Why the whole queue waits: the holds by kind, how long each lasts, and what a tick may start after one.

`service`: BeadBoard or the agent service failed. `usage`, `agent`: runs ended through the agent's fault; after these,
one bead goes first. `hours`, `budget`: the clock and a count. Source of the rules: design.md, "How a run ends".
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from beads_dispatch.core import marks, notes
from beads_dispatch.core.backoff import FIRST_WAIT, LONGEST_WAIT, backoff
from beads_dispatch.core.bead import Bead, read_time
from beads_dispatch.core.text import json_object, one_line, utc

SERVICE, USAGE, AGENT, HOURS, BUDGET = "service", "usage", "agent", "hours", "budget"
OF_RUNS = (USAGE, AGENT)
# How long each waits if no time is known: at first, and at most.
_WAITS = {
    USAGE: (timedelta(minutes=30), timedelta(hours=4)),
    AGENT: (timedelta(minutes=2), timedelta(minutes=20)),
}
# A stored hold that ends later counts as absent: somebody's clock was wrong.
FURTHEST = {SERVICE: LONGEST_WAIT, USAGE: timedelta(days=8), AGENT: _WAITS[AGENT][1]}
KINDS = (*FURTHEST, HOURS, BUDGET)
PROVEN = timedelta(seconds=60)  # a run that lives so long by its runner's word shows that the agent works
PATIENCE = timedelta(seconds=60)  # between two tries of beads that a person assigned or reopened during a hold


@dataclass(frozen=True, slots=True)
class Hold:
    """Why the queue waits. `until`: UTC; an expired hold still says that nothing has succeeded since.

    `step`: how often in a row it was set. `bead_id`: the bead that met it.
    The rest is set only if runs caused the hold. `set_at`: when this step began; only runs started after it count.
    `began`: when the first step began. `first`: the bead that went first since then. `proven`: whether its run lived
    long enough. `ran`: how many seconds the run took that caused the hold.
    """

    until: datetime
    step: int
    reason: str
    bead_id: str = ""
    set_at: datetime | None = None
    began: datetime | None = None
    first: str = ""
    proven: bool = False
    ran: float = 0.0

    def __str__(self) -> str:
        return f"{self.bead_id}: {self.reason}" if self.bead_id else self.reason

    @property
    def proof(self) -> timedelta:
        """Return how long a run must live to show that the agent works: longer than the run that failed last.

        Otherwise an agent whose own retries take three minutes would start three more beads into each failure. Five
        minutes are always enough: a limit that a run met after an hour says nothing about the next run.
        """
        return timedelta(seconds=min(max(PROVEN.total_seconds(), self.ran + 30), 300))


Holds = Mapping[str, Hold]  # by kind


def in_force(holds: Holds, now: datetime) -> Hold | None:
    """Return the hold that keeps the queue from dispatching now, and ends last; None if there is none."""
    current = [hold for hold in holds.values() if hold.until > now]
    return max(current, key=lambda hold: hold.until, default=None)


def of_runs(holds: Holds) -> Holds:
    """Return the holds that runs caused."""
    return {kind: hold for kind, hold in holds.items() if kind in OF_RUNS}


def write_hold(hold: Hold) -> str:
    """Return a hold as it is stored."""
    times = {"until": hold.until, "set_at": hold.set_at, "began": hold.began}
    known = {
        **{key: utc(time) for key, time in times.items() if time},
        "step": hold.step, "reason": hold.reason, "bead": hold.bead_id,
        "first": hold.first, "proven": hold.proven, "ran": round(hold.ran),
    }  # fmt: skip
    return json.dumps(known, ensure_ascii=False)


def read_hold(kind: str, text: str, now: datetime) -> Hold | None:
    """Return a stored hold. One that cannot be read, or ends later than its kind allows, counts as absent."""
    known = json_object(text) or {}
    until = read_time(known.get("until"))
    if kind not in FURTHEST or until is None or until > now + FURTHEST[kind]:
        return None
    step, ran = (value if type(value := known.get(key)) is int else 0 for key in ("step", "ran"))
    # A start from the future would leave out every run that starts before it.
    set_at, began = (min(time, now) if (time := read_time(known.get(key))) else None for key in ("set_at", "began"))
    return Hold(
        until, step if 0 <= step <= marks.MOST else 0, one_line(str(known.get("reason") or "a hold")),
        str(known.get("bead") or ""), set_at, began or set_at, str(known.get("first") or ""),
        known.get("proven") is True, float(max(ran, 0)),
    )  # fmt: skip


# --- a service's ---
def next_hold(last: Hold | None, now: datetime, reason: str, bead_id: str) -> Hold:
    """Return the hold after one more dispatch that failed because of the service."""
    step = last.step + 1 if last else 1
    return Hold(now + backoff(step), step, reason, bead_id)


def busy_hold(last: Hold | None, now: datetime, bead_id: str) -> Hold:
    """Return the hold after an answer that says the agent is busy: 2 minutes, or longer if nothing else is answered.

    A status that says free and a dispatch that says busy, all day, would otherwise fill the bead's notes.
    """
    reason = notes.returned("agent busy")
    if last and last.reason == reason:
        return next_hold(last, now, reason, bead_id)
    return Hold(now + FIRST_WAIT, max(last.step if last else 0, 1), reason, bead_id)


def outage(last: Hold | None, now: datetime, reason: str, bead_id: str) -> Hold:
    """Return the record of a service that did not answer. It holds nothing, because asking again has no side effect."""
    return Hold(now, max(last.step if last else 0, 1), reason, bead_id)


def claim_hold(last: Hold | None, now: datetime, reason: str, bead_id: str) -> Hold:
    """Return the hold after a tick in which no claim could be written: 2, 4, then 8 minutes."""
    step = min(last.step + 1 if last else 1, 3)
    return Hold(now + backoff(step), step, reason, bead_id)


def resumed(kind: str, hold: Hold, now: datetime) -> Hold | None:
    """Return what stays of a hold that a person ends.

    We remember a service's first failure until a dispatch is accepted. Otherwise each `resume` would charge a lone
    bead for the service's failure. After a hold that runs caused, one bead goes first.
    """
    ended = replace(hold, until=min(now, hold.until))
    if kind in OF_RUNS:
        return ended
    return replace(ended, step=1) if hold.step else None


# --- those that runs cause ---
def run_hold(
    kind: str, last: Hold | None, now: datetime, reason: str, bead_id: str, reset: datetime | None, ran: float
) -> Hold:
    """Return the hold after one more run that ended through the agent's fault, after `ran` seconds.

    `reset`: when it is over, if that is known.
    """
    step = last.step + 1 if last else 1
    until = reset or now + backoff(step, *_WAITS[kind])
    began = (last.began if last else None) or now
    return Hold(until, step, reason, bead_id, now, began, ran=ran)


def counts(hold: Hold, start: datetime | None) -> bool:
    """Return whether a run that was claimed at `start` says something about this hold. Older runs do not."""
    return hold.set_at is None or (start is not None and start >= hold.set_at)


def started_since(hold: Hold, beads: Iterable[Bead]) -> list[tuple[datetime, Bead]]:
    """Return the beads in progress whose runs began after the hold, with their claims' times, the newest last."""
    claims = ((marks.claim(bead), bead) for bead in beads if bead.status == "in_progress")
    known = [(claim[1], bead) for claim, bead in claims if claim and counts(hold, claim[1])]
    return sorted(known, key=lambda run: run[0])


def after_runs(
    hold: Hold, beads: Sequence[Bead], alive: Collection[str], closed: Iterable[datetime], now: datetime
) -> Hold | None:
    """Return what stays of a hold after the runs that started since; None if the hold is over.

    `alive`: ids of beads whose job is running, as their runner says. `closed`: the times of the claims whose runs
    closed their beads.
    """
    first = next((bead for bead in beads if bead.id == hold.first), None)
    if any(counts(hold, start) for start in closed) or (first and marks.asks(first)):  # who can ask works, too
        return None
    lives = any(now - start >= hold.proof and bead.id in alive for start, bead in started_since(hold, beads))
    if lives and not hold.proven:
        return replace(hold, proven=True, until=min(hold.until, now))
    if hold.first and not (first and first.status == "in_progress"):  # it was closed by hand, or handed on
        return replace(hold, first="")
    return hold


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a hold that runs caused lets a tick start. `most`: how many beads; None: as many as there is room for.

    `why`: what the others wait for. `only`: which beads may be started; None: any.
    """

    most: int | None = None
    why: str = ""
    only: frozenset[str] | None = None


NO_LIMIT = Allowance()


def allowance(holds: Holds, beads: Sequence[Bead], now: datetime) -> Allowance:
    """Return what the strictest of the holds that runs caused lets a tick start now."""
    every = [_allowance(kind, hold, beads, now) for kind, hold in of_runs(holds).items()]
    return min(every, key=lambda one: (one.most or 0, one.only is None), default=NO_LIMIT)


def _allowance(kind: str, hold: Hold, beads: Sequence[Bead], now: datetime) -> Allowance:
    what = "the usage limit is over" if kind == USAGE else "the agent works again"
    since = started_since(hold, beads)
    if hold.proven:
        waits = since and now - since[-1][0] < PROVEN
        return Allowance(0 if waits else 1, f"one bead a minute until one is closed, to see whether {what}")
    if since:
        return Allowance(0, f"{since[-1][1].id} runs first, to see whether {what}")
    if now < hold.until:
        fresh = frozenset(bead.id for bead in beads if _is_fresh(hold, bead, now))
        return Allowance(1 if fresh else 0, f"held until {utc(hold.until)}: {hold}", fresh)
    return Allowance(1, f"one bead runs first, to see whether {what}")


def _is_fresh(hold: Hold, bead: Bead, now: datetime) -> bool:
    """Return whether a person assigned or reopened an open bead since the hold began: it may go at once, once.

    After the first try, tries are a minute apart: somebody who assigns forty beads one by one is not trying a repair.
    """
    if bead.status != "open" or hold.began is None or hold.set_at is None or bead.updated_at <= hold.began:
        return False
    if hold.step > 1 and now - hold.set_at < PATIENCE:
        return False
    claim, ended = marks.claim(bead), marks.ended(bead)
    ours = [time for time in (claim and claim[1], ended and ended[1], read_time(bead.mark("reopened"))) if time]
    return all(time < hold.began for time in ours)
