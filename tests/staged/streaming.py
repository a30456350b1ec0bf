"""A server of XMPP cannot be used: it does not host the domain, or takes no proof that we can give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imxrouter.model.vocabulary import Reason
from tests.doubles.router_rig import free_port, fresh_address, issued
from tests.doubles.xmpp_server import Conduct
from tests.staged.scene import Case, Scene, Told

Z = "z.example"
_STREAM = "urn:ietf:params:xml:ns:xmpp-streams"


def _ends(condition: str) -> str:
    return f"<stream:error><{condition} xmlns='{_STREAM}'/></stream:error></stream:stream>"


def _meeting(**conduct: Any) -> Callable[[Scene], Told]:
    """Alice writes to Zoe, whose domain has one server of XMPP, which behaves so."""

    def play(scene: Scene) -> Told:
        ip = fresh_address()
        a = scene.router(
            "a.example", endpoint=(ip, free_port(ip)), certificates=[["a.example"]],
            settings={"xmpp.listen": [f"{ip}:{free_port(ip)}"], "trust.xmpp_default": "dialback+tls"},
        )  # fmt: skip
        host, port = scene.server(Z, Conduct(issued(Z), **conduct))
        scene.lab.zones.load(f"_xmpp-server._tcp 60 IN SRV 0 0 {port} im\nim 60 IN A {host}\n", Z)
        return scene.say(a, "alice@a.example", f"zoe@{Z}")

    return play


CASES = [
    Case(
        "a server that does not host the domain",
        "the domain's XMPP records lead to a server that answers `host-unknown`",
        _meeting(required=False, instead={"features": _ends("host-unknown")}), Reason.NOT_HOSTED,
    ),
    Case(
        "a server that takes a claim for a domain that it does not host",
        "the same, said only once we claim our own domain (`item-not-found`)",
        _meeting(dialback="error"), Reason.NOT_HOSTED, by=Z,
    ),
    Case(
        "a server that refuses our certificate and takes no dial-back",
        "the server asks for a certificate, and refuses ours",
        _meeting(external="refuse", offers_dialback=False, instead={"result": _ends("not-authorized")}),
        Reason.NO_COMMON_PROOF,
    ),
    Case(
        "a server that takes neither EXTERNAL nor dial-back",
        "the server does not trust our certificate, so it offers nothing at all",
        _meeting(offers_dialback=False, instead={"result": _ends("unsupported-stanza-type")}),
        Reason.NO_COMMON_PROOF,
    ),
]  # fmt: skip
