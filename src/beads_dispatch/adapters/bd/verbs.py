"""bd's verbs: each builds its arguments, runs bd once, and returns Beads or raises BdFailed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from beads_dispatch.adapters.bd.process import BdProcess
from beads_dispatch.core import bead
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.errors import Ambiguous, BdFailed, NoBead, NotAsExpected, Unreadable
from beads_dispatch.core.text import utc

TRIES = 3
RETRY_SECONDS = 0.1


class Bd:
    """bd on one workspace, as one actor."""

    def __init__(self, process: BdProcess, actor: str, sleep: Callable[[float], None]) -> None:
        self._process = process
        self._actor = actor
        self._sleep = sleep
        self._unguarded = ""  # a version that turned out not to know --if-status

    def check(self) -> None:
        """Raise Misconfigured if there is no usable bd."""
        self._process.check()

    def ready(self, assignee: str) -> Mapping[str, Bead]:
        """Return the assignee's open beads that bd lists as ready, by id. (bd lists custom statuses too.)"""
        listed = self._json("ready", f"--assignee={assignee}", "-n", "0")
        return {one.id: one for one in read_all(_rows(listed))[0] if one.status == "open"}

    def assigned(self, assignee: str) -> tuple[tuple[Bead, ...], tuple[str, ...]]:
        """Return the assignee's beads that are not closed, and a line for each that cannot be read."""
        hidden = ("--include-gates", "--include-infra", "--include-templates")
        rows = _rows(self._json("list", f"--assignee={assignee}", "-n", "0", *hidden))
        return read_all(row for row in rows if row.get("status") != "closed")

    def closed(self, assignee: str, since: datetime) -> tuple[Bead, ...]:
        """Return the assignee's beads that were closed since then. `since`: UTC."""
        words = (f"--assignee={assignee}", "--status=closed", f"--closed-after={utc(since)}", "-n", "0")
        return read_all(_rows(self._json("list", *words)))[0]

    def show(self, bead_id: str, within: float | None = None) -> Bead:
        """Return one bead, with its comments and its heartbeat. `within`: seconds, if they are fewer than usual."""
        return _one(self._shown(bead_id, within), bead_id)

    def find(self, text: str) -> Bead:
        """Return the bead whose id a person has typed, perhaps shortened. Raise NoBead with a line to show."""
        try:
            rows = self._shown(text)
        except Ambiguous:
            raise
        except NoBead:
            rows = []
        if not rows:
            raise NoBead(f"there is no bead {text} in this workspace")
        return _one(rows, str(rows[0].get("id")))

    def _shown(self, bead_id: str, within: float | None = None) -> Sequence[dict[str, object]]:
        """Return the one bead that bd shows for an id. bd takes a part of it too, if no other bead's has it."""
        rows = _rows(self._json("show", f"--id={bead_id}", within=within))
        if any(row.get("comments_omitted") for row in rows):  # bd 1.3 only counts them, unless asked
            rows = _rows(self._json("show", f"--id={bead_id}", "--include-comments", within=within))
        return rows

    def dependencies(self, bead_id: str) -> Sequence[tuple[str, str]]:
        """Return the id and the status of each bead that this one depends on."""
        shown = [row for row in _rows(self._json("show", f"--id={bead_id}")) if row.get("id") == bead_id]
        found = shown[0].get("dependencies") if shown else None
        rows = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        return [(str(one.get("id")), str(one.get("status"))) for one in rows if one.get("dependency_type") == "blocks"]

    def blocked(self) -> Mapping[str, Sequence[str]]:
        """Return what each bead depends on that is not closed, by id."""
        rows = _rows(self._json("blocked"))
        found = {str(row.get("id")): row.get("blocked_by") for row in rows}
        return {key: [str(one) for one in needed] for key, needed in found.items() if isinstance(needed, list)}

    def comment(self, bead_id: str, text: str) -> None:
        """Add a comment. It fits on a bead that is too large for a note."""
        self._json("comment", "--", bead_id, text)

    def comments(self, bead_id: str) -> Sequence[dict[str, object]]:
        """Return every comment of a bead, as bd prints it."""
        return _rows(self._json("comments", "--", bead_id))

    def history(self, bead_id: str) -> Sequence[dict[str, object]]:
        """Return the bead as it was after each commit of the database, the newest first, without metadata.

        No --limit: it would count the commits of other beads too.
        """
        return _rows(self._json("history", "--", bead_id))

    def events(self, bead_id: str) -> Sequence[dict[str, object]]:
        """Return who changed what. bd 1.0 does not say it."""
        try:
            return _rows(self._json("history", "--events", "--", bead_id))
        except BdFailed as error:
            if "unknown flag" in str(error):
                return []
            raise

    def update(
        self,
        known: Bead,
        *,
        note: str | None = None,
        status: str | None = None,
        marks: Mapping[str, str | None] | None = None,
        within: float | None = None,
    ) -> Bead:
        """Write the note, the marks (None removes one) and the status, guarded if bd can do that, in one transaction.

        Return the bead as bd says it now is. A write without a status is retried if bd says that nothing was
        written.
        `within`: seconds, if they are fewer than usual.
        Raise BdFailed; NotAsExpected if the bead is no longer as `known`.
        """
        words = [f"--append-notes={note}"] if note else []
        for key, value in (marks or {}).items():
            words.append(f"--unset-metadata={key}" if value is None else f"--set-metadata={key}={value}")
        words += [f"--status={status}"] if status else []
        if not words:
            return known
        guard = (f"--if-status={known.status}", f"--if-assignee={known.assignee}") if status else ()
        return _one(_rows(self._write(words, guard, known.id, TRIES, within)), known.id)

    def _write(
        self, words: Sequence[str], guard: Sequence[str], bead_id: str, tries: int, within: float | None
    ) -> object:
        guards = guard if guard and self._can_guard() else ()
        try:
            return self._json("update", *words, *guards, "--", bead_id, within=within)
        except BdFailed as error:
            if guards and "unknown flag" in str(error):
                self._unguarded = self._process.version()
                return self._write(words, (), bead_id, tries, within)
            # Error 1213: Dolt rolled the transaction back, because another client wrote the same bead.
            if "serialization failure" not in str(error) or tries == 1:
                raise
            if guard:  # another client's write is still unread: a status must not overwrite it
                raise NotAsExpected(str(error)) from None
        self._sleep(RETRY_SECONDS)
        return self._write(words, guard, bead_id, tries - 1, within)

    def _can_guard(self) -> bool:
        """Return whether this bd knows --if-status."""
        version = self._process.version()
        return not version.startswith("1.0.") and version != self._unguarded

    def _json(self, verb: str, *words: str, within: float | None = None) -> object:
        return self._process.json(verb, f"--actor={self._actor}", *words, within=within)


def read_all(rows: Iterable[Mapping[str, object]]) -> tuple[tuple[Bead, ...], tuple[str, ...]]:
    """Return the beads that can be read, and a line for each that cannot."""
    good, bad = [], []
    for row in rows:
        try:
            good.append(bead.parse(row))
        except Unreadable as error:
            bad.append(str(error))
    return tuple(good), tuple(bad)


def _rows(answer: object) -> Sequence[dict[str, object]]:
    """Return bd's list of beads. bd prints `null` or nothing for an empty one. Raise BdFailed."""
    rows = answer if answer is not None else []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BdFailed("bd: its answer is not a list of beads: we do not understand this schema")
    return rows


def _one(rows: Iterable[Mapping[str, object]], bead_id: str) -> Bead:
    for row in rows:
        if row.get("id") == bead_id:  # bd takes a part of an id too
            try:
                return bead.parse(row)
            except Unreadable as error:
                raise BdFailed(f"bd: {error}") from None
    raise NoBead(f"bd: no bead {bead_id} in its answer")
