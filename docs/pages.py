"""Write the tables of docs/troubleshooting.md and docs/how-it-decides.md from the code: `make pages`.

Each row is decided by the production code for an example. tests/unit/test_readme.py fails if a page is out of date.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from beads_dispatch.core import advice, eligibility, faults, hours, notes, outcomes, reasons, runs
from beads_dispatch.core.advice import NOT_ASKED, Case
from beads_dispatch.core.bead import MARK, Bead
from beads_dispatch.core.capacity import AgentState
from beads_dispatch.core.holds import AGENT, BUDGET, HOURS, SERVICE, USAGE, Hold
from beads_dispatch.core.outcomes import Outcome
from beads_dispatch.core.reasons import Known, QueueState
from beads_dispatch.core.runner import Job, Stage
from beads_dispatch.core.wordings import Trouble

PAGES = [Path(__file__).parent / name for name in ("troubleshooting.md", "how-it-decides.md")]
NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=2)
HALF_AN_HOUR = timedelta(minutes=30)
STARTED = NOW - timedelta(minutes=4)
CLAIMED = {"claim": "tabcdef 2026-12-01T08:50:00Z"}
SENT = CLAIMED | {"job": '"4f1d2c3b5a69"'}


def bead(status: str = "open", *, marks: Mapping[str, object] | None = None, **fields: object) -> Bead:
    known = {MARK + name: value for name, value in (marks or {}).items()}
    one = Bead("ID", status, 2, NOW, "Tidy up", assignee="agent", acceptance_criteria="it works", metadata=known)
    return replace(one, **fields)  # type: ignore[arg-type]


FREE = QueueState()


@dataclass(frozen=True)
class Example:
    """A bead, and what is known besides it. `place`: in line."""

    bead: Bead
    queue: QueueState = FREE
    agent: AgentState = NOT_ASKED
    place: int | None = None
    at_work: str = ""
    job: Job | None = None


def held(kind: str, hold: Hold | None) -> QueueState:
    return reasons.queue_state({kind: hold} if hold else {}, [], NOW)


def failed(why: str) -> Hold:
    return Hold(LATER, 1, why, "demo-wcw")


OPEN = [
    Example(bead(), agent=AgentState("room for 9", True), place=1),
    Example(bead(), place=2),
    Example(bead(acceptance_criteria="")),
    Example(bead()),
    Example(bead(defer_until=LATER)),
    Example(bead(marks={"attempts": 3, "retry_after": "2026-12-01T09:02:00Z", "outcome": outcomes.REFUSED.word},
                 notes=notes.failed(400, "bad bead", notes.attempt(3, 5)))),
    Example(bead(marks={"failures": "f1 x", "retry_after": "2026-12-01T09:02:00Z", "outcome": outcomes.FAILED.word},
                 notes=notes.open_again("agent ended: failed (exit 1) after 9s", notes.attempt(1, 3)))),
    Example(bead(marks={"runs": 2, "claim": "tabcdef 2026-12-01T08:59:00Z"})),
    Example(bead(), at_work="its last job 4f1d2c3b5a69 still runs"),
    Example(bead(ephemeral=True)),
    Example(bead(labels=frozenset({"gt:agent"}))),
    Example(bead(issue_type="gate")),
    Example(bead(pinned=True)),
    Example(bead(no_history=True)),
    Example(bead(size=eligibility.MAX_SIZE + 1, description="x" * eligibility.MAX_SIZE)),
    Example(bead(metadata=None)),
]  # fmt: skip

QUEUE = [
    Example(bead(), held(SERVICE, failed(notes.failed(502, "Invalid token"))), place=1),
    Example(bead(), held(SERVICE, failed(notes.returned("agent busy"))), place=1),
    Example(bead(), held(USAGE, failed("agent ended: usage limit")), place=1),
    Example(bead(), held(AGENT, failed("agent ended: cannot work (login)")), place=1),
    Example(bead(), held(HOURS, hours.closed(hours.parse("Mon-Fri 19:00-07:00"), NOW, UTC)), place=1),
    Example(bead(), held(BUDGET, hours.used_up(20, 20, NOW, UTC)), place=1),
    Example(bead(), reasons.queue_state({USAGE: Hold(NOW, 0, "")}, [], NOW), place=1),
    Example(bead(), reasons.queue_state({SERVICE: Hold(NOW, 1, notes.failed(None, "connection refused"))}, [], NOW),
            place=1),
    Example(bead(), reasons.queue_state({}, [], NOW, "the user may not write"), place=1),
]  # fmt: skip

IN_PROGRESS = [
    Example(bead("in_progress", marks=SENT)),
    Example(bead("in_progress", marks={"claim": "tabcdef 2026-12-01T08:59:50Z"})),
    Example(bead("in_progress", notes=f"{notes.claimed(STARTED, 'abcdef')}\n{notes.unclear(502, 'fetch failed')}")),
    Example(bead("in_progress", marks=CLAIMED)),
    Example(bead("in_progress")),
]

ELSEWHERE = [
    Example(bead("deferred", defer_until=LATER)),
    Example(bead("deferred")),
    Example(bead("deferred", defer_until=NOW)),
    Example(bead("deferred", defer_until=NOW, marks=SENT)),
    Example(bead("blocked", marks=SENT | {"outcome": outcomes.DISPATCHED.word}, notes="which port should it use?")),
    Example(bead("blocked", notes="wait for the release")),
    Example(bead("closed")),
    Example(bead("open", assignee="ann")),
]


def _job(stage: Stage, seconds: int = 180, **fields: object) -> Job:
    ended = NOW - timedelta(seconds=20)
    known: dict[str, object] = {"started_at": ended - timedelta(seconds=seconds), "finished_at": ended}
    return Job(stage, **(known | fields))  # type: ignore[arg-type]


# What a runner says about a job that has ended, and the example.
ENDS = [
    ("it ended well, and 15 s later the bead is still in progress", _job(Stage.COMPLETED, words="I need a key")),
    ("it failed after more than a minute", _job(Stage.FAILED, words="Error: boom", exit_code=1)),
    ("it failed within a minute, and nothing says why", _job(Stage.FAILED, 9, words="Error: boom", exit_code=1)),
    ("it was killed", _job(Stage.FAILED, exit_code=137)),
    ("it ran out of memory (Kubernetes)", _job(Stage.FAILED, exit_code=137, reason="out of memory")),
    ("it was stopped at its timeout", _job(Stage.TIMEOUT, 900)),
    ("it was lost, or its output could not be read", _job(Stage.ERROR, words="chunk is longer than limit")),
    ("it used up its turns", _job(Stage.COMPLETED, trouble=Trouble.TURNS.value, sure=True)),
    ("it used up its budget", _job(Stage.FAILED, exit_code=1, trouble=Trouble.BUDGET.value, sure=True, cost=5.02)),
    ("it has been running for over four times the threshold",
     _job(Stage.RUNNING, started_at=NOW - timedelta(minutes=121), finished_at=None)),
    ("it is not known any more", Job(Stage.UNKNOWN)),
    ("its command does not exist, or must not be run",
     _job(Stage.FAILED, 0, words="claudee: not found", exit_code=127)),
    ("its words name a login, credit, the provider or the network",
     _job(Stage.FAILED, 9, words="OAuth token has expired", exit_code=1, trouble=Trouble.LOGIN.value, sure=True)),
    ("its words name a usage limit",
     _job(Stage.COMPLETED, 9, words="limit reached", trouble=Trouble.USAGE.value, sure=True)),
    ("it ended well, and its `--check` passed (laptop)", _job(Stage.COMPLETED, check="make test", words="I did it")),
    ("it ended well, and its `--check` failed (laptop); the fifth time the bead is blocked",
     _job(Stage.COMPLETED, check="make test", check_failed="exit 2", words="3 failed")),
    ("it was stopped with its watcher, or by a restart of the machine",
     _job(Stage.STOPPED, 240, words="stopped with the watcher")),
]  # fmt: skip


def ends() -> Iterator[tuple[str, runs.End, faults.Verdict]]:
    """Return what is said about each job, what that means, and what follows for a bead that is the first to end so."""
    one = bead("in_progress", marks=SENT)
    for said, job in ENDS:
        if end := runs.end(job, one, NOW, HALF_AN_HOUR, UTC):
            yield said, end, faults.judge(end, one, runs.seconds(job), faults.Recent(), NOW)[0]


def ends_table() -> Iterator[str]:
    yield from (row("the runner says about the job", "fault", "the bead", "its note", "the queue"), row(*["---"] * 5))
    for said, end, verdict in ends():
        whose = {"nobody": "nobody's", "unknown": "unknown"}.get(end.fault.value, f"the {end.fault.value}'s")
        yield row(said, whose, verdict.status, code(verdict.line), "waits" if verdict.hold else "continues")


def blocked() -> Iterator[tuple[str, Outcome]]:
    """Return the last note of a blocked bead, and the outcome that it stands for."""
    for _, end, verdict in ends():
        if verdict.status == "blocked":
            yield verdict.line, end.outcome
    age = timedelta(minutes=31)
    yield notes.blocked(age, HALF_AN_HOUR, sent=True), outcomes.SILENT
    yield notes.blocked(age, HALF_AN_HOUR, sent=False), outcomes.NOT_SENT
    yield notes.failed(400, "…", notes.attempt(5, 5)), outcomes.GIVEN_UP
    yield notes.not_dispatched(notes.RUNS_USED_UP), outcomes.RUNS_USED_UP
    yield notes.not_dispatched(notes.SENT_BEFORE), outcomes.DEFERRED
    yield notes.not_dispatched(notes.OPENED_LATE), outcomes.OPENED_LATE
    yield notes.taken_back(STARTED, "4f1d2c3b5a69"), outcomes.TAKEN_BACK


def shown(example: Example) -> tuple[reasons.Standing, advice.Advice]:
    """Return where the bead stands, and what `explain` says about it."""
    at_work = {"ID": example.at_work} if example.at_work else {}
    known = Known("agent", NOW, example.queue, at_work=at_work)
    standing = reasons.standing(example.bead, known, example.place)
    case = Case(example.bead, standing, known, example.agent, HALF_AN_HOUR, UTC, example.job)
    return standing, advice.advice(case)


def row(*cells: str) -> str:
    """Return a table's row. Times are left out: they are the examples' own."""
    plain = (re.sub(r" (?:at )?\d{4}-\d\d-\d\dT[\d:]+Z", " …", cell).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(plain)} |"


def code(text: str) -> str:
    return f"``{text}``" if "`" in text else f"`{text}`" if text else ""


def do(found: advice.Advice) -> str:
    return f"{found.do} {code(found.command)}".strip()


def beads_table(examples: list[Example]) -> Iterator[str]:
    yield from (row("`status` shows", "kind", "means", "do"), row(*["---"] * 4))
    for example in examples:
        standing, found = shown(example)
        yield row(code(standing.brief), code(standing.kind), found.means, do(found))


def queue_table() -> Iterator[str]:
    yield from (row("`queue:` shows", "state", "means", "do"), row(*["---"] * 4))
    for example in QUEUE:
        _, found = shown(example)
        yield row(code(example.queue.text), code(example.queue.kind), found.means, do(found))


def blocked_table() -> Iterator[str]:
    yield from (row("its last note", "kind", "means", "do"), row(*["---"] * 4))
    for line, outcome in blocked():
        standing, found = shown(Example(bead("blocked", marks={"outcome": outcome.word}, notes=line)))
        yield row(code(line), code(standing.kind), found.means, do(found))


TABLES = {
    "queue": queue_table,
    "open": lambda: beads_table(OPEN),
    "in progress": lambda: beads_table(IN_PROGRESS),
    "blocked": blocked_table,
    "elsewhere": lambda: beads_table(ELSEWHERE),
    "ends": ends_table,
}


def written(page: str) -> str:
    """Return the page with its tables written again, each between its two marks."""
    for name, lines in TABLES.items():
        begin, end = f"<!-- made by `make pages`: {name} -->\n", "<!-- end -->"
        before, _, rest = page.partition(begin)
        after = rest.partition(end)[2]
        table = "\n".join(lines())
        page = f"{before}{begin}{table}\n{end}{after}" if rest else page
    return page


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(written(page.read_text()))
