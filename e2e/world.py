"""One world: a namespace with Dolt, a user's toolbox, a BeadBoard with its agent, and the module applied to it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import page

HERE = Path(__file__).parent
ROOT = HERE.parent
BOARD, AGENT_SERVICE = 8000, 8080  # the relay's ports

Done = subprocess.CompletedProcess[str]


def needed(variable: str) -> str:
    value = os.environ.get(variable)
    assert value, f"{variable} must be set: run `make e2e`, or see e2e/run"
    return value


def say(text: str) -> None:
    """Prints progress at once, even while pytest captures the output."""
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"  {time.strftime('%H:%M:%S')} {text}\n".encode())


def run(*words: str, text: str | None = None, seconds: float = 60, check: bool = True, **environ: str) -> Done:
    for _ in range(3):
        done = subprocess.run(
            words, input=text, capture_output=True, text=True, timeout=seconds, check=False,
            env={**os.environ, **environ},
        )  # fmt: skip
        # The CronJob's controller writes to it each minute. If that falls into an apply, a person applies again.
        if "the object has been modified" not in done.stderr:
            break
    assert done.returncode == 0 or not check, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done


def wait(what: str, seconds: float, question: Callable[[], Any]) -> Any:
    """The first answer that is true. Raises AssertionError after this many seconds."""
    until = time.monotonic() + seconds
    while True:
        if answer := question():
            return answer
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        time.sleep(0.3)


def job_in(said: str) -> str:
    """The Job in `job.batch/now-1 created`."""
    return said.strip().removeprefix("job.batch/").removesuffix(" created")


@dataclass
class World:
    """Everything is asked through kubectl, terraform, and bd in the toolbox, as a person would."""

    name: str
    variables: dict[str, str] = field(default_factory=dict)
    namespace: str = field(default_factory=lambda: f"beads-e2e-{uuid.uuid4().hex[:6]}")
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="beads-e2e-")))

    # --- set-up and tear-down ---

    def begin(self) -> None:
        self.say(f"namespace {self.namespace}: Dolt, toolbox, and what runs the agents")
        self.make_namespace(self.namespace)
        self.create_pods("pods.yaml", "dolt", "toolbox")
        self.variables |= {"dolt_host": self.address("dolt"), "namespace": self.namespace, "image": needed("E2E_IMAGE")}
        self.bd_init()
        self.variables["project_id"] = self.metadata["project_id"]
        if self.variables.get("runner") == "jobs":
            self.make_namespace(self.agents)
            self.variables["agent_namespace"] = self.agents
        else:
            self.create_pods("agent.yaml", "agent")
            self.variables["beadboard_url"] = f"http://{self.address('agent')}:{BOARD}"
            self.variables["agent_service_url"] = f"http://{self.address('agent')}:{AGENT_SERVICE}"
        self.install()

    @property
    def agents(self) -> str:
        """The agents' own namespace, with runner `jobs`."""
        return f"{self.namespace}-agents"

    def make_namespace(self, name: str) -> None:
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": LABELS}})

    def end(self) -> None:
        """Leaves nothing behind, in the cluster or on this machine."""
        self.say("cleans up")
        self.uninstall()
        both = ("delete", "namespace", self.namespace, self.agents, "--ignore-not-found", "--timeout=120s")
        run("kubectl", *both, seconds=150)

    def install(self) -> None:
        self.say("terraform apply")
        ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*", "examples", "tests")
        shutil.copytree(ROOT / "terraform", self.folder, ignore=ignored, dirs_exist_ok=True)
        self.terraform("init")
        self.terraform("apply")

    def uninstall(self) -> None:
        if (self.folder / "terraform.tfstate").exists():
            self.terraform("destroy")
        shutil.rmtree(self.folder)

    def create_pods(self, file: str, *names: str) -> None:
        images = {"IMAGE": needed("E2E_IMAGE"), "DOLT_IMAGE": needed("E2E_DOLT_IMAGE")}
        self.create("-f", "-", text=Template((HERE / file).read_text()).safe_substitute(images))
        self.kubectl("wait", "--for=condition=Ready", "--timeout=120s", *(f"pod/{name}" for name in names), seconds=130)

    def bd_init(self) -> None:
        server = ("--server", f"--server-host={self.variables['dolt_host']}", "--server-port=3306")
        names = ("--server-user=beads", "--database=code", "-p", "e2e")
        self.toolbox("bd", "init", *server, *names, "--skip-agents", "--skip-hooks", "--stealth", "--non-interactive")
        self.metadata: dict[str, Any] = json.loads(self.toolbox("cat", "/home/.beads/metadata.json").stdout)
        files = {"metadata.json": json.dumps(self.metadata), "relay.py": (HERE / "relay.py").read_text()}
        files["standin.py"] = (ROOT / "tests" / "standin.py").read_text()
        self.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "e2e-workspace"}, "data": files})

    # --- the tools ---

    def say(self, text: str) -> None:
        say(f"{self.name}: {text}")

    def kubectl(self, *words: str, text: str | None = None, seconds: float = 60, check: bool = True) -> Done:
        return run("kubectl", "-n", self.namespace, *words, text=text, seconds=seconds, check=check)

    def get(self, *words: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.kubectl("get", *words, "-o", "json").stdout)
        return document

    def apply(self, document: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", text=json.dumps(document))

    def create(self, *words: str, text: str | None = None) -> None:
        """Creates it. Restricted Pod Security has no objection."""
        done = self.kubectl("create", *words, text=text)
        assert "PodSecurity" not in done.stderr, done.stderr

    def address(self, pod: str) -> str:
        return str(self.get("pod", pod)["status"]["podIP"])

    def toolbox(self, *words: str, check: bool = True) -> Done:
        return self.kubectl("exec", "toolbox", "--", *words, check=check)

    def environ(self) -> dict[str, str]:
        """The environment of the runbook's commands: the module's inputs, `bd` and `beads-dispatch`."""
        tools = self.folder / "bin"
        tools.mkdir(exist_ok=True)
        for name in ("bd", "beads-dispatch"):
            (tools / name).write_text(f'#!/bin/sh\nexec kubectl -n {self.namespace} exec -i toolbox -- {name} "$@"\n')
            (tools / name).chmod(0o755)
        answers = {f"TF_CLI_ARGS_{verb}": "-auto-approve" for verb in ("apply", "destroy")}
        inputs = {f"TF_VAR_{name}": value for name, value in self.variables.items()}
        cluster = {"KUBE_CONFIG_PATH": needed("KUBECONFIG"), "TF_INPUT": "0", "TF_IN_AUTOMATION": "1"}
        return {**answers, **inputs, **cluster, "PATH": f"{tools}:{os.environ['PATH']}"}

    def terraform(self, *words: str, check: bool = True) -> Done:
        return run("terraform", f"-chdir={self.folder}", *words, seconds=120, check=check, **self.environ())

    # --- a user ---

    def page(self, command: str, **values: str) -> str:
        """Runs a command of the operator's pages, word for word, with its <places> filled in. Returns its output."""
        assert command in page.commands(), f"no page shows this command: {command}"
        for name, value in values.items():
            command = command.replace(f"<{name}>", value)
        command = command.replace("-n beads-server", f"-n {self.namespace}").replace(
            "-n beads-agents", f"-n {self.agents}"
        )
        command = command.replace("s/beads-server/", f"s/{self.namespace}/")
        words = ("bash", "-o", "pipefail", "-c", f"cd {self.folder} && {command}")
        done = run(*words, seconds=120, **self.environ())
        assert "PodSecurity" not in done.stderr, done.stderr
        return done.stdout

    def bd(self, *words: str) -> Any:
        done = self.toolbox("bd", *words, "--json")
        return json.loads(done.stdout)

    def bead(self, title: str, *words: str, assign: bool = True) -> str:
        bead_id = str(self.bd("create", title, "--acceptance", "it works", *words)["id"])
        if assign:
            self.bd("assign", bead_id, self.variables.get("assignee", "agent"))
        return bead_id

    def show(self, bead_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.bd("show", bead_id)[0]
        return shown

    def notes(self, bead_id: str) -> list[str]:
        return str(self.show(bead_id).get("notes", "")).splitlines()

    def why(self, bead_id: str) -> str:
        """The reason that `beads-dispatch status` gives for a bead."""
        rows = json.loads(self.toolbox("beads-dispatch", "status", "--json").stdout)
        return next((str(row["reason"]) for row in rows if row["id"] == bead_id), "")

    # --- jobs ---

    def job(self, name: str, job: str = "beads-dispatcher") -> None:
        self.create("job", f"--from=cronjob/{job}", name)

    def patient_jobs(self, *names: str) -> None:
        """Hand-made ticks that wait for two minutes where others wait for seconds: kubectl may need those."""
        words = ("create", "job", "--from=cronjob/beads-dispatcher", "--dry-run=client", "-o", "json")
        jobs = [json.loads(self.kubectl(*words, name).stdout) for name in names]
        for job in jobs:
            del job["metadata"]["ownerReferences"]  # the CronJob's history limit of three would remove two of five
            job["spec"]["template"]["spec"]["containers"][0]["command"] = ["python3", "-c", PATIENT, "tick"]
        self.create("-f", "-", text="\n".join(json.dumps(job) for job in jobs))

    def run_job(self, name: str, job: str = "beads-dispatcher", seconds: float = 120) -> tuple[str, str]:
        """Runs a hand-made Job to its end. Returns `Complete` or `Failed`, and its output."""
        self.job(name, job)
        return self.ended(name, seconds)

    def has_ended(self, name: str) -> str:
        """`Complete`, `Failed`, or nothing yet."""
        conditions = self.get("job", name)["status"].get("conditions", [])
        return next((one["type"] for one in conditions if one["type"] in ("Complete", "Failed")), "")

    def ended(self, name: str, seconds: float = 120) -> tuple[str, str]:
        how = str(wait(f"the end of job {name}", seconds, lambda: self.has_ended(name)))
        return how, self.kubectl("logs", f"job/{name}", check=False).stdout

    def job_names(self) -> set[str]:
        return {str(job["metadata"]["name"]) for job in self.get("jobs")["items"]}

    def pod_of(self, job: str) -> dict[str, Any]:
        pods = self.get("pods", "-l", f"job-name={job}")["items"]
        assert len(pods) == 1, f"{len(pods)} pods of job {job}"
        pod: dict[str, Any] = pods[0]
        return pod

    def running(self, jobs: list[str]) -> int:
        """How many of these jobs' pods have begun."""
        pods = self.get("pods", "-l", f"job-name in ({','.join(jobs)})")["items"]
        return sum(pod["status"]["phase"] != "Pending" for pod in pods)

    def last_words(self, job: str) -> str:
        """The termination message of the job's pod."""
        return str(self.pod_of(job)["status"]["containerStatuses"][0]["state"]["terminated"].get("message", ""))

    def cron_jobs(self) -> dict[str, dict[str, Any]]:
        return {one["metadata"]["name"]: one["spec"] for one in self.get("cronjobs")["items"]}

    # --- the services ---

    def posts(self) -> list[str]:
        """The ids of the beads that BeadBoard was sent, in order, by the relay's own log."""
        lines = self.kubectl("logs", "agent", "-c", "relay").stdout.splitlines()
        return [json.loads(line.split(" ", 3)[3])["taskId"] for line in lines if " POST /api/agent-dispatch " in line]

    def asked(self, path: str) -> int:
        return self.kubectl("logs", "agent", "-c", "relay").stdout.count(f" GET {path} ")

    @contextmanager
    def held(self, path: str) -> Iterator[None]:
        """BeadBoard answers no request for this path until the block ends, though the agent has it already.

        Let the agent hang where that is a POST: under bd 1.0 two notes in one instant may become one.
        """
        control = ("exec", "agent", "-c", "relay", "--", "sh", "-c")
        self.kubectl(*control, f"echo {path} >/control/hold")
        try:
            yield
        finally:
            self.kubectl(*control, "rm -f /control/hold")

    @contextmanager
    def down(self, port: int) -> Iterator[None]:
        """A service of the agent's pod refuses connections."""
        control = ("exec", "agent", "-c", "relay", "--", "sh", "-c")
        self.kubectl(*control, f"touch /control/down-{port}; until [ -e /control/closed-{port} ]; do sleep 0.1; done")
        try:
            yield
        finally:
            self.kubectl(*control, f"rm /control/down-{port}; while [ -e /control/closed-{port} ]; do sleep 0.1; done")

    @contextmanager
    def dolt_down(self) -> Iterator[None]:
        stop = "pid=$(cat /data/pid); touch /data/stop; kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done"
        self.kubectl("exec", "dolt", "--", "sh", "-c", stop)
        try:
            yield
        finally:
            self.kubectl("exec", "dolt", "--", "rm", "/data/stop")
            wait("Dolt", 60, lambda: self.toolbox("bd", "list", "--json", check=False).returncode == 0)

    @contextmanager
    def dolt_frozen(self) -> Iterator[None]:
        """It accepts connections and answers nothing until the block ends."""
        self.kubectl("exec", "dolt", "--", "sh", "-c", "kill -STOP $(cat /data/pid)")
        try:
            yield
        finally:
            self.kubectl("exec", "dolt", "--", "sh", "-c", "kill -CONT $(cat /data/pid)")

    def sql(self, statement: str) -> None:
        """As the database's own user, through the package's own driver."""
        connect = "pymysql.connect(host=sys.argv[1], user='beads', database='code', autocommit=True)"
        program = f"import pymysql, sys; {connect}.cursor().execute(sys.argv[2])"
        python = "/opt/beads-dispatch/bin/python"
        self.toolbox(python, "-c", program, self.variables["dolt_host"], statement)

    def dispatch_by_hand(self, bead_id: str) -> str:
        """What a person's Dispatch button sends."""
        program = "import httpx, sys; print(httpx.post(sys.argv[1], json={'taskId': sys.argv[2]}, timeout=60).text)"
        url = f"{self.variables['beadboard_url']}/api/agent-dispatch"
        return self.toolbox("/opt/beads-dispatch/bin/python", "-c", program, url, bead_id).stdout


PATIENT = """
import sys
from beads_dispatch.commands import cli
from beads_dispatch.adapters import beadboard, dolt
beadboard.ASK_SECONDS = beadboard.POST_SECONDS = dolt.ANSWER_SECONDS = 120
sys.exit(cli.main())
"""
LABELS = {f"pod-security.kubernetes.io/{what}": "restricted" for what in ("enforce", "warn", "audit")}
