"""bd's process, as `adapters/bd_process.py` runs it: what it answers, and how it goes wrong."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from beads_dispatch.errors import BdFailed, NotAsExpected
from simulation.services import Services
from simulation.world import Crash, World

SERIALIZATION = "bd update: serialization failure: this transaction conflicts with a committed transaction (exit 1)"


@dataclass
class SimulatedBd:
    """bd 1.0.2 has no guards, and reads long before it writes, so that it can lose another one's note."""

    world: World
    services: Services
    who: str
    known_version: str

    def version(self) -> str:
        return self.known_version

    def json(self, verb: str, *words: str, within: float | None = None) -> object:
        self.world.step(self.who, f"bd {verb}")
        if self.world.hits("bd hiccup", 0.05) or self.world.lasts("bd away", 0.02):
            raise BdFailed(f"bd {verb}: dolt circuit breaker is open (exit 1)")
        if verb == "ready":
            return [as_json(row) for row in self.world.rows.values() if self._ready(row)]
        if verb == "show":
            return [as_json(self.world.rows[words[-1].removeprefix("--id=")])]
        return [self._update(words[-1], words[1:-2])]

    def _ready(self, row: dict[str, Any]) -> bool:
        until = row.get("defer_until")
        return bool(row["status"] == "open" and not (until and until > self.world.now()))

    def _update(self, bead: str, words: Sequence[str]) -> dict[str, Any]:
        row = self.world.rows[bead]
        notes, guarded = row["notes"], self.known_version != "1.0.2"
        orphaned = self._works(f"bd update {bead} {' '.join(words)}")
        if self.world.hits("1213", 0.1):
            raise BdFailed(SERIALIZATION)
        if guarded or not self.world.hits("lost note", 0.3):
            notes = row["notes"]
        self._guard(row, words)
        self._check(bead, words)
        for word in words:
            _apply(row, notes, *word.split("=", 1))
        self.world.changed(bead)
        if orphaned:
            raise Crash
        if self.world.hits("bd written, exit 1", 0.1):
            raise BdFailed("bd update: interrupted (exit 1)")
        return as_json(row)

    def _works(self, what: str) -> bool:
        """Whether the process that ran it died meanwhile. bd outlives it."""
        try:
            self.world.step(self.who, what)
        except Crash:
            if not self.world.hits("orphan", 0.7):
                raise
            self.world.sleep(self.world.random.random() * 5)
            return True
        return False

    def _guard(self, row: dict[str, Any], words: Sequence[str]) -> None:
        for key in ("status", "assignee"):
            wanted = [word.partition("=")[2] for word in words if word.startswith(f"--if-{key}=")]
            if wanted and wanted[0] != row[key]:
                raise NotAsExpected(f"bd update: {key} is {row[key]}")

    def _check(self, bead: str, words: Sequence[str]) -> None:
        status = next((word.partition("=")[2] for word in words if word.startswith("--status=")), "")
        if any(word.startswith("--set-metadata=beads_dispatch.claim=") for word in words):
            self.services.claimed(self.who, bead)
        elif status:
            self.world.ledger.status(self.who, bead, status)


def _apply(row: dict[str, Any], notes: str, name: str, value: str) -> None:
    if name == "--append-notes":
        row["notes"] = f"{notes}\n{value}" if notes else value
    elif name == "--status":
        row["status"] = value
    elif name == "--set-metadata":
        key, _, text = value.partition("=")
        row["metadata"] = {**row["metadata"], key: _as_bd_reads(text)}
    elif name == "--unset-metadata":
        row["metadata"] = {key: one for key, one in row["metadata"].items() if key != value}


def _as_bd_reads(text: str) -> object:
    try:
        return json.loads(text) if not text.startswith('"') else text
    except ValueError:
        return text


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    times = {key: row[key].isoformat() for key in ("updated_at", "defer_until") if row.get(key)}
    return {**row, **times}
