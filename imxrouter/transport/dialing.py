"""What the transport's parts need of whatever opens connections; `connector.py` provides it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Uri
from imxrouter.routing.dialling import Permit
from imxrouter.transport.link import Link

Endpoint = tuple[str, int]
#: Finds an open link to an endpoint that satisfies a function.
Reuse = Callable[[Endpoint, Callable[[Link], bool]], Link | None]


def no_reuse(_endpoint: Endpoint, _fits: Callable[[Link], bool]) -> Link | None:
    """Have a new link opened."""
    return None


@dataclass(frozen=True, slots=True)
class Dialled:
    """A link to one of a domain's targets.

    Attributes:
        session: the link.
        endpoint: the target's.
        reused: it was open before.
        only: what it is published for alone; None: for messages and presence.
    """

    session: Link
    endpoint: Endpoint
    reused: bool
    only: Uri | None = None


class DialFailed(RouterError):
    """No target of the domain could be reached (or none is left to try)."""

    def __init__(self, reason: Reason, note: str, *, exhausted: bool = False) -> None:
        super().__init__(f"{reason.word}: {note}")
        self.reason = reason
        self.note = note
        self.exhausted = exhausted


class Dialer(Protocol):
    """Opens a connection to a domain by its own DNS or pin."""

    def dial(
        self,
        domain: Domain,
        make: Callable[[], Link],
        *,
        reuse: Reuse,
        skip: AbstractSet[Endpoint] = frozenset(),
        permit: Permit | None = None,
        own: Domain | None = None,
        need: int = 0,
        first: Link | None = None,
        presence: bool = False,
    ) -> Deferred[Dialled]:
        """Look up, choose, connect; the session's hello is not awaited.

        Args:
            domain: whose routers.
            make: makes the protocol of a new connection.
            reuse: an open link to that very endpoint for which the given function holds, or None.
            skip: endpoints not to be tried again.
            permit: leave to dial at a stranger's word, whose limits and refused addresses apply; None
                for our own traffic.
            own: the domain of ours whose certificate is presented, if it has one.
            need: bits of strength that the link must have beside what policy asks.
            first: the link whose claim this is to verify; what is reached must make its claim good.
            presence: what is published for presence is looked up, not what is for messages.

        Raises (as failure):
            DialFailed: with the most telling reason.
        """


@dataclass(frozen=True, slots=True)
class Reach:
    """How remote domains are reached by one protocol.

    Attributes:
        dialer: opens connections.
        make: makes the protocol of a new connection, of a domain of ours (None: of any) to a remote one.
        shares: one link may lead to several remote domains, and a busy peer may have more than one.
    """

    dialer: Dialer
    make: Callable[[Domain | None, Domain], Link]
    shares: bool = True
