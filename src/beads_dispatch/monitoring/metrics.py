"""The watcher's numbers in Prometheus' format. Needs the extra: `pip install 'beads-dispatch[metrics]'`."""

from collections import Counter as Count
from collections.abc import Callable
from datetime import datetime, timedelta

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from beads_dispatch import dispatcher, reaper, status
from beads_dispatch.adapters.queue import Snapshot
from beads_dispatch.core import backoff, eligibility
from beads_dispatch.core.backoff import Holds
from beads_dispatch.core.outcomes import Outcome
from beads_dispatch.monitoring.health import Health

disable_created_metrics()  # type: ignore[no-untyped-call]

RESULTS = {False: "ok", True: "failed"}


class Metrics:
    """Everything that `/metrics` shows. Each name begins with `beads_dispatch_`. `now`: the time of day, UTC."""

    def __init__(self, health: Health, now: Callable[[], datetime]) -> None:
        self._now = now
        self._registry = CollectorRegistry()
        self._since: dict[str, datetime] | None = None
        self._kinds: set[tuple[str, str]] = set()
        self._beads = self._gauge("beads", "Beads of the assignee that are not closed", "state", "reason")
        self._oldest = self._gauge("oldest_eligible_age_seconds", "How long the oldest eligible bead has waited")
        self._hold = self._gauge("hold_seconds", "Seconds left of the queue's hold, 0 without one")
        since = self._gauge("seconds_since_good_look", "Seconds since the database last answered")
        since.set_function(health.seconds_since_answer)
        self._dispatches = self._counter("dispatches", "Dispatches by the outcome of BeadBoard's answer", "outcome")
        self._ticks = self._counter("ticks", "Ticks", "result")
        self._sweeps = self._counter("sweeps", "Sweeps", "result")
        self._blocked = self._counter("blocked", "Beads that a sweep blocked")
        self._ended = self._counter("runs_ended", "Runs that ended without closing their bead", "end")
        self._cost = self._counter("run_cost_usd", "What those runs have cost, where their result says so")
        self._run_seconds = Histogram(
            "beads_dispatch_run_seconds",
            "How long those runs took",
            buckets=(10, 60, 300, 900, 1800, 3600, 7200, 14400),
            registry=self._registry,
        )
        self._accepted = Histogram(
            "beads_dispatch_assign_to_accepted_seconds",
            "From a bead's last change before its claim until BeadBoard accepted it",
            buckets=(1, 2, 5, 10, 30, 60, 300, 1800, 7200),
            registry=self._registry,
        )
        self._start_at_zero()

    def _start_at_zero(self) -> None:
        """A rate is then 0, and not absent, before the first event."""
        for outcome in Outcome:
            self._dispatches.labels(_label(outcome))
        for result in RESULTS.values():
            self._ticks.labels(result)
            self._sweeps.labels(result)

    def saw(self, snapshot: Snapshot, holds: Holds, now: datetime, not_ready: frozenset[str]) -> None:
        """Counts every bead of a new snapshot. `now`: by the queue's clock."""
        hold, ahead = backoff.in_force(holds, now), now - self._now()
        self._hold.set_function(lambda: _seconds(hold.until - self._now() - ahead if hold else None))
        counts = Count(status.kind(bead, now, not_ready, hold) for bead in snapshot.beads)
        counts += Count({("unreadable", ""): len(snapshot.unreadable)})
        for kind in self._kinds - counts.keys():  # one by one, so that a scrape never finds them all gone
            self._beads.remove(*kind)
        for kind, count in counts.items():
            self._beads.labels(*kind).set(count)
        self._kinds = set(counts)
        # `updated_at` is new after every attempt to dispatch a bead, and old where the bead waited for another one. So
        # it counts in the first snapshot only. Later, a bead waits from the first snapshot in which it was eligible.
        waiting = [bead for bead in eligibility.eligible(snapshot.beads, now) if bead.id not in not_ready]
        first = self._since is None
        known = self._since or {}
        self._since = {bead.id: known.get(bead.id, bead.updated_at if first else now) for bead in waiting}
        oldest = min(self._since.values(), default=None)
        self._oldest.set_function(lambda: _seconds(self._now() + ahead - oldest if oldest else None))

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
            self._ended.labels(run.kind).inc()
            if run.seconds is not None:
                self._run_seconds.observe(run.seconds)
            self._cost.inc(run.cost or 0)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"beads_dispatch_{name}", text, labels, registry=self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"beads_dispatch_{name}", text, labels, registry=self._registry)


def _label(outcome: Outcome) -> str:
    return outcome.name.lower()


def _seconds(time: timedelta | None) -> float:
    return max(0.0, time.total_seconds()) if time else 0.0
