"""Which beads in progress a sweep blocks: those without a sign of life for too long."""

from datetime import datetime, timedelta

from beads_dispatch.core.bead import Bead


def idle_for(bead: Bead, now: datetime) -> timedelta:
    """Time since the bead's last sign of life. Never below 0, because clients' clocks differ."""
    return max(now - last_sign(bead), timedelta(0))


def stale_at(bead: Bead, threshold: timedelta) -> datetime:
    """When a bead in progress becomes stale, UTC, if it shows no sign of life before."""
    last = last_sign(bead) + threshold
    return max(last, bead.lease_expires_at) if bead.lease_expires_at else last


def last_sign(bead: Bead) -> datetime:
    """When the bead last showed a sign of life, UTC."""
    signs = (bead.updated_at, bead.heartbeat_at, bead.commented_at)
    return max(sign for sign in signs if sign)


def stale(bead: Bead, now: datetime, threshold: timedelta) -> bool:
    """Whether a bead in progress has shown no sign of life for longer than `threshold`. A lease in force is one."""
    alive = bead.lease_expires_at is not None and bead.lease_expires_at > now
    return bead.status == "in_progress" and not alive and idle_for(bead, now) > threshold
