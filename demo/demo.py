"""`make demo`: everything on a real bd, in a scratch workspace that is removed afterwards.

Each step is checked. The first one that does not do what it announces ends the demo with exit status 1.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# What the agents of this demo do. The first notes, works and closes; the second dies without a word.
AGENT = """\
#!/bin/sh
case "$BEAD_TITLE" in
*crash*) kill -9 $$ ;;
*) bd note "$BEAD_ID" "claimed by agent $BEAD_JOB" && bd note "$BEAD_ID" "wrote haiku.txt, three lines" &&
   bd close "$BEAD_ID" --reason "three lines in haiku.txt" ;;
esac
"""

# On the laptop: each run adds a line and commits it. The bead that asks for two needs a second run, and does not know.
# The first two runs wait for each other, so that both are seen at work at once.
WORKER = """\
#!/bin/sh
touch "$HOME/began-$BEAD_ID"
until [ "$(ls "$HOME"/began-* | wc -l)" = 2 ]; do sleep 0.1; done
echo "run $BEAD_RUN: $BEAD_TITLE" >> work.txt
git add work.txt && git commit -qm "$BEAD_TITLE"
"""
CHECK = """\
#!/bin/sh
want=1; case "$BEAD_TITLE" in *two*) want=2 ;; esac
have=$(cat work.txt 2> /dev/null | wc -l)
[ "$have" -ge "$want" ] || { echo "error: work.txt has $have of $want lines" >&2; exit 1; }
"""

# Instead of BeadBoard and the agent service.
STANDIN = Path(__file__).parents[1] / "tests" / "standin.py"


class Failed(Exception):
    """A step did not do what it announces."""


class Demo:
    def __init__(self, folder: Path) -> None:
        others = ("BEADS_", "BD_", "XDG_", "BEADBOARD_", "AGENT_", "API_BEARER_")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(others)}
        self.folder = folder
        self.steps = 0
        # Nobody's own settings take part, and nothing is left behind: home and state are in the scratch folder too.
        self.environ = {**clean, "HOME": str(folder), "BD_NO_HOOKS": "1", "BEADS_ACTOR": "you", "TZ": "UTC"}

    def step(self, text: str) -> None:
        self.steps += 1
        print(f"\n{self.steps}. {text}", flush=True)

    def run(self, command: str, *, expect: str = "", show: bool = True, **environ: str) -> str:
        """Runs a line as a person would type it, prints it with its output, and checks that output."""
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.folder,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if show:
            print(f"   $ {command}")
            for line in done.stdout.strip().splitlines():
                print(f"     {line}")
        if done.returncode or not re.search(expect, done.stdout):
            raise Failed(f"`{command}` ended {done.returncode}, expected {expect!r}\n{done.stdout}{done.stderr}")
        return done.stdout

    def create(self, title: str, words: str = "") -> str:
        line = f'bd create "{title}" {words}'.strip()
        print(f"   $ {line}")
        bead = str(json.loads(self.run(f"{line} --json", show=False))["id"])
        print(f"     {bead}")
        self.assign(bead)
        return bead

    def assign(self, bead: str) -> None:
        self.run(f"bd assign {bead} agent --json", show=False)
        print(f"   $ bd assign {bead} agent")

    def bead(self, bead: str) -> dict[str, str]:
        shown: dict[str, str] = json.loads(self.run(f"bd show {bead} --json", show=False))[0]
        return shown

    def show(self, bead: str, status: str, *lines: str) -> None:
        """Prints the bead's status and notes. The notes must contain every line."""
        shown = self.bead(bead)
        print(f"""   $ bd show {bead} --json | jq -r '.[] | "status: " + .status, .notes'""")
        print(f"     status: {shown['status']}")
        for line in shown["notes"].splitlines():
            print(f"     {line}")
        for line in lines:
            if not re.search(line, shown["notes"]):
                raise Failed(f"{bead} has no note {line!r}")
        if shown["status"] != status:
            raise Failed(f"{bead} is {shown['status']}, not {status}")


def wait_for(what: str, true: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not true():
        if time.monotonic() > until:
            raise Failed(f"{what}: not within 60 s")
        time.sleep(0.2)


@contextmanager
def running(demo: Demo, *command: str) -> Iterator[Path]:
    """Run the command in the background. Yield the file with its output once it is at work."""
    log = demo.folder / "output.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=demo.folder, env=demo.environ, stdout=out)
    try:
        wait_for(f"{command[0]} starts", lambda: re.search("BEADBOARD_URL=.*\n|watching", log.read_text()))
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def play_step_by_step(demo: Demo, log: Path) -> None:
    """What a cluster does, one call at a time. `log`: the agent's output."""
    demo.step("You write a bead, with acceptance criteria, and assign it to `agent`. That is all you do.")
    haiku = demo.create("Write a haiku about queues", '--acceptance "three lines in haiku.txt"')

    demo.step("A tick (every two minutes in a cluster) claims it and hands it to the agent.")
    demo.run("beads-dispatch tick", expect=f"{haiku}: dispatched: job=")

    demo.step("The agent leaves notes, and closes the bead when it is done.")
    wait_for("the agent closes its bead", lambda: demo.bead(haiku)["status"] == "closed")
    demo.show(haiku, "closed", "auto-dispatcher claimed at", "dispatched: job=", "claimed by agent")

    demo.step("The agent of a second bead dies without a word (here: kill -9).")
    crash = demo.create("Refactor until it crashes", '--acceptance "the tests pass"')
    demo.run("beads-dispatch tick", expect=f"{crash}: dispatched: job=")

    demo.step("A sweep (every ten minutes in a cluster) learns how the run ended, and opens the bead again.")
    wait_for("the agent dies", lambda: re.search(f"{crash}: .*failed", log.read_text()))
    demo.run("beads-dispatch sweep", expect=f"{crash}: agent ended: failed")
    demo.show(crash, "open", "agent ended: failed .exit (-9|137). after .*open again, attempt 1 of 3")

    demo.step("A bead without acceptance criteria is never sent. It gets one notice.")
    bare = demo.create("Make it better")
    demo.run("beads-dispatch tick", expect=f"{bare}: not dispatched: no acceptance criteria")
    demo.show(bare, "open", "not dispatched: no acceptance criteria")

    demo.step("A tick with nothing to do reports that, and writes nothing.")
    demo.run("beads-dispatch tick", expect="nothing to dispatch: .*1 with no acceptance criteria")

    demo.step("The state of every bead, and the reason.")
    demo.run("beads-dispatch status", expect=f"{bare} +2 +open .*no acceptance criteria")
    print(f"     (closed beads are not shown: {haiku} is done)")


def play_on_a_laptop(demo: Demo) -> None:
    demo.step("On a laptop: two beads at once, each in a git worktree, and each closed only because its check passes.")
    words = ("beads-dispatch", "watch", "--command", "./worker", "--worktrees", "--jobs", "2", "--check", "./check")
    print(f"   $ {' '.join(words)}")
    with running(demo, *words) as log:
        one = demo.create("Write one line", '--acceptance "a line in work.txt"')
        two = demo.create("Write two lines", '--acceptance "two lines in work.txt"')
        for bead in (one, two):
            wait_for(f"{bead} is closed", lambda: re.search(f"{bead}: checked: ", log.read_text()))  # noqa: B023
    for line in log.read_text().replace(str(demo.folder), "~").splitlines():
        print(f"     {line}")
    demo.show(one, "closed", "checked: ./check")
    demo.show(two, "closed", "check failed .* work.txt has 1 of 2 lines .open again", "checked: ./check")
    demo.run("git log --format='%D: %s' --branches='bead/*' --not HEAD", expect=f"bead/{two}: Write two lines")
    print("   You look, merge and push. Ctrl-C ends the watcher.")


def play(demo: Demo) -> None:
    version = demo.run("bd version", show=False).splitlines()[0]
    print(f"beads-dispatch on a real bd ({version}), in a scratch workspace that is removed at the end", flush=True)
    demo.run("git init -q . && git config user.name you && git config user.email you@localhost", show=False)
    demo.run("git config beads.role maintainer", show=False)
    demo.run("bd init -p demo --skip-agents --skip-hooks --stealth --non-interactive", show=False)
    for name, text in (("agent", AGENT), ("worker", WORKER), ("check", CHECK)):
        (demo.folder / name).write_text(text)
        (demo.folder / name).chmod(0o755)
    demo.run("git add agent worker check && git commit -qm first", show=False)
    with running(demo, sys.executable, str(STANDIN), "--command", "./agent") as log:
        url = log.read_text().split("BEADBOARD_URL=")[-1].split()[0]
        demo.environ |= {"BEADBOARD_URL": url, "AGENT_SERVICE_URL": url}
        play_step_by_step(demo, log)
    del demo.environ["BEADBOARD_URL"], demo.environ["AGENT_SERVICE_URL"]
    play_on_a_laptop(demo)


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # so that what it made is removed then too
    try:
        with tempfile.TemporaryDirectory(prefix="beads-dispatch-demo-") as name:
            play(Demo(Path(name)))
    except (Failed, subprocess.TimeoutExpired) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; the scratch workspace is removed.", file=sys.stderr)
        return 130
    print("\nEvery step did what it announced, and the scratch workspace is removed.")
    print('Now your own project: see "On a laptop" in README.md. It needs this line in each terminal:')
    print(f"\n   {path_line()}\n")
    return 0


def path_line() -> str:
    """Where beads-dispatch is, and bd where it was built here: the user's own may be unusable, so ours comes first."""
    here, bd = Path(__file__).resolve().parents[1], Path(shutil.which("bd") or "/").absolute()
    first = f"{bd.parent}:" if bd.is_relative_to(here) else ""
    return f'export PATH="{first}$PATH:{Path(sys.executable).parent}"'


if __name__ == "__main__":
    sys.exit(main())
