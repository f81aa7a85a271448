"""The alerts and the dashboard name metrics that exist, in valid PromQL, and the alerts sections of the runbook."""

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import render
import yaml

from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.monitoring.health import Health
from beads_dispatch.monitoring.metrics import Metrics

DASHBOARD = json.loads((render.HERE / "dashboard.json").read_text())
RULES = {
    mode: yaml.safe_load((render.HERE / f"alerts-{mode}.yaml").read_text())["groups"][0]["rules"]
    for mode in render.ALERTS
}
RUNBOOK = (render.HERE.parent / "docs" / "runbook.md").read_text()

# A metric's labels, each with the values that it can have.
Labels = dict[str, set[str]]
ANY = {"*"}


def served() -> dict[str, Labels]:
    """What `watch --listen` serves before it has seen a bead."""
    text = Metrics(Health(time.monotonic), SYSTEM.now, "agent", "0.1.0").text().decode()
    kinds = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    metrics: dict[str, Labels] = {name + ("_bucket" if kind == "histogram" else ""): {} for name, kind in kinds}
    for name, labels in re.findall(r"^(\w+)\{(.*)\} ", text, re.MULTILINE):
        for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
            metrics.get(name, {}).setdefault(label, set()).add(value)  # no _sum and no _count: no query has one
    metrics["beads_dispatch_beads"] = {"state": ANY, "reason": ANY}
    return metrics


METRICS = served()
# What Prometheus and the watcher add to each, and kube-state-metrics' own (docs/metrics/workload of its repository).
TARGET: Labels = {"namespace": ANY, "job": ANY, "assignee": ANY}
CRON_JOB: Labels = {"cronjob": ANY}
FOREIGN: dict[str, Labels] = {
    "kube_deployment_spec_replicas": {"deployment": ANY},
    "kube_cronjob_created": CRON_JOB,
    "kube_cronjob_next_schedule_time": CRON_JOB,
    "kube_cronjob_spec_suspend": CRON_JOB,
    "kube_cronjob_status_last_schedule_time": CRON_JOB,
    "kube_cronjob_status_last_successful_time": CRON_JOB,  # since 2.5
    "kube_job_complete": {"job_name": ANY, "condition": {"true", "false", "unknown"}},
    "kube_job_created": {"job_name": ANY},
    "kube_job_failed": {"job_name": ANY, "condition": {"true", "false", "unknown"}},
    "kube_job_owner": {"job_name": ANY, "owner_kind": {"CronJob"}, "owner_name": ANY},
    "kube_job_status_active": {"job_name": ANY},
    "kube_job_status_completion_time": {"job_name": ANY},
    "kube_job_status_start_time": {"job_name": ANY},
    "kube_pod_container_status_waiting_reason": {"pod": ANY, "container": ANY, "reason": ANY},
    "kube_pod_status_phase": {"pod": ANY, "phase": {"Pending", "Running", "Succeeded", "Failed", "Unknown"}},
}


def expressions() -> list[str]:
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    return panels + [rule["expr"] for rules in RULES.values() for rule in rules]


@pytest.mark.parametrize("expression", expressions())
def test_its_metrics_and_labels_exist(expression: str) -> None:
    used = re.findall(r"\b((?:beads|kube|process)_\w+)(?:\{([^}]*)\})?", expression)
    assert used
    for name, matchers in used:
        known = {**METRICS, **FOREIGN}[name] | TARGET
        for label, values in re.findall(r'(\w+)[=!]~?"([^"]*)"', matchers):
            assert known[label] == ANY or set(values.split("|")) <= known[label]


def test_no_metric_of_the_watcher_is_left_out() -> None:
    """But for the timestamps, which stand beside the ages, and most of what Prometheus' library has of a process."""
    queries = " ".join(expressions())
    unused = {name for name in METRICS if name not in queries}
    assert unused == {name for name in unused if name.startswith("process_") or name.endswith("_timestamp_seconds")}
    assert "process_cpu_seconds_total" not in unused


@pytest.mark.parametrize("rule", [rule for rules in RULES.values() for rule in rules], ids=lambda rule: rule["alert"])
def test_every_alert_has_a_severity_and_a_section_of_the_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert (page, anchor) == ("docs/runbook.md", rule["alert"].lower())
    assert f"\n### {rule['alert']}\n" in RUNBOOK


def test_the_modules_rules_are_for_its_namespace_and_names_only() -> None:
    inputs = {"namespace": "beads-two", "assignee": 'night "agent"', "dispatcher_name": "d", "reaper_name": "r"}
    spec = render.monitoring(**inputs, runbook_url="https://wiki.example.org/beads")["PrometheusRule"]["spec"]
    text = json.dumps(spec)
    agents = text.count('namespace=\\"beads-agents\\"')
    assert text.count('namespace=\\"beads-two\\"') + agents == len(re.findall(r"kube_\w+\{", text))
    assert "beads-dispatcher" not in text
    watched = render.monitoring(**inputs, mode="watch", watcher_name="w")["PrometheusRule"]["spec"]
    for rule in watched["groups"][0]["rules"]:
        for _, matchers in re.findall(r"\b(beads_\w+)\{([^}]*)\}", rule["expr"]):
            assert matchers.endswith(r'namespace="beads-two",assignee="night \"agent\""'), rule["expr"]
    rules = [rule for one in (spec, watched) for group in one["groups"] for rule in group["rules"]]
    assert rules[0]["annotations"]["runbook_url"] == "https://wiki.example.org/beads#beadsnosuccess"


def test_every_query_of_the_dashboard_is_for_the_chosen_namespaces_and_assignees() -> None:
    chosen = 'namespace=~"$namespace",assignee=~"$assignee"'
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            ours = len(re.findall(r"\b(?:beads|process)_\w+", target["expr"]))
            agents = len(re.findall(r"\bkube_\w+", target["expr"]))
            assert (ours, agents) == (target["expr"].count(chosen), target["expr"].count('namespace=~"$agents"'))
            assert ours + agents
    variables = {one["name"]: one.get("definition", "") for one in DASHBOARD["templating"]["list"]}
    assert variables.keys() == {"datasource", "namespace", "assignee", "agents"}
    named = set(re.findall(r"\bbeads_\w+", " ".join(variables.values())))
    assert named
    assert named <= METRICS.keys()


def test_prometheus_accepts_every_expression(tmp_path: Path) -> None:
    assert promtool(tmp_path, expressions()) == 0


def test_promtool_refuses_a_broken_expression(tmp_path: Path) -> None:
    assert promtool(tmp_path, ["sum(beads_dispatch_beads"]) == 1


def test_every_panel_is_described_and_none_covers_another() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] and panel["description"] for panel in panels)
    cells = [cell for panel in panels for cell in covered(panel["gridPos"])]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def covered(place: dict[str, Any]) -> list[tuple[int, int]]:
    columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
    return [(x, y) for x in columns for y in rows]


def promtool(folder: Path, expressions: list[str]) -> int:
    """Its exit status for a rule file with these expressions."""
    rules = [{"record": f"expression:{number}", "expr": text} for number, text in enumerate(expressions)]
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    return subprocess.run(("promtool", "check", "rules", file), capture_output=True, check=False).returncode
