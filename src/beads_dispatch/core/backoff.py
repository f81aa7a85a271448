"""How long a bead or the whole queue waits after a failure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from beads_dispatch.core import marks, notes
from beads_dispatch.core.bead import Bead, read_time
from beads_dispatch.core.marks import Change
from beads_dispatch.core.text import one_line, utc

FIRST_WAIT = timedelta(minutes=2)
LONGEST_WAIT = timedelta(hours=1)
MAX_ATTEMPTS = 5
FREE_RUNS = 2  # the third run in a row waits
MAX_RUNS = 5
PROVEN = timedelta(seconds=60)  # a run that is so old after a usage limit shows that the limit is over

SERVICE, USAGE = "service", "usage"  # the kinds of a hold
FURTHEST = {SERVICE: LONGEST_WAIT, USAGE: timedelta(days=8)}


@dataclass(frozen=True, slots=True)
class Hold:
    """Why the queue waits. `until`: UTC; a hold that has expired still says that nothing was accepted since.

    `step`: how often in a row a dispatch has failed because of the service. `bead_id`: the bead that met it.
    """

    until: datetime
    step: int
    reason: str
    bead_id: str = ""

    def __str__(self) -> str:
        return f"{self.bead_id}: {self.reason}" if self.bead_id else self.reason


Holds = Mapping[str, Hold]  # by kind


def in_force(holds: Holds, now: datetime) -> Hold | None:
    """The hold that keeps the queue from dispatching now: the one that ends last."""
    current = [hold for hold in holds.values() if hold.until > now]
    return max(current, key=lambda hold: hold.until, default=None)


def write_hold(hold: Hold) -> str:
    """A hold as text, as it is stored."""
    known = {"until": utc(hold.until), "step": hold.step, "reason": hold.reason, "bead": hold.bead_id}
    return json.dumps(known, ensure_ascii=False)


def read_hold(kind: str, text: str, now: datetime) -> Hold | None:
    """A stored hold. One that cannot be read, or lies further ahead than its kind allows, counts as absent."""
    try:
        known = json.loads(text)
    except (ValueError, RecursionError):
        return None
    until = read_time(known.get("until")) if isinstance(known, dict) else None
    if kind not in FURTHEST or until is None or until > now + FURTHEST[kind]:
        return None
    step = known.get("step")
    counted = step if isinstance(step, int) and 0 <= step <= marks.MOST else 0
    return Hold(until, counted, one_line(str(known.get("reason") or "a hold")), str(known.get("bead") or ""))


def backoff(step: int) -> timedelta:
    """2 minutes, doubling to an hour. `step` counts from 1."""
    return min(FIRST_WAIT * (1 << min(step - 1, 10)), LONGEST_WAIT)


def next_hold(last: Hold | None, now: datetime, reason: str, bead_id: str) -> Hold:
    """The hold after one more dispatch that failed because of the service."""
    step = last.step + 1 if last else 1
    return Hold(now + backoff(step), step, reason, bead_id)


def busy_hold(last: Hold | None, now: datetime, bead_id: str) -> Hold:
    """The hold after an answer that says the agent is busy: 2 minutes, or longer each time if nothing else is answered.

    A status that says free and a dispatch that says busy, all day, would otherwise fill the bead's notes.
    """
    reason = notes.returned("agent busy")
    if last and last.reason == reason:
        return next_hold(last, now, reason, bead_id)
    return Hold(now + FIRST_WAIT, max(last.step if last else 0, 1), reason, bead_id)


def outage(last: Hold | None, now: datetime, reason: str, bead_id: str) -> Hold:
    """The record of a service that did not answer. It holds nothing, because asking again has no side effect."""
    return Hold(now, max(last.step if last else 0, 1), reason, bead_id)


def resumed(kind: str, hold: Hold, now: datetime) -> Hold | None:
    """What stays of a hold that a person ends. A service's first failure is remembered: only an acceptance undoes it.

    Otherwise a bead that is alone would be charged once for each `resume`, and given up for the service's reasons.
    """
    return replace(hold, until=min(now, hold.until), step=min(hold.step, 1)) if kind == SERVICE and hold.step else None


def claim_hold(last: Hold | None, now: datetime, reason: str, bead_id: str) -> Hold:
    """The hold after a tick in which no claim could be written: 2, 4, then 8 minutes."""
    step = min(last.step + 1 if last else 1, 3)
    return Hold(now + backoff(step), step, reason, bead_id)


def refused(bead: Bead, now: datetime) -> Change:
    """The marks of a bead whose dispatch failed once more and that is charged for it."""
    number = marks.attempts(bead) + 1
    until = utc(now + backoff(number))
    return {marks.ATTEMPTS: str(number), marks.FAILED_AT: utc(now), marks.RETRY_AFTER: until}


def next_run_at(bead: Bead) -> datetime | None:
    """When an open bead may run once more, UTC: its third run waits 2 minutes after its last claim, then 4, 8."""
    count = marks.runs(bead)
    claim = marks.claim(bead) if count >= FREE_RUNS else None  # its time is a text: reading one costs an import
    return claim[1] + backoff(count - FREE_RUNS + 1) if claim else None


def runs_used_up(bead: Bead) -> bool:
    """Whether the bead has had all its runs without a person's word."""
    return marks.runs(bead) >= MAX_RUNS


def probe(hold: Hold | None, beads: Iterable[Bead], now: datetime) -> str:
    """What an ended usage hold allows: `all` where there is none, `one` bead, or `none` until that one has shown.

    `over`: the bead that was sent after the hold has run a minute, or is gone from the queue: the hold is removed.
    """
    if hold is None:
        return "all"
    if not hold.bead_id:
        return "one"
    sent = next((bead for bead in beads if bead.id == hold.bead_id), None)
    if sent is None or sent.status == "blocked":
        return "over" if sent is None else "one"
    claim = marks.claim(sent)
    if sent.status != "in_progress" or claim is None or claim[1] <= hold.until:
        return "one"
    return "over" if now - claim[1] >= PROVEN else "none"
