"""Whole sweeps as processes, on the real bd and a real Dolt."""

import re
import time

from conftest import Place


def test_a_bead_is_blocked_after_the_threshold_and_not_before(on_server: Place) -> None:
    young, old = on_server.create("young", "--labels=x"), on_server.create("old")
    for bead, minutes in ((young, 27), (old, 31.2)):
        on_server.bd("update", bead, "--status=in_progress")
        on_server.age(bead, minutes)
    dry = on_server.run("sweep", "--dry-run")
    assert "would block" in dry.stdout
    done = on_server.run("sweep")
    assert (done.returncode, done.stderr) == (0, "")
    assert on_server.show(young)["status"] == "in_progress"
    assert on_server.show(old)["status"] == "blocked"
    (line,) = on_server.notes(old)
    # A busy machine may take a minute or two until here. The exact minute is tested in test_notes.py.
    assert re.fullmatch(r"reaper: no progress for 3[1-4]m — blocking \(threshold 30m, no dispatch recorded\)", line)
    assert line.removeprefix("reaper: ") in on_server.run("status").stdout


def test_a_comment_is_a_sign_of_life(on_server: Place) -> None:
    bead = on_server.create()
    on_server.bd("update", bead, "--status=in_progress")
    on_server.bd("comment", bead, "still at it")
    on_server.age(bead, 60)
    assert on_server.run("sweep").returncode == 0
    assert on_server.show(bead)["status"] == "in_progress"


def test_embedded(embedded: Place) -> None:
    bead = embedded.create()
    embedded.bd("update", bead, "--status=in_progress")
    assert embedded.run("sweep").returncode == 0
    assert embedded.show(bead)["status"] == "in_progress"
    time.sleep(1.1)  # bd rounds `updated_at` to the second, so it can lie ahead until now
    assert embedded.run("sweep", BEADS_REAPER_THRESHOLD_MINUTES="0.000001").returncode == 0
    assert embedded.show(bead)["status"] == "blocked"
