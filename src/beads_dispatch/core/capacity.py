"""How much room the agent service has, read from its health."""

from collections.abc import Mapping
from dataclasses import dataclass

from beads_dispatch.core.runner import Room


@dataclass(frozen=True, slots=True)
class AgentState:
    """What the services say of the agent. `free`: None where they were not asked, or one of them does not answer.

    `failed_url`: what gave no answer. `known` False: no service is known here. `watcher`: who then watches the queue.
    """

    text: str
    free: bool | None = None
    failed_url: str = ""
    known: bool = True
    watcher: str = ""


def without_services(watcher: str) -> AgentState:
    """Where no service is known. `watcher`: who watches the queue, in words; empty where nobody is seen to."""
    if watcher:
        return AgentState(f"asked by the watcher at work ({watcher})", known=False, watcher=watcher)
    return AgentState("not asked (BEADBOARD_URL is not set); no watcher is seen at work", known=False)


def room(health: Mapping[str, object]) -> Room | None:
    """Not busy and, where the service counts, a free place. Its first generation has only `busy`. None: neither."""
    busy, counted = health.get("busy"), counts(health, "capacity", "active", "queued")
    if counted is not None:
        capacity, taken = counted[0], counted[1] + counted[2]
        return Room(capacity > taken and busy is not True, taken, capacity)
    return Room(not busy) if isinstance(busy, bool) else None


def counts(health: Mapping[str, object], *keys: str) -> list[int] | None:
    """These counts, or None where the service does not give all of them."""
    known = [value for key in keys if isinstance(value := health.get(key), int)]
    return known if len(known) == len(keys) else None
