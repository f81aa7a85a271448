"""The environment: what is accepted, and the message for what is refused."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from beads_dispatch import settings
from beads_dispatch.adapters import workspace
from beads_dispatch.errors import Misconfigured

SERVER = {"dolt_mode": "server", "dolt_server_host": "h", "dolt_server_port": 3306, "dolt_server_user": "u"}


def folder(path: Path, metadata: object) -> Path:
    beads = path / ".beads"
    beads.mkdir(parents=True)
    (beads / "metadata.json").write_text(metadata if isinstance(metadata, str) else json.dumps(metadata))
    return beads


def test_defaults(tmp_path: Path) -> None:
    folder(tmp_path, {"dolt_mode": "embedded"})
    read = settings.read({}, tmp_path, actor="beads-reaper", needs_beadboard=False)
    assert (read.assignee, read.actor, read.per_tick) == ("agent", "beads-reaper", 1)
    assert (read.threshold, read.json_log, read.workspace.server) == (timedelta(minutes=30), False, None)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("BEADBOARD_URL", "beadboard:3000", "must be http"),
        ("BEADBOARD_URL", "http://u:secret@h", "without user"),
        ("BEADBOARD_URL", "http://h:99999", "must be http"),
        ("BEADBOARD_URL", "http://h:-1", "must be http"),
        ("BEADBOARD_URL", "http://h:abc/", "must be http"),
        ("AGENT_SERVICE_URL", "ftp://h", "must be http"),
        ("BEADS_DISPATCH_PER_TICK", "0", "not a whole number"),
        ("BEADS_DISPATCH_PER_TICK", "1.5", "not a whole number"),
        ("BEADS_REAPER_THRESHOLD_MINUTES", "-1", "above 0"),
        ("BEADS_REAPER_THRESHOLD_MINUTES", "nan", "above 0"),
        ("BEADS_REAPER_THRESHOLD_MINUTES", "0.0", "above 0"),
        ("BEADS_ASSIGNEE", "a\nb", "printable"),
        ("LOG_FORMAT", "xml", "neither text nor json"),
        ("BEADS_METADATA", "/nowhere/metadata.json", "cannot be read"),
        ("BEADS_DOLT_SHARED_SERVER", "1", "unset it"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, variable: str, value: str, said: str) -> None:
    folder(tmp_path, SERVER)
    with pytest.raises(Misconfigured, match=said) as caught:
        settings.read({variable: value}, tmp_path, actor="a", needs_beadboard=False)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_trailing_slash_is_taken_off(tmp_path: Path) -> None:
    folder(tmp_path, SERVER)
    read = settings.read({"BEADBOARD_URL": "http://h:1//"}, tmp_path, actor="a", needs_beadboard=True)
    assert read.beadboard_url == "http://h:1"


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a JSON object"),
        ({"dolt_mode": "cloud"}, "must be server or embedded"),
        ({"dolt_mode": "server"}, "dolt_server_port is missing"),
        ({"dolt_mode": "server", "dolt_server_port": 99999}, "from 1 to 65535"),
    ],
)
def test_a_metadata_that_cannot_be_used(tmp_path: Path, metadata: object, said: str) -> None:
    folder(tmp_path, metadata)
    with pytest.raises(Misconfigured, match=said):
        workspace.find({}, tmp_path)


def test_an_embedded_workspace_cannot_be_mounted(tmp_path: Path) -> None:
    path = folder(tmp_path, {"dolt_mode": "embedded"}) / "metadata.json"
    with pytest.raises(Misconfigured, match="embedded"):
        workspace.find({"BEADS_METADATA": str(path)}, tmp_path)


def test_environment_then_port_file_then_metadata(tmp_path: Path) -> None:
    beads = folder(tmp_path, SERVER)
    assert str(workspace.find({}, tmp_path).server) == "h:3306/beads"
    (beads / "dolt-server.port").write_text("4000\n")
    assert str(workspace.find({}, tmp_path).server) == "h:4000/beads"
    environ = {"BEADS_DOLT_SERVER_PORT": "5000", "BEADS_DOLT_SERVER_DATABASE": "code", "BEADS_DOLT_PASSWORD": "secret"}
    server = workspace.find(environ, tmp_path).server
    assert str(server) == "h:5000/code"
    assert "secret" not in repr(server)


def test_discovery_walks_up_follows_a_redirect_and_knows_worktrees(tmp_path: Path) -> None:
    beads = folder(tmp_path / "main", SERVER)
    (tmp_path / "main" / "deep" / "er").mkdir(parents=True)
    assert workspace.find({}, tmp_path / "main" / "deep" / "er").metadata.parent == beads
    (tmp_path / "other" / ".beads").mkdir(parents=True)
    (tmp_path / "other" / ".beads" / "redirect").write_text("# to the main one\n../main/.beads\n")
    assert workspace.find({}, tmp_path / "other").metadata.parent == beads
    private = tmp_path / "main" / ".git" / "worktrees" / "w"
    private.mkdir(parents=True)
    (private / "commondir").write_text("../..\n")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / ".git").write_text(f"gitdir: {private}\n")
    assert workspace.find({}, tmp_path / "w").metadata.parent == beads
    (tmp_path / "empty" / ".git").mkdir(parents=True)
    with pytest.raises(Misconfigured, match="bd init"):
        workspace.find({}, tmp_path / "empty")
