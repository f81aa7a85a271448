"""What the ledger remembers, and which beads were taken back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from beads_dispatch.adapters.state_folder import LedgerFolder
from beads_dispatch.core import ledger, marks, notes
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.errors import Failure
from beads_dispatch.core.text import utc
from beads_dispatch.core.writes import Settled, Write, block_taken_back, end_deferral

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BEAD = Bead("t-1", "open", 2, NOW, assignee="agent", acceptance_criteria="x", created_at=NOW - 60 * MINUTE)
ENTRY = replace(ledger.entry(BEAD, "abcdef", NOW - 5 * MINUTE), job="7")


def test_an_entry_comes_back_as_it_was_written_and_nonsense_counts_as_none() -> None:
    assert ledger.read(ledger.write(ENTRY)) == ENTRY
    assert ledger.write(ENTRY) < utc(NOW)  # old entries are found by comparing texts
    for text in ("", "x", "2026-12-01T11:55:00Z", "2026-12-01T11:55:00Z [1]", "2026-12-01T11:55:00Z {"):
        assert ledger.read(text) is None


@pytest.mark.parametrize(
    ("fields", "taken_back"),
    [
        ({}, True),
        ({"status": "in_progress"}, True),
        ({"status": "deferred"}, True),
        ({"status": "blocked"}, False),
        ({"status": "closed"}, False),
        ({"created_at": NOW}, False),  # the id was deleted and created anew
        ({"metadata": {marks.CLAIM: marks.claim_value("abcdef", ENTRY.at)}}, False),
        ({"metadata": {marks.CLAIM: marks.claim_value("bbbbbb", ENTRY.at - MINUTE)}}, True),  # an older one
        ({"metadata": {marks.CLAIM: marks.claim_value("bbbbbb", ENTRY.at + MINUTE)}}, False),
        ({"metadata": {marks.REOPENED: marks.claim_value("abcdef", ENTRY.at)}}, False),  # we undid it
        ({"metadata": {marks.REOPENED: utc(NOW)}}, True),  # we opened it when its deferral had ended
        ({"metadata": {marks.ENDED: f"quick {utc(NOW)}"}}, False),
        ({"metadata": {marks.ENDED: f"quick {utc(NOW - 10 * MINUTE)}"}}, True),
        ({"notes": notes.claimed(ENTRY.at, "abcdef")}, False),
        ({"notes": notes.claimed(ENTRY.at - MINUTE, "bbbbbb")}, True),
    ],
)
def test_which_beads_were_taken_back(fields: dict[str, object], taken_back: bool) -> None:
    assert ledger.taken_back(replace(BEAD, **fields), ENTRY) is taken_back  # type: ignore[arg-type]
    assert not ledger.taken_back(replace(BEAD, **fields), None)  # type: ignore[arg-type]


def test_it_is_blocked_with_the_claims_mark_so_that_a_persons_reopening_is_understood() -> None:
    write = block_taken_back(BEAD, NOW, entry=ENTRY)
    assert isinstance(write, Write)
    assert write.note == (
        "not dispatched: it was dispatched at 2026-12-01T11:55:00Z (job=7), and another client has undone the record "
        "of it; bd update <id> -s open sends it again"
    )
    reopened = replace(BEAD, metadata={key: value for key, value in write.marks.items() if value})
    assert not ledger.taken_back(reopened, ENTRY)
    assert block_taken_back(reopened, NOW, entry=ENTRY) is Settled.LOST


def test_a_bead_that_was_taken_back_and_then_deferred_is_not_opened() -> None:
    waits = replace(BEAD, status="deferred", defer_until=NOW - MINUTE)
    blocked = end_deferral(waits, NOW, entry=ENTRY)
    opened = end_deferral(waits, NOW)
    assert isinstance(blocked, Write)
    assert isinstance(opened, Write)
    assert (blocked.status, opened.status) == ("blocked", "open")


def test_a_folder_keeps_it_for_a_year_and_says_why_it_cannot(tmp_path: Path) -> None:
    folder = LedgerFolder({"XDG_STATE_HOME": str(tmp_path)}, "project", ledger.KEPT)
    assert folder.read("t-1") == ""
    folder.write("t-1", "one")
    folder.write("T-1", "another")
    assert (folder.read("t-1"), folder.read("T-1")) == ("one", "another")
    assert LedgerFolder({"XDG_STATE_HOME": str(tmp_path)}, "other", ledger.KEPT).read("t-1") == ""
    hasty = LedgerFolder({"XDG_STATE_HOME": str(tmp_path)}, "project", timedelta(days=-1))
    hasty.write("t-2", "old")
    assert folder.read("t-1") == ""
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match="cannot be written"):
        LedgerFolder({"XDG_STATE_HOME": str(tmp_path / "file")}, "project", ledger.KEPT).write("t-1", "x")


def test_a_claim_is_remembered_by_its_token_and_time() -> None:
    claimed = Claim(BEAD, "abcdef", NOW)
    assert ledger.entry(claimed.bead, claimed.token, claimed.at).created == utc(NOW - 60 * MINUTE)
