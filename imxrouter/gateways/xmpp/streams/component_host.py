"""Bridges behind us that are written as components of an XMPP server (XEP-0114): we are their server.

A component's stream is a link of a service, as one on which a service logs in by its key: what is for the
service's domains goes to it, and it may send as those domains alone. It is proved by the secret of its
service. There is one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.protocol import Factory
from twisted.logger import Logger

from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.networks import Network, is_in
from imxrouter.gateways.xmpp.streams.no_claims import NoClaims
from imxrouter.gateways.xmpp.streams.parts import StreamLink, StreamParts
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.gateways.xmpp.terms import Confirm, StreamSettings, StreamTerms, TlsRule
from imxrouter.model.vocabulary import Reason
from imxrouter.switch.ports import Role
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Door, Link
from imxrouter.transport.services import Services
from imxrouter.wire.control import Control, Hello

#: Ends that are refusals of ours.
_REFUSALS: Final = frozenset(
    {Reason.LOGIN_FAILED, Reason.NOT_PROVED, Reason.RELAY_DENIED, Reason.PROTOCOL_ERROR}
)


class ComponentHost(NoClaims):
    """Decides which component is which. It is the `Trust` of their streams, and a `LinkEvents`.

    Args:
        hub: links of this process.
        name: what we go by.
        secrets: of the services that are components, by their names.
        service_of: the service of a served domain that is active; None for any other.
        services: binds a service's links to its domains.
        confirm: how it is known that a stanza arrived at a component.
        settings: times and bounds of a stream.
        on_login: told a stream whose component is proved.
        networks: from where components may connect.

    Attributes:
        networks: the same; see `allow`.
        parts: what the streams share; set before the first one.
    """

    log = Logger()

    def __init__(
        self,
        hub: Hub,
        name: str,
        secrets: Mapping[str, bytes],
        service_of: Callable[[str], str | None],
        services: Services,
        confirm: Callable[[str], Confirm],
        settings: Callable[[], StreamSettings],
        on_login: Callable[[Link], None],
        networks: Sequence[Network],
    ) -> None:
        self._hub, self._name = hub, name
        self.secrets = dict(secrets)
        self._service_of, self._services = service_of, services
        self._confirm, self._settings, self._on_login = confirm, settings, on_login
        self.networks = networks
        #: whether a component is attached at another process of this host
        self.elsewhere: Callable[[str], bool] = lambda _service: False
        self.parts: StreamParts

    def change(self, secrets: Mapping[str, bytes]) -> None:
        """Know these secrets alone; a component that came in by another one is at an end."""
        concerned, self.secrets = self.concerned(secrets), dict(secrets)
        for session in concerned:
            self._services.end(session, f"the secret of service {session.service} is another")

    def concerned(self, secrets: Mapping[str, bytes]) -> list[Link]:
        """Streams of components that would not be taken by these secrets."""
        changed = {name for name, secret in self.secrets.items() if secret != secrets.get(name)}
        return [one for one in self._hub.sessions.values() if one.service in changed]

    def allow(self, networks: Sequence[Network]) -> None:
        """Components may connect from these alone; what came from elsewhere ends, proved or not."""
        self.networks = networks
        for session in self.shut(networks):
            session.end(Reason.NOT_PROVED, "your address is not allowed here any more")

    def shut(self, networks: Sequence[Network]) -> list[Link]:
        """Streams of components that would not be there with these networks."""
        return [
            one for one in self._hub.sessions.values()
            if one.door is Door.COMPONENTS and not is_in(one.remote[0], networks)
        ]  # fmt: skip

    # -- making ------------------------------------------------------------------------------------------

    def accept(self) -> XmppSession:
        """The protocol of a connection of a component."""
        return XmppSession(
            self._hub, StreamRole.COMPONENT_IN, self.parts, door=Door.COMPONENTS, own=self._name
        )

    def terms(self, session: StreamLink) -> StreamTerms:
        """What a component's stream is held to."""
        return StreamTerms(
            tls=TlsRule.NONE,  # XEP-0114 has none
            serves=lambda name: self._component_of(name) is not None,
            admits=self._against,
            secret=self._secret,
            also=lambda name: bool(session.service) and self._component_of(name) == session.service,
            bidi=False,
            sm=False,
            settings=self._settings(),
        )

    def _component_of(self, name: str) -> str | None:
        service = self._service_of(name)
        return service if service in self.secrets else None

    def _secret(self, name: str) -> bytes | None:
        return self.secrets.get(self._service_of(name) or "")

    def _against(self, name: str) -> Condition | None:
        """Its secret is right; one that is there already stays."""
        service = self._component_of(name) or ""
        is_here = any(one.service == service and one.is_open for one in self._hub.sessions.values())
        if not is_here and not self.elsewhere(service):
            return None
        self._hub.count(Reason.OVER_CAP)
        return Condition.CONFLICT

    # -- who is who (`parts.Trust`) ------------------------------------------------------------------------

    def attached(self, session: StreamLink, name: str) -> None:
        """A component knows the secret: from now on it is its service."""
        service = self._component_of(name)
        if service is None:  # its domain went in this very moment
            session.end(Reason.LOGIN_FAILED, f"{name} is no component here")
            return
        self._on_login(session)
        session.machine.confirmations.choose(self._confirm(name))
        session.service = service
        session.port.role = Role.SERVICE
        self._services.rebind(service)
        self.log.info(
            "component {name} of service {service} attached on link {link}", name=name, service=service,
            link=session.number,
        )  # fmt: skip

    # -- events ------------------------------------------------------------------------------------------

    def opened(self, session: Link, peer: Hello | None) -> None:
        """Nothing is left to do."""

    def control(self, session: Link, record: Control) -> None:
        """Streams have no records."""

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """The switch uses it no more."""

    def lost(self, session: Link) -> None:
        """A stream is gone; why one was refused is counted, and said."""
        if session.door is not Door.COMPONENTS:
            return
        reason = session.drop_reason
        if reason in _REFUSALS and not session.machine.peer_closed:
            self._hub.count(reason)
        self.log.info(
            "component stream {link} with {address} ended: {reason}", link=session.number,
            address=session.remote[0], reason=reason.word, stage=reason.stage.value, note=session.drop_note,
        )  # fmt: skip

    def tick(self, now: float) -> None:
        """Nothing is due."""


class ComponentFactory(Factory):
    """Makes a stream for each connection that a component opens.

    Args:
        hub: its process.
        host: what all of them share; who may not connect there is cut off, before a byte is read.
    """

    noisy = False
    log = Logger()

    def __init__(self, hub: Hub, host: ComponentHost) -> None:
        self._hub, self._host = hub, host

    def buildProtocol(self, addr: Any) -> XmppSession | None:
        """Called by Twisted; None closes the connection."""
        if not is_in(addr.host, self._host.networks):
            self.log.warn(
                "{address} may not connect to components: see xmpp.components.allow", address=addr.host,
                reason=Reason.RELAY_DENIED.word, stage=Reason.RELAY_DENIED.stage.value,
            )  # fmt: skip
            self._hub.count(Reason.RELAY_DENIED)
            return None
        if self._hub.turns_away(addr.host, Door.COMPONENTS):
            return None
        return self._host.accept()
