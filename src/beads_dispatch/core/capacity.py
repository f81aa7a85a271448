"""How much room the agent service has, read from its health."""

from collections.abc import Mapping
from dataclasses import dataclass

from beads_dispatch.core.runner import Room


@dataclass(frozen=True, slots=True)
class AgentState:
    """What the services say about the agent.

    `free`: whether an agent could start; None if no service was asked, or one did not answer.
    `failed_url`: the service that did not answer. `known`: whether a service is configured here.
    `watcher`: describes the running watcher, if no service is known here.
    """

    text: str
    free: bool | None = None
    failed_url: str = ""
    known: bool = True
    watcher: str = ""


def without_services(watcher: str) -> AgentState:
    """Return the agent's state if no service is known here. `watcher`: describes the running one; empty if none is."""
    if watcher:
        return AgentState(f"asked by the running watcher ({watcher})", known=False, watcher=watcher)
    return AgentState("unknown: BEADBOARD_URL is not set here, and no running watcher was found", known=False)


def room(health: Mapping[str, object]) -> Room | None:
    """Return whether there is room, or None if the answer cannot be understood.

    The agent service's first generation reports only `busy`, not its places.
    """
    busy, counted = health.get("busy"), counts(health, "capacity", "active", "queued")
    if counted is not None:
        capacity, taken = counted[0], counted[1] + counted[2]
        return Room(capacity > taken and busy is not True, taken, capacity)
    return Room(not busy) if isinstance(busy, bool) else None


def counts(health: Mapping[str, object], *keys: str) -> list[int] | None:
    """Return these counts, or None if the service does not report all of them."""
    known = [value for key in keys if isinstance(value := health.get(key), int)]
    return known if len(known) == len(keys) else None
