"""A tick: lock → select → ask → claim → verify → POST → record."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from beads_dispatch import claims, housekeeping
from beads_dispatch.core import backoff, eligibility, notes, staleness
from beads_dispatch.core.backoff import Hold
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.consequence import consequence
from beads_dispatch.core.outcomes import Answer, Outcome, understand
from beads_dispatch.cycle import Cycle, Outside
from beads_dispatch.errors import Failure, Misconfigured, ServiceFailed
from beads_dispatch.settings import Settings

CLAIM_SECONDS = 120.0  # no claim later than this, so that a tick ends within five minutes
GOES_ON = (Outcome.ACCEPTED, Outcome.BEAD_AT_FAULT)  # after any other outcome the queue must wait


@dataclass(slots=True)
class Report:
    """What a tick did. `accepted_after`: for each accepted bead, the seconds since its last change."""

    failed: bool = False
    unreadable: bool = False  # a bead that cannot be read was left alone
    locked: bool = False  # another tick was running
    waits: bool = False  # there was no room for the next bead
    not_ready: frozenset[str] | None = None  # eligible beads that bd does not list as ready. None: bd was not asked
    answers: list[Outcome] = field(default_factory=list)
    accepted_after: list[float] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        return int(self.failed or self.unreadable)


def tick(outside: Outside, settings: Settings, *, dry_run: bool = False) -> Report:
    """Hands at most BEADS_DISPATCH_PER_TICK beads to BeadBoard. Raises Failure where it cannot begin.

    `dry_run`: prints what it would do. No lock, no request, no write.
    """
    if not dry_run and not outside.queue.lock("dispatcher"):
        outside.log.info("locked", "another tick is running")
        return Report(locked=True)
    cycle = Cycle(outside, settings, outside.clock.monotonic())
    snapshot = outside.queue.snapshot()
    report = Report(unreadable=bool(snapshot.unreadable))
    outside.log.unreadable(snapshot.unreadable)
    this = _Tick(cycle, report, backoff.hold(snapshot.beads, cycle.now()))
    try:
        _dry_run(this, snapshot.beads) if dry_run else this.run(snapshot.beads)
    except Misconfigured:
        raise
    except Failure as error:  # what was done until here still counts
        cycle.failed = True
        outside.log.error("failed", str(error))
    report.failed = cycle.failed
    return report


@dataclass(slots=True)
class _Tick:
    """The steps of one tick, from the lock on."""

    cycle: Cycle
    report: Report
    hold: Hold | None

    def run(self, beads: Sequence[Bead]) -> None:
        housekeeping.notify(self.cycle, beads)
        housekeeping.reopen_deferred(self.cycle, beads, CLAIM_SECONDS)
        if not self.out_of_time():
            self.dispatch(self.select(beads))

    def select(self, beads: Sequence[Bead]) -> list[Bead]:
        """The beads to try, in order. Logs why there is none. bd is asked only where a bead is eligible."""
        now = self.cycle.now()
        if self.hold and backoff.in_force(self.hold, now):
            until, why = notes.utc(self.hold.until), backoff.held_by(self.hold, beads)
            self.cycle.outside.log.info("held", f"nothing is dispatched until {until}: {why}")
            return []
        eligible = eligibility.eligible(beads, now)
        ready = self.cycle.outside.bd.ready(self.cycle.settings.assignee) if eligible else frozenset()
        self.report.not_ready = frozenset(bead.id for bead in eligible) - ready
        selected = [bead for bead in eligible if bead.id in ready]
        if not selected:
            counts = eligibility.summary(beads, now, {bead.id: eligibility.NOT_READY for bead in eligible})
            why = ", ".join(f"{count} {reason}" for reason, count in counts.items())
            self.cycle.outside.log.info("idle", f"nothing to do{': ' + why if why else ''}")
        return selected

    def dispatch(self, selected: Sequence[Bead]) -> None:
        """Ask → claim → verify → POST → record, for each bead, while there is room."""
        left = self.cycle.settings.per_tick
        for bead in selected:
            if not left or self.out_of_time() or not self.has_room(bead):
                return
            if self.out_of_time():  # a BeadBoard that wakes up takes its time
                return
            claim = claims.make(self.cycle, bead)
            if claim and claims.verify(self.cycle, claim):
                left -= 1
                answer = self.post(claim)
                self.record(claim, answer)
                if answer.outcome not in GOES_ON:
                    return

    def out_of_time(self) -> bool:
        return self.cycle.out_of_time(CLAIM_SECONDS, "the rest is left to the next tick")

    def has_room(self, bead: Bead) -> bool:
        """Whether both services say that an agent can start. `bead`: the one that waits for it."""
        outside = self.cycle.outside
        try:
            room = not outside.board.busy() and outside.agent_service.has_room()
        except ServiceFailed as error:
            if not outside.stopping():
                self.service_failed(bead, error)
            return False
        if not room:
            self.report.waits = True
            self.cycle.info("busy", "waiting: the agent is busy", bead)
        return room

    def service_failed(self, bead: Bead, error: ServiceFailed) -> None:
        self.cycle.error("service_failed", str(error), bead)
        line = notes.failed(None, str(error))
        new = line != notes.last_outcome(bead.notes)
        marks = backoff.hold_marks(backoff.next_hold(self.hold, self.cycle.now()))
        claims.record(self.cycle, bead, line if new else None, marks)

    def post(self, claim: Claim) -> Answer:
        """Sends the bead, once."""
        answer = understand(self.cycle.outside.board.dispatch(claim.bead.id))
        self.report.answers.append(answer.outcome)
        return answer

    def record(self, claim: Claim, answer: Answer) -> None:
        """Writes what follows from the answer: a note where an agent may have the bead, otherwise a release."""
        cycle, now = self.cycle, self.cycle.now()
        what = consequence(answer, claim.bead, self.hold, now)
        log = cycle.info if what.level == "info" else cycle.error
        log(what.event, what.text, claim.bead, level=what.level)
        if what.status:
            claims.release(cycle, claim, what.line, what.marks, what.status)
        else:
            claims.record(cycle, claim.bead, what.line, what.marks)
        if answer.outcome is Outcome.ACCEPTED:
            self.report.accepted_after.append(staleness.idle_for(claim.bead, now).total_seconds())


def _dry_run(tick: _Tick, beads: Sequence[Bead]) -> None:
    """Logs what a tick would do."""
    cycle = tick.cycle
    for bead, reason in eligibility.needs_notice(beads, cycle.now()):
        cycle.info("would_notify", f"would note: {notes.not_dispatched(reason.text)}", bead)
    for bead in eligibility.expired_deferrals(beads, cycle.now()):
        what = "block it, because an agent may have it" if notes.possibly_dispatched(bead.notes) else "open it"
        cycle.info("would_reopen", f"its deferral has ended: would {what}", bead)
    for bead in tick.select(beads)[: cycle.settings.per_tick]:
        cycle.info("would_dispatch", f"would claim and dispatch: {bead.title}", bead)
