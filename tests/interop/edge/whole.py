"""Routers that do everything: each before a server, XMPP outside, IMX between both, users of their own.

Nothing is said of any other domain: policies are the defaults, and who is reached how stands in DNS alone.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from tests.interop.edge.authority import Authorities
from tests.interop.edge.insides import own_names
from tests.interop.edge.places import EJABBERD, PROSODY
from tests.interop.edge.routers import EdgeRouter

#: What a host of an XMPP server takes over IMX: foreign forms too, for groups and queries.
_TYPES: Final = 'types = ["message", "subscribe", "notify", "attributes", "foreign"]\n'


class WholeRouter(EdgeRouter):
    """A router before a server; before Prosody it has ejabberd behind it as well, for one host of each."""

    def _more_settings(self, where: Path, authorities: Authorities) -> dict[str, object]:
        own = [*own_names(self.side), self.domain, f"router.{self.side.name}.example"]
        authorities.issue(*own, by=authorities.outside).write(where / "certificates", "all")
        trusted = where / "trusted.pem"
        trusted.write_bytes(authorities.outside.issued.chain_pem)
        return {
            "xmpp.listen": [f"{self.side.router}:5269"],
            "tls.certificates": str(where / "certificates"),
            "tls.trust": [str(trusted)],
            "dial.allow_networks": ["192.0.2.0/24"],
            "log.trace_deliveries": True,
        }

    def _domain(self, name: str) -> str:
        return super()._domain(name) + _TYPES

    def _changed(self, text: str) -> str:
        if not self.side.second:
            return text
        other = EJABBERD if self.side is PROSODY else PROSODY
        text = text.replace(
            'listen = ["10.0.0.9:5269"', f'listen = ["10.0.0.9:5269", "{self.side.second}:5269"'
        )
        text = text.replace('allow = ["10.0.0.9/32"', f'allow = ["10.0.0.9/32", "{other.server}/32"')
        assert text.count(self.side.second) == text.count(other.server) == 1
        text += f'[[service]]\nname = "other"\nkind = "xmpp"\naddress = "{other.server}:5269"\n'
        for name in (other.both, f"conference.{other.both}"):
            text += f'[[domain]]\nname = "{name}"\nservice = "other"\n'
        return text

    def spoken(self, domains: Collection[str]) -> set[str]:
        """By which protocols any of some domains is spoken with or for, on links that are there now."""
        return {
            link["protocol"]
            for link in self.client.links()
            if link["role"] == "peer"
            and any({claim["ours"], claim["theirs"]} & set(domains) for claim in link["claims"])
        }
