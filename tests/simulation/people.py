"""A person who changes beads at any moment."""

from contextlib import closing

from beads_dispatch.adapters.queue import ServerQueue
from beads_dispatch.core.errors import BdFailed, Failure
from beads_dispatch.core.holds import resumed
from simulation.bd import SimulatedBd
from simulation.rows import Row
from simulation.world import Actor, World

ACTIONS = (
    "--status=open", "--status=open", "--status=open", "--status=closed", "--status=blocked", "--status=in_progress",
    "--defer=5", "--defer=60", "--defer=600", "--assignee=somebody", "--assignee=agent", "--notes=what I think",
    "--append-notes=what I think", '--metadata={"mine": 1}', "--acceptance= ", "--acceptance=it works", "resume",
    "ready",
)  # fmt: skip


def live(world: World) -> None:
    """Acts about every two minutes, sometimes twice in a row, until all is healthy."""
    person = Actor(world, "person", "person")
    while not world.healed:
        world.sleep(person.random.choice((3, 200, 300)) * person.random.random())
        if person.hits("taken back"):
            take_back(person, person.random.choice(sorted(world.rows)))
        if person.hits("other hands"):
            act(person, person.random.choice(ACTIONS), person.random.choice(sorted(world.rows)))


def react(world: World, cause: str, bead: str, *actions: str) -> None:
    """Somebody who sees what is done with the bead, and has other plans."""
    person = Actor(world, "person", f"person who sees {cause}")
    world.sleep(person.random.choice((0.5, 5, 60)) * person.random.random())
    act(person, person.random.choice(actions or ACTIONS), bead)


def take_back(person: Actor, bead: str, *, first: bool = False) -> None:
    """`bd import` of an older export, a restored row, a merge that takes theirs: no bead of ours has a say."""
    world = person.world
    before, old = world.rows[bead], person.random.choice(world.history[bead][: 1 if first else None])
    world.rows[bead] = Row(old)
    world.woken.discard(bead)
    world.changed(bead)
    world.say(f"somebody takes {bead} back to {old['status']}: {old['metadata']}")
    world.invariants.taken_back(bead, before)


def hurry(world: World, cause: str) -> None:
    """The same, on a bead that a sweep looks after."""
    running = [bead for bead, row in world.rows.items() if row["status"] == "in_progress"]
    if running:
        world.spawn(0, lambda: react(world, cause, running[0]))


def act(person: Actor, action: str, bead: str) -> None:
    person.world.counts[f"person: {action.strip('-')}"] += 1
    try:
        if action == "resume":
            resume(person)
        elif action == "ready":
            wake(person.world)
        else:
            SimulatedBd(person).json("update", action, "--", bead)
    except (BdFailed, Failure):
        pass


def wake(world: World) -> None:
    """A `bd ready` of 1.3 opens the deferred beads that are due. Nobody has asked for another run."""
    for bead, row in world.rows.items():
        if row["status"] == "deferred" and row["defer_until"] and row["defer_until"] <= world.now():
            world.rows[bead] = Row({**row, "status": "open", "defer_until": None})
            world.woken.add(bead)
            world.changed(bead)
            world.history[bead].pop()  # taken back to this, it looks as if a person had opened it: docs/guarantees.md
            world.say(f"bd itself opens {bead}, which was deferred")


def resume(person: Actor) -> None:
    """As the command does it."""
    from simulation.dolt import SimulatedDolt

    dolt: object = SimulatedDolt(person)
    with closing(ServerQueue(dolt, "agent", person.now)) as queue:  # type: ignore[arg-type]
        for kind, hold in queue.holds().items():
            queue.set_hold(kind, resumed(kind, hold, queue.now()))


def put_right(world: World) -> None:
    """When all is healthy, a person looks after what waits for one."""
    person = Actor(world, "person", "tidy person")
    for bead in sorted(world.rows):
        if world.rows[bead]["status"] in ("blocked", "deferred", "open") and person.random.random() < 0.7:
            act(person, "--assignee=agent", bead)
            act(person, "--acceptance=it works", bead)
            act(person, "--status=open", bead)
