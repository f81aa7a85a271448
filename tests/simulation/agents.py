"""What an agent does with its bead, and how its process ends."""

from simulation.services import ENDS, USAGE_LIMIT, Run, Services
from simulation.world import World


def work(world: World, services: Services, run: Run) -> None:
    """One agent on one bead, until it ends or is killed."""
    draw = world.random
    if world.hits("usage limit", 0.3):
        world.sleep(draw.random() * 20)
        services.end(run, "usage limit", USAGE_LIMIT)
        return
    for _ in range(draw.randrange(3)):
        world.sleep(draw.choice((0.1, 1, 60, 600)) * draw.random())
        if not run.alive:
            return
        _note(world, run)
    odd = world.hits("odd run", 0.6)
    how, document = draw.choice(ENDS) if odd else ENDS[0]
    if how == "timeout":  # the service gives the job up; its process goes on
        services.end(run, how, document)
        world.sleep(draw.random() * 900)
    word = draw.choice(("closed", "blocked", "deferred", "open", "", "")) if odd else "closed"
    _last_word(world, run, "open" if world.hits("eager agent", 0.9) else word)
    world.sleep(draw.choice((0.1, 5, 30)) * draw.random())
    services.end(run, how, document)


def _note(world: World, run: Run) -> None:
    row = world.rows[run.bead]
    if world.hits("notes replaced", 0.3):
        row["notes"] = "half of it"
        world.ledger.replaced.add(run.bead)
    else:
        row["notes"] += "\nhalf of it"
    if world.hits("marks taken away", 0.2):
        row["metadata"] = {"mine": 1}
        world.ledger.strip(run.bead)
    world.changed(run.bead)
    world.say(f"agent: notes on {run.bead}: {row['metadata']}")


def _last_word(world: World, run: Run, status: str) -> None:
    if not run.alive or not status:
        return
    world.happened[f"agent sets {status}"] += 1
    if status == "open":
        world.opened(run.bead, "agent")
        return
    row = world.rows[run.bead]
    row["status"] = status
    row["defer_until"] = world.now() if status == "deferred" else None
    world.changed(run.bead)
    world.say(f"agent: sets {run.bead} {status}")
