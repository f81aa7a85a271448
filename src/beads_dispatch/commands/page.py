"""The pages that `watch --listen` serves: what `status` and `explain` print. Needs the extra `listen`."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import sha256
from importlib.resources import files
from threading import Lock, Thread
from urllib.parse import quote, unquote

from jinja2 import Environment, StrictUndefined

from beads_dispatch.adapters.http_server import Page
from beads_dispatch.adapters.log import Log
from beads_dispatch.adapters.waiting import unheard
from beads_dispatch.commands import explain, logs, status, table
from beads_dispatch.commands.table import Look
from beads_dispatch.commands.wiring import NAME, Located, Wiring
from beads_dispatch.core.errors import Failure, NoBead
from beads_dispatch.core.text import one_line
from beads_dispatch.jobs.cycle import Outside
from beads_dispatch.settings import Settings

DEADLINE = 30.0  # seconds for a page; a call of bd alone may take 40
REFRESH = 10  # seconds after which a browser asks again

Values = dict[str, object]  # what the template is given


class Pages:
    """Answer `/` and `/beads/ID`. Ask nothing until somebody looks, and then ask what `status` asks.

    This shares no connection and no state with the watcher, and finds the database again each time.
    """

    def __init__(self, wiring: Wiring, log: Log) -> None:
        self._wiring, self._log = replace(wiring, local=None, waiting=unheard), log
        self._one_at_a_time = Lock()  # so that many browsers cost no more than one
        source = files("beads_dispatch.commands").joinpath("page.html").read_text("utf-8")
        self._template = Environment(autoescape=True, undefined=StrictUndefined).from_string(source)
        style = source.partition("<style>")[2].partition("</style>")[0]
        self._headers = {
            "Content-Security-Policy": (
                f"default-src 'none'; style-src 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'; "
                "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            ),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }

    def __call__(self, path: str) -> Page | None:
        """Return the page of a path; None if it is not one of ours."""
        if path == "/":
            return self._within_deadline(_queue)
        folder, _, bead_id = path.rpartition("/")
        if folder != "/beads" or not bead_id:
            return None
        return self._within_deadline(partial(_bead, bead_id=unquote(bead_id)))

    def _within_deadline(self, look: Callable[[Wiring, Outside, Settings], Values]) -> Page:
        found: list[Page] = []

        def work() -> None:
            if self._one_at_a_time.acquire(timeout=DEADLINE):
                try:
                    found.append(self._look(look))
                finally:
                    self._one_at_a_time.release()

        worker = Thread(target=work, daemon=True)
        worker.start()
        worker.join(DEADLINE)
        return found[0] if found else self._failed(503, f"no answer within {DEADLINE:.0f} s")

    def _look(self, look: Callable[[Wiring, Outside, Settings], Values]) -> Page:
        wiring = replace(self._wiring, located=Located())
        try:
            chosen = wiring.settings(NAME, needs_beadboard=False)
            return self.page(200, wiring.run(partial(look, wiring), chosen, self._log, waits=False))
        except Failure as error:
            return self._failed(404 if isinstance(error, NoBead) else 503, str(error))

    def _failed(self, code: int, text: str) -> Page:
        return self.page(code, {"name": "beads-dispatch", "failed": one_line(text, 2000)})

    def page(self, code: int, values: Values) -> Page:
        text = self._template.render(refresh=REFRESH, **values)
        return Page(code, "text/html; charset=utf-8", text.encode("utf-8", "replace"), self._headers)


def link(bead_id: str) -> str:
    return f"beads/{quote(bead_id, safe='', errors='replace')}"


def _queue(wiring: Wiring, outside: Outside, settings: Settings) -> Values:
    found = status.status(outside, settings, last_line=partial(logs.last_line, wiring.environ))
    look = Look(found.known.now, outside.clock.zone())
    return {
        "name": f"Beads assigned to {settings.assignee}",
        "above": status.above(found, status.agent_state(outside, found.beads), look),
        "heading": table.HEADING,
        "rows": [
            (link(bead.id), table.STATES.get(bead.status, ""), table.cells(bead, standing, look))
            for bead, standing in found.rows
        ],
        "nothing": status.nothing(settings.assignee),
        "unreadable": [look.say(line) for line in found.unreadable],
        "at": f"{look.now.astimezone(look.zone):%H:%M:%S %Z}",
    }


def _bead(wiring: Wiring, outside: Outside, settings: Settings, bead_id: str) -> Values:
    story = explain.explain(outside, settings, bead_id, partial(logs.at_work, wiring.environ))
    bead, look = story.case.bead, Look(story.case.known.now, outside.clock.zone())
    return {
        "name": one_line(bead.id),
        "title": one_line(bead.title, 2000),
        "summary": explain.summary(bead),
        "headings": explain.headings(look),
        "entries": [
            (explain.when(entry, look), explain.who(entry), [look.say(line) for line in entry.lines])
            for entry in story.entries
        ],
        "why": [
            (label, look.say(text)) for label, text in explain.why(story, logs.command(bead, settings, wiring.environ))
        ],
        "command": story.advice.command,
        "log": logs.last_lines(wiring.environ, bead),
        "at": f"{look.now.astimezone(look.zone):%H:%M:%S %Z}",
    }
