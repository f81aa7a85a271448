"""What a command on this machine finds in its environment: the watcher's own, and its bead."""

from collections.abc import Mapping
from dataclasses import dataclass

from beads_dispatch.core.bead import Bead
from beads_dispatch.core.environment import cut, of_bead

# BD_ACTOR would override BEADS_ACTOR. The others are secrets, or our own settings.
_OURS = ("BD_ACTOR", "BEADS_NOTIFY_URLS", "API_BEARER_TOKEN", "API_BEARER_TOKEN_FILE", "BEADS_AGENT_CRONJOB")
# What an agent sets for its own children. Claude Code refuses to start if it finds CLAUDECODE (2.1.39 and later,
# February 2026: anthropics/claude-code 25434); its entry point, port and token belong to the session around us.
# CLAUDE_CODE_OAUTH_TOKEN, CLAUDE_CODE_USE_BEDROCK and so on are a person's settings: they pass.
_AGENTS = (
    "CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT", "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_SESSION_ACCESS_TOKEN", "CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED", "OPENCODE", "GEMINI_CLI",
)  # fmt: skip
NOT_INHERITED = frozenset((*_OURS, *_AGENTS))


@dataclass(frozen=True, slots=True)
class Earlier:
    """What we know about the bead's last run. `run`: its number. `end`: how it ended. `session`: what continues it."""

    run: int = 0
    end: str = ""
    session: str = ""


def environment(
    inherited: Mapping[str, str], bead: Bead, job: str, earlier: Earlier, beads_dir: str
) -> dict[str, str | bytes]:
    """Return the whole environment of a command. `inherited`: the watcher's own. `beads_dir`: empty if bd finds it."""
    texts = {
        **of_bead(bead, job),
        "BEAD_RUN": str(earlier.run + 1), "BEAD_LAST_END": cut(earlier.end, bead.id), "BEAD_SESSION": earlier.session,
    }  # fmt: skip
    if beads_dir:  # bd 1.0.2 finds no server-mode database from a git worktree
        texts["BEADS_DIR"] = beads_dir
    kept = {key: value for key, value in inherited.items() if key not in NOT_INHERITED}
    return {**kept, **{key: text.encode() for key, text in texts.items()}}
