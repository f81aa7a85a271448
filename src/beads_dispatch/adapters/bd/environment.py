"""The environment that bd runs in: what it needs of ours, and nothing that changes what it prints or does."""

import os
from collections.abc import Mapping

# Not on these lists, so never passed on:
# - BD_JSON_ENVELOPE, BD_OTEL_*, BD_DEBUG, BEADS_MEM_STATS: change what bd prints on stdout, or add to it
# - BD_READONLY, BD_NO_DB, BEADS_MAX_ROWS, BD_BACKEND: bd refuses writes, or lists, or everything
# - BD_DOLT_AUTO_PUSH, BD_DOLT_AUTO_COMMIT, BD_EVENTS_JOURNAL, hooks: side effects; a push waits for its remote
# - BEADS_DB, BD_DB: another database than the one that we lock
# - BEADS_ACTOR, BD_ACTOR, CLAUDE_SESSION_ID: another author than the one that we name
# - GIT_DIR, GIT_WORK_TREE: the workspace of another repository
# - BEADS_TEST_MODE: no server at all

# What a process needs to run here, whom it trusts, and what bd must know to open a database that we name.
_PASSED = (
    "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LD_LIBRARY_PATH", "GOMAXPROCS", "GOMEMLIMIT", "GOGC",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL",
    "BEADS_DOLT_PASSWORD", "BEADS_CREDENTIALS_FILE", "BEADS_DOLT_CREDENTIAL_COMMAND", "BEADS_SKIP_IDENTITY_CHECK",
    "BEADS_DOLT_MAX_CONNS", "BEADS_DOLT_POOL_READ_TIMEOUT", "BEADS_DOLT_POOL_WRITE_TIMEOUT",
    "BD_ALLOW_REMOTE_MIGRATE", "BD_IGNORE_SCHEMA_SKEW", "BD_MIGRATION_FREEZE_FILE", "BD_NO_REMOTE_ADOPT",
)  # fmt: skip

# What says where bd's own workspace and its server are. A mounted metadata.json stands instead of all of it.
_WHERE = (
    *(f"BEADS_DOLT_SERVER_{name}" for name in ("MODE", "HOST", "PORT", "USER", "DATABASE", "TLS", "SOCKET")),
    "BEADS_DIR", "BEADS_DOLT_PORT", "BEADS_DOLT_DATA_DIR", "BEADS_DOLT_SHARED_SERVER", "BEADS_SHARED_SERVER_DIR",
    "BEADS_CENTRAL_CONFIG", "BD_DOLT_SHARED_SERVER", "BD_DOLT_MODE", "BD_DOLT_HOST", "BD_DOLT_PORT",
)  # fmt: skip

# Relative to our folder, while bd runs in another one.
_FILES = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "BEADS_CREDENTIALS_FILE", "BEADS_DOLT_SERVER_SOCKET", "BEADS_SHARED_SERVER_DIR",
)  # fmt: skip

# A call of bd lives for a tenth of a second: collecting its garbage is a quarter of its CPU. The limit is for a call
# that reads a large workspace.
_SHORT_LIVED = {"GOGC": "off", "GOMEMLIMIT": "96MiB"}

# Said even where bd would do it by itself: bd's config.yaml and .beads/.env cannot change what is set here.
_OURS = {
    "TZ": "UTC",
    "BD_NON_INTERACTIVE": "1",
    "BD_JSON_ENVELOPE": "0",  # 1 wraps every answer in an object
    "BD_OTEL_STDOUT": "false",  # true prints traces on stdout, among the JSON; so can any OTEL_ variable
    "OTEL_SDK_DISABLED": "true",
    "BD_NO_HOOKS": "1",
    "BEADS_DOLT_AUTO_START": "0",  # no Dolt server of bd's own
    "BD_DOLT_AUTO_PUSH": "false",  # bd 1.0.2 pushes to a remote `origin` after a write, and waits for it
    "BD_BACKUP_ENABLED": "false",
    "BD_EXPORT_AUTO": "false",  # an issues.jsonl beside metadata.json
    # `bd ready` asks git who the user is: a contributor's beads can be in another workspace. Two calls of git fewer.
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "beads.role",
    "GIT_CONFIG_VALUE_0": "maintainer",
    "BD_DISABLE_METRICS": "1",  # bd 1.3 sends usage figures to its makers
}


def environment(environ: Mapping[str, str], *, mounted: bool = False) -> dict[str, str]:
    """What bd gets of our environment. `mounted`: without what says where its database is."""
    names = _PASSED if mounted else _PASSED + _WHERE
    passed = {key: value for key, value in environ.items() if key in names or key.startswith("XDG_")}
    files = {key: os.path.abspath(passed[key]) for key in _FILES if passed.get(key)}
    return {**_SHORT_LIVED, **passed, **files, **_OURS}
