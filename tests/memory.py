"""A queue in memory, to test what a real database cannot show, such as a time in the future."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from beads_dispatch.adapters.queue import Snapshot
from beads_dispatch.core import marks
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import DoltFailed
from beads_dispatch.core.holds import Hold, Holds
from beads_dispatch.core.ledger import Entry

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)


@dataclass
class Database:
    """What several queues share: the beads by id, who holds which lock, and the time."""

    beads: dict[str, Bead] = field(default_factory=dict)
    locks: dict[str, "MemoryQueue"] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    ledger: dict[str, Entry] = field(default_factory=dict)
    events: dict[str, list[Mapping[str, object]]] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    now: datetime = NOW
    changes: int = 0
    reads: int = 0
    fingerprints: int = 0
    gone: bool = False

    def put(self, bead_id: str, **fields: object) -> None:
        known = {"id": bead_id, "status": "open", "priority": 2, "updated_at": self.now, "assignee": "agent"}
        new = Bead(**{**known, "acceptance_criteria": "it works", **fields})  # type: ignore[arg-type]
        self.beads[bead_id], self.changes = new, self.changes + 1

    def set(self, bead_id: str, **fields: object) -> None:
        self.beads[bead_id] = replace(self.beads[bead_id], **fields)  # type: ignore[arg-type]
        self.changes += 1


@dataclass(eq=False)
class MemoryQueue:
    database: Database
    job: str = ""

    def lock(self, job: str) -> bool:
        if self.database.locks.setdefault(job, self) is not self:
            return False
        self.job = job
        return True

    def locked(self) -> bool:
        return self.database.locks.get(self.job) is self

    def holder(self, job: str, held_for: float = 0.0) -> str:
        return "somebody" if job in self.database.locks and not held_for else ""

    def snapshot(self) -> Snapshot:
        self._reach()
        self.database.reads += 1
        return Snapshot(tuple(bead for bead in self.database.beads.values() if bead.status != "closed"))

    def fingerprint(self) -> str:
        self._reach()
        self.database.fingerprints += 1
        return str(self.database.changes)

    def fetch(self, bead_id: str, just_read: Bead | None = None) -> tuple[bool, Bead | None]:
        self._reach()
        return self.locked(), self.database.beads.get(bead_id)

    def holds(self) -> Holds:
        self._reach()
        return dict(self.database.holds)

    def closed(self, since: datetime) -> tuple[Bead, ...]:
        self._reach()
        beads = self.database.beads.values()
        return tuple(bead for bead in beads if bead.status == "closed" and bead.updated_at >= since and marks.job(bead))

    def ledger(self, bead_ids: Sequence[str]) -> Mapping[str, Entry]:
        return {key: entry for key, entry in self.database.ledger.items() if key in bead_ids}

    def remember(self, entry: Entry, over: Entry | None = None) -> None:
        if over is None or self.database.ledger.get(entry.bead_id) == over:
            self.database.ledger[entry.bead_id] = entry

    def runs_on(self, day: str) -> int:
        return self.database.runs.get(day, 0)

    def count_runs(self, day: str, more: int) -> None:
        self.database.runs[day] = max(0, self.runs_on(day) + more)

    def events(self, bead_id: str) -> Sequence[Mapping[str, object]]:
        return self.database.events.get(bead_id, ())

    def set_hold(self, kind: str, hold: Hold | None) -> None:
        self._reach()
        self.database.changes += 1
        if hold:
            self.database.holds[kind] = hold
        else:
            self.database.holds.pop(kind, None)

    def check_writable(self) -> None:
        self._reach()

    def now(self) -> datetime:
        return self.database.now

    def close(self) -> None:
        if self.database.locks.get(self.job) is self:
            del self.database.locks[self.job]

    def _reach(self) -> None:
        if self.database.gone:
            raise DoltFailed("Dolt at nowhere: refused")
