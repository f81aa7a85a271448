"""The surroundings: variables and folders that must not reach bd, locales, and what a kill -9 leaves behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PATIENCE, Board, Place, bd_deadline, wait_for

from beads_dispatch.adapters.bd.environment import environment

pytestmark = pytest.mark.found

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


def test_no_variable_of_the_caller_reaches_bd(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    done = on_server.run("tick", BEADBOARD_URL=board.url, **HARMFUL)
    assert (done.returncode, done.stderr) == (0, "")
    assert board.sent == [bead]
    assert on_server.notes(bead)[-1] == f"dispatched: job=job-{bead}"


@pytest.mark.parametrize("variable", HARMFUL)
def test_each_of_them_is_dropped(variable: str) -> None:
    """All at once show that none reaches bd; one could hide another."""
    assert environment(HARMFUL, Path("/")).get(variable) != HARMFUL[variable]


def test_nor_does_one_of_the_workspaces_dotenv_that_changes_the_output(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    names = ("BD_JSON_ENVELOPE", "BD_OTEL_STDOUT", "BD_OTEL_ENABLED", "OTEL_TRACES_EXPORTER")
    (on_server.folder / ".beads" / ".env").write_text("".join(f"{name}={HARMFUL[name]}\n" for name in names))
    done = on_server.run("tick", BEADBOARD_URL=board.url)
    assert (done.returncode, done.stderr, board.sent) == (0, "", [bead])


def test_the_labels_of_a_folder_hide_no_bead(place: Place, board: Board) -> None:
    """Neither those of the working folder, nor those of the workspace's own folder."""
    bead, folder = place.create(), place.folder / "packages" / "one"
    folder.mkdir(parents=True)
    labels = f'    "packages/one": one\n    "{place.folder.name}": two\n'
    (place.folder / ".beads" / "config.yaml").write_text(f"directory:\n  labels:\n{labels}")
    for inside in (place, replace(place, folder=folder)):
        assert inside.bd("list", "--assignee=agent") in ([], None)  # as a person sees it there
    done = inside.run("tick", BEADBOARD_URL=board.url)
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


def test_whatever_the_locale_we_speak_utf_8(place: Place, board: Board) -> None:
    bead, other = place.create("ü🐝"), str(place.bd("create", "x", "--assignee=o'neil ü🐝", "--acceptance=ü")["id"])
    place.bd("update", bead, "--status=in_progress")
    place.folder = place.folder / "ordner-ü"
    place.folder.mkdir()
    time.sleep(1.1)  # `updated_at` is in whole seconds: from now on the bead is older than the threshold
    done = place.run("sweep", BEADS_REAPER_THRESHOLD_MINUTES="0.000001", **ASCII)
    assert (done.returncode, done.stderr) == (0, "")
    assert "— blocking" in done.stdout
    assert "— blocking" in place.notes(bead)[-1]
    done = place.run("tick", BEADS_ASSIGNEE="o'neil ü🐝", BEADBOARD_URL=board.url, **ASCII)
    assert (done.returncode, done.stderr, board.sent) == (0, "", [other])
    assert "— blocking" in place.run("status", **ASCII).stdout


def test_a_bd_on_a_relative_path(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    (on_server.folder / "bin").mkdir()
    (on_server.folder / "bin" / "bd").symlink_to(on_server.real_bd)
    done = on_server.run("tick", BEADBOARD_URL=board.url, PATH="bin:/usr/bin:/bin")
    assert (done.returncode, done.stderr, board.sent) == (0, "", [bead])


# --- the folder in which bd may write, if metadata.json is mounted


# The command with so long a deadline that its bd hangs until the test ends it.
PATIENT = bd_deadline(600)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("beads-dispatch-*"))


def test_all_processes_share_one_private_folder_and_a_killed_one_leaves_nothing_else(
    on_server: Place, board: Board, tmp_path: Path
) -> None:
    bead, folder = on_server.create(), Path(on_server.environ["TMPDIR"])
    hangs = on_server.wrap_bd(f'echo x >> {tmp_path}/begun; sleep 600; exec "{on_server.real_bd}" "$@"')
    mounted = {"BEADS_METADATA": str(on_server.metadata), "BEADBOARD_URL": board.url}
    killed = on_server.changed(PATIENT).start("tick", "--dry-run", **mounted, PATH=hangs)
    wait_for((tmp_path / "begun").exists)
    killed.kill()
    killed.communicate(timeout=PATIENCE)
    first = left(folder)
    assert on_server.run("tick", **mounted).returncode == 0
    assert board.sent == [bead]
    assert left(folder) == first
    assert len(first) == 1
    for bd in sleeping(folder):
        os.kill(bd, signal.SIGKILL)


def test_a_private_folder_of_somebody_else_is_refused(on_server: Place, board: Board) -> None:
    on_server.create()
    mounted = {"BEADS_METADATA": str(on_server.metadata), "BEADBOARD_URL": board.url}
    assert on_server.run("tick", "--dry-run", **mounted).returncode == 0
    folder = Path(on_server.environ["TMPDIR"])
    (folder / left(folder)[0]).chmod(0o777)
    done = on_server.run("tick", **mounted)
    assert (done.returncode, board.sent) == (1, [])
    assert "cannot be copied to a private folder: somebody else may write to " in done.stderr


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


# --- versions of bd


@pytest.mark.parametrize("version", ["1.0.5", "1.2.1"])
@pytest.mark.parametrize("first", ["ready", "update"])
def test_a_version_that_was_withdrawn_writes_nothing(on_server: Place, board: Board, version: str, first: str) -> None:
    """A tick learns the version from its first call of bd if that reads, and asks for it if that would write."""
    bead = on_server.create("a bead", acceptance="it works" if first == "ready" else None)
    script = f"""[ $1 = version ] && {{ echo '{{"version": "{version}"}}'; exit; }}
        {on_server.real_bd} "$@"; code=$?; echo {version} > $BEADS_DIR/.local_version; exit $code"""
    mounted = {"BEADS_METADATA": str(on_server.metadata), "BEADBOARD_URL": board.url}
    before = on_server.show(bead)
    done = on_server.run("tick", **mounted, PATH=on_server.wrap_bd(script))
    assert done.returncode == 2
    assert f"bd {version} must not be used: it was " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (board.sent, on_server.show(bead)) == ([], before)


@pytest.mark.parametrize("command", ["tick", "watch"])
def test_embedded_it_does_not_even_read(embedded: Place, board: Board, command: str) -> None:
    """Its first call would migrate the database."""
    embedded.create()
    calls = embedded.folder / "calls"
    script = f"""echo $1 >> {calls}
        [ $1 = version ] && {{ echo '{{"version": "1.0.5"}}'; exit; }}; exec {embedded.real_bd} "$@"
    """
    done = embedded.run(command, BEADBOARD_URL=board.url, PATH=embedded.wrap_bd(script))
    assert done.returncode == 2
    assert "bd 1.0.5 must not be used: it was withdrawn because it corrupts data" in done.stderr
    assert calls.read_text().split() == ["where", "dolt", "version"]


@pytest.mark.parametrize("version", ["1.0.2", "1.0.4", "1.0.5", "1.1.0", "1.2.1", "1.2.2", "1.3.0", "2.0.0"])
def test_the_demo_uses_no_version_that_was_withdrawn(embedded: Place, tmp_path: Path, version: str) -> None:
    """tools/find-bd takes the bd on PATH, or builds the pinned one: here that fails."""
    tools = tmp_path / "tools"
    tools.mkdir()
    shutil.copy(Path(__file__).parents[2] / "tools" / "find-bd", tools)
    (tools / "build").write_text("#!/bin/sh\nexit 7\n")
    (tools / "build").chmod(0o755)
    path = embedded.wrap_bd('case "$1" in version) echo "bd version $VERSION (x)";; esac')
    done = subprocess.run([tools / "find-bd"], env={**embedded.environ, "PATH": path, "VERSION": version}, check=False)
    assert done.returncode == (7 if version in ("1.0.5", "1.2.1", "2.0.0") else 0)


ENVELOPE = """
out=$({bd} "$@"); code=$?; [ -z "$out" ] || printf '{{"data": %s, "schema_version": 1}}' "$out"; exit $code"""


def test_the_envelope_of_later_versions_is_opened(place: Place, board: Board) -> None:
    """bd 1.3 with BD_JSON_ENVELOPE=1, and 2.0 by default."""
    bead = place.create()
    path = place.wrap_bd(ENVELOPE.format(bd=place.real_bd))
    done = place.run("tick", BEADBOARD_URL=board.url, PATH=path)
    assert (done.returncode, done.stderr, board.sent) == (0, "", [bead])
    assert f"dispatched: job=job-{bead}" in place.run("explain", bead, PATH=path).stdout
    assert "there is no bead t-none" in place.run("explain", "t-none", PATH=path).stderr
