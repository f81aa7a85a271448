"""The environment: what is accepted, and the message for what is refused."""

import json
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from beads_dispatch import settings
from beads_dispatch.adapters import location, private_folder
from beads_dispatch.adapters.bd.environment import environment
from beads_dispatch.adapters.waiting import unheard
from beads_dispatch.commands import arguments
from beads_dispatch.commands.wiring import Wiring
from beads_dispatch.core.errors import Misconfigured

SERVER = {"dolt_mode": "server", "dolt_server_host": "h", "dolt_server_port": 3306, "dolt_server_user": "u"}


def mounted(path: Path, metadata: object = SERVER) -> dict[str, str]:
    """The environment of a pod: a metadata.json is mounted."""
    file = path / "metadata.json"
    file.write_text(metadata if isinstance(metadata, str) else json.dumps(metadata))
    return {"BEADS_METADATA": str(file)}


def test_defaults() -> None:
    read = settings.read({}, actor="beads-reaper", needs_beadboard=False)
    assert (read.assignee, read.actor, read.per_tick) == ("agent", "beads-reaper", 1)
    assert (read.threshold, read.json_log) == (timedelta(minutes=30), False)


def test_hours_and_a_budget() -> None:
    known = settings.read({}, actor="a", needs_beadboard=False)
    assert (known.hours, known.per_day) == (None, None)
    environ = {"BEADS_DISPATCH_HOURS": " Sat-Sun", "BEADS_DISPATCH_PER_DAY": "9999"}
    known = settings.read(environ, actor="a", needs_beadboard=False)
    assert (known.hours and known.hours.text, known.per_day) == ("Sat-Sun", 9999)
    blank = settings.read({"BEADS_DISPATCH_HOURS": " ", "BEADS_DISPATCH_PER_DAY": ""}, actor="a", needs_beadboard=False)
    assert (blank.hours, blank.per_day) == (None, None)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("", None),
        ("beads-agent", ("", "beads-agent")),
        ("agents/beads-agent", ("agents", "beads-agent")),
        ("agents/a.b", ("agents", "a.b")),
    ],
)
def test_the_cron_job_that_is_the_agent(value: str, read: object) -> None:
    environ = {"BEADS_AGENT_CRONJOB": value, "BEADS_AGENT_JOBS": "3"}
    known = settings.read(environ, actor="a", needs_beadboard=bool(value))
    assert (known.cron_job, known.agent_jobs) == (read, 3)


def test_agents_run_in_one_place() -> None:
    environ = {"BEADS_AGENT_CRONJOB": "agent", "BEADBOARD_URL": "http://h"}
    with pytest.raises(Misconfigured, match="BEADBOARD_URL and BEADS_AGENT_CRONJOB are both set"):
        settings.read(environ, actor="a", needs_beadboard=True)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("BEADBOARD_URL", "beadboard:3000", "must be http"),
        ("BEADBOARD_URL", "http://u:secret@h", "without user"),
        ("BEADBOARD_URL", "http://h:99999", "must be http"),
        ("BEADBOARD_URL", "http://h:-1", "must be http"),
        ("BEADBOARD_URL", "http://h:abc/", "must be http"),
        ("BEADBOARD_URL", "http://:3000", "must be http"),
        ("AGENT_SERVICE_URL", "ftp://h", "must be http"),
        ("BEADS_DISPATCH_PER_TICK", "0", "not a whole number"),
        ("BEADS_DISPATCH_PER_TICK", "1.5", "not a whole number"),
        ("BEADS_DISPATCH_PER_TICK", "1000", "from 1 to 999$"),
        ("BEADS_DISPATCH_PER_DAY", "0", "BEADS_DISPATCH_PER_DAY: '0' is not a whole number from 1 to 9999$"),
        ("BEADS_DISPATCH_PER_DAY", "10000", "not a whole number"),
        (
            "BEADS_DISPATCH_HOURS",
            "nights",
            "^BEADS_DISPATCH_HOURS: 'nights' is no part of hours such as 'Mon-Fri 19:00-07",
        ),
        ("BEADS_AGENT_JOBS", "0", "BEADS_AGENT_JOBS: '0' is not a whole number"),
        ("BEADS_AGENT_CRONJOB", "Agent", "no name of a CronJob"),
        ("BEADS_AGENT_CRONJOB", "a/b/c", "no name of a CronJob"),
        ("BEADS_AGENT_CRONJOB", "/agent", "no name of a CronJob"),
        ("BEADS_AGENT_CRONJOB", "a" * 53, "no name of a CronJob"),
        ("BEADS_REAPER_THRESHOLD_MINUTES", "-1", "above 0"),
        ("BEADS_REAPER_THRESHOLD_MINUTES", "nan", "above 0"),
        ("BEADS_REAPER_THRESHOLD_MINUTES", "0.0", "above 0"),
        ("BEADS_ASSIGNEE", "a\nb", "printable"),
        ("BEADS_NOTIFY_URLS", "secret", "must be Apprise URLs"),
        ("LOG_FORMAT", "xml", "neither text nor json"),
        ("BEADS_METADATA", "/nowhere/metadata.json", "cannot be read"),
        ("BEADS_DOLT_SERVER_PORT", "tcp://10.0.0.1:3306", r"^BEADS_DOLT_SERVER_PORT is tcp://10.0.0.1:3306; a port"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, variable: str, value: str, said: str) -> None:
    wiring = Wiring({**mounted(tmp_path), variable: value}, tmp_path, unheard)
    with pytest.raises(Misconfigured, match=said) as caught:
        wiring.settings("a", needs_beadboard=False)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_everything_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    environ = {"BEADBOARD_URL": "x", "LOG_FORMAT": "xml", "BEADS_METADATA": "/nowhere/metadata.json"}
    with pytest.raises(Misconfigured, match=r"BEADBOARD_URL.*; LOG_FORMAT.*; /nowhere/metadata.json"):
        Wiring(environ, tmp_path, unheard).settings("a", needs_beadboard=True)


def test_where_apprise_is_not_installed_its_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"BEADS_NOTIFY_URLS": "json://u:secret@h json://h"}
    read = settings.read(environ, actor="a", needs_beadboard=False)
    assert read.notify_urls == environ["BEADS_NOTIFY_URLS"]
    assert "secret" not in repr(read)
    monkeypatch.setattr(settings, "_installed", lambda package: False)
    with pytest.raises(Misconfigured, match=r"^BEADS_NOTIFY_URLS: needs Apprise: pip install '\.\[notify\]'$"):
        settings.read(environ, actor="a", needs_beadboard=False)


def test_a_secret_that_ends_with_a_newline() -> None:
    environ = {"API_BEARER_TOKEN": "secret\n"}
    assert settings.read(environ, actor="a", needs_beadboard=False).agent_token == "secret"


def test_a_token_or_its_file_but_not_both() -> None:
    environ = {"API_BEARER_TOKEN_FILE": "/etc/agent-service/token"}
    read = settings.read(environ, actor="a", needs_beadboard=False)
    assert (read.agent_token_file, read.agent_token) == ("/etc/agent-service/token", "")
    with pytest.raises(Misconfigured, match="API_BEARER_TOKEN and API_BEARER_TOKEN_FILE are both set: unset one"):
        settings.read({**environ, "API_BEARER_TOKEN": "x"}, actor="a", needs_beadboard=False)


@pytest.mark.parametrize("text", ["[::1]:8080", "::1:8080"])
def test_an_ipv6_address_to_listen_on(text: str) -> None:
    assert arguments._address(text) == ("::1", 8080)


def test_a_trailing_slash_is_taken_off() -> None:
    environ = {"BEADBOARD_URL": "http://h:1//"}
    read = settings.read(environ, actor="a", needs_beadboard=True)
    assert read.beadboard_url == "http://h:1"


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a JSON object"),
        ({"dolt_mode": "cloud"}, "must be server or embedded"),
        ({"dolt_mode": "embedded"}, "of an embedded workspace"),
        ({**SERVER, "dolt_mode": "Proxied-Server"}, "dolt_mode is proxied-server, which .* does not support"),
        ({"dolt_mode": "server"}, "dolt_server_port is missing"),
        ({"dolt_mode": "server", "dolt_server_port": 99999}, "from 1 to 65535"),
    ],
)
def test_a_metadata_that_cannot_be_used(tmp_path: Path, metadata: object, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        location.find(mounted(tmp_path, metadata), tmp_path)


def test_of_a_mounted_file_the_environment_comes_first(tmp_path: Path) -> None:
    environ = mounted(tmp_path)
    assert str(location.find(environ, tmp_path).server) == "h:3306/beads"
    environ |= {"BEADS_DOLT_SERVER_PORT": "5000", "BEADS_DOLT_SERVER_DATABASE": "code", "BEADS_DOLT_PASSWORD": "secret"}
    server = location.find(environ, tmp_path).server
    assert str(server) == "h:5000/code"
    assert "secret" not in repr(server)


@pytest.mark.parametrize(
    ("variable", "inside", "tls"),
    [("", False, False), ("", True, True), ("1", False, True), ("TRUE", False, True), ("0", True, False)],
)
def test_tls_is_on_as_bd_has_it(tmp_path: Path, variable: str, inside: bool, tls: bool) -> None:
    environ = {**mounted(tmp_path, {**SERVER, "dolt_server_tls": inside}), "BEADS_DOLT_SERVER_TLS": variable}
    server = location.find(environ, tmp_path).server
    assert server is not None
    assert server.tls is tls


def test_bd_gets_our_environment_without_what_changes_its_output_or_effects() -> None:
    passed = {
        "PATH": "/bin", "HOME": "/h", "XDG_CONFIG_HOME": "/c", "BEADS_DOLT_PASSWORD": "p", "VAULT_ADDR": "v",
        "BEADS_DOLT_CREDENTIAL_COMMAND": "c", "LANG": "C", "MISE_SHELL": "bash", "BD_MIGRATION_FREEZE_FILE": "/f",
    }  # fmt: skip
    dropped = {
        "BD_JSON_ENVELOPE": "1", "BD_OTEL_STDOUT": "true", "BD_READONLY": "1", "BD_DOLT_AUTO_PUSH": "true",
        "BD_ALLOW_REMOTE_MIGRATE": "1", "BEADS_ACTOR": "a", "BEADS_DB": "/d", "BEADS_MAX_ROWS": "1", "GIT_DIR": "/g",
        "GIT_AUTHOR_NAME": "a", "OTEL_TRACES_EXPORTER": "console", "CLAUDECODE": "1", "CLAUDE_SESSION_ID": "s",
        "API_BEARER_TOKEN": "secret", "BD_OF_A_LATER_RELEASE": "1",
    }  # fmt: skip
    env = environment({**passed, **dropped}, Path("/"))
    assert passed.items() <= env.items()
    assert {key for key, value in dropped.items() if env.get(key) == value} == set()


def test_bd_collects_no_garbage_unless_somebody_wants_it_to() -> None:
    assert environment({}, Path("/"))["GOGC"] == "off"
    wanted = {"GOGC": "50", "GOMEMLIMIT": "1GiB"}
    assert wanted.items() <= environment(wanted, Path("/")).items()


def test_a_mounted_file_stands_instead_of_every_variable_that_says_where(tmp_path: Path) -> None:
    where = {"BEADS_DIR": "/b", "BEADS_DOLT_SERVER_HOST": "h", "BEADS_DOLT_SHARED_SERVER": "1", "BD_DOLT_PORT": "1"}
    assert where.items() <= environment(where, Path("/")).items()
    env = location.find({**mounted(tmp_path), **where}, tmp_path).environ
    assert where.keys() & env.keys() == {"BEADS_DOLT_SERVER_HOST"}
    assert {key.removeprefix("BEADS_DOLT_SERVER_"): value for key, value in env.items() if "DOLT_SERVER" in key} == {
        "MODE": "1", "HOST": "h", "PORT": "3306", "USER": "u", "DATABASE": "beads", "TLS": "0",
    }  # fmt: skip


def test_a_relative_path_reaches_bd_as_an_absolute_one(tmp_path: Path) -> None:
    given = {"SSL_CERT_FILE": "ca.pem", "BEADS_DIR": "../.beads", "BEADS_DOLT_SERVER_SOCKET": "/run/dolt.sock"}
    passed = environment({**given, "SSL_CERT_DIR": "a:/b", "BEADS_CREDENTIALS_FILE": ""}, tmp_path)
    assert {key: passed[key] for key in given} == {
        "SSL_CERT_FILE": f"{tmp_path}/ca.pem",
        "BEADS_DIR": f"{tmp_path}/../.beads",
        "BEADS_DOLT_SERVER_SOCKET": "/run/dolt.sock",
    }
    assert (passed["SSL_CERT_DIR"], passed["BEADS_CREDENTIALS_FILE"]) == (f"{tmp_path}/a:/b", "")


def test_a_temporary_folder_that_was_removed_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "swept" / "away"))
    assert (private_folder.make("{}") / "metadata.json").read_text() == "{}"
