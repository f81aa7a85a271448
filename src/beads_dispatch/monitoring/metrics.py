"""The watcher's numbers in Prometheus' format. Needs the extra `listen`."""

from collections import Counter as Count
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

from beads_dispatch.adapters.queue import Snapshot
from beads_dispatch.core import eligibility, marks, reasons
from beads_dispatch.core.bead import Bead
from beads_dispatch.core.holds import KINDS, Hold, Holds
from beads_dispatch.core.reasons import Known
from beads_dispatch.core.runner import Outcome
from beads_dispatch.jobs import dispatcher, reaper
from beads_dispatch.monitoring.health import Health

disable_created_metrics()  # type: ignore[no-untyped-call]

RESULTS = {False: "ok", True: "failed"}


@dataclass(frozen=True, slots=True)
class _OfAssignee(Collector):
    """A registry whose samples all have the label `assignee`: two watchers may be scraped under one job."""

    registry: CollectorRegistry
    assignee: str

    def collect(self) -> Iterable[Metric]:
        for metric in self.registry.collect():
            metric.samples = [one._replace(labels={**one.labels, "assignee": self.assignee}) for one in metric.samples]
            yield metric


class Metrics:
    """Everything that `/metrics` shows. Our own names begin with `beads_dispatch_`. `now`: the time of day, UTC."""

    def __init__(self, health: Health, now: Callable[[], datetime], assignee: str, version: str) -> None:
        registry = CollectorRegistry()
        self._health = health
        self._shown = _OfAssignee(registry, assignee)
        self._queue = _Queue(registry, now, assignee)
        since = _gauge(registry, "seconds_since_good_look", "Seconds since the database last answered")
        since.set_function(health.seconds_since_answer)
        looked = _gauge(registry, "last_good_look_timestamp_seconds", "When the database last answered, Unix time")
        looked.set_function(lambda: now().timestamp() - health.seconds_since_answer())
        _gauge(registry, "build_info", "1; the version is a label", "version").labels(version).set(1)
        self._count_what_happens(registry)
        self._start_at_zero()
        ProcessCollector(registry=registry)

    def _count_what_happens(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, namespace="beads_dispatch", registry=registry)
        histogram = partial(Histogram, namespace="beads_dispatch", registry=registry)
        self._dispatches = counter("dispatches", "Dispatches by the outcome of BeadBoard's answer", ["outcome"])
        self._ticks = counter("ticks", "Ticks", ["result"])
        self._sweeps = counter("sweeps", "Sweeps", ["result"])
        self._blocked = counter("blocked", "Beads that a sweep blocked")
        self._ended = counter("runs_ended", "Runs that ended without closing their bead", ["end"])
        self._cost = counter("run_cost_usd", "What those runs have cost, if their result says so")
        long = (10, 60, 300, 900, 1800, 3600, 7200, 14400)
        self._run_seconds = histogram("run_seconds", "How long those runs took", buckets=long)
        what = "From a bead's last change before its claim until BeadBoard accepted it"
        self._accepted = histogram("assign_to_accepted_seconds", what, buckets=(1, 2, 5, 10, 30, 60, 300, 1800, 7200))

    def _start_at_zero(self) -> None:
        """Create each counter at 0, so that a rate is 0 and not absent before the first event."""
        for outcome in Outcome:
            self._dispatches.labels(_label(outcome))
        for result in RESULTS.values():
            self._ticks.labels(result)
            self._sweeps.labels(result)

    def turned(self, answered: bool) -> None:
        self._health.turned(answered)

    def saw(self, snapshot: Snapshot, holds: Holds, now: datetime, not_ready: frozenset[str]) -> None:
        """Count every bead of a new snapshot. `now`: by the queue's clock."""
        self._queue.show(snapshot, holds, now, not_ready)

    def ticked(self, report: dispatcher.Report) -> None:
        self._ticks.labels(RESULTS[report.failed]).inc()
        for outcome in report.answers:
            self._dispatches.labels(_label(outcome)).inc()
        for seconds in report.accepted_after:
            self._accepted.observe(seconds)

    def swept(self, report: reaper.Report) -> None:
        self._sweeps.labels(RESULTS[report.failed]).inc()
        self._blocked.inc(report.blocked)
        for run in report.ended:
            self._ended.labels(run.outcome).inc()
            if run.seconds is not None:
                self._run_seconds.observe(run.seconds)
            self._cost.inc(run.cost or 0)

    def text(self) -> bytes:
        return generate_latest(self._shown)


def _gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"beads_dispatch_{name}", text, labels, registry=registry)


class _Queue:
    """Show the last snapshot: beads by state, holds, and since when the oldest beads wait and run."""

    def __init__(self, registry: CollectorRegistry, now: Callable[[], datetime], assignee: str) -> None:
        gauge = partial(_gauge, registry)
        self._now, self._assignee = now, assignee
        self._since: dict[str, datetime] | None = None
        self._kinds: set[tuple[str, str]] = set()
        self._beads = gauge("beads", "Beads of the assignee that are not closed", "state", "reason")
        self._hold = gauge("hold_seconds", "Seconds left of the queue's hold, 0 without one", "kind")
        for kind in KINDS:
            self._hold.labels(kind)
        self._waiting = _Oldest(
            gauge("oldest_eligible_age_seconds", "How long the oldest eligible bead has waited, 0 without one"),
            gauge("oldest_eligible_timestamp_seconds", "Since when, Unix time, 0 without one"),
            now,
        )
        self._running = _Oldest(
            gauge("oldest_in_progress_age_seconds", "Since the oldest claim of a bead in progress, 0 without one"),
            gauge("oldest_in_progress_timestamp_seconds", "When that was, Unix time, 0 without one"),
            now,
        )

    def show(self, snapshot: Snapshot, holds: Holds, now: datetime, not_ready: frozenset[str]) -> None:
        ahead = now - self._now()
        for kind in KINDS:
            self._show_hold(kind, holds.get(kind), ahead)
        queue, ready = reasons.queue_state(holds, snapshot.beads, now), snapshot.ids - not_ready
        standings = reasons.standings(snapshot.beads, Known(self._assignee, now, queue, ready))
        self._count(Count((bead.status, standings[bead.id].kind) for bead in snapshot.beads), snapshot)
        self._waiting.show(self._waiting_since(snapshot, now, not_ready), ahead)
        self._running.show([_claimed_at(bead) for bead in snapshot.beads if bead.status == "in_progress"], ahead)

    def _show_hold(self, kind: str, hold: Hold | None, ahead: timedelta) -> None:
        self._hold.labels(kind).set_function(lambda: _seconds(hold.until - self._now() - ahead if hold else None))

    def _count(self, counts: Count[tuple[str, str]], snapshot: Snapshot) -> None:
        counts += Count({("unreadable", ""): len(snapshot.unreadable)})
        for kind in self._kinds - counts.keys():  # one by one, so that a scrape never finds them all gone
            self._beads.remove(*kind)
        for kind, count in counts.items():
            self._beads.labels(*kind).set(count)
        self._kinds = set(counts)

    def _waiting_since(self, snapshot: Snapshot, now: datetime, not_ready: frozenset[str]) -> Iterable[datetime]:
        """Return since when each eligible bead has waited: from the first snapshot in which it was eligible.

        In our first snapshot it is from `updated_at`. Later that says little: each attempt to dispatch the bead renews
        it, and it is old if the bead has waited for another one.
        """
        waiting = [bead for bead in eligibility.eligible(snapshot.beads, now) if bead.id not in not_ready]
        first, known = self._since is None, self._since or {}
        self._since = {bead.id: known.get(bead.id, bead.updated_at if first else now) for bead in waiting}
        return self._since.values()


@dataclass(frozen=True, slots=True)
class _Oldest:
    """Show an age, and beside it the time from which it counts: a failed scrape shows only in the age."""

    age: Gauge
    since: Gauge
    now: Callable[[], datetime]

    def show(self, times: Iterable[datetime], ahead: timedelta) -> None:
        """Show the oldest of these times. They are by the queue's clock, which is ahead of ours by so much."""
        oldest = min(times, default=None)
        self.age.set_function(lambda: _seconds(self.now() + ahead - oldest if oldest else None))
        self.since.set((oldest - ahead).timestamp() if oldest else 0)


def _claimed_at(bead: Bead) -> datetime:
    """Return the time of our claim, or if a person set the bead in progress, of its last change."""
    claim = marks.claim(bead)
    return claim[1] if claim else bead.updated_at


def _label(outcome: Outcome) -> str:
    return outcome.name.lower()


def _seconds(time: timedelta | None) -> float:
    return max(0.0, time.total_seconds()) if time else 0.0
