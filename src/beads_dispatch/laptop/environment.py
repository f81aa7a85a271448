"""What a command finds in its environment. A bead's texts go in there and never into the command: they are no code."""

from collections.abc import Mapping
from dataclasses import dataclass

from beads_dispatch.core.bead import Bead

# BD_ACTOR would beat BEADS_ACTOR. The others are no agent's business.
_OURS = ("BD_ACTOR", "BEADS_NOTIFY_URLS", "API_BEARER_TOKEN", "BEADS_AGENT_CRONJOB")
# What an agent sets for its own children. Claude Code refuses to start if it finds CLAUDECODE (2.1.39 and later,
# February 2026: anthropics/claude-code 25434); its entry point, port and token belong to the session around us.
# CLAUDE_CODE_OAUTH_TOKEN, CLAUDE_CODE_USE_BEDROCK and so on are a person's settings: they pass.
_AGENTS = (
    "CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT", "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_SESSION_ACCESS_TOKEN", "CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED", "OPENCODE", "GEMINI_CLI",
)  # fmt: skip
NOT_INHERITED = frozenset((*_OURS, *_AGENTS))

MOST_BYTES = 100_000  # Linux starts no program with a variable above 128 KB


@dataclass(frozen=True, slots=True)
class Earlier:
    """What is known of the bead's last run. `run`: its number. `end`: how it ended. `session`: what continues it."""

    run: int = 0
    end: str = ""
    session: str = ""


def environment(
    inherited: Mapping[str, str], bead: Bead, job: str, earlier: Earlier, beads_dir: str
) -> dict[str, str | bytes]:
    """Return the whole environment of a command. `inherited`: the watcher's own. `beads_dir`: empty if bd finds it."""
    texts = {
        "BEAD_ID": bead.id, "BEAD_TITLE": bead.title, "BEAD_DESCRIPTION": bead.description,
        "BEAD_ACCEPTANCE": bead.acceptance_criteria, "BEAD_NOTES": bead.notes, "BEAD_PRIORITY": str(bead.priority),
        "BEAD_TYPE": bead.issue_type, "BEAD_LABELS": ",".join(sorted(bead.labels)), "BEAD_JOB": job,
        "BEAD_RUN": str(earlier.run + 1), "BEAD_LAST_END": earlier.end, "BEAD_SESSION": earlier.session,
    }  # fmt: skip
    if bead.assignee:  # bd 1.3 lets nobody else close the bead
        texts["BEADS_ACTOR"] = bead.assignee
    if beads_dir:  # bd 1.0.2 finds no server-mode database from a git worktree
        texts["BEADS_DIR"] = beads_dir
    kept = {key: value for key, value in inherited.items() if key not in NOT_INHERITED}
    return {**kept, **{key: _cut(text, bead.id) for key, text in texts.items()}}


def _cut(text: str, bead: str) -> bytes:
    whole = text.replace("\0", "").encode("utf-8", "replace")
    if len(whole) <= MOST_BYTES:
        return whole
    kept = whole[:MOST_BYTES].decode("utf-8", "ignore")
    return f"{kept}\n[cut: the whole text is in `bd show {bead}`]".encode()
