"""Links over TLS between two routers over real sockets: levels, identities, claims."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imxrouter.link.machine import Side
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.session import LinkSession
from tests.doubles.reactor_thread import ReactorThread
from tests.doubles.router_rig import Lab, RouterRig

STRICT = {"trust.default_policy": "dialback+certificate"}


def tls_router(lab: Lab, *domains: str, policy: str = "dialback+certificate", **options: object) -> RouterRig:
    """A router with one certificate for each of its domains."""
    certificates = options.pop("certificates", [[name] for name in domains])
    settings = {"trust.default_policy": policy, **options.pop("settings", {})}  # type: ignore[dict-item]
    return lab.router(*domains, settings=settings, certificates=certificates, **options)


def level(rig: RouterRig, domain: str, side: Side) -> set[int]:
    """At which strengths a peer domain speaks on links of that side."""
    raw = domain.encode()
    return {one.port.sources[raw][0] for one in rig.sessions() if one.side is side and raw in one.port.sources}


def test_two_routers_prove_each_other_with_certificates(lab: Lab) -> None:
    """Dial-back, certificate and binding; messages pass in both directions; nothing is in clear."""
    a, b = tls_router(lab, "a.example"), tls_router(lab, "b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    assert b.inbox("bob@b.example") == [("alice@a.example", "hello")]
    assert level(b, "a.example", Side.ACCEPTOR) == {15}
    assert level(a, "b.example", Side.OPENER) == {15}
    for rig in (a, b):
        assert all(one.tls is not None and one.tls.version == "TLSv1.3" for one in rig.sessions())
