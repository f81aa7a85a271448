"""One question over HTTP, as the services' adapters ask it. `http.request` answers it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from beads_dispatch.adapters.waiting import Waiting
from beads_dispatch.core.beadboard_answers import Reply
from beads_dispatch.core.errors import ServiceFailed

MOST_BYTES = 64 * 1024  # BeadBoard echoes an over-long id back whole


@dataclass(frozen=True, slots=True)
class Ask:
    """`seconds`: the deadline of the whole exchange. `content`: sent as JSON. `token`: a bearer token, or nothing.

    `waiting` gets a line that names `what` if the answer takes more than 1.5 s. `most_bytes`: a longer body is cut off.
    `authority`: a file with the only authority that an https:// server may be certified by, instead of the system's.
    """

    method: str
    url: str
    seconds: float
    waiting: Waiting
    what: str
    content: Mapping[str, object] | None = None
    token: str = field(default="", repr=False)
    most_bytes: int = MOST_BYTES
    authority: str = ""


Request = Callable[[Ask], Reply]


def mounted_token(path: Path) -> str:
    """Read a token from its file again, because Kubernetes replaces it while we run. Raise ServiceFailed."""
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise ServiceFailed(f"no token can be read: {getattr(error, 'strerror', 'not ASCII')}: {path}") from None
    if not token.isprintable():  # a header takes nothing else
        raise ServiceFailed(f"no token can be read: more than one line: {path}")
    return token
