"""What a schedule is made of: drawn from its seed, and simplified where it is shrunk."""

from dataclasses import dataclass
from datetime import timedelta
from random import Random

from simulation.faults import FAULTS, OF_CLUSTER

# What one bead does whenever it is tried.
TROUBLE = (
    "never found", "at fault", "opens itself", "leaves", "hangs", "fails at once", "sounds broken",
)  # fmt: skip
THRESHOLD = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Plan:
    """`spared`: single strikes that are left out, as (actor, fault, how manieth).

    `outage`: what every POST is answered with, or who is away, for the whole of the schedule.
    `minutes`: how long things go wrong. `runner`: where agents run, `beadboard` or `jobs`. `service`: how the agent
    service can be asked: `token`, `health` or not at all. `troublemaker`: what the first bead does whenever it is
    tried.
    """

    seed: int
    faults: frozenset[str]
    bd: str = "1.0.2"
    beads: int = 3
    dispatchers: int = 2
    reapers: int = 1
    watchers: int = 0
    per_tick: int = 2
    minutes: int = 40
    service: str = "token"
    first_generation: bool = False
    troublemaker: str = ""
    outage: str = ""
    agent: str = ""  # what is wrong with every run of the agent, for the whole of the schedule
    places: int = 2
    runner: str = "beadboard"
    spared: frozenset[tuple[str, str, int]] = frozenset()


def draw(seed: int) -> Plan:
    """The mix of faults too: each is in six schedules of ten. Agents are Kubernetes Jobs in three of ten."""
    random, of_cluster = Random(f"{seed}/plan"), Random(f"{seed}/cluster")
    jobs = of_cluster.random() < 0.3
    more = [fault for fault in OF_CLUSTER if jobs and of_cluster.random() < 0.6]
    return Plan(
        seed,
        frozenset([*(fault for fault in FAULTS if random.random() < 0.6), *more]),
        bd=random.choice(("1.0.2", "1.0.2", "1.3.0")),
        beads=random.choice((3, 3, 4, 5)),
        dispatchers=random.choice((1, 2, 2)),
        reapers=random.choice((1, 1, 2)),
        watchers=random.choice((0, 0, 1, 2)),
        per_tick=random.choice((1, 2, 3)),
        minutes=random.choice((10, 20, 40)),
        service=random.choice(("token", "token", "token", "health", "none")),
        first_generation=random.random() < 0.1,
        troublemaker=random.choice(("", "", "", *TROUBLE)),
        runner="jobs" if jobs else "beadboard",
    )
