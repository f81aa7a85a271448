"""How a run ended, and whose fault that was, from what its runner says about the job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from enum import Enum

from beads_dispatch.core import limits, marks, notes, outcomes, times, words
from beads_dispatch.core.bead import Bead, read_time
from beads_dispatch.core.outcomes import Outcome
from beads_dispatch.core.runner import Job, Stage
from beads_dispatch.core.text import one_line, utc_minute
from beads_dispatch.core.wordings import CANNOT_WORK, Trouble

PATIENCE = timedelta(seconds=15)  # for an agent's own last write, after its job has completed
TAKEN_OVER = timedelta(seconds=60)  # a bead changed later than this after its job's end is somebody's
LONGEST_RUN = 4  # times the threshold
QUICK = timedelta(seconds=60)  # a failure within it may be the agent's fault; later, plain words prove nothing
_KILLED = (-9, -15, 137, 143)


class Fault(Enum):
    """Whose fault it was that a run ended without closing its bead.

    CHECK: its work did not pass. NOBODY: it did, or the run was stopped with its runner.
    """

    BEAD = "bead"
    AGENT = "agent"
    UNKNOWN = "unknown"
    CHECK = "check"
    NOBODY = "nobody"


_OURS = (Stage.STOPPED, Stage.UNKNOWN, Stage.FOREIGN, Stage.DOUBT)  # no words of the agent service


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended, and whose fault that was. `line`: for the note.

    `reset`: when a usage limit is over, UTC, if its words say so. `sure`: a result says so, and not only plain words.
    `may_live`: its process may still be working, so its bead must not be opened by us.
    """

    outcome: Outcome
    fault: Fault
    line: str
    reset: datetime | None = None
    sure: bool = False
    may_live: bool = False


def parse(document: Mapping[str, object]) -> Job:
    """Return a job from the body of `GET /jobs/{id}` (claude-agent-service eccf0dd and its first generation)."""
    stages = {stage.value: stage for stage in Stage if stage not in _OURS}
    output, stderr, code = document.get("output"), document.get("stderr"), document.get("exit_code")
    job = Job(
        stages.get(str(document.get("status")), Stage.DOUBT),
        exit_code=code if isinstance(code, int) else None,
        started_at=read_time(document.get("started_at")),
        finished_at=read_time(document.get("finished_at")),
    )
    out = [line for line in output if isinstance(line, str)] if isinstance(output, list) else []
    return described(job, out, stderr if isinstance(stderr, str) else "", str(document.get("error") or ""))


def described(job: Job, output: Sequence[str], stderr: str, error: str = "") -> Job:
    """Return the job with what its agent wrote. `output`: the lines of its stdout. `error`: the runner's own words."""
    said = words.said(output, stderr, error)
    trouble, sure = said.trouble.value, said.structured
    return replace(job, words=said.text, trouble=trouble, sure=sure, cost=said.cost, session=said.session)


def at_work(job: Job, now: datetime, threshold: timedelta) -> bool:
    """Return whether the job shows that an agent works. A running one does, up to four times the threshold.

    (The first generation of the agent service calls a timed-out job running for ever.)
    """
    if job.stage is Stage.RUNNING and job.started_at and not job.timed:
        return now - job.started_at <= LONGEST_RUN * threshold
    return job.stage in (Stage.QUEUED, Stage.RUNNING)


def may_begin(job: Job, bead: Bead, now: datetime) -> bool:
    """Return whether a job that its runner does not know may still be on its way to it."""
    claim = marks.claim(bead)
    return job.stage is Stage.UNKNOWN and claim is not None and now - claim[1] < job.final_after


def end(job: Job, bead: Bead, now: datetime, threshold: timedelta, zone: tzinfo) -> End | None:
    """Return how this job of a bead in progress ended. None: nothing is concluded now.

    Source of the rows: design.md, "How a run ends".
    """
    finished = job.finished_at
    if taken_over(bead, finished):  # the threshold decides
        return None
    match job.stage:
        case Stage.RUNNING if not at_work(job, now, threshold):
            minutes = (now - job.started_at) // timedelta(minutes=1) if job.started_at else 0
            limit = LONGEST_RUN * threshold / timedelta(minutes=1)
            what = f"still running after {minutes}m, limit {limit:g}m ({LONGEST_RUN} × threshold)"
            return End(outcomes.STUCK, Fault.BEAD, notes.ended(what), may_live=True)
        case Stage.COMPLETED if job.check_failed:
            what = f"check failed ({one_line(job.check, 80)}, {job.check_failed})"
            return End(outcomes.CHECK_FAILED, Fault.CHECK, notes.ended(what, job.words))
        case Stage.COMPLETED if job.check:
            return End(outcomes.CHECKED, Fault.NOBODY, notes.checked(job.check, job.words))
        case Stage.COMPLETED | Stage.FAILED | Stage.ERROR if told := _by_its_words(job, now, zone):
            return told
        case Stage.COMPLETED if not finished or now - finished >= PATIENCE:
            return End(outcomes.COMPLETED, Fault.BEAD, _line(job, "completed", "bead not closed"))
        case Stage.FAILED:
            return _failed(job)
        case Stage.TIMEOUT:
            line = _maybe_alive(job, f"timed out{_after(job)}")
            return End(outcomes.TIMED_OUT, Fault.BEAD, line, may_live=not job.gone)
        case Stage.ERROR:
            what = f"error: {one_line(job.words) or 'no reason given'}"
            return End(outcomes.LOST, Fault.BEAD, _maybe_alive(job, what), may_live=not job.gone)
        case Stage.STOPPED:
            return End(outcomes.STOPPED, Fault.NOBODY, notes.ended(f"{job.words}{_after(job)}"))
        case Stage.UNKNOWN if line := marks.removing(bead):
            return End(outcomes.CANNOT_RUN, Fault.AGENT, line, sure=True)
        case Stage.UNKNOWN if not may_begin(job, bead, now):
            unknown = f"the agent service does not know job {marks.job(bead)} (restarted, or ended over an hour ago)"
            return End(outcomes.NO_JOB, Fault.UNKNOWN, notes.ended(job.words or unknown), may_live=True)
    return None


NO_JOB_LEFT = End(
    outcomes.NO_JOB,
    Fault.UNKNOWN,
    "agent ended: the agent service has no job left, bead not closed "
    "(without its token we cannot see why; set API_BEARER_TOKEN)",
    may_live=True,
)


def _by_its_words(job: Job, now: datetime, zone: tzinfo) -> End | None:
    """Return the end that the run's own words name, or None. Plain words count only if it failed at once."""
    trouble = Trouble(job.trouble)
    if job.cannot_run or (trouble is Trouble.COMMAND and job.stage is Stage.ERROR):
        return End(outcomes.CANNOT_RUN, Fault.AGENT, notes.ended("cannot run", job.words), sure=True)
    if trouble in (Trouble.TURNS, Trouble.BUDGET):
        outcome = outcomes.TURNS if trouble is Trouble.TURNS else outcomes.BUDGET
        cost = "" if job.cost is None else f", ${job.cost:.2f}"
        return End(outcome, Fault.BEAD, notes.ended(f"{outcome.word}{_after(job)}{cost}", job.words))
    if job.stage is Stage.ERROR or trouble not in CANNOT_WORK or not (job.sure or is_quick(job)):
        return None
    if trouble is Trouble.USAGE:
        return _usage_limit(job, now, zone)
    if trouble is Trouble.COMMAND:
        return End(outcomes.CANNOT_RUN, Fault.AGENT, _line(job, f"failed ({_cause(job)})"), sure=job.sure)
    return End(outcomes.CANNOT_WORK, Fault.AGENT, _line(job, f"cannot work ({trouble.value})"), sure=job.sure)


def _failed(job: Job) -> End:
    line = _line(job, f"failed ({_cause(job)})")
    if job.reason == "out of memory":
        return End(outcomes.OUT_OF_MEMORY, Fault.BEAD, line)
    if job.exit_code in (126, 127) and is_quick(job):  # a shell's "not executable" and "not found"
        return End(outcomes.CANNOT_RUN, Fault.AGENT, line)
    killed = job.exit_code in _KILLED or job.reason
    fault = Fault.UNKNOWN if is_quick(job) or job.reason else Fault.BEAD  # a reason: an eviction, a lost node
    return End(outcomes.KILLED if killed else outcomes.FAILED, fault, line)


def taken_over(bead: Bead, finished: datetime | None) -> bool:
    """Return whether somebody changed the bead so long after its job's end that it is theirs now.

    A tick that restores the record of its dispatch does not count. (Found by the simulation.)
    """
    return finished is not None and bead.updated_at - finished > TAKEN_OVER and not marks.restored_last(bead)


def seconds(job: Job) -> float | None:
    """Return how long it ran, in seconds; None if that is not known."""
    return (job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else None


def is_quick(job: Job) -> bool:
    """Return whether the job is known to have ended within a minute of its start."""
    ran = seconds(job)
    return ran is not None and ran <= QUICK.total_seconds()


def _line(job: Job, what: str, more: str = "") -> str:
    return notes.ended(f"{what}{_after(job)}" + (f", {more}" if more else ""), job.words)


def _after(job: Job) -> str:
    ran = seconds(job)
    return "" if ran is None else f" after {times.span(ran)}"


def _cause(job: Job) -> str:
    return ", ".join(filter(None, ("" if job.exit_code is None else f"exit {job.exit_code}", job.reason)))


def _maybe_alive(job: Job, what: str) -> str:
    if job.gone:
        return notes.ended(what, job.words if job.stage is Stage.TIMEOUT else "")
    return notes.ended(f"{what}; its process may still be working")


def _usage_limit(job: Job, now: datetime, zone: tzinfo) -> End:
    """Read when the limit resets as of the job's end: hours later, after a laptop's sleep, `3pm` is not tomorrow's.

    (Found by the simulation.)
    """
    reset = limits.reset_at(job.words, min(job.finished_at or now, now), zone)
    when, until = "no reset time known", None
    if reset and reset > now:
        when, until = f"resets {utc_minute(reset)}", reset + limits.MARGIN
    return End(outcomes.USAGE_LIMIT, Fault.AGENT, f"agent ended: usage limit, {when}", until, sure=job.sure)
