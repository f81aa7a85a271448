"""Which running jobs must end: at their timeout, when their bead is taken from them, and with the agent itself."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from beads_dispatch.adapters.bd.verbs import Bd
from beads_dispatch.adapters.clock import Clock
from beads_dispatch.core import faults, marks, outcomes, runs
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import Failure, NoBead
from beads_dispatch.core.runs import End, Fault
from beads_dispatch.core.times import span
from beads_dispatch.laptop import processes
from beads_dispatch.laptop.jobs import Job, Jobs

ASK_SECONDS = 15.0  # between two rounds of questions to bd
LATELY_SECONDS = 60.0  # whoever follows the jobs has recorded by then how one has ended
RECORD_SECONDS = 20.0  # for all ends to be noted at a stop: bd's circuit breaker stays open for 5 s
RETRY_SECONDS = 1.0
LEAST_SECONDS = 5.0  # what a call of bd gets, however late it is
GRACE_SECONDS = 60.0  # for an agent that has closed or blocked its bead, or handed it on, to end by itself


def lost_reason(start: Bead, now: Bead) -> str:
    """Why a job must not go on, from its bead at its start and now. Empty: it may."""
    if now.assignee != start.assignee:
        return f"its bead is assigned to {now.assignee or 'nobody'} now"
    if now.status != start.status and now.status in ("closed", "blocked"):
        return f"its bead is {now.status}"
    return ""


@dataclass(slots=True)
class Supervisor:
    """Looks after the running jobs. While none runs, nothing is asked."""

    jobs: Jobs
    bd: Bd
    clock: Clock
    timeout: timedelta
    asked_at: float = -math.inf  # monotonic seconds

    def turn(self) -> None:
        """Ends what is due."""
        running, now = self.jobs.running(), self.clock.monotonic()
        late = [job for job in running if now - job.began >= self.timeout.total_seconds()]
        for job in late:
            job.timed_out = True
        self._end(late, "timed out")
        if running and now - self.asked_at >= ASK_SECONDS:
            self.asked_at = now
            for job in self.jobs.running():
                self._check(job)

    def stop(self) -> None:
        """Ends every job. Their beads, and those of jobs that ended lately, get their end: nobody asks for it later."""
        self.jobs.close()
        running = self.jobs.running()  # notices which have just ended
        lately = self.jobs.ended_lately(LATELY_SECONDS)
        self._end(running, "stopped with the laptop agent")
        until = self.clock.monotonic() + RECORD_SECONDS
        for job in (*lately, *running):
            self._record(job, until)

    def _end(self, jobs: Collection[Job], why: str) -> None:
        for job in jobs:
            job.stopped = why
        processes.end([job.process for job in jobs], self.clock)
        self.jobs.running()  # notices that they have ended

    def _check(self, job: Job) -> None:
        try:
            why = lost_reason(job.bead, self.bd.show(job.bead.id))
        except NoBead:
            why = "its bead is deleted"
        except Failure:
            return  # nothing is known; the next round asks again
        now = self.clock.monotonic()
        if not why or job.lost_at is None:
            job.lost_at = now if why else None
        elif now - job.lost_at >= GRACE_SECONDS:
            self._end([job], f"stopped ({why})")

    def _record(self, job: Job, until: float) -> None:
        """Its end is noted until it is, each time after a fresh read: another client may be writing the same bead."""
        while problem := self._note_end(job, max(LEAST_SECONDS, until - self.clock.monotonic())):
            if self.clock.monotonic() >= until:
                text = f"its job has ended ({job.summary()}), but that could not be noted: {problem}"
                self.jobs.log.error("not_written", text, bead=job.bead.id, job=job.id, seconds=round(job.seconds, 3))
                return
            self.clock.sleep(RETRY_SECONDS)

    def _note_end(self, job: Job, within: float) -> Failure | None:
        """Notes it on its bead, where that is still its bead. Why that failed, or None."""
        try:
            bead = self.bd.show(job.bead.id, within)
            end = self._end_of(job, bead)
            if end and bead.status == "in_progress" and marks.job(bead) == job.id:
                what, _ = faults.judge(end, bead, job.seconds, faults.Recent(), self.clock.now())
                self.bd.update(bead, status=what.status, note=what.line, marks=what.marks, within=within)
            elif end and job.stopped and bead.status in ("open", "in_progress") and not marks.job(bead):
                self.bd.update(bead, note=end.line, within=within)  # dispatched by hand: it is the person's
        except NoBead:
            return None
        except Failure as error:
            return error
        return None

    def _end_of(self, job: Job, bead: Bead) -> End | None:
        """What a sweep would have made of it. None: the bead has changed long after."""
        if job.stopped:
            line = f"agent ended: {job.stopped} after {span(job.seconds)}"
            return End(outcomes.STOPPED, Fault.BEAD, line)
        later = self.clock.now() + runs.PATIENCE  # nobody can wait for an agent's last word now
        return runs.end(self.jobs.described(job), bead, later, self.timeout, self.clock.zone())
