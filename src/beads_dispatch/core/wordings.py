"""Why an agent cannot work, by its own words: one table of the wordings that agents have printed.

They drift: Claude Code changed its text for a usage limit at least four times in 2025 and 2026. So a row reads more
than the one text beside it, and what no row reads stays unknown.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache

from beads_dispatch.core.lines import is_error

MOST_CHARACTERS = 2000  # of a message that are read
SHORT = 500  # characters: a longer line of plain text is no program's message
HEAD = 60  # characters of plain text before what a row reads, unless the line begins as an error does


class Trouble(Enum):
    """Why an agent could not work. TURNS and BUDGET: it could, up to a limit that is set for one run."""

    NONE = ""
    USAGE = "usage limit"
    LOGIN = "login"
    CREDIT = "credit"
    PROVIDER = "provider"
    NETWORK = "network"
    MODEL = "model"
    COMMAND = "command"
    TURNS = "turns"
    BUDGET = "budget"


CANNOT_WORK = frozenset(Trouble) - {Trouble.NONE, Trouble.TURNS, Trouble.BUDGET}


@dataclass(frozen=True, slots=True)
class Wording:
    """One row: what a message means that matches one of these patterns, in any case.

    `source`: where `sample` was printed or quoted, and when.
    """

    trouble: Trouble
    vendor: str
    source: str
    sample: str
    patterns: tuple[str, ...]


# How a time begins at which a limit resets. A limit that resets is a usage limit, whatever else it is called.
_RESETS = (
    r"\bresets?\b:?\s+(?:(?:at|on|in|after|about)\s+)*(?:\d|(?:mon|tue|wed|thu|fri|sat|sun|today|tomorrow)"
    r"|(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\w*\.?\s+\d)"
)
_WHOSE = r"(?:[\w'’-]+ ){0,4}?"  # `org's monthly `, `specified API `
_WAS = r"(?:(?:is|are|has|have|was|were|been|now) )*"
_TOKEN = r"(?:access|auth|oauth|refresh|bearer|session|id)[ _-]?tokens?"
_KEY = rf"(?:(?:x-)?api[ _-]?keys?|{_TOKEN}|credentials?|authentication)"
_STATUS = r"(?:API Error|HTTP(?:/\d(?:\.\d)?)?|status(?: code)?|error(?: code)?|code)\W{1,4}(?:request rejected \()?"

# The first row that reads a message decides, so a special case stands above its general one.
TABLE = (
    Wording(
        Trouble.PROVIDER, "Claude Code", "anthropics/claude-code, 2026-11",
        "API Error: Server is temporarily limiting requests (not your usage limit)",
        (r"not your usage limit", r"temporarily limiting"),
    ),
    Wording(
        Trouble.USAGE, "Anthropic", "anthropics/claude-code#54698, 2026-04",
        'API Error: 429 {"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed …"}}',
        (r"rate_limit_error", r"exceed your account['’]s rate limit"),
    ),
    Wording(
        Trouble.USAGE, "Claude Code", "anthropics/claude-code#54735, 2026-04",
        "You've hit your limit · resets 7:10am (Australia/Sydney)",
        (rf"\blimits?\b.{{0,60}}?{_RESETS}", r"\b(?:limit|quota|usage|allowance)s? (?:will )?resets?\b"),
    ),
    Wording(
        Trouble.USAGE, "Anthropic", "anthropics/claude-code#1047, 2025-05",
        "You have reached your specified API usage limits. You will regain access on 2025-06-01 at 00:00 UTC.",
        (
            rf"\b(?:hit|reach(?:ed)?|exceed(?:ed|s)?|exhausted|used up|used (?:100 ?%|all) of) (?:your|the|its|our) "
            rf"{_WHOSE}(?:limits?|quota|budget|allowance|capacity|cap)\b",
            r"\b(?:daily|weekly|monthly) (?:budget|allowance)\b.{0,40}\b(?:exceeded|exhausted|reached|used up)\b",
        ),
    ),
    Wording(
        Trouble.PROVIDER, "Claude Code, OpenAI", "anthropics/claude-code#27457, 2026-02",
        "API Error: Rate limit reached",
        (
            r"\brate[ -]?limited\b", r"^\W*rate[ -]?limit", r"rate_limit",
            rf"\brate[ -]?limits? {_WAS}(?:reached|hit|exceeded|error)\b", r"RateLimit(?:Error|Exceeded)",
            r"\b(?:hit|reached|exceeded) (?:a |the |your )?rate[ -]?limits?\b",
        ),
    ),
    Wording(
        Trouble.USAGE, "Claude Code", "anthropics/claude-code#2490, 2025-06",
        "Claude AI usage limit reached|1750708800",
        (
            rf"\blimits? {_WAS}(?:reached|hit|exceeded|exhausted|used up)\b", r"usage_?limit_?(?:reached|exceeded)",
            r"^\W*usage limit\b", r"\b(?:usage|spend(?:ing)?) cap\b",
        ),
    ),
    Wording(
        Trouble.USAGE, "Claude Code", "anthropics/claude-code, 2026-11",
        "You're out of extra usage · resets 11:30am (Asia/Colombo)",
        (r"\bout of (?:extra )?usage\b", rf"\busage {_WAS}(?:exceeded|exhausted|used up)"),
    ),
    Wording(
        Trouble.USAGE, "Codex", "openai/codex codex-rs/core/src/error.rs 001cb8e",
        "ERROR: Quota exceeded. Check your plan and billing details.",
        (
            rf"\bquota {_WAS}(?:exceeded|exhausted|reached|used up|depleted)", r"\binsufficient[ _]quota",
            r"quota_exceeded",
            r"\b(?:exceeded|exhausted|out of|no|over) (?:\w+ )?quota\b", rf"\bresource[ _]{_WAS}exhausted",
        ),
    ),
    Wording(
        Trouble.CREDIT, "Anthropic", "anthropics/claude-code#867, 2025-04",
        "Credit balance is too low",
        (
            rf"\b(?:credits?|funds|balance)(?: \w+)? {_WAS}(?:too |very )?"
            r"(?:low|insufficient|exhausted|depleted|empty|used up|run out|expired)\b",
        ),
    ),
    Wording(
        Trouble.CREDIT, "OpenRouter, DeepSeek, Amp", "continuedev/continue#10281, 2026-02; automazeio/vibeproxy#199",
        "402 Insufficient Balance",
        (
            r"\b(?:insufficient|(?:not|have) enough|no(?: more)?|out of|low|requires? more|add|purchase|buy)[ _]"
            r"(?:\w+[ _]){0,2}?(?:credits?|funds|balance)\b",
        ),
    ),
    Wording(
        Trouble.CREDIT, "HTTP", "RFC 9110; jeong-jimin-github/EIGENT#18, 2026-08 (a provider that answers in Chinese)",
        "HTTP 402 Payment Required",
        (
            r"payment (?:is )?required", rf"{_STATUS}402\b", r"billing (?:hard )?limit", r"余额不足|额度不足",
            r"billing (?:account )?(?:is )?(?:inactive|not active|not enabled|disabled)",
        ),
    ),
    Wording(
        Trouble.CREDIT, "any", "in other words",
        "Your subscription has expired",
        (
            rf"\b(?:subscription|plan|trial|account) {_WAS}"
            r"(?:expired|ended|inactive|cancell?ed|suspended|past due|deactivated|disabled)\b",
        ),
    ),
    Wording(
        Trouble.PROVIDER, "Anthropic", "anthropics/claude-code#87317, 2026-08",
        "API Error: 529 Overloaded. This is a server-side issue, usually temporary — try again in a moment.",
        (rf"{_STATUS}5\d\d\b", r"\boverloaded(?:_error)?\b", r"server-side issue"),
    ),
    Wording(
        Trouble.LOGIN, "Claude Code", "anthropics/claude-code#10712, 2025-10",
        "Invalid API key · Please run /login",
        (r"\b(?:run|use|try|type) [`'\"]?(?:/|[\w-]+ )(?:auth )?(?:login|auth)\b",),
    ),
    Wording(
        Trouble.LOGIN, "Cursor, Codex", "xllm-go/bypass#153, 2025-04",
        "[unauthenticated] Not logged in. If you are logged in, try logging out and back in.",
        (
            r"\b(?:not|n['’]t|no longer) (?:been )?(?:logged|signed)[ -]?in\b", r"\b(?:logged|signed) (?:you )?out\b",
            r"\b(?:log|sign)[ -]?in (?:again|first|is required|required|to (?:continue|proceed|use))\b",
            r"\b(?:please|must|need to|have to) (?:[\w ]+ and )?(?:be )?(?:re-?)?(?:log|sign)(?:ged|ed)?[ -]?in\b",
            r"\b(?:please|must|need to|have to) (?:re-?)?authenticate\b",
            r"\bre-?authenticate\b", r"\bre-?login\b",
        ),
    ),
    Wording(
        Trouble.LOGIN, "Claude Code, Qwen", "anthropics/claude-code#33879, 2026-03; QwenLM/qwen-code#3501, 2026-04",
        "OAuth token has expired. Please obtain a new token or refresh your existing token.",
        (
            # A token that is missing or unexpected is often a parser's; one that has expired never is.
            rf"\b(?:{_KEY}|tokens?|log-?in|session)(?: you (?:provided|entered)| included in the request)? {_WAS}"
            r"(?:invalid(?:ated)?|expired|revoked|rejected)\b",
            rf"\b{_KEY} {_WAS}(?:not (?:valid|set|found|provided)|be set|missing|required|denied|incorrect)\b",
        ),
    ),
    Wording(
        Trouble.LOGIN, "Goose, OpenAI", "aaif-goose/goose#6748, 2026-01",
        "Ran into this error: Authentication failed. Status: 401 Unauthorized. Response: invalid x-api-key.",
        (
            rf"\b(?:invalid|incorrect|expired|missing|bad|revoked|wrong|no|unknown)[ _](?:\w+[ _]){{0,2}}?{_KEY}\b",
            r"\bexpired (?:log-?in|session|token)s?\b",
            r"api_?key_?invalid", r"invalid_(?:api_key|grant|token)",
        ),
    ),
    Wording(
        Trouble.LOGIN, "Codex", "openai/codex#6498, 2025-11",
        "Your access token could not be refreshed because your refresh token was already used.",
        (
            r"token (?:could not|couldn['’]t|cannot|can['’]t) be refreshed",
            r"\b(?:failed to|unable to|could not|cannot) (?:refresh|authenticate|log ?in|sign ?in)\b",
            r"\b(?:failed to|unable to|could not|cannot) (?:load|find|read) credentials\b",
            r"\btoken refresh failed\b", r"Expired(?:Token|Credentials)", r"\bresolve authentication\b",
        ),
    ),
    Wording(
        Trouble.LOGIN, "Gemini", "gemini-cli 0.24.0, 2026-01",
        "Please set an Auth method in your /home/you/.gemini/settings.json",
        (
            r"set an auth method", r"no authentication information",
            r"missing environment variable\W+\w*(?:key|token)\b",
            r"\w+_(?:API_KEY|TOKEN)\b.{0,30}\b(?:not set|unset|missing|required)\b",
            r"\b(?:specify|set|setting|provide|pass) (?:your |a |an |the (?=\w+_)|valid ){0,2}\w*(?:API_KEY|api key)\b",
        ),
    ),
    Wording(
        Trouble.LOGIN, "Codex", "openai/codex#7362, 2025-11",
        "exceeded retry limit, last status: 401 Unauthorized, request id: 9a5793386e39fede-SIN",
        (
            rf"{_STATUS}40[13]\b", r"\bunauthori[sz]ed\b", r"\bunauthenticated\b", r"\bnot authenticated\b",
            r"\bauth(?:entication|orization)? (?:error|failed|failure|required|expired)\b", r"\b403 forbidden\b",
            r"(?:authentication|permission)_error", r"(?:Authentication|ProviderAuth)Error",
            r"\blog-?in (?:failed|required)\b",
        ),
    ),
    Wording(
        Trouble.LOGIN, "Claude Code", "anthropics/claude-code#79500, 2026-08",
        "Your organization has disabled Claude subscription access for Claude Code · Use an Anthropic API key instead",
        (
            r"organi[sz]ation (?:has been |is )?disabled", r"has disabled .{0,40}access", r"oauth_org_not_allowed",
            r"(?:do(?:es)? not|don['’]t|doesn['’]t|no longer) have access to (?:claude|codex|gemini|cursor|copilot)",
        ),
    ),
    Wording(
        Trouble.MODEL, "Claude Code, opencode", "anthropics/claude-code, 2026-11; anomalyco/opencode#916, 2025-08",
        "There's an issue with the selected model (opus-9). It may not exist or you may not have access to it.",
        (
            r"issue with the selected model", r"Model(?:NotFound|Unavailable)", r"model_not_found",
            r"\b(?:invalid|unknown|unsupported) model\b",
            r"\bmodel\b.{0,60}?\b(?:not found|not exist|not (?:currently )?(?:available|supported))\b",
            r"\bmodel\b.{0,60}?\bis (?:unavailable|invalid)\b",
            r"not_found_error.{0,40}\bmodel\b",
        ),
    ),
    Wording(
        Trouble.PROVIDER, "HTTP", "openai/codex#35316, 2026-07",
        "503 Service Unavailable",
        (
            r"\bservice (?:is )?(?:temporarily |currently )?unavailable\b", r"\btemporarily unavailable\b",
            r"\bbad gateway\b", r"\bgateway time-?out\b", r"\b(?:internal )?server error\b",
            r"\b(?:server|api|provider|model|service) is (?:\w+ )?(?:down|busy|unavailable)\b",
            r"\b5(?:00|02|03|04|29) (?:\w+ )?(?:error|overloaded|unavailable)\b", r"\breturned 5\d\d\b",
            r"(?:ServiceUnavailable|InternalServer|Overloaded)Error", r"\boutage\b",
            r"\bupstream (?:\w+ )?(?:failed|error)\b",
        ),
    ),
    Wording(
        Trouble.PROVIDER, "Codex, Gemini", "openai/codex codex-rs/core/src/error.rs 001cb8e",
        "We're currently experiencing high demand, which may cause temporary errors.",
        (r"\bhigh demand\b", r"\b(?:at|over) capacity\b", r"\bcapacity (?:constraints|errors?|exceeded)\b",
         r"\bheavy load\b", r"\bthrottl(?:ed|ing)\b"),
    ),
    Wording(
        Trouble.PROVIDER, "HTTP", "openai/codex codex-rs/core/src/error.rs 001cb8e",
        "exceeded retry limit, last status: 429 Too Many Requests",
        (r"\btoo many requests\b", rf"{_STATUS}429\b"),
    ),
    Wording(
        Trouble.NETWORK, "Claude Code", "anthropics/claude-code#71188, 2026-06; #18766, 2026-01",
        "API Error: Unable to connect to API (ConnectionRefused)",
        (
            r"\bE(?:CONN(?:REFUSED|RESET|ABORTED)|NOTFOUND|AI_AGAIN|TIMEDOUT|NETUNREACH|HOSTUNREACH|NETDOWN)\b",
            r"ConnectionRefused|FailedToOpenSocket|(?:API)?ConnectionError",
            rf"\bconnection {_WAS}(?:error|refused|reset|closed|timed out|aborted|failed|lost)\b",
            r"\b(?:unable|failed) to (?:connect|reach|fetch)\b",
            r"\b(?:cannot|can['’]t|could not|couldn['’]t) (?:connect|reach)\b",
        ),
    ),
    Wording(
        Trouble.NETWORK, "curl, Node, Go", "in other words",
        "curl: (6) Could not resolve host: api.anthropic.com",
        (
            r"\b(?:could not|couldn['’]t|cannot|failed to|unable to) resolve (?!auth|import|module|dep)",
            r"\bname or service not known\b",
            r"\bno such host\b", r"\bgetaddrinfo\b", r"\b(?:name|dns)(?: name)? (?:resolution|lookup|error|failure)\b",
        ),
    ),
    Wording(
        Trouble.NETWORK, "Codex", "openai/codex#12207, 2026-02",
        "stream disconnected before completion: error sending request for url (https://chatgpt.com/backend-api/codex/…)",
        (
            r"\berror sending request\b", r"\bstream disconnected\b", r"\bsocket hang up\b", r"\bfetch failed\b",
            r"\b(?:request|connection|operation)\b.{0,40}? timed out\b",
            r"(?:Connect|Read)Timeout",
            r"\bno route to host\b",
            r"\boffline\b",
            r"\bunreachable\b", r"\b(?:network|host) (?:is )?(?:unreachable|error|down|unavailable)\b",
            r"\b(?:no|poor|check your) (?:internet|network)\b",
        ),
    ),
    Wording(
        Trouble.NETWORK, "Claude Code", "anthropics/claude-code#74369, 2026-07; #8223, 2025-09",
        "API Error: Self-signed certificate detected. Check your proxy or corporate SSL certificates",
        (
            r"\bself[ -]signed certificate\b",
            r"unable[ _]to[ _](?:get(?:[ _]local)?[ _]issuer|verify[ _])|CERT_HAS_EXPIRED",
            r"\bcertificate[_ ](?:verify[_ ]failed|has expired|error)\b", r"\bcertificate signed by unknown\b",
            r"\b(?:TLS|SSL)\b.{0,20}\b(?:handshake|error|failed|failure)\b",
        ),
    ),
    Wording(
        Trouble.TURNS, "Claude Code, Gemini", "claude -p --max-turns, 2026-11",
        "Error: Reached max turns (5)",
        (
            r"\b(?:reached|hit|exceeded) (?:the )?max(?:imum)?(?: number of)?(?: session)? turns\b", r"error_max_turns",
            r"\bmax(?:imum)? turns (?:limit )?(?:reached|exceeded|hit)\b",
        ),
    ),
    Wording(
        Trouble.BUDGET, "Claude Code, Codex", "claude -p --max-budget-usd, 2026-11; openai/codex#37676, 2026-08",
        "Reached maximum budget ($5)",
        (r"\b(?:reached|hit|exceeded) (?:the )?max(?:imum)? budget\b", r"error_max_budget", r"budget[ _]exhausted",
         r"\brollout\b.{0,20}\bexhausted\b"),
    ),
    Wording(
        Trouble.COMMAND, "Codex, Claude Code", "openai/codex#7522, 2025-12; anthropics/claude-code, 2026-11",
        "Not inside a trusted directory and --skip-git-repo-check was not specified.",
        (
            r"\bnot inside a trusted directory\b",
            r"\bcannot be used with root\b",
            r"\binside another Claude Code session\b",
            r"\b(?:unknown|unexpected|unrecognized|invalid) (?:option|argument|flag|command)s?\b:? ['\"`‘]?--?\w",
        ),
    ),
    Wording(
        Trouble.COMMAND, "agent service, sh, env", "claude-agent-service eccf0dd, 2026-11; dash, bash",
        "[Errno 2] No such file or directory: 'claude'",
        (
            r"^\[Errno (?:2|8|13)\] [\w ]+: '[^']+'$", r"^\S+: (?:command )?not found$", r"^\S+: permission denied$",
            r"^env: \S+: No such file or directory$", r"\bexecutable file not found\b", r"\bexec format error\b",
        ),
    ),
)  # fmt: skip

# `context window limit`, `limit of 20 open files`: a limit of something else, unless it resets at a time.
_THING = (
    r"(?:context|turn|token|length|size|recursion|depth|iteration|step|retr(?:y|ie)|attempt|subagent"
    r"|tool(?:[ -](?:call|use))?|file|line|character|byte|page|image|input|output|stack|heap|thread|process|connection"
    r"|queue|descriptor)s?"
)
_OF_A_THING = (
    rf"(?<![a-z])(?:(?:{_THING}|context[ -]window|time(?:out)?|(?:memory|disk|cpu|storage)(?:[ -]usage)?)[ -])+"
    rf"(?:limits?|quota|budget)\b(?!.{{0,60}}?{_RESETS})"
    rf"|\blimits? (?:of|on|for) (?:[\w,-]+ ){{0,3}}{_THING}\b(?!.{{0,60}}?{_RESETS})"
)
# An agent that talks about its work or asks: no program that says why it has stopped.
_TALK = (
    r"\bI\b|\?\s*$|\btest(?:s|ed|ing)?\b|\btest_\w+|\bassert\w*|\bexpected \S+ (?:but|to|got)\b"
    r"|\b(?:beads?|functions?|added|implemented|fixed|handled|handles|handling|updated|changed|removed|wrote|documented"
    r"|raised|raises|works|passed|passes|committed|shown|shows|displayed|should)\b"
    r"|\b(?:postgres\w*|psycopg\w*|mysql|redis|mongo\w*|docker|database)\b"  # what the work needs, and not the agent
    r"|\b(?:log-?in|sign-?in) (?:page|form|screen|flow|button|view|banner)\b"
)
_PASSING = r"\b(?:retrying|reconnecting)\b|^\W*(?:warn(?:ing)?|info|debug|note|hint)\b"


@cache
def _compiled(*patterns: str) -> "re.Pattern[str]":
    return re.compile("|".join(patterns), re.IGNORECASE | re.DOTALL)


def trouble(message: str) -> Trouble:
    """Return the trouble that a message names which its program has marked as the error of a failed run."""
    return next((row.trouble for row, _ in read(message)), Trouble.NONE)


def plain_trouble(line: str) -> Trouble:
    """Return what a line of plain text says, if a program says it and no agent talks about its work."""
    if len(line) > SHORT or talks(line) or _compiled(_PASSING).search(line):
        return Trouble.NONE
    marked = is_error(line)
    return next((row.trouble for row, found in read(line) if marked or found.start() <= HEAD), Trouble.NONE)


def talks(line: str) -> bool:
    """Return whether an agent talks about its work in this line."""
    return bool(_compiled(_TALK).search(re.sub(r"https?://\S+", "", line)))


def read(message: str) -> "Iterator[tuple[Wording, re.Match[str]]]":
    """Yield each row that reads this message, the one that decides first."""
    start = _compiled(_OF_A_THING).sub("", message[:MOST_CHARACTERS])
    for row in TABLE:
        if found := _compiled(*row.patterns).search(start):
            yield row, found
