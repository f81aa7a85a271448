"""The surroundings: variables and folders that must not reach bd, locales, and what a kill -9 leaves behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PATIENCE, Board, Place, bd_deadline, wait_for

HARMFUL = {
    "BD_JSON_ENVELOPE": "1",
    "BD_OTEL_STDOUT": "true",
    "BD_OTEL_ENABLED": "true",
    "OTEL_TRACES_EXPORTER": "console",
    "BD_READONLY": "true",
    "BD_NO_DB": "true",
    "BD_BACKEND": "sqlite",
    "BD_JSON": "false",
    "BD_DEBUG": "1",
    "BD_DB": "/nowhere/.beads",
    "BEADS_DB": "/nowhere/.beads",
    "BEADS_MAX_ROWS": "1",
    "BEADS_ACTOR": "",
    "BD_ACTOR": "somebody",
    "GIT_DIR": "/nowhere/.git",
}


@pytest.mark.parametrize("variable", HARMFUL)
def test_a_variable_of_the_caller_does_not_reach_bd(on_server: Place, board: Board, variable: str) -> None:
    bead = on_server.create()
    done = on_server.run("tick", BEADBOARD_URL=board.url, **{variable: HARMFUL[variable]})
    assert (done.returncode, done.stderr) == (0, "")
    assert board.sent == [bead]
    assert on_server.notes(bead)[-1] == f"dispatched: job=job-{bead}"


@pytest.mark.parametrize("variable", ["BD_JSON_ENVELOPE", "BD_OTEL_STDOUT", "BD_OTEL_ENABLED"])
def test_nor_does_one_of_the_workspaces_dotenv_that_changes_the_output(
    on_server: Place, board: Board, variable: str
) -> None:
    bead = on_server.create()
    also = "OTEL_TRACES_EXPORTER=console\n" if variable == "BD_OTEL_ENABLED" else ""
    (on_server.folder / ".beads" / ".env").write_text(f"{variable}={HARMFUL[variable]}\n{also}")
    done = on_server.run("tick", BEADBOARD_URL=board.url)
    assert (done.returncode, done.stderr, board.sent) == (0, "", [bead])


@pytest.mark.parametrize("inside", ["packages/one", "."])
def test_the_labels_of_a_folder_hide_no_bead(place: Place, board: Board, inside: str) -> None:
    """Neither those of the working folder, nor those of the workspace's own folder."""
    bead, folder = place.create(), place.folder / inside
    folder.mkdir(parents=True, exist_ok=True)
    labelled = folder.name if inside == "." else inside
    (place.folder / ".beads" / "config.yaml").write_text(f'directory:\n  labels:\n    "{labelled}": one\n')
    place.folder = folder
    assert place.bd("list", "--assignee=agent") in ([], None)  # as a person sees it there
    done = place.run("tick", BEADBOARD_URL=board.url)
    assert (done.returncode, done.stderr, board.sent) == (0, "", [bead])


def test_nothing_is_pushed(place: Place, board: Board) -> None:
    """The remote takes connections and says nothing: a push would hang."""
    bead = place.create()
    with subprocess.Popen([sys.executable, "-c", MUTE], stdout=subprocess.PIPE, text=True) as remote:
        assert remote.stdout
        port = remote.stdout.readline().strip()
        quiet = {**place.environ, "BD_DOLT_AUTO_PUSH": "false"}
        words = ["dolt", "remote", "add", "origin", f"http://127.0.0.1:{port}/nobody/nothing"]
        try:
            bd = [place.real_bd, *words]
            subprocess.run(bd, env=quiet, cwd=place.folder, check=True, capture_output=True, timeout=PATIENCE)
            done = place.run("tick", BEADBOARD_URL=board.url, BD_DOLT_AUTO_PUSH="true")
        finally:
            remote.kill()
        calls = remote.stdout.read()
    assert (done.returncode, done.stderr, board.sent) == (0, "", [bead])
    assert calls == ""


MUTE = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
kept = []
while True:
    kept.append(listener.accept())
    print("called", flush=True)
"""

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("locale", [ASCII, {"PYTHONIOENCODING": "latin-1"}], ids=["ASCII", "Latin-1"])
def test_whatever_the_locale_we_speak_utf_8(place: Place, board: Board, locale: dict[str, str]) -> None:
    bead, other = place.create("ü🐝"), str(place.bd("create", "x", "--assignee=o'neil ü🐝", "--acceptance=ü")["id"])
    place.bd("update", bead, "--status=in_progress")
    place.folder = place.folder / "ordner-ü"
    place.folder.mkdir()
    time.sleep(1.1)  # `updated_at` is in whole seconds: from now on the bead is older than the threshold
    done = place.run("sweep", BEADS_REAPER_THRESHOLD_MINUTES="0.000001", **locale)
    assert (done.returncode, done.stderr) == (0, "")
    assert "— blocking" in done.stdout
    assert "— blocking" in place.notes(bead)[-1]
    done = place.run("tick", BEADS_ASSIGNEE="o'neil ü🐝", BEADBOARD_URL=board.url, **locale)
    assert (done.returncode, done.stderr, board.sent) == (0, "", [other])
    assert "— blocking" in place.run("status", **locale).stdout


def test_a_bd_on_a_relative_path(place: Place, board: Board) -> None:
    bead = place.create()
    (place.folder / "bin").mkdir()
    (place.folder / "bin" / "bd").symlink_to(place.real_bd)
    done = place.run("tick", BEADBOARD_URL=board.url, PATH="bin:/usr/bin:/bin")
    assert (done.returncode, done.stderr, board.sent) == (0, "", [bead])


# --- what a killed process leaves


# The command with so long a deadline that its bd hangs until the test ends it.
PATIENT = bd_deadline(600)


def left(folder: Path) -> list[Path]:
    return sorted(folder.glob("beads-dispatch-*"))


def test_what_a_killed_process_left_is_removed_but_nothing_that_is_in_use(
    on_server: Place, board: Board, tmp_path: Path
) -> None:
    bead, folder = on_server.create(), tmp_path / "tmp"
    (folder / "beads-dispatch-checkout").mkdir(parents=True)  # somebody's own
    (folder / "beads-dispatch-checkout" / "metadata.json").write_text("{}")
    hangs = on_server.wrap_bd(f'[ -e "{tmp_path}/go" ] || exec sleep 600; exec "{on_server.real_bd}" "$@"')
    environ = {
        **on_server.environ, "BEADBOARD_URL": board.url, "BEADS_METADATA": str(on_server.metadata),
        "TMPDIR": str(folder), "PATH": hangs,
    }  # fmt: skip
    killed, living = (
        subprocess.Popen(
            [*on_server.changed(PATIENT).command, "tick", *words],
            env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for words in ((), ("--dry-run",))
    )  # fmt: skip
    wait_for(lambda: len(left(folder)) == 3 and len(sleeping(folder)) == 2)
    killed.kill()
    killed.wait(PATIENCE)
    (tmp_path / "go").touch()
    run = {"BEADS_METADATA": str(on_server.metadata), "TMPDIR": str(folder), "BEADBOARD_URL": board.url}
    assert on_server.run("tick", **run).returncode == 0
    assert len(left(folder)) == 3  # the orphaned bd of the one that was killed still runs, and so does the other
    for bd in sleeping(folder):
        os.kill(bd, signal.SIGKILL)
    living.communicate(timeout=PATIENCE)
    assert on_server.run("tick", **run).returncode == 0
    other = on_server.create()
    assert on_server.run("tick", **run).returncode == 0
    assert left(folder) == [folder / "beads-dispatch-checkout"]
    assert board.sent == [bead, other]


def sleeping(folder: Path) -> list[int]:
    """The calls of bd that hang, by the folder that they work on."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text() == "sleep\n" and f"{folder}/".encode() in (
                process / "environ"
            ).read_bytes():
                found.append(int(process.name))
        except OSError:
            pass  # it has just ended
    return found
