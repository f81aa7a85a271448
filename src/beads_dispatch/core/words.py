"""What an ended run said: its final message, what it cost, and why it could not work, for every agent alike.

Read in this order: a result object, an event, then the last meaningful lines of plain text. Only these are the run's
own words: what stands earlier in its output is a transcript, and may talk about limits and logins as its work.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from beads_dispatch.core import lines, wordings
from beads_dispatch.core.wordings import Trouble

LAST_LINES = 50  # a result object or an event with more lines below it is part of a transcript
MOST_TEXT = 4000  # characters of a final message that are kept
WHOLE = 400  # a plain final message up to this length is kept whole
MOST_FAILURES = 20  # lines with a bracket only, which begin no JSON
OWN_LINES = 3  # a plain output up to so many lines is a program's message as a whole

Object = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Said:
    """What a run said when it ended.

    `text`: its final message, or the line that says what went wrong; without escape sequences.
    `structured`: it stood in a result object or an event. `is_error`: by its own word the run has failed.
    `cost`: US dollars. `session`: what the agent needs to continue.
    """

    text: str = ""
    structured: bool = False
    is_error: bool = False
    cost: float | None = None
    session: str = ""
    trouble: Trouble = Trouble.NONE


def said(stdout: Sequence[str] | str, stderr: str, error: str = "") -> Said:
    """Return what a run said. `error`: why its runner could not run it, in the runner's words."""
    out = stdout if isinstance(stdout, str) else "\n".join(line.removesuffix("\n") for line in stdout)
    objects, plain = _split(out)
    head = _SESSION_LINE.search(stderr)
    words = _plain(_last_message(objects), plain, stderr, error, _session(objects) or (head[1] if head else ""))
    found = _structured(objects) or _structured(_split(stderr)[0])
    if found is None or found.text:
        return found or words
    return replace(found, text=words.text)


# --- structure ---
def _split(text: str) -> tuple[list[tuple[int, Object]], str]:
    """Return the JSON objects of a stream, each with the number of plain lines below it, and the plain text."""
    decoder, at, failures = json.JSONDecoder(), 0, 0
    objects: list[tuple[int, Object]] = []
    plain: list[str] = []
    above = 0
    for begin in _JSON_LINE.finditer(text):
        if begin.start() < at or failures > MOST_FAILURES:
            continue
        try:
            document, end = decoder.raw_decode(text, begin.start())
        except (ValueError, RecursionError):
            failures += begin[0].strip() in "[{"  # not worth a second look: each costs up to the whole rest
            continue
        found = [one for one in (document if isinstance(document, list) else [document]) if isinstance(one, dict)]
        if found and (rest := _BLANK.match(text, end)):
            plain.append(text[at : begin.start()])
            above += _lines(plain[-1])
            objects += [(above, one) for one in found]
            at = rest.end()
    plain.append(text[at:])
    total = above + _lines(plain[-1])
    return [(total - above, one) for above, one in objects], "".join(plain)


_JSON_LINE = re.compile(r"^[\[{].*", re.MULTILINE)
_BLANK = re.compile(r"[ \t\r]*(?:\n|\Z)")


def _lines(text: str) -> int:
    return sum(map(bool, map(str.strip, text.split("\n"))))


def _structured(objects: Sequence[tuple[int, Object]]) -> Said | None:
    """Return what the last object that ends a run says, or None."""
    session = _session(objects)
    for below, found in reversed(objects):
        kind = found.get("type")
        if below > LAST_LINES or agent_message(found):  # it went on after whatever error stands above
            return None
        if kind == "result" or (kind is None and "result" in found and not below):
            return _of_result(found, session)
        if kind == "turn.completed" or (kind == "step_finish" and _get(found, "part", "reason") == "stop"):
            return Said(_last_message(objects), structured=True, session=session)
        failed = kind == "turn.failed" or (not below and (kind == "error" or (kind is None and found.get("error"))))
        if failed and not message(found).startswith("Reconnecting"):  # Codex says so of each try
            return _of_result({**found, "is_error": True}, session)
    return None


def _of_result(found: Object, session: str) -> Said:
    subtype = _text(found.get("subtype"))
    failed = found.get("is_error") is True or subtype.startswith("error") or found.get("status") == "error"
    text = _text(found.get("result")) or _text(found.get("errors")) or message(found)
    if not text and subtype.startswith("error"):
        text = subtype
    ended = _ENDED.get(subtype) or _ENDED.get(_text(found.get("terminal_reason")))
    return Said(
        text[:MOST_TEXT],
        structured=True,
        is_error=failed,
        cost=_cost(found.get("total_cost_usd")),
        session=_session([(0, found)]) or session,
        trouble=(ended or _trouble(_status(found), wordings.trouble(text))) if failed else Trouble.NONE,
    )


_ENDED = {
    "error_max_turns": Trouble.TURNS,
    "max_turns": Trouble.TURNS,
    "error_max_budget_usd": Trouble.BUDGET,
    "budget_exhausted": Trouble.BUDGET,
}
# What the words may say more exactly than the status: providers use 403 and 429 for an empty account, too.
_FINER = {Trouble.USAGE, Trouble.CREDIT}


def _trouble(status: int | None, words: Trouble) -> Trouble:
    if status in (401, 402, 403, 429) and words in _FINER:
        return words
    if status in (401, 403):
        return Trouble.LOGIN
    if status == 402:
        return Trouble.CREDIT
    if status is not None and (status == 429 or status >= 500):
        return Trouble.PROVIDER
    return words


def _get(found: object, *keys: str) -> object:
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _text(value: object) -> str:
    """Return a text, or several as one; nothing for anything else."""
    if isinstance(value, list):
        return "; ".join(filter(None, (_text(one) or message(one) for one in value)))
    return "\n".join(lines.clean(value[:MOST_TEXT])).strip() if isinstance(value, str) else ""


def message(found: object) -> str:
    """Return the message of an error, however deep it is packed: Gemini and Codex pass on JSON as a text."""
    for _ in range(5):
        if isinstance(found, str):
            try:
                packed = json.loads(found) if found.lstrip().startswith(("{", "[")) else None
            except (ValueError, RecursionError):
                packed = None
            if packed is None:
                return _text(found)
            found = packed[0] if isinstance(packed, list) and packed else packed
        if not isinstance(found, dict):
            return ""
        found = next((found[key] for key in ("error", "data", "message", "detail", "name") if found.get(key)), None)
    return ""


def _status(found: Object) -> int | None:
    """Return the HTTP status of an API error, wherever its object keeps it."""
    places = (found, found.get("error"), _get(found, "error", "data"))
    keys = ("api_error_status", "statusCode", "status_code", "http_status_code", "status", "code")
    values = (one.get(key) for one in places if isinstance(one, dict) for key in keys)
    return next((value for value in values if type(value) is int and 400 <= value <= 599), None)


def _cost(value: object) -> float | None:
    """Return a sum of US dollars, or None if the agent's text has something else there."""
    try:
        cost = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else -1.0
    except OverflowError:
        return None
    return cost if 0 <= cost < math.inf else None


def _session(objects: Sequence[tuple[int, Object]]) -> str:
    """Return the newest session that the objects name: Claude's, Codex's or opencode's."""
    names = ("session_id", "thread_id", "sessionID")
    values = (found.get(name) for _, found in reversed(objects) for name in names)
    return next((value for value in values if isinstance(value, str) and _SESSION.fullmatch(value)), "")


_SESSION = re.compile(r"[\w.-]{6,100}")
_SESSION_LINE = re.compile(r"^session id: ([\w.-]{6,100})\s*$", re.MULTILINE)  # Codex's head, on stderr


def _last_message(objects: Sequence[tuple[int, Object]]) -> str:
    messages = (agent_message(found) for _, found in reversed(objects))
    return next(filter(None, messages), "")[:MOST_TEXT]


def agent_message(found: Object) -> str:
    """Return what the agent says in this event: Codex's, opencode's, Claude's or Gemini's."""
    match found:
        case {"type": "item.completed", "item": {"type": "agent_message", "text": str(text)}}:
            return _text(text)
        case {"type": "text", "part": {"text": str(text)}}:
            return _text(text)
        case {"type": "assistant", "message": {"content": list(parts)}}:
            return _text([_get(part, "text") for part in parts])
        case {"type": "message", "role": "assistant", "content": str(text)}:
            return _text(text)
    return ""


# --- plain text ---
def _plain(message: str, out: str, stderr: str, error: str, session: str) -> Said:
    """Return what plain text says: of stderr its last error, of stdout the final message."""
    own, theirs, runners = lines.meaningful(out), lines.meaningful(stderr), lines.meaningful(error)
    last = own if len(own) <= OWN_LINES else [lines.the_error(own) or own[-1]]
    for near in (theirs[-lines.NEAR_THE_END :], last, runners[-lines.NEAR_THE_END :]):
        if read := _read(near):
            trouble, text = read
            return Said(text[:MOST_TEXT], is_error=True, session=session, trouble=trouble)
    whole = "\n".join(own)
    if len(whole) > WHOLE:
        whole = "\n".join(lines.meaningful(re.split(r"\n\s*\n", out.rstrip())[-1])) or own[-1]
    final = message or lines.the_error(own) or whole
    # With a final message on stdout, an error further up on stderr is part of the transcript that Codex prints there.
    failure = lines.the_error(theirs[-1:] if final else theirs)
    failure = failure or lines.the_error(runners) or (runners[-1] if runners else "")
    text = failure or final or (theirs[-1] if theirs else "")
    return Said(text[:MOST_TEXT], is_error=bool(failure), session=session)


def _read(near: Sequence[str]) -> tuple[Trouble, str] | None:
    """Return what the last of these lines that says why the agent cannot work says, with the lines below it."""
    for place in range(len(near) - 1, -1, -1):
        trouble = wordings.plain_trouble(near[place])
        if trouble is not Trouble.NONE:
            return trouble, "\n".join(near[place:])
        if lines.is_error(near[place]) or wordings.talks(near[place]):  # this is the reason, and no row reads it
            return None
    return None
