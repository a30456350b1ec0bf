"""What arrives at one process or host of an organisation and belongs to another."""

from __future__ import annotations

import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.doubles.authority import DAY
from tests.doubles.raw_peer import RawPeer
from tests.doubles.router_rig import authority
from tests.interop.federation import Federation
from tests.interop.netlab import wait_until
from tests.interop.routers import HELD, ORDERED, PORT, A, B, C, Organisation, routers_of

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]


def test_a_verification_at_the_other_process_is_handed_over(lab: Federation) -> None:
    """Both processes claim; the verifier's one connection arrives at one of them."""
    lab.start(*routers_of(B, C))
    for router in lab.of(B):
        lab.deliver(router, C)
    verifying = [link for router in lab.of(B) for link in router.links("them")]
    assert len(verifying) == 1
    for router in lab.of(B):
        claims = [claim for link in router.links("us") for claim in link["claims"]]
        assert [claim["state"] for claim in claims] == ["proved"], router.name
    # the link that proved the verifier carries his own messages too
    lab.deliver(lab["c1"], B)
    assert len(lab["c1"].links()) == 3


def test_over_tls_the_answer_is_of_the_process_that_holds_the_first_link(lab: Federation) -> None:
    """One process alone can compute it, from its TLS session; the other one only hands the secret over."""
    settings = certified(lab, B, C)
    lab.start(*routers_of(B, C), settings=settings)
    for router in lab.of(B):
        lab.deliver(router, C)
        for link in router.links("us"):
            assert link["tls"] == "TLSv1.3", router.name
            assert [claim["state"] for claim in link["claims"]] == ["proved"], router.name
    # all verifications came over one link, to one of the two
    verifying = [link for router in lab.of(B) for link in router.links("them")]
    assert len(verifying) == 1
    lab.deliver(lab["c1"], B)


def test_a_verification_at_the_other_host_goes_on_to_the_next_target(lab: Federation) -> None:
    """The first host always is asked first; a claim of the second is not its own."""
    lab.start(*routers_of(A, C))
    lab.deliver(lab["a2"], C, f"{A.user}@{ORDERED}")
    assert lab["a1"].logged(f"verification of {ORDERED} refused: not-mine")
    assert lab["a1"].links("them")
    assert not lab["a2"].logged("not-mine")
    lab.deliver(lab["a1"], C, f"{A.user}@{ORDERED}")


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_an_answer_at_the_other_process_is_handed_over(lab: Federation, family: int) -> None:
    """The asking process's link dies at the far end only; the answer takes the other process's link."""
    lab.place_of(C).unreachable(B.networks[1 - family])
    key = Ed25519PrivateKey.generate()
    lab.start(*routers_of(B))
    lab.start("c1", settings={"lab": True, "role": "aggregator"}, tables=held_domain(key))
    service = lab.place_of(C).inside(lambda: RawPeer.connect((C.host_addresses(1)[0], PORT)))
    service.hello()
    assert service.log_in(key) == 0

    first = lab["b1p1"].sending(f"somebody@{HELD}", "good morning")
    service.answer(service.request())
    assert first.outcome()["status"] == "success"
    before = {link["link"] for link in lab["c1"].links("them")}
    asked = lab["b1p0"].sending(f"somebody@{HELD}", "how are you?")
    request = service.request()
    (link,) = [link for link in lab["c1"].links("them") if link["link"] not in before]

    # c's end learns at its next ping that the connection is gone, b's end hears nothing of it
    port = link["address"].rpartition(":")[2]
    lab.place_of(B).reset(C.networks[family], "--sport", str(PORT), "--dport", port)
    wait_until(
        lambda: link["link"] not in {one["link"] for one in lab["c1"].links("them")}, "c's link has ended"
    )
    assert [one["state"] for one in lab["b1p0"].links("us")] == ["open"]

    service.answer(request)
    outcome = asked.outcome()
    assert outcome["status"] == "success", outcome
    assert lab["b1p1"].figure("imxrouter_foreign_responses_total") == 1
    assert lab["b1p0"].figure("imxrouter_foreign_responses_total") == 0
    service.close()


def certified(lab: Federation, *organisations: Organisation) -> dict[str, object]:
    """Settings with a certificate for each organisation's domain, by an authority that all trust."""
    here, now = lab.where / "certificates", time.time()
    for org in organisations:
        authority().issue(org.domain, not_before=now - DAY, not_after=now + DAY).write(here, org.domain)
    return {
        "trust.default_policy": "dialback+certificate",
        "tls.certificates": str(here),
        "tls.trust": [str(authority().issued.write(lab.where, "authority"))],
    }


def held_domain(key: Ed25519PrivateKey) -> str:
    """The tables of a domain whose service is this test."""
    public = key.public_key().public_bytes_raw().hex()
    return (
        f'[[service]]\nname = "held"\nkind = "imx"\nkey = "{public}"\n'
        f'[[domain]]\nname = "{HELD}"\nservice = "held"\n'
    )
