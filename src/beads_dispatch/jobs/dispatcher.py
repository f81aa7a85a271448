"""A tick: lock → select → ask → claim → verify → POST → record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from beads_dispatch.core import backoff, eligibility, staleness
from beads_dispatch.core.backoff import Hold
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.consequence import consequence
from beads_dispatch.core.errors import BdFailed, Failure, Misconfigured, ServiceFailed
from beads_dispatch.core.runner import Outcome
from beads_dispatch.jobs import claims, housekeeping, room
from beads_dispatch.jobs.cycle import Cycle, Outside
from beads_dispatch.jobs.holding import Holding
from beads_dispatch.settings import Settings

CLAIM_SECONDS = 90.0  # no claim later than this: claim, POST and record then end within the Job's five minutes
GOES_ON = (Outcome.ACCEPTED, Outcome.BEAD_AT_FAULT)  # after any other outcome the queue must wait


@dataclass(slots=True)
class Report:
    """What a tick did. `accepted_after`: for each accepted bead, the seconds since its last change."""

    failed: bool = False
    unreadable: bool = False  # a bead that cannot be read was left alone
    locked: bool = False  # another tick was running
    waits: bool = False  # the next bead must wait: the runner has no room, or its own last job still runs
    full: bool = False  # the runner counts its places, and none is free
    unreachable: bool = False  # a service that was asked for room did not answer
    not_ready: frozenset[str] | None = None  # eligible beads that bd does not list as ready. None: bd was not asked
    answers: list[Outcome] = field(default_factory=list)
    accepted_after: list[float] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        return int(self.failed or self.unreadable)


def tick(outside: Outside, settings: Settings) -> Report:
    """Hand at most BEADS_DISPATCH_PER_TICK beads to the runner. Raises Failure if it cannot begin."""
    if not outside.queue.lock("dispatcher"):
        outside.log.info("locked", "another tick is running")
        return Report(locked=True)
    return run(outside, settings, Tick.run)


def run(outside: Outside, settings: Settings, steps: "Callable[[Tick], None]") -> Report:
    """Take these steps on a fresh snapshot. Raises Failure if the snapshot cannot be read."""
    cycle = Cycle(outside, settings, outside.clock.monotonic())
    snapshot = outside.queue.snapshot()
    report = Report(unreadable=bool(snapshot.unreadable))
    outside.log.unreadable(snapshot.unreadable)
    try:
        steps(Tick(cycle, report, snapshot.beads, Holding(cycle)))
    except Misconfigured:
        raise
    except Failure as error:  # what was done until here still counts
        cycle.failed = True
        outside.log.error("failed", str(error))
    report.failed = cycle.failed
    return report


@dataclass(slots=True)
class Tick:
    """The steps of one tick, from the lock on."""

    cycle: Cycle
    report: Report
    beads: Sequence[Bead]
    holding: Holding

    def run(self) -> None:
        housekeeping.notify(self.cycle, self.beads)
        housekeeping.tidy(self.cycle, self.beads, CLAIM_SECONDS)
        if not self.out_of_time():
            self.dispatch(self.select())

    def select(self) -> list[Bead]:
        """The beads to try, in order. Logs why there is none. bd is asked only where a bead is eligible."""
        outside, now = self.cycle.outside, self.cycle.now()
        eligible = eligibility.eligible(self.beads, now)
        if eligible and self.holding.in_force():
            return []
        if eligible:
            outside.warm_up()  # while bd works
        ready = outside.bd.ready(self.cycle.settings.assignee) if eligible else frozenset()
        self.report.not_ready = frozenset(bead.id for bead in eligible) - ready
        selected = [bead for bead in eligible if bead.id in ready]
        if not selected:
            outside.log.info("idle", _why_idle(self.beads, eligible, now))
        return selected

    def dispatch(self, selected: Sequence[Bead]) -> None:
        """Ask → claim → verify → POST → record, for each bead, while there is room."""
        most = left = self.holding.places(self.beads)
        unclaimed = None
        if selected:
            self.cycle.outside.queue.check_writable()
        for bead in selected:
            if not left or self.out_of_time() or not self.has_room(bead) or self.out_of_time():
                break
            if room.still_runs(self.cycle, bead):
                self.report.waits = True
                continue
            try:
                claimed = claims.make(self.cycle, bead)
            except BdFailed as error:
                unclaimed = _not_claimed(self.cycle, self.holding, bead, error)
                continue
            if claimed and claims.verify(self.cycle, claimed):
                left -= 1
                if not self.send(claimed):
                    break
        if unclaimed and left == most:
            self.holding.set(unclaimed)

    def out_of_time(self) -> bool:
        return self.cycle.out_of_time(CLAIM_SECONDS, "the rest is left to the next tick")

    def has_room(self, bead: Bead) -> bool:
        """Whether an agent can start. `bead`: the one that waits for it."""
        try:
            return self.ask_for_room(bead)
        except ServiceFailed as error:
            self.report.unreachable = True
            if not self.cycle.outside.stopping():
                room.note_outage(self.cycle, self.holding, bead, error)
            return False

    def ask_for_room(self, bead: Bead) -> bool:
        """The same, where the services answer. Raises ServiceFailed."""
        room = self.cycle.outside.runner.room()
        self.report.full = not room.free and not room.cached
        if not room.free:
            self.report.waits = True
            self.cycle.info("busy", "waiting: the agent is busy", bead)
        return room.free

    def send(self, claimed: Claim) -> bool:
        """POST → record. Returns whether the queue may go on."""
        cycle, bead = self.cycle, claimed.bead
        answer = cycle.outside.runner.start(claimed)
        self.report.answers.append(answer.outcome)
        cycle.answered_at = cycle.outside.clock.monotonic()
        what = consequence(answer, bead, self.holding.service, cycle.now())
        known = {"tick": claimed.token, "job": answer.job, "http_status": answer.status}
        (cycle.info if what.level == "info" else cycle.error)(what.event, what.text, bead, what.level, **known)
        if what.hold:  # before the bead is open again
            self.holding.set(what.hold)
        if what.status:
            claims.release(cycle, claimed, what.line, what.marks, what.status)
        else:
            claims.record(cycle, claimed, what.line, what.marks)
        if answer.outcome is Outcome.ACCEPTED:
            self.report.accepted_after.append(staleness.idle_for(bead, cycle.now()).total_seconds())
            self.holding.sent(bead)
        if what.notice:
            cycle.notify(bead, what.notice, what.line)
        cycle.answered_at = None
        return answer.outcome in GOES_ON


def _not_claimed(cycle: Cycle, holding: Holding, bead: Bead, error: BdFailed) -> Hold:
    """Logs a claim that could not be written. Returns the hold for a tick in which no claim can be."""
    reason = f"could not be claimed: {error}"
    cycle.error("not_claimed", reason, bead)
    return backoff.claim_hold(holding.service, cycle.now(), reason, bead.id)


def _why_idle(beads: Sequence[Bead], not_ready: Sequence[Bead], now: datetime) -> str:
    counts = eligibility.summary(beads, now, {bead.id: eligibility.NOT_READY for bead in not_ready})
    why = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    return f"nothing to do{': ' + why if why else ''}"
