"""Ways round a block: case, an alias, a sub-domain, a link that is open, a domain that is proved already.

Each runs with the check, where it fails, and without it, where it succeeds (IMX-34, specification 11).
"""

from __future__ import annotations

from itertools import count

import pytest

from imxrouter.admin.policy_port import NewEntry
from imxrouter.app.operators.console import Console
from imxrouter.app.traffic import access_control
from imxrouter.model.address import Address
from imxrouter.model.operations import Message, Subscribe, SubscriptionState
from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.rules import Decision, Right
from imxrouter.switch.checks import Checks
from imxrouter.switch.tables import SwitchTables
from imxrouter.transport.barring import Barring
from imxrouter.transport.operations import operation_to_record
from imxrouter.wire.control import Claim, ClaimResult, Withdraw
from imxrouter.wire.record import Record
from imxrouter.wire.registry import FieldType, RecordType
from tests.attacks.seams import guarded
from tests.attacks.test_polite_blocking import Seen, ask, seen
from tests.attacks.test_presence import request
from tests.doubles.raw_peer import RawPeer, text_message
from tests.doubles.router_rig import Lab, RouterRig, login_key, service_table

BOB = "bob@b.example"
_numbers = count(1)


def block(rig: RouterRig, match: str, **more: object) -> str:
    """As `imxctl policy block`; returns its id."""
    entry = NewEntry(match, "block", **more)  # type: ignore[arg-type]
    view = rig.call(lambda: Console(rig.router).policy.add(entry))
    return str(view["entries"][0]["id"])


def told(link: RawPeer, source: str, destination: str = BOB) -> Reason:
    """What a message is answered."""
    link.send(text_message(source, destination, "hello", next(_numbers)))
    return link.outcome().reason


@guarded
@pytest.mark.parametrize("spelling", ["mallory", "Mallory", "MALLORY"])
def test_by_case(lab: Lab, guarded: bool, spelling: str) -> None:
    """Mallory is blocked and writes his name otherwise. Check: keys are compared, at the gate."""
    b = lab.router("b.example", checks=Checks(access=guarded))
    block(b, "mallory@m.example")
    link = lab.organisation("m.example").proved_link(b)
    assert told(link, f"{spelling}@m.example") is (Reason.NOT_DELIVERED if guarded else Reason.NONE)
    assert len(b.inbox(BOB)) == (0 if guarded else 1)


@guarded
@pytest.mark.parametrize("by_alias", ["sender", "recipient"])
def test_by_alias(lab: Lab, guarded: bool, by_alias: str) -> None:
    """A customer is blocked, and uses an alias of its domain. Check: all names of a domain are one."""
    key = login_key(1)
    tables = service_table("shop", key, "shop.example").rstrip() + '\naliases = ["www.shop.example"]\n'
    b = lab.router("b.example", tables=tables, settings={"lab": True}, checks=Checks(access=guarded))
    if by_alias == "sender":
        block(b, "seller@shop.example")
    else:
        block(b, "m.example", scope="www.shop.example")
    service = lab.organisation("any.example").connect(b)
    assert service.log_in(key) == 0
    if by_alias == "sender":
        wanted = Reason.NOT_DELIVERED if guarded else Reason.NONE
        assert told(service, "seller@www.shop.example") is wanted
        return
    link = lab.organisation("m.example").proved_link(b)
    link.send(text_message("mallory@m.example", "seller@shop.example", "hello"))
    if guarded:
        assert link.outcome().reason is Reason.NOT_DELIVERED
    assert service.drain() == [] if guarded else isinstance(service.request(), Record)


@guarded
def test_by_sub_domain(lab: Lab, guarded: bool) -> None:
    """A spammer makes a sub-domain. Check: an entry `.domain` names all below it, not one of `domain`."""
    b = lab.router("b.example")
    block(b, ".m.example" if guarded else "m.example")
    m = lab.organisation("x.m.example")
    link = m.connect(b)
    if guarded:
        link.send(Claim(1, b"x.m.example", b"b.example", b"token"))
        assert link.expect(ClaimResult).reason == Reason.NOT_DELIVERED.code
        assert m.listener.take_waiting() == []
    else:
        assert m.prove(link, "b.example").reason == 0
        assert told(link, "mallory@x.m.example") is Reason.NONE


@guarded
def test_by_open_link(lab: Lab, guarded: bool) -> None:
    """Mallory is blocked while his link is up. Check: what was judged before is forgotten at once."""
    b = lab.router("b.example", checks=Checks(access=guarded))
    link = lab.organisation("m.example").proved_link(b)
    assert told(link, "mallory@m.example") is Reason.NONE
    ident = block(b, "mallory@m.example")
    assert told(link, "mallory@m.example") is (Reason.NOT_DELIVERED if guarded else Reason.NONE)
    assert told(link, "alice@m.example") is Reason.NONE
    b.call(lambda: Console(b.router).policy.remove(ident))
    assert told(link, "mallory@m.example") is Reason.NONE


@guarded
def test_by_proved_domain(lab: Lab, guarded: bool) -> None:
    """A domain is blocked while it is proved. Check: its proofs end, and it cannot prove itself again."""
    b = lab.router("b.example")
    m = lab.organisation("m.example")
    link = m.proved_link(b)
    if not guarded:
        b.router.access._drop_proof = lambda *_: None
        b.call(lambda: setattr(b.router.access, "_end_proofs", lambda: None))
        b.router.gatekeeper.shuts_out = lambda _domain: False
    block(b, "m.example", direction="in")
    if guarded:
        assert link.expect(Withdraw).reason == Reason.NOT_DELIVERED.code
        assert told(link, "mallory@m.example") is Reason.NOT_PROVED
        link.send(Claim(7, b"m.example", b"b.example", b"token"))
        assert link.expect(ClaimResult).reason == Reason.NOT_DELIVERED.code
        assert b.proved("m.example") == 0
        assert b'received",result="blocked"} 1.0' in b.router.metrics.exposition()
    else:
        assert b.proved("m.example") == 1
        assert told(link, "mallory@m.example") is Reason.NOT_DELIVERED  # the gate is there still


@guarded
@pytest.mark.parametrize(("match", "scope"), [("mallory@m.example", ""), ("*", BOB)], ids=["him", "sender"])
def test_by_waiting(lab: Lab, guarded: bool, match: str, scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message waits for Mallory's router, which is slow to take it, when its way is blocked.

    Check: what waited is judged once more when it leaves.
    """
    if not guarded:
        monkeypatch.setattr(SwitchTables, "bars_now", lambda *_: False)
    b, m = lab.router("b.example"), lab.organisation("m.example")
    sent = b.send(BOB, "mallory@m.example", "one")
    b.send("alice@b.example", "carol@m.example", "two")
    link = m.accept()
    lab.wait_until(lambda: b.router.federation.held[0] == 2, "both wait")
    block(b, match, direction="out", scope=scope)
    m.take_claim(link, b)
    if guarded:
        assert sent.outcome().reason is Reason.NOT_DELIVERED
    else:
        assert b"one" in link.request().body
    assert b"two" in link.request().body  # whom no entry names is not concerned


@pytest.mark.parametrize("blocked", [True, False], ids=["blocked", "allowed: the answers can tell"])
def test_a_blocked_sender_learns_what_one_to_nobody_learns(lab: Lab, blocked: bool) -> None:
    """By an operator's list as by a user's rule: record by record, and at once, as for an unknown user."""
    b = lab.router("b.example", users=("bob",))
    if blocked:
        block(b, "carol@m.example")
    link = lab.organisation("m.example").proved_link(b)
    carol, other = Address.parse("carol@m.example"), Address.parse("dave@m.example")

    def write(source: Address, to: str) -> list[Seen]:
        recipient = Address.parse(to)
        ident = next(_numbers).to_bytes(16, "big")
        return ask(link, recipient, Message(source, recipient, ident, "text/plain", b"hello"))

    def watch(source: Address, to: str) -> list[Seen]:
        recipient = Address.parse(to)
        ident = next(_numbers).to_bytes(16, "big")
        return ask(link, recipient, Subscribe(source, recipient, ident, b"one", 600))

    assert (write(carol, BOB) == write(other, "nobody@b.example")) is blocked
    assert (watch(carol, BOB) == watch(other, "nobody@b.example")) is blocked


def test_the_time_of_an_answer_tells_nobody(lab: Lab) -> None:
    """A service behind a link refuses after a while: who is blocked waits as long as others did."""
    key = login_key(1)
    tables = service_table("shop", key, "shop.example")
    b = lab.router("b.example", tables=tables, settings={"lab": True})
    service = lab.organisation("any.example").connect(b)
    assert service.log_in(key) == 0
    m = lab.organisation("m.example")
    link = m.proved_link(b)
    block(b, "carol@m.example")
    b.call(lambda: _barring(b)._refused_s.update({b"shop.example": 0.2}))
    started = b.router.hub.now()
    assert told(link, "carol@m.example", "seller@shop.example") is Reason.NOT_DELIVERED
    assert 0.2 <= b.router.hub.now() - started < 5.0
    link.send(text_message("dave@m.example", "seller@shop.example", "hello"))
    service.answer(service.request(), failure(Reason.UNKNOWN_USER))
    assert link.outcome().reason is Reason.NOT_DELIVERED
    assert b.call(lambda: _barring(b)._refused_s[b"shop.example"]) < 0.2


def _barring(rig: RouterRig) -> Barring:
    return rig.router.hub.bar.__self__  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("at_once", [1, 500], ids=["many turns", "one turn"])
def test_subscriptions_end(lab: Lab, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Who watches and is blocked sees what he sees when the one he watches is gone, and is refused anew."""
    monkeypatch.setattr(access_control, "_JUDGED", at_once)
    b = lab.router("b.example", users=("bob",))
    watcher, bob = Address.parse("carol@m.example"), Address.parse(BOB)
    b.call(
        lambda: b.router.embedded["home"].set_rule(bob, "*", [Right.SUBSCRIBE, Right.FETCH], Decision.ALLOW)
    )
    link = lab.organisation("m.example").proved_link(b)
    asked = request(Subscribe(watcher, bob, next(_numbers).to_bytes(16, "big"), b"one", 600))
    link.send(asked)
    for item in link.drain():
        if isinstance(item, Record) and not item.is_response:
            link.answer(item)
    assert len(b.call(lambda: list(b.router.subscriptions.items()))) == 1
    block(b, "carol@m.example")
    told_last = [item for item in link.drain() if isinstance(item, Record)]
    (notification,) = [seen(item, bob) for item in told_last]
    assert notification.type == RecordType.NOTIFY
    state = told_last[0].value(FieldType.SUBSCRIPTION_STATE)
    assert state is not None
    assert state[0] == SubscriptionState.ACTIVE
    assert told_last[0].value(FieldType.UNKNOWN) is not None
    link.answer(told_last[0])
    assert b.call(lambda: list(b.router.subscriptions.items())) == []
    again = operation_to_record(Subscribe(watcher, bob, next(_numbers).to_bytes(16, "big"), b"one", 600))
    link.send(again)
    assert link.outcome().reason is Reason.NOT_DELIVERED
