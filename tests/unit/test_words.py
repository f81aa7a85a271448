"""What an ended run said: result objects, events and plain text of every agent."""

import json
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beads_dispatch.core import words
from beads_dispatch.core.wordings import Trouble
from beads_dispatch.core.words import Said

NONE, USAGE, LOGIN, CREDIT = Trouble.NONE, Trouble.USAGE, Trouble.LOGIN, Trouble.CREDIT
PROVIDER, NETWORK, TURNS, BUDGET = Trouble.PROVIDER, Trouble.NETWORK, Trouble.TURNS, Trouble.BUDGET
LIMIT = "You've hit your limit · resets 3pm (UTC)"
SESSION = "0199a213-81c0-7800-8aa1-bbab2a035a53"


def said(*out: object, stderr: str = "", error: str = "") -> Said:
    """What a run with this stdout said: a line for each object or text."""
    return words.said([line if isinstance(line, str) else json.dumps(line) for line in out], stderr, error)


def result(text: object = "done", **fields: object) -> dict[str, object]:
    return {"type": "result", "subtype": "success", "is_error": False, "result": text, **fields}


def failed(text: object = None, **fields: object) -> dict[str, object]:
    return result(text, **{"is_error": True, **fields})


# --- a result object ---
def test_a_result_says_everything() -> None:
    assert said(failed("API Error: 529", total_cost_usd=0.25, session_id=SESSION, api_error_status=529)) == Said(
        "API Error: 529",
        structured=True,
        is_error=True,
        cost=0.25,
        session=SESSION,
        trouble=PROVIDER,
    )


EVENTS = [
    {"type": "system", "subtype": "init", "session_id": SESSION},
    {"type": "assistant", "message": {"content": []}},
]


@pytest.mark.parametrize(
    "out",
    [
        [result("It is done")],
        ["a line", result("It is done")],
        [json.dumps([*EVENTS, result("It is done")])],
        [json.dumps([*EVENTS, result("It is done")], indent=2)],
        ["Loaded cached credentials.", json.dumps(result("It is done"), indent=2)],
        [*EVENTS, result("It is done")],
        [*EVENTS, result("It is done"), {"type": "system", "subtype": "after"}],
        [*EVENTS, result("It is done"), "✓ Closed t-1 — x: done", "", *["a line of a later command"] * 49],
        [{"result": "It is done"}],
        [result("It is done", permission_denials=[{"tool_input": "x" * 1_000_000}])],
        ["\x1b[32m", result("It is done")],
    ],
)
def test_a_result_in_each_of_its_shapes(out: list[object]) -> None:
    found = said(*out, stderr="Error: something on stderr\n")
    assert (found.text, found.structured, found.is_error, found.trouble) == ("It is done", True, False, NONE)


def test_a_result_far_above_the_end_is_a_transcript() -> None:
    assert said(failed(LIMIT), *["a line"] * 51).trouble is NONE
    assert said({"result": LIMIT, "is_error": True}, "a line").trouble is NONE


@pytest.mark.parametrize(
    ("fields", "text", "trouble"),
    [
        ({"subtype": "error_max_turns", "result": None}, "error_max_turns", TURNS),
        (
            {"subtype": "error_max_budget_usd", "errors": ["Reached maximum budget ($5)"]},
            "Reached maximum budget ($5)",
            BUDGET,
        ),
        ({"terminal_reason": "budget_exhausted", "errors": ["No more"]}, "No more", BUDGET),
        ({"subtype": "error_during_execution", "errors": ["first", "second"]}, "first; second", NONE),
        ({"subtype": "error_during_execution", "error": "Invalid API key"}, "Invalid API key", LOGIN),
        ({"subtype": "error", "result": "", "error": {"message": "Overloaded"}}, "Overloaded", PROVIDER),
        ({"result": LIMIT}, LIMIT, USAGE),
        ({"result": "It broke"}, "It broke", NONE),
        # the status decides, and the words say it more exactly
        ({"result": "…", "api_error_status": 401}, "…", LOGIN),
        ({"result": "…", "api_error_status": 402}, "…", CREDIT),
        ({"result": "…", "api_error_status": 403}, "…", LOGIN),
        (
            {"result": "用户额度不足, 剩余额度: $0.000000", "api_error_status": 403},
            "用户额度不足, 剩余额度: $0.000000",
            CREDIT,
        ),
        ({"result": "…", "api_error_status": 429}, "…", PROVIDER),
        ({"result": LIMIT, "api_error_status": 429}, LIMIT, USAGE),
        (
            {"result": "Try it (not your usage limit)", "api_error_status": 429},
            "Try it (not your usage limit)",
            PROVIDER,
        ),
        ({"result": "…", "api_error_status": 500}, "…", PROVIDER),
        ({"result": "…", "api_error_status": 529}, "…", PROVIDER),
        ({"result": "Prompt is too long", "api_error_status": 400}, "Prompt is too long", NONE),
        ({"result": "Credit balance is too low", "api_error_status": 400}, "Credit balance is too low", CREDIT),
        ({"result": "\x1b[31mNot logged in\x1b[0m"}, "Not logged in", LOGIN),
    ],
)
def test_why_a_result_is_an_error(fields: dict[str, object], text: str, trouble: Trouble) -> None:
    found = said(failed(**{"result": None, **fields}))  # type: ignore[arg-type]
    assert (found.text, found.is_error, found.trouble) == (text, True, trouble)


@pytest.mark.parametrize("text", [LIMIT, "Please run /login", "API Error: 529 Overloaded"])
def test_a_run_that_succeeded_and_talks_about_limits_is_none(text: str) -> None:
    assert said(result(text)).trouble is NONE
    assert said(result(text), stderr="Error: connection refused\n").trouble is NONE


def test_a_result_without_words_takes_those_of_stderr() -> None:
    found = said(failed(""), stderr="Error: Invalid API key\n")
    assert (found.text, found.is_error) == ("Error: Invalid API key", True)


@pytest.mark.parametrize(
    ("cost", "read"), [(0.25, 0.25), (0, 0.0), (-1, None), (10**400, None), (True, None), ("1", None), (None, None)]
)
def test_a_cost_is_a_sum_of_money_or_nothing(cost: object, read: float | None) -> None:
    assert said(result(total_cost_usd=cost)).cost == read


@pytest.mark.parametrize("status", ["401", True, 200, 700, None, 4.5])
def test_a_status_that_is_none(status: object) -> None:
    assert said(failed("It broke", api_error_status=status)).trouble is NONE


@pytest.mark.parametrize("session", ["", "a b", "x" * 101, 5, None, "$(reboot)"])
def test_a_session_that_is_none(session: object) -> None:
    assert said(result(session_id=session)).session == ""


# --- events ---
STARTED = [{"type": "thread.started", "thread_id": SESSION}, {"type": "turn.started"}]
RECONNECTING = {"type": "error", "message": "Reconnecting... 5/5 (stream disconnected before completion)"}


def message(text: str) -> dict[str, object]:
    return {"type": "item.completed", "item": {"id": "item_1", "type": "agent_message", "text": text}}


def turn_failed(text: str) -> dict[str, object]:
    return {"type": "turn.failed", "error": {"message": text}}


NO_AUTH = (
    '{"session_id": "b2b90938-611f", "error": {"type": "Error", "message": "Please set an Auth method", "code": 41}}'
)
PACKED = {"error": {"message": json.dumps({"error": {"code": 429, "message": "Quota exceeded"}})}}


def opencode(name: str, **data: object) -> dict[str, object]:
    return {"type": "error", "sessionID": "ses_f7eaf57b4ffe", "error": {"name": name, "data": data}}


@pytest.mark.parametrize(
    ("out", "text", "trouble"),
    [
        ([*STARTED, message("one"), message("Done"), {"type": "turn.completed", "usage": {}}], "Done", None),
        ([*STARTED, RECONNECTING, message("Done"), {"type": "turn.completed"}], "Done", None),
        ([*STARTED, message("ok"), turn_failed("You've hit your usage limit.")], "You've hit your usage limit.", USAGE),
        ([*STARTED, {"type": "error", "message": "401 Unauthorized: x"}], "401 Unauthorized: x", LOGIN),
        ([*STARTED, RECONNECTING, turn_failed("stream disconnected")], "stream disconnected", NETWORK),
        ([*STARTED, turn_failed('{"type":"error","status":503,"error":{"message":"Oh"}}')], "Oh", NONE),
        ([*STARTED, turn_failed("rollout token budget exhausted")], "rollout token budget exhausted", BUDGET),
        ([opencode("UnknownError", message="Odd")], "Odd", NONE),
        ([opencode("APIError", message="No", statusCode=401)], "No", LOGIN),
        ([opencode("ProviderAuthError")], "ProviderAuthError", LOGIN),
        (
            [{"type": "text", "part": {"text": "Done"}}, {"type": "step_finish", "part": {"reason": "stop"}}],
            "Done",
            None,
        ),
        ([NO_AUTH], "Please set an Auth method", LOGIN),
        (["[API Error: x]", json.dumps(PACKED, indent=2)], "Quota exceeded", USAGE),
        ([{"type": "result", "status": "error", "error": {"message": "Overloaded"}}], "Overloaded", PROVIDER),
    ],
)
def test_events_that_end_a_run(out: list[object], text: str, trouble: Trouble | None) -> None:
    found = said(*out)
    assert (found.text, found.structured, found.is_error) == (text, True, trouble is not None)
    assert found.trouble is (trouble or NONE)


def test_the_error_of_a_run_that_went_on_is_none() -> None:
    found = said(*STARTED, turn_failed("You've hit your usage limit."), message("It works again"))
    assert (found.text, found.is_error, found.trouble, found.session) == ("It works again", False, NONE, SESSION)


def test_a_stream_that_breaks_off_while_it_reconnects_is_no_error() -> None:
    found = said(*STARTED, RECONNECTING)
    assert (found.text, found.is_error, found.trouble, found.session) == ("", False, NONE, SESSION)


def test_events_on_stderr_count_if_stdout_has_none() -> None:
    assert said("", stderr=json.dumps(turn_failed("You've hit your usage limit."))).trouble is USAGE
    assert said(result(), stderr=json.dumps(turn_failed("You've hit your usage limit."))).trouble is NONE


# --- plain text ---
NODE = """\
/app/agent.js:3
throw new Error("the port is taken");
^

Error: the port is taken
    at Object.<anonymous> (/app/agent.js:3:7)
    at node:internal/main/run_main_module:28:49 {
  code: 'EADDRINUSE'
}

Node.js v18.19.1
"""
PYTHON = """\
Traceback (most recent call last):
  File "/app/agent.py", line 3, in <module>
    raise ValueError("no such bead")
    ~~~~~^^^^^^^^^^^^^^^^^^^^^^^^^^
ValueError: no such bead
"""
RUST = """\
thread 'main' panicked at src/main.rs:2:5:
index out of bounds: the len is 3 but the index is 99
stack backtrace:
   0: rust_begin_unwind
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
"""
GO = """\
panic: runtime error: index out of range [5] with length 3

goroutine 1 [running]:
main.main()
\t/app/main.go:5 +0x1d
exit status 2
"""
CODEX = """\
OpenAI Codex v0.147.0
--------
session id: 0199a213-81c0-7800-8aa1-bbab2a035a53
--------
exec make check
error: test failed, to rerun pass `--lib`
codex
I need a key for the staging environment
tokens used
12,345
"""


@pytest.mark.parametrize(
    ("stdout", "stderr", "text"),
    [
        ("", NODE, "Error: the port is taken"),
        ("", PYTHON, "ValueError: no such bead"),
        ("", RUST, "thread 'main' panicked at src/main.rs:2:5: index out of bounds: the len is 3 but the index is 99"),
        ("", GO, "panic: runtime error: index out of range [5] with length 3"),
        ("working\n", NODE, "Error: the port is taken"),
        ("working\n", GO, "panic: runtime error: index out of range [5] with length 3"),
        ("", "warning: x\n/bin/sh: 1: claudee: not found\n", "claudee: not found"),
        ("", "bash: line 1: claudee: command not found\n", "claudee: command not found"),
        ("", "warning: beads.role not configured (GH#2950).\nExported 12 issues to .beads/issues.jsonl\n", ""),
        ("", "the reason\nExported 1 issue to x\n", "the reason"),
        ("", "Downloading  10%|█   | 1/10\rDownloading 100%|████| 10/10\nthe reason\n", "the reason"),
        ("", "step 1\rstep 2\rthe reason\r\n", "the reason"),
        ("", "the reason\n 45% [=====>     ] 4 MB/s\n", "the reason"),
        ("", "\x1b[31m\x1b[1mError:\x1b[0m it broke\x1b[K\n\x1b]0;title\x07", "Error: it broke"),
        ("", "error: cannot open x\nhint: try y\n", "error: cannot open x"),
        ("", "    indented only\n", "indented only"),
        # Codex's final message is on stdout; what its commands printed stands on stderr
        ("I need a key for the staging environment\n", CODEX, "I need a key for the staging environment"),
        ("Which port?\n\nIt could be 80.\n", "a line\n", "Which port?\nIt could be 80."),
        ("a long line of a log\n" * 40 + "\nWhich port?\nIt could be 80.\n", "", "Which port?\nIt could be 80."),
        ("a line\n" * 100 + "Error: no space left\n", "", "Error: no space left"),
        ("", "", ""),
    ],
)
def test_the_line_that_matters(stdout: str, stderr: str, text: str) -> None:
    found = words.said(stdout, stderr)
    assert (found.text, found.structured, found.trouble) == (text, False, found.trouble)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("bash", "-c", "claudee -p x"), "claudee: command not found"),
        (("bash", "-c", "set -u; echo working; echo $NOWHERE"), "NOWHERE: unbound variable"),
        (("/bin/sh", "-c", "echo working; cat /nowhere"), "cat: /nowhere: No such file or directory"),
        ((sys.executable, "-c", "print('working'); {}['key']"), "KeyError: 'key'"),
        ((sys.executable, "-c", "raise SystemExit('fatal: no')"), "fatal: no"),
        (("git", "-C", "/nowhere", "log"), "fatal: cannot change to '/nowhere': No such file or directory"),
        (("make", "-C", "/etc", "nowhere"), "make: *** No rule to make target 'nowhere'.  Stop."),
    ],
)
def test_what_real_programs_print(argv: tuple[str, ...], text: str) -> None:
    environ = {**os.environ, "LC_ALL": "C", "MAKEFLAGS": "", "MAKELEVEL": "0"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode
    assert words.said(done.stdout, done.stderr).text == text


@pytest.mark.parametrize(
    ("stdout", "stderr", "trouble"),
    [
        (LIMIT, "", USAGE),
        ("Invalid API key · Please run /login\n", "", LOGIN),
        ("", "ERROR: You've hit your usage limit. Try again at 2:57 PM.\ntokens used\n12,345\n", USAGE),
        (
            "working\n",
            "a line\nError: connect ECONNREFUSED 127.0.0.1:443\n    at x (y.js:1:2)\n\nNode.js v18.19.1\n",
            NETWORK,
        ),
        ("a line\n" * 100 + "API Error: 529 Overloaded\n", "", PROVIDER),
        ("a line\n" * 100 + "API Error: 529 Overloaded\n" + "a line\n" * 10, "", NONE),
        ("", "API Error: 529 Overloaded\n" + "a line\n" * 10, NONE),
        ("", "Error: connection refused, retrying\nError: cannot write x\n", NONE),
        ("", "connection refused\nError: cannot write x\n", NONE),
        ("The usage limit is reached by test 3, as before\n", "", NONE),
        ("The session has expired\nso I asked for a new one\nand I went on\n", "", NONE),
        ("", "3 tests failed\nlogin required\n", LOGIN),
    ],
)
def test_plain_words_count_as_a_short_final_message_only(stdout: str, stderr: str, trouble: Trouble) -> None:
    assert words.said(stdout, stderr).trouble is trouble


def test_a_message_of_two_lines_is_kept_with_its_reset_time() -> None:
    found = words.said("Claude usage limit reached.\nTry again at 3pm.\n", "")
    assert (found.text, found.trouble) == ("Claude usage limit reached.\nTry again at 3pm.", USAGE)


def test_a_runner_that_could_not_run_it() -> None:
    found = words.said([], "", "[Errno 2] No such file or directory: 'claude'")
    assert (found.text, found.is_error, found.trouble) == (
        "[Errno 2] No such file or directory: 'claude'", True, Trouble.COMMAND,
    )  # fmt: skip
    assert words.said([], "", "Separator is found, but chunk is longer than limit").trouble is NONE
    assert words.said([], "", "[Errno 7] Argument list too long: 'claude'").trouble is NONE


def test_codex_names_its_session_on_stderr() -> None:
    assert words.said("", CODEX).session == SESSION


# --- anything ---
PIECES = st.sampled_from(
    ["{", "[", "]", "}", '{"type": "result"}', '{"error": 1}', '{"type":"error"}', '[{"result": {}}]', "\n", "\r",
     "\x1b[", "\x1b]", "null", "\u2028", '{"type":"assistant","message":{"content":[1]}}', '{"type":"turn.failed"}',
     "Error: ", "50%|", "limit"]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=5), max_size=12).map("".join), st.lists(PIECES, max_size=5).map("".join))
def test_no_output_raises_and_no_text_has_an_escape_sequence(out: str, err: str) -> None:
    for found in (words.said(out, err, out), words.said(err, out)):
        assert "\x1b" not in found.text
        assert "\r" not in found.text


@pytest.mark.parametrize(
    "piece", ["[", "[\n", "{\n", '{"a":', "a.b(", "=", " \t", "x\n", "Error: ", "50% ", "1.", "\x1b["]
)
def test_a_million_characters_of_anything_are_read_in_time(piece: str) -> None:
    """What backtracks, or starts anew at each line, takes minutes of the processor."""
    out = piece * (1_000_000 // len(piece))
    began = time.process_time()
    words.said(out, out, out)
    assert time.process_time() - began < 8
