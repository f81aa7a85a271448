"""The pages list what exists, and name what exists."""

import ast
import html
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from beads_dispatch.commands import arguments
from beads_dispatch.monitoring.health import Health
from beads_dispatch.monitoring.metrics import Metrics

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "beads_dispatch"
SOURCE = {path.name: path.read_text() for path in PACKAGE.rglob("*.py")}
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for place in ("*.md", "docs/*.md", "terraform/*.md", "deploy/**/*.md", "tests/**/*.md")
    for path in sorted(ROOT.glob(place))
}
README, DOCS = PAGES["README.md"], ROOT / "docs"

STREAMS = {"info": "stdout", "error": "stderr"}


def rows(page: str) -> Iterator[list[str]]:
    """Return the cells of each row of the page's tables, without the headings."""
    lines = PAGES[page].splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("|") and not any(re.match(r"\| *-", one) for one in (line, below)):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def logged_by_name() -> Iterator[tuple[str, str, str]]:
    """Each (level, stream, event) that the code logs under a fixed name."""
    calls = (node for text in SOURCE.values() for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    for call in calls:
        match call:
            case ast.Call(func=ast.Attribute(attr="info" | "error" as method), args=[ast.Constant(str(event)), *_]):
                levels = [str(ast.literal_eval(word.value)) for word in call.keywords if word.arg == "level"]
                yield (*levels, method)[0], STREAMS[method], event


def test_every_event_is_listed_under_its_level_and_stream() -> None:
    logged = set(logged_by_name())
    made = re.findall(r'Consequence\("(\w+)", "(\w+)"', SOURCE["consequence.py"])
    logged |= {(level, "stdout" if level == "info" else "stderr", event) for event, level in made}
    found = [row for row in rows("docs/logs.md") if len(row) == 4 and row[1] in ("info", "warning", "error")]
    listed = [(level, stream, event) for names, level, stream, _ in found for event in re.findall(r"`(\w+)`", names)]
    assert sorted(listed) == sorted(logged)


def test_every_metric_is_listed() -> None:
    served = Metrics(Health(lambda: 0.0), lambda: datetime.now(UTC), "agent", "1").text().decode()
    made = re.findall(r"# TYPE beads_dispatch_(\w+?)(?:_total)? ", served)
    cells = "\n".join(row[0] for row in rows("docs/metrics.md") if row[0].startswith("`"))
    listed = re.findall(r"`(\w+?)(?:_total)?(?:\{[\w,]+\})?`", cells)
    assert set(listed) == set(made)


def test_every_variable_is_listed() -> None:
    readers = "".join(
        SOURCE[name] for name in ("settings.py", "manual.py", "location.py", "workspace.py", "discovery.py")
    )
    read = set(re.findall(r'"((?:BEADBOARD|BEADS|AGENT|LOG|API|NO|XDG)_[A-Z_]+)"', readers))
    read |= {f"BEADS_DOLT_SERVER_{name}" for name in re.findall(r'(?:setting|unsaid)\("([A-Z]+)"', readers)}
    # bd's own, named when they matter
    read -= {"BEADS_DOLT_SERVER_MODE", "BEADS_DOLT_SHARED_SERVER", "BEADS_DB", "XDG_CONFIG_HOME"}
    listed = PAGES["docs/variables.md"].replace("`_", "`BEADS_DOLT_SERVER_")
    assert {name for name in read if f"`{name}`" not in listed} == set()


def test_every_command_is_listed() -> None:
    parsers = set(re.findall(r'add_parser\("(\w+)"', SOURCE["arguments.py"]))
    assert {command for command in parsers if f"`beads-dispatch {command}" not in README} == set()


@pytest.mark.parametrize("page", PAGES)
def test_what_it_links_to_exists(page: str) -> None:
    links = re.findall(r"\]\((?!http)([^)#\s]*)(?:#([\w-]+))?\)", PAGES[page])
    assert [link for link in links if not there(ROOT / page, *link)] == []


def there(page: Path, name: str, anchor: str) -> bool:
    target = page.parent / name if name else page
    return target.exists() and (not anchor or anchor in anchors(target.read_text()))


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_it_names_exist(page: str) -> None:
    ours = re.findall(
        r"`((?:tests|docs|tools|deploy|commands|core|adapters|jobs|laptop|monitoring)/[\w./-]+)`", PAGES[page]
    )
    places = (ROOT, PACKAGE, DOCS, (ROOT / page).parent)
    assert [name for name in ours if not any((place / name).exists() for place in places)] == []


def test_no_row_stands_on_two_pages() -> None:
    """Nor one with the same first two cells, such as a reason that two pages explain in different words."""
    seen: dict[tuple[str, ...], str] = {}
    twice = []
    for page in PAGES:
        for row in rows(page):
            key = tuple(re.sub(r"\W+", " ", cell.lower()).strip() for cell in row[:2])
            other = seen.setdefault(key, page)
            twice += [(other, page, row[:2])] if other != page else []
    assert twice == []


def test_the_tables_from_the_code_are_up_to_date() -> None:
    """`make pages` writes them."""
    spec = importlib.util.spec_from_file_location("pages", DOCS / "pages.py")
    assert spec
    assert spec.loader
    pages = importlib.util.module_from_spec(spec)
    sys.modules["pages"] = pages  # its dataclasses look their module up
    spec.loader.exec_module(pages)
    old = [page.name for page in pages.PAGES if pages.written(page.read_text()) != page.read_text()]
    assert old == []
    assert all(f"made by `make pages`: {name} " in "".join(PAGES.values()) for name in pages.TABLES)


def test_the_readme_is_short_and_its_drawings_fit() -> None:
    assert len(README.splitlines()) < 130
    drawings = [
        block for text in PAGES.values() for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) if "│" in block
    ]
    assert drawings
    assert max(len(line) for block in drawings for line in block.splitlines()) <= 80


def test_the_picture_shows_the_commands_that_made_it_on_two_small_terminals() -> None:
    """`make demo-picture` draws it."""
    svg = (DOCS / "demo.svg").read_text()
    shown = html.unescape(re.sub(r"<[^>]+>", "\n", svg)).replace("\u00a0", " ")
    typed = re.findall(r"^\$ (.*)$", shown, re.MULTILINE)
    ran = re.findall(r'^(?:WATCH|ASSIGN|STATUS|EXPLAIN) = "(.*)"$', (DOCS / "picture.py").read_text(), re.MULTILINE)
    assert len(ran) == 4
    assert [re.sub(r"try-\w+", "{}", command) for command in typed] == ran
    lines = [max(map(int, re.findall(rf"url\(#t{terminal}-line-(\d+)\)", svg))) + 1 for terminal in (1, 2)]
    assert max(lines) <= 16


def commands_of_ours() -> list[str]:
    """Return each command of ours that a page quotes, inline or on a line of its own in a block."""
    text = "\n".join(PAGES.values())
    found = (re.findall(r"^```\w*\n(.*?)^```", page, re.DOTALL | re.MULTILINE) for page in PAGES.values())
    blocks = "\n".join(block for page in found for block in page)
    quoted = re.findall(r"`(beads-dispatch [^`]+)`", text)
    return sorted({*quoted, *re.findall(r"^(?:\$ )?(beads-dispatch .*)", blocks, re.MULTILINE)})


@pytest.mark.parametrize("command", commands_of_ours())
def test_every_command_of_ours_on_a_page_is_one(command: str) -> None:
    words = re.sub(r"[\[\]…]|\s>.*| {2,}#.*", " ", command).replace("<id>", "t-1")
    assert arguments.parser().parse_args(shlex.split(words)[1:])
