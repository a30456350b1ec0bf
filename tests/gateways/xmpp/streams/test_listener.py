"""What is made of a connection of another organisation's server, and when nothing is."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.listener import StreamFactory
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.link.machine import LinkState
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.link import Door
from tests.gateways.xmpp.streams.rig import HEADER, B, Router, alone

FROM = IPv4Address("TCP", "192.0.2.1", 40_000)


def made(router: Router, *, only_tls: bool) -> XmppSession | None:
    """What a listener of a router makes of a connection."""
    protocol = StreamFactory(router.hub, router.parts, only_tls=only_tls).buildProtocol(FROM)
    assert protocol is None or isinstance(protocol, XmppSession)
    return protocol


@pytest.mark.parametrize("only_tls", [False, True])
def test_clear_text_is_read_where_tls_does_not_come_first(*, only_tls: bool) -> None:
    """A stream in clear begins at the one door (STARTTLS may follow), and ends at once at the other."""
    session = made(Router(Clock(), B), only_tls=only_tls)
    assert session is not None
    assert (session.role, session.door) == (StreamRole.S2S_IN, Door.XMPP)
    alone(session)
    session.dataReceived(HEADER)
    if only_tls:
        assert session.drop_reason is Reason.TLS_FAILED
        assert session.machine.other == ""
    else:
        assert session.machine.state is not LinkState.CLOSED
        assert session.machine.other == "a.example"


def test_nothing_is_made_for_who_is_turned_away() -> None:
    """An address that is over its cap costs no session; it is judged by the door at which it knocks."""
    router = Router(Clock(), B)
    asked: list[tuple[str, Door]] = []

    def turns_away(address: str, door: Door) -> bool:
        asked.append((address, door))
        return True

    router.hub.turns_away = turns_away
    before = router.hub.next_port_number()
    assert made(router, only_tls=False) is None
    assert asked == [("192.0.2.1", Door.XMPP)]
    assert router.hub.next_port_number() == before + 1
