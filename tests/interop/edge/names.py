"""What the hosts of the two servers are called, and how servers prove themselves there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: Of every user.
PASSWORD: Final = "pw"


#: Domains that are components of both servers: users of a router itself, and of a bridge behind it.
GATE: Final = "gate.example"
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
    """

    name: str
    server: str
    router: str

    def free(self, mode: Mode) -> str:
        """A host that the public DNS leads straight to the server."""
        return f"{mode}.{self.name}.free.example"

    def inside(self, mode: Mode) -> str:
        """A host that the public DNS leads to the router before the server."""
        return f"{mode}.{self.name}.example"

    @property
    def joined(self) -> str:
        """A host whose server has a router as its component; no DNS leads to it."""
        return f"joined.{self.name}.example"

    @property
    def components(self) -> tuple[str, ...]:
        """The domains that are components of the server."""
        other = {"p": "e", "e": "p"}.get(self.name, self.name)
        return (f"joined.{other}.example", GATE, BRIDGE)

    @property
    def hosts(self) -> dict[str, Mode]:
        """All hosts of the server."""
        return {host(mode): mode for host in (self.free, self.inside) for mode in Mode}
