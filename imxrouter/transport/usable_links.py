"""Which link that this process opened carries its own traffic to a domain, or could."""

from __future__ import annotations

from collections.abc import Callable

from imxrouter.link.machine import LinkState
from imxrouter.routing.choice import Protocol, Uri
from imxrouter.transport.dialback import Claimer
from imxrouter.transport.dialing import Endpoint
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link, Purpose


class UsableLinks:
    """See the module.

    Args:
        hub: links of this process.
        claimer: says what a link is worth for a domain.
    """

    def __init__(self, hub: Hub, claimer: Claimer) -> None:
        self._hub, self._claimer = hub, claimer

    def reaching(self, to_domain: bytes, protocol: Protocol | None, uri: Uri = Uri.IM) -> Link | None:
        """One that was dialled for a domain, open or about to be.

        Args:
            to_domain: in wire form.
            protocol: that it is to speak.
            uri: what it is to carry.
        """
        for session in self._hub.opened_links:
            if (
                session.purpose is Purpose.DATA
                and to_domain in session.reached
                and session.protocol is protocol
                and self._hub.switch.ways.fits(to_domain, session.port, uri)
                and session.machine.state in (LinkState.AWAIT_HELLO, LinkState.OPEN)
                and not session.port.closed
                and not session.leaving
                and self._claimer.worth(session, to_domain).accepted
            ):
                return session
        return None

    def to(self, endpoint: Endpoint, fits: Callable[[Link], bool]) -> Link | None:
        """An open one to an address and port that may carry another domain's traffic, too.

        Args:
            endpoint: the address and port.
            fits: what else is asked of it.
        """
        for session in self._hub.opened_links.to(endpoint):
            usable = session.purpose is Purpose.DATA and not session.redirected and session.is_open
            if usable and not session.port.carries_stanzas and fits(session):
                return session
        return None
