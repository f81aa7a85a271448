"""Writes the manifests and the alerts anew: the objects of the Terraform module's plan, as plain files.

render.py: writes the files. Needs `terraform`; no cluster is asked.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import yaml

HERE = Path(__file__).parent
MODULE = HERE.parent / "terraform"

# What a user must change in the file.
PLACEHOLDERS = {
    "image": "registry.example.org/beads-dispatch:0.1.0",
    "project_id": "00000000-0000-0000-0000-000000000000",
}
AGENT = '{ image = "registry.example.org/agent:1" }'
# By the folder in kustomize/: the inputs.
MODES: dict[str, dict[str, str]] = {
    "cronjobs": {},
    "watch": {"mode": "watch"},
    "jobs": {"mode": "watch", "runner": "jobs", "agent": AGENT, "create_agent_namespace": "true"},
}
ALERTS = ("cronjobs", "watch")  # how it runs, wherever the agents do
RENDERED = """\
# Written by `make manifests` from the Terraform module; do not edit here what an input of the module can change.
"""
HEADER = f"""\
{RENDERED}\
# Change before use: every `image`, and `project_id` in the ConfigMap (a client's .beads/metadata.json has it).
"""
ALERTS_HEADER = """\
# Written by `make manifests` from terraform/alerts: load it with rule_files. All names are the module's defaults.
"""
# A file of rules is not for one namespace, as the module's PrometheusRule is.
ALL_NAMESPACES = {
    "watched": "",
    "within": "",
    "cronjobs": 'cronjob=~"beads-dispatcher|beads-reaper"',
    "agents": 'namespace="beads-agents"',
    "dispatcher": "beads-dispatcher",
    "reaper": "beads-reaper",
    "watcher": "beads-watcher",
    "runbook": "docs/runbook.md",
}

# Resource type -> apiVersion, kind; in the order of the file.
KINDS = {
    "kubernetes_namespace_v1": ("v1", "Namespace"),
    "kubernetes_service_account_v1": ("v1", "ServiceAccount"),
    "kubernetes_role_v1": ("rbac.authorization.k8s.io/v1", "Role"),
    "kubernetes_role_binding_v1": ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    "kubernetes_config_map_v1": ("v1", "ConfigMap"),
    "kubernetes_cron_job_v1": ("batch/v1", "CronJob"),
    "kubernetes_deployment_v1": ("apps/v1", "Deployment"),
    "kubernetes_service_v1": ("v1", "Service"),
    "kubernetes_network_policy_v1": ("networking.k8s.io/v1", "NetworkPolicy"),
}
# Blocks of which the provider writes one each where the API has a list, by another name than camelCase.
PLURALS = {"container", "port", "rule", "subject", "toleration", "volume", "volume_mount"}
# Texts in the provider, numbers in the API.
NUMBERS = {"fs_group", "replicas", "run_as_group", "run_as_user", "toleration_seconds", "ttl_seconds_after_finished"}
# What an object has beside apiVersion and kind. The rest (wait_for_rollout, timeouts) is the provider's own.
PARTS = ("metadata", "automountServiceAccountToken", "rules", "roleRef", "subjects", "data", "spec")
# What the provider's plan says unasked, and the API as well: without these the files do not depend on its version.
DEFAULTS: dict[str, Any] = {
    "allocate_load_balancer_node_ports": True,
    "completions": 1,
    "default_mode": "0644",
    "dns_policy": "ClusterFirst",
    "host_ipc": False,
    "host_network": False,
    "host_pid": False,
    "min_ready_seconds": 0,
    "mount_propagation": "None",
    "parallelism": 1,
    "paused": False,
    "privileged": False,
    "progress_deadline_seconds": 600,
    "read_only": False,
    "revision_history_limit": 10,
    "scheme": "HTTP",
    "session_affinity": "None",
    "share_process_namespace": False,
    "stdin": False,
    "stdin_once": False,
    "success_threshold": 1,
    "termination_message_path": "/dev/termination-log",
    "tty": False,
}

# What somebody's own init and apply may have left in the module's folder.
LEFT_BEHIND = shutil.ignore_patterns(".terraform*", "*.tfstate*")

Object = dict[str, Any]


def manifests(**variables: str) -> list[Object]:
    """The module's objects for these inputs, on top of the placeholders."""
    schemas, resources, _ = plan({**PLACEHOLDERS, **variables})
    order = list(KINDS)
    resources.sort(key=lambda one: (order.index(one["type"]), one["name"] != "this", str(one.get("index", ""))))
    return [manifest(one, schemas[one["type"]]["block"]) for one in resources]


def monitoring(**variables: str) -> dict[str, Object]:
    """The module's objects for the Prometheus Operator, by kind."""
    _, _, outputs = plan({**PLACEHOLDERS, **variables})
    found: dict[str, Object] = outputs["monitoring"]["value"]
    return found


def files(mode: str) -> dict[str, str]:
    """What is written for a mode: path below deploy/ -> content."""
    folder = f"kustomize/{mode}"
    objects = {f"{folder}/beads-dispatch.yaml": HEADER + text(manifests(**MODES[mode]))}
    for kind, one in monitoring(**MODES[mode]).items():
        objects[f"{folder}/monitoring/{kebab_case(kind)}.yaml"] = RENDERED + text([one])
    if mode in ALERTS:
        objects[f"alerts-{mode}.yaml"] = ALERTS_HEADER + alerts(mode)
    return objects


def alerts(mode: str) -> str:
    """The rules of a mode for every namespace, with the comments of their source."""
    return Template((MODULE / "alerts" / f"{mode}.yaml").read_text()).safe_substitute(ALL_NAMESPACES)


def plan(variables: Mapping[str, str]) -> tuple[Object, list[Object], Object]:
    """The provider's schemas, and the module's planned resources and outputs."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = shutil.copytree(
            MODULE, f"{scratch}/module", ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*")
        )
        terraform(folder, "init")
        planned = show_plan(folder, *(f"-var={name}={value}" for name, value in variables.items()))
        providers = json.loads(terraform(folder, "providers", "schema", "-json"))["provider_schemas"]
    (provider,) = providers.values()
    values = planned["planned_values"]
    return provider["resource_schemas"], values["root_module"]["resources"], values["outputs"]


def show_plan(folder: str, *words: str) -> Object:
    """A plan as Terraform's JSON."""
    terraform(folder, "plan", "-out=plan", *words)
    document: Object = json.loads(terraform(folder, "show", "-json", "plan"))
    return document


def terraform(folder: str, *words: str) -> str:
    """What it says."""
    environ = {**os.environ, "TF_INPUT": "0", "TF_CLI_ARGS": "-no-color"}
    done = subprocess.run(
        ("terraform", f"-chdir={folder}", *words), env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"terraform {words[0]} failed:\n{done.stderr}")
    return done.stdout


def manifest(resource: Object, block: Object) -> Object:
    """One planned resource as the API has it."""
    version, kind = KINDS[resource["type"]]
    body = convert(resource["values"], block)
    kept: Object = {key: body[key] for key in PARTS if key in body}
    return {"apiVersion": version, "kind": kind, **kept}


def convert(values: Object, block: Object) -> Object:
    """A block of the provider as an object of the API: camelCase, and nothing that is not set."""
    out: Object = {}
    for name, schema in block.get("attributes", {}).items():
        value = values.get(name)
        if says(name, value) and (schema.get("optional") or schema.get("required")):
            out[camel_case(name)] = number(name, value)
    for name, nested in block.get("block_types", {}).items():
        objects = [convert(one, nested["block"]) for one in listed(values.get(name))]
        if objects:
            key = camel_case(name + "s" if name in PLURALS else name)
            out[key] = objects[0] if nested.get("max_items") == 1 else objects
    return dict(sorted(out.items(), key=lambda item: (item[0] not in ("name", "image"), item[0])))


def listed(value: Any) -> list[Object]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def says(name: str, value: Any) -> bool:
    return value not in (None, "", [], {}) and not (name in DEFAULTS and value == DEFAULTS[name])


def camel_case(name: str) -> str:
    first, *rest = {"timezone": "time_zone"}.get(name, name).split("_")
    return first + "".join(word.capitalize() for word in rest)


def kebab_case(kind: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind).lower()


def number(name: str, value: Any) -> Any:
    """A port can be a name too, so only digits become a number."""
    is_number = name in NUMBERS or (name in ("port", "target_port") and str(value).isdecimal())
    return int(value) if is_number else value


def text(objects: list[Object]) -> str:
    documents = (yaml.dump(one, Dumper=Readable, sort_keys=False, width=1000) for one in objects)
    return "---\n" + "---\n".join(documents)


class Readable(yaml.SafeDumper):
    """Writes a text of several lines as such, and nothing as an alias of something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


Readable.add_representer(str, _text)


if __name__ == "__main__":
    for mode in MODES:
        for name, content in files(mode).items():
            (HERE / name).write_text(content)
            print(f"wrote deploy/{name}")
