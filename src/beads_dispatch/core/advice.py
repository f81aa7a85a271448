"""Explain where a bead stands, and name the one thing to do next."""

import shlex
from dataclasses import dataclass
from datetime import timedelta, tzinfo

from beads_dispatch.core import eligibility, marks, notes, outcomes, reasons, runs, staleness, times
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.capacity import AgentState
from beads_dispatch.core.reasons import Known, Standing
from beads_dispatch.core.runner import Job, Stage
from beads_dispatch.core.text import one_line, utc

WAIT = "Wait."
NEXT_SWEEP_BLOCKS = "The next sweep blocks it. To do it now:"
RESUME, SWEEP, WATCH_HELP = "beads-dispatch resume", "beads-dispatch sweep", "beads-dispatch watch --help"
SEND_AGAIN = "update {} -s open"  # of bd
NOT_ASKED = AgentState("not asked")


@dataclass(frozen=True, slots=True)
class Case:
    """All that is known about a bead. `job`: what its runner says about its job, if it was asked."""

    bead: Bead
    standing: Standing
    known: Known
    agent: AgentState
    threshold: timedelta
    zone: tzinfo
    job: Job | None = None

    def bd(self, words: str) -> str:
        """Return a bd command for this bead. `{}` in `words` stands for its id."""
        return f"bd {words.format(shlex.quote(self.bead.id))}"

    @property
    def send_again(self) -> str:
        return self.bd(SEND_AGAIN)


@dataclass(frozen=True, slots=True)
class Advice:
    """`means`: what the reason means. `do`: the next thing to do. `command`: to paste, if there is one."""

    means: str
    do: str
    command: str = ""


def advice(case: Case) -> Advice:
    """Return what the bead's standing means and what to do about it."""
    bead = case.bead
    if bead.assignee != case.known.assignee:
        return _somebody_elses(case)
    match bead.status:
        case "open":
            return _open(case)
        case "in_progress":
            return _in_progress(case)
        case "deferred":
            return _deferred(case)
        case "closed":
            return Advice("It is done.", "Nothing. To run it once more:", case.bd("reopen {}"))
        case "blocked":
            return _blocked(case)
    return Advice(f"bd's status {bead.status} is no request for an agent.", "To dispatch it:", case.send_again)


def _somebody_elses(case: Case) -> Advice:
    """Reopen the bead before it is assigned: bd 1.3 assigns no bead in progress, and only open beads are dispatched."""
    do, status = f"Nothing. To hand it to {case.known.assignee}:", case.bead.status
    command = case.bd(f"assign {{}} {_shell(case.known.assignee)}")
    if status == "in_progress":
        do = f"Nothing. If nobody is working on it, this hands it to {case.known.assignee}:"
        command = f"{case.send_again} && {command}"
    elif status == "closed":
        command = f"{case.bd('reopen {}')} && {command}"
    return Advice("Only the beads of one assignee are dispatched.", do, command)


def _shell(text: str) -> str:
    """Return the text quoted as one shell word. Control characters are escaped, so that no terminal obeys them."""
    if all(c.isprintable() or c == "\n" for c in text):
        return shlex.quote(text)

    def escaped(c: str) -> str:
        if c.isprintable() or c == "\n":
            return f"\\{c}" if c in "\\'" else c
        return f"\\x{ord(c):02x}" if ord(c) < 128 else f"\\U{ord(c):08x}"

    return "$'" + "".join(map(escaped, text)) + "'"


_FIX = "It waits until a person fixes this."
# By the reason: what it means, what to do, bd's command.
_INELIGIBLE: dict[eligibility.Reason, tuple[str, str, str]] = {
    eligibility.NO_CRITERIA: (
        "Without acceptance criteria nobody can tell when the bead is done, so no agent gets it.",
        "Add them:",
        "update {} --acceptance 'how to tell that it is done'",
    ),
    eligibility.EPHEMERAL: (
        f"Ephemeral beads are not dispatched: bd may delete them, and BeadBoard does not see them. {_FIX}",
        "Make it a regular bead:",
        "promote {}",
    ),
    eligibility.AGENT_BEAD: (
        f"The label gt:agent marks a bead that represents an agent, not work for one. {_FIX}",
        "Remove the label:",
        "label remove {} gt:agent",
    ),
    eligibility.NOT_READY: (
        "A bead that it depends on is not closed yet, or its parent is blocked or deferred.",
        "See what it waits for:",
        "dep list {}",
    ),
    eligibility.RUNS_USED_UP: (
        "Its agent reopened it five times instead of closing it. The next tick blocks it.",
        "Read in its notes what it lacks, and add that. Once it is blocked, reopen it:",
        SEND_AGAIN,
    ),
    eligibility.OPENED_LATE: (
        f"{outcomes.OPENED_LATE.means} The next tick blocks it.",
        "See what its agent has done. Once it is blocked, reopen it:",
        SEND_AGAIN,
    ),
}


def _open(case: Case) -> Advice:
    bead = case.bead
    reason = eligibility.ineligible_reason(bead, case.known.now)
    if reason is None and case.standing.kind == "not ready":
        reason = eligibility.NOT_READY
    if reason is None:
        return _could_go(case)
    if reason in _INELIGIBLE:
        means, do, words = _INELIGIBLE[reason]
        return Advice(means, do, case.bd(words))
    if reason is eligibility.TOO_LARGE:
        texts = {"acceptance": bead.acceptance_criteria, "notes": bead.notes, "description": bead.description}
        longest = max(texts, key=lambda name: len(texts[name]))
        name = longest if len(texts[longest]) > eligibility.MAX_SIZE // 4 else "design"
        return Advice(
            "bd cannot write such a bead safely.", "Shorten its longest text:", case.bd(f"edit {{}} --{name}")
        )
    if reason is eligibility.ODD_METADATA:
        means = "No dispatch could be recorded on it, and bd cannot replace such metadata."
        return Advice(means, "Create it again, and close this one:", _anew(case))
    if bead.pinned:
        return Advice(f"bd never lists pinned beads. {_FIX}", "Create it again, without the pin:", _anew(case))
    if bead.no_history:
        means = f"bd never lists beads that were made with --no-history. {_FIX}"
        return Advice(means, "Create it again, without that option:", _anew(case))
    if reason.needs_person:
        return Advice(f"bd never lists beads of this type. {_FIX}", "Make it a task:", case.bd("update {} --type task"))
    return _waits(case)


def _anew(case: Case) -> str:
    bead = case.bead
    more = f" --description={_shell(bead.description)}" if bead.description else ""
    texts = f"--title={_shell(bead.title)} --acceptance={_shell(bead.acceptance_criteria)}{more}"
    return f"bd create {texts} --priority {bead.priority} --assignee {_shell(case.known.assignee)}"


def _waits(case: Case) -> Advice:
    bead, now = case.bead, case.known.now
    if bead.defer_until and bead.defer_until > now:
        return _put_off(case)
    if marks.retry_after(bead, now) != case.standing.retry_at:
        return Advice(
            f"It was reopened after {marks.runs(bead)} runs in a row. After 5 it is blocked.",
            "Read in its notes what it lacks, and add that. To start over now:",
            case.bd(f"update {{}} --set-metadata {marks.RUNS}=0"),
        )
    held, became = case.known.queue.until is not None, marks.outcome(bead)
    failed, names = f"Its run failed: attempt {marks.failures(bead)[0]} of 3", "note"
    if became in ("", outcomes.REFUSED.word, outcomes.NOT_STARTED.word):
        failed, names = f"Its dispatch failed: attempt {marks.attempts(bead)} of 5", "answer"
    elif became == outcomes.CHECK_FAILED.word:
        failed = f"Its check failed: run {marks.runs(bead)} of 5"
    return Advice(
        f"{failed}, then it is blocked. {'The queue is held too.' if held else 'Other beads do not wait for it.'}",
        f"Fix what the {names} names. It is tried again automatically, or now with:",
        case.bd(f"update {{}} --unset-metadata {marks.RETRY_AFTER}") + f" && {RESUME}" * held,
    )


_RESUMES = "Wait: dispatch resumes automatically."
# By why the queue waits.
_QUEUE = {
    "unwritable": Advice(
        "No bead can be claimed, so none is sent.", "Fix what the line says, such as the database user's rights."
    ),
    "usage limit": Advice(
        "The agent met a usage limit. After the reset one bead goes first, then the others.",
        f"{_RESUMES} To try now:",
        RESUME,
    ),
    "agent": Advice(
        "The agent cannot work. When the hold ends, one bead goes first, then the others.",
        "Fix what the reason names. To send one bead now:",
        RESUME,
    ),
    "hours": Advice("Runs start only within BEADS_DISPATCH_HOURS.", _RESUMES),
    "budget": Advice(
        "Today's runs are used up (BEADS_DISPATCH_PER_DAY).",
        "Wait until midnight, or raise the number for the process that dispatches.",
    ),
    "probing": Advice("When the first bead has run for a minute, the others follow.", WAIT),
}


def _could_go(case: Case) -> Advice:
    queue = case.known.queue
    if case.standing.kind == "still runs":
        means = "Somebody reopened it while its agent is still working. A second agent would do the same work."
        return Advice(means, "Wait: it is sent again when that run has ended.")
    if queue.kind in _QUEUE:
        return _QUEUE[queue.kind]
    if queue.kind != "held":
        return _asks(case)
    if "returned: agent busy" in queue.text:
        means = "The agent was busy and turned the last bead down. The queue waits, longer each time, up to an hour."
        return Advice(means, f"{_RESUMES} To try now:", RESUME)
    do = "Fix the service that the reason names."
    if "dispatch unclear" in queue.text:
        do = "Check whether an agent has that bead."
    means = "The queue waits after a dispatch that failed, longer each time, up to an hour."
    return Advice(means, f"{do} Dispatch resumes automatically, or now with:", RESUME)


def _asks(case: Case) -> Advice:
    agent, place, failing = case.agent, case.standing.place or 1, case.known.queue.kind == "failing"
    if agent.failed_url:
        means = f"A service is {agent.text}. It is asked again at each tick; nothing is claimed until it answers."
        return Advice(means, "See what is wrong with it:", f"curl -i {shlex.quote(agent.failed_url)}")
    if not agent.known and not agent.watcher:
        return _nobody_at_work("Nothing holds it up.")
    if place > 1:
        means = f"{place - 1} {'bead is' if place == 2 else 'beads are'} ahead of it."
        if case.bead.priority == 0:
            return Advice(means, WAIT)
        return Advice(means, "Wait. To move it up in the line:", case.bd("update {} --priority 0"))
    if agent.free is False:
        return Advice("The agent is busy. This bead is sent when it has room.", WAIT)
    if agent.watcher and failing:
        means = "A service failed the last time. The watcher asks it again every few seconds."
        return Advice(means, "Fix the service that the reason names. Dispatch resumes automatically.")
    if agent.watcher:
        return Advice("Nothing holds it up. The watcher sends it when the agent has room.", WAIT)
    means = "Nothing holds it up. A watcher sends it within seconds, a CronJob at its next tick."
    if failing:
        means = "A service failed the last time. It is asked again at each tick, and this bead is next."
    return Advice(means, "To send it now:", "beads-dispatch tick")


def _nobody_at_work(means: str) -> Advice:
    """Return the advice if no tick can run from here and no watcher was found."""
    means = f"{means} But no running watcher was found, and BEADBOARD_URL is not set here."
    return Advice(means, "In a cluster, wait for the next tick. On a laptop, start a watcher:", WATCH_HELP)


def _deferred(case: Case) -> Advice:
    until = case.bead.defer_until
    if until is None:
        return Advice("It was deferred without a date.", "To dispatch it:", case.bd("undefer {}"))
    if until > case.known.now:
        return _put_off(case)
    if marks.possibly_dispatched(case.bead):
        return Advice(outcomes.DEFERRED.means, outcomes.DEFERRED.do, case.send_again)
    means = "Its date has passed, and bd does not reopen it against a server."
    if case.agent.watcher:
        return Advice(f"{means} The watcher does.", WAIT)
    if not case.agent.known:
        return _nobody_at_work(means)
    return Advice(means, "Wait for the next tick. To do it now:", "beads-dispatch tick")


def _put_off(case: Case) -> Advice:
    """Advise about a date in the future. `bd undefer` would not do: in bd 1.0 it does nothing on an open bead."""
    return Advice("Somebody deferred it.", "Wait. To dispatch it now:", case.bd("update {} --defer ''"))


def _in_progress(case: Case) -> Advice:
    bead, job, now, kind = case.bead, case.job, case.known.now, case.standing.kind
    if reasons.being_handed_over(bead, now):
        means = "A tick has just claimed it, and is starting its agent or recording that."
        return Advice(means, "Wait a minute, then look again:", f"beads-dispatch explain {shlex.quote(bead.id)}")
    # Without a service, a job's process is here, so it has not ended.
    if job and case.agent.known and job.stage not in (Stage.DOUBT, Stage.FOREIGN):
        return _by_job(case, job)
    means = "No tick has sent it: somebody set it to in_progress."
    if kind in outcomes.SENT:
        means = outcomes.ALL[kind].means
    elif marks.possibly_dispatched(bead):
        means = "A tick was stopped between its claim and its record, so an agent may have the bead."
    if kind == "dispatched" and not case.agent.known:
        return _followed(case, means)
    if job:
        token = " (API_BEARER_TOKEN must be its token)" if job.words.startswith("HTTP 401") else ""
        means += f" Its runner does not report the job's state: {one_line(job.words)}{token}."
    if staleness.stale(bead, now, case.threshold):
        return Advice(f"{means} It has made no progress for too long.", NEXT_SWEEP_BLOCKS, SWEEP)
    means += f" Without progress it is blocked at {utc(staleness.stale_at(bead, case.threshold))}."
    if kind == "dispatched":
        return Advice(means, WAIT)
    if kind == "not sent" and not marks.possibly_dispatched(bead):
        return Advice(means, "If nobody is working on it, have it dispatched:", case.send_again)
    return Advice(means, "If you know that no agent has it, send it again:", case.send_again)


def _followed(case: Case, means: str) -> Advice:
    """Return the advice if no service is known here, as in a second terminal beside a laptop's watcher."""
    if case.job and case.job.started_at:
        ran = times.span((case.known.now - case.job.started_at).total_seconds())
        means = f"Its agent has been running here for {ran}."
    if case.agent.watcher:
        return Advice(f"{means} The running watcher follows it and records how it ends.", WAIT)
    means = f"{means} But no running watcher was found. In a cluster, the next sweep checks it."
    return Advice(means, "On a laptop, start a watcher: it takes over the run, or records how it ended.", WATCH_HELP)


def _by_job(case: Case, job: Job) -> Advice:
    now = case.known.now
    if job.stage is Stage.QUEUED:
        return Advice("Its job is queued.", WAIT)
    if runs.at_work(job, now, case.threshold):
        since = f" for {times.span((now - job.started_at).total_seconds())}" if job.started_at else ""
        return Advice(f"Its job has been running{since}: an agent is working on it.", WAIT)
    end = runs.end(job, case.bead, now, case.threshold, case.zone)
    if end is None:
        return Advice("Its run has just ended. The agent has a few seconds left to close the bead.", WAIT)
    if end.outcome is outcomes.STUCK:
        return Advice(end.outcome.means, NEXT_SWEEP_BLOCKS, SWEEP)
    means = f"Its run has ended: {end.line.removeprefix('agent ended: ')}."
    return Advice(means, "The next sweep records that. To do it now:", SWEEP)


def _blocked(case: Case) -> Advice:
    if marks.asks(case.bead):
        return Advice(outcomes.ASKS.means, outcomes.ASKS.do, case.bd("update {} -s open --append-notes 'your answer'"))
    if outcome := outcomes.ALL.get(reasons.block_outcome(case.bead)):
        return Advice(outcome.means, outcome.do, case.send_again)
    do = "Add what the note asks for. Then send it again:" if notes.last_line(case.bead.notes) else "To dispatch it:"
    return Advice("Its agent or a person blocked it.", do, case.send_again)
