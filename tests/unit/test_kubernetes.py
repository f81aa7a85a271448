"""Kubernetes Jobs: what is created for a claim, what an answer means, and how a run is by its Job and pod."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beads_dispatch.core import kubernetes_jobs as jobs
from beads_dispatch.core import kubernetes_runs as runs
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.beadboard_answers import Reply
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.environment import of_bead
from beads_dispatch.core.kubernetes_runs import Creation
from beads_dispatch.core.runner import Job, Stage

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TIMES = {"started_at": NOW - 5 * MINUTE, "finished_at": NOW - MINUTE}


def bead(bead_id: str = "demo-wcw", **fields: object) -> Bead:
    return Bead(bead_id, "open", 2, NOW, **{"assignee": "agent", **fields})  # type: ignore[arg-type]


# --- names and labels ---
@pytest.mark.parametrize(
    ("bead_id", "name"),
    [
        ("demo-wcw", "demo-wcw-4f1d2a"),
        ("demo-wcw.1", "demo-wcw-1-13039dc2-4f1d2a"),
        ("Demo-WCW", "demo-wcw-ef794764-4f1d2a"),
        ("日本", "cf2abf0c-4f1d2a"),
        ("x" * 56, "x" * 56 + "-4f1d2a"),
        ("x" * 57, "x" * 47 + "-ae14a256-4f1d2a"),
        ("-", "3973e022-4f1d2a"),
    ],
)
def test_the_name_of_a_job(bead_id: str, name: str) -> None:
    made = jobs.name(bead_id, "4f1d2a")
    assert len(made) <= 63
    assert made == name


def test_two_beads_do_not_share_a_name() -> None:
    ids = ["a-1", "a.1", "a_1", "A-1", "a--1", "a-1-", "a" * 70, "a" * 71, "ä", "ö", "\udcff"]
    assert len({jobs.name(one, "4f1d2a") for one in ids}) == len(ids)


# --- the manifest ---
ASKS_FOR_MORE = {
    "metadata": {"name": "beads-agent"},
    "spec": {
        "jobTemplate": {
            "metadata": {"labels": {"team": "a", "controller-uid": "1"}, "annotations": {"note": "kept"}},
            "spec": {
                "backoffLimit": 6, "completions": 3, "parallelism": 3, "completionMode": "Indexed", "suspend": True,
                "podReplacementPolicy": "TerminatingOrFailed", "podFailurePolicy": {"rules": []}, "managedBy": "x/y",
                "selector": {"matchLabels": {"a": "b"}}, "manualSelector": True, "backoffLimitPerIndex": 1,
                "maxFailedIndexes": 1, "successPolicy": {"rules": []}, "ttlSecondsAfterFinished": 60,
                "activeDeadlineSeconds": 3600,
                "template": {
                    "metadata": {"labels": {"team": "a", "job-name": "old"}},
                    "spec": {
                        "restartPolicy": "OnFailure", "serviceAccountName": "agent",
                        "containers": [
                            {"name": "agent", "image": "i", "env": [
                                {"name": "BEAD_ID", "value": "wrong"},
                                {"name": "KEY", "valueFrom": {"secretKeyRef": {}}},
                                {"name": "PROMPT", "value": "work on $(BEAD_ID)"},
                            ]},
                            {"name": "other", "image": "j"},
                        ],
                    },
                },
            },
        }
    },
}  # fmt: skip


def made(one: Bead | None = None, cron_job: Mapping[str, Any] = ASKS_FOR_MORE) -> dict[str, Any]:
    return jobs.manifest(Claim(one or bead(), "4f1d2a", NOW), cron_job, "agents")


def test_a_job_starts_one_pod_once_whatever_its_template_says() -> None:
    spec = made()["spec"]
    template = spec.pop("template")
    assert spec == {
        "backoffLimit": 0, "completions": 1, "parallelism": 1, "completionMode": "NonIndexed", "suspend": False,
        "podReplacementPolicy": "Failed", "ttlSecondsAfterFinished": 604_800, "activeDeadlineSeconds": 3600,
    }  # fmt: skip
    assert template["spec"]["restartPolicy"] == "Never"
    assert template["spec"]["serviceAccountName"] == "agent"


def test_a_longer_time_to_live_is_kept() -> None:
    template = ASKS_FOR_MORE["spec"]["jobTemplate"]  # type: ignore[index]
    longer = {**template, "spec": {**template["spec"], "ttlSecondsAfterFinished": 10**7}}
    assert made(cron_job={**ASKS_FOR_MORE, "spec": {"jobTemplate": longer}})["spec"]["ttlSecondsAfterFinished"] == 10**7


def test_job_and_pod_are_labelled_and_have_no_owner() -> None:
    job = made(bead("demo-wcw.1"))
    ours = {
        "beads-dispatch/agent": "beads-agent", "beads-dispatch/bead": "demo-wcw-1-13039dc2",
        "beads-dispatch/claim": "4f1d2a", "beads-dispatch/job": job["metadata"]["name"],
    }  # fmt: skip
    assert job["metadata"]["labels"] == {"team": "a", **ours}
    assert job["spec"]["template"]["metadata"]["labels"] == {"team": "a", **ours}
    assert job["metadata"]["annotations"] == {"note": "kept", "beads-dispatch/bead": "demo-wcw.1"}
    assert job["metadata"].keys() == {"name", "namespace", "labels", "annotations"}


def test_the_first_container_finds_the_bead_and_the_template_may_refer_to_it() -> None:
    first, second = made()["spec"]["template"]["spec"]["containers"]
    assert second == {"name": "other", "image": "j"}
    names = [one["name"] for one in first["env"]]
    assert names.count("BEAD_ID") == 1
    assert names.index("BEAD_ID") < names.index("PROMPT")
    assert {"name": "KEY", "valueFrom": {"secretKeyRef": {}}} in first["env"]
    assert {"name": "BEADS_ACTOR", "value": "agent"} in first["env"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$(ANTHROPIC_API_KEY)", "$$(ANTHROPIC_API_KEY)"),
        ("$$(KEY)", "$$$$(KEY)"),
        ("costs 5$", "costs 5$$"),
        ("a\0b\udcff", "ab?"),
    ],
)
def test_a_beads_text_is_never_expanded(text: str, value: str) -> None:
    env = made(bead(description=text))["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "BEAD_DESCRIPTION", "value": value} in env


def test_a_long_text_is_cut_at_a_character_and_says_so() -> None:
    text = of_bead(bead(notes="é" * 50_001), "j")["BEAD_NOTES"]
    assert text == "é" * 50_000 + "\n[cut: the whole text is in `bd show demo-wcw`]"
    assert of_bead(bead(notes="é" * 50_000), "j")["BEAD_NOTES"] == "é" * 50_000


def test_a_template_without_metadata_and_env_will_do() -> None:
    plain = {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "i"}]}}}}
    job = made(cron_job={"metadata": {"name": "c"}, "spec": {"jobTemplate": plain}})
    assert job["spec"]["template"]["spec"]["containers"][0]["env"][0] == {"name": "BEAD_ID", "value": "demo-wcw"}


# --- answers ---
LACKS_RIGHT = (
    'jobs.batch is forbidden: User "system:serviceaccount:beads:beads-dispatch" cannot create resource "jobs" in API '
    'group "batch" in the namespace "agents"'
)


def status(code: int, message: str) -> Reply:
    return Reply(code, json.dumps({"kind": "Status", "message": message}))


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(201, "{}"), Creation.CREATED),
        (Reply(202, "{}"), Creation.CREATED),
        (Reply(409, "{}"), Creation.EXISTS),
        *((Reply(code, "{}"), Creation.REFUSED) for code in (301, 400, 401, 403, 404, 405, 413, 415, 422)),
        (Reply(429, "{}"), Creation.NOT_YET),
        (Reply(None, "refused", delivered=False), Creation.NOT_YET),
        (Reply(None, "no answer within 10 s"), Creation.UNKNOWN),
        *((Reply(code, "{}"), Creation.UNKNOWN) for code in (500, 502, 503, 504)),
    ],
)
def test_what_an_answer_to_a_create_says(reply: Reply, said: Creation) -> None:
    assert runs.creation(reply) is said


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (
            status(403, LACKS_RIGHT),
            "the service account beads:beads-dispatch may not create jobs in agents (403): its Role lacks `create` on "
            "`jobs`",
        ),
        (
            status(403, 'jobs.batch "a" is forbidden: exceeded quota: q'),
            "the API server refused to create jobs in agents (HTTP 403): "
            'jobs.batch "a" is forbidden: exceeded quota: q',
        ),
        (
            status(401, "Unauthorized"),
            "the API server does not accept our service account's token (401): Unauthorized",
        ),
        (
            status(422, 'Job.batch "a" is invalid: spec'),
            'the API server refused to create jobs in agents (HTTP 422): Job.batch "a" is invalid: spec',
        ),
        (Reply(500, ""), "the API server refused to create jobs in agents (HTTP 500): (empty body)"),
        (Reply(None, "refused"), "the API server gave no answer to create jobs in agents: refused"),
    ],
)
def test_a_failure_in_words(reply: Reply, text: str) -> None:
    assert runs.failure(reply, "create jobs in agents") == text


# --- a run ---
def at(minutes: float) -> str:
    return (NOW + minutes * MINUTE).strftime("%Y-%m-%dT%H:%M:%SZ")


def job(*conditions: Mapping[str, Any], created: float = -20, **state: object) -> dict[str, Any]:
    return {"metadata": {"creationTimestamp": at(created)}, "status": {"conditions": conditions, **state}}


def pod(
    phase: str, *containers: Mapping[str, Any], created: float = -20, deleted: bool = False, **state: Any
) -> dict[str, Any]:
    """`containers`: the statuses of the agent's and further containers."""
    meta = {"creationTimestamp": at(created), **({"deletionTimestamp": at(0)} if deleted else {})}
    first = {"initContainers": [{"name": "clone"}, {"name": "proxy", "restartPolicy": "Always"}]}
    spec = {**first, "containers": [{"name": "agent"}, {"name": "side"}]}
    return {"metadata": meta, "spec": spec, "status": {"phase": phase, "containerStatuses": [*containers], **state}}


def container(name: str = "agent", **state: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "state": state}


def running(name: str = "agent", since: float = -5) -> dict[str, Any]:
    return container(name, running={"startedAt": at(since)})


def ended(code: int = 0, reason: str = "Error", name: str = "agent", **known: object) -> dict[str, Any]:
    times = {"startedAt": at(-5), "finishedAt": at(-1)}
    return container(name, terminated={"exitCode": code, "reason": reason, **times, **known})


def waiting(reason: str, message: str = "", name: str = "agent") -> dict[str, Any]:
    return container(name, waiting={"reason": reason, **({"message": message} if message else {})})


def condition(kind: str, reason: str = "", message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": at(-1)}


def looked(job: Mapping[str, Any] | None, pod: Mapping[str, Any] | None, **more: Any) -> Job:
    return runs.run("demo-wcw-4f1d2a", job, pod, NOW, **more)


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
OVER = Job(Stage.FAILED, started_at=NOW - 5 * MINUTE, finished_at=NOW - MINUTE)


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (pod("Running", running()), Job(Stage.RUNNING, started_at=NOW - 5 * MINUTE)),
        (pod("Running", running(), deleted=True), Job(Stage.RUNNING, started_at=NOW - 5 * MINUTE)),
        (pod("Unknown", running()), Job(Stage.RUNNING, started_at=NOW - 5 * MINUTE)),
        # the sidecar keeps the pod: the run has not ended
        (pod("Running", ended(), running("side")), Job(Stage.RUNNING, started_at=NOW - 5 * MINUTE)),
        (
            pod("Pending", waiting("PodInitializing"), initContainerStatuses=[running("clone", -15)]),
            Job(Stage.RUNNING, started_at=NOW - 15 * MINUTE),
        ),
        (pod("Pending", waiting("ErrImagePull", "no such image"), created=-9.9), Stage.QUEUED),
        (
            pod("Pending", waiting("ErrImagePull", "no such image"), created=-10),
            "not running after 10m: ErrImagePull: no such image",
        ),
        # a sidecar that runs does not hide that the agent's image cannot be pulled
        (
            pod("Pending", waiting("ImagePullBackOff"), initContainerStatuses=[running("proxy")]),
            "not running after 10m: ImagePullBackOff",
        ),
        # ten minutes from the end of what runs before it
        (pod("Pending", waiting("ErrImagePull"), initContainerStatuses=[ended(name="clone")]), Stage.QUEUED),
        (pod("Pending", conditions=[UNSCHEDULABLE]), "not running after 10m: Unschedulable: 0/1 nodes"),
        (pod("Pending", waiting("ContainerCreating")), "not running after 10m: ContainerCreating"),
        (pod("Pending"), "not running after 10m: its pod is pending"),
        (pod("Pending", deleted=True), "not running after 10m: its pod is pending"),
    ],
)
def test_a_pod_that_has_not_ended(state: Mapping[str, Any], found: Job | Stage | str) -> None:
    known = looked(job(), state)
    if isinstance(found, Stage):
        assert known.stage is found
    else:
        assert known == (found if isinstance(found, Job) else Job(Stage.ERROR, found, cannot_run=True))


@pytest.mark.parametrize(
    ("state", "stage", "code", "reason"),
    [
        (pod("Succeeded", ended()), Stage.COMPLETED, 0, ""),
        (pod("Failed", ended(3)), Stage.FAILED, 3, ""),
        (pod("Failed", ended(137, "OOMKilled")), Stage.FAILED, 137, "out of memory"),
        (
            pod("Failed", ended(137), reason="Evicted", message="low on memory"),
            Stage.FAILED, 137, "Evicted: low on memory",
        ),
        (
            pod("Failed", ended(143), conditions=[condition("DisruptionTarget", "DeletionByTaintManager", "x")]),
            Stage.FAILED, 143, "DeletionByTaintManager: x",
        ),
        (pod("Failed", ended(143), deleted=True), Stage.FAILED, 143, "its pod was deleted"),
        (pod("Failed", ended(143), reason="DeadlineExceeded"), Stage.TIMEOUT, 143, ""),
    ],
)  # fmt: skip
def test_a_pod_that_has_ended(state: Mapping[str, Any], stage: Stage, code: int, reason: str) -> None:
    known = looked(job(), state)
    assert (known.stage, known.exit_code, known.reason, known.cannot_run) == (stage, code, reason, False)
    assert (known.started_at, known.finished_at) == (NOW - 5 * MINUTE, NOW - MINUTE)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            pod("Failed", ended(128, "StartError", message='exec: "no": not found', startedAt="1970-01-01T00:00:00Z")),
            'StartError: exec: "no": not found',
        ),
        (
            pod("Failed", waiting("PodInitializing"), initContainerStatuses=[ended(128, name="clone")]),
            "its container clone failed first (exit 128): Error",
        ),
        (pod("Failed", reason="OutOfcpu", message="Node did not have enough"), "OutOfcpu: Node did not have enough"),
        (pod("Failed"), "its container never ran"),
    ],
)
def test_an_agent_that_never_ran(state: Mapping[str, Any], words: str) -> None:
    known = looked(job(), state)
    assert (known.stage, known.words, known.cannot_run, known.started_at) == (Stage.ERROR, words, True, None)


@pytest.mark.parametrize(
    ("state", "stage"),
    [
        (job(condition("Failed", "DeadlineExceeded")), Stage.TIMEOUT),
        (job(condition("FailureTarget", "DeadlineExceeded")), Stage.TIMEOUT),
        (job(condition("Failed", "BackoffLimitExceeded")), Stage.FAILED),
        (None, Stage.FAILED),
    ],
)
def test_a_deadline_stands_on_the_job(state: Mapping[str, Any] | None, stage: Stage) -> None:
    assert looked(state, pod("Failed", ended(143), deleted=True)).stage is stage


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (job(condition("Complete")), Job(Stage.COMPLETED, finished_at=NOW - MINUTE, gone=True)),
        (
            job(condition("Failed", "BackoffLimitExceeded"), startTime=at(-5)),
            Job(
                Stage.FAILED, reason="its pod is gone", started_at=NOW - 5 * MINUTE, finished_at=NOW - MINUTE, gone=True
            ),
        ),
        (
            job(condition("Failed", "DeadlineExceeded"), startTime=at(-5)),
            Job(
                Stage.TIMEOUT,
                reason="its pod is gone",
                started_at=NOW - 5 * MINUTE,
                finished_at=NOW - MINUTE,
                gone=True,
            ),
        ),
        (job(active=1, startTime=at(-5)), Job(Stage.RUNNING, started_at=NOW - 5 * MINUTE)),
        (job(failed=1, startTime=at(-5)), Job(Stage.RUNNING, started_at=NOW - 5 * MINUTE)),
        (job(created=-9.9), Job(Stage.QUEUED, "it has no pod")),
        (job(created=-10), Job(Stage.ERROR, "not running after 10m: it has no pod", cannot_run=True)),
        (
            None,
            Job(Stage.UNKNOWN, "there is no Job demo-wcw-4f1d2a (deleted, or never created)", final_after=4 * MINUTE),
        ),
    ],
)
def test_a_job_without_a_pod(state: Mapping[str, Any] | None, found: Job) -> None:
    assert looked(state, None) == found


@pytest.mark.parametrize(("deadline", "timed"), [(None, False), (60, True), (59, False)])
def test_a_deadline_is_trusted_until_ten_minutes_after_it(deadline: int | None, timed: bool) -> None:
    """On a node that is lost nobody ends the pod."""
    known = {**job(), "spec": {"activeDeadlineSeconds": deadline}}
    overdue = pod("Running", running(since=-11 + 1 / 60))
    assert looked(known, overdue).timed is timed


def test_the_newest_event_says_why_a_job_has_no_pod() -> None:
    events = [{"reason": "FailedCreate", "message": text} for text in ("old", "exceeded quota: q")]
    assert looked(job(), None, events=events).words == "not running after 10m: FailedCreate: exceeded quota: q"


@pytest.mark.parametrize(
    ("message", "log", "words", "is_error"),
    [
        ("", "one\ntwo\n", "one\ntwo", False),
        ("because\n", "one\ntwo\n", "because", False),
        ("", "start\n" + '{"result": "You\'ve hit your limit", "is_error": true}\n', "You've hit your limit", True),
        ("", "", "", False),
    ],
)
def test_final_words(message: str, log: str, words: str, is_error: bool) -> None:
    known = looked(job(), pod("Failed", ended(1, **({"message": message} if message else {}))), log=log)
    assert (known.words, bool(known.trouble)) == (words, is_error)


def test_a_pod_that_has_not_ended_decides_else_the_last_one() -> None:
    first, second, alive = pod("Failed", created=-9), pod("Failed", created=-5), pod("Pending", created=-20)
    assert runs.decisive([]) is None
    assert runs.decisive([second, first]) is second
    assert runs.decisive([first, alive, second]) is alive


@pytest.mark.parametrize(
    ("state", "works"), [(job(), True), (job(condition("Complete")), False), (job(condition("Failed")), False)]
)
def test_an_unfinished_job(state: Mapping[str, Any], works: bool) -> None:
    assert runs.unfinished(state) is works
