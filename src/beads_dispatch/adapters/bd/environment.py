"""The environment that bd runs in: ours, without what changes what bd prints or does."""

from collections.abc import Mapping
from pathlib import Path

# Each release of bd adds variables to these families, so all of them are dropped, except for those named below.
# - BD_JSON_ENVELOPE, BD_OTEL_*, OTEL_*, BD_DEBUG: change what bd prints on stdout, or add to it
# - BD_READONLY, BD_NO_DB, BEADS_MAX_ROWS, BD_BACKEND, BEADS_TEST_MODE: bd refuses writes, or lists, or everything
# - BD_DOLT_AUTO_PUSH, BD_EVENTS_JOURNAL: side effects; a push waits for its remote
# - BEADS_DB, BD_DB, GIT_DIR: another database than the one that we lock
# - BEADS_ACTOR, BD_ACTOR, CLAUDE_SESSION_ID: another author than the one that we name
# - BD_ALLOW_REMOTE_MIGRATE: bd 1.3 would migrate a shared database, which locks out every older client
_DROPPED = ("BD_", "BEADS_", "OTEL_", "GIT_", "CLAUDE", "API_BEARER_TOKEN")

# What opens a database that we name, and a person's word that bd must not write now.
_KEPT = (
    "BEADS_DOLT_PASSWORD", "BEADS_CREDENTIALS_FILE", "BEADS_DOLT_CREDENTIAL_COMMAND", "BEADS_SKIP_IDENTITY_CHECK",
    "BEADS_DOLT_MAX_CONNS", "BEADS_DOLT_POOL_READ_TIMEOUT", "BEADS_DOLT_POOL_WRITE_TIMEOUT",
    "BD_IGNORE_SCHEMA_SKEW", "BD_MIGRATION_FREEZE_FILE",
)  # fmt: skip

# The variables that locate bd's workspace and its server. A mounted metadata.json replaces all of them.
_WHERE = (
    *(f"BEADS_DOLT_SERVER_{name}" for name in ("MODE", "HOST", "PORT", "USER", "DATABASE", "TLS", "SOCKET")),
    "BEADS_DIR", "BEADS_DOLT_PORT", "BEADS_DOLT_DATA_DIR", "BEADS_DOLT_SHARED_SERVER", "BEADS_SHARED_SERVER_DIR",
    "BEADS_CENTRAL_CONFIG", "BD_DOLT_SHARED_SERVER", "BD_DOLT_MODE", "BD_DOLT_HOST", "BD_DOLT_PORT",
)  # fmt: skip

# Paths that may be relative to our folder, while bd may run in another one. BEADS_DOLT_DATA_DIR is relative to .beads.
_PATHS = (
    "SSL_CERT_FILE", "BEADS_CREDENTIALS_FILE", "BD_MIGRATION_FREEZE_FILE",
    "BEADS_DIR", "BEADS_DOLT_SERVER_SOCKET", "BEADS_SHARED_SERVER_DIR", "BEADS_CENTRAL_CONFIG",
)  # fmt: skip

# A call of bd lives for a tenth of a second: collecting its garbage is a quarter of its CPU. The limit is for a call
# that reads a large workspace.
_SHORT_LIVED = {"GOGC": "off", "GOMEMLIMIT": "96MiB"}

# Set even if it is bd's default: bd's config.yaml and .beads/.env cannot change what is set here.
_OURS = {
    "TZ": "UTC",
    "BD_NON_INTERACTIVE": "1",
    "BD_JSON_ENVELOPE": "0",  # 1 wraps every answer in an object
    "BD_OTEL_STDOUT": "false",  # true prints traces on stdout, among the JSON; so can any OTEL_ variable
    "OTEL_SDK_DISABLED": "true",
    "BD_NO_HOOKS": "1",
    "BEADS_DOLT_AUTO_START": "0",  # 1 starts a Dolt server of bd's own
    "BD_DOLT_AUTO_PUSH": "false",  # bd 1.0.2 pushes to a remote `origin` after a write, and waits for it
    "BD_BACKUP_ENABLED": "false",
    "BD_EXPORT_AUTO": "false",  # true writes an issues.jsonl beside metadata.json
    # bd lists only the beads with the label that config.yaml gives the folder that it runs in, or one above it.
    "BD_DIRECTORY_LABELS": "{}",
    # Without this `bd ready` calls git twice to learn who the user is: a contributor's beads may be elsewhere.
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "beads.role",
    "GIT_CONFIG_VALUE_0": "maintainer",
    "BD_DISABLE_METRICS": "1",  # bd 1.3 sends usage figures to its makers
}


def environment(environ: Mapping[str, str], cwd: Path, *, mounted: bool = False) -> dict[str, str]:
    """Return what bd gets of our environment.

    `cwd`: what relative paths in it are relative to.
    `mounted`: whether to leave out the variables that locate the database.
    """
    kept = _KEPT if mounted else _KEPT + _WHERE
    passed = {key: value for key, value in environ.items() if key in kept or not key.startswith(_DROPPED)}
    paths = {key: str(cwd / passed[key]) for key in _PATHS if passed.get(key)}
    if folders := passed.get("SSL_CERT_DIR"):
        paths["SSL_CERT_DIR"] = ":".join(str(cwd / folder) for folder in folders.split(":"))
    return {**_SHORT_LIVED, **passed, **paths, **_OURS}
