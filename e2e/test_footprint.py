"""What a pod may do, and what it costs: restricted Pod Security, a read-only root, CPU and memory of a tick."""

import json
import re
from typing import Any

from test_everyday import both_notes
from world import World, needed

VARIABLES = {"beads_dispatcher_enabled": "false"}

# What the pod's control group has counted, in version 1 or 2.
COUNT = """
cd /sys/fs/cgroup
echo memory=$(cat memory.peak memory/memory.max_usage_in_bytes 2>/dev/null)
echo cpu=$(awk '/^usage_usec/ {print $2 * 1000}' cpu.stat 2>/dev/null)$(cat cpuacct/cpuacct.usage 2>/dev/null)
"""
TICK = f"""
beads-dispatcher; status=$?
{COUNT}
if touch /written 2>/dev/null; then echo root=writable; else echo root=read-only; fi
exit $status
"""


def job_like(world: World, name: str, script: str) -> dict[str, Any]:
    """A Job made by hand, whose container runs a script."""
    words = ("create", "job", "--from=cronjob/beads-dispatcher", "--dry-run=client", "-o", "json", name)
    job: dict[str, Any] = json.loads(world.kubectl(*words).stdout)
    job["spec"]["template"]["spec"]["containers"][0]["command"] = ["sh", "-c", script]
    return job


def counted(world: World, name: str) -> dict[str, str]:
    world.apply(job_like(world, name, TICK))
    how, said = world.ended(name)
    assert how == "Complete", said
    found = dict(re.findall(r"^(memory|cpu|root)=(\S+)$", said, re.MULTILINE))
    mib, ms = int(found["memory"]) / 2**20, int(found["cpu"]) / 1e6
    world.say(f"{name}: {ms:.0f} ms of CPU, {mib:.1f} MiB at its peak (with the shell around it, and /tmp)")
    return found


def test_a_tick_needs_little_and_its_root_is_read_only(world: World) -> None:
    for name in ("idle-tick", "idle-tick-2", "idle-tick-3"):
        found = counted(world, name)
        assert found["root"] == "read-only"
        assert int(found["memory"]) < 64 * 2**20, "half of the request"
    bead_id = world.bead("counted")
    found = counted(world, "dispatching-tick")
    assert both_notes(world, bead_id)
    assert int(found["memory"]) < 256 * 2**20 * 0.75, "a quarter of the limit is left"


def test_restricted_pod_security_has_no_objection(world: World) -> None:
    """The namespace enforces it and warns; a Job is judged by the pods it would make."""
    job = job_like(world, "judged", "true")
    assert world.kubectl("create", "--dry-run=server", "-f", "-", text=json.dumps(job)).stderr == ""
    for name in ("beads-dispatcher", "beads-reaper"):
        spec = world.cron_jobs()[name]["jobTemplate"]["spec"]
        job["spec"] = spec
        assert world.kubectl("create", "--dry-run=server", "-f", "-", text=json.dumps(job)).stderr == ""
    job["spec"]["template"]["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    warned = world.kubectl("create", "--dry-run=server", "-f", "-", text=json.dumps(job)).stderr
    assert "Warning: would violate PodSecurity" in warned, "this test can fail"


def test_a_new_threshold_and_a_new_image(world: World) -> None:
    world.page("terraform apply -var=reaper_threshold_minutes=45")
    container = world.cron_jobs()["beads-reaper"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "BEADS_REAPER_THRESHOLD_MINUTES", "value": "45"} in container["env"]
    world.page("terraform apply -var=image=<image>", image=needed("E2E_IMAGE"))
    assert world.run_job("new-image", "beads-reaper")[0] == "Complete"
    said = world.page("kubectl -n beads-server logs job/<job>", job="new-image")
    assert "beads-reaper: nothing to do" in said
