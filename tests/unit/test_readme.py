"""The README lists what exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SOURCE = {path.name: path.read_text() for path in (ROOT / "src" / "beads_dispatch").rglob("*.py")}


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def events(call: str) -> set[str]:
    return {event for text in SOURCE.values() for event in re.findall(rf'\.{call}\(\s*"(\w+)"', text)}


def consequences(*levels: str) -> set[str]:
    made = re.findall(r'Consequence\("(\w+)", "(\w+)"', SOURCE["consequence.py"])
    return {event for event, level in made if level in levels}


def test_every_event_is_listed_under_its_level() -> None:
    listed = {level: set[str]() for level in ("error", "warning", "info")}
    for line in section("Log lines").splitlines():
        if match := re.match(r"\| `(\w+)` \| \w+ \| (.*) \|", line):
            listed[match[1]] |= set(re.findall(r"`(\w+)`", match[2]))
    assert listed["warning"] == {"given_up", "blocked"}
    assert listed["error"] | {"given_up"} == events("error") | consequences("error", "warning")
    assert listed["info"] | {"blocked"} == events("info") | consequences("info")


def test_every_metric_is_listed() -> None:
    made = re.findall(r'_(?:gauge|counter)\(\s*"(\w+)"|"beads_dispatch_(\w+)"', SOURCE["metrics.py"])
    names = {one or other for one, other in made}
    listed = re.findall(r"`(\w+?)(?:_total)?(?:\{[\w,]+\})?`", "\n".join(
        line.split("|")[1] for line in section("Metrics").splitlines() if line.startswith("| `")
    ))  # fmt: skip
    assert set(listed) == names


def test_every_variable_is_listed() -> None:
    read = set(re.findall(r'"((?:BEADBOARD|BEADS|AGENT|LOG)_[A-Z_]+)"', SOURCE["settings.py"] + SOURCE["workspace.py"]))
    unlisted = {"BEADS_DOLT_SERVER_MODE", "BEADS_DOLT_SHARED_SERVER"}  # bd's own, named when they matter
    table = section("Variables").replace("`_", "`BEADS_DOLT_SERVER_")
    assert {name for name in read - unlisted if f"`{name}`" not in table} == set()


def test_every_file_that_it_names_exists() -> None:
    named = re.findall(r"\]\((?!http)([\w./-]+)", README) + re.findall(
        r"`((?:tests|docs|tools|deploy)/[\w./-]+)`", README
    )
    assert [name for name in named if not (ROOT / name).exists()] == []
