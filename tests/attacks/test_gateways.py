"""Who wants more of a gateway at an operator's server than it is there for (XEP-0100)."""

from __future__ import annotations

from typing import Any

import pytest

from imxrouter.gateways.xmpp.stanza import Stanza
from imxrouter.gateways.xmpp.streams.component_client import ComponentClients
from imxrouter.gateways.xmpp.streams.gateway import Reach
from imxrouter.gateways.xmpp.translate import gateway
from imxrouter.model.vocabulary import Reason
from imxrouter.switch.checks import Checks
from tests.attacks.seams import guarded
from tests.attacks.stream_routers import wait_for_message
from tests.doubles.component import ComponentPeer, ComponentServer, attached_table, secret_file
from tests.doubles.raw_peer import text_message
from tests.doubles.router_rig import Lab, RouterRig

A, GW, BOB = "a.example", "gw.a.example", "bob@b.example"
ALICE, BOB_HERE = f"alice@{A}", f"bob\\40b.example@{GW}"


class Gate:
    """A router that is a gateway at Alice's server, with Bob as a user of its own.

    Attributes:
        peer: the server's end of the gateway's stream.
    """

    def __init__(self, lab: Lab, more: str = "", **options: Any) -> None:
        self.lab, self.server = lab, ComponentServer()
        table = attached_table("chat", self.server, secret_file(lab))
        table += f'gateway = "{GW}"\n{more}'
        for name in (A, "second.example"):
            table += f'[[domain]]\nname = "{name}"\nservice = "chat"\n'
        self.rig: RouterRig = lab.router("b.example", tables=table, **options)
        lab.publish(A, self.rig.endpoint)
        self.peer: ComponentPeer = self.server.accept()
        assert self.peer.take() == GW

    def refused(self, condition: str, reason: Reason) -> None:
        """The next stanza is an error with this condition; it was counted, and Bob has nothing."""
        told = self.stanza()
        assert told.type == "error"
        assert f"<{condition} ".encode() in told.raw
        assert self.rig.refusals(reason) == 1
        assert self.rig.inbox(BOB) == []

    def stanza(self) -> Stanza:
        """The next stanza that is no ping."""
        while True:
            one = self.peer.stanza()
            if b"urn:xmpp:ping" not in one.raw:
                return one

    def reaches_bob(self, sender: str) -> None:
        """Bob gets a message of somebody's."""
        wait_for_message(self.lab, self.rig, BOB)
        assert self.rig.inbox(BOB) == [(sender, "it is me")]


@guarded
def test_gateway_for_a_stranger(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory finds the gateway's name in the DNS of Alice's server, and writes to Bob through it.

    Check: who writes is of a domain of the service; the source of a record is the second wall.
    """
    if not guarded:
        monkeypatch.setattr(ComponentClients, "is_own", lambda *_: True)
    gate = Gate(lab, checks=Checks(source=guarded))
    gate.peer.says("mallory@m.example", BOB_HERE)
    if guarded:
        gate.refused("not-allowed", Reason.RELAY_DENIED)
    else:
        gate.reaches_bob("mallory@m.example")


@guarded
def test_gateway_address_as_a_sender(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory, who rules another component of Alice's server, writes as the gateway address of Eve.

    Check: the gateway's name is no domain of the service; the source of a record is the second wall.
    """
    if not guarded:
        monkeypatch.setattr(ComponentClients, "is_own", lambda *_: True)
    gate = Gate(lab, checks=Checks(source=guarded))
    gate.peer.says(f"eve\\40e.example@{GW}", BOB_HERE)
    if guarded:
        gate.refused("not-allowed", Reason.RELAY_DENIED)
    else:
        gate.reaches_bob(f"eve\\40e.example@{GW}")


class _Same:
    """Equal to every text."""

    local = bare = property(lambda _self: _Same())

    def __ne__(self, _other: object) -> bool:
        return False


@guarded
def test_gateway_address_in_another_spelling(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory, whom Alice's server does not let write to Bob's gateway address, spells it otherwise.

    Check: each address has one gateway address, which is what would be made of it.
    """
    if not guarded:
        monkeypatch.setattr(gateway, "gateway_jid", lambda *_: _Same())
    gate = Gate(lab)
    gate.peer.says(f"mallory@{A}", f"bob\\40b.example.@{GW}")
    if guarded:
        gate.refused("jid-malformed", Reason.BAD_ADDRESS)
    else:
        gate.reaches_bob(f"mallory@{A}")


@guarded
def test_gateway_back_to_the_server(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory, whom Dave of the same server has blocked there, writes to him through the gateway.

    Check: a gateway does not reach the domains of the server itself.
    """
    if not guarded:
        monkeypatch.setattr(Reach, "against", lambda *_: None)
    gate = Gate(lab)
    gate.peer.says(f"mallory@{A}", f"dave\\40second.example@{GW}")
    if guarded:
        gate.refused("not-acceptable", Reason.LOOP)
    else:
        got = gate.stanza()
        assert (got.from_, got.to) == (f"mallory\\40{A}@{GW}", "dave@second.example")


@guarded
def test_gateway_to_itself(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory has the gateway's name in the public DNS lead to her, and has Alice write to it through itself.

    Check: a gateway does not reach gateways, whatever is escaped in their addresses.
    """
    if not guarded:
        monkeypatch.setattr(Reach, "against", lambda *_: None)
    gate, mallory = Gate(lab), lab.organisation("m.example")
    lab.publish(GW, mallory.endpoint)
    gate.peer.says(ALICE, f"bob\\5c40b.example\\40{GW}@{GW}")
    if guarded:
        gate.refused("not-acceptable", Reason.LOOP)
        assert mallory.listener.take_waiting() == []
    else:
        lab.wait_until(mallory.listener.take_waiting, "she is dialled")


@guarded
def test_gateway_beyond_its_list(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory, a user of Alice's server, writes to a domain that its operator does not let it reach.

    Check: what the gateway reaches is looked up by the domain of the address that is meant.
    """
    if not guarded:
        monkeypatch.setattr(Reach, "against", lambda *_: None)
    gate = Gate(lab, 'gateway_domains = ["partner.example"]\n')
    gate.peer.says(f"mallory@{A}", BOB_HERE)
    if guarded:
        gate.refused("not-allowed", Reason.RELAY_DENIED)
    else:
        gate.reaches_bob(f"mallory@{A}")


@guarded
def test_sender_at_the_gateways_name(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory proves the gateway's name, which DNS leads to her, and writes to Alice as an address there.

    Check: nothing comes from a gateway's name but what the gateway itself makes of others.
    """
    if not guarded:
        monkeypatch.setattr(Reach, "against", lambda *_: None)
    gate = Gate(lab)
    link = lab.organisation(GW).proved_link(gate.rig)
    link.send(text_message(f"bob\\40b.example@{GW}", ALICE, "it is me"))
    if guarded:
        assert link.outcome().reason is Reason.SERVICE_DOWN
    else:
        assert gate.stanza().from_ == f"bob\\5c40b.example\\40{GW}@{GW}"
