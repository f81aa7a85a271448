"""The kustomize bases and the example build, and what they make fits its schema."""

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import render
import yaml
from test_manifests import check, container

KUSTOMIZE = render.HERE / "kustomize"
TOOLS = render.HERE.parent / "tools"
KINDS = ("PodMonitor", "PrometheusRule", "ServiceMonitor")


def build(folder: str) -> list[dict[str, Any]]:
    done = subprocess.run(("kubectl", "kustomize", KUSTOMIZE / folder), capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def schemas() -> dict[str, Any]:
    """The Prometheus Operator's own, by kind, from its pinned source."""
    folder = subprocess.run((TOOLS / "prometheus-crds",), capture_output=True, text=True, check=True).stdout.strip()
    files = {kind: Path(folder, f"monitoring.coreos.com_{kind.lower()}s.yaml") for kind in KINDS}
    found = {kind: yaml.safe_load(file.read_text())["spec"]["versions"][0] for kind, file in files.items()}
    return {kind: version["schema"]["openAPIV3Schema"] for kind, version in found.items()}


def fits(document: dict[str, Any], schema: dict[str, Any]) -> None:
    """Raises jsonschema.ValidationError, also where a field is unknown: the API server would drop it silently."""
    jsonschema.Draft4Validator(strict(schema)).validate(document)


def strict(schema: Any) -> Any:
    """The same schema, which refuses unknown fields."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if isinstance(closed.get("properties"), dict) and closed.get("type") == "object" and closed["properties"]:
        closed.setdefault("additionalProperties", False)
    return closed


@pytest.fixture(scope="module")
def operator() -> dict[str, Any]:
    return schemas()


@pytest.mark.parametrize("mode", render.MODES)
def test_a_base_is_the_manifests(mode: str) -> None:
    written = yaml.safe_load_all((KUSTOMIZE / mode / "beads-dispatch.yaml").read_text())
    assert in_order(build(mode)) == in_order(written)


def test_the_example_changes_what_it_says_and_fits(operator: dict[str, Any]) -> None:
    made = by_name(build("example"))
    kinds = {"ConfigMap", "Deployment", "Service", "ServiceMonitor", "PrometheusRule"}
    assert {kind for kind, _ in made} == kinds
    for (kind, _), one in made.items():
        fits(one, operator[kind]) if kind in operator else check(one)
    assert container(made["Deployment", "beads-watcher"])["env"][-1]["name"] == "API_BEARER_TOKEN_FILE"
    metadata = json.loads((KUSTOMIZE / "example" / "metadata.json").read_text())
    assert json.loads(made["ConfigMap", "beads-metadata"]["data"]["metadata.json"]) == metadata
    for kind in ("ServiceMonitor", "PrometheusRule"):
        labels = made[kind, "beads-watcher"]["metadata"]["labels"]
        assert labels == {"app.kubernetes.io/name": "beads-dispatch", "release": "kube-prometheus-stack"}


def test_the_operators_objects_fit_its_schemas_strictly(operator: dict[str, Any]) -> None:
    files = list(KUSTOMIZE.glob("*/monitoring/*.yaml"))
    documents = [yaml.safe_load(file.read_text()) for file in files if file.name != "kustomization.yaml"]
    watchers = [mode for mode, inputs in render.MODES.items() if "mode" in inputs]
    expected = [*KINDS * len(watchers), "PrometheusRule"]  # and the CronJobs' rules
    assert sorted(one["kind"] for one in documents) == sorted(expected)
    for one in documents:
        fits(one, operator[one["kind"]])


def test_the_schema_check_finds_an_unknown_field(operator: dict[str, Any]) -> None:
    monitor = yaml.safe_load((KUSTOMIZE / "watch" / "monitoring" / "service-monitor.yaml").read_text())
    monitor["spec"]["endpoints"][0]["prot"] = "metrics"
    with pytest.raises(jsonschema.ValidationError, match="prot"):
        fits(monitor, operator["ServiceMonitor"])


def test_the_monitors_select_the_service_and_the_pods_and_their_port(operator: dict[str, Any]) -> None:
    watch = by_name(build("watch"))
    service, deployment = watch["Service", "beads-watcher"], watch["Deployment", "beads-watcher"]
    monitors = render.monitoring(mode="watch")
    selected = monitors["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
    assert selected.items() <= service["metadata"]["labels"].items()
    assert monitors["ServiceMonitor"]["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    pods = monitors["PodMonitor"]["spec"]["selector"]["matchLabels"]
    assert pods.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert monitors["PodMonitor"]["spec"]["podMetricsEndpoints"][0]["port"] == container(deployment)["ports"][0]["name"]


def by_name(objects: Any) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["kind"], one["metadata"]["name"]): one for one in objects}


def in_order(objects: Any) -> list[dict[str, Any]]:
    return sorted(objects, key=lambda one: json.dumps(one, sort_keys=True))
