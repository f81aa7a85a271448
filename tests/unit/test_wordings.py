"""What agents say about why they cannot work: every row of the table, other words for the same, and what is none."""

import pytest

from beads_dispatch.core import wordings
from beads_dispatch.core.wordings import CANNOT_WORK, TABLE, Trouble, Wording, plain_trouble, trouble

NONE, USAGE, LOGIN, CREDIT = Trouble.NONE, Trouble.USAGE, Trouble.LOGIN, Trouble.CREDIT
PROVIDER, NETWORK, MODEL, COMMAND = Trouble.PROVIDER, Trouble.NETWORK, Trouble.MODEL, Trouble.COMMAND


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.sample[:60])
def test_each_row_reads_its_own_sample_and_no_row_above_it_does(row: Wording) -> None:
    first, found = next(wordings.read(row.sample))
    assert first is row, found
    assert row.vendor
    assert row.source
    assert plain_trouble(row.sample) is row.trouble


def test_a_run_that_used_up_its_own_turns_or_budget_can_work() -> None:
    assert Trouble.LOGIN in CANNOT_WORK
    assert not CANNOT_WORK & {Trouble.NONE, Trouble.TURNS, Trouble.BUDGET}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Claude Code
        ("Claude usage limit reached. Your limit will reset at 3pm (America/Bogota).", USAGE),
        ("5-hour limit reached ∙ resets 5:30am", USAGE),
        ("Opus weekly limit reached ∙ resets Oct 31, 9am", USAGE),
        ("You’ve hit your session limit · resets 11am (UTC)", USAGE),
        ("You've hit your weekly limit · resets Mon 12:00am", USAGE),
        ("You've hit your org's monthly limit · resets Dec 1 at 12am (UTC)", USAGE),
        ("You've hit your monthly spend limit · raise it at claude.ai/settings/usage", USAGE),
        ("spending cap reached resets 9pm", USAGE),
        ("You've reached your Fable limit.", USAGE),
        ("Session limit hit. Resets at 3pm", USAGE),
        ("You've reached the 5-hour limit. It resets at 15:00 UTC", USAGE),
        ("You've used 100% of your weekly limit · resets 3pm", USAGE),
        ("You've hit your team's shared budget", USAGE),
        ("The limit of this plan was met\nIt resets on Monday", USAGE),
        ("Your limit resets on Monday at 9:00 AM PST", USAGE),
        ("Context limit reached. You've hit your weekly limit", USAGE),
        ("out of usage credits", USAGE),
        ("You've hit your weekly token limit · resets 3pm", USAGE),  # a limit of tokens that resets at a time
        ("Failed to authenticate: OAuth session expired and could not be refreshed", LOGIN),
        ("Invalid API key · Please run /login", LOGIN),
        ("OAuth token has expired", LOGIN),
        ("Not logged in · Please run /login", LOGIN),
        ("API Error: 500 …", PROVIDER),
        ("API Error: Connection error.", NETWORK),
        ("Request timed out", NETWORK),
        ("API Error: Request rejected (429) · Rate limited", PROVIDER),
        ("API Error: Unable to connect to API (ENOTFOUND)", NETWORK),
        ("Failed to connect to api.anthropic.com: UNABLE_TO_GET_ISSUER_CERT_LOCALLY", NETWORK),
        # Codex
        ("ERROR: You've hit your usage limit. Upgrade to Pro (https://x.y) or try again at 2:57 PM.", USAGE),
        ("You've hit your usage limit. To get more access now, send a request to your admin", USAGE),
        ('{"type":"usage_limit_reached","resets_at":1777936568,"resets_in_seconds":13872}', USAGE),
        ("unexpected status 401 Unauthorized: Missing bearer authentication in header", LOGIN),
        ("unexpected status 503 Service Unavailable: auth_unavailable: no auth available, auth error: 503", PROVIDER),
        ("Missing environment variable: `OPENAI_API_KEY`.", LOGIN),
        # opencode, Gemini, Qwen, z.ai, Copilot, Cursor, Amp, Goose, aider
        ("AI_APICallError: Monthly usage limit reached", USAGE),
        ('Error: Unauthorized: {"error":{"message":"User not found.","code":401}}', LOGIN),
        ("You have exhausted your capacity on this model. Your quota will reset after 3h20m9s", USAGE),
        ("[API Error: You exceeded your current quota, please check your plan and billing details.]", USAGE),
        ("429 RESOURCE_EXHAUSTED", USAGE),
        ("[API Error: API key not valid. Please pass a valid API key. (Status: INVALID_ARGUMENT)]", LOGIN),
        ("429 Free allocated quota exceeded.", USAGE),
        ("Internal error: 401 invalid access token or token expired", LOGIN),
        ("[1308][Usage limit reached for 5 hour. Your limit will reset at 2026-12-01 14:29:33]", USAGE),
        ("✗ 402 You have no quota (Request ID: 0DAE:25E807)", USAGE),
        ("You have exceeded your premium request allowance. Enable additional paid premium requests", USAGE),
        ("Error: You've hit your usage limit", USAGE),
        ("Authentication required. Please run 'agent login' first", LOGIN),
        ("Error: Out of Credits", CREDIT),
        ("Ran into this error: Authentication failed. Status: 401 Unauthorized. Response: User not found..", LOGIN),
        ("litellm.AuthenticationError: AnthropicException - invalid x-api-key", LOGIN),
        # in other words
        ("Login expired. Please log in again.", LOGIN),
        ("Your session has expired, please sign in", LOGIN),
        ("You have been logged out", LOGIN),
        ("You are not authenticated", LOGIN),
        ("error: ANTHROPIC_API_KEY is not set", LOGIN),
        ("No API key found", LOGIN),
        ("The token you provided is invalid", LOGIN),
        ("Could not authenticate with the provider", LOGIN),
        ("HTTP 403: Forbidden", LOGIN),
        ("Insufficient funds", CREDIT),
        ("Your account has run out of credits", CREDIT),
        ("This request requires more credits", CREDIT),
        ("Your account is suspended", CREDIT),
        ("You have used all of your weekly limit.", USAGE),
        ("Monthly quota exhausted", USAGE),
        ("The daily limit was reached. Try again tomorrow.", USAGE),
        ("No more requests: limit used up, resets in 3 hours", USAGE),
        ("The model is overloaded. Please try again later.", PROVIDER),
        ("502 Bad Gateway", PROVIDER),
        ("The server is busy", PROVIDER),
        ("Too many requests", PROVIDER),
        ("connect ECONNREFUSED 127.0.0.1:443", NETWORK),
        ("read ECONNRESET", NETWORK),
        ("getaddrinfo EAI_AGAIN api.anthropic.com", NETWORK),
        ("dial tcp: lookup api.openai.com: no such host", NETWORK),
        ("Temporary failure in name resolution", NETWORK),
        ("Network is unreachable", NETWORK),
        ("You appear to be offline", NETWORK),
        ("TypeError: fetch failed", NETWORK),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", NETWORK),
        ("x509: certificate signed by unknown authority", NETWORK),
        ("The model `gpt-9` does not exist or you do not have access to it.", MODEL),
        ("ProviderModelNotFoundError: ProviderModelNotFoundError", MODEL),
        ("claudee: not found", COMMAND),
        ("claudee: command not found", COMMAND),
    ],
)
def test_an_agent_that_cannot_work(text: str, expected: Trouble) -> None:
    assert trouble(text) is expected
    assert plain_trouble(text) is expected
    assert expected in CANNOT_WORK


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Context limit reached · /compact or /clear to continue",
        "Context window limit reached",
        "Context length limit",
        "Maximum turns limit reached",
        "output token limit exceeded",
        "file size limit",
        "The file size limit was hit",
        "recursion limit reached",
        "Time limit reached",
        "Memory usage limit reached",
        "Tool-call limit reached",
        "Subagent limit reached",
        "disk quota exceeded",
        "You've reached your output-token limit",
        "You exceeded your token budget",
        "You've hit your limit of 20 open files",
        "Error: limit of 20 open files",
        "spending limit of the test account is 5",
        "The limit of the queue is 20; git reset was run, which resets the index",
        "Error: cannot find module './login'",
        "error[E0425]: cannot find value `token` in this scope",
        "fatal: not a git repository (or any of the parent directories): .git",
        "TypeError: Cannot read properties of undefined (reading 'token')",
    ],
)
def test_a_limit_of_something_else_or_another_error_is_none(text: str) -> None:
    assert trouble(text) is NONE
    assert plain_trouble(text) is NONE


@pytest.mark.parametrize(
    "text",
    [
        "I raised the limit of the queue to 20, as the bead asks",
        "I added the usage limits page, but could not close the bead.",
        "Implemented usage limits: when the usage limit is reached, a banner is shown.",
        "test 429 of 500 failed: too many requests were sent to the stub",
        "FAILED test_429 - expected 429 Too Many Requests",
        "AssertionError: expected 401 to equal 200",
        "1 failed: test_login_expired: 401 Unauthorized",
        "The login form says: please log in",
        "Documented how to log in again once the session has expired",
        "The database connection was refused by the test container, so I stopped.",
        "Which API key should the tests use, now that the token has expired?",
        "Blocked: the acceptance criteria mention a rate limit of 100/s, which this server does not reach",
        "Error: 3 tests failed: connection refused",
        "Fixed the handling of 503 Service Unavailable",
        "Attempt 3 of 10: connection refused, retrying in 8 s",
        "warning: connection reset, continuing without the cache",
        "All of the work on the parser and on both of its callers is complete, but no token was provided",
        "x" * 480 + " usage limit reached",
    ],
)
def test_an_agent_that_talks_about_its_work_says_nothing_about_itself(text: str) -> None:
    assert plain_trouble(text) is NONE


def test_only_the_first_2000_characters_count() -> None:
    assert trouble("usage limit reached".rjust(2000)) is USAGE
    assert trouble("usage limit reached".rjust(2019)) is NONE
