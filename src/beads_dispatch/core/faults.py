"""What follows from the end of a run: for its bead by whose fault it was, and for the queue by how the last runs ended.

An agent that cannot work holds the queue, and its bead stays open. A bead that fails is blocked. If nobody can tell,
two different beads in a row that failed at once or did not pass their check, or three that were not closed, show that
it was the agent. Source: design.md, "How a run ends".
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from beads_dispatch.core import marks, notes, outcomes
from beads_dispatch.core.backoff import FREE_RUNS, MAX_RUNS, backoff
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.holds import AGENT, USAGE, Hold, Holds, counts, of_runs, run_hold
from beads_dispatch.core.marks import Change
from beads_dispatch.core.runs import End, Fault
from beads_dispatch.core.text import utc

MAX_FAILURES = 3  # of runs that are charged to one bead
QUICK_IN_A_ROW = 2  # different beads whose runs failed at once, or whose check failed: then it was the agent
UNCLOSED_IN_A_ROW = 3  # different beads whose runs ended in any way without closing them
# The words of the mark `ended`, by which runs count in a row.
QUICK, CHECK, UNCLOSED, AGENTS = "quick", "check", "unclosed", "agent"


@dataclass(frozen=True, slots=True)
class Recent:
    """What is known about the last runs. `closed_at`: when an agent last closed a bead, UTC.

    `quick`, `unpassed` (their check), `unclosed`: ids of beads whose last run ended so, with none closed since.
    `held`: kinds of hold that were set by an end that is judged together with this one: each is set once for all.
    """

    holds: Holds = field(default_factory=dict)
    closed_at: datetime | None = None
    quick: frozenset[str] = frozenset()
    unpassed: frozenset[str] = frozenset()
    unclosed: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is written for an end. `kind` and `hold`: of a hold that is set, or None."""

    outcome: str
    status: str
    line: str
    marks: Change
    kind: str = ""
    hold: Hold | None = None


def recent(beads: Iterable[Bead], holds: Holds, closed_at: datetime | None) -> Recent:
    """Return what the beads' marks say of the last runs. `closed_at`: when an agent last closed one of its beads."""
    ended = {bead.id: how for bead in beads if (how := marks.ended(bead))}
    since = {key: word for key, (word, at) in ended.items() if closed_at is None or at > closed_at}
    quick = frozenset(key for key, word in since.items() if word == QUICK)
    unpassed = frozenset(key for key, word in since.items() if word == CHECK)
    unclosed = frozenset(key for key, word in since.items() if word in (QUICK, CHECK, UNCLOSED))
    return Recent(of_runs(holds), closed_at, quick, unpassed, unclosed)


def together(known: Recent, ends: Iterable[tuple[Bead, End]]) -> Recent:
    """Return what is known if these ends are judged at once: two of them at once are two in a row."""
    quick = frozenset(bead.id for bead, end in ends if end.fault is Fault.UNKNOWN and not end.may_live)
    return replace(known, quick=known.quick | quick) if len(quick) > 1 else known


def judge(end: End, bead: Bead, seconds: float | None, known: Recent, now: datetime) -> tuple[Verdict, Recent]:
    """Return what follows from the end of a run, and what is known afterwards.

    `seconds`: how long it ran, if that is known. `now`: UTC.
    """
    unclosed = known.unclosed | {bead.id}
    many = len(unclosed) >= UNCLOSED_IN_A_ROW
    match end.fault:
        case Fault.AGENT:
            kind = USAGE if end.outcome is outcomes.USAGE_LIMIT else AGENT
            verdict = _agents(end, bead, seconds, known, kind, now)
        case Fault.NOBODY if end.outcome is outcomes.CHECKED:
            verdict = Verdict(end.outcome.word, "closed", end.line, {marks.OUTCOME: end.outcome.word})
            known = Recent(known.holds, now, held=known.held)
        case Fault.NOBODY:
            verdict = _stopped(end, bead)
        case Fault.CHECK:
            known = replace(known, unpassed=known.unpassed | {bead.id}, unclosed=unclosed)
            verdict = _unpassed(end, bead, seconds, known, now)
        case Fault.UNKNOWN if not end.may_live:
            in_a_row = len(known.quick | {bead.id}) >= QUICK_IN_A_ROW or many or known.holds
            verdict = _unknown(end, bead, seconds, known, now, charged=not in_a_row or _goes_alone(bead, known))
            known = replace(known, quick=known.quick | {bead.id}, unclosed=unclosed)
        case _:
            verdict = _beads(end, bead, seconds, known, now, many=many and not _goes_alone(bead, known))
            known = replace(known, unclosed=unclosed)
    if verdict.hold:
        holds = {**known.holds, verdict.kind: verdict.hold}
        known = replace(known, holds=holds, held=known.held | {verdict.kind})
    return verdict, known


def _agents(end: End, bead: Bead, seconds: float | None, known: Recent, kind: str, now: datetime) -> Verdict:
    """Reopen the bead without counting the run, unless other beads have closed since: then its words only sound so.

    A usage limit that a result names never counts, however often a long bead meets one.
    """
    _, first = marks.failures(bead)
    contrast = first is not None and known.closed_at is not None and first < known.closed_at
    if contrast and (not known.holds or _goes_alone(bead, known)) and not (kind == USAGE and end.sure):
        charged = _charged(end, bead, seconds, AGENTS, now)
        return charged if charged.status == "blocked" else _holding(charged, kind, end, bead, seconds, known, now)
    return _holding(_opened(end, bead, seconds, AGENTS, now), kind, end, bead, seconds, known, now)


def _goes_alone(bead: Bead, known: Recent) -> bool:
    """Return whether this bead met the hold before, too: no other bead waits that could show whose fault it was."""
    hold = known.holds.get(AGENT)
    return hold is not None and hold.bead_id == bead.id


def _unknown(end: End, bead: Bead, seconds: float | None, known: Recent, now: datetime, *, charged: bool) -> Verdict:
    """Charge a bead that fails alone. Otherwise the agent is at fault, and nothing is charged."""
    if not charged:
        return _uncharged(end, bead, seconds, known, QUICK, now)
    verdict = _charged(end, bead, seconds, QUICK, now)
    if not known.holds or verdict.status != "open":
        return verdict
    return _holding(verdict, AGENT, end, bead, seconds, known, now)


def _uncharged(end: End, bead: Bead, seconds: float | None, known: Recent, how: str, now: datetime) -> Verdict:
    return _holding(_opened(end, bead, seconds, how, now), AGENT, end, bead, seconds, known, now)


def _charged(end: End, bead: Bead, seconds: float | None, how: str, now: datetime) -> Verdict:
    """Charge the bead one attempt: it runs again after 2 minutes, then 4; the third blocks it."""
    number = marks.failures(bead)[0] + 1
    attempt = notes.attempt(number, MAX_FAILURES)
    if number >= MAX_FAILURES:
        return _blocked(end, bead, f"{end.line} ({attempt})", how, now)
    opened = _opened(end, bead, seconds, how, now, number=number, attempt=attempt)
    return replace(opened, marks={**opened.marks, marks.RETRY_AFTER: utc(now + backoff(number))})


def _beads(end: End, bead: Bead, seconds: float | None, known: Recent, now: datetime, *, many: bool) -> Verdict:
    """Blocked; but the third in a row shows that it was the agent. A run that may still live is never sent again."""
    if not many:
        return _blocked(end, bead, end.line, UNCLOSED, now)
    if end.may_live:
        blocked = _blocked(end, bead, end.line, UNCLOSED, now)
        return _holding(blocked, AGENT, end, bead, seconds, known, now)
    return _uncharged(end, bead, seconds, known, UNCLOSED, now)


def _stopped(end: End, bead: Bead) -> Verdict:
    """Reopen the bead at once, and count the run: a restarted watcher must not leave a row of blocked beads."""
    change = marks.opened(bead, marks.runs(bead), end.outcome.word)
    return Verdict(end.outcome.word, "open", notes.open_again(end.line), change)


def _unpassed(end: End, bead: Bead, seconds: float | None, known: Recent, now: datetime) -> Verdict:
    """Open again, and the run counts; but two different beads in a row show that it is the check or the agent."""
    if len(known.unpassed) >= QUICK_IN_A_ROW:
        return _uncharged(end, bead, seconds, known, CHECK, now)
    count = marks.runs(bead)
    if count >= MAX_RUNS:
        return _blocked(end, bead, f"{end.line} (run {count} of {MAX_RUNS})", CHECK, now)
    opened = _opened(end, bead, seconds, CHECK, now)
    wait = {marks.RETRY_AFTER: utc(now + backoff(count - FREE_RUNS + 1))} if count >= FREE_RUNS else {}
    return replace(opened, marks={**opened.marks, marks.RUNS: str(count), **wait})


def _blocked(end: End, bead: Bead, line: str, how: str, now: datetime) -> Verdict:
    change = {**marks.blocked(bead, end.outcome.word), marks.ENDED: f"{how} {utc(now)}"}
    return Verdict(end.outcome.word, "blocked", line, change)


def _opened(
    end: End, bead: Bead, seconds: float | None, how: str, now: datetime, *, number: int = 0, attempt: str = ""
) -> Verdict:
    """Reopen the bead behind the others. A run of over a minute counts towards the five in a row, whoever's fault."""
    known, first = marks.failures(bead)
    long = seconds is not None and seconds > 60
    change = {
        **marks.opened(bead, marks.runs(bead) - (not long), end.outcome.word),
        marks.FAILED_AT: utc(now),
        marks.FAILURES: f"f{number or known} {utc(first or now)}",
        marks.ENDED: f"{how} {utc(now)}",
    }
    line = notes.open_again(end.line, attempt)
    return Verdict(end.outcome.word, "open", _not_twice(bead, line), change)


def _not_twice(bead: Bead, line: str) -> str:
    """Return a short line if the long one is already the newest on the bead."""
    return notes.ENDED_AS_BEFORE if notes.last_outcome(bead.notes) == line else line


def _holding(
    verdict: Verdict, kind: str, end: End, bead: Bead, seconds: float | None, known: Recent, now: datetime
) -> Verdict:
    """Add the queue's hold: one step for all ends that are judged together. Older runs change nothing."""
    last, claim = known.holds.get(kind), marks.claim(bead)
    if last and end.reset and end.reset > last.until:  # the limit turns out to last longer
        return replace(verdict, kind=kind, hold=replace(last, until=end.reset))
    if kind in known.held or (last is not None and not counts(last, claim[1] if claim else None)):
        return verdict
    hold = run_hold(kind, last, now.replace(microsecond=0), end.line, bead.id, end.reset, seconds or 0.0)
    return replace(verdict, kind=kind, hold=hold)
