"""The manifests are what the Terraform module makes, and Kubernetes and the Prometheus Operator accept them."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import render
import yaml

KUBERNETES = "1.34"
WORKLOADS = ("CronJob", "Deployment")
FILLED_IN = ("kubernetes_cron_job_v1", "kubernetes_deployment_v1", "kubernetes_service_v1")  # types with defaults


@pytest.fixture(params=render.MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_no_drift(mode: str) -> None:
    for name, content in render.files(mode).items():
        assert (render.HERE / name).read_text() == content, "stale: run `make manifests`"


def test_every_object_fits_the_schema_strictly(mode: str) -> None:
    for document in documents(mode):
        check(document)


def test_the_schema_check_finds_an_unknown_field() -> None:
    cron_job = documents("cronjobs")[1]
    cron_job["spec"]["suspended"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="suspended"):
        check(cron_job)


def test_what_is_made_only_when_asked_for_fits_too() -> None:
    objects = render.manifests(
        mode="watch",
        create_namespace="true",
        network_policy_enabled="true",
        network_policy_peers='{ dolt = { cidr = "10.0.0.5/32", port = 3306 } }',
        metrics_namespace="monitoring",
        agent_service_token_secret='{ name = "beadboard-agent-service", key = "api_bearer_token" }',
        dolt_password_secret='{ name = "dolt", key = "password" }',
        notify_urls_secret='{ name = "beads-notify", key = "urls" }',
        image_pull_secret="registry-credentials",
        tolerations='[{ key = "spot", operator = "Exists", toleration_seconds = 60 }]',
    )
    assert [one["kind"] for one in objects] == ["Namespace", "ConfigMap", "Deployment", "Service", "NetworkPolicy"]
    for one in objects:
        check(one)
    (_, dispatcher, _) = render.manifests(time_zone="Europe/Berlin")
    assert dispatcher["spec"]["timeZone"] == "Europe/Berlin"
    check(dispatcher)


def test_the_urls_for_messages_are_one_reference_in_every_pod_and_nothing_else(mode: str) -> None:
    secret = {"name": "any-secret", "key": "urls"}
    without, changed = with_and_without(mode, notify_urls_secret=secret)
    for one in without:
        pod(one)["containers"][0]["env"].append({"name": "BEADS_NOTIFY_URLS", "valueFrom": {"secretKeyRef": secret}})
    assert list(differences(without, changed)) == []


def test_the_token_is_mounted_in_every_pod_and_nothing_else(mode: str) -> None:
    without, changed = with_and_without(mode, agent_service_token_secret=SERVICE_TOKEN)
    for one in without:
        add_token(pod(one))
    assert list(differences(without, changed)) == []


def test_the_snippets_for_the_manifests_are_what_the_module_makes() -> None:
    urls, token = re.findall(r"```yaml\n(.*?)```", (render.HERE / "README.md").read_text(), re.DOTALL)
    without, changed = with_and_without(
        "cronjobs", agent_service_token_secret=SERVICE_TOKEN, notify_urls_secret={"name": "beads-notify", "key": "urls"}
    )
    for one in without:
        add_token(pod(one), yaml.safe_load(token))
        pod(one)["containers"][0]["env"] += yaml.safe_load(urls)
    assert list(differences(without, changed)) == []


SERVICE_TOKEN = {"name": "beadboard-agent-service", "key": "api_bearer_token"}
MOUNTED = {
    "env": {"name": "API_BEARER_TOKEN_FILE", "value": "/etc/agent-service/token"},
    "volumeMount": {"name": "token", "mountPath": "/etc/agent-service", "readOnly": True},
    "volume": {
        "name": "token",
        "secret": {
            "secretName": SERVICE_TOKEN["name"],
            "items": [{"key": SERVICE_TOKEN["key"], "path": "token"}],
        },
    },
}  # fmt: skip


def add_token(spec: dict[str, Any], parts: dict[str, Any] = MOUNTED) -> None:
    (only,) = spec["containers"]
    plain = [one for one in only["env"] if "value" in one]
    only["env"] = sorted([*plain, parts["env"]], key=lambda one: one["name"]) + only["env"][len(plain) :]
    only["volumeMounts"].append(parts["volumeMount"])
    spec["volumes"].append(parts["volume"])


def with_and_without(mode: str, **secrets: dict[str, str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Our workloads as they are, and with these Secrets."""
    inputs = {name: json.dumps(secret) for name, secret in secrets.items()}
    made = [render.manifests(**render.MODES[mode], **more) for more in ({}, inputs)]
    without, changed = ([one for one in documents if ours(one)] for documents in made)
    return without, changed


def test_failed_jobs_stay_until_newer_ones_push_them_out() -> None:
    for one in documents("cronjobs"):
        if one["kind"] == "CronJob":
            assert one["spec"]["failedJobsHistoryLimit"] == 3
            assert "ttlSecondsAfterFinished" not in one["spec"]["jobTemplate"]["spec"]


def test_the_kill_switch_changes_nothing_else(mode: str) -> None:
    on = render.manifests(**render.MODES[mode])
    off = render.manifests(**render.MODES[mode], beads_dispatcher_enabled="false")
    assert (
        list(differences(on, off))
        == {
            "cronjobs": [".1.spec.suspend: False, True", ".2.spec.suspend: False, True"],
            "watch": [".1.spec.replicas: 1, 0"],
            "jobs": [".7.spec.replicas: 1, 0"],
        }[mode]
    )


def test_the_jobs_differ_in_a_few_values_only() -> None:
    dispatcher, reaper = (one for one in documents("cronjobs") if one["kind"] == "CronJob")
    keys = {line.split(": ")[0] for line in differences(dispatcher["spec"], reaper["spec"])}
    pod = ".jobTemplate.spec.template.spec.containers.0."
    label = "metadata.labels.app.kubernetes.io/instance"
    expected = {".schedule", f".jobTemplate.{label}", f".jobTemplate.spec.template.{label}"}
    assert keys == {*expected, pod + "name", pod + "command.0", pod + "env"}


def test_the_watcher_of_jobs_is_the_other_watcher_with_an_account() -> None:
    watch, jobs = (next(one for one in documents(mode) if one["kind"] == "Deployment") for mode in ("watch", "jobs"))
    for one in (watch, jobs):
        del one["spec"]["template"]["spec"]["containers"][0]["env"]
    pod = ".spec.template.spec."
    assert list(differences(watch, jobs)) == [
        f"{pod}automountServiceAccountToken: False, True", f"{pod}serviceAccountName: None, 'beads-dispatcher'"
    ]  # fmt: skip


def test_everything_of_the_agent_fits_too() -> None:
    agent = """{
      image = "a", command = ["a"], args = ["b"], env = { A = "b" }, secret_env = { C = { name = "d", key = "e" } }
      image_pull_secrets = ["s"], run_as_user = 1000, service_account = "agent", node_selector = { a = "b" }
      tolerations = [{ key = "a", operator = "Exists" }], pod_labels = { a = "b" }, pod_annotations = { a = "b" }
      volumes = {
        a = { mount_path = "/a", claim = "c", read_only = true }
        b = { mount_path = "/b", config_map = "c" }
        c = { mount_path = "/c", secret = "c" }
        d = { mount_path = "/d", size = "1Gi" }
      }
    }"""
    objects = render.manifests(runner="jobs", agent=agent)
    for one in objects:
        check(one)
    made = next(one for one in objects if one["metadata"]["name"] == "beads-agent")
    pod = made["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert [sorted(volume) for volume in pod["volumes"]] == [
        ["configMap", "name"], ["name", "persistentVolumeClaim"], ["configMap", "name"], ["name", "secret"],
        ["emptyDir", "name"],
    ]  # fmt: skip


def test_the_watchers_pod_is_the_jobs_pod_with_a_port() -> None:
    job = documents("cronjobs")[1]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    watcher = documents("watch")[1]["spec"]["template"]["spec"]
    for own in ("name", "command", "env", "ports", "livenessProbe", "readinessProbe"):
        job["containers"][0].pop(own, None)
        del watcher["containers"][0][own]
    assert list(differences(job, watcher)) == [".restartPolicy: 'Never', 'Always'"]


def test_defaults_that_the_provider_fills_in_do_not_show(mode: str) -> None:
    schemas, resources, _ = render.plan({**render.PLACEHOLDERS, **render.MODES[mode]})
    for one in resources:
        block = schemas[one["type"]]["block"]
        filled = copy.deepcopy(one)
        fill(filled["values"], block)
        assert filled != one or one["type"] not in FILLED_IN
        assert render.manifest(filled, block) == render.manifest(one, block)


def fill(values: dict[str, Any], block: dict[str, Any]) -> None:
    """Sets what is unset and has a default, as the provider does."""
    for name in block.get("attributes", {}):
        if values.get(name) is None and name in render.DEFAULTS:
            values[name] = render.DEFAULTS[name]
    for name, nested in block.get("block_types", {}).items():
        for one in render.listed(values.get(name)):
            fill(one, nested["block"])


def check(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def ours(document: dict[str, Any]) -> bool:
    """Whether it makes pods of ours. The agent's is somebody else's program."""
    return document["kind"] in WORKLOADS and document["metadata"]["name"] != "beads-agent"


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    """The spec of a CronJob's or Deployment's pods."""
    spec = workload["spec"]
    template = (spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec)["template"]
    found: dict[str, Any] = template["spec"]
    return found


def container(workload: dict[str, Any]) -> dict[str, Any]:
    """The one container of a CronJob's or Deployment's pods."""
    (only,) = pod(workload)["containers"]
    return dict(only)


def documents(mode: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((render.HERE / "kustomize" / mode / "beads-dispatch.yaml").read_text()))


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """A line for each value that is not the same, with its path."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            yield from differences(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{path}.{index}")
    elif one != other:
        yield f"{path}: {one!r}, {other!r}"
