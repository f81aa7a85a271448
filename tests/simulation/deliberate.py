"""Faults put into the production code on purpose. The simulation must find each of them."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from beads_dispatch.adapters import beadboard_runner
from beads_dispatch.adapters.job_runner import JobRunner
from beads_dispatch.adapters.queue import ServerQueue
from beads_dispatch.core import (
    eligibility,
    faults,
    holds,
    kubernetes_jobs,
    kubernetes_runs,
    ledger,
    marks,
    notes,
    pacing,
    reasons,
    runs,
    writes,
)
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.beadboard_answers import Reply
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.errors import BdFailed, Failure
from beads_dispatch.core.holds import Allowance, Hold
from beads_dispatch.core.kubernetes_runs import Creation
from beads_dispatch.core.runner import Answer, Job, Outcome, Stage
from beads_dispatch.core.runs import End
from beads_dispatch.jobs import claims, dispatcher, following, holding, housekeeping, reaper, writing
from beads_dispatch.jobs.cycle import Cycle
from beads_dispatch.jobs.writing import LEAST_SECONDS

Patch = pytest.MonkeyPatch


def skip_the_lock(patch: Patch) -> None:
    """Every process believes that it has it."""
    patch.setattr(ServerQueue, "lock", lambda queue, job: True)
    skip_still_locked(patch)


def skip_still_locked(patch: Patch) -> None:
    """The lock is taken, but a tick never asks whether it still has it."""
    for module in (claims, following, housekeeping):
        patch.setattr(
            module, "fetch", lambda cycle, bead_id, *just_read: cycle.outside.queue.fetch(bead_id, *just_read)[1]
        )


def roll_back_an_unclear_answer(patch: Patch) -> None:
    understand = beadboard_runner.understand

    def rolled_back(reply: Reply) -> Answer:
        answer = understand(reply)
        return replace(answer, outcome=Outcome.NOT_STARTED) if answer.outcome is Outcome.UNCLEAR else answer

    patch.setattr(beadboard_runner, "understand", rolled_back)


def skip_the_read_before_a_write(patch: Patch) -> None:
    """The sweep writes what it concludes from its snapshot."""
    conclude, block = following.conclude, reaper._Sweep.block

    def unread(cycle: Cycle, seen: Any, beads: Any, **named: Any) -> Any:
        known = {bead.id: bead for bead in beads}
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(following, "fetch", lambda _, bead_id: known[bead_id])
            return conclude(cycle, seen, beads, **named)

    patch.setattr(following, "conclude", unread)

    def blocked(sweep: Any, bead: Bead) -> bool:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(type(sweep.cycle.outside.bd), "show", lambda *_, **__: bead)
            return block(sweep, bead)

    patch.setattr(reaper._Sweep, "block", blocked)


def post_before_the_claim(patch: Patch) -> None:
    """Nothing is written until the answer is there."""
    until_settled = dispatcher.until_settled

    def claimed_afterwards(cycle: Cycle, bead_id: str, line: str, intent: Any) -> bool:
        with suppress(BdFailed):
            claims._write(cycle, intent.keywords["claimed"])
        return until_settled(cycle, bead_id, line, intent)

    patch.setattr(claims, "make", lambda cycle, bead, *_: Claim(bead, cycle.outside.new_token(), cycle.now()))
    patch.setattr(claims, "verify", lambda cycle, claimed: claims.fetch(cycle, claimed.bead.id) is not None)
    patch.setattr(dispatcher, "until_settled", claimed_afterwards)


def take_the_notes_for_the_only_record(patch: Patch) -> None:
    patch.setattr(marks, "possibly_dispatched", lambda bead: notes.possibly_dispatched(bead.notes))


def write_a_status_after_a_200(patch: Patch) -> None:
    until_settled = dispatcher.until_settled

    def with_a_status(cycle: Cycle, bead_id: str, line: str, intent: Any) -> bool:
        if intent.func is writes.record:
            with suppress(BdFailed):
                cycle.outside.bd.update(intent.keywords["claimed"].bead, status="in_progress")
        return until_settled(cycle, bead_id, line, intent)

    patch.setattr(dispatcher, "until_settled", with_a_status)


def never_retry_after_the_post(patch: Patch) -> None:
    def once(cycle: Cycle, bead_id: str, what: str, step: Callable[[Callable[[], float]], bool]) -> bool:
        with suppress(Failure):
            return step(lambda: LEAST_SECONDS)
        return False

    for module in (writing, holding):
        patch.setattr(module, "until_written", once)


def hold_for_ever(patch: Patch) -> None:
    """A hold that has ended is still taken for one that is in force."""
    for module in (holds, pacing, reasons):
        patch.setattr(module, "in_force", lambda known, now: next(iter(known.values()), None))


def let_the_failed_bead_go_first_again(patch: Patch) -> None:
    patch.setattr(eligibility, "dispatch_order", lambda beads, now: eligibility.in_order(beads))


def count_no_runs(patch: Patch) -> None:
    patch.setattr(marks, "runs", lambda bead: 0)


def ignore_the_hold(patch: Patch) -> None:
    for module in (holds, pacing, reasons):
        patch.setattr(module, "in_force", lambda known, now: None)


def take_a_running_job_for_ended(patch: Patch) -> None:
    end = runs.end

    def ended(job: Job, *rest: Any) -> End | None:
        return runs.NO_JOB_LEFT if job.stage is Stage.RUNNING else end(job, *rest)

    patch.setattr(runs, "end", ended)


def wait_for_the_threshold_after_an_end(patch: Patch) -> None:
    """Nobody looks at how the run has ended."""
    patch.setattr(runs, "end", lambda *_: None)


def hold_nothing_after_a_usage_limit(patch: Patch) -> None:
    patch.setattr(faults, "_holding", lambda verdict, *_: verdict)


def call_a_held_queue_open(patch: Patch) -> None:
    """What `status` says is not so."""
    patch.setattr(reasons, "queue_state", lambda *_: reasons.QueueState())


def ignore_the_ledger(patch: Patch) -> None:
    """A bead that an import has taken back is taken for a new one."""
    patch.setattr(ledger, "taken_back", lambda bead, known: False)


# --- a broken agent, a broken bead: found by test_broken_agent.py ---
def block_a_bead_for_its_agents_fault(patch: Patch) -> None:
    patch.setattr(faults, "_agents", lambda run: faults._blocked(run, faults.AGENTS))


def let_all_go_after_a_hold(patch: Patch) -> None:
    """Not one bead first."""
    patch.setattr(holds, "_allowance", lambda _, hold, __, now: Allowance(0 if now < hold.until else None))


def try_the_same_bead_after_a_hold(patch: Patch) -> None:
    """The one that has met it, instead of the next one."""
    allowed = holds._allowance

    def the_same(kind: str, hold: Hold, *rest: Any) -> Allowance:
        allows = allowed(kind, hold, *rest)
        return replace(allows, only=frozenset({hold.bead_id})) if allows.most else allows

    patch.setattr(holds, "_allowance", the_same)


def forget_that_the_agent_works_again(patch: Patch) -> None:
    patch.setattr(holds, "after_runs", lambda hold, *_: hold)


# --- Kubernetes Jobs ---
def leave_the_template_as_it_is(patch: Patch) -> None:
    patch.setattr(kubernetes_jobs, "_FORCED", {})
    patch.setattr(kubernetes_jobs, "_DROPPED", ())
    patch.setattr(kubernetes_jobs, "_FORCED", {"suspend": False, "managedBy": None})


def retry_as_the_template_says(patch: Patch) -> None:
    patch.setattr(kubernetes_jobs, "_FORCED", {**kubernetes_jobs._FORCED, "backoffLimit": 6})


def take_a_lost_create_for_none(patch: Patch) -> None:
    start = JobRunner.start

    def rolled_back(runner: JobRunner, claimed: Claim) -> Answer:
        answer = start(runner, claimed)
        return replace(answer, outcome=Outcome.NOT_STARTED) if answer.text else answer

    patch.setattr(JobRunner, "start", rolled_back)


def take_a_refusal_after_a_lost_create_for_proof(patch: Patch) -> None:
    creation = kubernetes_runs.creation
    known = (Creation.UNKNOWN, Creation.NOT_YET)
    patch.setattr(
        kubernetes_runs,
        "creation",
        lambda reply: (
            Creation.REFUSED if reply.status in (401, 403, 422, 500) or creation(reply) in known else creation(reply)
        ),
    )


def list_no_jobs_before_a_start(patch: Patch) -> None:
    at_work = JobRunner._at_work
    patch.setattr(
        JobRunner,
        "_at_work",
        lambda runner, labels: set() if kubernetes_jobs.BEAD in labels else at_work(runner, labels),
    )


def open_a_bead_before_its_job_is_gone(patch: Patch) -> None:
    patch.setattr(JobRunner, "stop", lambda runner, job_id: True)


def take_a_deleted_job_for_ended(patch: Patch) -> None:
    """Its pod may still be at work for half a minute."""
    run = kubernetes_runs.run

    def ended(name: str, job: Any, pod: Any, *rest: Any) -> Job:
        deleted = job is not None and job["metadata"].get("deletionTimestamp")
        return Job(Stage.FAILED, gone=True, finished_at=rest[0]) if deleted else run(name, job, pod, *rest)

    patch.setattr(kubernetes_runs, "run", ended)


def forget_what_the_claim_names(patch: Patch) -> None:
    """Only what was recorded is followed."""
    patch.setattr(JobRunner, "job_of", lambda runner, bead: marks.job(bead))


def forget_the_claim_of_a_blocked_bead(patch: Patch) -> None:
    """What the first run of this simulation found. The ledger remembers such a claim, so it must be lost too."""
    others = [name for name in marks.ALL if name != marks.OUTCOME]
    patch.setattr(marks, "blocked", lambda bead, outcome: {**marks.removed(bead, *others), marks.OUTCOME: outcome})
    lose_the_ledger(patch)


def lose_the_ledger(patch: Patch) -> None:
    """No fault by itself, if nobody takes a bead back."""
    patch.setattr(ledger, "read", lambda text: None)


TAKES_BACK = {"taken back", "backup restored"}

# Each fault, and the schedules of which one must find it: several times what it took when this was written. A rare one
# begins shortly before the schedule that found it then.
FAULTS: tuple[tuple[Callable[[Patch], None], range], ...] = (
    (skip_the_lock, range(100)),
    (skip_still_locked, range(1000)),
    (roll_back_an_unclear_answer, range(50)),
    (skip_the_read_before_a_write, range(300)),
    (post_before_the_claim, range(100)),
    (take_the_notes_for_the_only_record, range(200)),
    (write_a_status_after_a_200, range(20)),
    (never_retry_after_the_post, range(100)),
    (hold_for_ever, range(50)),
    (let_the_failed_bead_go_first_again, range(200)),
    (count_no_runs, range(100)),
    (ignore_the_hold, range(100)),
    (take_a_running_job_for_ended, range(100)),
    (wait_for_the_threshold_after_an_end, range(1000)),
    (hold_nothing_after_a_usage_limit, range(300)),
    (call_a_held_queue_open, range(100)),
    (ignore_the_ledger, range(100)),
)
# The same with Kubernetes Jobs.
FAULTS_OF_JOBS: tuple[tuple[Callable[[Patch], None], range], ...] = (
    (leave_the_template_as_it_is, range(100)),
    (retry_as_the_template_says, range(100)),
    (take_a_lost_create_for_none, range(500)),
    (take_a_refusal_after_a_lost_create_for_proof, range(500)),
    (list_no_jobs_before_a_start, range(300, 3000)),
    (open_a_bead_before_its_job_is_gone, range(3000)),
    (take_a_deleted_job_for_ended, range(1270, 5000)),
    (forget_what_the_claim_names, range(3000)),
)
