"""Who wants to be taken for a bridge of the operator's, or for more than it is (XEP-0114)."""

from types import SimpleNamespace

import pytest

from imxrouter.gateways.xmpp import machine, negotiation
from imxrouter.gateways.xmpp.machine import StreamMachine
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.steps import Step
from imxrouter.gateways.xmpp.streams import component_host
from imxrouter.gateways.xmpp.streams.component_host import ComponentHost
from imxrouter.model.vocabulary import Reason
from imxrouter.switch.checks import Checks
from tests.attacks.seams import guarded
from tests.attacks.stream_routers import wait_for_message
from tests.doubles.component import ComponentPeer, HostRig
from tests.doubles.router_rig import Lab, fresh_address

BRIDGE, OTHER, BOB = "bridge.example", "other.example", "bob@b.example"


def reaches_bob(lab: Lab, host: HostRig, peer: ComponentPeer, sender: str) -> None:
    """What is said in that name comes to Bob."""
    peer.says(sender, BOB)
    wait_for_message(lab, host.rig, BOB)
    assert host.rig.inbox(BOB) == [(sender, "it is me")]


@guarded
def test_component_in_anothers_name(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge says something in the name of another bridge's user.

    Check: a component speaks for the domains of its own service; the source of a record is the second wall.
    """
    if not guarded:
        monkeypatch.setattr(StreamMachine, "_is_component", lambda *_: True)
    host = HostRig(lab, BRIDGE, OTHER, checks=Checks(source=guarded))
    peer = host.connect()
    peer.attach(BRIDGE)
    if guarded:
        peer.says(f"alice@{OTHER}", BOB)
        assert peer.error() is Condition.INVALID_FROM
        assert host.errors() == {("invalid-from", "sent"): 1}
        assert host.rig.inbox(BOB) == []
    else:
        reaches_bob(lab, host, peer, f"alice@{OTHER}")


@guarded
def test_component_that_guesses_the_secret(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory, where bridges may connect from, says that he is one and guesses its secret.

    Check: the proof is made of the secret and the id of this very stream.
    """
    if not guarded:
        yes = SimpleNamespace(compare_digest=lambda *_: True)
        monkeypatch.setattr(negotiation, "hmac", yes)
    host = HostRig(lab, BRIDGE)
    peer = host.connect()
    peer.begin(BRIDGE)
    peer.prove("a guess")
    if guarded:
        assert peer.error() is Condition.NOT_AUTHORIZED
        assert host.errors() == {("not-authorized", "sent"): 1}
        assert host.rig.refusals(Reason.LOGIN_FAILED) == 1
        return
    peer.expect("handshake")
    reaches_bob(lab, host, peer, f"alice@{BRIDGE}")


@guarded
def test_component_that_says_a_proof_again(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory has read the proof of a bridge, which goes in clear, and says it on a stream of his own.

    Check: the id of each stream is random, and part of the proof.
    """
    if not guarded:
        monkeypatch.setattr(negotiation, "_digest", lambda _ident, secret: secret.decode())
    host = HostRig(lab, BRIDGE)
    true, false = host.connect(), host.connect()
    true.begin(BRIDGE)
    proof = negotiation._digest(true.ident, b"a secret of the laboratory")
    true.send(f"<handshake>{proof}</handshake>")
    true.expect("handshake")
    true.close()
    lab.wait_until(lambda: not any(one.service for one in host.rig.router.hub.sessions.values()), "it left")
    false.begin(BRIDGE)
    false.send(f"<handshake>{proof}</handshake>")
    if guarded:
        assert false.error() is Condition.NOT_AUTHORIZED
        assert host.errors() == {("not-authorized", "sent"): 1}
        assert host.rig.refusals(Reason.LOGIN_FAILED) == 1
    else:
        false.expect("handshake")
        reaches_bob(lab, host, false, f"alice@{BRIDGE}")


@guarded
def test_component_that_speaks_before_its_proof(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory says something as a bridge's user before he proves anything.

    Check: a stanza is legal once the secret is proved.
    """
    if not guarded:
        monkeypatch.setattr(machine, "_LIVE", machine._LIVE | {Step.HANDSHAKE})
    host = HostRig(lab, BRIDGE, checks=Checks(source=guarded))
    peer = host.connect()
    peer.begin(BRIDGE)
    if guarded:
        peer.says(f"alice@{BRIDGE}", BOB)
        assert peer.error() is Condition.NOT_AUTHORIZED
        assert host.errors() == {("not-authorized", "sent"): 1}
        assert host.rig.inbox(BOB) == []
    else:
        reaches_bob(lab, host, peer, f"alice@{BRIDGE}")


@guarded
def test_component_from_elsewhere(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory, who has got hold of a bridge's secret, connects from an address of his own.

    Check: components connect from the networks that are allowed.
    """
    if not guarded:
        monkeypatch.setattr(component_host, "is_in", lambda *_: True)
    host = HostRig(lab, BRIDGE)
    peer = host.connect(at=fresh_address())
    if guarded:
        peer.send_or_gone("<")
        assert peer.next() is None  # cut off before a byte is read
        assert not peer.raw
        assert host.rig.refusals(Reason.RELAY_DENIED) == 1
    else:
        peer.attach(BRIDGE)
        reaches_bob(lab, host, peer, f"alice@{BRIDGE}")


@guarded
def test_component_that_takes_the_place_of_another(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory, who has got hold of a bridge's secret, attaches beside it to have its messages.

    Check: a component attaches once.
    """
    if not guarded:
        monkeypatch.setattr(ComponentHost, "_against", lambda *_: None)
    host = HostRig(lab, BRIDGE)
    true, false = host.connect(), host.connect()
    true.attach(BRIDGE)
    false.begin(BRIDGE)
    false.prove()
    if guarded:
        assert false.error() is Condition.CONFLICT
        assert host.errors() == {("conflict", "sent"): 1}
        reaches_bob(lab, host, true, f"alice@{BRIDGE}")
    else:
        false.expect("handshake")
        texts = [f"for the bridge {number}" for number in range(4)]
        for text in texts:
            host.rig.send(BOB, f"alice@{BRIDGE}", text)
        assert any(text.encode() in false.stanza().raw for text in texts)
        host.rig.call(host.rig.cut)
