"""What really happened to each bead, and what must never happen: the invariants."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from beads_dispatch.core import notes
from beads_dispatch.core.backoff import MAX_RUNS

CLAIM_MARK = "beads_dispatch.claim"
MOST_NOTES = 20_000  # bytes on one bead in one schedule


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class Ledger:
    """`sent`: beads that an agent may have. `runs`: dispatches without a person's word in between."""

    rows: Mapping[str, dict[str, Any]]
    sent: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)  # of those, the ones that surely have an agent
    runs: Counter[str] = field(default_factory=Counter)
    reopened: set[str] = field(default_factory=set)  # since their claim
    replaced: set[str] = field(default_factory=set)  # their notes, since a person's word
    stripped: set[str] = field(default_factory=set)  # their marks, since a person's word
    unmarked: set[str] = field(default_factory=set)  # their marks, since their claim

    def claimed(self, bead: str) -> None:
        self.reopened.discard(bead)
        self.unmarked.discard(bead)

    def strip(self, bead: str) -> None:
        """An agent or a person takes our marks away."""
        self.stripped.add(bead)
        self.unmarked.add(bead)

    def post(self, bead: str) -> None:
        if bead in self.sent:
            raise Broken(f"{bead} is POSTed twice")
        if bead not in self.reopened:  # between our last look and the POST: then the person's word came first
            self.sent.add(bead)

    def accept(self, bead: str) -> None:
        self.accepted.add(bead)
        self.runs[bead] += 1
        if bead in self.replaced and bead in self.stripped:
            return  # who takes both records away starts the count anew
        most = MAX_RUNS * (2 if bead in self.stripped else 1)  # the notes have a lower bound: bd 1.0.2 can lose a line
        if self.runs[bead] > most:
            raise Broken(f"{bead} has run {self.runs[bead]} times without a person's word")

    def not_started(self, bead: str) -> None:
        """A POST started nothing, or the run ended on a usage limit."""
        self.sent.discard(bead)
        self.accepted.discard(bead)

    def limited(self, bead: str) -> None:
        """The run ended on a usage limit: it may be sent again."""
        self.not_started(bead)
        self.runs[bead] -= 1

    def opened(self, bead: str, *, by_person: bool) -> None:
        self.not_started(bead)
        self.reopened.add(bead)
        if by_person:
            self.word(bead)

    def word(self, bead: str) -> None:
        """A person has looked after this bead."""
        self.runs[bead] = 0
        self.replaced.discard(bead)
        self.stripped.discard(bead)

    def changed(self, bead: str) -> None:
        """Others who take away both records of a dispatch take away that it was sent. (Not guaranteed, and said so.)"""
        row = self.rows[bead]
        if bead in self.unmarked and CLAIM_MARK not in row["metadata"] and not notes.possibly_dispatched(row["notes"]):
            self.not_started(bead)
        if len(row["notes"]) > MOST_NOTES:
            raise Broken(f"{bead} has {len(row['notes'])} bytes of notes")

    def status(self, who: str, bead: str, status: str) -> None:
        """A status that a process of ours writes on a bead in progress."""
        if self.rows[bead]["status"] != "in_progress" or bead not in self.accepted:
            return
        if who.startswith("tick"):
            raise Broken(f"{who} sets {bead} {status}, although an agent has it")
        if status != "blocked":
            raise Broken(f"{who} sets {bead} {status}, although its run did not end on a usage limit")
