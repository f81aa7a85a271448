"""A tick: lock → choose → ask → claim → still ours? → POST → note."""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from beads_dispatch import notes, policy
from beads_dispatch.answers import Answer, Meaning, understand
from beads_dispatch.bd import Bd
from beads_dispatch.bead import Bead
from beads_dispatch.errors import BdFailed, DoltFailed, Failure, Misconfigured, NotAsExpected, ServiceFailed
from beads_dispatch.log import Log
from beads_dispatch.policy import Hold
from beads_dispatch.queue import Queue
from beads_dispatch.settings import Settings

if TYPE_CHECKING:
    from beads_dispatch.beadboard import BeadBoard

TELL_SECONDS = 60.0  # what a tick may spend on telling beads why they do not go
CLAIM_SECONDS = 120.0  # no claim later than this, so that a tick ends within five minutes


@dataclass(frozen=True, slots=True)
class Claim:
    """A bead as it was right before our claim, and the token that the claim's note bears."""

    bead: Bead
    token: str


@dataclass(slots=True)
class Report:
    """What a tick did, for who runs the next one. `accepted_after`: seconds since each bead's last change."""

    failed: bool = False
    unreadable: bool = False  # a bead that cannot be read was left alone
    locked: bool = False  # another tick was at work
    waits: bool = False  # there was no room for the next bead
    not_ready: frozenset[str] | None = None  # candidates that bd does not call ready; None: it was not asked
    answers: list[Meaning] = field(default_factory=list)
    accepted_after: list[float] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        return int(self.failed or self.unreadable)


def tick(
    queue: Queue, bd: Bd, settings: Settings, log: Log, stopping: Callable[[], bool], *, dry_run: bool = False
) -> Report:
    """Hands at most BEADS_DISPATCH_PER_TICK beads to BeadBoard. Raises Failure where it cannot begin.

    `dry_run`: says what it would do; no lock, no request, no write.
    """
    if not dry_run and not queue.lock("dispatcher"):
        log.say("locked", "another tick is at work")
        return Report(locked=True)
    seen = queue.read()
    report = Report(unreadable=bool(seen.unreadable))
    work = _Tick(queue, bd, settings, log, stopping, policy.hold(seen.beads, queue.now()), report)
    log.unreadable(seen.unreadable)
    try:
        work.rehearse(seen.beads) if dry_run else work.run(seen.beads)
    except Misconfigured:
        raise
    except Failure as error:  # what it has done until here still counts
        report.failed = True
        log.fail("failed", str(error))
    return report


@dataclass(slots=True)
class _Tick:
    """What the steps of one tick share."""

    queue: Queue
    bd: Bd
    settings: Settings
    log: Log
    stopping: Callable[[], bool]
    last_hold: Hold | None
    report: Report
    started: float = field(default_factory=time.monotonic)
    ended: str = ""  # why it ended early, once that is said

    def run(self, beads: Sequence[Bead]) -> None:
        self.tell(beads)
        self.wake(beads)
        if not self._over(CLAIM_SECONDS):
            self.hand_over(self.choose(beads))

    def rehearse(self, beads: Sequence[Bead]) -> None:
        for bead, reason in policy.untold(beads, self.queue.now()):
            self.log.say("would_tell", f"would note: {notes.not_dispatched(reason.text)}", bead=bead.id)
        for bead in policy.due(beads, self.queue.now()):
            what = "block it, for an agent may have it" if notes.maybe_sent(bead.notes) else "open it"
            self.log.say("would_wake", f"its deferral is over: would {what}", bead=bead.id)
        for bead in self.choose(beads)[: self.settings.per_tick]:
            self.log.say("would_dispatch", f"would claim and dispatch: {bead.title}", bead=bead.id)

    def tell(self, beads: Sequence[Bead]) -> None:
        """Says once, on the bead, what a person must mend."""
        for bead, reason in policy.untold(beads, self.queue.now()):
            if self._over(TELL_SECONDS, "the next tick tells the other beads why they wait"):
                return
            line = notes.not_dispatched(reason.text)
            try:
                if reason is policy.TOO_LARGE:
                    self.bd.comment(bead.id, notes.TOO_LARGE)
                else:
                    self.bd.update(bead, note=line)
                self.log.say("told", line, bead=bead.id)
            except BdFailed as error:
                self._fail("not_told", f"{line}, but the bead could not be told: {error}", bead)

    def wake(self, beads: Sequence[Bead]) -> None:
        """Opens what was put off until now, or blocks it where it was sent before.

        Before bd is asked: the `ready` of an embedded bd 1.3 opens both alike, and against a server it only reads.
        """
        for bead in policy.due(beads, self.queue.now()):
            if self._over(CLAIM_SECONDS):
                return
            try:
                self._wake(bead)
            except NotAsExpected:
                self.log.say("changed", "changed meanwhile: left alone", bead=bead.id)
            except BdFailed as error:
                self._fail("not_woken", f"its deferral is over, but that could not be written: {error}", bead)

    def _wake(self, known: Bead) -> None:
        bead = known if known.ephemeral else self._look(known)  # a wisp lies in another table, and is never sent
        if bead is None or bead.assignee != self.settings.assignee or not policy.due([bead], self.queue.now()):
            raise NotAsExpected
        if notes.maybe_sent(bead.notes):
            line = notes.not_dispatched(notes.SENT_BEFORE)
            self.bd.update(bead, status="blocked", note=line)
            self.log.say("blocked", line, bead=bead.id, level="warning")
        else:
            self.bd.update(bead, status="open")
            self.log.say("woken", "its deferral is over: open", bead=bead.id)

    def choose(self, beads: Sequence[Bead]) -> list[Bead]:
        """The beads to try, in order; says why there is none. bd is asked only if one is left."""
        now = self.queue.now()
        if self.last_hold and self.last_hold.until > now:
            until, why = notes.utc(self.last_hold.until), policy.held_by(self.last_hold, beads)
            self.log.say("held", f"nothing is dispatched until {until}: {why}")
            return []
        left = policy.candidates(beads, now)
        ready = self.bd.ready(self.settings.assignee) if left else frozenset()
        chosen = [bead for bead in left if bead.id in ready]
        self.report.not_ready = frozenset(bead.id for bead in left) - ready
        if not chosen:
            counts = policy.summary(beads, now, {bead.id: policy.NOT_READY for bead in left})
            why = ", ".join(f"{count} {reason}" for reason, count in counts.items())
            self.log.say("idle", f"nothing to do{': ' + why if why else ''}")
        return chosen

    def hand_over(self, chosen: Sequence[Bead]) -> None:
        """From the question to the services on, again for each bead, while there are places."""
        places = self.settings.per_tick
        for bead in chosen:
            if not places or self._over(CLAIM_SECONDS) or not self._room_for(bead):
                return
            if self._over(CLAIM_SECONDS):  # a BeadBoard that wakes up takes its time
                return
            claim = self._claim(bead)
            if claim and self._still_ours(claim):
                places -= 1
                if not self._post(claim):
                    return

    def _over(self, seconds: float, rest: str = "the rest is the next tick's") -> bool:
        why = policy.over(time.monotonic() - self.started, seconds, self.stopping())
        if why and (line := f"{why}: {rest}") != self.ended:
            self.log.say("ended_early", line)
            self.ended = line
        return bool(why)

    def _fail(self, event: str, text: str, bead: Bead, level: str = "error") -> None:
        self.report.failed = True
        self.log.fail(event, text, bead=bead.id, level=level)

    def _room_for(self, bead: Bead) -> bool:
        try:
            room = self._board().has_room()
        except ServiceFailed as error:
            if not self.stopping():
                self._fail("service_failed", str(error), bead)
                line = notes.failed(None, str(error))
                self._put(bead, None if line == notes.last_outcome(bead.notes) else line, self._next_hold())
            return False
        if not room:
            self.report.waits = True
            self.log.say("busy", "waits: the agent is busy", bead=bead.id)
        return room

    def _board(self) -> "BeadBoard":
        from beads_dispatch.beadboard import BeadBoard  # httpx costs more than a whole idle tick

        return BeadBoard(self.settings.beadboard_url, self.settings.agent_url, self.stopping)

    def _claim(self, chosen: Bead) -> Claim | None:
        """One write, never tried twice. None: this bead is not ours, go on with the next."""
        bead, now = self._look(chosen), self.queue.now()
        if bead is None or not policy.claimable(bead, self.settings.assignee, now):
            self.log.say("changed", "changed since it was chosen: left alone", bead=chosen.id)
            return None
        claim = Claim(bead, secrets.token_hex(3))
        return claim if self._written(claim, notes.claimed(now, claim.token)) else None

    def _look(self, known: Bead) -> Bead | None:
        """The bead as it now is. Raises DoltFailed where another tick may hold our lock by now."""
        locked, bead = self.queue.look(known.id)
        if not locked:
            raise DoltFailed("the lock was lost: another tick may hold it")
        return bead

    def _written(self, claim: Claim, note: str) -> bool:
        before, unmark = claim.bead, policy.marks_on(claim.bead)
        try:
            found: Bead | None = self.bd.update(before, status="in_progress", note=note, unmark=unmark, tries=1)
            problem = "bd answered without our claim"
        except NotAsExpected:
            self.log.say("changed", "not ours any more: left alone", bead=before.id)
            return False
        except BdFailed as error:  # which does not mean that nothing was written: the token tells
            problem, found = str(error), self._look(before)
        if self._ours(found, claim):
            self.log.say("claimed", f"claimed (tick {claim.token})", bead=before.id)
            return True
        self._fail("not_claimed", f"could not be claimed: {problem}", before)
        return False

    def _ours(self, bead: Bead | None, claim: Claim) -> bool:
        return policy.returnable(bead, self.settings.assignee, claim.token)

    def _still_ours(self, claim: Claim) -> bool:
        """Right before the POST. Only the lock decides between two dispatchers: two claims both succeed."""
        try:
            bead = self._look(claim.bead)
        except Failure as error:
            raise Failure(f"{claim.bead.id}: claimed but not dispatched, the sweep will block it: {error}") from None
        what = policy.changed(bead, self.settings.assignee, claim.token)
        if what:
            self.log.say("changed", f"not dispatched: {what}", bead=claim.bead.id)
        elif self.stopping():
            what = "stopped before dispatch"
        if what and self._ours(bead, claim):
            self._give_back(claim, notes.returned(what), {})
        return not what

    def _post(self, claim: Claim) -> bool:
        """Sends the bead, once, and writes down what came back. False: the queue must wait now."""
        answer, bead = understand(self._board().dispatch(claim.bead.id)), claim.bead
        self.report.answers.append(answer.meaning)
        match answer.meaning:
            case Meaning.ACCEPTED:  # only a note: the agent may already have closed the bead
                line, waited = notes.dispatched(answer.job), policy.idle_for(bead, self.queue.now()).total_seconds()
                self.report.accepted_after.append(waited)
                self._put(bead, line, {})
                self.log.say("dispatched", line, bead=bead.id)
            case Meaning.UNCLEAR:
                line = notes.unclear(answer.status, answer.text)
                self._put(bead, line, self._next_hold())
                self._fail("unclear", f"{line} (stays claimed)", bead)
            case Meaning.BUSY:
                self.log.say("busy", "the agent is busy: back to open", bead=bead.id)
                busy = Hold(self.queue.now() + policy.BUSY_WAIT, 0)
                self._give_back(claim, notes.returned("agent busy"), policy.hold_marks(busy))
            case Meaning.NOT_STARTED:
                line = notes.failed(answer.status, answer.text)
                self._fail("not_started", f"{line} (back to open)", bead)
                self._give_back(claim, line, self._next_hold())
            case Meaning.BEAD_AT_FAULT:
                self._bead_at_fault(claim, answer)
        return answer.meaning in (Meaning.ACCEPTED, Meaning.BEAD_AT_FAULT)

    def _bead_at_fault(self, claim: Claim, answer: Answer) -> None:
        number = policy.attempts(claim.bead) + 1
        line = notes.failed(answer.status, answer.text, notes.attempt(number, policy.MAX_ATTEMPTS))
        if number < policy.MAX_ATTEMPTS:
            self._fail("bead_at_fault", f"{line} (back to open)", claim.bead)
            self._give_back(claim, line, policy.attempt_marks(number, self.queue.now()))
        else:
            self._fail("given_up", f"{line} (blocked)", claim.bead, level="warning")
            self._give_back(claim, line, {}, status="blocked")

    def _next_hold(self) -> dict[str, str]:
        return policy.hold_marks(policy.next_hold(self.last_hold, self.queue.now()))

    def _put(self, bead: Bead, line: str | None, marks: Mapping[str, str]) -> None:
        """A note and marks, never a status."""
        try:
            self.bd.update(bead, note=line if line and notes.fits(bead.notes, line) else None, marks=marks)
        except (BdFailed, Misconfigured) as error:
            self._fail("not_noted", f"{line}: could not be noted: {error}", bead)

    def _give_back(self, claim: Claim, line: str, marks: Mapping[str, str], status: str = "open") -> None:
        """One write, made only if the bead, read again, is still ours by our token."""
        try:
            bead = self.bd.show(claim.bead.id)
            if not self._ours(bead, claim):
                raise NotAsExpected
            new = status != "open" or (notes.last_outcome(bead.notes) != line and notes.fits(bead.notes, line))
            kept = policy.kept_marks(claim.bead) if status == "open" else {}
            self.bd.update(bead, status=status, note=line if new else None, marks={**kept, **marks})
        except NotAsExpected:
            self.log.say("changed", f"changed meanwhile, left as it is ({line})", bead=claim.bead.id)
        except BdFailed as error:
            self._fail("not_returned", f"{line}: stays claimed, for it could not be put back: {error}", claim.bead)
