"""Where agents run: BeadBoard with its agent service, this laptop, or Kubernetes Jobs. All speak one protocol."""

from typing import TYPE_CHECKING, Protocol

from beads_dispatch.core import marks
from beads_dispatch.core.errors import ServiceFailed

if TYPE_CHECKING:
    from beads_dispatch.core.bead import Bead
    from beads_dispatch.core.claim import Claim
    from beads_dispatch.core.runner import Answer, Job, Room


class Runner(Protocol):
    """Start agents, and say what became of them.

    `follows`: it counts its own places and can say what became of a job. If not, only the threshold ends a run.
    `here`: its agents run on this machine, so that asking it takes no time.
    """

    here: bool = False

    @property
    def follows(self) -> bool: ...

    def room(self) -> "Room":
        """Return whether one more agent would start now. Raise ServiceFailed if it gives no usable answer."""

    def start(self, claim: "Claim") -> "Answer":
        """Start an agent on a bead that we have claimed. Called once for each claim, whatever it answers.

        `claim.bead`: as it was right before the claim. Raise nothing: what cannot be told is an UNCLEAR answer.
        """

    def job_of(self, bead: "Bead") -> str:
        """Return the id of the job that the bead's claim has started, or nothing if it has none or none is known."""
        return marks.job(bead)

    def job(self, job_id: str) -> "Job":
        """Return a job as it is now. Raise nothing: whatever is no clear answer is a Job in DOUBT."""

    def idle(self) -> bool | None:
        """Return whether no job is left at all, active or queued; None if it cannot say."""
        return None

    def stop(self, job_id: str) -> bool:
        """End a run. Return whether it is known to have ended; False if that takes longer, or if we cannot end it.

        Raise ServiceFailed.
        """
        return False


UNSET = "neither BEADBOARD_URL nor BEADS_AGENT_CRONJOB is set"


class _Nowhere(Runner):
    """Nothing here says where agents run: a second terminal beside a watcher, or `status` without variables."""

    follows = False

    def room(self) -> "Room":
        raise ServiceFailed(f"nothing here says where agents run: {UNSET}")

    def start(self, claim: "Claim") -> "Answer":
        raise AssertionError("a command that starts agents knows its runner")

    def job(self, job_id: str) -> "Job":
        from beads_dispatch.core.runner import Job, Stage

        return Job(Stage.DOUBT, UNSET)


NOWHERE: Runner = _Nowhere()
