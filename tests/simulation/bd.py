"""bd's process, 1.0.2 or 1.3.0: what adapters/bd_process.py answers. Agents and people write with it too.

tests/real/test_contract.py holds this and the real ones to the same answers.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from beads_dispatch.core.errors import BdFailed, NoBead, NotAsExpected
from simulation.rows import Read, Row
from simulation.world import Actor, Crash

DEADLINE = 40.0  # seconds, as in adapters/bd_process.py
INSIDE = 30.0  # for so long bd itself tries again


@dataclass
class Change:
    """One `bd update`, read from its words."""

    bead: str
    append: list[str] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    set: dict[str, object] = field(default_factory=dict)
    unset: list[str] = field(default_factory=list)
    merge: dict[str, object] = field(default_factory=dict)
    if_status: str | None = None
    if_assignee: str | None = None

    @property
    def touches_metadata(self) -> bool:
        return bool(self.set or self.unset or self.merge)


def read_words(words: tuple[str, ...]) -> Change:
    change = Change(words[-1])
    for word in words[:-2]:
        name, _, value = word.partition("=")
        key, _, text = value.partition("=")
        match name:
            case "--append-notes":
                change.append.append(value)
            case "--notes" | "--status" | "--assignee":
                change.fields[name[2:]] = value
            case "--acceptance":
                change.fields["acceptance_criteria"] = value
            case "--defer":
                change.fields["defer_until"] = float(value)
            case "--set-metadata":
                change.set[key] = _as_bd_reads(text)
            case "--unset-metadata":
                change.unset.append(value)
            case "--metadata":
                change.merge.update(json.loads(value))
            case "--if-status":
                change.if_status = value
            case "--if-assignee":
                change.if_assignee = value
    return change


def _as_bd_reads(text: str) -> object:
    """A value that looks like JSON becomes JSON; a text in quotes keeps them."""
    try:
        return json.loads(text) if not text.startswith('"') else text
    except ValueError:
        return text


@dataclass
class SimulatedBd:
    """bd as one actor runs it."""

    actor: Actor

    def version(self) -> str:
        return self.actor.world.plan.bd

    def json(self, verb: str, *words: str, within: float | None = None) -> object:
        deadline = min(DEADLINE, within or DEADLINE)
        if verb == "update":
            return [self._update(read_words(words), deadline)]
        self.actor.step(f"bd {verb}")
        self._reach(deadline, verb)
        rows = self.actor.world.rows
        if verb == "ready":
            return [row.by_bd for row in rows.values() if self._ready(row)]
        bead = words[-1].removeprefix("--id=")
        if bead not in rows:
            raise NoBead(f"bd {verb}: no issues found matching the provided IDs (exit 1)")
        self.actor.read[bead] = self.actor.world.versions[bead]
        return [rows[bead].by_bd]

    def _ready(self, row: Row) -> bool:
        waits = row.get("defer_until") and row["defer_until"] > self.actor.world.now()
        return row["status"] == "open" and row["assignee"] == "agent" and not waits

    def _reach(self, deadline: float, verb: str) -> None:
        """bd gets its database, at once or after trying inside for up to 30 s. Raises BdFailed."""
        actor, world = self.actor, self.actor.world
        if actor.hits("bd away"):
            world.lose("bd", actor.random.choice((5, 5, 20, 120)))
        until = max(world.away["bd"], world.away["Dolt"])
        if world.seconds >= until:
            return
        wait = until - world.seconds + 0.1
        if world.is_away("bd") or wait > min(INSIDE, deadline) or actor.random.random() < 0.5:
            world.say(f"{actor.name}: bd {verb} fails")
            raise BdFailed(f"bd {verb}: dolt circuit breaker is open (exit 1)")
        world.sleep(wait)

    def _update(self, change: Change, deadline: float) -> Read:
        actor, world = self.actor, self.actor.world
        world.invariants.about_to_write(actor, change)
        actor.step(f"bd update {change.bead}: {_shown(change)}")
        began = world.seconds
        self._wait()
        self._reach(deadline, "update")
        write = self._begin(change)
        try:
            actor.step(f"bd writes {change.bead}")
        except Crash:  # bd outlives the process that ran it, and may be waiting for its database
            world.at(INSIDE * actor.random.random() ** 3, lambda: self._orphaned(write))
            raise
        if world.seconds - began > deadline or actor.hits("bd killed at its deadline"):
            world.unwritable_until = max(world.unwritable_until, world.seconds)
            raise BdFailed("bd update: no answer within its deadline")
        row = write()
        if actor.hits("bd written, exit 1"):
            world.say(f"{actor.name}: bd has written {change.bead}, but exits with 1")
            raise BdFailed("bd update: interrupted (exit 1)")
        return row

    def _wait(self) -> None:
        """bd tries again inside: it is slow, or Dolt goes away under its hands."""
        actor, world = self.actor, self.actor.world
        if actor.hits("Dolt away"):
            world.lose("Dolt", 20 * actor.random.random())
            world.sleep(world.away["Dolt"] - world.seconds + 5 * actor.random.random())
        elif actor.hits("bd slow"):
            world.sleep(INSIDE * actor.random.random())

    def _orphaned(self, write: Callable[[], Read]) -> None:
        try:
            write()
            self.actor.world.say(f"{self.actor.name}: the bd that outlived it has written")
        except BdFailed:
            pass

    def _begin(self, change: Change) -> Callable[[], Read]:
        """bd reads the bead, and later writes what it made of it."""
        world, bead = self.actor.world, change.bead
        base, version = world.rows[bead], world.versions[bead]

        def commit() -> Read:
            row = world.rows[bead]
            self._guard(row, change)
            known = Row(row)
            if world.versions[bead] != version:
                self._meet(known, base, change)
            new = world.rows[bead] = _changed(known, change, self.actor)
            if new["status"] != row["status"]:
                world.woken.discard(bead)
            world.changed(bead)
            world.invariants.wrote(self.actor, change, row)
            return new.by_bd

        return commit

    def _guard(self, row: Row, change: Change) -> None:
        """bd 1.3's compare-and-set."""
        if change.if_status is None or self.version().startswith("1.0."):
            return
        if (row["status"], row["assignee"]) != (change.if_status, change.if_assignee):
            raise NotAsExpected("bd update: status or assignee is not as expected (exit 13)")

    def _meet(self, known: Row, base: Row, change: Change) -> None:
        """Two writes of one bead at once: one fails, or under 1.0.2 takes away what the other has written."""
        actor = self.actor
        if actor.hits("serialization failure"):
            actor.world.say(f"{actor.name}: Error 1213, nothing written")
            raise BdFailed("bd update: Error 1213 (40001): serialization failure (exit 1)")
        if not self.version().startswith("1.0."):
            return
        if change.append and actor.hits("lost note"):
            actor.world.say(f"{actor.name}: takes away a line of {change.bead}")
            known["notes"] = base["notes"]
        if change.touches_metadata and actor.hits("lost marks"):
            actor.world.say(f"{actor.name}: takes away marks of {change.bead}")
            known["metadata"] = base["metadata"]


def _changed(row: Row, change: Change, actor: Actor) -> Row:
    new = Row({**row, **change.fields, "updated_at": actor.now().replace(microsecond=0)})
    if "defer_until" in change.fields:
        new["status"] = "deferred"
        new["defer_until"] = actor.world.now() + timedelta(seconds=change.fields["defer_until"])
    for line in change.append:
        new["notes"] = f"{new['notes']}\n{line}" if new["notes"] else line
    if change.touches_metadata:
        metadata = {**row["metadata"], **change.merge, **change.set}
        new["metadata"] = {key: value for key, value in metadata.items() if key not in change.unset}
    return new


def _shown(change: Change) -> str:
    parts = [f"{key}={value}" for key, value in {**change.fields, **change.set, **change.merge}.items()]
    return " ".join([*parts, *(f"-{key}" for key in change.unset), *change.append]).replace("beads_dispatch.", "")
