"""What must hold, checked at every step by what really happened. Raises Broken."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

from beads_dispatch.core import bead as beads
from beads_dispatch.core import notes, reasons
from beads_dispatch.core.backoff import MAX_RUNS
from beads_dispatch.core.bead import MARK, Bead
from beads_dispatch.core.holds import FURTHEST, OF_RUNS, SERVICE, read_hold
from beads_dispatch.core.marks import ENDED
from beads_dispatch.core.reasons import Known, Standing
from beads_dispatch.core.runner import Outcome
from beads_dispatch.core.runs import LONGEST_RUN, TAKEN_OVER
from simulation.bd import Change
from simulation.plan import THRESHOLD
from simulation.rows import Row
from simulation.service import Job
from simulation.world import BEGIN, OURS, Actor, Broken, World

MOST_NOTES = 20_000  # bytes in a schedule of a few hours
SURE_TO_WRITE = 15.0  # an outage of bd that ends so soon after the answer takes no record away, seconds
REASONS_EVERY = 300.0  # seconds
WRONG_CLOCK = THRESHOLD.total_seconds() / 2
# After an end, where a watcher can ask: 12 s between two rounds, 15 s of patience, and a slow machine's turns.
KNOWN_SECONDS = 180.0
SHORT = 60.0  # a run that ends so soon may not count towards the five in a row
PROVEN = (Outcome.BUSY, Outcome.NOT_STARTED, Outcome.BEAD_AT_FAULT)


@dataclass
class Post:
    """One POST. `looked`: the number of the last look at its bead before it."""

    actor: Actor
    bead: str
    looked: int
    at: float
    answered_at: float = 0.0
    proven: bool = False  # that nothing was started: by the answer
    answered: bool = False
    job: Job | None = None
    recorded: bool = False
    token: str = ""
    in_doubt: bool = False  # whether another job of the bead is at work: the service or our clock was no help

    @property
    def undone(self) -> bool:
        """Nothing was started, or its run is over and its process gone: then it may be sent again."""
        return self.proven or (self.job is not None and self.job.over and not self.job.alive)


@dataclass
class Invariants:
    world: World
    number: int = 0
    posts: dict[str, list[Post]] = field(default_factory=lambda: defaultdict(list))
    opened: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    looks: dict[tuple[str, str], int] = field(default_factory=dict)
    runs: Counter[str] = field(default_factory=Counter)  # in a row, without a person's word
    taken: set[str] = field(default_factory=set)  # set in progress, or handed on, by somebody else since our claim
    anew: dict[str, float] = field(default_factory=dict)  # when this count began, where it did not at the start
    claimed: dict[tuple[str, str], str] = field(default_factory=dict)  # the token of each one's last claim of a bead
    replaced: dict[str, str] = field(default_factory=dict)  # the job that a bead had before a claim, by its token
    free: set[str] = field(default_factory=set)  # jobs that the service no longer counts, at work or not
    opened_during: set[str] = field(default_factory=set)  # set open while their POST was under way
    restored: set[str] = field(default_factory=set)  # taken back to an earlier state by somebody
    forgotten: set[str] = field(default_factory=set)  # our ledger of them was lost, too
    contested: set[str] = field(default_factory=set)  # POSTed before another POST was recorded: a person set it open

    def _next(self) -> int:
        self.number += 1
        return self.number

    # --- never twice ---
    def looked(self, actor: Actor, bead: str) -> None:
        self.looks[actor.name, bead] = self._next()

    def posted(self, actor: Actor, bead: str, token: str = "") -> None:
        """`token`: of the claim, if the request names it."""
        looked = self.looks.get((actor.name, bead), 0)
        if bead not in self.world.rows:
            return
        if actor.held_until > self.world.seconds and not actor.jumped:
            raise Broken("held", f"{actor.name} sends {bead}, but has read that the queue is held")
        # Not the row's: a late write of bd 1.0.2 may have put another tick's claim there since.
        token = token or self.claimed.get((actor.name, bead)) or _token(self.world.rows[bead]["metadata"])
        if any(not (post.recorded or post.proven) for post in self.posts[bead]):  # its job may be written over ours
            self.contested.add(bead)
        in_doubt = actor.doubted or actor.jumped
        self.posts[bead].append(Post(actor, bead, looked, self.world.seconds, token=token, in_doubt=in_doubt))
        self.world.counts["POSTs"] += 1
        standing = sorted((post for post in self.posts[bead] if not post.undone), key=lambda post: post.looked)
        for first, second in pairwise(standing):
            if not any(first.looked < opened < second.looked for opened in self.opened[bead]):
                raise Broken(
                    "never twice",
                    f"{bead} is POSTed by {second.actor.name}, and was by {first.actor.name} at {first.at:.2f}",
                )

    def answered(self, actor: Actor, bead: str, outcome: Outcome) -> None:
        if not self.posts[bead]:
            return
        post = self._newest(actor, bead)
        post.answered, post.answered_at = True, self.world.seconds
        post.proven = outcome in PROVEN
        self.world.counts[f"outcome: {outcome.name}"] += 1
        if post.proven and post.job:  # with BeadBoard, the stand-in would be wrong
            raise Broken("never twice", f"{actor.name} takes {bead} for not started, but job {post.job.id} is there")

    def _newest(self, actor: Actor, bead: str) -> Post:
        return next(post for post in reversed(self.posts[bead]) if post.actor is actor)

    def _outstanding(self, bead: str) -> Post | None:
        """The POST after which an agent may have the bead, until somebody sets it open."""
        standing = [post for post in self.posts[bead] if not post.undone]
        newest = max(standing, key=lambda post: post.looked, default=None)
        return newest if newest and not any(opened > newest.looked for opened in self.opened[bead]) else None

    # --- never two at work at once, and not more than five runs ---
    def started(self, actor: Actor, job: Job, token: str = "", listed: float = math.inf) -> None:
        """`token`: of the claim that the job is named after. `listed`: when its process last listed the bead's jobs."""
        bead = job.bead
        post = next((post for post in self.posts[bead] if token and post.token == token), self._newest(actor, bead))
        post.job = job
        if not post.answered and post.at > self.anew.get(bead, -1.0):  # one from before belongs to the count before
            self.runs[bead] += 1
        if self.runs[bead] > MAX_RUNS:
            raise Broken("five runs", f"{bead} runs more than {MAX_RUNS} times in a row without a person")
        for other in self.world.service.jobs.values():
            landed = (other.created_at - BEGIN).total_seconds()
            if other is not job and other.bead == bead and landed < listed < math.inf and not other.over:
                raise Broken("one at a time", f"job {job.id} of {bead} starts, although {other.id} is there")
            known = other is not job and other.bead == bead and other.id == self.replaced.get(post.token)
            if known and self._at_work(other) and not post.in_doubt and bead not in self.opened_during:
                raise Broken("one at a time", f"job {job.id} of {bead} starts while {other.id} runs")

    def _at_work(self, job: Job) -> bool:
        """Whether the service can be asked about it, and would call it progress."""
        if not self._follows or job.over or job.id in self.free or not job.started_at:
            return False
        return self.world.now() - job.started_at < LONGEST_RUN * THRESHOLD

    @property
    def _follows(self) -> bool:
        """Whether the runner says what became of each job."""
        return self.world.plan.runner == "jobs" or self.world.plan.service == "token"

    def timed_out(self, job: Job) -> None:
        self.free.add(job.id)

    # --- what we write ---
    def about_to_write(self, actor: Actor, change: Change) -> None:
        status = change.fields.get("status")
        if actor.kind not in OURS or status is None:
            return
        bead, post = change.bead, self._outstanding(change.bead)
        if actor.read.get(bead) != self.world.versions[bead]:
            raise Broken(
                "read before write", f"{actor.name} writes {status} over a change of {bead} that it has not read"
            )
        undoes_another = bead in self.forgotten and post and _token(self.world.rows[bead]["metadata"]) != post.token
        if status == "open" and post and bead not in self.contested and not undoes_another:
            raise Broken("no roll-back", f"{actor.name} sets {bead} open, but an agent may have it since {post.at:.2f}")
        if status == "open" and self._limited(bead) and not self._has_hold(*OF_RUNS):
            raise Broken("usage limit", f"{actor.name} sets {bead} open after a usage limit, and holds nothing")
        agents = self._is_broken(bead) and str(change.set.get(ENDED, "")).startswith("agent")
        if status == "open" and agents and not self._has_hold(*OF_RUNS):
            raise Broken("agent's fault", f"{actor.name} sets {bead} open after an agent's fault, and holds nothing")
        if status == "in_progress" and f"{MARK}claim" not in change.set:
            raise Broken("no status after the POST", f"{actor.name} sets {bead} in_progress without a claim")
        if status == "blocked" and post and self.world.rows[bead]["status"] == "in_progress":
            self._may_block(actor, post)

    def _has_hold(self, *kinds: str) -> bool:
        return any(key.split(".")[2] in kinds for key in self.world.local)

    def _is_broken(self, bead: str) -> bool:
        job = self.world.service.jobs.get(_job_on(self.world.rows[bead]))
        return job is not None and job.broken

    def _limited(self, bead: str) -> bool:
        job = self.world.service.jobs.get(_job_on(self.world.rows[bead]))
        return job is not None and job.limited

    def held_until(self, *kinds: str) -> float:
        """Until when what is stored of these kinds holds the queue, simulated seconds."""
        stored = [(key, text) for key, text in self.world.local.items() if key.split(".")[2] in kinds]
        return max((self.end_of_hold(key, text) for key, text in stored), default=0.0)

    def end_of_hold(self, key: str, text: str) -> float:
        """The same of one record; 0 where it lies so far ahead that it counts as absent."""
        until = datetime.fromisoformat(json.loads(text)["until"])
        absent = until - self.world.now() > FURTHEST[key.split(".")[2]]
        return 0.0 if absent else (until - BEGIN).total_seconds()

    def _may_block(self, actor: Actor, post: Post) -> None:
        row = self.world.rows[post.bead]
        wrong = (row["updated_at"] - BEGIN).total_seconds() - self.world.touched.get(post.bead, 0.0)
        if abs(wrong) > WRONG_CLOCK:  # whoever wrote last has a clock by which the bead is stale
            return
        job = self.world.service.jobs.get(_job_on(row) or self._named(row))
        if job and self._at_work(job) and not (actor.doubted or actor.jumped):
            raise Broken("no block of a running job", f"{actor.name} blocks {post.bead} while its job {job.id} runs")

    def wrote(self, actor: Actor, change: Change, before: Row) -> None:
        """After each write of bd."""
        if actor.kind in OURS:
            self._ours(actor, change, before)
        else:
            self._another(actor, change, before)
        self._notes(change.bead)
        self._reasons(change.bead)

    def _ours(self, actor: Actor, change: Change, before: Row) -> None:
        bead = change.bead
        if f"{MARK}claim" in change.set and "status" in change.fields:
            self.taken.discard(bead)
            self.replaced[_token(change.set)] = _job_on(before)
            self.claimed[actor.name, bead] = _token(change.set)
        if f"{MARK}job" in change.set or any(line.startswith("dispatch") for line in change.append):
            for post in self.posts[bead]:
                post.recorded |= post.actor is actor
        if actor.dead and _runs(self.world.rows[bead]) < _runs(before):  # its bd wrote late: docs/guarantees.md
            self._count_anew(bead)
        if change.fields.get("status") == "open" and self._was_short(_job_on(before) or self._named(before)):
            self.runs[bead] -= 1
        if change.fields.get("status") == "blocked":
            self._count_anew(bead)  # as the mark: what runs then was set open by its agent or a person

    def _was_short(self, job_id: str) -> bool:
        """A run that has ended within a minute: it does not count, if we open its bead again."""
        job = self.world.service.jobs.get(job_id)
        if job and job.over and not job.started_at:  # its pod never ran
            return True
        ended = job and job.started_at and job.finished_at
        return bool(ended) and (job.finished_at - job.started_at).total_seconds() <= SHORT

    def _another(self, actor: Actor, change: Change, before: Row) -> None:
        bead = change.bead
        if change.fields.get("status") == "open":
            self.opened[bead].append(self._next())
            if any(not post.answered and not post.actor.dead for post in self.posts[bead]):
                self.opened_during.add(bead)
            if actor.kind == "person":
                self._count_anew(bead)
        if change.fields.get("status") == "in_progress" or change.fields.get("assignee", "agent") != "agent":
            self.taken.add(bead)  # for good: it may be assigned to the agent again before its tick ends
        was, now = beads.parse(before.by_dolt), beads.parse(self.world.rows[bead].by_dolt)
        if _recorded(was) and not _recorded(now):
            self.world.counts["the whole record taken away"] += 1  # nobody can know it any more
            self.opened[bead].append(self._next())
        if was.mark("runs") and not now.mark("runs"):
            self._count_anew(bead)

    def taken_back(self, bead: str, before: Row) -> None:
        """Nobody has reopened it: what may run, and what must not, is as before."""
        self.restored.add(bead)
        self.world.counts["taken back"] += 1
        self._reasons(bead)

    def restored_all(self, bead: str) -> None:
        """How often it has run, and that it runs, is known to nobody any more but the API server."""
        self.forgotten.add(bead)
        self._count_anew(bead)

    def _count_anew(self, bead: str) -> None:
        self.runs[bead], self.anew[bead] = 0, self.world.seconds

    def _notes(self, bead: str) -> None:
        size = len(self.world.rows[bead]["notes"])
        if size > MOST_NOTES and not self.world.plan.outage:
            raise Broken("short notes", f"the notes of {bead} have {size} characters")

    # --- never silent ---
    def watch_reasons(self) -> None:
        """Time alone changes them too."""
        self._reasons(*self.world.rows)
        self.world.at(REASONS_EVERY, self.watch_reasons)

    def _reasons(self, *changed: str) -> None:
        """What `status` would say of these beads."""
        world = self.world
        known = [bead for key in changed if (bead := beads.parse(world.rows[key].by_dolt)).assignee == "agent"]
        now = world.now()
        holds = {
            kind: hold
            for key, text in world.local.items()
            if (hold := read_hold(kind := key.split(".")[2], text, now)) and kind in FURTHEST
        }
        queue = reasons.queue_state(holds, known, now)
        ready = frozenset(bead.id for bead in known if bead.status == "open")
        for bead_id, standing in reasons.standings(known, Known("agent", now, queue, ready)).items():
            if not standing.reason.strip():
                raise Broken("never silent", f"status has no reason for {bead_id}: {standing}")
            if wrong := self._wrong(world.rows[bead_id], standing):
                raise Broken("right reason", f"{bead_id} {wrong}, but status says: {standing}")

    def _wrong(self, row: Row, standing: Standing) -> str:
        """What contradicts this reason. By the row itself, and not by the rules that have made the reason."""
        could_run = standing.kind in ("eligible", "held")
        if could_run and row["status"] != "open":
            return f"is {row['status']}"
        if could_run and not row["acceptance_criteria"].strip():
            return "has no acceptance criteria"
        if standing.kind == "eligible" and self.held_until(SERVICE, *OF_RUNS) > self.world.seconds:
            return "waits while the queue is held"
        if row["status"] == "in_progress" and _job_on(row) not in standing.reason:
            return f"has the job {_job_on(row)}"
        return ""

    def ended(self, actor: Actor) -> None:
        """A tick has ended by itself: what follows from its answers stands there."""
        for bead, posts in self.posts.items():
            for post in posts:
                if post.actor is actor and post.answered and not post.recorded:
                    post.recorded = True  # judged once
                    self._judge(bead, post)

    def _judge(self, bead: str, post: Post) -> None:
        world, row = self.world, self.world.rows[bead]
        if world.unwritable_until > post.answered_at + SURE_TO_WRITE:
            return
        if bead in self.restored:
            return
        if post is not self.posts[bead][-1]:  # the bead is the later one's, also where bd 1.0.2 brings this mark back
            return
        ours = _token(row["metadata"]) == post.token and row["assignee"] == "agent"
        runs = _job_on(row)  # of another tick, whose record came late: the bead is that job's now
        ours_alone = ours and bead not in self.taken
        if post.proven and row["status"] == "in_progress" and ours_alone and not runs:
            raise Broken("rolled back", f"{bead} was not started, but stays in progress")
        if not post.proven and row["status"] == "in_progress" and ours:
            raise Broken("recorded", f"{bead}: what became of its POST at {post.at:.2f} is not recorded")

    # --- at the end ---
    def unsettled(self) -> list[str]:
        """The beads that still wait for one of our processes, each with why."""
        found = []
        now = self.world.now().astimezone(UTC)
        self._known_soon(now)
        for bead_id, row in self.world.rows.items():
            # A bead that fails alone for what looks like the agent's or a service's reasons waits for them to end.
            lone = bead_id == "s-0" and self.world.plan.troublemaker in ("never found", "sounds broken")
            if lone or row["assignee"] != "agent":
                continue
            bead = beads.parse(row.by_dolt)
            if bead.status == "in_progress" or (bead.status == "deferred" and bead.defer_until):
                found.append(f"{bead_id} is {bead.status}")
            elif bead.status == "open" and not self._waits_for_person(bead):
                reason = reasons.standing(bead, Known("agent", now))
                found.append(f"{bead_id} is open: {reason.reason}")
        return found

    def _known_soon(self, now: datetime) -> None:
        """How a run ended is known soon, where a watcher can ask for it."""
        if not (self.world.plan.watchers and self._follows):
            return
        for bead_id, row in self.world.rows.items():
            job = self.world.service.jobs.get(_job_on(row) or self._named(row))
            if (row["status"], row["assignee"]) != ("in_progress", "agent") or not (job and job.finished_at):
                continue
            since = (now - job.finished_at).total_seconds()
            taken_over = row["updated_at"] - job.finished_at > TAKEN_OVER  # then the threshold decides
            if KNOWN_SECONDS < since < self.world.seconds - self.world.healed_at and not taken_over:
                raise Broken("known soon", f"job {job.id} of {bead_id} has ended {since:.0f} s ago, and nobody knows")

    def _named(self, row: Row) -> str:
        """The Kubernetes Job that the bead's claim names, if there was one."""
        token = _token(row["metadata"])
        return next((name for name in self.world.service.jobs if token and name.endswith(f"-{token}")), "")

    def _waits_for_person(self, bead: Bead) -> bool:
        return not bead.acceptance_criteria.strip() and notes.has_line(
            bead.notes, notes.not_dispatched("no acceptance criteria")
        )


def _job_on(row: Row) -> str:
    """The job that is recorded on a bead, or nothing."""
    return str(row["metadata"].get(f"{MARK}job", "")).strip('"')


def _runs(row: Row) -> int:
    """The count of runs that is recorded on a bead."""
    return int(row["metadata"].get(f"{MARK}runs", 0))


def _token(metadata: Mapping[str, object]) -> str:
    """The token of the claim in these marks, or nothing."""
    return str(metadata.get(f"{MARK}claim", ""))[1:7]


def _recorded(bead: Bead) -> bool:
    """Whether mark or notes say that an agent may have it. Written anew here: the rule itself can be broken."""
    return bead.mark("claim") is not None or notes.possibly_dispatched(bead.notes)
