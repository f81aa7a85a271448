"""The alerts and the dashboard name metrics that the watcher has, in PromQL that Prometheus accepts."""

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
ALERTS = yaml.safe_load((render.HERE / "alerts.yaml").read_text())

# A metric's labels, each with the values that it can have.
Labels = dict[str, set[str]]
ANY = {"*"}


def served() -> dict[str, Labels]:
    """What `watch --listen` serves before it has seen a bead."""
    text = Metrics(Health(time.monotonic), SYSTEM.now).text().decode()
    kinds = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    metrics: dict[str, Labels] = {name + ("_bucket" if kind == "histogram" else ""): {} for name, kind in kinds}
    for name, labels in re.findall(r"^(\w+)\{(.*)\} ", text, re.MULTILINE):
        for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
            metrics[name].setdefault(label, set()).add(value)
    metrics["beads_dispatch_beads"] = {"state": ANY, "reason": ANY}
    return metrics


METRICS = served()
# What Prometheus adds to each, and kube-state-metrics' one metric.
TARGET: Labels = {"namespace": ANY, "job": ANY}
FOREIGN: dict[str, Labels] = {"kube_deployment_spec_replicas": {"deployment": ANY}}


def expressions() -> list[str]:
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    alerts = [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]
    return panels + alerts


@pytest.mark.parametrize("expression", expressions())
def test_its_metrics_and_labels_exist(expression: str) -> None:
    used = re.findall(r"\b((?:beads|kube)_\w+)(?:\{([^}]*)\})?", expression)
    assert used
    for name, matchers in used:
        known = {**METRICS, **FOREIGN}[name] | TARGET
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
            assert known[label] == ANY or set(values.split("|")) <= known[label]


def test_no_metric_of_the_watcher_is_left_out() -> None:
    assert {name for name in METRICS if any(name in expression for expression in expressions())} == set(METRICS)


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
