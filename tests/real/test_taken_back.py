"""Another client undoes the record of a dispatch, as an older export does. The bead is not sent twice."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import Board, Place


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


def revert_by_sql(place: Place, older: str) -> None:
    row = json.loads(Path(older).read_text().splitlines()[0])
    place.sql("UPDATE issues SET status = 'open', notes = '', metadata = '{}' WHERE id = %s", row["id"])


def dispatched(place: Place, board: Board) -> str:
    """A bead that was dispatched, and whose job runs."""
    bead = place.create()
    board.jobs[f"job-{bead}"] = (200, {"status": "running", "started_at": datetime.now(UTC).isoformat()})
    return bead


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
    bead = dispatched(place, board)
    older = export(place)
    assert place.run("tick", **services(board)).returncode == 0
    import_again(place, older)
    assert place.show(bead)["status"] == "open"
    with suppress(AssertionError):  # bd 1.0.2, embedded: exit 1 with "nothing to commit"
        import_again(place, older)
    waits_then_is_blocked(place, board, bead)
    place.bd("update", bead, "-s", "open")
    place.run("tick", **services(board))
    assert board.sent == [bead, bead]


@pytest.mark.parametrize("undo", [revert_by_sql])
def test_a_row_that_is_put_back_over_sql_sends_nothing_twice(
    on_server: Place, board: Board, undo: Callable[[Place, str], None]
) -> None:
    bead = dispatched(on_server, board)
    older = export(on_server)
    assert on_server.run("tick", **services(board)).returncode == 0
    undo(on_server, older)
    waits_then_is_blocked(on_server, board, bead)


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
