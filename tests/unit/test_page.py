"""The pages of `watch --listen`: a bead's text stays text there, and nothing comes from elsewhere."""

import hashlib
from base64 import b64encode
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from threading import Event

import pytest

from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.adapters.log import Log
from beads_dispatch.adapters.waiting import unheard
from beads_dispatch.commands import page as module
from beads_dispatch.commands.page import Pages, link
from beads_dispatch.commands.table import HEADING, Look
from beads_dispatch.commands.wiring import Wiring

PAGES = Pages(Wiring({}, Path("/"), unheard), Log("test", SYSTEM.now))
LOOK = Look(datetime(2026, 12, 1, tzinfo=UTC), UTC)
NASTY = [
    "<script>alert(1)</script>", "</title></style><img src=x onerror=alert(1)>",
    "\" onmouseover=alert(1) x=\"", "' x='",
    "{{ 7 * 7 }}{% raw %}", "\x1b[31mred\x1b]0;title\x07", "&lt;b&gt;", "\u202egnp.exe", "\ud800", "a/../b?c#d",
]  # fmt: skip


class Seen(HTMLParser):
    """The tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(" ".join([tag, *(name for name, _ in attrs)]))
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def queue_page(text: str) -> str:
    row = (link(text), "red", (LOOK.say(text),) * len(HEADING))
    values = {"above": [text], "heading": HEADING, "rows": [row], "unreadable": [text], "nothing": "", "at": "now"}
    return PAGES.page(200, {"name": text, **values}).body.decode()


def bead_page(text: str) -> str:
    values = {"title": text, "summary": text, "headings": HEADING[:3], "entries": [(text, text, [text])]}
    values |= {"why": [(text, text)], "command": text, "log": [text], "at": "now"}
    return PAGES.page(200, {"name": text, **values}).body.decode()


def failed_page(text: str) -> str:
    return PAGES._failed(404, text).body.decode()


@pytest.mark.parametrize("make", [queue_page, bead_page, failed_page])
@pytest.mark.parametrize("text", NASTY)
def test_a_text_cannot_become_markup(make: "type[str]", text: str) -> None:
    plain, shown = Seen(make("plain")), Seen(make(text))
    assert shown.tags == plain.tags
    assert all(link.startswith(("beads/", "../")) and link.count("/") == 1 for link in shown.links)
    if text.isprintable():
        assert text in shown.text


def test_no_script_and_nothing_from_elsewhere() -> None:
    page = PAGES.page(200, {"name": "x", "failed": "y"})
    policy, body = page.headers["Content-Security-Policy"], page.body.decode()
    style = body.partition("<style>")[2].partition("</style>")[0]
    known = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{known}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert not {"script", "link", "form", "button", "iframe", "img"} & {tag.split()[0] for tag in Seen(body).tags}
    assert "url(" not in style


@pytest.mark.parametrize("path", ["/beads", "/beads/", "/beads/a/b", "/metrics", "//", "/beads2/x", ""])
def test_a_path_that_is_none_of_its_pages(path: str) -> None:
    assert PAGES(path) is None


def test_a_view_that_takes_too_long_is_given_up_and_the_next_one_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pages, answers = Pages(Wiring({}, Path("/"), unheard), Log("test", SYSTEM.now)), Event()
    monkeypatch.setattr(module, "DEADLINE", 0.01)
    monkeypatch.setattr(pages, "_look", lambda _: answers.wait())
    for _ in range(2):
        page = pages("/")
        assert page
        assert (page.status, b"no answer within" in page.body) == (503, True)
    answers.set()
