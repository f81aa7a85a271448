"""BeadBoard: is its agent busy, and start the agent on a bead."""

from collections.abc import Callable
from dataclasses import dataclass

from beads_dispatch.adapters.clock import Clock
from beads_dispatch.adapters.exchange import Ask, Request
from beads_dispatch.adapters.waiting import Waiting
from beads_dispatch.core.beadboard_answers import Reply, brief
from beads_dispatch.core.errors import ServiceFailed
from beads_dispatch.core.text import json_object

ASK_SECONDS = 10.0
WAKE_SECONDS = 45.0  # how long BeadBoard may take to wake up from zero replicas
WAKE_PAUSE = 1.0
POST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class BeadBoard:
    """BeadBoard by its base URL.

    `stopping` ends the wait for a BeadBoard that is waking up. `waiting` gets a line on each long wait, once.
    """

    url: str
    request: Request
    clock: Clock
    stopping: Callable[[], bool]
    waiting: Waiting

    def busy(self) -> bool:
        """Return whether its agent has no room. Raise ServiceFailed if it gives no usable answer.

        It fails open: it answers `busy: false` while the agent service is down.
        """
        busy = self._status().get("busy")
        if not isinstance(busy, bool):
            raise ServiceFailed("BeadBoard's status has no `busy`", self.url)
        return busy

    def dispatch(self, bead_id: str) -> Reply:
        """POST the bead once, on a fresh connection, within 60 s, whatever comes back."""
        url = f"{self.url}/api/agent-dispatch"
        what = f"the answer of BeadBoard at {self.url}"
        return self.request(Ask("POST", url, POST_SECONDS, self.waiting, what, {"taskId": bead_id}))

    def _status(self) -> dict[str, object]:
        """Return BeadBoard's status. Ask again after a refused connection or a waiting page: BeadBoard wakes up."""
        until, url = self.clock.monotonic() + WAKE_SECONDS, f"{self.url}/api/agent-status"
        ask, noticed = Ask("GET", url, ASK_SECONDS, self.waiting, f"the status of BeadBoard at {self.url}"), False
        while True:
            reply = self.request(ask)
            document = json_object(reply.body)
            if document is not None and reply.status == 200:
                return document
            waking = document is None and (reply.status is not None or not reply.delivered)
            if not waking or self.stopping() or self.clock.monotonic() + WAKE_PAUSE > until:
                raise ServiceFailed(f"BeadBoard gave no usable status: {brief(reply)}", url)
            if not noticed:
                what = f"BeadBoard does not answer at {url}: {brief(reply)}"
                self.waiting(f"{what}; asking again for up to {WAKE_SECONDS:g} s")
                noticed = True
            self.clock.sleep(WAKE_PAUSE)
