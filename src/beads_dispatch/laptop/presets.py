"""The commands of well-known agents: with the permissions that a run without a terminal needs, and live output.

Each is narrow unless the person asks for all: the agent may edit files in its folder, run bd, and commit (Codex may
not). Read from the agents' documentation and issue threads in December 2026; `--help` of your version has the last
word. A flag that a version does not know ends the run at once, and that holds the queue with the agent's own message.
"""

import json
from dataclasses import dataclass

_GIT = ("status", "diff", "log", "show", "add", "commit")
# The agent reads the bead itself, so that its text stays data. `$BEAD_…` is expanded by the shell that runs the agent.
_DO = (
    "Run: bd show $BEAD_ID. Do what it asks, in this folder. "
    "If you cannot without a decision of a person, run: bd update $BEAD_ID -s blocked --append-notes '<your question>'."
)
_CLOSE = " When its acceptance criteria are met, commit your work if you may, and run: bd close $BEAD_ID"
_CHECKED = " Do not close it: when you end, your work is tested, and the bead is closed if the test passes."
_AGAIN = "${BEAD_LAST_END:+ This is run $BEAD_RUN. The last one ended so: $BEAD_LAST_END}"


@dataclass(frozen=True, slots=True)
class Preset:
    """`program`: what must be installed. `narrow`, `wide`: the words after it. `means`: what the wide form allows."""

    program: str
    narrow: str
    wide: str
    means: str

    def command(self, *, allow_all: bool, checked: bool, server: bool) -> str:
        """Return the command. `checked`: the agent leaves closing to us. `server`: bd needs the network."""
        prompt = f'"{_DO}{_CHECKED if checked else _CLOSE}{_AGAIN}"'
        words = (self.wide if allow_all else self.narrow).replace("PROMPT", prompt)
        return words.replace("NETWORK", "true" if server else "false")


# https://docs.anthropic.com/en/docs/claude-code/cli-reference (read December 2026): -p, --resume, --permission-mode,
# --allowedTools (a list with commas; rules of the project's .claude/settings.json count too). `stream-json` needs
# --verbose and prints each event as it happens, the result object last. acceptEdits allows edits in the folder; in -p
# whatever else is not allowed is refused without a question. bypassPermissions does not start as root.
_CLAUDE = 'exec claude -p PROMPT ${BEAD_SESSION:+--resume "$BEAD_SESSION"} --output-format stream-json --verbose'
_TOOLS = ",".join(["Bash(bd:*)", *(f"Bash(git {verb}:*)" for verb in _GIT)])

# https://developers.openai.com/codex/noninteractive (read December 2026): `exec` asks nobody; --json prints events.
# `exec resume` refuses --sandbox and may run a resumed turn in a wider one (openai/codex 40149, 0.147.0), so the mode
# is set with -c. workspace-write has no network, bd's included, and cannot write to .git: opening .git would open its
# hooks and its config, which run outside of the sandbox. So the narrow Codex leaves its changes uncommitted.
_CODEX = 'exec codex exec ${BEAD_SESSION:+resume "$BEAD_SESSION"} --json --skip-git-repo-check'
_SANDBOX = (
    "-c 'sandbox_mode=\"workspace-write\"' -c sandbox_workspace_write.network_access=NETWORK"
    ' -c "sandbox_workspace_write.writable_roots=[\\"$BEADS_DIR\\"]"'
)

# https://opencode.ai/docs/cli and /docs/permissions (read December 2026): --auto approves what is not denied; a
# permission that resolves to `ask` hangs without a terminal (anomalyco/opencode 36762), so that every one is answered
# here. The last rule that matches counts. Version 2 keeps one server for all: --standalone gives this run its own.
_OPENCODE = (
    "exec opencode run $(opencode run --help 2>&1 | grep -o -e --standalone | head -n 1) --format json"
    ' ${BEAD_SESSION:+--session "$BEAD_SESSION"}'
)
_RULES = {
    "permission": {
        "*": "deny",
        **dict.fromkeys(("read", "edit", "glob", "grep", "list", "todoread", "todowrite"), "allow"),
        "bash": {"*": "deny", "bd *": "allow", **{f"git {verb}*": "allow" for verb in _GIT}},
    }
}

PRESETS = {
    "claude": Preset(
        "claude",
        f"{_CLAUDE} --permission-mode acceptEdits --allowedTools '{_TOOLS}'",
        f"{_CLAUDE} --permission-mode bypassPermissions",
        "it may run any command as you, without a question",
    ),
    "codex": Preset(
        "codex",
        f"{_CODEX} {_SANDBOX} PROMPT",
        f"{_CODEX} -c 'sandbox_mode=\"danger-full-access\"' PROMPT",
        "it runs without a sandbox: it may run any command as you, and reach the network",
    ),
    "opencode": Preset(
        "opencode",
        f"OPENCODE_CONFIG_CONTENT='{json.dumps(_RULES)}' {_OPENCODE.removeprefix('exec ')} PROMPT",
        f"{_OPENCODE} --auto PROMPT",
        "it may do whatever your own rules do not deny, without a question",
    ),
}

# How an agent says that it cannot continue a session: the run then starts afresh, at once.
CANNOT_RESUME = (
    "No conversation found with session ID",  # Claude Code, on stderr, exit 1
    "no rollout found for thread id",  # Codex (0.130 to 0.147): thread/resume failed: …
    "Session not found",  # opencode
)
