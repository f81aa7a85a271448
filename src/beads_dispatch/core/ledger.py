"""What we remember of a dispatch outside its bead: an import, a restore or a merge can take the bead's own record back.

Source: design.md, "The ledger".
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from beads_dispatch.core import marks, notes
from beads_dispatch.core.bead import Bead, read_time
from beads_dispatch.core.text import json_object, utc

KEPT = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Entry:
    """The last start of a bead. `token`, `at`: its claim's, UTC. `created`: the bead's, in whole seconds, UTC.

    `job`: the runner's id, once the start was accepted.
    """

    bead_id: str
    created: str
    token: str
    at: datetime
    job: str = ""


def entry(bead: Bead, token: str, at: datetime) -> Entry:
    """Return the entry for a start of this bead."""
    return Entry(bead.id, _created(bead), token, at.replace(microsecond=0))


def write(known: Entry) -> str:
    """Return an entry as it is stored. It begins with its time, so that old ones are found by comparing texts."""
    what = {"bead": known.bead_id, "created": known.created, "token": known.token, "job": known.job}
    return f"{utc(known.at)} {json.dumps(what, ensure_ascii=False)}"


def read(text: str) -> Entry | None:
    """Return a stored entry, or None if it cannot be read."""
    at, _, rest = text.partition(" ")
    time, what = read_time(at), json_object(rest)
    if time is None or what is None:
        return None
    bead_id, created, token, job = (str(what.get(key) or "") for key in ("bead", "created", "token", "job"))
    return Entry(bead_id, created, token, time, job)


def taken_back(bead: Bead, known: Entry | None) -> bool:
    """Return whether somebody has undone the record of this start on its bead.

    A bead that was deleted and created again under the same id is another bead.
    """
    if known is None or known.bead_id != bead.id or known.created != _created(bead):
        return False
    return bead.status in ("open", "in_progress", "deferred") and not _bears_trace(bead, known)


def _bears_trace(bead: Bead, known: Entry) -> bool:
    """Return whether the bead shows this claim or a later one: as a mark, as what we undid, or in its notes."""
    claims = [claim for claim in (marks.claim(bead), marks.undone_claim(bead)) if claim]
    if any(token == known.token or at > known.at for token, at in claims):
        return True
    ended = marks.ended(bead)
    if ended and ended[1] >= known.at:
        return True
    newest = notes.newest_claim(bead.notes)
    later = newest is not None and newest[1] is not None and newest[1] > known.at
    return later or f"(tick {known.token})" in bead.notes


def _created(bead: Bead) -> str:
    return utc(bead.created_at) if bead.created_at else ""
