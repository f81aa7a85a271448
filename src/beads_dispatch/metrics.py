"""The watcher's numbers in Prometheus' format. Needs the extra: `pip install 'beads-dispatch[metrics]'`."""

from collections import Counter as Count
from datetime import UTC, datetime, timedelta

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from beads_dispatch import dispatcher, policy, reaper, status
from beads_dispatch.answers import Meaning
from beads_dispatch.listen import Health
from beads_dispatch.queue import Seen

disable_created_metrics()  # type: ignore[no-untyped-call]

RESULTS = {False: "ok", True: "failed"}


class Metrics:
    """Everything that `/metrics` shows; each name begins with `beads_dispatch_`."""

    def __init__(self, health: Health) -> None:
        self._registry = CollectorRegistry()
        self._since: dict[str, datetime] | None = None
        self._kinds: set[tuple[str, str]] = set()
        self._beads = self._gauge("beads", "Beads of the assignee that are not closed", "state", "reason")
        self._oldest = self._gauge("oldest_eligible_age_seconds", "Age of the bead that waits longest to be dispatched")
        self._hold = self._gauge("hold_seconds", "Seconds left of the queue's hold, 0 without one")
        since = self._gauge("seconds_since_good_look", "Seconds since the database last answered")
        since.set_function(health.seconds_since_answer)
        self._dispatches = self._counter("dispatches", "Dispatches by what BeadBoard's answer meant", "outcome")
        self._ticks = self._counter("ticks", "Ticks", "result")
        self._sweeps = self._counter("sweeps", "Sweeps", "result")
        self._blocked = self._counter("blocked", "Beads that a sweep blocked")
        self._accepted = Histogram(
            "beads_dispatch_assign_to_accepted_seconds",
            "From a bead's last change before its claim until BeadBoard accepted it",
            buckets=(1, 2, 5, 10, 30, 60, 300, 1800, 7200),
            registry=self._registry,
        )
        for meaning in Meaning:  # so that a rate is 0 and not absent before the first one
            self._dispatches.labels(outcome(meaning))
        for result in RESULTS.values():
            self._ticks.labels(result)
            self._sweeps.labels(result)

    def saw(self, seen: Seen, now: datetime, not_ready: frozenset[str]) -> None:
        """A look: where every bead stands."""
        hold, ahead = policy.hold(seen.beads, now), now - datetime.now(UTC)
        self._hold.set_function(lambda: _seconds(hold.until - datetime.now(UTC) - ahead if hold else None))
        counts = Count(status.kind(bead, now, not_ready, hold) for bead in seen.beads)
        counts += Count({("unreadable", ""): len(seen.unreadable)})
        for kind in self._kinds - counts.keys():  # one by one: a scrape never finds them all gone
            self._beads.remove(*kind)
        for kind, count in counts.items():
            self._beads.labels(*kind).set(count)
        self._kinds = set(counts)
        # A bead's own `updated_at` is new after every attempt to dispatch it, and old where it waited for another bead:
        # so it counts at the first look only, and after that the first sight of the bead as one that could go.
        waiting = [bead for bead in policy.candidates(seen.beads, now) if bead.id not in not_ready]
        first = self._since is None
        known = self._since or {}
        self._since = {bead.id: known.get(bead.id, bead.updated_at if first else now) for bead in waiting}
        oldest = min(self._since.values(), default=None)
        self._oldest.set_function(lambda: _seconds(datetime.now(UTC) + ahead - oldest if oldest else None))

    def ticked(self, report: dispatcher.Report) -> None:
        self._ticks.labels(RESULTS[report.failed]).inc()
        for meaning in report.answers:
            self._dispatches.labels(outcome(meaning)).inc()
        for seconds in report.accepted_after:
            self._accepted.observe(seconds)

    def swept(self, report: reaper.Report) -> None:
        self._sweeps.labels(RESULTS[report.failed]).inc()
        self._blocked.inc(report.blocked)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"beads_dispatch_{name}", text, labels, registry=self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"beads_dispatch_{name}", text, labels, registry=self._registry)


def outcome(meaning: Meaning) -> str:
    return meaning.name.lower()


def _seconds(time: timedelta | None) -> float:
    return max(0.0, time.total_seconds()) if time else 0.0
