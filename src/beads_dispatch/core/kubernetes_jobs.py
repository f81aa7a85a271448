"""The Kubernetes Job of a dispatch: a CronJob's template, and the bead's texts.

What could start a second pod for it is forced or dropped, whatever the template says.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from beads_dispatch.core import marks
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.environment import of_bead

Document = Mapping[str, Any]  # an object as the API server gives it

LONGEST_NAME = 63  # a Job's name becomes the value of a label on its pods
KEPT_SECONDS = 7 * 86_400  # for how long an ended Job stays, at least: a sweep must find it

# On the Job and on its pod. AGENT: which CronJob it was made from.
AGENT, BEAD, CLAIM, JOB = (f"beads-dispatch/{name}" for name in ("agent", "bead", "claim", "job"))

# What would start a second pod, keep the Job from starting, or let another controller have it.
_DROPPED = (
    "selector", "manualSelector", "podFailurePolicy", "successPolicy", "backoffLimitPerIndex", "maxFailedIndexes",
    "managedBy",
)  # fmt: skip
_FORCED = {
    "backoffLimit": 0, "completions": 1, "parallelism": 1, "completionMode": "NonIndexed",
    "podReplacementPolicy": "Failed", "suspend": False,
}  # fmt: skip
_CONTROLLERS = ("controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name")


def name(bead_id: str, token: str) -> str:
    """Return the name of the Job of a claim. The API server refuses a second Job with it."""
    return f"{label(bead_id, LONGEST_NAME - len(token) - 1)}-{token}"


def job_of(bead: Bead) -> str:
    """Return the bead's Job, empty if it has none. The claim names it, even if we died before recording it."""
    claim = marks.claim(bead)
    return marks.job(bead) or (name(bead.id, claim[0]) if claim else "")


def log_command(job: str, namespace: str) -> str:
    """Return what shows a Job's log. `namespace`: empty for our own."""
    return f"kubectl {f'-n {namespace} ' if namespace else ''}logs job/{job}"


def label(text: str, most: int = LONGEST_NAME) -> str:
    """Return the text as a DNS label of at most `most` characters, which is also a valid value of a label.

    A hash replaces what is lost, so that two texts never become one label.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if plain == text and len(plain) <= most:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{plain[: most - 9].rstrip('-')}-{digest}".lstrip("-")


def labels(claim: Claim, cron_job: str) -> dict[str, str]:
    """Return the labels by which a claim's Job and pod are found again."""
    job = name(claim.bead.id, claim.token)
    return {AGENT: label(cron_job), BEAD: label(claim.bead.id), CLAIM: claim.token, JOB: job}


def manifest(claim: Claim, cron_job: Document, namespace: str) -> dict[str, Any]:
    """Return the Job that starts the CronJob's agent on the claim's bead.

    It has no owner reference: the CronJob's history limits would delete it before anybody looked.
    """
    template = cron_job["spec"]["jobTemplate"]
    known = labels(claim, cron_job["metadata"]["name"])
    inherited = template.get("metadata") or {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": known[JOB],
            "namespace": namespace,
            "labels": {**_uncontrolled(inherited.get("labels")), **known},
            "annotations": {**(inherited.get("annotations") or {}), BEAD: claim.bead.id},
        },
        "spec": {
            **{key: value for key, value in template["spec"].items() if key not in _DROPPED},
            **_FORCED,
            "ttlSecondsAfterFinished": max(template["spec"].get("ttlSecondsAfterFinished") or 0, KEPT_SECONDS),
            "template": _pod(template["spec"]["template"], known, of_bead(claim.bead, known[JOB])),
        },
    }


def _pod(template: Document, known: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Any]:
    inherited, spec = template.get("metadata") or {}, template["spec"]
    first, *others = spec["containers"]
    theirs = [one for one in first.get("env") or () if one["name"] not in environ]
    ours = [{"name": key, "value": text.replace("$", "$$")} for key, text in environ.items()]  # or $(NAME) is expanded
    return {
        "metadata": {**inherited, "labels": {**_uncontrolled(inherited.get("labels")), **known}},
        "spec": {
            **spec,
            "restartPolicy": "Never",
            "containers": [{**first, "env": [*ours, *theirs]}, *others],  # ours first: theirs may refer to $(BEAD_ID)
        },
    }


def _uncontrolled(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Return the labels without the Job controller's own: a copied one would hide the pod from it."""
    return {key: value for key, value in (labels or {}).items() if key not in _CONTROLLERS}
