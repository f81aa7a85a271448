"""A bead's row as the database has it. No row is ever changed, so what is read from it is worked out once."""

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from beads_dispatch.core.bead import Bead

TIMES = ("updated_at", "defer_until")


class Read(dict[str, Any]):
    """A row as somebody gives it out."""

    bead: Bead | None = None  # as production code has parsed it


class Row(Read):
    """A row as it is stored. A write makes a new one."""

    @cached_property
    def by_bd(self) -> Read:
        """As bd writes it: times as texts, empty fields left out."""
        times = {key: self[key].isoformat() for key in TIMES if self.get(key)}
        return Read((key, value) for key, value in {**self, **times}.items() if value not in ("", None))

    @cached_property
    def by_dolt(self) -> Read:
        """As pymysql gives it: times without a zone, JSON as text."""
        times = {key: self[key].replace(tzinfo=None) for key in TIMES if self.get(key)}
        return Read({**self, **times, "metadata": json.dumps(self["metadata"])})


def once(parse: Callable[[Mapping[str, object]], Bead]) -> Callable[[Mapping[str, object]], Bead]:
    """The production parser, which reads the same row only once."""

    def parsed(raw: Mapping[str, object]) -> Bead:
        if not isinstance(raw, Read):
            return parse(raw)
        if raw.bead is None:
            raw.bead = parse(raw)
        return raw.bead

    return parsed
