"""What the watcher's metrics report about its beads."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import memory
from memory import NOW

from beads_dispatch.adapters.queue import Snapshot
from beads_dispatch.core.holds import Hold
from beads_dispatch.monitoring.health import Health, page
from beads_dispatch.monitoring.metrics import Metrics

MINUTE = timedelta(minutes=1)
ASSIGNEE = "night agent"


@dataclass
class FakeClock:
    """The watcher's clock, as the test sets it."""

    now: datetime = NOW

    def monotonic(self) -> float:
        return self.now.timestamp()


def metrics_by(clock: FakeClock) -> Metrics:
    return Metrics(Health(clock.monotonic), lambda: clock.now, ASSIGNEE, "1.2.3")


def snapshot(database: memory.Database) -> Snapshot:
    """Return the database's beads, all of them the night agent's."""
    beads = memory.MemoryQueue(database).snapshot().beads
    return Snapshot(tuple(replace(bead, assignee=ASSIGNEE) for bead in beads))


def shown(metrics: Metrics) -> dict[str, float]:
    """Each sample by its name and labels. All have the label `assignee`, which is left out."""
    lines = [line.rpartition(" ") for line in metrics.text().decode().splitlines() if line[:1] != "#"]
    assert all('assignee="night agent"' in name for name, _, _ in lines)
    bare = {re.sub(r',?assignee="night agent",?', "", name).replace("{}", ""): value for name, _, value in lines}
    return {name.removeprefix("beads_dispatch_"): float(value) for name, value in bare.items()}


def test_each_kind_is_counted_and_one_that_is_gone_is_not_shown() -> None:
    database, metrics = memory.Database(now=NOW), metrics_by(FakeClock())
    database.put("eligible")
    database.put("waits")
    database.put("bare", acceptance_criteria="")
    database.put("later", defer_until=NOW + MINUTE)
    database.put("sent", status="in_progress", notes="dispatched: job=1")
    database.put("unclear", status="in_progress", notes="dispatch unclear HTTP 502: fetch failed")
    database.put("lost", status="in_progress", notes="auto-dispatcher claimed at x (tick abcdef)")
    database.put("stale", status="blocked", notes="reaper: no progress for 31m — blocking (threshold 30m)")
    database.put("bad", status="blocked", notes="dispatch failed HTTP 400: bad (attempt 5 of 5)")
    database.put("ours", status="blocked", notes="dispatch failed HTTP 400: bad (attempt 1 of 5)\nI need a key")
    metrics.saw(snapshot(database), {}, NOW, frozenset({"waits"}))
    expected = {
        ("open", "eligible"), ("open", "not ready"), ("open", "no acceptance criteria"), ("open", "deferred"),
        ("in_progress", "dispatched"), ("in_progress", "dispatch unclear"), ("in_progress", "not sent"),
        ("blocked", "no progress"), ("blocked", "given up"), ("blocked", "other"),
    }  # fmt: skip
    beads = {name: value for name, value in shown(metrics).items() if name.startswith("beads{")}
    assert beads == {f'beads{{reason="{reason}",state="{state}"}}': 1.0 for state, reason in expected}
    database.set("eligible", status="closed")
    metrics.saw(Snapshot((replace(database.beads["bare"], assignee=ASSIGNEE),), ("bead x: odd",)), {}, NOW, frozenset())
    assert {name for name in shown(metrics) if name.startswith("beads{")} == {
        'beads{reason="no acceptance criteria",state="open"}',
        'beads{reason="",state="unreadable"}',
    }


def test_a_bead_that_waits_gets_older_though_every_attempt_touches_it() -> None:
    clock = FakeClock()
    database, metrics = memory.Database(now=NOW), metrics_by(clock)
    database.put("a", updated_at=NOW - 10 * MINUTE)
    database.put("b", updated_at=NOW - 90 * MINUTE)
    for touched in (NOW - 10 * MINUTE, NOW):
        database.set("a", updated_at=touched)
        metrics.saw(snapshot(database), {}, NOW, frozenset({"b"}))
        assert shown(metrics)["oldest_eligible_age_seconds"] == 600
    clock.now += MINUTE
    assert shown(metrics)["oldest_eligible_age_seconds"] == 660
    assert shown(metrics)["oldest_eligible_timestamp_seconds"] == (NOW - 10 * MINUTE).timestamp()
    metrics.saw(Snapshot(()), {}, NOW, frozenset())
    assert shown(metrics)["oldest_eligible_age_seconds"] == 0
    assert shown(metrics)["oldest_eligible_timestamp_seconds"] == 0


def test_a_bead_in_progress_gets_older_from_its_claim_whatever_its_agent_writes() -> None:
    clock = FakeClock()
    database, metrics = memory.Database(now=NOW), metrics_by(clock)
    claim = {"beads_dispatch.claim": "tabcdef 2026-01-01T00:00:00Z"}
    since = datetime(2026, 1, 1, tzinfo=UTC)
    database.put("sent", status="in_progress", metadata=claim, updated_at=NOW)
    database.put("by hand", status="in_progress", updated_at=NOW - MINUTE)
    metrics.saw(snapshot(database), {}, NOW, frozenset())
    assert shown(metrics)["oldest_in_progress_age_seconds"] == (NOW - since).total_seconds()
    assert shown(metrics)["oldest_in_progress_timestamp_seconds"] == since.timestamp()
    database.set("sent", status="closed")
    metrics.saw(snapshot(database), {}, NOW, frozenset())
    clock.now += MINUTE
    assert shown(metrics)["oldest_in_progress_age_seconds"] == 120


def test_a_queues_clock_that_is_ahead_changes_no_age_and_no_timestamp() -> None:
    clock = FakeClock()
    database, metrics = memory.Database(now=NOW + MINUTE), metrics_by(clock)
    database.put("a", updated_at=NOW)
    metrics.saw(snapshot(database), {}, NOW + MINUTE, frozenset())
    assert shown(metrics)["oldest_eligible_age_seconds"] == 60
    assert shown(metrics)["oldest_eligible_timestamp_seconds"] == (NOW - MINUTE).timestamp()


def test_it_shows_its_version_its_process_and_when_the_database_last_answered() -> None:
    clock = FakeClock()
    metrics = metrics_by(clock)
    clock.now += MINUTE
    found = shown(metrics)
    assert found['build_info{version="1.2.3"}'] == 1
    assert found["seconds_since_good_look"] == 60
    assert found["last_good_look_timestamp_seconds"] == NOW.timestamp()
    assert found["process_cpu_seconds_total"] > 0
    assert found["process_resident_memory_bytes"] > 1e6


def test_a_bead_that_waited_for_another_one_is_not_old_when_it_becomes_ready() -> None:
    database, metrics = memory.Database(now=NOW), metrics_by(FakeClock())
    metrics.saw(Snapshot(()), {}, NOW, frozenset())
    database.put("a", updated_at=NOW - 90 * MINUTE)
    metrics.saw(snapshot(database), {}, NOW, frozenset())
    assert shown(metrics)["oldest_eligible_age_seconds"] == 0


def test_a_hold_is_shown_by_what_is_left_of_it() -> None:
    clock = FakeClock()
    database, metrics = memory.Database(now=NOW), metrics_by(clock)
    database.put("a")
    assert shown(metrics)['hold_seconds{kind="service"}'] == 0
    held = {"service": Hold(NOW + 4 * MINUTE, 1, "down"), "usage": Hold(NOW + MINUTE, 0, "limit")}
    metrics.saw(snapshot(database), held, NOW, frozenset())
    assert shown(metrics)['hold_seconds{kind="service"}'] == 240
    assert shown(metrics)['hold_seconds{kind="usage"}'] == 60
    assert shown(metrics)['beads{reason="held",state="open"}'] == 1
    clock.now += MINUTE
    assert shown(metrics)['hold_seconds{kind="service"}'] == 180
    clock.now += 4 * MINUTE
    metrics.saw(snapshot(database), held, clock.now, frozenset())
    assert shown(metrics)['hold_seconds{kind="service"}'] == 0


def test_health_is_by_the_loop_and_readiness_by_the_database() -> None:
    clock = FakeClock()
    health = Health(clock.monotonic)
    assert page("/readyz", health, bytes)[0] == 503
    health.turned(answered=True)
    assert (page("/healthz", health, bytes)[0], page("/readyz", health, bytes)[0]) == (200, 200)
    health.turned(answered=False)
    assert (page("/healthz", health, bytes)[0], page("/readyz", health, bytes)[0]) == (200, 503)
    clock.now += timedelta(seconds=331)
    assert page("/healthz", health, bytes)[0] == 503
    assert page("/metrics", health, lambda: b"x") == (200, b"x")
