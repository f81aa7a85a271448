"""The runner in its author's cluster: BeadBoard starts agents, and the agent service behind it knows its jobs."""

from beads_dispatch.adapters.agent_service import AgentService
from beads_dispatch.adapters.beadboard import BeadBoard
from beads_dispatch.core import marks
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.beadboard_answers import understand
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.runner import Answer, Job, Room, Stage

UNSET = "AGENT_SERVICE_URL is not set"


class BeadBoardRunner:
    """`board`, `agent_service`: None if its URL is not set. At least one of them is."""

    def __init__(self, board: BeadBoard | None, agent_service: AgentService | None) -> None:
        self._board = board
        self._agent_service = agent_service

    @property
    def follows(self) -> bool:
        return self._agent_service is not None

    def room(self) -> Room:
        """Ask the agent service first: BeadBoard hangs while the agent service hangs."""
        room = self._agent_service.room() if self._agent_service else Room(free=True)
        if room.free and self._board and self._board.busy():
            return Room(free=False, cached=True)
        return room

    def start(self, claim: Claim) -> Answer:
        assert self._board, "only a command that starts nothing runs without BEADBOARD_URL"
        return understand(self._board.dispatch(claim.bead.id))

    def job_of(self, bead: Bead) -> str:
        return marks.job(bead)

    def job(self, job_id: str) -> Job:
        return self._agent_service.job(job_id) if self._agent_service else Job(Stage.DOUBT, UNSET)

    def idle(self) -> bool | None:
        return self._agent_service.idle() if self._agent_service else None

    def stop(self, job_id: str) -> bool:
        return False  # the agent service answers 405
