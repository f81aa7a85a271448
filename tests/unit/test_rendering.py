"""What an agent writes, as `logs` shows it."""

import json

import pytest

from beads_dispatch.core.rendering import rendered

COLOURED = "\x1b[31mred\x1b[0m"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain", ["plain"]),
        ("", [""]),
        ("{not json", ["{not json"]),
        ('{"no": "type"}', ['{"no": "type"}']),
        (COLOURED, ["red"]),
        ("\x1b]0;title\x07\x1b[2Jgone\x1b[1A", ["gone"]),
        ("10 %\r20 %\r", ["20 %"]),
    ],
)
def test_plain_lines_control_nothing(line: str, shown: list[str]) -> None:
    assert rendered(line) == shown


def test_on_a_terminal_colours_stay_and_nothing_else() -> None:
    assert rendered(f"\x1b[2J{COLOURED}\x1b[1A", colour=True) == [f"{COLOURED}\x1b[0m"]


CLAUDE = [
    {"type": "text", "text": "I look.\nThen I act."},
    {"type": "tool_use", "name": "Bash", "input": {"command": "ls"}},
]


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        ({"type": "system", "subtype": "init", "session_id": "abc"}, []),
        ({"type": "assistant", "message": {"content": CLAUDE}}, ["I look.", "Then I act.", "→ Bash: ls"]),
        ({"type": "user", "message": {"content": [{"type": "tool_result", "content": "x" * 9000}]}}, []),
        ({"type": "result", "subtype": "success", "total_cost_usd": 0.5}, ["ended: success, $0.50"]),
        ({"type": "item.started", "item": {"type": "command_execution", "command": "make test"}}, ["→ run: make test"]),
        ({"type": "item.completed", "item": {"type": "agent_message", "text": "done"}}, ["done"]),
        (
            {"type": "item.completed", "item": {"type": "file_change", "changes": [{"path": "a.py", "kind": "add"}]}},
            ["→ edit: a.py"],
        ),
        ({"type": "turn.failed", "error": {"message": "no\x1b[2Jnet"}}, ["error: nonet"]),
        ({"type": "tool_use", "part": {"tool": "bash", "state": {"input": {"command": "ls"}}}}, ["→ bash: ls"]),
        ({"type": "text", "part": {"text": "hello"}}, ["hello"]),
        ({"type": "assistant", "message": {"content": [{"type": "tool_use", "name": "x", "input": 7}]}}, ["→ x:"]),
    ],
)
def test_events_become_lines(event: dict[str, object], shown: list[str]) -> None:
    assert [line.rstrip() for line in rendered(json.dumps(event))] == shown
