"""The agent service behind BeadBoard: does it have room."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from beads_dispatch.core.outcomes import brief, json_object
from beads_dispatch.errors import ServiceFailed

if TYPE_CHECKING:
    from beads_dispatch.adapters.http import Request

ASK_SECONDS = 10.0


class AgentService:
    """The agent service by its base URL, empty where it is not set. `waiting` gets a line on each long wait."""

    def __init__(self, url: str, request: "Request", waiting: Callable[[str], None]) -> None:
        self._url = url
        self._request = request
        self._waiting = waiting

    def has_room(self) -> bool:
        """Whether it would start one more agent now; True where it is not set. Raises ServiceFailed."""
        return not self._url or self._room(self._health())

    def _health(self) -> dict[str, object]:
        url = f"{self._url}/health"
        wait = f"waiting for the agent service at {url}, for up to {ASK_SECONDS:g} s"
        reply = self._request("GET", url, ASK_SECONDS, None, lambda: self._waiting(wait))
        document = json_object(reply.body)
        if document is None or reply.status != 200:
            raise ServiceFailed(f"the agent service is not healthy: {brief(reply)}", url)
        return document

    def _room(self, health: dict[str, object]) -> bool:
        """Not busy and, where the service counts, a free place. Its first generation has only `busy`."""
        counts = [health.get(key) for key in ("capacity", "active", "queued")]
        if all(isinstance(count, int) for count in counts):
            capacity, active, queued = (int(str(count)) for count in counts)
            return capacity - active - queued > 0 and health.get("busy") is not True
        if not isinstance(health.get("busy"), bool):
            raise ServiceFailed("the agent service's health has no `busy`", self._url)
        return not health["busy"]
