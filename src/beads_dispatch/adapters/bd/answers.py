"""What bd's answers mean. Its JSON is opened here, and its failures become ours."""

import json
import re
from dataclasses import dataclass

from beads_dispatch.core.errors import Ambiguous, BdFailed, Failure, NoBead, NotAsExpected, WritesRefused
from beads_dispatch.core.text import one_line

# Exit statuses of bd 1.3: --if-status or --if-assignee does not hold; a file MIGRATION-FREEZE forbids every write.
MISMATCH, FROZEN = 13, 14

_MARKER = re.compile(r"freeze marker at (.+)\.$", re.MULTILINE)
_AMBIGUOUS = re.compile(r'ambiguous (?:issue )?ID:? "(.*?)" matches \d+ issues: \[(.*?)\]')

# bd and the schema are of different versions. In this order: bd 1.3 refuses to write to an older schema; it cannot read
# 1.0.2's; bd 1.1 and later refuse a newer one; 1.0.2 reads a newer one, but cannot write (on a server; embedded).
_SCHEMA = re.compile(
    r"pending schema migration|table not found: |could not be found in any table|schema version mismatch"
    r"|Field 'id' doesn't have a default value|foreign key constraint fails .*`fk_events_issue`"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call of bd ended, and what it printed."""

    verb: str
    code: int
    out: str
    err: str

    def document(self) -> object:
        """Return its JSON, without the envelope that bd 1.3 can put around it and 2.0 will. Raise BdFailed."""
        try:
            return _opened(json.loads(self.out))
        except (ValueError, RecursionError):
            raise BdFailed(f"bd {self.verb}: its answer is not JSON: {one_line(self.out, 80)!r}") from None

    @property
    def message(self) -> str:
        """Return what bd says about a failure: JSON on either stream, or plain text among warnings on stderr."""
        # bd 1.0.2's `show` finds "no issues" also if its query failed. The reason is then on stderr only.
        for line in self.err.splitlines():
            if line.startswith("Error fetching") and "no issue found" not in line:
                return one_line(line)
        for stream in (self.out, self.err):
            try:
                document = _opened(json.loads(stream))
            except (ValueError, RecursionError):
                continue
            if isinstance(document, dict) and document.get("error"):
                return one_line(str(document["error"]))
        lines = [line for line in (self.err + "\n" + self.out).splitlines() if line[:5] == "Error"]
        return one_line(lines[0] if lines else self.err or self.out) or "no message"


def _opened(document: object) -> object:
    if isinstance(document, dict) and document.keys() == {"data", "schema_version"}:
        return document["data"]
    return document


def failure(answer: Answer, version: str) -> Failure:
    """Return the error that a failed call stands for. `version`: of this bd."""
    message = answer.message
    if answer.code == MISMATCH:
        return NotAsExpected(f"bd {answer.verb}: {message}")
    if answer.code == FROZEN:
        marker, why = _MARKER.search(answer.err), one_line(answer.err.removeprefix("⛔ ERROR: "))
        do = f"until somebody removes {marker[1]}" if marker else "until its freeze marker can be read"
        return WritesRefused(f"bd refuses every write {do} ({why})")
    if _SCHEMA.search(message):
        return WritesRefused(
            f"bd {version} and this database's schema do not fit. Use the version of bd that your other clients use, "
            f"or upgrade bd for all of them and run `bd migrate schema` once ({message})"
        )
    if ambiguous := _AMBIGUOUS.search(message):
        return Ambiguous(f"{ambiguous[1]} is short for several beads: {', '.join(ambiguous[2].split())}")
    kind = NoBead if "no issues found" in message else BdFailed
    return kind(f"bd {answer.verb}: {message} (exit {answer.code})")
