"""Every command of the operator's pages is executed by the end-to-end suite, or changes nothing."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

_spec = importlib.util.spec_from_file_location("page", ROOT / "e2e" / "page.py")
assert _spec
assert _spec.loader
page = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(page)

COMMANDS: list[str] = page.commands()


def executed() -> set[str]:
    """What the suite calls world.page(...) with."""
    trees = [ast.parse(file.read_text()) for file in (ROOT / "e2e").glob("test_*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    pages = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "page"]
    return {call.args[0].value for call in pages if call.args and isinstance(call.args[0], ast.Constant)}


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_executed_or_changes_nothing(command: str) -> None:
    assert command in executed() or page.READ_ONLY.fullmatch(command)


def test_what_is_executed_is_on_a_page() -> None:
    assert executed() <= set(COMMANDS)


@pytest.mark.parametrize(
    "command",
    [
        "bd update <id> -s closed",
        "bd show <id>; bd close <id>",
        "bd show <id> && bd close <id>",
        "bd show $(bd close <id>)",
        "bd show <id> | sh",
        "bd show <id> > /etc/passwd",
        "kubectl -n beads-server delete job x",
        "terraform apply",
    ],
)
def test_what_changes_something_is_not_taken_for_harmless(command: str) -> None:
    assert not page.READ_ONLY.fullmatch(command)
