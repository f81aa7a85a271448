"""The line that matters in what a program printed: not its progress, its stack frames or somebody else's chatter."""

import re
from collections.abc import Sequence

TAIL = 400  # lines from the end; a stack trace is shorter
LONGEST = 4000  # characters of a line that are looked at
SHORT = 400  # characters: a longer line is no chatter, and says at its beginning if it is an error
NEAR_THE_END = 5  # an error counts as the reason only if it stands this near to the end

_ESCAPE = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # a title or a link
    r"|\x1b[\[(#%][0-?]*[ -/]*[@-~]?"  # colours, the cursor, a character set
    r"|\x1b.?|\x9b[0-?]*[ -/]*[@-~]"
)
# dash: `/bin/sh: 1: claudee: not found`, bash: `bash: line 1: claudee: command not found`
_SHELL = re.compile(r"^(?:/\S*/)?(?:ba|da|z|k)?sh: (?:(?:line )?\d+: )?")
_NOISE = re.compile(
    r"(?:"
    r"tokens used(?::? ?[\d,.]+)?|[\d,.\s]+"  # Codex's last two lines
    r"|Node\.js v\d[\w.-]*|\(Use `node --trace\S* \.\.\.` to show where .*|\(node:\d+\) .*Warning: .*"
    r"|note: (?:run with `RUST_BACKTRACE|some details are omitted|re-run with).*|stack backtrace:"
    r"|Traceback \(most recent call last\):|During handling of the above exception, .*|The above exception was .*"
    r"|goroutine \d+ \[.*|created by \S+.*|[\w./*()-]+\.[\w.*()-]+\(.*\)|exit status \d+|\[signal SIG.*"  # Go
    r"|make(?:\[\d+\])?: (?:Entering|Leaving) directory .*"
    r"|npm (?:notice|warn)\b.*|npm (?:ERR!|error) (?:A complete log|errno|code|path|\s).*"
    # bd
    r"|(?:auto-)?(?:im|ex)ported \d+ (?:issues?|memories).*|warning: (?:beads\.role|auto-import).*"
    r"|.*dolt_server_port.*deprecated.*|(?:Fix: |Or: +)?git config beads\.role .*|💡 Tip: .*"
    r"|✓ (?:(?:Created|Updated) issue|(?:Closed|Reopened) [\w.]+-[\w.]+) ?.*"
    # progress, and what is only drawn
    r"|.{0,40}?\d{1,3}(?:\.\d+)?% ?[|\[(].*|[━╸╺ ]{5,}.*|[|/\\─━█▓▒░▏▎▍▌▋▊▉⠀-⣿ =#>.*~^_-]+|[\[\](){}<>,;'\"`]+"
    r")",
    re.IGNORECASE,
)
_RUST = re.compile(r"^(thread '.*?' (?:\(\d+\) )?panicked at [^\n]*:)\n(?=\S)", re.MULTILINE)  # since 1.73 in two lines
_INDENTED = re.compile(r"\s")
_FRAME = re.compile(r"\s+(?:at |File \"|in |\d+: |\S+\.(?:go|py|rs|js|ts):\d+)")
_ERROR = re.compile(
    r"(?:\W|\d|[TZ](?=[\d: ]))*"  # a mark, a time
    r"(?:[\w@./-]+: |npm )?"  # the program
    r"(?:(?:\w+ ){0,2}(?:error|exception|rejection|fatal|panic|failure)\b(?:[^:]{0,40}:|\W*$)"
    r"|make(?:\[\d+\])?: \*\*\*|(?:killed|terminated|aborted|segmentation fault)(?: \(core dumped\))?$"
    r"|thread '.*?' (?:\(\d+\) )?panicked\b|ERR!|[\w.]*(?:Error|Exception|Exit|Interrupt)\b(?::|$)"
    r"|(?:failed|unable) to\b|(?:cannot|could not|couldn't)\b)"
    r"|[^:]{1,80}(?:: [^:]{1,200})?: "  # a shell
    r"(?:command not found|not found|No such file or directory|Permission denied|unbound variable)$",
    re.IGNORECASE,
)


def clean(text: str) -> list[str]:
    """Return the lines without escape sequences. A line that was drawn over and over counts as last drawn."""
    drawn = (line.rstrip("\r").rpartition("\r")[2][:LONGEST] for line in text.split("\n"))
    return [plain(line).rstrip() for line in drawn]


def plain(line: str) -> str:
    """Return the line without escape sequences and other control characters."""
    return "".join(c for c in _ESCAPE.sub("", line) if c.isprintable() or c == "\t")


def meaningful(text: str) -> list[str]:
    """Return the last lines that a person would read for a reason, without the shell's own prefix.

    Indented lines belong to a stack or to the line above. They count only if nothing else is left.
    """

    def noise(line: str) -> bool:
        return not line or (len(line) <= SHORT and bool(_NOISE.fullmatch(line)))

    lines = [line for line in clean(_RUST.sub(r"\1 ", tail(text))) if not noise(line.strip())]
    outer = [line for line in lines if not _INDENTED.match(line)]
    kept = outer or [line for line in lines if not _FRAME.match(line)]
    return [_SHELL.sub("", line.strip()) for line in kept]


def is_error(line: str) -> bool:
    """Return whether a program says with this line that it failed: `Error: …`, `fatal: …`, `ValueError: …`."""
    return bool(_ERROR.match(line[:SHORT]))


def the_error(lines: Sequence[str]) -> str:
    """Return the last error among the last meaningful lines, or nothing."""
    return next((line for line in reversed(lines[-NEAR_THE_END:]) if is_error(line)), "")


def reason(stdout: str, stderr: str) -> str:
    """Return the line that says why a test did not pass. `make` only says that it has failed: it comes last."""
    own, theirs = meaningful(stdout), meaningful(stderr)
    without_make = [line for line in theirs if not line.startswith("make")]
    found = (the_error(without_make), the_error(own), *own[-1:], *without_make[-1:], *theirs[-1:])
    return next(filter(None, found), "")


def tail(text: str) -> str:
    """Return the end of a text, in whole lines if there are many."""
    return "\n".join(text.rsplit("\n", TAIL)[-TAIL:]) if text.count("\n") > TAIL else text
