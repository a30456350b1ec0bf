"""A router that is the gateway of both servers: docs/operators/xmpp-components.md, its second part, done."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tests.interop.edge.authority import Authorities
from tests.interop.edge.component_page import SECRET, gateway_tables
from tests.interop.edge.places import EJABBERD, GATE, PROSODY, RESOLVER, Edge
from tests.interop.edge.routers import EdgeRouter
from tests.interop.netlab import wait_until

SIDES: Final = {"prosody": PROSODY, "ejabberd": EJABBERD}


class GatewayRouter(EdgeRouter):
    """It, with `carol` at its own domain; other routers reach its domains by IMX."""

    def __init__(self, lab: Edge, where: Path) -> None:
        self._secret = where.with_suffix(".secret")
        self._secret.write_text(SECRET + "\n")
        super().__init__(GATE, lab.places["n"], where, lab.authorities, RESOLVER)

    def _more_settings(self, where: Path, authorities: Authorities) -> dict[str, object]:
        own = [self.domain, f"router.{self.side.name}.example", *(side.gated for side in SIDES.values())]
        authorities.issue(*own, by=authorities.outside).write(where / "certificates", "all")
        trusted = where / "trusted.pem"
        trusted.write_bytes(authorities.outside.issued.chain_pem)
        return {
            "tls.certificates": str(where / "certificates"),
            "tls.trust": [str(trusted)],
            "dial.allow_networks": ["192.0.2.0/24"],
        }

    def _changed(self, text: str) -> str:
        head = text.partition("[xmpp.inside]")[0]
        home = '[[service]]\nname = "home"\nkind = "embedded"\nusers = ["carol"]\n'
        home += f'[[domain]]\nname = "{self.domain}"\nservice = "home"\n'
        for service, side in SIDES.items():  # rooms are domains of their own, as the page says
            home += f'[[domain]]\nname = "conference.{side.gated}"\nservice = "{service}"\n'
        return f"{head}{gateway_tables(self._secret, SIDES)}\n{home}"

    def _names(self) -> list[Any]:
        streams = [link["stream"] for link in self.client.links() if link["state"] == "open"]
        return sorted(one["ours"] for one in streams if one is not None)

    def until_attached(self) -> None:
        """Wait until it is the gateway of both servers."""
        wanted = sorted(side.gateway for side in SIDES.values())
        wait_until(lambda: self._names() == wanted, f"attached as {wanted}", 40)
