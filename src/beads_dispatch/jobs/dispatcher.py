"""A tick: lock → select → ask → claim → verify → start → record."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from beads_dispatch.core import eligibility, holds, staleness
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.consequence import consequence
from beads_dispatch.core.errors import BdFailed, Failure, Misconfigured, ServiceFailed, WritesRefused
from beads_dispatch.core.ledger import Entry
from beads_dispatch.core.pacing import Came
from beads_dispatch.core.runner import Outcome
from beads_dispatch.core.writes import record, release
from beads_dispatch.jobs import claims, housekeeping, room
from beads_dispatch.jobs.cycle import Cycle, Outside, locked_out
from beads_dispatch.jobs.holding import Holding, count_run
from beads_dispatch.jobs.writing import until_settled
from beads_dispatch.settings import Settings

CLAIM_SECONDS = 90.0  # no claim later than this: claim, start and record then end within the Job's five minutes
JUST_SECONDS = 0.1  # for so long, bd's last answer counts as current: asking bd again takes as long
GOES_ON = (Outcome.ACCEPTED, Outcome.BEAD_AT_FAULT)  # after any other outcome the queue must wait


@dataclass(slots=True)
class Report:
    """What a tick did. `came`: what it came to. `accepted_after`: for each accepted bead, seconds since its change."""

    came: Came = Came.IDLE
    failed: bool = False
    unreadable: bool = False  # a bead that cannot be read was left alone
    not_ready: frozenset[str] | None = None  # eligible beads that bd does not list as ready. None: bd was not asked
    answers: list[Outcome] = field(default_factory=list)
    accepted_after: list[float] = field(default_factory=list)


def tick(outside: Outside, settings: Settings) -> Report:
    """Hand at most BEADS_DISPATCH_PER_TICK beads to the runner. Raise Failure if the tick cannot begin."""
    if not outside.queue.lock("dispatcher"):
        return Report(Came.LOCKED, failed=locked_out(outside, "dispatcher", "tick"))
    return run(outside, settings, Tick.run)


def run(outside: Outside, settings: Settings, steps: "Callable[[Tick], None]") -> Report:
    """Take these steps on a fresh snapshot. Raise Failure if the snapshot cannot be read."""
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
    if report.failed and not report.answers and report.came is not Came.NO_ANSWER:
        report.came = Came.FAILED
    return report


@dataclass(slots=True)
class Tick:
    """The steps of one tick, from the lock on."""

    cycle: Cycle
    report: Report
    beads: Sequence[Bead]
    holding: Holding
    most: int = 0
    ready: Mapping[str, Bead] = field(default_factory=dict)  # by bd's word
    ready_at: float = 0.0  # monotonic seconds
    entries: Mapping[str, Entry] = field(default_factory=dict)  # what the ledger remembers of the selected beads

    def run(self) -> None:
        try:
            housekeeping.notify(self.cycle, self.beads)
            housekeeping.tidy(self.cycle, self.beads, CLAIM_SECONDS)
            if not self.out_of_time():
                self.dispatch(self.select())
        except WritesRefused as error:  # whatever the bead
            self.holding.refuse(str(error))
            raise

    def select(self) -> list[Bead]:
        """Return the beads to try, in order. Log why there is none. Ask bd only if a bead is eligible."""
        outside, now = self.cycle.outside, self.cycle.now()
        eligible = eligibility.eligible(self.beads, now)
        if not eligible:
            outside.log.info("idle", _why_idle(self.beads, eligible, now))
            return []
        allows = self.holding.allowance(self.learn_ends())
        if allows.most == 0:
            return []
        per_tick = self.cycle.settings.per_tick
        self.most = min(per_tick, allows.most or per_tick, self.holding.left_today())
        outside.warm_up()  # while bd works
        self.ready, self.ready_at = outside.bd.ready(self.cycle.settings.assignee), outside.clock.monotonic()
        self.report.not_ready = frozenset(bead.id for bead in eligible) - self.ready.keys()
        chosen = (bead for bead in eligible if bead.id in self.ready)
        selected = [bead for bead in chosen if allows.only is None or bead.id in allows.only]
        if not selected:
            self.report.came = Came.NOT_READY
            outside.log.info("idle", _why_idle(self.beads, eligible, now))
        return selected

    def learn_ends(self) -> Sequence[Bead]:
        """Have a sweep learn how runs ended, before anything more is started. Return the beads as they are afterwards.

        A watcher sweeps anyway. Without this, an agent that always fails would use up five beads between two CronJob
        sweeps.
        """
        runner = self.cycle.outside.runner
        running = any(bead.status == "in_progress" and runner.job_of(bead) for bead in self.beads)
        if running and runner.follows and self.cycle.outside.sweep():
            self.beads = self.cycle.outside.queue.snapshot().beads
        return self.beads

    def dispatch(self, selected: Sequence[Bead]) -> None:
        """Ask → claim → verify → start → record, for each bead, while there is room."""
        left, unclaimed = self.most, None
        if selected:
            self.cycle.outside.queue.check_writable()
            self.entries = self.cycle.outside.queue.ledger([bead.id for bead in selected])
        for bead in room.not_taken_back(self.cycle, selected, self.entries):
            if not left or self.out_of_time() or not self.has_room(bead) or self.out_of_time():
                break
            if not room.is_last_run_gone(self.cycle, bead):
                self.report.came = Came.BUSY
                continue
            try:
                if room.is_woken(self.cycle, bead):
                    continue
                claimed = claims.make(self.cycle, bead, self.entries.get(bead.id), self.just_read(bead))
            except BdFailed as error:
                reason = f"could not be claimed: {error}"
                self.cycle.error("not_claimed", reason, bead)
                unclaimed = holds.claim_hold(self.holding.service, self.cycle.now(), reason, bead.id)
                continue
            if claimed and claims.verify(self.cycle, claimed):
                left -= 1
                if not self.send(claimed):
                    break
        if unclaimed and left == self.most:
            self.holding.set(unclaimed)

    def just_read(self, bead: Bead) -> Bead | None:
        """Return the bead as `bd ready` has shown it, if that was a moment ago."""
        outside = self.cycle.outside
        recent = outside.runner.here and outside.clock.monotonic() - self.ready_at < JUST_SECONDS
        return self.ready.get(bead.id) if recent else None

    def out_of_time(self) -> bool:
        return self.cycle.out_of_time(CLAIM_SECONDS, "the rest is left to the next tick")

    def has_room(self, bead: Bead) -> bool:
        """Return whether an agent can start. `bead`: the one that waits for it."""
        try:
            return self.ask_for_room(bead)
        except ServiceFailed as error:
            self.report.came = Came.NO_ANSWER
            if not self.cycle.outside.stopping():
                room.note_outage(self.cycle, self.holding, bead, error)
            return False

    def ask_for_room(self, bead: Bead) -> bool:
        """Return whether an agent can start, if the services answer. Raise ServiceFailed."""
        found = self.cycle.outside.runner.room()
        if not found.free:
            self.report.came = Came.BUSY if found.cached else Came.FULL
            self.cycle.info("busy", "waiting: the agent is busy", bead)
        return found.free

    def send(self, claimed: Claim) -> bool:
        """Start → record. Return whether the queue may go on."""
        cycle, bead = self.cycle, claimed.bead
        answer = cycle.outside.runner.start(claimed)
        self.report.answers.append(answer.outcome)
        cycle.answered_at = cycle.outside.clock.monotonic()
        what = consequence(answer, bead, self.holding.service, cycle.now())
        known = {"tick": claimed.token, "job": answer.job, "http_status": answer.status}
        (cycle.info if what.level == "info" else cycle.error)(what.event, what.text, bead, what.level, **known)
        if what.hold:  # before the bead is open again
            self.holding.set(what.hold)
        writes = partial(release, became=what.became, status=what.status) if what.status else record
        intent = partial(writes, claimed=claimed, line=what.line, change=what.marks)
        until_settled(cycle, bead.id, what.line, intent)
        if answer.outcome is Outcome.ACCEPTED:
            claims.remember_job(cycle, claimed, answer.job)
            self.report.accepted_after.append(staleness.idle_for(bead, cycle.now()).total_seconds())
            self.holding.sent(bead)
        elif what.status:
            count_run(cycle, -1)
        if what.notice:
            cycle.notify(bead, what.notice, what.line)
        cycle.answered_at = None
        goes_on = answer.outcome in GOES_ON
        self.report.came = Came.SENT if goes_on else Came.HELD
        return goes_on


def _why_idle(beads: Sequence[Bead], not_ready: Sequence[Bead], now: datetime) -> str:
    why = eligibility.summary(beads, not_ready, now)
    return f"nothing to dispatch{': ' + why if why else ''}"
