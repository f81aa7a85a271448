"""The texts of `--help` around the options. Loaded only when somebody asks."""

from collections.abc import Mapping
from dataclasses import dataclass

from beads_dispatch.commands.table import wrapped
from beads_dispatch.settings import SERVICES

STATUSES = {
    "0": "all well, also if there is nothing to do, no room, or another tick is running",
    "1": "a failure worth an alert: each is one line on stderr",
    "2": "wrong configuration or usage; every wrong variable is named",
}

VARIABLES = {
    "BEADBOARD_URL": "BeadBoard, such as http://127.0.0.1:3000",
    "AGENT_SERVICE_URL": "the agent service behind BeadBoard: its free places, and how runs end",
    "API_BEARER_TOKEN": "the agent service's token; without it how runs end is known only roughly",
    "API_BEARER_TOKEN_FILE": "instead: a file with the token, read again when it changes",
    "BEADS_AGENT_CRONJOB": "instead of BEADBOARD_URL: the suspended CronJob from which agents are made as Jobs",
    "BEADS_AGENT_JOBS": "how many of its Jobs may run at once (default: 1)",
    "BEADS_DIR": "the .beads folder (default: the one that bd finds)",
    "BEADS_METADATA": "instead of BEADS_DIR: a mounted metadata.json of a workspace in server mode",
    "BEADS_DOLT_PASSWORD": "the Dolt server's password (host, port and so on: bd's own variables)",
    "BEADS_ASSIGNEE": "whose beads these are (default: agent)",
    "BEADS_ACTOR": "the name under which bd records our writes (default: beads-dispatcher, beads-reaper)",
    "BEADS_DISPATCH_PER_TICK": "how many beads a tick dispatches at most (default: 1)",
    "BEADS_DISPATCH_HOURS": "when runs may start, such as Mon-Fri 19:00-07:00, Sat-Sun (default: always)",
    "BEADS_DISPATCH_PER_DAY": "how many runs may start in a day (default: any number)",
    "BEADS_REAPER_THRESHOLD_MINUTES": "how long a bead may make no progress before it is blocked (default: 30)",
    "BEADS_NOTIFY_URLS": "Apprise URLs for a message when a bead needs you (extra: notify)",
    "LOG_FORMAT": "text or json (default: text)",
    "NO_COLOR": "if set, no colours on a terminal",
    "XDG_STATE_HOME": "where agents' output is kept (default: ~/.local/state)",
}
WORKSPACE = ("BEADS_DIR", "BEADS_METADATA", "BEADS_DOLT_PASSWORD", "BEADS_ASSIGNEE")
LIMITS = ("BEADS_DISPATCH_HOURS", "BEADS_DISPATCH_PER_DAY")
THRESHOLD = "BEADS_REAPER_THRESHOLD_MINUTES"


@dataclass(frozen=True, slots=True)
class Page:
    """`text`: what the command does. `variables`: those that it reads. `examples`: to paste."""

    text: str
    variables: tuple[str, ...]
    examples: tuple[str, ...]

    def description(self, width: int) -> str:
        return "\n".join(wrapped(self.text, width))

    def epilog(self, width: int) -> str:
        """Return the text below the options. Each example stays on one line, so that it can be pasted."""
        parts = {
            "variables": _table({name: VARIABLES[name] for name in self.variables}, width),
            "exit status": _table(STATUSES, width),
            "examples": [f"  {line}" for line in self.examples],
        }
        return "\n\n".join("\n".join((f"{title}:", *lines)) for title, lines in parts.items() if lines)


def _table(rows: Mapping[str, str], width: int) -> list[str]:
    wide = max(map(len, rows), default=0)
    rest = " " * (wide + 4)
    return [line for name, text in rows.items() for line in wrapped(f"  {name:{wide}}  {text}", width, rest)]


PAGES = {
    "": Page(
        "Starts a coding agent on a bead when you assign it: bd assign <id> agent. On a laptop, leave "
        "`beads-dispatch watch --agent claude` running. beads-dispatch COMMAND --help explains one command.",
        (*SERVICES, *WORKSPACE, "LOG_FORMAT"),
        ("beads-dispatch watch --agent claude", "beads-dispatch status", "beads-dispatch explain demo-ycm"),
    ),
    "tick": Page(
        "Dispatches the next bead once: takes the queue's lock, claims the bead, starts an agent and records what "
        "happened. It needs BEADBOARD_URL or BEADS_AGENT_CRONJOB, except with --dry-run. Run it every two minutes from "
        "cron, or use `watch` instead. Also installed as beads-dispatcher.",
        (*SERVICES, *WORKSPACE, "BEADS_DISPATCH_PER_TICK", *LIMITS, "BEADS_ACTOR", "BEADS_NOTIFY_URLS", "LOG_FORMAT"),
        ("BEADBOARD_URL=http://127.0.0.1:3000 beads-dispatch tick", "beads-dispatch tick --dry-run"),
    ),
    "sweep": Page(
        "Checks the beads in progress once: records how their runs ended, and blocks the beads that make no progress. "
        "Run it every ten minutes from cron, or use `watch` instead. Also installed as beads-reaper.",
        (*SERVICES[1:], *WORKSPACE, THRESHOLD, "BEADS_ACTOR", "BEADS_NOTIFY_URLS", "LOG_FORMAT"),
        ("beads-dispatch sweep", "beads-dispatch sweep --dry-run"),
    ),
    "watch": Page(
        "Does what tick and sweep do, continuously. It acts within seconds of a change, and asks only the database if "
        "nothing changes. With --agent or --command the agents run here, in this folder. The first Ctrl-C lets them "
        "finish, the second stops them. --agent prints its command at the start. That agent may edit files, run bd and "
        "commit (codex: no commits), and what the project's own rules allow; --allow-all lets it run anything as you. "
        "Whoever can assign a bead starts it.",
        (
            *(*SERVICES, *WORKSPACE, "BEADS_DISPATCH_PER_TICK", *LIMITS, THRESHOLD),
            *("BEADS_ACTOR", "BEADS_NOTIFY_URLS", "LOG_FORMAT"),
        ),
        (
            "beads-dispatch watch --agent claude",
            "BEADBOARD_URL=http://127.0.0.1:3000 beads-dispatch watch",
            "beads-dispatch watch --agent codex --assignee codex --allow-all",
            "beads-dispatch watch --command ./agent.sh --listen 8080",
        ),
    ),
    "status": Page(
        "Shows what holds the queue, whether an agent is free, and every bead that is not closed: its state, how long "
        "ago it changed (AGE), and why it is not running. Writes nothing. The reasons: docs/troubleshooting.md.",
        (*SERVICES, *WORKSPACE, *LIMITS, "NO_COLOR"),
        ("beads-dispatch status", "beads-dispatch status demo-ycm demo-wcw", "beads-dispatch status --json"),
    ),
    "explain": Page(
        "Tells one bead's story: what happened, when and by whom; why the bead is where it is; and the one thing to do "
        "next, as a command to paste. Writes nothing.",
        (*SERVICES, *WORKSPACE, *LIMITS, THRESHOLD, "NO_COLOR"),
        ("beads-dispatch explain demo-ycm",),
    ),
    "logs": Page(
        "Prints what a bead's last run on this machine wrote: the file's name and its last 40 lines. Events are shown "
        "as a person reads them. With --follow it continues until the run has ended. "
        "For a Kubernetes Job: the command that shows its log.",
        ("XDG_STATE_HOME", "BEADS_AGENT_CRONJOB", "NO_COLOR"),
        ("beads-dispatch logs demo-ycm", "beads-dispatch logs -f demo-ycm"),
    ),
    "stop": Page(
        "Stops a bead's run and blocks the bead, so that nothing starts it again. A run on this machine and a "
        "Kubernetes Job are stopped at once, one of another laptop by its watcher. The agent service cannot stop one: "
        "then the command that does is printed.",
        (*SERVICES, *WORKSPACE, "BEADS_ACTOR"),
        ("beads-dispatch stop demo-ycm",),
    ),
    "resume": Page(
        "Ends what holds the queue now: a service that failed, a usage limit, an agent that cannot work. Fix the cause "
        "first, or the next run holds the queue again. Hours and a daily budget stay.",
        WORKSPACE,
        ("beads-dispatch resume",),
    ),
    "completion": Page(
        "Prints a script with which your shell completes commands and options. Needs the extra `completion`.",
        (),
        ('eval "$(beads-dispatch completion bash)"',),
    ),
}
