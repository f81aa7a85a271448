"""One bead's story: what happened, why it is where it is, and what to do next."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from beads_dispatch.adapters.runner import NOWHERE
from beads_dispatch.commands.status import agent_state, survey
from beads_dispatch.commands.table import Look, wrapped
from beads_dispatch.core import advice, eligibility, marks, reasons, timeline
from beads_dispatch.core.advice import Advice, Case
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import Failure
from beads_dispatch.core.runner import Job
from beads_dispatch.core.text import one_line
from beads_dispatch.core.timeline import Entry
from beads_dispatch.jobs.cycle import Outside
from beads_dispatch.settings import Settings


@dataclass(frozen=True, slots=True)
class Story:
    case: Case
    entries: Sequence[Entry]
    advice: Advice


def explain(
    outside: Outside, settings: Settings, bead_id: str, here: Callable[[str], Job | None] = lambda _: None
) -> Story:
    """Return all that is known about a bead. Raise Failure if no bead fits, or bd or the database does not answer."""
    bead = outside.bd.find(bead_id)
    beads, known, _ = survey(outside, settings)
    standing = reasons.standing(bead, known, reasons.places(beads, known).get(bead.id))
    in_line = standing.place is not None and known.queue.kind in ("open", "failing")
    waits = in_line or eligibility.expired_deferrals([bead], known.now)  # the next tick may send it
    unseen = bead.status == "in_progress" and outside.runner is NOWHERE
    case = Case(
        bead, standing, known,
        agent_state(outside) if waits or unseen else advice.NOT_ASKED,
        settings.threshold, outside.clock.zone(), _job(outside, bead, here),
    )  # fmt: skip
    return Story(case, _entries(outside, bead), advice.advice(case))


def _job(outside: Outside, bead: Bead, here: Callable[[str], Job | None]) -> Job | None:
    """Return what the runner says about the bead's job. `here`: a run of this machine, if it is working."""
    job = outside.runner.job_of(bead) if bead.status == "in_progress" else ""
    if job and (found := here(job)):
        return found
    return outside.runner.job(job) if job and outside.runner.follows else None


def _entries(outside: Outside, bead: Bead) -> list[Entry]:
    """Return the story. bd's history may be cut off (`bd flatten`) or refused: then notes and marks alone tell it."""
    bd, queue = outside.bd, outside.queue
    comments = bd.comments(bead.id) if bead.commented_at or bead.comment_count else []
    try:
        versions, events = timeline.parse_versions(queue.history(bead.id)), queue.events(bead.id)
    except Failure:
        versions, events = [], []
    return timeline.timeline(
        bead, versions, [timeline.parse_event(event) for event in events], timeline.parse_comments(comments)
    )


def as_text(story: Story, look: Look, log: str = "") -> str:
    """Return the story for a person. `log`: the command that shows what its last run wrote, if there is one."""
    case, paint = story.case, look.paint
    bead = case.bead
    return "\n".join([
        f"{paint(one_line(bead.id), 'bold')}  {one_line(bead.title, 2000)}",
        summary(bead),
        "",
        *_timeline(story.entries, look),
        "",
        *(line for label, text in why(story, log) for line in _labelled(label, look.say(text), look)),
        *([f"      {paint(story.advice.command, 'cyan')}"] if story.advice.command else []),
    ])  # fmt: skip


def why(story: Story, log: str = "") -> list[tuple[str, str]]:
    """Return the texts below the story, each with its label, if it has one."""
    known = [("Why", story.case.standing.reason), ("", story.advice.means)]
    return [*known, *([("Log", log)] if log else []), ("Next", story.advice.do)]


def summary(bead: Bead) -> str:
    """Return the bead's state in one line."""
    runs, attempts = marks.runs(bead), marks.attempts(bead)
    known = [
        f"{bead.status}, priority {bead.priority}, assigned to {one_line(bead.assignee) or 'nobody'}",
        f"run {runs} in a row" if runs else "",
        f"{attempts} failed attempt{'s' * (attempts > 1)}" if attempts else "",
    ]
    return ", ".join(filter(None, known))


def _labelled(label: str, text: str, look: Look) -> Iterator[str]:
    first, *rest = _wrapped(text, 6, look)
    yield look.paint(f"{label}:" if label else "", "bold") + " " * (5 - len(label) if label else 6) + first
    yield from (" " * 6 + line for line in rest)


def _timeline(entries: Sequence[Entry], look: Look) -> Iterator[str]:
    times, (zone, name, what) = [when(entry, look) for entry in entries], headings(look)
    wide, names = max(map(len, [zone, *times])), max(map(len, [name, *map(who, entries)]))
    yield look.paint(f"{zone:{wide}}  {name:{names}}  {what}", "bold")
    for entry, at in zip(entries, times, strict=True):
        start = f"{at:{wide}}  {who(entry):{names}}  "
        lines = [part for line in entry.lines for part in _wrapped(look.say(line), len(start), look)]
        yield look.paint(start, "dim") + lines[0]
        yield from (" " * len(start) + line for line in lines[1:])


def headings(look: Look) -> tuple[str, str, str]:
    return f"WHEN ({look.now.astimezone(look.zone):%Z})", "WHO", "WHAT"


def who(entry: Entry) -> str:
    return one_line(entry.who, 40)


def when(entry: Entry, look: Look) -> str:
    if entry.at is None:
        return "earlier"
    here = entry.at.astimezone(look.zone)
    return f"{here:%b} {here.day:2} {here:%H:%M:%S}"


def _wrapped(text: str, used: int, look: Look) -> list[str]:
    return wrapped(text, look.width and look.width - used) or [""]
