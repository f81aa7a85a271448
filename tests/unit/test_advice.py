"""What each standing means and what to do next, as a table. The commands run in tests/real/test_explain.py."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beads_dispatch.core import advice, outcomes, reasons
from beads_dispatch.core.advice import NOT_ASKED, WAIT, Case
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.capacity import AgentState, without_services
from beads_dispatch.core.holds import SERVICE, USAGE, Hold
from beads_dispatch.core.reasons import Known, QueueState
from beads_dispatch.core.runner import Job, Stage

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LATER = NOW + 2 * MINUTE
OPEN_AGAIN = "bd update t-1 -s open"
FAILED = "dispatch failed HTTP 502: Invalid token"


def bead(status: str = "open", **fields: Any) -> Bead:
    known = {"assignee": "agent", "acceptance_criteria": "it works", **fields}
    return Bead(str(known.pop("id", "t-1")), status, 2, known.pop("updated_at", NOW), **known)


def marked(**values: object) -> dict[str, object]:
    return {f"beads_dispatch.{name}": value for name, value in values.items()}


def advised(
    one: Bead,
    queue: QueueState = QueueState(),  # noqa: B008
    agent: AgentState = NOT_ASKED,
    job: Job | None = None,
    place: int | None = 1,
    **known: Any,
) -> advice.Advice:
    view = Known("agent", NOW, queue, **known)
    found = reasons.standing(one, view, place)
    return advice.advice(Case(one, found, view, agent, 30 * MINUTE, UTC, job))


def held(reason: str) -> QueueState:
    return reasons.queue_state({SERVICE: Hold(LATER, 1, reason, "t-7")}, [], NOW)


LIMIT = reasons.queue_state({USAGE: Hold(LATER, 0, "t-7: agent ended: usage limit")}, [], NOW)
FAILING = reasons.queue_state({SERVICE: Hold(NOW, 1, FAILED)}, [], NOW)
PROBING = reasons.queue_state({USAGE: Hold(NOW, 0, "x")}, [], NOW)
UNWRITABLE = reasons.queue_state({}, [], NOW, "denied")
WATCHED, NOBODY = without_services("process 7"), without_services("")
DOWN = AgentState("not reachable at http://b/x: refused", failed_url="http://b/x")


@pytest.mark.parametrize(
    ("one", "means", "command"),
    [
        (bead(acceptance_criteria=""), "Without acceptance criteria", "bd update t-1 --acceptance "),
        (bead(ephemeral=True), "Ephemeral beads are not dispatched", "bd promote t-1"),
        (bead(labels=frozenset({"gt:agent"})), "label gt:agent", "bd label remove t-1 gt:agent"),
        (
            bead(metadata=None, title="a"),
            "No dispatch could be",
            "bd create --title=a --acceptance='it works' --priority 2",
        ),
        (bead(size=50_000, notes="x" * 50_000), "cannot write", "bd edit t-1 --notes"),
        (bead(size=50_000, description="x" * 50_000), "cannot write", "bd edit t-1 --description"),
        (bead(size=50_000), "cannot write", "bd edit t-1 --design"),
        (bead(issue_type="gate"), "beads of this type", "bd update t-1 --type task"),
        (
            bead(pinned=True, title="it's"),
            "pinned",
            """bd create --title='it'"'"'s' --acceptance='it works' --p""",
        ),
        (bead(metadata=marked(runs=5)), "reopened it five times", OPEN_AGAIN),
        (
            bead(metadata=marked(runs=2, claim="tabcdef 2026-11-23T21:59:00Z")),
            "after 2 runs",
            "bd update t-1 --set-metadata beads_dispatch.runs=0",
        ),
        (
            bead(metadata=marked(attempts=3, retry_after="2026-11-23T22:02:00Z")),
            "Its dispatch failed: attempt 3 of 5",
            "bd update t-1 --unset-metadata beads_dispatch.retry_after",
        ),
        (
            bead(metadata=marked(failures="f1 x", outcome="failed", retry_after="2026-11-23T22:02:00Z")),
            "Its run failed: attempt 1 of 3",
            "bd update t-1 --unset-metadata beads_dispatch.retry_after",
        ),
        (bead(defer_until=LATER), "deferred it", "bd update t-1 --defer ''"),
        (bead("deferred", defer_until=LATER), "deferred it", "bd update t-1 --defer ''"),
        (bead("deferred"), "without a date", "bd undefer t-1"),
        (bead("deferred", defer_until=NOW), "bd does not reopen it", "beads-dispatch tick"),
        (bead("deferred", defer_until=NOW, metadata=marked(claim="x")), "sent before it was deferred", OPEN_AGAIN),
        (bead("closed"), "It is done", "bd reopen t-1"),
        (bead("hooked"), "bd's status hooked", OPEN_AGAIN),
        (
            bead(pinned=True, title="--no \x1b[31m'\\ red"),
            "pinned",
            r"""bd create --title=$'--no \x1b[31m\'\\ red' --acceptance='it works' --p""",
        ),
        (bead(assignee="ann"), "beads of one assignee", "bd assign t-1 agent"),
        (bead("closed", assignee="ann"), "beads of one assignee", "bd reopen t-1 && bd assign t-1 agent"),
        (bead("in_progress", assignee=""), "beads of one assignee", "bd update t-1 -s open && bd assign t-1 agent"),
    ],
)
def test_what_a_bead_itself_says(one: Bead, means: str, command: str) -> None:
    found = advised(one)
    assert means in found.means
    assert found.command.startswith(command)


@pytest.mark.parametrize(
    ("queue", "agent", "place", "means", "do", "command"),
    [
        (QueueState(), NOT_ASKED, 1, "Nothing holds it up", "To send it now", "beads-dispatch tick"),
        (QueueState(), AgentState("room for 9", True), 1, "Nothing holds it up", "", "beads-dispatch tick"),
        (QueueState(), AgentState("busy", False), 1, "The agent is busy", WAIT, ""),
        (QueueState(), NOT_ASKED, 2, "1 bead is ahead", "", "bd update t-1 --priority 0"),
        (QueueState(), NOT_ASKED, 3, "2 beads are ahead", "", "bd update t-1 --priority 0"),
        (QueueState(), NOT_ASKED, None, "depends on is not closed", "", "bd dep list t-1"),
        (QueueState(), DOWN, 1, "not reachable at http://b/x: refused", "", "curl -i http://b/x"),
        (held(FAILED), NOT_ASKED, 1, "waits after a dispatch that failed", "Fix the service", "beads-dispatch resume"),
        (held("returned: agent busy"), NOT_ASKED, 1, "", "Wait: dispatch resumes", "beads-dispatch resume"),
        (held("dispatch unclear: x"), NOT_ASKED, 1, "", "Check whether an agent", "beads-dispatch resume"),
        (LIMIT, NOT_ASKED, 1, "usage limit", "Wait: dispatch resumes", "beads-dispatch resume"),
        (FAILING, NOT_ASKED, 1, "failed the last time", "", "beads-dispatch tick"),
        (QueueState(), WATCHED, 1, "The watcher sends it", WAIT, ""),
        (QueueState(), WATCHED, 2, "1 bead is ahead", "", "bd update t-1 --priority 0"),
        (FAILING, WATCHED, 1, "asks it again every few seconds", "Fix the service", ""),
        (QueueState(), NOBODY, 1, "no running watcher", "On a laptop, start", "beads-dispatch watch --help"),
        (QueueState(), NOBODY, 2, "no running watcher", "On a laptop, start", "beads-dispatch watch --help"),
        (PROBING, NOT_ASKED, 1, "the others follow", WAIT, ""),
        (UNWRITABLE, NOT_ASKED, 1, "No bead can be claimed", "Fix what the line says", ""),
    ],
)
def test_what_keeps_a_bead_that_could_go(
    queue: QueueState, agent: AgentState, place: int | None, means: str, do: str, command: str
) -> None:
    found = advised(bead(), queue, agent, place=place)
    assert means in found.means
    assert do in found.do
    assert found.command == command


def test_a_bead_that_backs_off_while_the_queue_is_held_needs_both() -> None:
    one = bead(metadata=marked(attempts=1, retry_after="2026-11-23T22:02:00Z"))
    found = advised(one, held(FAILED), place=None)
    assert "The queue is held too" in found.means
    assert found.command == "bd update t-1 --unset-metadata beads_dispatch.retry_after && beads-dispatch resume"


def test_the_most_urgent_bead_cannot_be_moved_up() -> None:
    assert advised(replace(bead(), priority=0), place=2) == advice.Advice("1 bead is ahead of it.", WAIT)


@pytest.mark.parametrize(
    ("agent", "means", "command"),
    [(WATCHED, "The watcher does.", ""), (NOBODY, "no running watcher", "beads-dispatch watch --help")],
)
def test_a_deferral_that_has_ended_where_no_tick_can_be_run(agent: AgentState, means: str, command: str) -> None:
    found = advised(bead("deferred", defer_until=NOW), agent=agent)
    assert means in found.means
    assert found.command == command


def test_an_open_bead_whose_job_still_runs() -> None:
    found = advised(bead(metadata=marked(job="7")), at_work={"t-1": "its last job 7 still runs"}, place=None)
    assert "its agent is still working" in found.means
    assert found.command == ""


SWEEP = "beads-dispatch sweep"
SENT = marked(claim="tabcdef 2026-11-23T21:50:00Z", job='"7"')
JOB = {"started_at": NOW - 4 * MINUTE, "finished_at": NOW - MINUTE}


@pytest.mark.parametrize(
    ("one", "job", "means", "command"),
    [
        (bead(metadata=marked(claim="tabcdef 2026-11-23T21:59:50Z")), None, "just", "beads-dispatch explain t-1"),
        (bead(metadata=SENT), None, "has the bead. Without progress it is blocked at 2026-11-23T22:30:00Z", ""),
        (bead(metadata=SENT), Job(Stage.DOUBT, "HTTP 401: no"), "HTTP 401: no (API_BEARER_TOKEN must be", ""),
        (bead(metadata=SENT), Job(Stage.QUEUED), "queued", ""),
        (bead(metadata=SENT), Job(Stage.RUNNING, started_at=NOW - 4 * MINUTE), "running for 4m", ""),
        (bead(metadata=SENT), Job(Stage.RUNNING, started_at=NOW - 140 * MINUTE), "four times", SWEEP),
        (bead(metadata=SENT), Job(Stage.COMPLETED, finished_at=NOW), "just ended", ""),
        (bead(metadata=SENT), Job(Stage.COMPLETED, **JOB), "ended: completed after 3m", SWEEP),
        (bead(metadata=SENT), Job(Stage.FAILED, "x", exit_code=1, **JOB), "ended: failed (exit 1)", SWEEP),
        (bead(metadata=SENT), Job(Stage.TIMEOUT, **JOB), "ended: timed out", SWEEP),
        (bead(metadata=SENT), Job(Stage.ERROR, "x", **JOB), "ended: error: x", SWEEP),
        (bead(metadata=SENT), Job(Stage.UNKNOWN), "does not know job 7", SWEEP),
        (
            bead(metadata=SENT), Job(Stage.FAILED, "resets in 2h", 1, trouble="usage limit", sure=True, **JOB),
            "ended: usage limit", SWEEP,
        ),
        (bead(metadata=SENT, updated_at=NOW - 31 * MINUTE), None, "too long", SWEEP),
        (bead(notes="auto-dispatcher claimed at x\ndispatch unclear: y"), None, "dispatch was lost", OPEN_AGAIN),
        (bead(metadata=marked(claim="tabcdef 2026-11-23T21:50:00Z")), None, "its claim and its record", OPEN_AGAIN),
        (bead(), None, "No tick has sent it", OPEN_AGAIN),
    ],
)  # fmt: skip
def test_a_bead_in_progress(one: Bead, job: Job | None, means: str, command: str) -> None:
    fields = {name: getattr(one, name) for name in ("metadata", "notes", "updated_at")}
    found = advised(bead("in_progress", **fields), job=job)
    assert means in found.means
    assert found.command == command


@pytest.mark.parametrize(
    ("agent", "means", "do", "command"),
    [
        (WATCHED, "The running watcher follows it", WAIT, ""),
        (NOBODY, "no running watcher", "start a watcher", "beads-dispatch watch --help"),
    ],
)
@pytest.mark.parametrize("idle", [10 * MINUTE, 31 * MINUTE])
def test_a_bead_in_progress_where_no_service_is_known(
    agent: AgentState, means: str, do: str, command: str, idle: timedelta
) -> None:
    found = advised(bead("in_progress", metadata=SENT, updated_at=NOW - idle), agent=agent)
    assert means in found.means
    assert do in found.do
    assert found.command == command


@pytest.mark.parametrize(
    ("note", "means", "do"),
    [
        ("agent ended: completed after 4m, bead not closed: I need a key", "left the bead open", "final message"),
        ("agent ended: failed (exit 127) after 0s: claudee: not found", "not be started", "Fix how the agent"),
        ("agent ended: failed (exit -9) after 4m", "was killed", "machine"),
        ("agent ended: failed (exit 1) after 4m: boom", "with an error", "Fix what the note names"),
        ("agent ended: timed out after 15m; its process may still be at work", "too long", "Make sure"),
        ("agent ended: error: [Errno 2] claude; its process may still be at work", "could not run", "Make sure"),
        ("agent ended: usage limit, resets 2026-11-25T15:00Z; 5 in a row", "met a usage limit", "limit is over"),
        ("agent ended: stopped with the laptop agent after 4m", "run was stopped", "To send it again"),
        ("agent ended: the agent service does not know job 7 (restarted, …)", "no such job", "Make sure that no agent"),
        ("agent ended: the agent service has no job left, bead not closed", "no such job", "Make sure that no agent"),
        ("reaper: no progress for 121m — blocking (…the agent service still calls its job running)", "seems", "Stop"),
        ("reaper: no progress for 31m — blocking (threshold 30m, no dispatch recorded)", "is recorded", "Make sure"),
        ("reaper: no progress for 31m — blocking (threshold 30m)", "its agent died, hangs", "Make sure"),
        ("dispatch failed HTTP 400: bad (attempt 5 of 5)", "refused it five times", "Fix what the note names"),
        ("not dispatched: 5 runs, and it is open again; …", "again and again", "start over"),
        ("not dispatched: its deferral has ended, but an agent may have it; …", "before it was deferred", "See what"),
        ("not dispatched: a late write opened it, but an agent may have it; …", "late write", "See what its"),
        ("", "agent or a person", "To dispatch it"),
        ("I need a key", "Its agent or a person blocked it", "what the note asks for"),
    ],
)  # fmt: skip
def test_a_blocked_bead(note: str, means: str, do: str) -> None:
    found = advised(bead("blocked", notes=f"earlier\n{note}" if note else ""))
    assert means in found.means
    assert do in found.do
    assert found.command == OPEN_AGAIN


def test_a_question_is_answered_in_one_command() -> None:
    sent = marked(claim="tabcdef 2026-11-23T21:50:00Z", job='"7"', outcome=outcomes.DISPATCHED.word)
    found = advised(bead("blocked", notes="which port?", metadata=sent))
    assert found.means == "Its agent asks a question, and waits for you."
    assert found.command == "bd update t-1 -s open --append-notes 'your answer'"


def test_an_odd_id_is_quoted() -> None:
    assert advised(bead("blocked", id="a b;c")).command == "bd update 'a b;c' -s open"


def test_every_text_is_sentences() -> None:
    texts = [text for one in outcomes.ALL.values() for text in (one.means, one.do) if text]
    assert [text for text in texts if not re.fullmatch(r"[A-Z].*[.:]", text)] == []


@pytest.mark.parametrize("outcome", outcomes.ALL.values())
def test_a_blocked_bead_is_explained_by_its_outcome_mark(outcome: outcomes.Outcome) -> None:
    found = advised(bead("blocked", notes="whatever stands here", metadata=marked(outcome=outcome.word)))
    expected = "Its agent or a person blocked it." if outcome.word in outcomes.SENT else outcome.means
    assert found.means == expected
    assert found.command == OPEN_AGAIN + " --append-notes 'your answer'" * (outcome is outcomes.ASKS)
