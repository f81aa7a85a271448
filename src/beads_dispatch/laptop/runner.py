"""Agents on this machine: the watcher starts a command for each bead."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from beads_dispatch.core.claim import Claim
from beads_dispatch.core.runner import Answer, Job, Outcome, Room, Stage
from beads_dispatch.core.text import one_line
from beads_dispatch.laptop.jobs import Jobs
from beads_dispatch.laptop.supervisor import Supervisor

TURN_SECONDS, IDLE_SECONDS = 0.2, 1.0  # while a command runs, and while none does


class LocalRunner:
    """One command for each bead. It counts its own places and knows how its jobs ended."""

    follows = True

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def room(self) -> Room:
        taken, capacity = len(self._jobs.running()), self._jobs.capacity
        return Room(taken < capacity, taken, capacity)

    def start(self, claim: Claim) -> Answer:
        try:
            job = self._jobs.start(claim.bead)
        except (OSError, ValueError, RuntimeError) as error:
            return Answer(Outcome.NOT_STARTED, None, f"the command cannot be started: {one_line(str(error))}")
        return Answer(Outcome.ACCEPTED, None, "", job) if job else Answer(Outcome.BUSY, None, "every place is taken")

    def job(self, job_id: str) -> Job:
        """Return a job as it is. A job of another machine is not lost: nothing is known of it."""
        if job := self._jobs.get(job_id):
            return self._jobs.described(job)
        if job_id.startswith(self._jobs.mine):
            return Job(Stage.UNKNOWN)
        return Job(Stage.FOREIGN, "another machine started it")

    def idle(self) -> bool:
        return not self._jobs.running()

    def stop(self, job_id: str) -> bool:
        """Return whether it has ended. The supervisor ends it a minute after its bead was taken from it."""
        job = self._jobs.get(job_id)
        return job is None or job.finished_at is not None


@contextmanager
def running(supervisor: Supervisor) -> Iterator[LocalRunner]:
    """Look after the jobs in a thread; at the end, stop them and write that on their beads."""
    ended = threading.Event()
    thread = threading.Thread(target=_supervise, args=(supervisor, ended))
    thread.start()
    try:
        yield LocalRunner(supervisor.jobs)
    finally:
        ended.set()
        thread.join()
        supervisor.stop()
    supervisor.jobs.log.info("stopped", "stopped, with every job")


def _supervise(supervisor: Supervisor, ended: threading.Event) -> None:
    while not ended.wait(TURN_SECONDS if supervisor.jobs.running() else IDLE_SECONDS):
        supervisor.turn()
