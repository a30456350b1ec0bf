"""How a server is reached that takes us for a component: in clear, or in TLS from the first byte.

XEP-0114 has no TLS of its own. ejabberd offers it on the port for components (`tls` of a listener with
`module: ejabberd_service`), so that the stream begins when the handshake is done; Prosody 0.12 has none.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail

from imxrouter.gateways.xmpp.streams.component_client import Place
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.encryption import EncryptedSocket, HandshakeFailed, open_tls
from imxrouter.transport.opening import OpenedSocket, OpenSocket

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from imxrouter.app.trust.link_tls import LinkTls

#: A handshake has so long, as the connection before it.
HANDSHAKE_S = 5.0


class Attaching:
    """See the module.

    Args:
        clock: for the limit of a handshake.
        open_socket: opens a connection.
        link_tls: our ends of TLS, and whom we trust.
    """

    def __init__(self, clock: IReactorTime, open_socket: OpenSocket, link_tls: LinkTls) -> None:
        self._clock, self._open_socket, self._link_tls = clock, open_socket, link_tls

    def __call__(self, place: Place) -> Deferred[OpenedSocket]:
        """Open a connection to a server; fails with `HandshakeFailed` where it is another one."""
        opening = self._open_socket(*place.address)
        if not place.server_name:
            return opening
        encrypted: Deferred[OpenedSocket] = opening.addCallback(partial(self._encrypted, place))
        return encrypted

    def _encrypted(self, place: Place, socket: OpenedSocket) -> Deferred[OpenedSocket]:
        maker = self._link_tls.ends
        if maker is None:
            socket.close()
            return fail(HandshakeFailed("there is no TLS here"))
        # no certificate of ours: the secret is the proof; and no protocol by name, for none is registered
        make = partial(maker.opening, None, place.server_name, place.address, b"")
        done = open_tls(self._clock, socket, make, maker.facts, HANDSHAKE_S, alpn=b"")
        return done.addCallback(partial(self._judged, place))

    def _judged(self, place: Place, socket: EncryptedSocket) -> OpenedSocket:
        why_not = self._link_tls.why_not_server(place.server_name, place.anchors, socket.facts)
        if why_not:
            socket.close()
            raise HandshakeFailed(why_not, Reason.CERTIFICATE_REFUSED)
        return socket
