"""What `--help` says beside the options. Loaded only when somebody asks."""

from collections.abc import Mapping
from dataclasses import dataclass

from beads_dispatch.commands.table import wrapped

STATUSES = {
    "0": "all well: also where there is nothing to do, no room, or another tick at work",
    "1": "a failure worth an alert: one line on stderr for each",
    "2": "wrong configuration or usage: every wrong variable is named at once",
}

VARIABLES = {
    "BEADBOARD_URL": "BeadBoard, such as http://127.0.0.1:3000",
    "AGENT_SERVICE_URL": "the agent service: it counts its places, and knows how runs end",
    "API_BEARER_TOKEN": "the agent service's token, needed to learn how runs end",
    "BEADS_AGENT_CRONJOB": "instead of BEADBOARD_URL, in a cluster: the suspended CronJob whose Jobs are the agents",
    "BEADS_AGENT_JOBS": "how many of its Jobs may run at once (default: 1)",
    "BEADS_DIR": "the .beads folder (default: the one that bd finds)",
    "BEADS_METADATA": "instead: a mounted metadata.json of a server-mode workspace",
    "BEADS_DOLT_PASSWORD": "the Dolt server's password (its host, port and so on as bd has them)",
    "BEADS_ASSIGNEE": "whose beads these are (default: agent)",
    "BEADS_ACTOR": "who bd says has written (default: beads-dispatcher, beads-reaper)",
    "BEADS_DISPATCH_PER_TICK": "how many beads a tick hands over at most (default: 1)",
    "BEADS_DISPATCH_HOURS": "when runs may start, such as Mon-Fri 19:00-07:00, Sat-Sun (default: always)",
    "BEADS_DISPATCH_PER_DAY": "how many runs may start in a day (default: any number)",
    "BEADS_REAPER_THRESHOLD_MINUTES": "how long a bead may show no sign of life (default: 30)",
    "BEADS_NOTIFY_URLS": "Apprise URLs that get a message when a bead needs a person (extra: notify)",
    "LOG_FORMAT": "text or json (default: text)",
    "NO_COLOR": "set it to get no colours on a terminal",
    "XDG_STATE_HOME": "where the output of jobs is kept (default: ~/.local/state)",
}
WORKSPACE = ("BEADS_DIR", "BEADS_METADATA", "BEADS_DOLT_PASSWORD", "BEADS_ASSIGNEE")
SERVICES = ("BEADBOARD_URL", "AGENT_SERVICE_URL", "API_BEARER_TOKEN", "BEADS_AGENT_CRONJOB", "BEADS_AGENT_JOBS")
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
        """What stands below the options. Examples stay on one line each, because they are pasted."""
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
        "Hands a bead to an AI agent when you assign it: bd assign <id> agent. "
        "beads-dispatch COMMAND --help explains one command.",
        (*SERVICES, *WORKSPACE, "LOG_FORMAT"),
        ("beads-dispatch watch --agent claude", "beads-dispatch status", "beads-dispatch explain demo-ycm"),
    ),
    "tick": Page(
        "Hands the next beads to BeadBoard, each at most once, and records what happened. It waits for nothing: "
        "run it every two minutes, or use `watch`. Also installed as beads-dispatcher. "
        "BEADBOARD_URL or BEADS_AGENT_CRONJOB is required, except with --dry-run.",
        (*SERVICES, *WORKSPACE, "BEADS_DISPATCH_PER_TICK", *LIMITS, "BEADS_ACTOR", "BEADS_NOTIFY_URLS", "LOG_FORMAT"),
        ("BEADBOARD_URL=http://127.0.0.1:3000 beads-dispatch tick", "beads-dispatch tick --dry-run"),
    ),
    "sweep": Page(
        "Looks after the beads in progress: learns how their runs ended, and blocks those without a sign of life. "
        "Run it every ten minutes, or use `watch`. Also installed as beads-reaper.",
        (*SERVICES[1:], *WORKSPACE, THRESHOLD, "BEADS_ACTOR", "BEADS_NOTIFY_URLS", "LOG_FORMAT"),
        ("beads-dispatch sweep", "beads-dispatch sweep --dry-run"),
    ),
    "watch": Page(
        "Ticks and sweeps in one process, for as long as it runs. It acts a second or two after a change, and asks "
        "nothing of anybody but the database while there is none. With --agent or --command the agents run here, in "
        "this folder: the first Ctrl-C lets them finish, the second stops them. --agent prints the command that it "
        "stands for. Its agent may edit files, run bd and commit (codex: no commits), and the project's own rules may "
        "allow more; --allow-all lets it run anything as you. Whoever can assign a bead starts it.",
        (
            *(*SERVICES, *WORKSPACE, "BEADS_DISPATCH_PER_TICK", *LIMITS, THRESHOLD),
            *("BEADS_ACTOR", "BEADS_NOTIFY_URLS", "LOG_FORMAT"),
        ),
        (
            "beads-dispatch watch --agent claude",
            "BEADBOARD_URL=http://127.0.0.1:3000 beads-dispatch watch",
            "beads-dispatch watch --agent codex --assignee codex --allow-all",
            "beads-dispatch watch --command ./agent.sh --listen 127.0.0.1:8080",
        ),
    ),
    "status": Page(
        "Shows the queue, the agent, and every bead of the assignee that is not closed: its state, how long ago it "
        "changed (AGE), and why it is not running. Writes nothing. docs/troubleshooting.md explains each reason.",
        (*SERVICES, *WORKSPACE, *LIMITS, "NO_COLOR"),
        ("beads-dispatch status", "beads-dispatch status demo-ycm demo-wcw", "beads-dispatch status --json"),
    ),
    "explain": Page(
        "Tells one bead's story: what happened to it, when and by whom; why it is where it is; and the one thing to "
        "do next, as a command to paste. Writes nothing.",
        (*SERVICES, *WORKSPACE, *LIMITS, THRESHOLD, "NO_COLOR"),
        ("beads-dispatch explain demo-ycm",),
    ),
    "logs": Page(
        "Prints where the output of a bead's last run on this machine is kept, and its end.",
        ("XDG_STATE_HOME",),
        ("beads-dispatch logs demo-ycm",),
    ),
    "resume": Page(
        "Ends the queue's hold now, whether a service failed or the agent met a usage limit. Fix the cause first: "
        "otherwise the next dispatch holds the queue again.",
        WORKSPACE,
        ("beads-dispatch resume",),
    ),
    "completion": Page(
        "Prints a script that completes commands and options in your shell. Needs the extra `completion`.",
        (),
        ('eval "$(beads-dispatch completion bash)"',),
    ),
}
