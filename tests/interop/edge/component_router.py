"""A router that is a component of both servers and has a bridge: docs/operators/xmpp-components.md, done."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tests.interop.edge.component_page import SECRET, router_tables
from tests.interop.edge.names import BRIDGE, Side
from tests.interop.edge.places import EJABBERD, NAME_SERVER, PROSODY, RESOLVER, Edge
from tests.interop.edge.routers import EdgeRouter
from tests.interop.netlab import wait_until

#: It has an address of its own that both servers reach; none is before it.
SIDE: Final = Side("c", server="", router=NAME_SERVER)
#: Where the bridge attaches, and from where.
HOST: Final = (NAME_SERVER, 5347)
SIDES: Final = {"prosody": PROSODY, "ejabberd": EJABBERD}


class ComponentRouter(EdgeRouter):
    """It, with `carol` at its own domain."""

    def __init__(self, lab: Edge, where: Path) -> None:
        self._trusted = lab.authorities.trusted
        self._secret = where.with_suffix(".secret")
        self._secret.write_text(SECRET + "\n")
        super().__init__(SIDE, lab.places["n"], where, lab.authorities, RESOLVER)

    def _changed(self, text: str) -> str:
        head = text.partition("[xmpp.inside]")[0]
        tables = router_tables(self._secret, SIDES).replace("127.0.0.1", NAME_SERVER)
        home = '[[service]]\nname = "home"\nkind = "embedded"\nusers = ["carol"]\n'
        return f'{head}{tables}\n{home}[[domain]]\nname = "{self.domain}"\nservice = "home"\n'

    def attach_in_tls(self, service: str, port: int, name: str) -> str:
        """Have it attach at a server in TLS, by a reload; returns what its file said before."""
        before, server = self._config.read_text(), SIDES[service].server
        there = f'address = "{server}:5347"'
        assert before.count(there) == 1
        keys = f'address = "{server}:{port}"\nserver_name = "{name}"\nanchor = "{self._trusted}"'
        self.reload(before.replace(there, keys))
        return before

    def reload(self, text: str) -> None:
        """Let its file say this, and have it read."""
        self._config.write_text(text)
        view = self.client.config_reload(dry_run=False)
        assert view["result"] == "applied", view

    def said(self) -> str:
        """What it has logged."""
        return (self._where / "out").read_text()

    def tls(self, service: str) -> set[str]:
        """Versions of TLS on its streams to a server; `none` in clear."""
        return {link["tls"] for link in self.client.links() if link["name"] == service}

    def attached(self, service: str) -> list[Any]:
        """The domains that it is at a server now."""
        return sorted(
            link["stream"]["ours"]
            for link in self.client.links()
            if link["name"] == service and link["state"] == "open" and link["stream"] is not None
        )

    def until_attached(self, service: str) -> None:
        """Wait until it is a component of every name at a server."""
        wanted = sorted(SIDES[service].components)
        wait_until(lambda: self.attached(service) == wanted, f"attached at {service}: {wanted}", 40)

    def until_bridged(self) -> None:
        """Wait until the bridge is among the links."""
        wait_until(
            lambda: any(link["domains"] == [BRIDGE] for link in self.client.links()), "the bridge is there"
        )
