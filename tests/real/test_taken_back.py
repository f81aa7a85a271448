"""Another client undoes the record of a dispatch, as an older export does. The bead is not sent twice."""

import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from conftest import Board, Place

from beads_dispatch.core import notes


def services(board: Board) -> dict[str, str]:
    return {"BEADBOARD_URL": board.url, "AGENT_SERVICE_URL": board.url, "API_BEARER_TOKEN": "x"}


def export(place: Place) -> str:
    """The path of an export of the workspace as it now is."""
    path = place.folder / "older.jsonl"
    place.bd("export", "-o", str(path))
    return str(path)


def import_again(place: Place, older: str) -> None:
    """1.3 skips rows that are older than what it has, unless it is told otherwise."""
    stale = ["--allow-stale"] if str(place.bd("version")["version"]).startswith("1.3") else []
    place.bd("import", older, *stale)


def revert_by_sql(place: Place, bead: str) -> None:
    place.sql("UPDATE issues SET status = 'open', notes = '', metadata = '{}' WHERE id = %s", bead)


def restore_the_row(place: Place, bead: str) -> None:
    """The whole row as it was committed before the dispatch."""
    place.sql("DELETE FROM issues WHERE id = %s", bead)
    place.sql("INSERT INTO issues SELECT * FROM issues AS OF %s WHERE id = %s", before(place, bead), bead)


def reset_hard(place: Place, bead: str) -> None:
    project = "SELECT value FROM metadata WHERE `key` = '_project_id'"
    identity = place.sql(project)[0]["value"]  # not committed, because the workspace is a copy
    place.sql("CALL DOLT_RESET('--hard', %s)", before(place, bead))
    place.sql("UPDATE metadata SET value = %s WHERE `key` = '_project_id'", identity)


def merge_theirs(place: Place, bead: str) -> None:
    """A clone that has an older row edits it; the merge's conflict is settled with that row."""
    place.sql("CALL DOLT_BRANCH('-f', 'theirs', %s)", before(place, bead))
    place.sql_in_one_session(
        "CALL DOLT_CHECKOUT('theirs')",
        f"UPDATE issues SET notes = 'as a clone has it', title = 'edited' WHERE id = '{bead}'",
        "CALL DOLT_COMMIT('-a', '-m', 'a clone edits it')",
        "CALL DOLT_CHECKOUT('main')",
        "SET autocommit = 0",
        "CALL DOLT_MERGE('theirs')",
        "CALL DOLT_CONFLICTS_RESOLVE('--theirs', 'issues')",
        "CALL DOLT_COMMIT('-a', '-m', 'merged')",
    )


def before(place: Place, bead: str) -> str:
    """The newest commit in which this bead is open."""
    rows = place.sql(
        "SELECT commit_hash FROM dolt_history_issues WHERE id = %s AND status = 'open' ORDER BY commit_date DESC", bead
    )
    return str(rows[0]["commit_hash"])


def rebuild(place: Place, older: str) -> None:
    """The embedded database is gone, as after `git clean -fdX`, and is made anew from the export."""
    shutil.rmtree(place.metadata.parent / "embeddeddolt")
    shutil.copy(older, place.metadata.parent / "issues.jsonl")
    words = ["init", "-p", "t", "--skip-agents", "--skip-hooks", "--stealth", "--non-interactive"]
    subprocess.run([place.real_bd, *words], env=place.environ, cwd=place.folder, check=True, capture_output=True)
    place.bd("create", "the first write imports issues.jsonl")


def dispatched(place: Place, board: Board) -> str:
    """A bead that was dispatched, and whose job runs."""
    bead = place.create()
    board.jobs[f"job-{bead}"] = (200, {"status": "running", "started_at": datetime.now(UTC).isoformat()})
    return bead


def exported_then_sent(place: Place, board: Board) -> tuple[str, str]:
    """A bead that a tick has dispatched, and the path of an export from before."""
    bead = dispatched(place, board)
    older = export(place)
    assert place.run("tick", **services(board)).returncode == 0
    return bead, older


def waits_then_is_blocked(place: Place, board: Board, bead: str) -> None:
    waits = place.run("tick", **services(board))
    assert f"{bead}: waiting: its last job job-{bead} still runs" in waits.stdout
    assert f"its last job job-{bead} still runs" in place.run("status", **services(board)).stdout
    board.jobs[f"job-{bead}"] = (404, {"detail": "Job not found"})
    place.run("tick", **services(board))
    shown = place.show(bead)
    assert (shown["status"], board.sent) == ("blocked", [bead])
    last = place.notes(bead)[-1]
    assert last.startswith("not dispatched: it was dispatched at ")
    assert last.endswith(f"(job=job-{bead}), and another client has undone the record of it; "
                         "bd update <id> -s open sends it again")  # fmt: skip


def test_an_older_export_sends_nothing_twice_and_a_person_can_send_it_again(place: Place, board: Board) -> None:
    bead, older = exported_then_sent(place, board)
    import_again(place, older)
    assert place.show(bead)["status"] == "open"
    with suppress(AssertionError):  # bd 1.0.2, embedded: exit 1 with "nothing to commit"
        import_again(place, older)
    waits_then_is_blocked(place, board, bead)
    place.bd("update", bead, "-s", "open")
    place.run("tick", **services(board))
    assert board.sent == [bead, bead]


@pytest.mark.parametrize("undo", [revert_by_sql, restore_the_row, reset_hard, merge_theirs])
def test_a_row_that_is_put_back_over_sql_sends_nothing_twice(
    on_server: Place, board: Board, undo: Callable[[Place, str], None]
) -> None:
    bead = dispatched(on_server, board)
    assert on_server.run("tick", **services(board)).returncode == 0
    undo(on_server, bead)
    waits_then_is_blocked(on_server, board, bead)


def test_a_database_that_is_rebuilt_from_its_export_sends_nothing_twice(embedded: Place, board: Board) -> None:
    bead, older = exported_then_sent(embedded, board)
    rebuild(embedded, older)
    assert embedded.show(bead)["status"] == "open"
    waits_then_is_blocked(embedded, board, bead)


def test_an_older_export_that_reopens_a_closed_bead_sends_it_no_second_time(place: Place, board: Board) -> None:
    bead, older = exported_then_sent(place, board)
    place.bd("close", bead, "--actor=agent")  # bd 1.3: only the assignee may
    import_again(place, older)
    assert place.show(bead)["status"] == "open"
    waits_then_is_blocked(place, board, bead)


def test_an_id_that_was_created_anew_is_another_bead(on_server: Place, board: Board) -> None:
    bead = dispatched(on_server, board)
    assert on_server.run("tick", **services(board)).returncode == 0
    on_server.sql(
        "UPDATE issues SET status = 'open', notes = '', metadata = '{}', "
        "created_at = DATE_ADD(created_at, INTERVAL 90 SECOND) WHERE id = %s",
        bead,
    )
    on_server.run("tick", **services(board))
    assert board.sent == [bead, bead]


def test_without_a_ledger_nothing_is_started(embedded: Place, board: Board) -> None:
    bead = dispatched(embedded, board)
    blocked = embedded.folder / "no-folder"
    blocked.write_text("")
    done = embedded.run("tick", XDG_STATE_HOME=str(blocked), **services(board))
    assert done.returncode == 1
    assert f"{blocked}/beads-dispatch" in done.stderr
    assert "cannot be read" in done.stderr
    assert (board.sent, embedded.show(bead)["status"]) == ([], "open")
    assert embedded.run("tick", **services(board)).returncode == 0
    assert board.sent == [bead]


def test_a_bead_that_bd_opens_when_its_deferral_ends_is_not_sent_again(on_server: Place, board: Board) -> None:
    """As the `ready` of bd 1.3 does on some servers (seen in an embedded database: tests/real/test_bd_1_3.py)."""
    bead = on_server.create()
    assert on_server.run("tick", **services(board)).returncode == 0
    on_server.sql("UPDATE issues SET status = 'open' WHERE id = %s", bead)
    on_server.sql(
        "INSERT INTO events (id, issue_id, event_type, actor, old_value, new_value, created_at) "
        "SELECT UUID(), id, 'status_changed', 'bd-defer-wake', '', 'open', DATE_ADD(UTC_TIMESTAMP(), INTERVAL 5 SECOND)"
        " FROM issues WHERE id = %s",
        bead,
    )
    on_server.run("tick", **services(board))
    assert (on_server.show(bead)["status"], board.sent) == ("blocked", [bead])
    assert on_server.notes(bead)[-1] == f"not dispatched: {notes.SENT_BEFORE}"
