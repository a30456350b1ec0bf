"""What the hosts of the two servers are called, and how servers prove themselves there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: Of every user.
PASSWORD: Final = "pw"

#: Where servers take streams that begin with TLS.
DIRECT_TLS_PORT: Final = 5270


#: A domain of a bridge behind the router that is a component of both servers.
BRIDGE: Final = "bridge.example"


class Mode(StrEnum):
    """How a host's servers prove who they are.

    CLEAR: by dial-back (XEP-0220), without TLS. TLS: by dial-back inside TLS, with certificates that nobody
    vouches for. EXTERNAL: by certificates alone (XEP-0178).
    """

    CLEAR = "clear"
    TLS = "tls"
    EXTERNAL = "ext"


@dataclass(frozen=True, slots=True)
class Side:
    """A server, its hosts and its place for a router.

    Attributes:
        name: a letter; also of the namespace.
        server: the server's address.
        router: the router's.
        second: one more of the router, where the other side's server finds its inside; empty: it does not.
    """

    name: str
    server: str
    router: str
    second: str = ""

    def free(self, mode: Mode) -> str:
        """A host that the public DNS leads straight to the server."""
        return f"{mode}.{self.name}.free.example"

    def inside(self, mode: Mode) -> str:
        """A host that the public DNS leads to the router before the server."""
        return f"{mode}.{self.name}.example"

    @property
    def home(self) -> str:
        """The domain of the router's own users."""
        return f"home-{self.name}.example"

    @property
    def edge(self) -> str:
        """A host behind the router, which the public DNS, and so everybody, leads there for XMPP."""
        return f"{Mode.EXTERNAL}.edge.{self.name}.free.example"

    @property
    def near(self) -> str:
        """A host of the server itself that the other server is led to through its router."""
        return f"{Mode.EXTERNAL}.near.{self.name}.example"

    @property
    def direct(self) -> str:
        """A host of the server itself that is published for TLS from the first byte alone (XEP-0368)."""
        return f"{Mode.EXTERNAL}.direct.{self.name}.free.example"

    @property
    def bidi(self) -> dict[Mode, str]:
        """Hosts of the server itself that take both directions on one stream (XEP-0288), inside TLS alone."""
        return {mode: f"{mode}.bidi.{self.name}.free.example" for mode in (Mode.TLS, Mode.EXTERNAL)}

    @property
    def imx(self) -> str:
        """A host behind the router that publishes IMX and nothing else."""
        return f"imx.{self.name}.example"

    @property
    def both(self) -> str:
        """A host behind the one router that both servers are behind; nothing is published of it."""
        return f"both.{self.name}.example"

    @property
    def joined(self) -> str:
        """A host whose server has a router as its component; no DNS leads to it."""
        return f"joined.{self.name}.example"

    @property
    def gated(self) -> str:
        """A host whose server has a router as its gateway; everybody is led to that router for it, by IMX."""
        return f"gated.{self.name}.example"

    @property
    def gateway(self) -> str:
        """The gateway's name at the server."""
        return f"gw.{self.name}.free.example"

    @property
    def components(self) -> tuple[str, ...]:
        """The domains that are components of the server."""
        other = {"p": "e", "e": "p"}.get(self.name, self.name)
        return (f"joined.{other}.example", Side("c", "", "").home, BRIDGE)

    @property
    def hosts(self) -> dict[str, Mode]:
        """All hosts of the server."""
        more = {
            self.edge: Mode.EXTERNAL,
            self.near: Mode.EXTERNAL,
            self.direct: Mode.EXTERNAL,
            self.imx: Mode.CLEAR,
            self.both: Mode.CLEAR,
        }
        more |= {host: mode for mode, host in self.bidi.items()}
        return {host(mode): mode for host in (self.free, self.inside) for mode in Mode} | more
