"""The queue of one assignee: its lock, its beads, what is recorded beside them, and its clock.

It is on a Dolt server, or in an embedded bd with files beside it. Both have the same methods.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from beads_dispatch.adapters.bd.verbs import Bd, read_all
from beads_dispatch.adapters.dolt import Dolt
from beads_dispatch.adapters.lock_file import LockFile, wait_until_free
from beads_dispatch.adapters.state_folder import LedgerFolder, read_text
from beads_dispatch.adapters.waiting import Waiting, unheard
from beads_dispatch.adapters.workspace import Workspace
from beads_dispatch.core import bead, eligibility, ledger, marks, outcomes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import DoltFailed, Failure, NoBead
from beads_dispatch.core.holds import FURTHEST, Hold, Holds, read_hold, write_hold
from beads_dispatch.core.ledger import Entry
from beads_dispatch.core.text import utc

Now = Callable[[], datetime]
# A tick and a sweep end within five minutes: a process that holds their lock for longer is frozen.
STUCK_SECONDS = 360.0


@dataclass(frozen=True)
class Snapshot:
    """The assignee's beads that are not closed, and a line for each that cannot be read."""

    beads: tuple[Bead, ...]
    unreadable: tuple[str, ...] = ()

    @cached_property  # an idle watcher asks every second
    def running(self) -> tuple[Bead, ...]:
        """Return the beads in progress."""
        return tuple(bead for bead in self.beads if bead.status == "in_progress")

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(bead.id for bead in self.beads)


@dataclass
class LastSnapshot:
    """The last snapshot of this process's assignee, and the fingerprint of the database before and after it."""

    fingerprint: str = ""
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(()))


def _who(assignee: str) -> str:
    """Return an assignee's name as a part of a file's name or a key."""
    return hashlib.sha1(assignee.encode(), usedforsecurity=False).hexdigest()[:12]


def _read_holds(stored: Mapping[str, str], now: datetime) -> Holds:
    return {kind: hold for kind, text in stored.items() if (hold := read_hold(kind, text, now))}


def _by_agents(beads: Iterable[Bead]) -> tuple[Bead, ...]:
    return tuple(one for one in beads if marks.job(one) and marks.outcome(one) != outcomes.ASKS.word)


_LEDGER = "beads_dispatch.ledger."


def _ledger_key(bead_id: str) -> str:
    """Return a bead's key. `local_metadata` allows 255 characters; ids differ by case, and its collation may not."""
    return _LEDGER + hashlib.sha1(bead_id.encode(), usedforsecurity=False).hexdigest()


def _entries(stored: Mapping[str, str]) -> Mapping[str, Entry]:
    return {bead_id: entry for bead_id, text in stored.items() if (entry := ledger.read(text))}


def _counted(stored: str, day: str) -> int:
    known, _, count = stored.partition(" ")
    return int(count) if known == day and count.isdecimal() else 0


def _too_large(one: Bead) -> bool:
    return one.status == "open" and one.size > eligibility.MAX_SIZE


class ServerQueue:
    """A Dolt server. Every method, here and in EmbeddedQueue, raises Failure if the database cannot be reached."""

    def __init__(self, dolt: Dolt, assignee: str, now: Now, myself: str = "") -> None:
        self._dolt = dolt
        self._assignee = assignee
        self._now = now
        self._myself = myself  # the process, for people
        self._name = ""
        self._ahead: timedelta | None = None  # by how much the server's clock is ahead of ours; None: unknown

    def lock(self, job: str) -> bool:
        """Take the lock of this job without waiting. False: another process holds it."""
        self._name = self._dolt.lock(job, self._assignee) or ""
        if self._name and job == "watcher" and self._myself:
            self._dolt.set_local(self._key("watcher"), self._myself)
        return bool(self._name)

    def locked(self) -> bool:
        """Return whether we still hold the lock."""
        return self._dolt.locked(self._name)

    def holder(self, job: str, held_for: float = 0.0) -> str:
        """Describe who holds the lock of this job; empty if nobody does, or if that is unknown.

        `held_for`: only somebody who has held it for so many seconds without doing anything.
        Dolt (1.86.4) knows a connection's user, but not its machine or process: a watcher writes down its own.
        """
        try:
            found = self._dolt.holder(job, self._assignee, held_for)
            if found and (job == "watcher" or self._dolt.holder("watcher", self._assignee)):
                watcher = self._stored("watcher")
                return f"{found}; the watcher is {watcher}" if watcher else found
            return found
        except DoltFailed:  # not every user may see the others' connections
            return ""

    def snapshot(self) -> Snapshot:
        """Return every bead of the assignee that is not closed."""
        rows = self._dolt.assigned(self._assignee)
        if rows:
            self._ahead = rows[0]["utc_now"].replace(tzinfo=UTC) - self._now()
        elif self._ahead is None:
            self._ahead = timedelta(0)  # without a bead, the server's clock does not matter
        beads, unreadable = read_all(rows)
        return Snapshot(self._with_comments(beads), unreadable)

    def _with_comments(self, beads: Iterable[Bead]) -> tuple[Bead, ...]:
        """Add the times of comments if they matter: as progress, or as our notice that a bead is too large."""
        asked = [one for one in beads if one.status == "in_progress" or _too_large(one)]
        wisps = [one.id for one in asked if one.kept_apart]
        times = self._dolt.commented([one.id for one in asked if one.id not in wisps])
        times |= self._dolt.commented(wisps, wisps=True)
        return tuple(bead.with_comments(one, times[one.id]) if one.id in times else one for one in beads)

    def fingerprint(self) -> str:
        """Return a text that changes with the database, whoever has written to it."""
        return self._dolt.hash()

    def fetch(self, bead_id: str, just_read: Bead | None = None) -> tuple[bool, Bead | None]:
        """Return whether we still hold the lock, and the bead as it now is.

        `just_read`: the bead as bd has returned it a moment ago. Embedded, that is as good as another look: bd is alone
        on its database while it runs, so a change can come only after either, and a look costs a start of bd.
        """
        locked, row = self._dolt.fetch(self._name, bead_id)
        one = bead.parse(row) if row else None
        # One question, because a POST follows. Only our notice among the comments matters, and its bead gets no POST.
        return locked, self._with_comments([one])[0] if one and _too_large(one) else one

    def holds(self) -> Holds:
        """Return the holds that are set, by kind."""
        if self._ahead is None:
            self._ahead = self._dolt.now() - self._now()
        stored = self._dolt.local_values(*(self._key(f"hold.{kind}") for kind in FURTHEST))
        return _read_holds({kind: stored.get(self._key(f"hold.{kind}"), "") for kind in FURTHEST}, self.now())

    def closed(self, since: datetime) -> tuple[Bead, ...]:
        """Return the assignee's beads that were closed since and still bear their run's job mark: an agent closed them.

        `updated_at` of each is when that was, or later. A block takes the mark away, so a person's close shows none.
        """
        return _by_agents(read_all(self._dolt.closed(self._assignee, since))[0])

    def set_hold(self, kind: str, hold: Hold | None) -> None:
        """Record a hold. None removes it.

        Write it on a new connection if ours is gone: a hold must be written also after the lock is lost.
        """
        key, value = self._key(f"hold.{kind}"), write_hold(hold) if hold else None
        try:
            self._dolt.set_local(key, value)
        except DoltFailed:
            with closing(self._dolt.again()) as other:
                other.set_local(key, value)

    def _key(self, what: str) -> str:
        """Return the key of `watcher`, `day` or `hold.KIND` in `local_metadata`."""
        return f"beads_dispatch.{what}.{_who(self._assignee)}"

    def _stored(self, what: str) -> str:
        """Return the value of that key, or nothing."""
        key = self._key(what)
        return self._dolt.local_values(key).get(key, "")

    def ledger(self, bead_ids: Sequence[str]) -> Mapping[str, Entry]:
        """Return what is remembered of the last starts of these beads, by id."""
        keys = {_ledger_key(bead_id): bead_id for bead_id in bead_ids}
        stored = self._dolt.local_values(*keys) if keys else {}
        return _entries({keys[key]: text for key, text in stored.items() if key in keys})

    def remember(self, entry: Entry, over: Entry | None = None) -> None:
        """Record a start in the ledger, before it happens. Old entries are removed now and then.

        `over`: only if this is what the ledger remembers of the bead: the entry of a later start stays.
        """
        self._dolt.set_local(_ledger_key(entry.bead_id), ledger.write(entry), ledger.write(over) if over else "")
        if entry.token.startswith("0"):  # at one start in sixteen, remove what is older than a year
            self._dolt.prune_local(f"{_LEDGER}%", utc(self.now() - ledger.KEPT))

    def runs_on(self, day: str) -> int:
        """Return how many runs of the assignee were started on this day, such as `2026-12-01`."""
        return _counted(self._stored("day"), day)

    def count_runs(self, day: str, more: int) -> None:
        """Add to that number. The count of an earlier day is forgotten."""
        self._dolt.set_local(self._key("day"), f"{day} {max(0, self.runs_on(day) + more)}")

    def check_writable(self) -> None:
        """Raise Failure if neither beads nor holds can be written."""
        self._dolt.check_writable()

    def history(self, bead_id: str) -> Sequence[Mapping[str, object]]:
        """Return the bead as each of its changes has left it (`Issue`), with the time of the commit (`CommitDate`)."""
        return self._dolt.history(bead_id)

    def events(self, bead_id: str) -> Sequence[Mapping[str, object]]:
        """Return who changed what on a bead, as far as bd has recorded it."""
        return self._dolt.events(bead_id)

    def now(self) -> datetime:
        """Return the time in UTC, by the server's clock; embedded by ours."""
        return self._now() + (self._ahead or timedelta(0))

    def close(self) -> None:
        """Release the lock."""
        self._dolt.close()


class EmbeddedQueue:
    """An embedded bd, with locks and holds in files beside it. `ServerQueue` says what each method does."""

    def __init__(
        self, bd: Bd, folder: Path, assignee: str, now: Now, memory: LedgerFolder, last: LastSnapshot | None = None
    ) -> None:
        self._bd = bd
        self._memory = memory
        self._last = last or LastSnapshot()
        self._folder = folder.resolve()
        self._assignee = assignee
        self.now = now
        self._lock: LockFile | None = None

    def lock(self, job: str) -> bool:
        self._lock = LockFile(self._file(job))
        return self._lock.take()

    def locked(self) -> bool:
        return self._lock is not None and self._lock.held()

    def holder(self, job: str, held_for: float = 0.0) -> str:
        return LockFile(self._file(job)).holder(held_for)

    def _file(self, what: str) -> Path:
        """Return the file of a lock, or of the holds. bd's own .gitignore lists `*.lock`."""
        return self._folder / f"beads-{what}-{_who(self._assignee)}.lock"

    def snapshot(self) -> Snapshot:
        """Ask bd only if the database has changed: a watcher's tick follows its look at once."""
        # A bd at work changes the manifest twice, and `bd list` would wait for it anyway. Without this, the tick would
        # repeat a look that fell between the two changes. (The file is bd's own lock, 1.0.2 and 1.3.)
        wait_until_free(self._folder / "embeddeddolt" / ".lock", 1.0)
        before, last = self.fingerprint(), self._last
        if before and before == last.fingerprint:
            return last.snapshot
        beads, unreadable = self._bd.assigned(self._assignee)
        # `bd list` shows no comments. They matter if they may say that the bead is too large.
        known = (self._bd.show(one.id) if _too_large(one) and one.comment_count else one for one in beads)
        last.snapshot = Snapshot(tuple(known), unreadable)
        last.fingerprint = before if before == self.fingerprint() else ""
        return last.snapshot

    def fingerprint(self) -> str:
        """Return Dolt's manifests: each holds the hash of a whole database. (bd rewrites them at every call.)"""
        try:
            manifests = sorted(self._folder.glob("embeddeddolt/*/.dolt/noms/manifest"))
            return "".join(one.read_text() for one in manifests) + read_text(self._file("hold"))
        except OSError as error:
            raise Failure(f"{self._folder}: cannot be read: {error.strerror}") from None

    def holds(self) -> Holds:
        try:
            stored = json.loads(read_text(self._file("hold")) or "{}")
        except (ValueError, RecursionError):
            stored = {}
        known = stored if isinstance(stored, dict) else {}
        return _read_holds({kind: str(known.get(kind) or "") for kind in FURTHEST}, self.now())

    def closed(self, since: datetime) -> tuple[Bead, ...]:
        return _by_agents(self._bd.closed(self._assignee, since))

    def set_hold(self, kind: str, hold: Hold | None) -> None:
        holds = {**self.holds(), kind: hold}
        text = json.dumps({name: write_hold(one) for name, one in holds.items() if one})
        file = self._file("hold")
        new = file.with_suffix(".new.lock")
        try:
            new.write_text(text, "utf-8")
            new.replace(file)
        except OSError as error:
            raise Failure(f"{file}: cannot be written: {error.strerror}") from None

    def ledger(self, bead_ids: Sequence[str]) -> Mapping[str, Entry]:
        return _entries({bead_id: self._memory.read(bead_id) for bead_id in bead_ids})

    def remember(self, entry: Entry, over: Entry | None = None) -> None:
        if over is None or self._memory.read(entry.bead_id) == ledger.write(over):
            self._memory.write(entry.bead_id, ledger.write(entry))

    def runs_on(self, day: str) -> int:
        return _counted(self._memory.read(f"day {self._assignee}"), day)

    def count_runs(self, day: str, more: int) -> None:
        self._memory.write(f"day {self._assignee}", f"{day} {max(0, self.runs_on(day) + more)}")

    def check_writable(self) -> None:
        """Do nothing: the lock file, which is open for writing, shows it."""

    def history(self, bead_id: str) -> Sequence[Mapping[str, object]]:
        return self._bd.history(bead_id)

    def events(self, bead_id: str) -> Sequence[Mapping[str, object]]:
        return self._bd.events(bead_id)

    def fetch(self, bead_id: str, just_read: Bead | None = None) -> tuple[bool, Bead | None]:
        if just_read:
            return self.locked(), just_read
        try:
            return self.locked(), self._bd.show(bead_id)
        except NoBead:
            return self.locked(), None

    def close(self) -> None:
        if self._lock is not None:
            self._lock.release()


Queue = ServerQueue | EmbeddedQueue


def open_queue(
    workspace: Workspace,
    bd: Bd,
    assignee: str,
    now: Now,
    waiting: Waiting = unheard,
    last: LastSnapshot | None = None,
) -> Queue:
    """Return the queue of this workspace. `now`: this machine's clock. `last`: what one queue leaves for the next."""
    if workspace.server:
        return ServerQueue(Dolt(workspace.server, waiting), assignee, now, f"process {os.getpid()} on {os.uname()[1]}")
    memory = LedgerFolder(workspace.environ, workspace.identity(), ledger.KEPT)
    return EmbeddedQueue(bd, workspace.metadata.parent, assignee, now, memory, last)
