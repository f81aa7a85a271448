"""Real parts for the tests: a Dolt sql-server, workspaces in both of bd's modes, a recording BeadBoard."""

import atexit
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pymysql
import pymysql.cursors
import pytest

QUIET = {"TZ": "UTC", "BD_NO_HOOKS": "1", "BEADS_DOLT_AUTO_START": "0", "BD_EXPORT_AUTO": "false"}
# As for our own calls of bd (adapters/bd/environment.py): without them a call takes a third more CPU.
QUIET |= {"GOGC": "off", "GOMEMLIMIT": "200MiB", "BD_BACKUP_ENABLED": "false", "BD_DISABLE_METRICS": "1"}
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each command compiles httpx anew: half a second of CPU
COMMAND = (sys.executable, "-m", "beads_dispatch")
PATIENCE = 120.0  # seconds; generous, so that a busy machine fails no test

T = TypeVar("T")


def wait_for(answer: Callable[[], T], seconds: float = PATIENCE, context: object = "") -> T:
    """The first answer that is true. Raises AssertionError with `context` after this many seconds."""
    until = time.monotonic() + seconds
    while not (found := answer()):
        if time.monotonic() > until:  # pytest would cut an `assert`'s text
            raise AssertionError("".join(context) if isinstance(context, list) else context)
        time.sleep(0.05)
    return found


# What an agent runs at once. Dolt may refuse its write beside ours ("serialization failure"), so it tries again.
CLOSES = 'until bd close "$BEAD_ID"; do sleep 1; done'

# On a busy machine bd, Dolt or a service can take seconds, which our commands report. That is no news to a test.
WAITS = re.compile(r"^.*: waiting for .*, for up to \d+ s\r?\n", re.MULTILINE)


def without_waits(done: "subprocess.CompletedProcess[str]") -> "subprocess.CompletedProcess[str]":
    done.stdout, done.stderr = WAITS.sub("", done.stdout), WAITS.sub("", done.stderr)
    return done


def bd_deadline(seconds: float) -> str:
    """Lines of Python that give each call of bd that long."""
    return f"""
from beads_dispatch.adapters.bd import process as bd_process
_, *others = bd_process.BdProcess.__init__.__defaults__
bd_process.BdProcess.__init__.__defaults__ = ({seconds}, *others)
"""


def is_running(pid: int) -> bool:
    """A zombie does not count: init may take its time to collect a killed process's child."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def url_of(process: "subprocess.Popen[str]") -> str:
    """Where the stand-in serves, as it prints it."""
    assert process.stdout
    return next(line for line in process.stdout if "BEADBOARD_URL=" in line).strip().split("BEADBOARD_URL=")[1]


def held_port() -> socket.socket:
    """A free port, reserved until the socket is closed. Connections to it are refused while no server listens.

    On Linux a second socket can listen on it, because both set SO_REUSEADDR (Go and Python's servers do). The kernel
    gives it to nobody who asks for any free port.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


def tool(name: str) -> str:
    """A missing tool is an error, never a skipped test."""
    found = shutil.which(name)
    assert found, f"{name} is not on PATH: install it, or run `tools/build {name}` (with Go 1.26.5 and a C compiler)"
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--points", type=int, default=40, help="faults at so many points of ticks and sweeps; 0: at all")
    parser.addoption("--bd", default="bd", help="the bd to test with: bd or bd-1.3")
    parser.addoption("--dolt", default="dolt", help="the Dolt to test with: dolt or dolt-2.2")


def pytest_configure(config: pytest.Config) -> None:
    """Puts the chosen bd and Dolt first on PATH, under the names bd and dolt."""
    folder = Path(tempfile.mkdtemp(prefix="chosen-"))
    config.add_cleanup(lambda: shutil.rmtree(folder))
    for name in ("bd", "dolt"):
        if (chosen := config.getoption(name)) != name:
            (folder / name).symlink_to(tool(chosen))
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """test_bd_1_3.py needs bd 1.3."""
    return True if collection_path.name == "test_bd_1_3.py" and config.getoption("bd") != "bd-1.3" else None


@dataclass(eq=False)
class DoltServer:
    """A sql-server on loopback, ended by its process id. Its port stays reserved while it is down."""

    home: Path
    process: subprocess.Popen[bytes] | None = None
    _holder: socket.socket = field(default_factory=held_port, init=False)

    @property
    def port(self) -> int:
        return int(self._holder.getsockname()[1])

    def move(self) -> None:
        """From the next start on it listens on another port."""
        old, self._holder = self._holder, held_port()
        old.close()

    def start(self) -> None:
        (self.home / "data").mkdir(parents=True, exist_ok=True)
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [tool("dolt"), "sql-server", *self.words()],
                env={**os.environ, "HOME": str(self.home)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, (self.home / "log").read_text()[-2000:]
        try:
            pymysql.connect(host="127.0.0.1", port=self.port, user="root").close()
        except pymysql.Error:
            return False
        return True

    def words(self) -> list[str]:
        """How it is started."""
        return ["--host", "127.0.0.1", "--port", str(self.port), "--data-dir", str(self.home / "data")]

    def stop(self, how: int = signal.SIGKILL) -> None:
        if self.process:
            self.process.send_signal(how)
            self.process.wait(PATIENCE)
            self.process = None


@contextmanager
def running(server: DoltServer) -> Iterator[DoltServer]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def dolt_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoltServer]:
    with running(DoltServer(tmp_path_factory.mktemp("dolt"))) as server:
        yield server


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoltServer]:
    """A server that no other test uses, so this one may stop and start it."""
    with running(DoltServer(tmp_path_factory.mktemp("own"))) as server:
        yield server


@dataclass
class Place:
    """A workspace, with bd and our commands run in it."""

    folder: Path
    environ: dict[str, str]
    server: DoltServer | None = None
    database: str = ""
    command: tuple[str, ...] = COMMAND
    template: "Place | None" = None  # on the same server, made by bd; this one is a copy

    @property
    def metadata(self) -> Path:
        return self.folder / ".beads" / "metadata.json"

    def bd(self, *words: str) -> Any:
        done = subprocess.run(
            [self.real_bd, *words, "--json"],
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None

    @property
    def real_bd(self) -> str:
        return str(shutil.which("bd", path=self.environ["PATH"]))

    def create(self, title: str = "a bead", *words: str, acceptance: str | None = "it works") -> str:
        """Create a bead for agent. On a server a plain one is a copy of one that bd made: a fiftieth of the CPU."""
        if self.server and self.template and words[:1] in ((), ("-p",)) and len(words) < 3:
            return self._copy(title, acceptance_criteria=acceptance or "", priority=int(words[1]) if words else 2)
        criteria = [f"--acceptance={acceptance}"] if acceptance is not None else []
        return str(self.bd("create", title, "--assignee=agent", *criteria, *words)["id"])

    def _copy(self, title: str, **fields: object) -> str:
        assert self.template
        bead, event = _sample(self.template)
        new, now = f"t-{uuid.uuid4().hex[:6]}", datetime.now(UTC).replace(microsecond=0, tzinfo=None)
        self._insert("issues", {**bead, "id": new, "title": title, "created_at": now, "updated_at": now, **fields})
        self._insert("events", {**event, "issue_id": new})
        self.sql("CALL DOLT_COMMIT('-A', '-m', %s)", f"create {new}")
        return new

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        columns, places = ", ".join(f"`{name}`" for name in row), ", ".join(["%s"] * len(row))
        self.sql(f"INSERT INTO {table} ({columns}) VALUES ({places})", *row.values())

    def create_many(self, count: int, **fields: object) -> set[str]:
        """Creates identical beads with one call of bd."""
        alike = {"assignee": "agent", "acceptance_criteria": "it works", **fields}
        lines = [{"title": f"bead {k}", **alike} for k in range(count)]
        (self.folder / "many.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
        self.bd("import", "many.jsonl")
        return {str(bead["id"]) for bead in self.bd("list", "--assignee=agent", "-n", "0")}

    def show(self, bead_id: str) -> dict[str, Any]:
        """Return the bead as bd shows it, without empty fields. A server is asked: bd takes a twelfth of a second."""
        if self.server and (rows := self.sql("SELECT * FROM issues WHERE id = %s", bead_id)):
            shown = {**rows[0], "metadata": json.loads(rows[0]["metadata"] or "{}")}
            shown["created_at"] = f"{shown['created_at'].isoformat()}Z"
            shown["comments"] = self.sql("SELECT text FROM comments WHERE issue_id = %s", bead_id)
            return {name: value for name, value in shown.items() if value not in (None, "", {}, [])}
        shown: dict[str, Any] = self.bd("show", f"--id={bead_id}")[0]
        return {**shown, "comments": self.bd("comments", bead_id)} if shown.get("comment_count") else shown

    def notes(self, bead_id: str) -> list[str]:
        return [line for line in self.show(bead_id).get("notes", "").split("\n") if line]

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.command, *words],
            env={**self.environ, **environ},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return without_waits(done)

    def changed(self, code: str) -> "Place":
        """The same workspace. Our commands run in it after some lines of Python have changed their modules."""
        code = f"import sys\n{code}\nfrom beads_dispatch.commands import cli\nsys.exit(cli.main())"
        return replace(self, command=(sys.executable, "-c", code))

    def start(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *words],
            env={**self.environ, **environ},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wrap_bd(self, script: str) -> str:
        """A PATH on which `bd` is this script. It is run by sh if it has no `#!` line."""
        path = self.folder / "wrapped" / "bd"
        path.parent.mkdir(exist_ok=True)
        path.write_text(script if script.startswith("#!") else f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return f"{path.parent}:{self.environ['PATH']}"

    def sql(self, question: str, *values: object) -> list[dict[str, Any]]:
        assert self.server
        connection = pymysql.connect(
            host="127.0.0.1",
            port=self.server.port,
            user="root",
            database=self.database,
            autocommit=True,
            cursorclass=pymysql.cursors.DictCursor,
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute(question, values)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def sql_in_one_session(self, *statements: str) -> None:
        assert self.server
        where = {"host": "127.0.0.1", "port": self.server.port, "user": "root", "database": self.database}
        with pymysql.connect(**where) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    def drop(self) -> None:
        """Drop the database: Dolt keeps several megabytes of memory for each."""
        self.sql(f"DROP DATABASE {self.database}")

    def hold(self, assignee: str = "agent") -> dict[str, Any]:
        """The services' hold as it is stored, or nothing."""
        who = hashlib.sha1(assignee.encode()).hexdigest()[:12]
        if self.server:
            key = f"beads_dispatch.hold.service.{who}"
            rows = self.sql("SELECT value FROM local_metadata WHERE `key` = %s", key)
            return dict(json.loads(rows[0]["value"])) if rows else {}
        file = self.metadata.parent / f"beads-hold-{who}.lock"
        return dict(json.loads(json.loads(file.read_text()).get("service") or "{}")) if file.exists() else {}

    def expire_hold(self) -> None:
        """The hold ends now; that there was a failure stays known."""
        known = {**self.hold(), "until": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))}
        if self.server:
            where = "WHERE `key` LIKE 'beads_dispatch.hold.service.%%'"
            self.sql(f"UPDATE local_metadata SET value = %s {where}", json.dumps(known))
        else:
            (file,) = self.metadata.parent.glob("beads-hold-*.lock")
            file.write_text(json.dumps({"service": json.dumps(known)}))

    def age(self, bead_id: str, minutes: float) -> None:
        """Sets the bead's last change this many minutes back, by the database's clock."""
        self.sql(
            "UPDATE issues SET updated_at = DATE_SUB(UTC_TIMESTAMP(), INTERVAL %s SECOND) WHERE id = %s",
            int(minutes * 60),
            bead_id,
        )


def make_place(folder: Path, server: DoltServer | None) -> Place:
    """A new workspace: a copy of one that bd made once, because `bd init` of 1.3 takes seven seconds."""
    template = _template(server)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(template.folder / ".beads", folder / ".beads")
    (folder / "tmp").mkdir()
    environ = {**template.environ, "HOME": str(folder), "BEADS_DIR": str(folder / ".beads")}
    place = Place(folder, {**environ, "TMPDIR": str(folder / "tmp")}, server)
    if server:
        _restore(template, place)
    return place


_templates: dict[DoltServer | None, Place] = {}
_samples: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}  # by the template's database
_making = threading.RLock()  # several `bd init` of 1.3 at once on one server take a minute each


def _template(server: DoltServer | None) -> Place:
    with _making:
        if server not in _templates:
            _templates[server] = _init(Path(tempfile.mkdtemp(prefix="beads-template-")), server)
        return _templates[server]


def _sample(template: Place) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the rows of a new bead in `issues` and in `events`, as this version of bd makes them."""
    with _making:
        if (key := template.database) not in _samples:
            template.bd("create", "a sample", "--assignee=agent", "--acceptance=it works")
            (bead,), (event,) = template.sql("SELECT * FROM issues"), template.sql("SELECT * FROM events")
            _samples[key] = bead, {name: value for name, value in event.items() if name not in ("id", "created_at")}
        return _samples[key]


def _init(folder: Path, server: DoltServer | None, **environ: str) -> Place:
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("BEAD", "BD_", "AGENT_"))}
    as_installed = {"PYTHONPATH": str(Path(__file__).parent / "installed")}
    place = Place(folder, {**clean, **QUIET, **as_installed, "HOME": str(folder), **environ}, server)
    words = ["init", "-p", "t", "--skip-agents", "--skip-hooks", "--stealth", "--non-interactive"]
    if server:
        place.database = f"db_{uuid.uuid4().hex[:10]}"
        words += ["--server", "--server-host=127.0.0.1", f"--server-port={server.port}", "--server-user=root"]
        words += [f"--database={place.database}"]
    subprocess.run([place.real_bd, *words], env=place.environ, cwd=folder, check=True, capture_output=True, timeout=300)
    if server:
        place.sql("CALL DOLT_BACKUP('sync-url', %s)", f"file://{folder}/backup")
    return place


def _restore(template: Place, place: Place) -> None:
    """The template's database under a new name, as a project of its own: the project's id names the lock."""
    place.database, project = f"db_{uuid.uuid4().hex[:10]}", str(uuid.uuid4())
    template.sql("CALL DOLT_BACKUP('restore', %s, %s)", f"file://{template.folder}/backup", place.database)
    place.sql("UPDATE metadata SET value = %s WHERE `key` = '_project_id'", project)
    metadata = json.loads(place.metadata.read_text())
    place.metadata.write_text(json.dumps({**metadata, "dolt_database": place.database, "project_id": project}))


def make_old_place(folder: Path, server: DoltServer | None) -> Place:
    """A new workspace of bd 1.0.2, for a test that is run with bd 1.3."""
    folder.mkdir()
    folders = [
        name for name in os.environ["PATH"].split(":") if not name.startswith(f"{tempfile.gettempdir()}/chosen-")
    ]
    return _init(folder, server, PATH=":".join(folders))  # without what pytest_configure put first


@pytest.fixture
def on_server(request: pytest.FixtureRequest, tmp_path: Path, dolt_server: DoltServer) -> Iterator[Place]:
    """A workspace on a server. Its metadata.json is named, as in a cluster, unless the test is marked `found`."""
    place = make_place(tmp_path / "server", dolt_server)
    if not request.node.get_closest_marker("found"):
        place.environ["BEADS_METADATA"] = str(place.metadata)
    yield place
    place.drop()


@pytest.fixture
def embedded(tmp_path: Path) -> Place:
    return make_place(tmp_path / "embedded", None)


@pytest.fixture(params=["server", pytest.param("embedded", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest) -> Place:
    """A workspace in each of bd's two modes."""
    one: Place = request.getfixturevalue("on_server" if request.param == "server" else "embedded")
    return one


Reply = tuple[int, object]


@dataclass
class Board:
    """A BeadBoard that records what it was sent and gives the answers that the test sets."""

    dispatch: Callable[[str], Reply] = lambda task: (200, {"job_id": f"job-{task}"})
    status: Reply = (200, {"busy": False})
    health: Reply = (200, {"status": "ok", "busy": False, "active": 0, "queued": 0, "capacity": 10})
    jobs: dict[str, Reply] = field(default_factory=dict)
    job: Reply = (401, {"detail": "Missing bearer token"})  # for a job that `jobs` does not have
    sent: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    passing: Callable[[str], None] = lambda phase: None  # called when a request arrives, and when it is answered
    url: str = ""

    def answer(self, path: str, body: bytes) -> Reply:
        self.asked.append(path)
        if path == "/api/agent-dispatch":
            self.sent.append(json.loads(body)["taskId"])
        self.passing("asked")
        if path == "/api/agent-status":
            return self.status
        if path == "/health":
            return self.health
        if path.startswith("/jobs/"):
            return self.jobs.get(path.removeprefix("/jobs/"), self.job)
        assert path == "/api/agent-dispatch"
        return self.dispatch(json.loads(body)["taskId"])

    def serve(self) -> ThreadingHTTPServer:
        board = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(*board.answer(self.path, b""))

            def do_POST(self) -> None:
                self.reply(*board.answer(self.path, self.rfile.read(int(self.headers["Content-Length"]))))

            def reply(self, status: int, document: object) -> None:
                body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
                with suppress(OSError):  # the client was killed
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                    self.wfile.flush()
                board.passing("answered")

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        return server


@pytest.fixture
def board() -> Iterator[Board]:
    one = Board()
    server = one.serve()
    yield one
    server.shutdown()
    server.server_close()
