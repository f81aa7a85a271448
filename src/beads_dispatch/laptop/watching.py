"""Look after the runs of a watcher on this machine: adopt them, notice how they end, and stop them."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from beads_dispatch.adapters.log import Log
from beads_dispatch.adapters.queue import Snapshot
from beads_dispatch.adapters.runner import Runner
from beads_dispatch.adapters.stop import Stop
from beads_dispatch.core import marks, notes, outcomes, reasons
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import Failure, NoBead
from beads_dispatch.core.text import one_line, utc
from beads_dispatch.core.times import span
from beads_dispatch.laptop import processes
from beads_dispatch.laptop.record import Ended, Record, boot_id
from beads_dispatch.laptop.runner import LocalRunner, summary
from beads_dispatch.laptop.worktree import branch

GRACE_SECONDS = 60.0  # for an agent that has closed or blocked its bead, or handed it on, to end by itself
STOP_SECONDS = 15.0  # its parent process gives a run five seconds after SIGTERM, and two after SIGKILL
RECORD_SECONDS = 20.0  # for all ends to be noted when we end: bd's circuit breaker stays open for 5 s
RETRY_SECONDS = 1.0


@dataclass(slots=True)
class Local:
    """A monitor of the watcher: told of each turn, and of each snapshot while the queue is ours.

    `log`: the watcher's; what becomes of a run is in the runner's log.
    `beads`: the assignee's that are not closed, as far as we know.
    `lost_at`: since when a run's bead is no longer its own, in monotonic seconds.
    """

    runner: LocalRunner
    stop: Stop
    log: Log
    beads: Sequence[Bead] = ()
    lost_at: dict[str, float] = field(default_factory=dict)
    adopted: bool = False

    def stopping(self) -> bool:
        """Return whether the watcher is to end: after the first Ctrl-C it continues until no agent runs."""
        return self.stop() or (self.stop.draining and not self.runner.living())

    def turned(self, answered: bool) -> None:
        """Notice which runs have ended, and stop those that have lost their bead."""
        if self.stop.draining and not self.runner.draining:
            self.runner.draining = True
            if living := self.runner.living():
                self.log.info("draining", f"nothing new is started; {self._who(living)} may finish. Ctrl-C again stops")
        self.notice_ends()
        known = {bead.id: bead for bead in self.beads}
        for record in self.runner.at_work.values():
            self._check(record, known.get(record.bead))

    def _who(self, living: Sequence[Record]) -> str:
        now = self.runner.clock.monotonic()
        return ", ".join(f"{record.bead} (for {span(now - record.began)})" for record in living)

    def saw(self, snapshot: Snapshot, *_: object) -> None:
        before, self.beads = {bead.id for bead in self.beads}, snapshot.beads
        if not self.adopted:
            self._adopt()
        if before - snapshot.ids:  # a bead was closed
            self.tidy()

    def ticked(self, report: object) -> None:
        pass

    def swept(self, report: object) -> None:
        pass

    def end(self, sweep: Callable[[], bool]) -> None:
        """Stop what still runs. `sweep`: writes how runs ended, and returns whether an end is left to write."""
        runs = bool(self.runner.at_work) or any(bead.status == "in_progress" for bead in self.beads)
        self.stop_all("stopped with the watcher")
        clock = self.runner.clock
        until = clock.monotonic() + RECORD_SECONDS
        while runs and self.adopted and sweep() and clock.monotonic() < until:
            clock.sleep(RETRY_SECONDS)

    def stop_all(self, why: str) -> None:
        """Stop every run of this queue, and wait until each has ended."""
        clock, stop, asked = self.runner.clock, self.runner.records.stop, set[str]()
        until = clock.monotonic() + STOP_SECONDS
        while (living := self.runner.living()) and clock.monotonic() < until:
            asked |= {record.job for record in living if record.job not in asked and stop(record.job, why)}
            clock.sleep(0.05)
        self.notice_ends()

    def _adopt(self) -> None:
        """Take over this queue's runs from an earlier watcher: we have the queue's lock now."""
        self.adopted, at_work = True, self.runner.at_work
        for record in self.runner.records.unfinished(self.runner.queue):
            at_work.setdefault(record.job, record)
        self.notice_ends()
        for record in at_work.values():
            text = f"job={record.job} continues: it outlived its watcher"
            self.runner.log.info("adopted", text, bead=record.bead, job=record.job)
        for bead in self.beads:
            if bead.status == "in_progress" and not marks.job(bead):
                self._restore(bead)
        self.tidy()

    def _restore(self, bead: Bead) -> None:
        """Write the job that an earlier watcher has started, if it was killed before it could."""
        claim, runner = marks.claim(bead), self.runner
        ours = [one for one in runner.records.of(bead.id, runner.queue) if claim and one.token == claim[0]]
        if not ours:
            return
        job = ours[-1].job
        try:
            runner.bd.update(bead, note=notes.dispatched(job), marks=marks.accepted(bead, job))
        except Failure as error:
            runner.log.error("not_written", f"job={job}, but that could not be noted: {error}", bead=bead.id, job=job)

    def tidy(self) -> None:
        """Remove the worktrees of closed beads whose commits are elsewhere too, or that have none."""
        repository = self.runner.setup.repository
        removable = repository.removable() if repository else {}
        busy = {record.bead for record in self.runner.records.unfinished()} if removable else set()
        for bead, path in removable.items():
            if bead not in busy and self._is_closed(bead) and repository and repository.remove(path):
                text = f"worktree removed: {branch(bead)} holds nothing that is not elsewhere"
                self.runner.log.info("tidied", text, bead=bead)

    def _is_closed(self, bead: str) -> bool:
        try:
            return self.runner.bd.show(bead).status == "closed"
        except NoBead:
            return True
        except Failure:
            return False

    def _check(self, record: Record, bead: Bead | None) -> None:
        """Stop a run a minute after it has lost its bead."""
        now, stop = self.runner.clock.monotonic(), self.runner.records.stop
        if bead is not None and bead.status != "blocked":
            self.lost_at.pop(record.job, None)
        elif bead is not None and marks.outcome(bead) == outcomes.STOPPED.word:  # by `stop`, on another machine
            stop(record.job, notes.last_line(bead.notes).removeprefix("agent ended: "))
        elif now - self.lost_at.setdefault(record.job, now) >= GRACE_SECONDS:
            if why := self._why_lost(record):
                stop(record.job, f"stopped ({why})")
            self.lost_at.pop(record.job, None)

    def _why_lost(self, record: Record) -> str:
        """Look at a run's bead again. Return why the run must stop; empty if it may continue, or bd does not answer."""
        try:
            bead = self.runner.bd.show(record.bead)
        except NoBead:
            return "its bead is deleted"
        except Failure:
            return ""
        if bead.status in ("closed", "blocked"):
            return f"its bead is {bead.status}"
        return f"its bead is assigned to {bead.assignee or 'nobody'} now"

    def notice_ends(self) -> None:
        """Log which runs have ended since the last call, and what became of their beads."""
        # A parent process that has ended stays a zombie until it is polled.
        self.runner.parents = [one for one in self.runner.parents if one.poll() is None]
        ended = [record for job, record in self.runner.at_work.items() if not self.runner.records.lives(job)]
        for record in ended:
            self._has_ended(record)
        if ended:  # until its end was noticed, its worktree was in use
            self.tidy()

    def _has_ended(self, known: Record) -> None:
        """Log how a run ended. Write its end down for a parent process that was killed."""
        runner = self.runner
        del runner.at_work[known.job]
        self.lost_at.pop(known.job, None)
        record = runner.records.read(known.job) or known
        ended = record.ended
        if ended is None:
            ended = runner.killed(record)
            record = replace(record, ended=ended)
            if record.boot == boot_id():  # its command may live on
                processes.end(record.group, record.job, runner.setup.environ)
        text, seconds = self._became(record, ended), round(ended.seconds, 3)
        runner.log.info("ended", text, bead=record.bead, job=record.job, seconds=seconds)
        with suppress(OSError):
            runner.records.finish(record)

    def _became(self, record: Record, ended: Ended) -> str:
        """Return what became of the bead, or if its agent left it, how the run ended."""
        try:
            bead = self.runner.bd.show(record.bead)
        except Failure:
            return summary(record, ended)
        after = span(ended.seconds)
        if bead.status == "closed" and ended.check_failed and marks.job(bead) == record.job:
            self._take_back(bead)
        elif bead.status == "closed":
            return f"closed after {after}" + (f" ({ended.branch})" if ended.branch else "")
        # Not if a sweep has blocked it first, for how this run ended.
        by_agent = reasons.block_outcome(bead) in ("", outcomes.ASKS.word)
        if bead.status == "blocked" and by_agent and not ended.stopped:
            return f"asks after {after}: {one_line(notes.question(bead.notes)) or 'it is blocked'}"
        return summary(record, ended)

    def _take_back(self, bead: Bead) -> None:
        """Undo the agent's close of a bead whose check has failed: the sweep then sends it back with the reason."""
        try:
            marked = {marks.RESTORED: utc(self.runner.clock.now())}
            self.runner.bd.update(bead, status="in_progress", marks=marked)
        except Failure as error:
            text = f"its check failed, but its agent has closed it, and that could not be undone: {error}"
            self.runner.log.error("not_written", text, bead=bead.id, job=marks.job(bead))


def unwritten(running: Iterable[Bead], runner: Runner) -> bool:
    """Return whether a bead in progress has a job that has ended."""
    return any(runner.job(marks.job(bead)).finished_at for bead in running if marks.job(bead))
