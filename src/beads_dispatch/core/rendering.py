"""What an agent writes, as a person reads it: events become lines, and nothing in it controls the terminal."""

import re

from beads_dispatch.core import words
from beads_dispatch.core.lines import plain
from beads_dispatch.core.text import json_object, one_line

LINE = 2000  # characters of a line that are shown
_COLOUR = re.compile(r"(\x1b\[[\d;]*m)")
# What a tool was called with, the most telling first.
_INPUTS = ("command", "file_path", "filePath", "path", "pattern", "url", "query", "description", "prompt")


def rendered(line: str, *, colour: bool = False) -> list[str]:
    """Return the lines to show for a line of a log; none for an event that says nothing. `colour`: keep its own."""
    event = (json_object(line) if line.startswith("{") else None) or {}
    if isinstance(event.get("type"), str):
        return [safe(shown) for text in _event(event) for shown in text.split("\n") if shown.strip()]
    return [safe(line, colour=colour)]


def safe(line: str, *, colour: bool = False) -> str:
    """Return the line without anything that a terminal would obey, but for colours if they are wanted."""
    shown = line.rstrip("\r").rpartition("\r")[2][:LINE]
    parts = _COLOUR.split(shown) if colour else [shown]
    kept = [text for pair in zip(map(plain, parts[::2]), [*parts[1::2], ""], strict=True) for text in pair]
    return "".join(kept) + ("\x1b[0m" if len(parts) > 1 else "")


def _event(event: dict[str, object]) -> list[str]:
    """Return the lines of an event of Claude Code, Codex or opencode."""
    said = words.agent_message(event)
    match event:
        case {"type": "assistant", "message": {"content": list(parts)}}:
            tools = (part for part in parts if isinstance(part, dict) and part.get("type") == "tool_use")
            return [said, *(_tool(part.get("name"), part.get("input")) for part in tools)]
        case {"type": "item.started", "item": {"type": "command_execution", "command": str(command)}}:
            return [_tool("run", {"command": command})]
        case {"type": "item.completed", "item": {"type": "file_change", "changes": list(changes)}}:
            return [_tool("edit", change) for change in changes]
        case {"type": "tool_use", "part": {"tool": str(tool), "state": {"input": dict(given)}}}:
            return [_tool(tool, given)]
        case {"type": "result"}:
            cost = event.get("total_cost_usd")
            return [f"ended: {event.get('subtype') or ''}" + (f", ${cost:.2f}" if isinstance(cost, float) else "")]
        case {"type": "error" | "turn.failed"}:
            return [f"error: {words.message(event)}"]
    return [said]


def _tool(name: object, given: object) -> str:
    known = given if isinstance(given, dict) else {}
    return f"→ {name}: {one_line(str(next((known[key] for key in _INPUTS if known.get(key)), '')))}"
