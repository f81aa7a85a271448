"""What a tick or a sweep says: a line of text for a person, or of JSON for a collector."""

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

from beads_dispatch.notes import one_line, utc


@dataclass(frozen=True, slots=True)
class Log:
    """Writes one line an event: to stdout, and what is worth an alert to stderr."""

    name: str
    as_json: bool = False

    def say(self, event: str, text: str, *, bead: str = "", level: str = "info") -> None:
        text = one_line(text, 600)
        stream = sys.stderr if level == "error" else sys.stdout
        line = f"{self.name}: {bead + ': ' if bead else ''}{text}"
        if self.as_json:
            known = {"time": utc(datetime.now(UTC)), "level": level, "logger": self.name, "event": event}
            line = json.dumps({**known, "bead": bead or None, "message": text}, ensure_ascii=False)
        print(line, file=stream, flush=True)

    def fail(self, event: str, text: str, *, bead: str = "") -> None:
        self.say(event, text, bead=bead, level="error")
