"""JobRunner: what it makes of each answer of the API server. tests/real/test_kubernetes.py asks a real one."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from beads_dispatch.adapters.clock import Clock
from beads_dispatch.adapters.exchange import Ask
from beads_dispatch.adapters.job_runner import CREATE_SECONDS, GONE_SECONDS, JobRunner
from beads_dispatch.adapters.kubernetes import Account, Kubernetes, address
from beads_dispatch.core import marks
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.beadboard_answers import Reply
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.errors import Misconfigured, ServiceFailed
from beads_dispatch.core.runner import Outcome, Room, Stage

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
CLAIM = Claim(Bead("demo-wcw", "open", 2, NOW, description="$(KEY)"), "4f1d2a", NOW)
NAME = "demo-wcw-4f1d2a"
TEMPLATE = {"spec": {"template": {"spec": {"containers": [{"name": "agent", "image": "i"}]}}}}
CRON_JOB = {"metadata": {"name": "agent"}, "spec": {"jobTemplate": TEMPLATE}}
LOST = Reply(None, "no answer within 10 s")
REFUSED = Reply(None, "connection refused", delivered=False)


def ok(document: object, code: int = 200) -> Reply:
    return Reply(code, json.dumps(document))


def no(code: int, message: str = "no") -> Reply:
    return ok({"kind": "Status", "message": message}, code)


@dataclass
class Server:
    """Answers by what is asked: the first answers of a list in their order, the last one for ever."""

    answers: dict[str, list[Reply]]
    asked: list[Ask] = field(default_factory=list)
    seconds: float = 0.0

    def __call__(self, ask: Ask) -> Reply:
        self.asked.append(ask)
        path = ask.url.removeprefix("https://api").partition("?")[0].split("/namespaces/agents/")[1]
        known = self.answers[f"{ask.method} {path}"]
        return known.pop(0) if len(known) > 1 else known[0]

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds

    def count(self, method: str) -> int:
        return sum(ask.method == method for ask in self.asked)


def runner(
    tmp_path: Path, *, places: int = 1, stopping: Callable[[], bool] = lambda: False, **answers: Any
) -> JobRunner:
    """`answers`: by `GET_jobs` and so on. What is not given is an empty list or the CronJob."""
    (tmp_path / "token").write_text("secret\n")
    known = {"GET cronjobs/agent": [ok(CRON_JOB)], "GET jobs": [ok({"items": []})], "GET pods": [ok({"items": []})]}
    known["GET events"] = [ok({"items": []})]
    for key, value in answers.items():
        method, _, path = key.partition("_")
        known[f"{method} {path.replace('NAME', '/' + NAME)}"] = value if isinstance(value, list) else [value]
    server = Server(known)
    clock = Clock(lambda: NOW + timedelta(seconds=server.seconds), lambda: server.seconds, server.pass_time)
    made = JobRunner(
        Kubernetes("https://api", "agents", server, lambda _: None, Account(tmp_path)), "agent", places, clock, stopping
    )
    made.server = server  # type: ignore[attr-defined]
    return made


def server(one: JobRunner) -> Server:
    return one.server  # type: ignore[attr-defined,no-any-return]


def ours(**status: object) -> dict[str, Any]:
    meta = {
        "name": NAME,
        "labels": {"beads-dispatch/claim": "4f1d2a"},
        "annotations": {"beads-dispatch/bead": "demo-wcw"},
    }
    return {"metadata": {**meta, "creationTimestamp": "2026-11-23T21:00:00Z"}, "status": status}


def theirs() -> dict[str, Any]:
    return {"metadata": {"name": NAME, "labels": {}}}


# --- start ---
@pytest.mark.parametrize(
    ("creates", "looked", "outcome", "text", "tries"),
    [
        ([no(201)], None, Outcome.ACCEPTED, "", 1),
        ([no(409)], ok(ours()), Outcome.ACCEPTED, "", 1),
        ([no(409)], no(404), Outcome.ACCEPTED, "", 1),  # somebody has deleted it since
        ([no(409)], LOST, Outcome.ACCEPTED, "", 1),
        ([no(409, "exists")], ok(theirs()), Outcome.NOT_STARTED, "the API server refused to create jobs in agents", 1),
        ([no(401, "Unauthorized")], None, Outcome.NOT_STARTED, "does not accept our service account's token", 1),
        ([no(403, "exceeded quota: q")], None, Outcome.NOT_STARTED, "exceeded quota: q", 1),
        ([no(422, "is invalid: x")], None, Outcome.NOT_STARTED, "is invalid: x", 1),
        ([no(404, "namespaces not found")], None, Outcome.NOT_STARTED, "namespaces not found", 1),
        ([REFUSED, no(429), no(201)], None, Outcome.ACCEPTED, "", 3),
        ([LOST, no(409)], ok(ours()), Outcome.ACCEPTED, "", 2),
        ([no(500), no(503), no(201)], None, Outcome.ACCEPTED, "", 3),
        # the quota is used up by what the lost create has made
        ([LOST, no(403, "exceeded quota: q")], ok(ours()), Outcome.ACCEPTED, "", 2),
        ([LOST, no(403, "exceeded quota: q")], no(404), Outcome.ACCEPTED, "exceeded quota: q", 9),
        ([LOST, no(401), no(409)], LOST, Outcome.ACCEPTED, "", 3),
        ([LOST], None, Outcome.ACCEPTED, "no answer within 10 s", 9),
        ([REFUSED], None, Outcome.NOT_STARTED, "connection refused", 9),
        ([no(429, "later")], None, Outcome.NOT_STARTED, "later", 9),
    ],
)
def test_what_becomes_of_a_create(
    tmp_path: Path, creates: list[Reply], looked: Reply | None, outcome: Outcome, text: str, tries: int
) -> None:
    one = runner(tmp_path, POST_jobs=creates, **({"GET_jobsNAME": looked} if looked else {}))
    answer = one.start(CLAIM)
    assert answer.outcome is outcome
    assert text in answer.text
    assert bool(answer.text) is bool(text)
    assert answer.job == (NAME if outcome is Outcome.ACCEPTED else "")
    assert server(one).count("POST") == tries
    assert server(one).seconds <= CREATE_SECONDS
    names = {ask.content["metadata"]["name"] for ask in server(one).asked if ask.content}  # type: ignore[index]
    assert names == {NAME}


@pytest.mark.parametrize(
    ("answers", "outcome", "text"),
    [
        ({"GET_cronjobs/agent": no(404)}, Outcome.NOT_STARTED, "there is no CronJob agent in the namespace agents"),
        ({"GET_cronjobs/agent": LOST}, Outcome.NOT_STARTED, "no answer within 10 s"),
        ({"GET_jobs": no(403, "nope")}, Outcome.NOT_STARTED, "refused to list jobs in agents (HTTP 403): nope"),
        ({"GET_pods": no(500)}, Outcome.NOT_STARTED, "list pods in agents"),
        ({"GET_jobs": ok({"items": [ours()]})}, Outcome.BEAD_AT_FAULT, f"its Job {NAME} still runs"),
        (
            {"GET_pods": ok({"items": [{"metadata": {"labels": {"beads-dispatch/job": "demo-wcw-0"}}}]})},
            Outcome.BEAD_AT_FAULT,
            "its Job demo-wcw-0 still runs",
        ),
    ],
)
def test_what_is_found_before_the_create(
    tmp_path: Path, answers: dict[str, Reply], outcome: Outcome, text: str
) -> None:
    one = runner(tmp_path, **answers)
    answer = one.start(CLAIM)
    assert answer.outcome is outcome
    assert text in answer.text
    assert server(one).count("POST") == 0


def test_a_finished_job_of_the_bead_is_no_obstacle(tmp_path: Path) -> None:
    done = ours(conditions=[{"type": "Failed", "status": "True"}])
    assert runner(tmp_path, GET_jobs=ok({"items": [done]}), POST_jobs=no(201)).start(CLAIM).outcome is Outcome.ACCEPTED


def test_a_stop_ends_the_wait_only_if_nothing_can_have_been_created(tmp_path: Path) -> None:
    at_once = runner(tmp_path, POST_jobs=REFUSED, stopping=lambda: True)
    assert (at_once.start(CLAIM).outcome, server(at_once).count("POST")) == (Outcome.NOT_STARTED, 1)
    patient = runner(tmp_path, POST_jobs=[LOST, no(201)], stopping=lambda: True)
    assert (patient.start(CLAIM).outcome, server(patient).count("POST")) == (Outcome.ACCEPTED, 2)


def test_every_request_has_the_token_as_it_now_is_and_the_clusters_authority(tmp_path: Path) -> None:
    one = runner(tmp_path, POST_jobs=no(201))
    one.room()
    (tmp_path / "token").write_text("another")
    one.start(CLAIM)
    asked = server(one).asked
    assert (asked[0].token, asked[-1].token) == ("secret", "another")
    assert {ask.authority for ask in asked} == {str(tmp_path / "ca.crt")}
    assert "secret" not in repr(asked[0])


def test_without_a_token_nothing_is_asked(tmp_path: Path) -> None:
    one = runner(tmp_path)
    (tmp_path / "token").unlink()
    with pytest.raises(ServiceFailed, match="no token can be read"):
        one.room()
    assert one.start(CLAIM).outcome is Outcome.NOT_STARTED
    assert one.job(NAME).stage is Stage.DOUBT
    assert server(one).asked == []


# --- room ---
def test_jobs_at_work_and_pods_that_outlive_their_job_take_places(tmp_path: Path) -> None:
    pod = {"metadata": {"labels": {"beads-dispatch/job": "other"}}}
    jobs, pods = ok({"items": [ours()]}), ok({"items": [pod]})
    assert runner(tmp_path, places=3, GET_jobs=jobs, GET_pods=pods).room() == Room(True, 2, 3)
    assert runner(tmp_path, places=2, GET_jobs=jobs, GET_pods=pods).room() == Room(False, 2, 2)


def test_pages_are_read_to_the_end(tmp_path: Path) -> None:
    first = ok({"items": [ours()], "metadata": {"continue": "a+b"}})
    one = runner(tmp_path, places=3, GET_jobs=[first, ok({"items": [{**ours(), "metadata": {"name": "b"}}]})])
    assert one.room() == Room(True, 2, 3)
    assert "continue=a%2Bb" in server(one).asked[1].url


def test_a_full_runner_is_asked_again_after_five_seconds(tmp_path: Path) -> None:
    one = runner(tmp_path, GET_jobs=[ok({"items": [ours()]}), ok({"items": []})])
    assert not one.room().free
    assert not one.room().free
    assert len(server(one).asked) == 2
    server(one).pass_time(5)
    assert one.room().free


# --- a run ---
def test_a_claim_names_its_job_before_anything_is_recorded(tmp_path: Path) -> None:
    one, claim = runner(tmp_path), marks.claim_value("4f1d2a", NOW)
    for known, job in (({}, ""), ({marks.CLAIM: claim}, NAME), ({marks.CLAIM: claim, marks.JOB: '"other"'}, "other")):
        assert one.job_of(Bead("demo-wcw", "in_progress", 2, NOW, metadata=known)) == job


def test_a_job_that_cannot_be_asked_about_is_in_doubt(tmp_path: Path) -> None:
    for answer in (LOST, no(401), no(403, "x"), no(500), ok([])):
        one = runner(tmp_path, GET_jobsNAME=answer)
        assert one.job(NAME).stage is Stage.DOUBT
        assert one.idle() is None


def test_a_log_that_cannot_be_read_leaves_the_end_as_it_is(tmp_path: Path) -> None:
    ended = {"name": "agent", "state": {"terminated": {"exitCode": 3}}}
    pod = {
        "metadata": {"name": "p"}, "spec": {"containers": [{"name": "agent"}]},
        "status": {"phase": "Failed", "containerStatuses": [ended]},
    }  # fmt: skip
    for log, words in ((Reply(200, "two\n"), "two"), (no(403), ""), (no(404), ""), (no(400), "")):
        known = {"GET_jobsNAME": ok(ours()), "GET_pods": ok({"items": [pod]}), "GET_pods/p/log": log}
        found = runner(tmp_path, **known).job(NAME)
        assert (found.stage, found.exit_code, found.words) == (Stage.FAILED, 3, words)
    assert runner(tmp_path, **{**known, "GET_pods/p/log": LOST}).job(NAME).stage is Stage.DOUBT


# --- stop ---
ALIVE = {"metadata": {"name": "p", "labels": {}}, "status": {"phase": "Running"}}


def test_a_stopped_run_has_ended_when_its_job_and_pod_are_gone(tmp_path: Path) -> None:
    pods = [ok({"items": [ALIVE]}), ok({"items": [ALIVE]}), ok({"items": []})]
    one = runner(
        tmp_path, GET_jobsNAME=[ok(ours()), ok(ours()), ok(ours()), no(404)], GET_pods=pods, DELETE_jobsNAME=ok({})
    )
    assert one.stop(NAME)
    assert "propagationPolicy=Foreground" in next(ask.url for ask in server(one).asked if ask.method == "DELETE")
    assert server(one).seconds == 1


def test_a_run_that_has_ended_is_left_for_people_to_look_at(tmp_path: Path) -> None:
    ended = {**ALIVE, "status": {"phase": "Failed"}}
    for answers in ({"GET_jobsNAME": no(404)}, {"GET_jobsNAME": ok(ours()), "GET_pods": ok({"items": [ended]})}):
        one = runner(tmp_path, **answers)
        assert one.stop(NAME)
        assert server(one).count("DELETE") == 0


def test_a_pod_that_does_not_end_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    one = runner(tmp_path, GET_jobsNAME=ok(ours()), GET_pods=ok({"items": [ALIVE]}), DELETE_jobsNAME=ok({}))
    assert not one.stop(NAME)
    assert server(one).seconds <= GONE_SECONDS


def test_a_missing_right_to_delete_is_named(tmp_path: Path) -> None:
    refused = no(403, 'jobs.batch "x" is forbidden: User "system:serviceaccount:a:b" cannot delete resource "jobs"')
    one = runner(tmp_path, GET_jobsNAME=ok(ours()), DELETE_jobsNAME=refused)
    with pytest.raises(ServiceFailed, match=r"a:b may not delete jobs in agents \(403\): its Role lacks `delete`"):
        one.stop(NAME)


# --- where we are ---
def test_the_address_of_the_api_server() -> None:
    assert (
        address({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}) == "https://10.0.0.1:6443"
    )
    assert address({"KUBERNETES_SERVICE_HOST": "fd00::1"}) == "https://[fd00::1]:443"
    with pytest.raises(Misconfigured, match="only if we run in a pod"):
        address({})


def test_our_own_namespace(tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("beads\n")
    assert Account(tmp_path).namespace() == "beads"
    with pytest.raises(Misconfigured, match="no service account token is mounted"):
        Account(tmp_path / "nowhere").namespace()
