"""The other end of a component's stream (XEP-0114), spoken by hand: the component, or its server."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any, Final

from imxrouter.gateways.xmpp.heard import AFTER
from imxrouter.gateways.xmpp.names import COMPONENT
from imxrouter.gateways.xmpp.xml import StreamParser
from tests.doubles.raw_peer import PATIENCE_S, Endpoint
from tests.doubles.router_rig import Lab, RouterRig, free_port, fresh_address
from tests.doubles.xmpp import XmppPeer

SECRET: Final = "a secret of the laboratory"
_OPENING: Final = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept'"
    " xmlns:stream='http://etherx.jabber.org/streams'"
)


def digest(ident: str, secret: str) -> str:
    """What proves the secret (XEP-0114 section 3), written out a second time."""
    return hashlib.sha1((ident + secret).encode(), usedforsecurity=False).hexdigest()


class ComponentPeer(XmppPeer):
    """One connection, by hand."""

    def __init__(self, sock: socket.socket, *, accepts: bool) -> None:
        super().__init__(sock, accepts=accepts)
        self.begin_anew()

    def begin_anew(self) -> None:
        """The next that comes is a header."""
        self._parser.close()
        self._parser = StreamParser(AFTER, COMPONENT, stepwise=True)

    # -- as the component ------------------------------------------------------------------------------

    def begin(self, name: str) -> None:
        """Say a component's header, and take the answer."""
        self.send(f"{_OPENING} to='{name}'>")
        self.expect_header()

    def prove(self, secret: str = SECRET) -> None:
        """Say the handshake; what comes is not waited for."""
        self.send(f"<handshake>{digest(self.ident, secret)}</handshake>")

    def attach(self, name: str, secret: str = SECRET) -> None:
        """All of it, which must be taken."""
        self.begin(name)
        self.prove(secret)
        self.expect("handshake")

    def says(self, from_: str, to: str, text: str = "it is me") -> None:
        """Send a message."""
        self.send(f"<message from='{from_}' to='{to}' id='1' type='chat'><body>{text}</body></message>")

    def pong(self, ping: str, from_: str, to: str) -> None:
        """Answer a ping."""
        self.send(f"<iq from='{from_}' to='{to}' id='{ping}' type='result'/>")

    # -- as the server ---------------------------------------------------------------------------------

    def take(self, secret: str = SECRET, ident: str = "i1") -> str:
        """Take a component that knows the secret; its name."""
        header = self.expect_header()
        self.send(f"{_OPENING} from='{header.to}' id='{ident}'>")
        said = self.expect("handshake").tree().text
        assert said == digest(ident, secret)
        self.send("<handshake/>")
        return header.to


class ComponentServer:
    """Where components attach."""

    def __init__(self) -> None:
        self.ip = fresh_address()
        self._listener = socket.create_server((self.ip, 0))
        self._listener.settimeout(PATIENCE_S)
        self.endpoint: Endpoint = (self.ip, self._listener.getsockname()[1])

    def accept(self) -> ComponentPeer:
        """The next connection."""
        sock, _ = self._listener.accept()
        sock.settimeout(PATIENCE_S)
        return ComponentPeer(sock, accepts=True)

    def close(self) -> None:
        """Take no more."""
        self._listener.close()


def secret_file(lab: Lab, text: str = SECRET) -> Path:
    """A file with a secret."""
    path = lab.folder / f"component-{digest('', text)[:8]}.secret"
    path.write_text(text + "\n", "ascii")
    return path


class HostRig:
    """A router with users of its own at which components attach.

    Attributes:
        rig: the router; `b.example` is its users' domain.
        endpoint: where components attach.
        his: the address from where they may.
    """

    def __init__(self, lab: Lab, *names: str, **more: Any) -> None:
        ip = fresh_address()
        self.endpoint: Endpoint = (ip, free_port(ip))
        self.his = fresh_address()
        settings = {
            "xmpp.components.listen": [f"{ip}:{self.endpoint[1]}"],
            "xmpp.components.allow": [f"{self.his}/32"],
        }
        tables = "".join(
            f'[[service]]\nname = "{name}"\nkind = "component"\nsecret_file = "{secret_file(lab)}"\n'
            f'[[domain]]\nname = "{name}"\nservice = "{name}"\n'
            for name in names
        )
        tables += str(more.pop("tables", ""))
        self.rig: RouterRig = lab.router("b.example", settings=settings, tables=tables, **more)

    def connect(self, at: str = "") -> ComponentPeer:
        """A connection of a component's."""
        peer = ComponentPeer.connect(self.endpoint, at or self.his)
        assert isinstance(peer, ComponentPeer)
        return peer

    def errors(self) -> dict[tuple[str, str], int]:
        """Stream errors counted, by condition and direction."""
        return dict(self.rig.call(lambda: dict(self.rig.router.metrics.xmpp.errors)))


def attached_table(service: str, server: ComponentServer, secret: Path, *domains: str) -> str:
    """The tables of a server behind a router at which that attaches."""
    ip, port = server.endpoint
    return (
        f'[[service]]\nname = "{service}"\nkind = "xmpp"\n'
        f'[[xmpp.component]]\nservice = "{service}"\naddress = "{ip}:{port}"\n'
        f'secret_file = "{secret}"\ndomains = {json.dumps(domains)}\n'
    )
