"""JobRunner's reading of a real API server's answers, with the rights that the module gives to our service account."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jobs import variables
from world import World, run, wait

from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.adapters.exchange import Ask, Request
from beads_dispatch.adapters.http import request
from beads_dispatch.adapters.job_runner import JobRunner
from beads_dispatch.adapters.kubernetes import Account, Kubernetes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.beadboard_answers import Reply
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.errors import ServiceFailed
from beads_dispatch.core.runner import Answer, Outcome, Stage

VARIABLES = {"beads_dispatcher_enabled": "false", **variables()}
NOW = datetime.now(UTC)
Make = Callable[..., JobRunner]


@pytest.fixture
def runner(world: World, tmp_path: Path) -> Make:
    """JobRunner as in our pod: `token`: another than our service account's. `request`: what is between it and HTTP."""
    cluster = json.loads(run("kubectl", "config", "view", "--raw", "--minify", "-o", "json").stdout)["clusters"][0][
        "cluster"
    ]
    authority = cluster.get("certificate-authority-data")
    content = base64.b64decode(authority) if authority else Path(cluster["certificate-authority"]).read_bytes()
    (tmp_path / "ca.crt").write_bytes(content)

    def make(token: str = "", request: Request = request) -> JobRunner:
        (tmp_path / "token").write_text(token or token_of(world, "beads-dispatcher"))
        api = Kubernetes(cluster["server"], world.agents, request, world.say, Account(tmp_path))
        return JobRunner(api, "beads-agent", 9, SYSTEM, lambda: False)

    return make


def token_of(world: World, account: str) -> str:
    return world.kubectl("create", "token", account).stdout.strip()


def claim(number: int) -> Claim:
    return Claim(Bead(f"api-{number}", "open", 2, NOW, title="hangs"), f"{number:06x}", NOW)


def agents(world: World, *words: str, text: str | None = None) -> str:
    return run("kubectl", "-n", world.agents, *words, text=text).stdout


def jobs(world: World, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        agents(world, "get", "jobs", "-l", f"beads-dispatch/bead=api-{number}", "-o", "json")
    )["items"]
    return found


def said(world: World, answer: Answer) -> str:
    world.say(f"{answer.outcome.name}: {answer.text}")
    return answer.text


def test_our_rights_and_no_others(world: World) -> None:
    who = f"--as=system:serviceaccount:{world.namespace}:beads-dispatcher"
    table = agents(world, "auth", "can-i", "--list", who)
    world.say(f"can-i --list:\n{table}")
    rows = [(line.split()[0], *re.findall(r"\[([^]]*)\]", line)) for line in table.splitlines()[1:]]
    assert {(kind, *lists) for kind, *lists in rows if not kind.startswith(("[", "selfsubject"))} == {
        ("cronjobs.batch", "", "beads-agent", "get"),
        ("jobs.batch", "", "", "create delete get list"),
        ("pods", "", "", "list"),
        ("pods/log", "", "", "get"),
        ("events", "", "", "list"),
    }


def test_a_token_that_is_not_accepted(world: World, runner: Make) -> None:
    assert "does not accept our service account's token (401)" in said(world, runner("nonsense").start(claim(1)))


def test_a_right_that_is_missing_is_named(world: World, runner: Make) -> None:
    answer = runner(token_of(world, "default")).start(claim(2))
    assert said(world, answer) == (
        f"the service account {world.namespace}:default may not get cronjobs in {world.agents} (403): "
        "its Role lacks `get` on `cronjobs`"
    )


def test_a_create_whose_answer_is_lost_is_one_job(world: World, runner: Make) -> None:
    asked = 0

    def loses_the_first(ask: Ask) -> Reply:
        nonlocal asked
        reply, asked = request(ask), asked + (ask.method == "POST")
        return Reply(None, "lost") if ask.method == "POST" and asked == 1 else reply

    answer = runner(request=loses_the_first).start(claim(3))
    assert (answer.outcome, answer.job, answer.text, asked) == (Outcome.ACCEPTED, "api-3-000003", "", 2)
    assert len(jobs(world, 3)) == 1
    again = runner().start(claim(3))
    assert again.outcome is Outcome.BEAD_AT_FAULT
    assert said(world, again) == "its Job api-3-000003 still runs"


def test_a_run_is_stopped_and_its_job_gone(world: World, runner: Make) -> None:
    """It is the one of the test before."""
    one = runner()
    wait("its pod", 60, lambda: one.job("api-3-000003").stage is not Stage.QUEUED)
    wait("its end", 120, lambda: one.stop("api-3-000003"))
    assert one.job("api-3-000003").stage in (Stage.UNKNOWN, Stage.FAILED, Stage.COMPLETED)


def test_somebody_elses_job_of_that_name(world: World, runner: Make) -> None:
    agents(world, "create", "job", "api-4-000004", "--from=cronjob/beads-agent")
    answer = runner().start(claim(4))
    assert answer.outcome is Outcome.NOT_STARTED
    assert "already exists" in said(world, answer)


@contextmanager
def quota(world: World, what: str) -> Iterator[None]:
    agents(world, "create", "quota", "e2e", f"--hard={what}=0")
    try:
        wait(
            "its counts",
            60,
            lambda: json.loads(agents(world, "get", "quota", "e2e", "-o", "json"))["status"].get("hard"),
        )
        yield
    finally:
        agents(world, "delete", "quota", "e2e")


def test_a_quota_of_jobs(world: World, runner: Make) -> None:
    with quota(world, "count/jobs.batch"):
        answer = runner().start(claim(5))
    assert answer.outcome is Outcome.NOT_STARTED
    assert "exceeded quota: e2e" in said(world, answer)
    assert jobs(world, 5) == []


def test_a_quota_of_pods_shows_on_the_job(world: World, runner: Make) -> None:
    one = runner()
    with quota(world, "pods"):
        answer = one.start(claim(6))
        assert answer.outcome is Outcome.ACCEPTED
        wait("its event", 60, lambda: "exceeded quota: e2e" in one.job(answer.job).words)
        job = one.job(answer.job)
        world.say(f"{job.stage.name}: {job.words}")
        assert job.stage is Stage.QUEUED
        wait("its end", 60, lambda: one.stop(answer.job))
    assert one.job(answer.job).stage is Stage.UNKNOWN


def test_what_an_admission_policy_says(world: World, runner: Make) -> None:
    name = f"{world.agents}-no-jobs"
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"], "operations": ["CREATE"]}
    only = {"matchLabels": {"kubernetes.io/metadata.name": world.agents}}
    kinds = {
        "Policy": {
            "matchConstraints": {"namespaceSelector": only, "resourceRules": [rule]},
            "validations": [
                {"expression": "!object.metadata.name.startsWith('api-')", "message": "no agents at night"}
            ],
        },
        "PolicyBinding": {"policyName": name, "validationActions": ["Deny"]},
    }
    group, one = "admissionregistration.k8s.io/v1", runner()
    for kind, spec in kinds.items():
        world.apply(
            {"apiVersion": group, "kind": f"ValidatingAdmission{kind}", "metadata": {"name": name}, "spec": spec}
        )
    try:
        # It is in force within seconds.
        numbers = iter(range(100, 200))
        answer = wait("the policy", 60, lambda: (answer := one.start(claim(next(numbers)))).text and answer)
    finally:
        run("kubectl", "delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)
    assert answer.outcome is Outcome.NOT_STARTED
    assert "no agents at night" in said(world, answer)
    assert "(HTTP 422)" in answer.text


def test_without_the_cron_job(world: World, runner: Make) -> None:
    agents(world, "delete", "cronjob", "beads-agent")
    assert said(world, runner().start(claim(7))) == f"there is no CronJob beads-agent in the namespace {world.agents}"


def test_an_api_server_that_is_away(world: World, runner: Make) -> None:
    one = runner(request=lambda ask: request(Ask(ask.method, "https://127.0.0.1:1/", 2.0, print, "nobody")))
    with pytest.raises(ServiceFailed):
        one.room()
    assert one.job("api-3-000003").stage is Stage.DOUBT
    assert one.start(claim(8)).outcome is Outcome.NOT_STARTED
