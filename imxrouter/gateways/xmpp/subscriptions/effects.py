"""What the two machines ask their caller to do, and the rules that both are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Generic, TypeVar

from imxrouter.gateways.xmpp.translate.showing import PresenceStanza
from imxrouter.model.operations import Notify, Subscribe

#: Between the two addresses of a key; neither may hold it.
BETWEEN: Final = b"\n"

State = TypeVar("State", bound=Enum)
Do = TypeVar("Do", bound=Enum)


@dataclass(slots=True)
class Effects:
    """What is to be done, in this order within each list.

    Attributes:
        stanzas: to users of XMPP services.
        operations: to be routed; the outcome of a Subscribe goes to `Watchers.answered`.
        notifications: to be routed, with their tickets; the outcome goes to `Presentities.answered`.
        doubts: told in the router's name, with unknown presence; nobody waits for their outcome.
    """

    stanzas: list[PresenceStanza] = field(default_factory=list)
    operations: list[Subscribe] = field(default_factory=list)
    notifications: list[tuple[int, Notify]] = field(default_factory=list)
    doubts: list[Notify] = field(default_factory=list)

    def add(self, other: Effects) -> None:
        """Put another's behind these."""
        self.stanzas += other.stanzas
        self.operations += other.operations
        self.notifications += other.notifications
        self.doubts += other.doubts


@dataclass(frozen=True)
class Rule(Generic[State, Do]):
    """One entry of a table of transitions.

    Attributes:
        rows: ids of the mapping's rows that say it.
        then: the state after it.
        do: what is done, in this order; one that cannot be done ends it, and the state stays.
    """

    rows: tuple[str, ...]
    then: State
    do: tuple[Do, ...] = ()
