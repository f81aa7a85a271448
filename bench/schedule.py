"""What follows from a schedule, and is computed instead of waited for."""

from collections.abc import Sequence

TICK_SECONDS, SWEEP_SECONDS = 120.0, 600.0  # both pairs' CronJobs: every 2 and every 10 minutes
DAY = 24 * 3600.0
TICKS, SWEEPS = round(DAY / TICK_SECONDS), round(DAY / SWEEP_SECONDS)  # a day
THRESHOLD_SECONDS = 30 * 60.0  # of the shell's reaper


def until_next(period: float, samples: int = 21) -> Sequence[float]:
    """Seconds from a moment until the next run of a CronJob: any moment is as likely as another."""
    return [period * step / (samples - 1) for step in range(samples)]
