"""The Kubernetes API server, with the rights of this pod's service account."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from beads_dispatch.adapters.exchange import Ask, Request, mounted_token
from beads_dispatch.adapters.waiting import Waiting
from beads_dispatch.core.beadboard_answers import Reply
from beads_dispatch.core.errors import Misconfigured, ServiceFailed
from beads_dispatch.core.text import json_object

if TYPE_CHECKING:
    from beads_dispatch.core.kubernetes_jobs import Document

ASK_SECONDS = 10.0
MOST_BYTES = 8 * 1024 * 1024  # a page of Jobs: each has its bead's texts
PAGE = 50
LOG_LINES = 60  # of at most 16 KB each: the kubelet splits longer ones
MOST_PAGES = 40

GROUPS = {"jobs": "/apis/batch/v1", "cronjobs": "/apis/batch/v1", "pods": "/api/v1", "events": "/api/v1"}


def address(environ: Mapping[str, str]) -> str:
    """Return the API server's URL, as Kubernetes tells every pod. Raise Misconfigured outside of a cluster."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT") or "443"
    if not host:
        raise Misconfigured("BEADS_AGENT_CRONJOB: agents run as Kubernetes Jobs only if we run in a pod of the cluster")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


@dataclass(frozen=True)
class Account:
    """This pod's service account, in the folder where Kubernetes mounts it."""

    folder: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")

    @property
    def authority(self) -> str:
        """Return the file with the authority that certifies the API server."""
        return str(self.folder / "ca.crt")

    def token(self) -> str:
        return mounted_token(self.folder / "token")

    def namespace(self) -> str:
        """Return the namespace of this pod. Raise Misconfigured if no token is mounted."""
        try:
            return (self.folder / "namespace").read_text().strip()
        except (OSError, ValueError) as error:
            raise Misconfigured(f"BEADS_AGENT_CRONJOB: no service account token is mounted: {error}") from None


@dataclass(frozen=True)
class Kubernetes:
    """Objects of one namespace. `url`: of the API server."""

    url: str
    namespace: str
    request: Request
    waiting: Waiting
    account: Account = Account()

    def get(self, kind: str, name: str) -> "Document | None":
        """Return the object, or None if there is none. Raise ServiceFailed."""
        reply = self._ask("GET", self._path(kind, name))
        return None if reply.status == 404 else self._document(reply, f"get {kind}")

    def list(self, kind: str, labels: Mapping[str, str], fields: str = "") -> "list[Document]":
        """Return every object with these labels. Raise ServiceFailed."""
        query = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items()), "fieldSelector": fields}
        found: list[Document] = []
        for _ in range(MOST_PAGES):
            page = self._document(self._ask("GET", self._path(kind, **query, limit=str(PAGE))), f"list {kind}")
            found += page.get("items") or ()
            if not (more := (page.get("metadata") or {}).get("continue")):
                return found
            query["continue"] = more
        raise ServiceFailed(f"there are more than {PAGE * MOST_PAGES} {kind} in {self.namespace}", self.url)

    def create(self, kind: str, document: "Document") -> Reply:
        """Return the API server's answer to one attempt to create an object, whatever it is."""
        try:
            return self._ask("POST", self._path(kind), document)
        except ServiceFailed as error:
            return Reply(None, str(error), delivered=False)

    def delete(self, kind: str, name: str) -> None:
        """Ask for an object to be deleted once everything that it owns is gone. Raise ServiceFailed."""
        reply = self._ask("DELETE", self._path(kind, name, propagationPolicy="Foreground"))
        if reply.status not in (200, 202, 404):
            raise self._failed(reply, f"delete {kind}")

    def log(self, pod: "Document") -> str:
        """Return the end of what the pod's first container has written; nothing if it has no log, or we no right to it.

        Raise ServiceFailed: without its words a usage limit would look like a failure. (Found by the simulation.)
        """
        container = pod["spec"]["containers"][0]["name"]
        path = self._path("pods", pod["metadata"]["name"], "log", container=container, tailLines=str(LOG_LINES))
        reply = self._ask("GET", path)
        if reply.status not in (200, 400, 403, 404):
            raise self._failed(reply, "read logs")
        return reply.body if reply.status == 200 else ""

    def _path(self, kind: str, *names: str, **query: str) -> str:
        """Return the path of an object, or of all objects of a kind."""
        parts = "/".join(("namespaces", self.namespace, kind, *(quote(name, safe="") for name in names)))
        asked = urlencode({key: value for key, value in query.items() if value})
        return f"{GROUPS[kind]}/{parts}" + (f"?{asked}" if asked else "")

    def _ask(self, method: str, path: str, content: "Document | None" = None) -> Reply:
        token, authority = self.account.token(), self.account.authority
        where, what = self.url + path, f"the API server at {self.url}"
        ask = Ask(method, where, ASK_SECONDS, self.waiting, what, content, token, MOST_BYTES, authority)
        return self.request(ask)

    def _document(self, reply: Reply, what: str) -> "Document":
        document = json_object(reply.body) if reply.status == 200 else None
        if document is None:
            raise self._failed(reply, what)
        return document

    def _failed(self, reply: Reply, what: str) -> ServiceFailed:
        from beads_dispatch.core.kubernetes_runs import failure  # an idle tick asks nothing

        return ServiceFailed(failure(reply, f"{what} in {self.namespace}"), self.url)
