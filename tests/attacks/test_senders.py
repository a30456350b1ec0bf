"""Rule 1, no relay: who may send what, in whose name, to whom (specification 7.5, 11.1, 11.7, 11.8)."""

from typing import Any

import pytest

from imxrouter.model.vocabulary import Reason
from imxrouter.switch import slots
from imxrouter.switch.checks import Checks
from imxrouter.switch.switch import Switch
from imxrouter.transport.verifier import Verifier
from imxrouter.wire.control import Claim, ClaimResult, Login, LoginResult
from imxrouter.wire.fields import Field
from imxrouter.wire.record import Envelope, Record
from imxrouter.wire.registry import FieldType, RecordType
from tests.attacks.seams import guarded
from tests.attacks.stream_routers import a_proved_stream, a_server, wait_for_message, xmpp_router
from tests.doubles.raw_peer import text_message
from tests.doubles.router_rig import Lab, login_key, service_table

LAB_LOGIN = {"lab": True}  # a login in clear is taken in laboratories only


@guarded
def test_spoofed_sender(lab: Lab, guarded: bool) -> None:
    """Mallory proves his own domain and sends as Alice. Check: the source is proved on this very link."""
    b = lab.router("b.example", checks=Checks(source=guarded))
    link = lab.organisation("m.example").proved_link(b)
    link.send(text_message("alice@a.example", "bob@b.example", "pay mallory"))
    outcome = link.outcome()
    if guarded:
        assert outcome.reason is Reason.NOT_PROVED
        assert b.inbox("bob@b.example") == []
    else:
        assert b.inbox("bob@b.example") == [("alice@a.example", "pay mallory")]


@guarded
def test_sender_of_another_customer(lab: Lab, guarded: bool) -> None:
    """A customer's server sends in another's name. Check: the source is bound to the service's key."""
    key = login_key(1)
    tables = service_table("shop", key, "shop.example")
    b = lab.router("b.example", tables=tables, settings=LAB_LOGIN, checks=Checks(source=guarded))
    link = lab.organisation("any.example").connect(b)
    assert link.log_in(key) == 0
    link.send(text_message("alice@b.example", "bob@b.example", "from the shop"))
    outcome = link.outcome()
    if guarded:
        assert outcome.reason is Reason.NOT_PROVED
        assert b.inbox("bob@b.example") == []
    else:
        assert b.inbox("bob@b.example") == [("alice@b.example", "from the shop")]


@guarded
def test_claim_for_a_domain_served_here(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS of a domain served here leads to Mallory, who claims it. Check: refused without a dial."""
    if not guarded:
        refusal = Verifier._refusal

        def without(verifier: Verifier, *args: Any) -> Reason | None:
            reason = refusal(verifier, *args)
            return None if reason is Reason.SERVED_HERE else reason

        monkeypatch.setattr(Verifier, "_refusal", without)
    b, m = lab.router("b.example", "shop.example"), lab.organisation("m.example")
    lab.publish("shop.example", m.endpoint)
    link = m.connect(b)
    if guarded:
        link.send(Claim(1, b"shop.example", b"b.example", b"token"))
        assert link.expect(ClaimResult).reason == Reason.SERVED_HERE.code
        assert m.listener.take_waiting() == []
    else:
        assert m.prove(link, "b.example", "shop.example").reason == 0
    link.send(text_message("alice@shop.example", "bob@b.example", "your parcel"))
    outcome = link.outcome()
    if guarded:
        assert outcome.reason is Reason.RELAY_DENIED  # what `served-here` is told as
        assert b.inbox("bob@b.example") == []
    else:
        assert b.inbox("bob@b.example") == [("alice@shop.example", "your parcel")]


@guarded
def test_relay_through_us(lab: Lab, guarded: bool) -> None:
    """Mallory sends through us to a third party. Check: the destination is served here.

    We have an uplink, which takes from us whatever is for elsewhere: the way that a relay would take.
    """
    hub = lab.organisation("hub.example")
    tables = lab.uplink_table(hub.endpoint, login_key(1))
    b = lab.router("b.example", tables=tables, settings=LAB_LOGIN, checks=Checks(relay=guarded))
    uplink = hub.accept(hello=False)
    uplink.hello(challenge=bytes(32))
    uplink.expect(Login)
    uplink.send(LoginResult(0))
    lab.wait_until(lambda: b.router.switch.uplinks, "the uplink is up")
    link = lab.organisation("m.example").proved_link(b)
    link.send(text_message("mallory@m.example", "carol@c.example", "bulk"))
    if guarded:
        assert link.outcome().reason is Reason.RELAY_DENIED
        assert uplink.drain() == []
    else:
        relayed = uplink.request()
        assert relayed.envelope.from_domain == b"m.example"
        uplink.answer(relayed)
        assert link.outcome().ok


def _ask(requester: str, presentity: str, kind: int) -> Record:
    (local, _, domain), (to_local, _, to_domain) = requester.partition("@"), presentity.partition("@")
    envelope = Envelope(to_local.encode(), to_domain.encode(), local.encode(), domain.encode())
    fields = (Field(FieldType.SUBSCRIPTION_ID, b"s1"), Field(FieldType.DURATION, bytes([0, 0, 2, 88])))
    return Record(kind, 0x80, 110, 5, bytes(15) + b"\5", envelope, fields)


@guarded
@pytest.mark.parametrize("kind", [RecordType.SUBSCRIBE, RecordType.ATTRIBUTES])
def test_presence_read_in_a_friends_name(lab: Lab, kind: RecordType, guarded: bool) -> None:
    """Mallory asks for Bob's presence as his friend Alice. Check: the requester is proved on this link."""
    key = login_key(1)
    tables = service_table("home", key, "b.example", types=[f"0x{kind:04x}"])
    b = lab.router(
        "b.example", embedded=False, tables=tables, settings=LAB_LOGIN, checks=Checks(source=guarded)
    )
    service = lab.organisation("any.example").connect(b)
    assert service.log_in(key) == 0
    link = lab.organisation("m.example").proved_link(b)
    link.send(_ask("alice@a.example", "bob@b.example", kind))
    if guarded:
        assert link.outcome().reason is Reason.NOT_PROVED
        assert service.drain() == []
    else:
        service.answer(service.request(), values=b"Bob is at home")
        link.outcome()
        assert b"Bob is at home" in link.raw
    link.send(_ask("mallory@m.example", "bob@b.example", kind))
    assert service.request().envelope.from_domain == b"m.example"  # in his own name he may ask


@guarded
def test_internal_stanza_over_a_link(lab: Lab, guarded: bool) -> None:
    """Mallory sends what gateways hand each other. Check: such a record comes from gateways of ours only."""
    key = login_key(1)
    tables = service_table("shop", key, "shop.example")
    b = lab.router("b.example", tables=tables, settings=LAB_LOGIN, checks=Checks(internal=guarded))
    service = lab.organisation("any.example").connect(b)
    assert service.log_in(key) == 0
    route = b.router.hub.switch.routes[b"shop.example"]
    b.call(lambda: setattr(route, "types", route.types | {RecordType.STANZA.value}))
    link = lab.organisation("m.example").proved_link(b)
    body = b"xmpp\0<message from='alice@a.example' to='bob@shop.example'><body>pay mallory</body></message>"
    envelope = Envelope(b"bob", b"shop.example", b"mallory", b"m.example")
    link.send(Record(RecordType.STANZA, 0x80, 110, 1, bytes(16), envelope, (), body))
    if guarded:
        assert link.outcome().reason is Reason.TYPE_NOT_ENABLED
        assert service.drain() == []
    else:
        assert service.request().body == body


@guarded
def test_wishes_to_watch_without_end(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory wants to watch one user after the other over a stream, and none of them knows him.

    Check: what the gateway asks in a user's name costs him of his rate when he begins it.
    """
    if not guarded:
        monkeypatch.setattr(Switch, "over", lambda *_args, **_more: None)
    settings = {"limits.sender_rate_per_s": 0.01, "limits.sender_burst": 5, "limits.cooldown_s": 0}
    b, endpoint = xmpp_router(lab, "b.example", settings=settings)
    with a_server(lab, "m.example") as server:
        peer = a_proved_stream(server, endpoint, "b.example")
        for number in range(20):
            to = f"to='u{number}@b.example' id='{number}'"
            peer.send(f"<presence from='m@m.example' {to} type='subscribe'/>")
        peer.send("<message from='n@m.example' to='bob@b.example'><body>the last</body></message>")
        wait_for_message(lab, b, "bob@b.example")
        assert b.refusals(Reason.RATE_LIMITED) == (15 if guarded else 0)
        counters, asked = b.router.switch.counters, slots.BASE_OF_TYPE[RecordType.SUBSCRIBE] + slots.ACCEPTED
        lab.wait_until(lambda: counters[asked] >= (5 if guarded else 20), "what he may ask is asked")
        assert (counters[asked] == 5) == guarded
        if guarded:
            server.wait_for(lambda one: sum(b"policy-violation" in got.raw for got in one.stanzas) == 15)
