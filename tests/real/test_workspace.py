"""Where the database is, as the real bd reports it, and how the watcher follows a change."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Board, DoltServer, Place, held_port, make_place, wait_for
from test_watcher import watching

from beads_dispatch.adapters import location
from beads_dispatch.core.errors import Failure, Misconfigured

pytestmark = pytest.mark.found


def unnamed(place: Place) -> dict[str, str]:
    """The place's environment without BEADS_DIR: bd finds the workspace from its working folder."""
    return {key: value for key, value in place.environ.items() if key != "BEADS_DIR"}


def rewrite(place: Place, *without: str, **fields: object) -> None:
    metadata = json.loads(place.metadata.read_text())
    place.metadata.write_text(json.dumps({key: metadata[key] for key in metadata if key not in without} | fields))


def server_file(place: Place, config: str) -> None:
    """A workspace whose metadata.json does not say where the server is, with this config.yaml."""
    rewrite(place, "dolt_server_port", "dolt_server_host")
    (place.folder / ".beads" / "dolt-server.port").unlink(missing_ok=True)
    (place.folder / ".beads" / "config.yaml").write_text(config)


def dispatches(place: Place, board: Board, bead: str, **environ: str) -> None:
    done = place.run("tick", BEADBOARD_URL=board.url, **environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert board.sent == [bead]


def test_the_port_in_config_yaml(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    assert on_server.server
    server_file(on_server, f"dolt:\n  host: 127.0.0.1\n  port: {on_server.server.port}\n")
    dispatches(on_server, board, bead)


def test_a_shared_server(on_server: Place, board: Board, tmp_path: Path) -> None:
    bead = on_server.create()
    assert on_server.server
    server_file(on_server, "dolt:\n  shared-server: true\n")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "dolt-server.port").write_text(str(on_server.server.port))
    dispatches(on_server, board, bead, BEADS_SHARED_SERVER_DIR=str(tmp_path / "shared"))


def test_a_server_that_only_dotenv_names(on_server: Place, board: Board) -> None:
    bead = on_server.create()
    assert on_server.server
    server_file(on_server, "")
    rewrite(on_server, "dolt_mode", "dolt_database", "dolt_server_user")
    known = {
        "MODE": 1,
        "HOST": "127.0.0.1",
        "PORT": on_server.server.port,
        "DATABASE": on_server.database,
        "USER": "root",
    }
    lines = [f"BEADS_DOLT_SERVER_{key}={value}\n" for key, value in known.items()]
    (on_server.folder / ".beads" / ".env").write_text("".join(lines))
    dispatches(on_server, board, bead)


@pytest.mark.parametrize("where", ["metadata.json", ".env", "environment"])
def test_tls_is_known_wherever_bd_has_it_from(on_server: Place, where: str) -> None:
    if where == "metadata.json":
        rewrite(on_server, dolt_server_tls=True)
    elif where == ".env":
        (on_server.folder / ".beads" / ".env").write_text("export BEADS_DOLT_SERVER_TLS=true\n")
    else:
        on_server.environ["BEADS_DOLT_SERVER_TLS"] = "1"
    server = location.find(on_server.environ, on_server.folder).server
    assert server is not None
    assert server.tls


def test_a_server_of_bd_that_is_down(on_server: Place) -> None:
    server_file(on_server, "")
    done = on_server.run("sweep")
    assert done.returncode == 1
    assert "its Dolt server is not running: start it with `bd dolt start`" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("by", ["folder", "subfolder", "BEADS_DIR"])
def test_a_redirect_whose_source_has_its_own_database(
    tmp_path: Path, dolt_server: DoltServer, board: Board, by: str
) -> None:
    source, target = (make_place(tmp_path / name, dolt_server) for name in ("source", "target"))
    bead, _ = source.create(), target.create()
    rewrite(target, "project_id")  # otherwise bd refuses to write: another project's database
    (source.folder / ".beads" / "redirect").write_text("# to the other one\n../target/.beads\n")
    source.environ = unnamed(source) if by != "BEADS_DIR" else source.environ
    source.folder = {"subfolder": source.folder / "a" / "b", "BEADS_DIR": tmp_path}.get(by, source.folder)
    source.folder.mkdir(parents=True, exist_ok=True)
    assert [row["id"] for row in source.bd("list")] == [bead]  # so does bd itself
    dispatches(source, board, bead)
    assert source.sql("SELECT status FROM issues") == [{"status": "in_progress"}]


def test_a_redirect_whose_source_has_none(tmp_path: Path, place: Place, board: Board) -> None:
    (tmp_path / "other" / ".beads").mkdir(parents=True)
    (tmp_path / "other" / ".beads" / "redirect").write_text(f"{place.folder}/.beads\n")
    bead = place.create()
    place.environ, place.folder = unnamed(place), tmp_path / "other"
    dispatches(place, board, bead)


def test_an_embedded_source_with_its_own_database(tmp_path: Path, board: Board) -> None:
    """Two databases in one folder: the folder that redirects names the second."""
    source, target = (make_place(tmp_path / name, None) for name in ("source", "target"))
    bead, _ = source.create(), target.create()
    (source.folder / ".beads" / "embeddeddolt" / "t").rename(target.folder / ".beads" / "embeddeddolt" / "second")
    rewrite(source, dolt_database="second")
    (source.folder / ".beads" / "redirect").write_text("../target/.beads\n")
    source.environ = unnamed(source)
    assert [row["id"] for row in source.bd("list")] == [bead]
    dispatches(source, board, bead)
    assert source.show(bead)["status"] == "in_progress"


def git(folder: Path, *words: str) -> None:
    named = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *named, *words], cwd=folder, check=True, capture_output=True)


def worktree(place: Place, *, tracked: bool) -> Path:
    """A second checkout. `tracked`: whether the files of bd that are no secret are in git, and so in the checkout."""
    git(place.folder, "init", "-q")
    (place.folder / ".gitignore").write_text("" if tracked else ".beads\n")
    git(place.folder, "add", ".gitignore", *([".beads/metadata.json", ".beads/config.yaml"] if tracked else []))
    git(place.folder, "commit", "-q", "-m", "x")
    git(place.folder, "worktree", "add", "-q", "../w")
    return place.folder.parent / "w"


@pytest.mark.parametrize("tracked", [False, True])
def test_a_worktree_and_a_subfolder(place: Place, board: Board, tracked: bool) -> None:
    bead, home = place.create(), location.find(unnamed(place), place.folder)
    other = worktree(place, tracked=tracked)
    place.environ, own = unnamed(place), place.folder / ".beads"
    for folder in (place.folder / "deep" / "er", other, other / "deep"):
        folder.mkdir(parents=True, exist_ok=True)
        found = location.find(place.environ, folder)
        assert found.server == home.server
        assert found.server or found.metadata.samefile(own / "metadata.json")  # our locks lie beside the database
        place.folder = folder
        assert [row["id"] for row in place.bd("list")] == [bead]
    dispatches(place, board, bead)


@pytest.mark.parametrize("stands", ["in a subfolder", "in a worktree", "elsewhere", "elsewhere, with bd there only"])
def test_a_shim_that_runs_bd_in_its_project_only(place: Place, board: Board, stands: str) -> None:
    """As a version manager's (mise, asdf) does: elsewhere it knows no version of bd."""
    bead, project = place.create(), place.folder
    folder = worktree(place, tracked=True) if "worktree" in stands else place.folder.parent / "else"
    folder = project / "deep" if "subfolder" in stands else folder
    folder.mkdir(exist_ok=True)
    known = {"in a worktree": folder, "elsewhere, with bd there only": folder}.get(stands, project)
    shim = f'case "$PWD/" in {known}/*) exec {place.real_bd} "$@";; esac; echo "no version is set for bd" >&2; exit 126'
    place.environ["PATH"] = place.wrap_bd(shim)
    place.environ = place.environ if "elsewhere" in stands else unnamed(place)
    place.folder = folder
    if stands != "elsewhere":
        assert [row["id"] for row in place.bd("list")] == [bead]
    dispatches(place, board, bead)


def test_a_proxied_server_is_refused_before_anything_is_started(place: Place) -> None:
    """bd 1.0.2 would make an embedded database, and bd 1.3 would start a server."""
    rewrite(place, dolt_mode="proxied-server")
    calls = place.folder / "calls"
    path = place.wrap_bd(f'echo $1 >> {calls}; exec {place.real_bd} "$@"')
    done = place.run("tick", BEADBOARD_URL="http://127.0.0.1:9", PATH=path)
    assert done.returncode == 2
    assert re.search(r"metadata.json: dolt_mode is proxied-server, .*`bd migrate from-proxied-server", done.stderr)
    assert calls.read_text().split() == ["where"]


def test_no_workspace_is_one_line(tmp_path: Path, embedded: Place) -> None:
    (tmp_path / "empty" / ".git").mkdir(parents=True)
    with pytest.raises(Misconfigured, match=r"no beads workspace in .*empty or above it: run `bd init --skip-hooks`"):
        location.find(unnamed(embedded), tmp_path / "empty")
    with pytest.raises(Misconfigured, match="BEADS_DB: unset it and set BEADS_DIR"):
        location.find({**unnamed(embedded), "BEADS_DB": "/x"}, tmp_path)


@pytest.mark.parametrize("named", ["/nowhere/.beads", "{project}", "{project}/.bead"])
def test_a_folder_that_is_named_is_never_passed_over(tmp_path: Path, embedded: Place, named: str) -> None:
    """bd itself takes the workspace that it stands in, or none."""
    environ = {**embedded.environ, "BEADS_DIR": named.format(project=embedded.folder)}
    for folder in (embedded.folder, tmp_path):
        with pytest.raises(Misconfigured, match=r"BEADS_DIR: .* is not a .beads folder with a workspace"):
            location.find(environ, folder)
    relative = {**embedded.environ, "BEADS_DIR": f"{embedded.folder.name}/.beads"}
    assert location.find(relative, embedded.folder.parent).metadata.samefile(embedded.metadata)


@pytest.mark.parametrize("where", ["config.yaml", "the user's"])
def test_a_database_that_only_a_setting_of_bd_names_is_refused(
    tmp_path: Path, place: Place, dolt_server: DoltServer, where: str
) -> None:
    """bd lists and writes its beads, while its own `where` names the folder that we would lock."""
    other = make_place(tmp_path / "other", dolt_server if place.server else None)
    file = place.folder / ".beads" / "config.yaml"
    if where == "the user's":
        file = tmp_path / "config" / "bd" / "config.yaml"
        file.parent.mkdir(parents=True)
        place.environ["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    file.write_text(f"db: {other.folder}/.beads/dolt\n")
    with pytest.raises(Misconfigured, match=f"{file}: remove `db: .*`, and set BEADS_DIR to the .beads folder"):
        location.find(place.environ, place.folder)
    file.write_text(f'# db: {other.folder}\ndb: "{place.folder}/.beads/dolt"\n')
    assert location.find(place.environ, place.folder).metadata.samefile(place.metadata)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo '{}'", "bd where: its answer is not as expected"),
        ("echo 'not JSON'", "bd where: its answer is not JSON"),
        ("echo 'Error: broken' >&2; exit 1", "bd where: Error: broken"),
        (
            "[ $1 = dolt ] || exec {bd} \"$@\"; echo 'Error: loading config: no' >&2; exit 1",
            "bd dolt show: Error: loading",
        ),
    ],
)
def test_an_answer_that_is_none_is_one_line(on_server: Place, script: str, message: str) -> None:
    path = on_server.wrap_bd(script.replace("{bd}", on_server.real_bd))
    with pytest.raises(Failure, match=message):
        location.find({**on_server.environ, "PATH": path}, on_server.folder)


# --- the watcher


@contextmanager
def two_databases(tmp_path: Path, server: DoltServer) -> Iterator[tuple[Place, Place, Path]]:
    """Two workspaces, and a file like a mounted one, which is of the first."""
    one, two = (make_place(tmp_path / name, server) for name in ("one", "two"))
    file = tmp_path / "metadata.json"
    file.write_bytes(one.metadata.read_bytes())
    yield one, two, file


def put(file: Path, content: bytes) -> None:
    """Replaces it at once, as a ConfigMap is updated: no watcher reads half of it."""
    new = file.with_name("new")
    new.write_bytes(content)
    new.replace(file)


@pytest.mark.parametrize("wrong", ["another database", "a port that refuses"])
def test_a_mounted_file_that_is_corrected_is_read_again(
    tmp_path: Path, dolt_server: DoltServer, board: Board, wrong: str
) -> None:
    with two_databases(tmp_path, dolt_server) as (one, two, file), held_port() as refuses:
        if wrong == "a port that refuses":
            metadata = json.loads(file.read_text()) | {"dolt_server_port": refuses.getsockname()[1]}
            file.write_text(json.dumps(metadata))
        bead, seen = two.create(), tmp_path / "seen"
        path = one.wrap_bd(f'[ "$1" = version ] || cat "$BEADS_DIR/metadata.json" >> {seen}; exec "{one.real_bd}" "$@"')
        with watching(one, board, BEADS_METADATA=str(file), PATH=path) as watcher:
            time.sleep(2)
            assert board.sent == []
            put(file, two.metadata.read_bytes())
            watcher.wait_for(f"{bead}: dispatched")
        assert f'"{two.database}"' in seen.read_text()  # bd's private copy too
        assert f'"{one.database}"' not in seen.read_text()


def test_a_mounted_file_that_is_broken_for_a_while(tmp_path: Path, dolt_server: DoltServer, board: Board) -> None:
    with two_databases(tmp_path, dolt_server) as (one, two, file):
        first = one.create()
        with watching(one, board, BEADS_METADATA=str(file)) as watcher:
            watcher.wait_for(f"{first}: dispatched")  # it has read the file
            put(file, b"{")
            watcher.wait_for("is not valid JSON.*watching as before")
            put(file, two.metadata.read_bytes())
            bead = two.create()
            watcher.wait_for(f"{bead}: dispatched")
        assert len([line for line in watcher.lines if "watching as before" in line]) == 1


@pytest.mark.slow
def test_an_idle_watcher_on_a_laptop_runs_no_bd(place: Place, board: Board) -> None:
    """After it has worked, too: bd must not rewrite the file that says where the database is."""
    calls = place.folder / "calls"
    calls.touch()
    # Both ends of a call: on a busy machine one can take longer than the quiet that is waited for.
    path = place.wrap_bd(f'echo "$1" >> {calls}; "{place.real_bd}" "$@"; code=$?; echo ended >> {calls}; exit $code')
    with watching(place, board, PATH=path) as watcher:
        bead = place.create()
        watcher.wait_for(f"{bead}: dispatched")
        settled(calls)


def settled(calls: Path) -> None:
    """Waits until no call of bd has been under way for ten seconds. The watcher pauses for three after a tick."""
    state = {"size": -1, "since": time.monotonic()}

    def quiet() -> bool:
        under_way = len(calls.read_text().splitlines()) % 2
        if under_way or calls.stat().st_size != state["size"]:
            state.update(size=calls.stat().st_size, since=time.monotonic())
        return time.monotonic() - state["since"] > 10

    wait_for(quiet)


def test_a_tick_asks_bd_twice_where_its_database_is(on_server: Place, board: Board) -> None:
    on_server.create("waits", acceptance=None)
    calls = on_server.folder / "calls"
    path = on_server.wrap_bd(f'echo "$*" >> {calls}; exec "{on_server.real_bd}" "$@"')
    assert on_server.run("sweep", PATH=path).returncode == 0
    assert re.findall(r"where|dolt show", calls.read_text()) == ["where", "dolt show"]
    assert len(calls.read_text().splitlines()) == 2


def test_so_does_a_watcher_and_again_when_its_connection_is_lost(
    tmp_path: Path, own_server: DoltServer, board: Board
) -> None:
    place = make_place(tmp_path / "place", own_server)
    server_file(place, "")
    port = place.folder / ".beads" / "dolt-server.port"  # as a server writes it that bd manages
    port.write_text(str(own_server.port))
    calls = place.folder / "calls"
    path = place.wrap_bd(f'echo "$*" >> {calls}; exec "{place.real_bd}" "$@"')
    with watching(place, board, "--command", "bd close $BEAD_ID", PATH=path) as watcher:
        first = place.create()
        watcher.wait_for(f"{first}: dispatched")
        assert re.findall(r"where|dolt show", calls.read_text()) == ["where", "dolt show"]
        own_server.stop()
        own_server.move()
        own_server.start()
        port.write_text(str(own_server.port))
        second = place.create()
        watcher.wait_for(f"{second}: dispatched")
