"""Demands of RFC 2779 on two whole routers that no other test shows; the numbers are its sections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from socket import inet_aton
from statistics import median
from time import monotonic

import pytest

from imxrouter.gateways.embedded.attributes import OwnAttribute
from imxrouter.model.address import Address
from imxrouter.model.operations import (
    Attribute,
    EndReason,
    Message,
    Notify,
    Operation,
    Subscribe,
    SubscribeResult,
    SubscriptionState,
    Version,
)
from imxrouter.model.outcome import SUCCESS, Outcome
from imxrouter.model.presence import Basic, Contact, Presence, PresenceTuple, Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.rules import Decision, Right
from imxrouter.switch.checks import Checks
from imxrouter.switch.ports import Role
from imxrouter.transport import services
from imxrouter.transport.operations import operation_to_record, record_to_notify, result_of, with_result
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import Record, decode_outcome, response_to
from imxrouter.wire.registry import FieldType
from tests.app.test_liveness import organisation
from tests.app.test_presence import allow, follow, publish, wait_seen
from tests.attacks.seams import guarded
from tests.attacks.test_presence import embedded, lies, response, shown, watched
from tests.doubles.raw_peer import RawPeer
from tests.doubles.router_rig import Lab, RouterRig, login_key, service_table

ALICE, BOB = Address.parse("alice@a.example"), Address.parse("bob@b.example")
EVE = Address.parse("eve@e.example")
#: A conversation wants answers in well under a second (4.3.1); a busy test machine gets a part of it.
COMFORTABLE_S = 0.3
#: As its sender made it: blanks and line ends that a rewriter would touch, and bytes that are no text.
SIGNED = (
    b"--b\r\nContent-Type: text/plain\r\n\r\n  trailing blanks  \r\n\n\r\n--b\r\n"
    b"Content-Type: application/pkcs7-signature\r\n\r\n\x30\x82\x00\xff\r\n--b--"
)
_numbers = count(1)


def request(operation: Operation) -> Record:
    """The record of an operation, as somebody who waits for its answer writes it."""
    record = operation_to_record(operation)
    return replace(record, flags=FLAG_RESPONSE_WANTED, route_tag=next(_numbers))


def ident() -> bytes:
    """An id."""
    return next(_numbers).to_bytes(16, "big")


def send(rig: RouterRig, message: Message) -> list[Outcome]:
    """Submit a message as an embedded user's; returns the list in which its outcome will be."""
    outcomes: list[Outcome] = []
    rig.call(lambda: embedded(rig, message.source)._register.tools.submit(message, outcomes.append))
    return outcomes


def messages(rig: RouterRig, user: Address) -> list[Message]:
    """Everything in a user's inbox."""
    return rig.call(lambda: embedded(rig, user).inbox(user))  # type: ignore[no-any-return]


def watchers(rig: RouterRig, user: Address = BOB) -> list[tuple[Address, bytes]]:
    """Who watches a user, with the ids of the subscriptions."""
    found = rig.call(lambda: embedded(rig, user).watchers(user))
    return [(one.watcher, one.subscription_id) for one in found]


def test_messages_and_presence_without_each_other(lab: Lab) -> None:
    """2.1.1: a domain that takes messages only, beside one that has presence only."""
    home = '[[service]]\nname = "home"\nkind = "embedded"\nusers = ["alice"]\npresence = "open"\n'
    only = '[[domain]]\nname = "{}"\nservice = "home"\ntypes = {}\n'
    tables = home + only.format("m.example", '["message"]')
    tables += only.format("p.example", '["subscribe", "notify"]')
    rig = lab.router("m.example", "p.example", embedded=False, tables=tables)
    peer = lab.organisation("c.example")
    link = peer.connect(rig)
    for number, domain in enumerate(rig.domains, 1):
        assert peer.prove(link, domain, number=number).reason == 0
    carol = Address.parse("carol@c.example")

    def reasons(domain: str) -> list[Reason]:
        to = Address.parse(f"alice@{domain}")
        asked = (Message(carol, to, ident(), "text/plain", b"hi"), Subscribe(carol, to, ident(), b"1", 600))
        found = []
        for operation in asked:
            link.send(request(operation))
            found.append(link.outcome().reason)
        return found

    assert reasons("m.example") == [Reason.NONE, Reason.TYPE_NOT_ENABLED]
    assert reasons("p.example") == [Reason.TYPE_NOT_ENABLED, Reason.NONE]


def test_an_inbox_that_is_elsewhere(lab: Lab) -> None:
    """2.1.2: presence names the address that takes messages; 2.1.3 is every other test here."""
    a, b, c = lab.router("a.example"), lab.router("b.example"), lab.router("c.example", users=("desk",))
    allow(a, ALICE)
    elsewhere = Presence(ALICE, (PresenceTuple("t1", Basic.OPEN, contact=Contact("im:desk@c.example")),))
    a.call(lambda: embedded(a, ALICE).publish(ALICE, "desk", elsewhere))
    follow(b, BOB, ALICE)
    wait_seen(lab, b, BOB, ALICE, Basic.OPEN)
    told = shown(b, ALICE)
    assert isinstance(told, Presence)
    contact = told.tuples[0].contact
    assert contact is not None
    assert b.send(str(BOB), contact.uri.removeprefix("im:")).outcome().ok
    assert c.inbox("desk@c.example") == [(str(BOB), "hello")]


def test_a_notification_over_another_link(lab: Lab) -> None:
    """IMX-24: over a link that the presentity's side opened, and over the one that SUBSCRIBE took."""
    b = lab.router("b.example")
    peer = lab.organisation("a.example")
    asked_over, subscription = watched(b, peer, ALICE)
    peer.second = asked_over  # the connection that is there serves the verification
    other = peer.proved_link(b)
    for number, (link, basic) in enumerate(((other, Basic.OPEN), (asked_over, Basic.CLOSED)), 1):
        told = lies(ALICE, BOB, subscription)
        told = replace(
            told, version=Version(1, number), presence=Presence(ALICE, (PresenceTuple("t1", basic),))
        )
        link.send(request(told))
        assert link.outcome().ok
        presence = shown(b, ALICE)
        assert isinstance(presence, Presence)
        assert presence.status is basic


def test_a_foreign_transaction_id_of_a_subscription_returns(lab: Lab) -> None:
    """CPP-1 (RFC 3859 section 3.4): what the asking protocol called its request stands in the answer."""
    b = lab.router("b.example")
    allow(b, BOB)
    link = lab.organisation("e.example").proved_link(b)
    for duration, state in ((600, SubscriptionState.ACTIVE), (0, SubscriptionState.TERMINATED)):
        trans_id = b"dialog 1, request %d" % duration
        link.send(request(Subscribe(EVE, BOB, ident(), b"s1", duration, trans_id=trans_id)))
        answer = response(link)
        assert answer.value(FieldType.TRANS_ID) == trans_id
        result = result_of(answer, decode_outcome(answer)).result
        assert result == SubscribeResult(state, duration)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        (
            'multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary=b',
            SIGNED,
        ),
        ("application/pkcs7-mime; smime-type=enveloped-data", bytes(range(256))),
        (
            "message/cpim",
            b"From: <im:alice@a.example>\nNS: MyFeatures <mid:f@a>\n\n\nContent-type: x/y\n\n\0",
        ),
    ],
    ids=["signed", "encrypted", "cpim"],
)
def test_a_body_of_others_arrives_as_it_was(lab: Lab, content_type: str, content: bytes) -> None:
    """5.4.6, 5.4.7, 5.4.9: signed or encrypted by its sender, not a byte of it is touched by two routers."""
    a, b = lab.router("a.example"), lab.router("b.example")
    outcomes = send(a, Message(ALICE, BOB, ident(), content_type, content))
    lab.wait_until(lambda: bool(outcomes), "an outcome")
    assert outcomes[0].ok
    (message,) = messages(b, BOB)
    assert (message.content_type, message.content) == (content_type, content)


def test_attributes_ride_on_a_message(lab: Lab) -> None:
    """IMX-25: what its sender lets ride along is there with it; on notifications it is shown elsewhere."""
    a, b = lab.router("a.example"), lab.router("b.example")
    alias = Attribute("alias", "Älice".encode(), 60)
    telephone = Attribute("a.example/telephone", b"tel:+41-1-234", 60)

    def let_ride() -> None:
        for one in (alias, telephone):
            embedded(a, ALICE).set_attribute(ALICE, OwnAttribute(one, along=True))

    a.call(let_ride)
    assert a.send(str(ALICE), str(BOB)).outcome().ok
    (message,) = messages(b, BOB)
    assert sorted(message.user_attributes, key=lambda one: one.name) == [telephone, alias]
    known = b.call(lambda: embedded(b, BOB).known(BOB, ALICE, "alias"))
    assert known.value == alias.value
    assert known.max_age_s <= alias.max_age_s


def test_a_conversation_is_quick_and_so_are_notifications(lab: Lab) -> None:
    """4.3.1, 3.4.1: twenty messages to and fro, and the news of five people, on links that are there."""
    users = [f"u{number}" for number in range(5)]
    a, b = lab.router("a.example", users=("alice", *users)), lab.router("b.example")
    people = [Address.parse(f"{user}@a.example") for user in users]
    for person in people:
        allow(a, person)
        follow(b, BOB, person)
    for person in people:
        wait_seen(lab, b, BOB, person, Basic.CLOSED)

    def timed(what: Callable[[], object]) -> float:
        began = monotonic()
        what()
        return monotonic() - began

    def write(rig: RouterRig, source: Address, to: Address) -> None:
        assert rig.send(str(source), str(to)).outcome().ok

    def change(person: Address) -> None:
        publish(a, person, Basic.OPEN)
        wait_seen(lab, b, BOB, person, Basic.OPEN)

    write(a, ALICE, BOB)
    write(b, BOB, ALICE)
    turns = []
    for _ in range(10):
        turns += [timed(lambda: write(a, ALICE, BOB)), timed(lambda: write(b, BOB, ALICE))]
    news = [timed(lambda person=person: change(person)) for person in people]  # type: ignore[misc]
    assert median(turns) < COMFORTABLE_S
    assert median(news) < COMFORTABLE_S


def test_nobody_learns_the_other_sides_internet_address(lab: Lab) -> None:
    """5.1.17, 5.1.18, 5.2.5, 5.2.6, 5.4.5: neither in a record's text nor as bytes, whoever begins."""
    x, bobs = organisation(lab, "b.example", 1)
    z, alices = organisation(lab, "a.example", 2)
    for service in (bobs, alices):
        service.close()
    homes = ("127.211.53.7", "127.212.54.9")
    bobs, alices = (RawPeer.connect(rig.endpoint, home) for rig, home in zip((x, z), homes, strict=True))
    for number, service in enumerate((bobs, alices), 1):
        service.hello()
        assert service.log_in(login_key(number)) == 0

    bobs.send(request(Subscribe(BOB, ALICE, ident(), b"s1", 600)))
    asked = alices.request()
    granted = replace(SUCCESS, result=SubscribeResult(SubscriptionState.ACTIVE, 600))
    alices.send(with_result(response_to(asked, SUCCESS), granted))
    assert bobs.outcome().ok
    presence = Presence(ALICE, (PresenceTuple("t1", Basic.OPEN),))
    alices.send(
        request(Notify(ALICE, BOB, ident(), b"s1", SubscriptionState.ACTIVE, Version(1, 1), presence))
    )
    bobs.answer(bobs.request())
    assert alices.outcome().ok
    for source, service, to, other in ((BOB, bobs, ALICE, alices), (ALICE, alices, BOB, bobs)):
        service.send(request(Message(source, to, ident(), "text/plain", b"hi")))
        other.answer(other.request())
        assert service.outcome().ok
    for service, home in ((bobs, homes[1]), (alices, homes[0])):
        assert home.encode() not in service.raw
        assert inet_aton(home) not in service.raw
        assert len(service.requests) == 2


def test_who_gives_no_name_is_let_in_or_kept_out(lab: Lab) -> None:
    """5.1.3, 5.1.14: a proved domain that names no user of its own, by the rules for everybody and for it."""
    b = lab.router("b.example")
    allow(b, BOB)
    peer = lab.organisation("m.example")
    nameless = Address.parse("m.example")
    unproved = peer.connect(b)
    unproved.send(request(Subscribe(nameless, BOB, ident(), b"1", 600)))
    assert unproved.outcome().reason is Reason.NOT_PROVED
    link = peer.proved_link(b)
    link.send(request(Subscribe(nameless, BOB, ident(), b"2", 600)))
    assert link.outcome().ok
    told = link.request()
    assert record_to_notify(told).watcher == nameless
    link.answer(told)
    b.call(lambda: embedded(b, BOB).set_rule(BOB, "m.example", [Right.SUBSCRIBE], Decision.REFUSE))
    ended = record_to_notify(link.request())
    assert (ended.state, ended.end_reason) == (SubscriptionState.TERMINATED, EndReason.REJECTED)
    link.send(request(Subscribe(nameless, BOB, ident(), b"3", 600)))
    assert not link.outcome().ok
    assert watchers(b) == []


@guarded
def test_nobody_subscribes_or_cancels_for_another(lab: Lab, guarded: bool) -> None:
    """5.1.6, 5.1.8: Mallory does both in Eve's name. Check: the watcher is proved on the very link."""
    b = lab.router("b.example", checks=Checks(source=guarded))
    allow(b, BOB)
    hers, his = (lab.organisation(one).proved_link(b) for one in ("e.example", "m.example"))
    his.send(request(Subscribe(EVE, BOB, ident(), b"forced", 600)))
    forced = his.outcome()
    hers.send(request(Subscribe(EVE, BOB, ident(), b"own", 600)))
    assert hers.outcome().ok
    his.send(request(Subscribe(EVE, BOB, ident(), b"own", 0)))
    cancelled = his.outcome()
    if guarded:
        assert (forced.reason, cancelled.reason) == (Reason.NOT_PROVED, Reason.NOT_PROVED)
        assert watchers(b) == [(EVE, b"own")]
    else:
        assert watchers(b) == [(EVE, b"forced")]


def test_who_is_out_of_contact_is_fetched_and_watched(lab: Lab) -> None:
    """2.3.7, 3.2.1, 3.2.2: no program of Alice's was ever there; her rules decide all the same."""
    a, b = lab.router("a.example"), lab.router("b.example", users=("bob", "dan"))
    dan = Address.parse("dan@b.example")
    rights = [Right.SUBSCRIBE, Right.FETCH]

    def rules() -> None:
        embedded(a, ALICE).set_rule(ALICE, str(BOB), rights, Decision.ALLOW)
        embedded(a, ALICE).set_rule(ALICE, str(dan), rights, Decision.REFUSE)

    a.call(rules)
    assert a.call(lambda: embedded(a, ALICE).instances(ALICE)) == ()

    def fetch(user: Address) -> Presence | Unknown:
        fetched: list[Presence | Unknown] = []
        b.call(lambda: embedded(b, user).fetch(user, ALICE, fetched.append))
        lab.wait_until(lambda: bool(fetched), "what was fetched")
        return fetched[0]

    his, refused = fetch(BOB), fetch(dan)
    assert isinstance(his, Presence)
    assert his.status is Basic.CLOSED
    assert isinstance(refused, Unknown)
    assert refused.reason is Reason.NOT_DELIVERED
    follow(b, BOB, ALICE)
    follow(b, dan, ALICE)
    wait_seen(lab, b, BOB, ALICE, Basic.CLOSED)
    lab.wait_until(lambda: embedded(b, dan).ends(dan), "dan is told that he is refused")
    publish(a, ALICE, Basic.OPEN)
    wait_seen(lab, b, BOB, ALICE, Basic.OPEN)
    assert [watcher for watcher, _ in watchers(a, ALICE)] == [BOB]


def test_presence_and_messages_by_way_of_an_aggregator(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """2.4.1, 2.4.2, 2.4.3: a.example's gateway has an uplink only; b.example is reached and reaches it."""
    monkeypatch.setattr(services, "UPLINK_RETRY_S", (0.05, 1.0))
    key, kinds = login_key(7), ("subscribe", "notify", "attributes")
    hub = lab.router(
        "a.example", embedded=False, tables=service_table("gateway", key, "a.example", types=kinds),
        settings={"lab": True},
    )  # fmt: skip
    a = lab.router(
        "a.example", publish=False, tables=lab.uplink_table(hub.endpoint, key), settings={"lab": True}
    )
    b = lab.router("b.example")
    lab.wait_until(lambda: a.router.switch.uplinks, "the uplink is up")
    for here, user, there, other in ((a, ALICE, b, BOB), (b, BOB, a, ALICE)):
        allow(here, user)
        follow(there, other, user)
        wait_seen(lab, there, other, user, Basic.CLOSED)
        publish(here, user, Basic.OPEN)
        wait_seen(lab, there, other, user, Basic.OPEN)
        assert here.send(str(user), str(other)).outcome().ok
        assert there.inbox(str(other)) == [(str(user), "hello")]
    assert [session.port.role for session in a.sessions()] == [Role.UPLINK]
