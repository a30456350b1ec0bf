"""What makes streams of connections that come in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Factory

from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.parts import StreamParts
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Door

#: What a connection is, by the door at which it came in.
ROLES = {
    Door.XMPP: StreamRole.S2S_IN,
    Door.INSIDE: StreamRole.INSIDE_IN,
    Door.COMPONENTS: StreamRole.COMPONENT_IN,
}


class StreamFactory(Factory):
    """Makes a session for each connection that comes in at one door.

    Args:
        hub: its process.
        parts: what all streams share.
        door: which.
        only_tls: TLS comes with the first byte there.
        may_come: asked the address of each connection.
    """

    noisy = False

    def __init__(
        self, hub: Hub, parts: StreamParts, door: Door, *, only_tls: bool = False,
        may_come: Callable[[str], bool] = lambda _address: True,
    ) -> None:  # fmt: skip
        self._hub, self._parts, self._door, self._only_tls = hub, parts, door, only_tls
        self._may_come = may_come

    def buildProtocol(self, addr: Any) -> Any:
        """Called by Twisted; None closes the connection, before anything is made for it."""
        if not self._may_come(addr.host) or self._hub.turns_away(addr.host, self._door):
            return None
        return XmppSession(
            self._hub, ROLES[self._door], self._parts, door=self._door, only_tls=self._only_tls
        )
