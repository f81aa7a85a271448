"""What follows from the end of a run: for its bead, by whose fault it was; for the queue, by how the last runs ended.

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
    `held`: the kinds of hold that an end set which is judged together with this one. Each is set only once.
    """

    holds: Holds = field(default_factory=dict)
    closed_at: datetime | None = None
    quick: frozenset[str] = frozenset()
    unpassed: frozenset[str] = frozenset()
    unclosed: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is written for an end. `kind`, `hold`: the hold that it sets, if any."""

    status: str
    line: str
    marks: Change
    kind: str = ""
    hold: Hold | None = None


def recent(beads: Iterable[Bead], holds: Holds, closed_at: datetime | None) -> Recent:
    """Return what the beads' marks say of the last runs. `closed_at`: when an agent last closed one of its beads."""
    ended = {bead.id: how for bead in beads if (how := marks.ended(bead))}
    since = {key: word for key, (word, at) in ended.items() if closed_at is None or at > closed_at}

    def by(*words: str) -> frozenset[str]:
        return frozenset(key for key, word in since.items() if word in words)

    return Recent(of_runs(holds), closed_at, by(QUICK), by(CHECK), by(QUICK, CHECK, UNCLOSED))


def together(known: Recent, ends: Iterable[tuple[Bead, End]]) -> Recent:
    """Return what is known if these ends are judged at once: two of them at once are two in a row."""
    quick = frozenset(bead.id for bead, end in ends if end.fault is Fault.UNKNOWN and not end.may_live)
    return replace(known, quick=known.quick | quick) if len(quick) > 1 else known


@dataclass(frozen=True, slots=True)
class _Run:
    """A run that has ended, and all by which it is judged. `seconds`: how long it ran, if known. `now`: UTC."""

    end: End
    bead: Bead
    seconds: float | None
    known: Recent
    now: datetime

    @property
    def goes_alone(self) -> bool:
        """Return whether this bead met the hold before, too: no other bead waits that could show whose fault it was."""
        hold = self.known.holds.get(AGENT)
        return hold is not None and hold.bead_id == self.bead.id


def judge(end: End, bead: Bead, seconds: float | None, known: Recent, now: datetime) -> tuple[Verdict, Recent]:
    """Return what follows from the end of a run, and what is known afterwards.

    `seconds`: how long it ran, if that is known. `now`: UTC.
    """
    run = _Run(end, bead, seconds, known, now)
    quick, unpassed, unclosed = (ids | {bead.id} for ids in (known.quick, known.unpassed, known.unclosed))
    many = len(unclosed) >= UNCLOSED_IN_A_ROW
    match end.fault:
        case Fault.AGENT:
            verdict = _agents(run)
        case Fault.NOBODY if end.outcome is outcomes.CHECKED:
            verdict = Verdict("closed", end.line, {marks.OUTCOME: end.outcome.word})
            known = Recent(known.holds, now, held=known.held)
        case Fault.NOBODY:  # the run counts, but a restarted watcher must not leave a row of blocked beads
            change = marks.opened(bead, marks.runs(bead), end.outcome.word)
            verdict = Verdict("open", notes.open_again(end.line), change)
        case Fault.CHECK:
            known = replace(known, unpassed=unpassed, unclosed=unclosed)
            verdict = _uncharged(run, CHECK) if len(unpassed) >= QUICK_IN_A_ROW else _unpassed(run)
        case Fault.UNKNOWN if not end.may_live:
            in_a_row = len(quick) >= QUICK_IN_A_ROW or many or known.holds
            verdict = _uncharged(run, QUICK) if in_a_row and not run.goes_alone else _unknown(run)
            known = replace(known, quick=quick, unclosed=unclosed)
        case _:
            verdict = _beads(run, many=many and not run.goes_alone)
            known = replace(known, unclosed=unclosed)
    if verdict.hold:
        holds = {**known.holds, verdict.kind: verdict.hold}
        known = replace(known, holds=holds, held=known.held | {verdict.kind})
    return verdict, known


def _agents(run: _Run) -> Verdict:
    """Reopen the bead without counting the run, unless other beads have closed since: then its words only sound so.

    A usage limit that a result names never counts, however often a long bead meets one.
    """
    known, (_, first) = run.known, marks.failures(run.bead)
    contrast = first is not None and known.closed_at is not None and first < known.closed_at
    certain = run.end.sure and run.end.outcome is outcomes.USAGE_LIMIT
    if contrast and not certain and (not known.holds or run.goes_alone):
        charged = _charged(run, AGENTS)
        return charged if charged.status == "blocked" else _holding(charged, run)
    return _uncharged(run, AGENTS)


def _uncharged(run: _Run, how: str) -> Verdict:
    return _holding(_opened(run, how), run)


def _charged(run: _Run, how: str) -> Verdict:
    """Charge the bead one attempt: it runs again after 2 minutes, then 4; the third blocks it."""
    number = marks.failures(run.bead)[0] + 1
    if number >= MAX_FAILURES:
        return _blocked(run, how, f" ({notes.attempt(number, MAX_FAILURES)})")
    opened = _opened(run, how, number)
    return replace(opened, marks={**opened.marks, marks.RETRY_AFTER: utc(run.now + backoff(number))})


def _unknown(run: _Run) -> Verdict:
    """Charge a bead that fails alone. If it met the hold before, too, the queue stays held."""
    verdict = _charged(run, QUICK)
    return _holding(verdict, run) if run.known.holds and verdict.status == "open" else verdict


def _beads(run: _Run, *, many: bool) -> Verdict:
    """Block the bead; but the third in a row shows that it was the agent. Never reopen one whose run may still live."""
    if many and not run.end.may_live:
        return _uncharged(run, UNCLOSED)
    blocked = _blocked(run, UNCLOSED)
    return _holding(blocked, run) if many else blocked


def _unpassed(run: _Run) -> Verdict:
    """Reopen the bead, and count the run. The fifth in a row blocks it."""
    count = marks.runs(run.bead)
    if count >= MAX_RUNS:
        return _blocked(run, CHECK, f" (run {count} of {MAX_RUNS})")
    opened = _opened(run, CHECK)
    wait = {marks.RETRY_AFTER: utc(run.now + backoff(count - FREE_RUNS + 1))} if count >= FREE_RUNS else {}
    return replace(opened, marks={**opened.marks, marks.RUNS: str(count), **wait})


def _blocked(run: _Run, how: str, more: str = "") -> Verdict:
    change = {**marks.blocked(run.bead, run.end.outcome.word), marks.ENDED: f"{how} {utc(run.now)}"}
    return Verdict("blocked", run.end.line + more, change)


def _opened(run: _Run, how: str, number: int = 0) -> Verdict:
    """Reopen the bead behind the others. `number`: of the attempt that it is charged; 0 if none.

    A run of over a minute counts towards the five in a row, whoever's fault.
    """
    bead, now = run.bead, run.now
    known, first = marks.failures(bead)
    long = run.seconds is not None and run.seconds > 60
    change = {
        **marks.opened(bead, marks.runs(bead) - (not long), run.end.outcome.word),
        marks.FAILED_AT: utc(now),
        marks.FAILURES: f"f{number or known} {utc(first or now)}",
        marks.ENDED: f"{how} {utc(now)}",
    }
    line = notes.open_again(run.end.line, notes.attempt(number, MAX_FAILURES) if number else "")
    if notes.last_outcome(bead.notes) == line:
        line = notes.ENDED_AS_BEFORE
    return Verdict("open", line, change)


def _holding(verdict: Verdict, run: _Run) -> Verdict:
    """Add the queue's hold: one step for all ends that are judged together. Older runs change nothing."""
    end, now = run.end, run.now.replace(microsecond=0)
    kind = USAGE if end.outcome is outcomes.USAGE_LIMIT else AGENT
    last, claim = run.known.holds.get(kind), marks.claim(run.bead)
    if last and end.reset and end.reset > last.until:  # the limit turns out to last longer
        return replace(verdict, kind=kind, hold=replace(last, until=end.reset))
    if kind in run.known.held or (last is not None and not counts(last, claim[1] if claim else None)):
        return verdict
    hold = run_hold(kind, last, now, end.line, run.bead.id, end.reset, run.seconds or 0.0)
    return replace(verdict, kind=kind, hold=hold)
