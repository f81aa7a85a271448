"""The README's way into the module keeps the objects: nothing is destroyed, nothing made anew."""

import json
import re
import shutil
from pathlib import Path

import render

OLD = Path(__file__).parent / "old-pair" / "main.tf"
README = (render.MODULE / "README.md").read_text()
MOVED = re.findall(r"^moved \{\n.*?^\}\n", README, re.MULTILINE | re.DOTALL)
# What the README says of a ConfigMap that is of the new type already.
CONFIG_MAP = """
moved {
  from = kubernetes_config_map_v1.beads_metadata
  to   = module.beads_dispatch.kubernetes_config_map_v1.beads_metadata
}
"""


def test_both_cron_jobs_and_the_config_map_are_kept(tmp_path: Path) -> None:
    changes = plan_the_move(tmp_path, *MOVED, CONFIG_MAP)
    old = {"kubernetes_cron_job_v1.beads_dispatcher", "kubernetes_cron_job_v1.beads_reaper"}
    assert {before for before, _ in changes} == {*old, "kubernetes_config_map_v1.beads_metadata"}
    assert {tuple(actions) for _, actions in changes} == {("update",)}


def test_without_the_moves_they_would_be_destroyed(tmp_path: Path) -> None:
    changes = plan_the_move(tmp_path)
    assert [actions for _, actions in changes].count(["delete"]) == 3


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
                "instances": [{"schema_version": one["schema_version"], "attributes": applied(one["values"])}],
            }
            for one in planned
        ],
    }


def applied(values: render.Object) -> render.Object:
    (metadata,) = values["metadata"]
    return {**values, "id": f"{metadata['namespace']}/{metadata['name']}", "metadata": [{**metadata, "uid": "1"}]}
