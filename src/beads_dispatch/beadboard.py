"""The only httpx: BeadBoard's status and dispatch, and the agent service's health."""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import httpx

from beads_dispatch.answers import Reply, json_object
from beads_dispatch.errors import ServiceFailed
from beads_dispatch.notes import one_line

ASK_SECONDS = 10.0
WAKE_SECONDS = 45.0  # how long BeadBoard may take to wake up from zero replicas
WAKE_PAUSE = 1.0
POST_SECONDS = 60.0
CONNECT_SECONDS = 5.0  # well below ASK_SECONDS, else a connection that never came about looks like a lost answer
MOST_BYTES = 64 * 1024  # BeadBoard echoes an over-long id back whole

# Nothing has been sent when these are raised.
_NOT_SENT = (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError)  # the last: IDNA


@dataclass(frozen=True, slots=True)
class BeadBoard:
    """The two services by their base URLs; `stopping` ends the wait for one that wakes up."""

    url: str
    agent_url: str
    stopping: Callable[[], bool]

    def has_room(self) -> bool:
        """Whether both services say that an agent can start. Raises ServiceFailed where one cannot say."""
        busy = self._awake_status().get("busy")
        if not isinstance(busy, bool):
            raise ServiceFailed("BeadBoard's status has no `busy`")
        # BeadBoard fails open: it answers `busy: false` while the agent service is down.
        return not busy and (not self.agent_url or _room(self._health()))

    def dispatch(self, bead_id: str) -> Reply:
        """POSTs the bead once, on a fresh connection, within 60 s, whatever comes back."""
        return _request("POST", f"{self.url}/api/agent-dispatch", POST_SECONDS, {"taskId": bead_id})

    def _awake_status(self) -> dict[str, object]:
        """Refused connections and waiting pages are asked again while BeadBoard wakes up."""
        until = time.monotonic() + WAKE_SECONDS
        while True:
            reply = _request("GET", f"{self.url}/api/agent-status", ASK_SECONDS)
            document = json_object(reply.body)
            if document is not None and reply.status == 200:
                return document
            waking = document is None and (reply.status is not None or not reply.delivered)
            if not waking or self.stopping() or time.monotonic() + WAKE_PAUSE > until:
                raise ServiceFailed(f"BeadBoard gave no usable status: {_what(reply)}")
            time.sleep(WAKE_PAUSE)

    def _health(self) -> dict[str, object]:
        reply = _request("GET", f"{self.agent_url}/health", ASK_SECONDS)
        document = json_object(reply.body)
        if document is None or reply.status != 200:
            raise ServiceFailed(f"the agent service is not healthy: {_what(reply)}")
        return document


def _room(health: dict[str, object]) -> bool:
    """Not busy and, where the service counts, a free place. Its first generation says only `busy`."""
    counts = [health.get(key) for key in ("capacity", "active", "queued")]
    if all(isinstance(count, int) for count in counts):
        capacity, active, queued = (int(str(count)) for count in counts)
        return capacity - active - queued > 0 and health.get("busy") is not True
    if not isinstance(health.get("busy"), bool):
        raise ServiceFailed("the agent service's health has no `busy`")
    return not health["busy"]


def _what(reply: Reply) -> str:
    http = f"HTTP {reply.status}: " if reply.status is not None else ""
    return http + (one_line(reply.body) or "(empty body)")


def _request(method: str, url: str, seconds: float, content: dict[str, str] | None = None) -> Reply:
    """One exchange with one deadline for all of it: httpx's own limits are for each read."""
    try:
        return asyncio.run(asyncio.wait_for(_exchange(method, url, content), seconds))
    except httpx.ConnectTimeout:
        return Reply(None, f"no connection within {CONNECT_SECONDS:g} s", delivered=False)
    except _NOT_SENT as error:
        return Reply(None, _said(error), delivered=False)
    except TimeoutError:
        return Reply(None, f"no answer within {seconds:g} s")
    except (httpx.HTTPError, OSError) as error:  # OSError: an ssl.SSLError of a read is not translated
        return Reply(None, _said(error))


async def _exchange(method: str, url: str, content: dict[str, str] | None) -> Reply:
    limits = httpx.Timeout(None, connect=CONNECT_SECONDS)
    headers = {"Accept-Encoding": "identity"}  # a small body must not unpack to a large one
    # Asked directly: behind a proxy of the environment's, "refused" would not prove that nothing was delivered.
    async with httpx.AsyncClient(timeout=limits, headers=headers, verify=_tls(), trust_env=False) as client:
        async with client.stream(method, url, json=content) as response:
            body = b""
            async for part in response.aiter_raw():
                body += part[: MOST_BYTES - len(body)]
                if len(body) >= MOST_BYTES:
                    break
            return Reply(response.status_code, body.decode("utf-8", "replace"))


@cache
def _tls() -> ssl.SSLContext:
    """The system's authorities, and SSL_CERT_FILE's. Made once: that costs more than an exchange."""
    return ssl.create_default_context()


def _said(error: Exception) -> str:
    return one_line(str(error)) or f"connection lost ({type(error).__name__})"
