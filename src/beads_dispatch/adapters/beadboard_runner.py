"""The runner in its author's cluster: BeadBoard starts agents, and the agent service behind it knows its jobs."""

from dataclasses import dataclass

from beads_dispatch.adapters.agent_service import AgentService
from beads_dispatch.adapters.beadboard import BeadBoard
from beads_dispatch.adapters.runner import Runner
from beads_dispatch.core.beadboard_answers import understand
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.runner import Answer, Job, Room, Stage

UNSET = "AGENT_SERVICE_URL is not set"


@dataclass(frozen=True)
class BeadBoardRunner(Runner):
    """`board`, `agent_service`: None if its URL is not set. At least one of them is.

    It stops no job: the agent service answers 405 to that.
    """

    board: BeadBoard | None
    agent_service: AgentService | None

    @property
    def follows(self) -> bool:
        return self.agent_service is not None

    def room(self) -> Room:
        """Ask the agent service first: BeadBoard hangs while the agent service hangs."""
        room = self.agent_service.room() if self.agent_service else Room(free=True)
        if room.free and self.board and self.board.busy():
            return Room(free=False, cached=True)
        return room

    def start(self, claim: Claim) -> Answer:
        assert self.board, "only a command that starts nothing runs without BEADBOARD_URL"
        return understand(self.board.dispatch(claim.bead.id))

    def job(self, job_id: str) -> Job:
        return self.agent_service.job(job_id) if self.agent_service else Job(Stage.DOUBT, UNSET)

    def idle(self) -> bool | None:
        return self.agent_service.idle() if self.agent_service else None
