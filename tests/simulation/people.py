"""What a person does meanwhile, in any state of a bead."""

from datetime import timedelta

from simulation.world import World


def meddle(world: World, horizon: float) -> None:
    """Six deeds in one schedule; harmful ones only where the schedule has the fault `meddling`."""
    deeds = (_open, _defer, _close, _hand_over, _blank, _edit) if "meddling" in world.faults else (_open, _defer)
    for _ in range(6):
        world.sleep(world.random.random() * horizon / 4)
        bead, deed = world.random.choice(sorted(world.rows)), world.random.choice(deeds)
        world.happened[f"person{deed.__name__}"] += 1
        world.say(f"person: {deed.__name__.strip('_')} {bead}")
        deed(world, bead)
        if deed in (_hand_over, _blank):
            world.sleep(world.random.random() * 60)
            world.rows[bead].update(assignee="agent", acceptance_criteria="it works")
            world.changed(bead)


def _open(world: World, bead: str) -> None:
    world.opened(bead, "person")


def _defer(world: World, bead: str) -> None:
    until = world.now() + timedelta(seconds=world.random.random() * 300)
    world.rows[bead].update(status="deferred", defer_until=until)
    if world.hits("notes replaced", 0.3):
        world.rows[bead]["notes"] = "later"
        world.ledger.replaced.add(bead)
    world.changed(bead)


def _close(world: World, bead: str) -> None:
    world.rows[bead]["status"] = "closed"
    world.changed(bead)


def _hand_over(world: World, bead: str) -> None:
    world.rows[bead]["assignee"] = "somebody"
    world.changed(bead)


def _blank(world: World, bead: str) -> None:
    world.rows[bead]["acceptance_criteria"] = " "
    world.changed(bead)


def _edit(world: World, bead: str) -> None:
    """Either record of a dispatch, or both."""
    if world.random.random() < 0.6:
        world.rows[bead]["notes"] = "mine"
        world.ledger.replaced.add(bead)
    if world.random.random() < 0.6:
        world.rows[bead]["metadata"] = {}
        world.ledger.strip(bead)
    world.changed(bead)
