"""What makes streams of connections that come in from other organisations' servers."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory

from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.parts import StreamParts
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Door


class StreamFactory(Factory):
    """Makes a session for each connection that comes in.

    Args:
        hub: its process.
        parts: what all streams share.
        only_tls: TLS comes with the first byte there.
    """

    noisy = False

    def __init__(self, hub: Hub, parts: StreamParts, *, only_tls: bool) -> None:
        self._hub, self._parts, self._only_tls = hub, parts, only_tls

    def buildProtocol(self, addr: Any) -> Any:
        """Called by Twisted; None closes the connection, before anything is made for it."""
        if self._hub.turns_away(addr.host, Door.XMPP):
            return None
        return XmppSession(self._hub, StreamRole.S2S_IN, self._parts, door=Door.XMPP, only_tls=self._only_tls)
