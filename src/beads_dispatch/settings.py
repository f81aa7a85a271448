"""The environment, read once. Reading it runs nothing and opens nothing."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from beads_dispatch.core.errors import Misconfigured

if TYPE_CHECKING:
    from beads_dispatch.core.hours import Hours

T = TypeVar("T")

# The variables that say where agents run, if not on this machine.
SERVICES = (
    "BEADBOARD_URL", "AGENT_SERVICE_URL", "API_BEARER_TOKEN", "API_BEARER_TOKEN_FILE", "BEADS_AGENT_CRONJOB",
    "BEADS_AGENT_JOBS",
)  # fmt: skip
_URL = re.compile(r"https?://[^/@\s?#]+(/[^@\s?#]*)?")
_DNS_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the environment can set. The URLs have no trailing slash and are empty if unset.

    `cron_job`: the namespace, empty for our own, and the name of the CronJob that is the agent; None: another runner.
    `agent_jobs`: how many Jobs made from it may run at once. `hours`: when runs may start; None: always.
    `per_day`: how many runs may start in a local day; None: any number.
    """

    assignee: str
    actor: str
    per_tick: int
    threshold: timedelta
    beadboard_url: str
    agent_url: str
    agent_token: str = field(repr=False)
    json_log: bool
    notify_urls: str = field(default="", repr=False)  # Apprise's, each with its password
    cron_job: tuple[str, str] | None = None
    agent_jobs: int = 1
    hours: "Hours | None" = None
    per_day: int | None = None
    agent_token_file: str = ""  # instead of agent_token: read at each question, because it may be replaced


def read(environ: Mapping[str, str], *, actor: str, needs_beadboard: bool, assignee: str | None = None) -> Settings:
    """Return the settings. Raise Misconfigured with every wrong variable in one message.

    `assignee`: from an option, which overrides the variable.
    """
    wrong: list[str] = []

    def checked(parse: Callable[[], T], default: T) -> T:
        try:
            return parse()
        except ValueError as error:
            wrong.append(str(error))
            return default

    per_day = environ.get("BEADS_DISPATCH_PER_DAY")
    settings = Settings(
        assignee=checked(lambda: _assignee(environ, assignee), ""),
        actor=checked(lambda: _name(environ, "BEADS_ACTOR", actor), ""),
        per_tick=checked(lambda: _count(environ, "BEADS_DISPATCH_PER_TICK"), 1),
        threshold=checked(lambda: _threshold(environ), timedelta()),
        beadboard_url=checked(lambda: _beadboard_url(environ, required=needs_beadboard), ""),
        agent_url=checked(lambda: _url(environ, "AGENT_SERVICE_URL"), ""),
        agent_token=checked(lambda: _token(environ), ""),
        json_log=checked(lambda: _json_log(environ), False),
        notify_urls=checked(lambda: _notify_urls(environ), ""),
        cron_job=checked(lambda: _cron_job(environ), None),
        agent_jobs=checked(lambda: _count(environ, "BEADS_AGENT_JOBS"), 1),
        hours=checked(lambda: _hours(environ), None),
        per_day=checked(lambda: _count(environ, "BEADS_DISPATCH_PER_DAY", 9999), None) if per_day else None,
        agent_token_file=environ.get("API_BEARER_TOKEN_FILE") or "",
    )
    if wrong:
        raise Misconfigured("; ".join(wrong))
    return settings


def _assignee(environ: Mapping[str, str], option: str | None) -> str:
    if option is None:
        return _name(environ, "BEADS_ASSIGNEE", "agent")
    return _name({"--assignee": option or " "}, "--assignee", "")


def _name(environ: Mapping[str, str], variable: str, default: str) -> str:
    name = environ.get(variable) or default
    if not name.isprintable() or not name.strip() or len(name) > 255:
        raise ValueError(f"{variable}: must be a name of at most 255 printable characters")
    return name


def _count(environ: Mapping[str, str], variable: str, most: int = 999) -> int:
    text = environ.get(variable) or "1"
    if not re.fullmatch(r"[1-9]\d{0,3}", text, re.ASCII) or int(text) > most:
        raise ValueError(f"{variable}: {text[:40]!r} is not a whole number from 1 to {most}")
    return int(text)


def _hours(environ: Mapping[str, str]) -> "Hours | None":
    text = environ.get("BEADS_DISPATCH_HOURS") or ""
    if not text.strip():
        return None
    from beads_dispatch.core import hours  # an idle tick without hours needs none of it

    try:
        return hours.parse(text)
    except ValueError as error:
        raise ValueError(f"BEADS_DISPATCH_HOURS: {error}") from None


def _threshold(environ: Mapping[str, str]) -> timedelta:
    text = environ.get("BEADS_REAPER_THRESHOLD_MINUTES") or "30"
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text, re.ASCII) or float(text) <= 0:
        raise ValueError(f"BEADS_REAPER_THRESHOLD_MINUTES: {text[:40]!r} is not a number of minutes above 0")
    return timedelta(minutes=float(text))


def _beadboard_url(environ: Mapping[str, str], *, required: bool) -> str:
    url, cron_job = _url(environ, "BEADBOARD_URL"), environ.get("BEADS_AGENT_CRONJOB")
    if url and cron_job:
        raise ValueError("BEADBOARD_URL and BEADS_AGENT_CRONJOB are both set: agents run in one place, unset the other")
    if required and not (url or cron_job):
        raise ValueError("BEADBOARD_URL: must be set, such as http://127.0.0.1:3000, or BEADS_AGENT_CRONJOB instead")
    return url


def _cron_job(environ: Mapping[str, str]) -> tuple[str, str] | None:
    text = environ.get("BEADS_AGENT_CRONJOB") or ""
    if not text:
        return None
    found = re.fullmatch(rf"(?:({_DNS_LABEL})/)?({_DNS_LABEL}(?:\.{_DNS_LABEL})*)", text, re.ASCII)
    if not found or len(found[2]) > 52:  # Kubernetes' limit for a CronJob's name
        raise ValueError(f"BEADS_AGENT_CRONJOB: {text[:80]!r} is no name of a CronJob, with or without NAMESPACE/")
    return found[1] or "", found[2]


def _url(environ: Mapping[str, str], variable: str) -> str:
    text = environ.get(variable) or ""
    if text and not (_URL.fullmatch(text) and _valid_address(text)):  # the text is not shown: it may hold a password
        raise ValueError(f"{variable}: must be http:// or https:// and a host, without user, password or query")
    return text.rstrip("/")


def _valid_address(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname) and urlsplit(url).port != 0
    except ValueError:  # no number, or out of range
        return False


def _token(environ: Mapping[str, str]) -> str:
    text = (environ.get("API_BEARER_TOKEN") or "").strip()  # a Secret often ends with a newline
    if text and environ.get("API_BEARER_TOKEN_FILE"):
        raise ValueError("API_BEARER_TOKEN and API_BEARER_TOKEN_FILE are both set: unset one")
    if not (text.isascii() and text.isprintable()):  # the text is not shown
        raise ValueError("API_BEARER_TOKEN: must be printable ASCII, as a header needs it")
    return text


def _notify_urls(environ: Mapping[str, str]) -> str:
    text = (environ.get("BEADS_NOTIFY_URLS") or "").strip()
    if text and not all("://" in one for one in text.split()):  # the text is not shown
        raise ValueError("BEADS_NOTIFY_URLS: must be Apprise URLs, such as ntfy://your-topic, with spaces between them")
    if text and not _installed("apprise"):
        raise ValueError("BEADS_NOTIFY_URLS: needs Apprise: pip install '.[notify]'")
    return text


def _installed(package: str) -> bool:
    """Return whether a package is installed, without importing it."""
    from importlib.util import find_spec

    return find_spec(package) is not None


def _json_log(environ: Mapping[str, str]) -> bool:
    text = environ.get("LOG_FORMAT") or "text"
    if text not in ("text", "json"):
        raise ValueError(f"LOG_FORMAT: {text[:40]!r} is neither text nor json")
    return text == "json"
