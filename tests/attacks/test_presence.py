"""Breach of presence privacy and false presence (IMX-32, draft section 6.2.2.1), over real sockets.

Each attack runs with every check on, where it fails, and with its one check taken away, where it succeeds.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from imxrouter.formats import pidf
from imxrouter.gateways.embedded.accounts import Account
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.model.address import Address
from imxrouter.model.operations import (
    AttributeQuery,
    AttributeValues,
    Notify,
    Operation,
    Subscribe,
    SubscribeResult,
    SubscriptionState,
    Version,
)
from imxrouter.model.outcome import SUCCESS
from imxrouter.model.presence import Basic, Presence, PresenceTuple, Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.rules import Decision, Right, Ruling
from imxrouter.switch.checks import Checks
from imxrouter.transport import operations
from imxrouter.transport.operations import operation_to_record, record_to_notify, result_of, with_result
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import Record, decode_outcome, response_to
from imxrouter.wire.registry import FieldType, RecordType
from tests.attacks.seams import guarded
from tests.doubles.raw_peer import RawPeer
from tests.doubles.router_rig import Lab, RawOrganisation, RouterRig, login_key, service_table

BOB, ALICE = Address.parse("bob@b.example"), Address.parse("alice@a.example")
FRIEND, MALLORY = Address.parse("friend@f.example"), Address.parse("mallory@m.example")
LAB_LOGIN = {"lab": True}
_numbers = count(1)


def request(operation: Operation) -> Record:
    """The record of an operation, as a peer writes it."""
    record = operation_to_record(operation)
    return replace(record, flags=FLAG_RESPONSE_WANTED, route_tag=next(_numbers))


def ident() -> bytes:
    """A message id."""
    return next(_numbers).to_bytes(16, "big")


def lies(presentity: Address, watcher: Address, subscription: bytes, about: Address | None = None) -> Notify:
    """He is there, it says."""
    shown = Presence(about or presentity, (PresenceTuple("t1", Basic.OPEN),))
    state = SubscriptionState.ACTIVE
    return Notify(presentity, watcher, ident(), subscription, state, Version(1, 1), shown)


def response(link: RawPeer) -> Record:
    """The next response, with whatever it brings."""
    while not (isinstance(item := link.next(), Record) and item.is_response):
        assert item is not None, "the connection ended"
    return item


def embedded(rig: RouterRig, user: Address) -> EmbeddedService:
    """The service that has this user."""
    service = rig.router.embedded_for(user)
    assert service is not None
    return service


def shown(rig: RouterRig, presentity: Address) -> Presence | Unknown | None:
    """What bob sees of somebody."""
    followed = rig.call(lambda: embedded(rig, BOB).subscription(BOB, presentity))
    return None if followed is None else followed.presence


def watched(rig: RouterRig, organisation: RawOrganisation, presentity: Address) -> tuple[RawPeer, bytes]:
    """Bob watches a user of a scripted organisation; returns its link, and the subscription's id."""
    rig.call(lambda: embedded(rig, BOB).subscribe(BOB, presentity))
    link = organisation.accept()
    organisation.take_claim(link, rig)
    asked = link.request()
    assert asked.type == RecordType.SUBSCRIBE
    granted = replace(SUCCESS, result=SubscribeResult(SubscriptionState.ACTIVE, 600))
    link.send(with_result(response_to(asked, SUCCESS), granted))
    subscription = asked.value(FieldType.SUBSCRIPTION_ID)
    assert subscription is not None
    return link, subscription


# -- false presence ------------------------------------------------------------------------------------------


@guarded
def test_presence_in_anothers_name(lab: Lab, guarded: bool) -> None:
    """Bob watches Alice; Mallory knows the id and speaks as Alice. Check: its source is proved there."""
    b = lab.router("b.example", checks=Checks(source=guarded))
    _, subscription = watched(b, lab.organisation("a.example"), ALICE)
    link = lab.organisation("m.example").proved_link(b)
    link.send(request(lies(ALICE, BOB, subscription)))
    outcome = link.outcome()
    if guarded:
        assert outcome.reason is Reason.NOT_PROVED
        assert shown(b, ALICE) is None
    else:
        told = shown(b, ALICE)
        assert isinstance(told, Presence)
        assert told.status is Basic.OPEN


@guarded
def test_presence_that_nobody_asked_for(lab: Lab, guarded: bool) -> None:
    """Mallory tells Bob of himself, as an advertisement. Check: a notification needs a live subscription."""
    key = login_key(1)
    tables = service_table("own", key, "b.example", types=("0x0101", "0x0102"))
    b = lab.router(
        "b.example", embedded=False, tables=tables, settings=LAB_LOGIN, checks=Checks(subscribed=guarded)
    )
    service = RawPeer.connect(b.endpoint)
    service.hello()
    assert service.log_in(key) == 0
    link = lab.organisation("m.example").proved_link(b)
    link.send(request(lies(MALLORY, BOB, b"never asked")))
    if guarded:
        assert link.outcome().reason is Reason.NOT_SUBSCRIBED
        service.drain()
        assert service.requests == []
    else:
        assert record_to_notify(service.request()).presentity == MALLORY


@guarded
def test_a_document_about_somebody_else(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bob watches Mallory, whose document speaks of Alice. Check: its entity is the envelope's From."""
    if not guarded:
        monkeypatch.setattr(operations, "read_pidf", lambda raw, _presentity: pidf.read_pidf(raw))
    b = lab.router("b.example")
    link, subscription = watched(b, lab.organisation("m.example"), MALLORY)
    link.send(request(lies(MALLORY, BOB, subscription, about=ALICE)))
    outcome = link.outcome()
    if guarded:
        assert outcome.reason is Reason.BAD_BODY
        assert shown(b, MALLORY) is None
    else:
        told = shown(b, MALLORY)
        assert isinstance(told, Presence)
        assert told.presentity == ALICE


@guarded
def test_unknown_about_somebody_elses_user(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory's router says that nobody knows of Alice. Check: the router's own word is of its own users."""
    b = lab.router("b.example")
    _, subscription = watched(b, lab.organisation("a.example"), ALICE)
    link = lab.organisation("m.example").proved_link(b)
    if not guarded:
        table = b.router.subscriptions
        monkeypatch.setattr(b.router.switch.presence, "judge", lambda *_args, **_named: None)
        assert len(table) == 1
    word = Unknown(ALICE, Reason.CONNECT_TIMEOUT, ALICE.domain)
    told = Notify(ALICE, BOB, ident(), subscription, SubscriptionState.ACTIVE, presence=word)
    record = operations.notify_to_record(told, teller=MALLORY.domain)
    link.send(replace(record, flags=FLAG_RESPONSE_WANTED, route_tag=next(_numbers)))
    outcome = link.outcome()
    if guarded:
        assert outcome.reason is Reason.BAD_RECORD
        assert shown(b, ALICE) is None
    else:
        assert isinstance(shown(b, ALICE), Unknown)


# -- breach of presence privacy ------------------------------------------------------------------------------


def _only_for_a_friend(b: RouterRig) -> None:
    """Bob shows his presence to one person, by a rule."""

    def rule() -> None:
        service = embedded(b, BOB)
        service.set_rule(BOB, str(FRIEND), list(Right), Decision.ALLOW)
        service.publish(BOB, "desk", Presence(BOB, (PresenceTuple("t1", Basic.OPEN),)))

    b.call(rule)


@guarded
def test_presence_asked_for_in_a_friends_name(lab: Lab, guarded: bool) -> None:
    """Mallory asks as Bob's friend, and the answer comes over her link. Check: the source is proved there."""
    b = lab.router("b.example", checks=Checks(source=guarded))
    _only_for_a_friend(b)
    link = lab.organisation("m.example").proved_link(b)
    link.send(request(AttributeQuery(FRIEND, BOB, ident(), ("presence",))))
    answer = response(link)
    outcome = result_of(answer, decode_outcome(answer))
    if guarded:
        assert outcome.reason is Reason.NOT_PROVED
        assert outcome.result is None
    else:
        assert isinstance(outcome.result, AttributeValues)
        (presence,) = outcome.result.attributes
        assert pidf.read_pidf(presence.value, BOB).status is Basic.OPEN


@guarded
def test_presence_for_whom_the_rules_do_not_name(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory asks as herself. Check: the user's rules and consents."""
    b = lab.router("b.example")
    _only_for_a_friend(b)
    if not guarded:
        monkeypatch.setattr(Account, "ruling", lambda *_: Ruling(Decision.ALLOW, "nothing"))
    link = lab.organisation("m.example").proved_link(b)
    link.send(request(Subscribe(MALLORY, BOB, ident(), b"s1", 600)))
    answer = response(link)
    result = result_of(answer, decode_outcome(answer)).result
    assert isinstance(result, SubscribeResult)
    if guarded:
        assert result.state is SubscriptionState.PENDING
        assert not [item for item in link.drain() if isinstance(item, Record)]
    else:
        assert result.state is SubscriptionState.ACTIVE
        told = record_to_notify(link.request())
        assert isinstance(told.presence, Presence)
        assert told.presence.status is Basic.OPEN
