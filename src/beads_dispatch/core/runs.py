"""How a run ends: what the agent service says of a job, and what follows for its bead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from beads_dispatch.core import limits, marks, notes, words
from beads_dispatch.core.bead import Bead, read_time
from beads_dispatch.core.marks import Change
from beads_dispatch.core.runner import Job, Stage
from beads_dispatch.core.text import one_line, utc_minute
from beads_dispatch.core.wordings import Trouble

PATIENCE = timedelta(seconds=15)  # for an agent's own last write, after its job has completed
TAKEN_OVER = timedelta(seconds=60)  # a bead changed later than this after its job's end is somebody's
LONGEST_RUN = 4  # times the threshold
MAX_LIMITS = 5  # usage limits in a row on one bead


@dataclass(frozen=True, slots=True)
class End:
    """What a run's end means for its bead. `kind`: a word to count by. `hold_until`: of a usage limit, UTC."""

    kind: str
    line: str
    status: str = "blocked"
    hold_until: datetime | None = None


def parse(document: Mapping[str, object]) -> Job:
    """A job from the body of `GET /jobs/{id}` (shapes: claude-agent-service eccf0dd and its first generation)."""
    stages = {stage.value: stage for stage in Stage if stage not in (Stage.UNKNOWN, Stage.FOREIGN, Stage.DOUBT)}
    output, stderr, code = document.get("output"), document.get("stderr"), document.get("exit_code")
    return described(
        stages.get(str(document.get("status")), Stage.DOUBT),
        output if isinstance(output, list) else [],
        stderr if isinstance(stderr, str) else "",
        error=str(document.get("error") or ""),
        exit_code=code if isinstance(code, int) else None,
        started_at=read_time(document.get("started_at")),
        finished_at=read_time(document.get("finished_at")),
    )


def described(
    stage: Stage,
    output: Sequence[object],
    stderr: str,
    *,
    exit_code: int | None,
    started_at: datetime | None,
    finished_at: datetime | None,
    error: str = "",
    timed: bool = False,
) -> Job:
    """Return a job from what its agent wrote. `output`: the lines of its stdout. `error`: the runner's own words."""
    said = words.said([line for line in output if isinstance(line, str)], stderr, error)
    return Job(
        stage,
        said.text,
        is_error=said.is_error if said.structured else said.trouble is Trouble.USAGE,
        exit_code=exit_code,
        started_at=started_at,
        finished_at=finished_at,
        cost=said.cost,
        timed=timed,
    )


def at_work(job: Job, now: datetime, threshold: timedelta) -> bool:
    """Whether the job is a sign of life. A running one is, up to four times the threshold from its start.

    (The first generation of the agent service calls a timed-out job running for ever.)
    """
    if job.stage is Stage.RUNNING and job.started_at and not job.timed:
        return now - job.started_at <= LONGEST_RUN * threshold
    return job.stage in (Stage.QUEUED, Stage.RUNNING)


def end(job: Job, bead: Bead, now: datetime, threshold: timedelta, zone: tzinfo) -> End | None:
    """What the end of this job means for its bead, which is in progress. None: nothing is concluded now."""
    finished = job.finished_at
    if finished and bead.updated_at - finished > TAKEN_OVER:  # a person took it over: the threshold decides
        return None
    match job.stage:
        case Stage.RUNNING if not at_work(job, now, threshold):
            return _stuck(job, now, threshold)
        case Stage.COMPLETED | Stage.FAILED if job.is_error and limits.is_usage_limit(job.words):
            return _usage_limit(job, bead, now, zone)
        case Stage.COMPLETED if not finished or now - finished >= PATIENCE:
            return End("completed", _ended(f"completed{_after(job)}, bead not closed", job.words))
        case Stage.FAILED:
            return End("failed", _ended(f"failed ({_cause(job)}){_after(job)}", job.words))
        case Stage.TIMEOUT:
            return End("timeout", _ended(f"timed out{_after(job)}; its process may still be at work"))
        case Stage.ERROR:
            what = one_line(job.words) or "no reason given"
            return End("error", _ended(f"error: {what}; its process may still be at work"))
        case Stage.UNKNOWN if not _claimed_within(job.final_after, bead, now):
            why = (
                job.words
                or f"the agent service does not know job {marks.job(bead)} (restarted, or ended over an hour ago)"
            )
            return End("unknown", _ended(why))
    return None


NO_JOB_LEFT = End("no job left", "agent ended: the agent service has no job left, bead not closed")


def _ended(how: str, words: str = "") -> str:
    last = one_line(words)
    return f"agent ended: {how}" + (f": {last}" if last else "")


def _cause(job: Job) -> str:
    return ", ".join(filter(None, ("" if job.exit_code is None else f"exit {job.exit_code}", job.reason)))


def _claimed_within(time: timedelta, bead: Bead, now: datetime) -> bool:
    claim = marks.claim(bead)
    return claim is not None and now - claim[1] < time


def _after(job: Job) -> str:
    if not (job.started_at and job.finished_at):
        return ""
    return f" after {notes.span((job.finished_at - job.started_at).total_seconds())}"


def _stuck(job: Job, now: datetime, threshold: timedelta) -> End:
    minutes = (now - job.started_at) // timedelta(minutes=1) if job.started_at else 0
    limit = f"threshold {threshold / timedelta(minutes=1):g}m, the agent service still calls its job running"
    return End("stuck", f"reaper: no progress for {minutes}m — blocking ({limit})")


def _usage_limit(job: Job, bead: Bead, now: datetime, zone: tzinfo) -> End:
    """Its words are as old as the job's end: read hours later, after a laptop's sleep, `3pm` is not tomorrow's.

    (Found by the simulation.)
    """
    reset = limits.reset_at(job.words, min(job.finished_at or now, now), zone)
    reset = reset if reset and reset > now else None
    until = limits.hold_until(reset, now)
    when = f"resets {utc_minute(reset)}" if reset else f"no reset time, next try {utc_minute(until)}"
    line = f"agent ended: usage limit, {when}"
    if marks.limits(bead) + 1 >= MAX_LIMITS:
        return End("usage limit", f"{line}; {MAX_LIMITS} in a row", "blocked", until)
    return End("usage limit", line, "open", until)


def change(end: End, bead: Bead) -> Change:
    """The marks that go with this end of the bead's run."""
    return reopened(bead) if end.status == "open" else marks.ended(bead)


def reopened(bead: Bead) -> Change:
    """The marks of a bead that goes back to open after a usage limit: the run does not count, the limit does."""
    return {**marks.opened(bead, marks.runs(bead) - 1), marks.LIMITS: str(marks.limits(bead) + 1)}
