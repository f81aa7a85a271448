"""What a runner says: whether it has room, what became of a start, and what became of a job."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum


@dataclass(frozen=True, slots=True)
class Room:
    """Whether one more agent would start now.

    `taken`, `capacity`: None if the runner does not count its places.
    `cached`: the answer may be two seconds old (BeadBoard's status), so asking again at once would be no use.
    """

    free: bool
    taken: int | None = None
    capacity: int | None = None
    cached: bool = False

    def __str__(self) -> str:
        if self.taken is None or self.capacity is None:
            return "has room" if self.free else "busy"
        return f"room for {self.capacity - self.taken}" if self.free else f"busy ({self.taken} of {self.capacity})"


class Outcome(Enum):
    """What became of a start, and so what happens to the claim."""

    ACCEPTED = "an agent has it"
    BUSY = "not started, no room: back to open, the queue waits 2 minutes"
    NOT_STARTED = "not started, the service's fault: back to open, the queue waits, longer each time"
    BEAD_AT_FAULT = "not started, the bead's fault: back to open, this bead waits, five attempts"
    UNCLEAR = "an agent may have it: stays claimed"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a runner answered to a start.

    `text`: for the note, not yet shortened. `job`: the job's id, only if accepted. `status`: HTTP, if there was one.
    """

    outcome: Outcome
    status: int | None
    text: str
    job: str = ""


class Stage(Enum):
    """Where a job is.

    STOPPED: its runner was stopped with it, or its machine was restarted; `words` say so. The bead may run again.
    FOREIGN: another machine started it. DOUBT: the answer says nothing that we may act on.
    """

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    ERROR = "error"
    STOPPED = "stopped"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"
    DOUBT = "doubt"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its runner describes it. Times are aware, UTC.

    `words`: the agent's final message, or the line that says what went wrong, or the runner's own error.
    `trouble`: why the agent could not work by its own words (a value of wordings.Trouble), or nothing. `sure`: a result
    object or an event says so, and not only plain words. `cost`: US dollars. `session`: to continue it with.
    `gone`: its process is known to be gone, also after a timeout.
    `check`: the command that tested its work, if it ended well. `check_failed`: how that failed, such as `exit 2`; then
    `words` are the check's.
    `timed`: its runner stops it at a timeout, so a long run does not mean that it hangs.
    `reason`: what ended it if that was not the agent: `out of memory`, an eviction.
    `cannot_run`: the agent never ran, and `words` say why. Its runner must `stop` the job before the bead is opened.
    `final_after`: how long after the bead's claim this answer begins to prove anything.
    """

    stage: Stage
    words: str = ""
    exit_code: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    trouble: str = ""
    sure: bool = False
    cost: float | None = None
    session: str = ""
    gone: bool = False
    check: str = ""
    check_failed: str = ""
    timed: bool = False
    reason: str = ""
    cannot_run: bool = False
    final_after: timedelta = timedelta(0)
