"""What a stranger's word can make us dial, and send (specification 11.11, 11.13)."""

from typing import Any

import pytest

from imxrouter.discovery.guard import DialGuard
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.dialling import DialLimits
from imxrouter.transport.dialing import Dialled
from imxrouter.transport.verifier import Verifier
from imxrouter.wire.control import Claim, ClaimResult
from tests.attacks.seams import guarded
from tests.doubles.raw_peer import SOME_TOKEN, Endpoint, RawListener, RawPeer
from tests.doubles.router_rig import Lab, RouterRig, fresh_address

#: Claims on each link before a proof, and the links that the attacker opens.
CLAIMS, LINKS = 16, 4
#: Connections that one network causes towards one address: a burst of 3, and one more every 4 seconds.
MOST_CONNECTIONS = 6


def _claim_all(lab: Lab, b: RouterRig, victim: Endpoint) -> list[RawPeer]:
    """Mallory claims 64 domains, each of a zone of its own, all of which lead to the victim."""
    m = lab.organisation("m.example")
    links = [m.connect(b) for _ in range(LINKS)]
    for at, link in enumerate(links):
        for number in range(CLAIMS):
            name = f"v{at * CLAIMS + number}.example"
            lab.publish(name, victim)
            link.send(Claim(number + 1, name.encode(), b"b.example", SOME_TOKEN))
    return links


@guarded
def test_reflection(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory aims us at a victim that speaks no IMX. Check: connections to one address are limited.

    What the victim gets is counted: connections, and bytes; no byte of it was chosen by Mallory.
    """
    if not guarded:
        monkeypatch.setattr(DialLimits, "admit_target", lambda *_args, **_more: None)
    b = lab.router("b.example", settings={"dial.hello_timeout_s": 0.5, "links.ping_s": 0.2})
    victim = RawListener(fresh_address())
    links = _claim_all(lab, b, victim.endpoint)
    for link in links:
        results = [link.find(ClaimResult) for _ in range(CLAIMS)]
        assert all(result.reason for result in results)
    connections = victim.take_waiting()
    for one in connections:
        one.until_closed()
    sent = sum(len(one.raw) for one in connections)
    assert SOME_TOKEN not in b"".join(bytes(one.raw) for one in connections)
    assert b"v1.example" not in b"".join(bytes(one.raw) for one in connections)
    assert sent <= 400 * len(connections)  # a hello, and the close that says that none came
    if guarded:
        assert 0 < len(connections) <= MOST_CONNECTIONS
        assert sent < sum(len(Claim(1, b"v1.example", b"b.example", SOME_TOKEN).encode()) for _ in range(64))
    else:
        assert len(connections) > 2 * MOST_CONNECTIONS  # his share of links that only verify is left
    victim.close()


@guarded
def test_bytes_of_a_stranger_at_a_victim(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory's token shall reach a port that speaks another protocol.

    Check: nothing but a hello is sent before the other side's hello.
    """
    if not guarded:
        dialled = Verifier._dialled

        def at_once(verifier: Verifier, result: Dialled, verification: Any) -> None:
            dialled(verifier, result, verification)
            verifier._ask(result.session, verification)

        monkeypatch.setattr(Verifier, "_dialled", at_once)
    b = lab.router("b.example", settings={"dial.hello_timeout_s": 0.5, "links.ping_s": 0.2})
    victim, m = RawListener(fresh_address()), lab.organisation("m.example")
    lab.publish("m.example", victim.endpoint)
    m.connect(b).send(Claim(1, b"m.example", b"b.example", b"DELETE / HTTP/1.1"))
    connection = victim.accept()
    connection.until_closed()
    assert (b"DELETE / HTTP/1.1" in connection.raw) == (not guarded)
    victim.close()


@guarded
@pytest.mark.parametrize("kind", ["loopback", "mapped", "own-listener"])
def test_refused_addresses(lab: Lab, kind: str, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory's DNS leads to an address inside our network. Check: the guard judges the address dialled."""
    if not guarded:
        monkeypatch.setattr(DialGuard, "check", lambda *_: None)
    allowed: list[str] = [] if kind == "loopback" else ["127.0.0.0/8", "::1/128"]
    b = lab.router("b.example", settings={"dial.allow_networks": allowed})
    inside, m = RawListener(fresh_address()), lab.organisation("m.example")
    ip, port = inside.endpoint
    where = {"loopback": (ip, port), "mapped": (f"::ffff:{ip}", port), "own-listener": b.endpoint}[kind]
    lab.publish("m.example", where)
    link = m.connect(b)
    link.send(Claim(1, b"m.example", b"b.example", SOME_TOKEN))
    if guarded:
        assert link.expect(ClaimResult).reason == Reason.ADDRESS_REFUSED.code
        assert inside.take_waiting() == []
        assert len(b.sessions()) == 1
    elif kind == "own-listener":
        lab.wait_until(lambda: len(b.router.hub.sessions) == 3, "we speak with ourselves")
    else:
        inside.accept()
    inside.close()


def test_private_and_low_ports(lab: Lab) -> None:
    """Where no test can listen, the word of the refusal is looked at."""
    b, m = lab.router("b.example"), lab.organisation("m.example")
    link = m.connect(b)
    places = [("10.0.0.1", 6490), ("192.168.1.1", 6490), ("169.254.1.1", 6490), ("224.0.0.1", 6490),
              ("fe80::1", 6490), ("fc00::1", 6490), ("64:ff9b::a00:1", 6490), (b.ip, 25)]  # fmt: skip
    for number, place in enumerate(places, 1):
        lab.publish(f"p{number}.example", place)
        link.send(Claim(number, f"p{number}.example".encode(), b"b.example", SOME_TOKEN))
        assert link.expect(ClaimResult).reason == Reason.ADDRESS_REFUSED.code
