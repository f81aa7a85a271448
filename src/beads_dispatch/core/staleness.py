"""Which beads in progress a sweep blocks: those that have made no progress for too long."""

from datetime import datetime, timedelta

from beads_dispatch.core.bead import Bead


def idle_for(bead: Bead, now: datetime) -> timedelta:
    """Return the time since the bead last made progress. Never below 0, because clients' clocks differ."""
    return max(now - last_sign(bead), timedelta(0))


def stale_at(bead: Bead, threshold: timedelta) -> datetime:
    """Return when a bead in progress becomes stale, UTC, if it makes no progress before."""
    last = last_sign(bead) + threshold
    return max(last, bead.lease_expires_at) if bead.lease_expires_at else last


def last_sign(bead: Bead) -> datetime:
    """Return when the bead last made progress, UTC."""
    signs = (bead.updated_at, bead.heartbeat_at, bead.commented_at)
    return max(sign for sign in signs if sign)


def stale(bead: Bead, now: datetime, threshold: timedelta) -> bool:
    """Return whether a bead has made no progress for longer than `threshold`. A lease in force is progress."""
    alive = bead.lease_expires_at is not None and bead.lease_expires_at > now
    return bead.status == "in_progress" and not alive and idle_for(bead, now) > threshold
