"""What Terraform would do to objects that already exist."""

import json
import re
import shutil
from pathlib import Path

import pytest
import render

OLD = Path(__file__).parent / "old-pair" / "main.tf"
README = (render.MODULE / "README.md").read_text()
MOVED = re.findall(r"^moved \{\n.*?^\}\n", README, re.MULTILINE | re.DOTALL)
# What the README advises for a ConfigMap that already has the new type.
CONFIG_MAP = """
moved {
  from = kubernetes_config_map_v1.beads_metadata
  to   = module.beads_dispatch.kubernetes_config_map_v1.beads_metadata
}
"""


KYVERNO = {"option": [{"name": "ndots", "value": "2"}], "nameservers": None, "searches": None}


def test_the_move_in_the_readme_keeps_both_cron_jobs_and_the_config_map(tmp_path: Path) -> None:
    changes = plan_the_move(tmp_path, *MOVED, CONFIG_MAP)
    old = {"kubernetes_cron_job_v1.beads_dispatcher", "kubernetes_cron_job_v1.beads_reaper"}
    assert {before for before, _ in changes} == {*old, "kubernetes_config_map_v1.beads_metadata"}
    assert {tuple(actions) for _, actions in changes} == {("update",)}


def test_without_the_moves_they_would_be_destroyed(tmp_path: Path) -> None:
    changes = plan_the_move(tmp_path)
    assert [actions for _, actions in changes].count(["delete"]) == 3


@pytest.mark.parametrize("mode", ["cronjobs", "watch"])
def test_what_kyverno_writes_into_the_pods_is_left_alone(tmp_path: Path, mode: str) -> None:
    folder = shutil.copytree(render.MODULE, tmp_path / "module", ignore=render.LEFT_BEHIND)
    inputs = [f"-var={name}={value}" for name, value in {**render.PLACEHOLDERS, "mode": mode}.items()]
    render.terraform(str(folder), "init")
    planned = render.show_plan(str(folder), *inputs)["planned_values"]["root_module"]["resources"]
    touched = [pod for one in planned for pod in pods(one)]
    assert len(touched) == {"cronjobs": 2, "watch": 1}[mode]
    for pod in touched:
        pod["dns_config"] = [KYVERNO]
    (folder / "terraform.tfstate").write_text(json.dumps(state(planned)))
    changes = render.show_plan(str(folder), "-refresh=false", *inputs)["resource_changes"]
    assert {tuple(change["change"]["actions"]) for change in changes} == {("no-op",)}


def pods(resource: render.Object) -> list[render.Object]:
    """The spec of the pods that a workload makes."""
    specs = resource["values"].get("spec") or [{}]
    job = [template["spec"][0] for template in specs[0].get("job_template", [])] or specs
    return [template["spec"][0] for template in job[0].get("template", [])]


def plan_the_move(folder: Path, *moved: str) -> list[tuple[str | None, list[str]]]:
    """Each object's old address and what would be done to it, with the old pair in the state."""
    shutil.copy(OLD, folder)
    render.terraform(str(folder), "init")
    planned = render.show_plan(str(folder))["planned_values"]["root_module"]["resources"]
    (folder / "terraform.tfstate").write_text(json.dumps(state(planned)))
    call = {"source": str(render.MODULE), **render.PLACEHOLDERS}
    (folder / "main.tf").write_text("\n".join(moved))
    (folder / "call.tf.json").write_text(json.dumps({"module": {"beads_dispatch": call}}))
    render.terraform(str(folder), "init")
    changes = render.show_plan(str(folder), "-refresh=false")["resource_changes"]
    return [(change.get("previous_address"), change["change"]["actions"]) for change in changes]


def state(planned: list[render.Object]) -> render.Object:
    """The state that an apply would have left."""
    return {
        "version": 4,
        "serial": 1,
        "lineage": "old-pair",
        "resources": [
            {
                "mode": "managed",
                "type": one["type"],
                "name": one["name"],
                "provider": f'provider["{one["provider_name"]}"]',
                "instances": [instance(one)],
            }
            for one in planned
        ],
    }


def instance(planned: render.Object) -> render.Object:
    index = {"index_key": planned["index"]} if "index" in planned else {}
    return {**index, "schema_version": planned["schema_version"], "attributes": applied(planned["values"])}


def applied(values: render.Object) -> render.Object:
    (metadata,) = values["metadata"]
    return {**values, "id": f"{metadata['namespace']}/{metadata['name']}", "metadata": [{**metadata, "uid": "1"}]}
