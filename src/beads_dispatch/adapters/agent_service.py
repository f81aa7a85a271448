"""The agent service behind BeadBoard: whether it has room, and how its jobs are."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from beads_dispatch.adapters.exchange import Ask, Request
from beads_dispatch.adapters.waiting import Waiting
from beads_dispatch.core.beadboard_answers import brief
from beads_dispatch.core.errors import ServiceFailed
from beads_dispatch.core.text import json_object

if TYPE_CHECKING:
    from beads_dispatch.core.runner import Job, Room

ASK_SECONDS = 10.0
MOST_BYTES = 1024 * 1024  # a job's answer holds its whole prompt and output; a longer one cannot be judged


@dataclass(slots=True)
class AgentService:
    """The agent service by its base URL. `token`: returns the token for its jobs as it is now, or raises ServiceFailed.

    `waiting` gets a line on each long wait.
    """

    url: str
    token: Callable[[], str]
    request: Request
    waiting: Waiting
    monotonic: Callable[[], float]
    _silent_until: float = -math.inf
    _silence: str = ""

    def room(self) -> "Room":
        """Return the room that its health reports. Raise ServiceFailed."""
        from beads_dispatch.core import capacity  # an idle tick does not ask

        room = capacity.room(self._health())
        if room is None:
            raise ServiceFailed("the agent service's health has no `busy`", self.url)
        return room

    def idle(self) -> bool | None:
        """Return whether it has no job left, active or queued; None if it cannot say. No token is needed."""
        from beads_dispatch.core import capacity

        try:
            health = self._health()
        except ServiceFailed:
            return None
        if (counts := capacity.counts(health, "active", "queued")) is not None:
            return counts == [0, 0]
        busy = health.get("busy")  # the first generation has one slot and no counts
        return not busy if isinstance(busy, bool) else None

    def job(self, job_id: str) -> "Job":
        """Return a job as it is now. Anything but a clear answer is a Job in DOUBT; nothing is raised.

        If the service has not answered at all, it is not asked again for ten seconds: with many beads running, each
        question to a service that hangs would take its whole deadline.
        """
        from beads_dispatch.core.runner import Job, Stage
        from beads_dispatch.core.runs import parse  # an idle tick asks about no job

        if self.monotonic() < self._silent_until:
            return Job(Stage.DOUBT, self._silence)
        url = f"{self.url}/jobs/{quote(job_id, safe='')}"
        try:
            token = self.token()
        except ServiceFailed as error:
            return Job(Stage.DOUBT, str(error))
        ask = Ask("GET", url, ASK_SECONDS, self.waiting, f"the agent service at {url}", None, token, MOST_BYTES)
        reply = self.request(ask)
        document = json_object(reply.body)
        if reply.status is None:
            self._silent_until, self._silence = self.monotonic() + ASK_SECONDS, brief(reply)
        if reply.status == 404 and document == {"detail": "Job not found"}:
            return Job(Stage.UNKNOWN)
        if reply.status != 200 or document is None:
            return Job(Stage.DOUBT, brief(reply))
        return parse(document)

    def _health(self) -> dict[str, object]:
        url = f"{self.url}/health"
        reply = self.request(Ask("GET", url, ASK_SECONDS, self.waiting, f"the agent service at {url}"))
        document = json_object(reply.body)
        if document is None or reply.status != 200:
            raise ServiceFailed(f"the agent service is not healthy: {brief(reply)}", url)
        return document
