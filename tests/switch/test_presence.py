"""A notification passes with a live subscription only (rule 1; specification sections 7.6 to 7.9)."""

from dataclasses import replace
from typing import Any

import pytest

from imxrouter.model.operations import SubscriptionState
from imxrouter.model.outcome import SUCCESS, Outcome, failure, indeterminant
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.routing.overload import Level
from imxrouter.routing.subscriptions import LATE_S, SubscriptionLimits
from imxrouter.switch.checks import ALL_CHECKS, Checks
from imxrouter.switch.ports import Port, Role
from imxrouter.switch.presence import Lane
from imxrouter.wire.fields import Field
from imxrouter.wire.record import Envelope, Record, encode_record, response_to
from imxrouter.wire.registry import FieldType, RecordType
from tests.switch.rig import ALICE, BOB, HERE, PEER, Rig, message

ID = b"sub-1"
TYPES = frozenset({0x100, 0x101, 0x102, 0x103})
ACTIVE, TERMINATED = bytes([SubscriptionState.ACTIVE, 0]), bytes([SubscriptionState.TERMINATED, 3])


class Presence(Rig):
    """bob@here.example watches alice@peer.example; the peer has a link."""

    def __init__(self, checks: Checks = ALL_CHECKS) -> None:
        super().__init__(checks)
        self.switch.routes[HERE].types = TYPES
        self.switch.ways.open(PEER, HERE, self.peer)
        self._number = 0

    def request(self, kind: RecordType, envelope: Envelope, *fields: Field, body: bytes = b"") -> Record:
        """One request with a new id."""
        self._number += 1
        return Record(kind, 0x80, 110, self._number, self._number.to_bytes(16, "big"), envelope, fields, body)

    def subscribe(self, duration: int = 60, ident: bytes = ID) -> Record:
        """Bob asks for alice's presence."""
        return self.request(
            RecordType.SUBSCRIBE, Envelope(ALICE, PEER, BOB, HERE), Field(FieldType.SUBSCRIPTION_ID, ident),
            Field(FieldType.DURATION, duration.to_bytes(4, "big")),
        )  # fmt: skip

    def notify(self, state: bytes = ACTIVE, *more: Field, local: bytes = ALICE, ident: bytes = ID) -> Record:
        """Alice's side tells bob."""
        return self.request(
            RecordType.NOTIFY, Envelope(BOB, HERE, local, PEER), Field(FieldType.SUBSCRIPTION_ID, ident),
            Field(FieldType.SUBSCRIPTION_STATE, state), *more,
        )  # fmt: skip

    def ask(self, duration: int = 60, ident: bytes = ID) -> Record:
        """Send a SUBSCRIBE; returns what the peer got."""
        self.feed(self.service, self.subscribe(duration, ident))
        (sent,) = self.out(self.peer)
        return sent

    def grant(self, sent: Record, state: bytes = ACTIVE, seconds: int = 60) -> None:
        """The peer says yes."""
        duration = Field(FieldType.DURATION, seconds.to_bytes(4, "big"))
        said = (Field(FieldType.SUBSCRIPTION_STATE, state), duration)
        response = response_to(sent, SUCCESS)
        self.feed(self.peer, replace(response, fields=(*response.fields, *said)))
        self.out(self.service)

    def told(self, notification: Record | None = None) -> Outcome:
        """What the peer is answered to a notification that it sends."""
        self.feed(self.peer, notification or self.notify())
        for record in self.out(self.service):
            self.answer(self.service, record)
        return self.outcome(self.peer)


@pytest.fixture
def rig() -> Presence:
    """With every check."""
    return Presence()


def test_nobody_tells_who_was_not_asked(rig: Presence) -> None:
    """False presence and spam by notification."""
    assert rig.told().reason is Reason.NOT_SUBSCRIBED
    without = Presence(replace(ALL_CHECKS, subscribed=False))
    assert without.told().ok, "the check is what stops it"


def test_a_notification_may_be_faster_than_the_answer(rig: Presence) -> None:
    """It comes over another link, or process."""
    sent = rig.ask()
    assert rig.told().ok
    rig.grant(sent)
    assert rig.told().ok


@pytest.mark.parametrize("change", [{"local": b"mallory"}, {"ident": b"sub-2"}])
def test_one_subscription_is_not_another(rig: Presence, change: dict[str, bytes]) -> None:
    """Watcher, presentity and id must be those."""
    rig.grant(rig.ask())
    assert rig.told(rig.notify(**change)).reason is Reason.NOT_SUBSCRIBED


def test_what_ends_work_passes_when_all_is_shed(rig: Presence) -> None:
    """The end of a subscription by either side, and answers; all else is told to come again."""
    for ident in (b"sub-1", b"sub-2"):
        rig.grant(rig.ask(ident=ident))
    rig.feed(rig.peer, message(100))
    (under_way,) = rig.out(rig.service)
    rig.switch.shed = Level.MESSAGES
    assert rig.told().reason is Reason.BUSY
    assert rig.told(rig.notify(TERMINATED)).ok
    assert rig.ask(0, b"sub-2").type == RecordType.SUBSCRIBE
    rig.answer(rig.service, under_way)
    assert rig.outcome(rig.peer).ok
    rig.feed(rig.peer, message(101))
    assert rig.outcome(rig.peer).reason is Reason.BUSY


def test_it_ends_with_its_time(rig: Presence) -> None:
    """And not before what is late is there."""
    rig.grant(rig.ask(60), seconds=60)
    rig.now += 60 + LATE_S - 1
    assert rig.told().ok
    rig.now += 1
    assert rig.told().reason is Reason.NOT_SUBSCRIBED
    rig.switch.presence.table.sweep(rig.now)
    assert len(rig.switch.presence.table) == 0


def test_more_than_asked_is_not_granted(rig: Presence) -> None:
    """A peer cannot keep a subscription alive that nobody wants."""
    rig.grant(rig.ask(10), seconds=1_000_000)
    rig.now += 10 + LATE_S
    assert rig.told().reason is Reason.NOT_SUBSCRIBED


def test_a_renewal_goes_on(rig: Presence) -> None:
    """Duration counts from the renewal; a failed one leaves the time that was granted."""
    rig.grant(rig.ask(60))
    rig.now += 50
    rig.grant(rig.ask(60))
    rig.now += 55
    sent = rig.ask(60)
    rig.answer(rig.peer, sent, failure(Reason.BUSY))
    assert rig.told().ok


def test_renewals_that_fail_do_not_keep_it(rig: Presence) -> None:
    """However often it is tried after its end, and whatever was in doubt before."""
    rig.grant(rig.ask(60))
    rig.now += 60
    rig.answer(rig.peer, rig.ask(60), indeterminant(Reason.LINK_LOST))
    for _ in range(4):
        rig.out(rig.service)
        assert rig.told().ok
        rig.now += LATE_S / 4
        rig.answer(rig.peer, rig.ask(60), failure(Reason.UNREACHABLE))
    rig.out(rig.service)
    assert rig.told().reason is Reason.NOT_SUBSCRIBED
    rig.switch.presence.table.sweep(rig.now)
    assert len(rig.switch.presence.table) == 0
    rig.grant(rig.ask(60))
    assert rig.told().ok


def test_one_that_fails_does_not_end_what_another_asks_for(rig: Presence) -> None:
    """A service that began anew asks under the same id; the answers come in any order."""
    first, second = rig.ask(), rig.ask()
    rig.answer(rig.peer, first, failure(Reason.BUSY))
    rig.out(rig.service)
    assert rig.told().ok
    rig.grant(second)
    rig.now += 60 + LATE_S - 1
    assert rig.told().ok
    first, second = rig.ask(), rig.ask()
    rig.now += 2
    rig.answer(rig.peer, second, failure(Reason.BUSY))
    rig.out(rig.service)
    assert rig.told().ok
    rig.answer(rig.peer, first, failure(Reason.BUSY))
    rig.out(rig.service)
    assert rig.told().reason is Reason.NOT_SUBSCRIBED


@pytest.mark.parametrize("outcome", [failure(Reason.NOT_DELIVERED), failure(Reason.CONSENT_NEEDED)])
def test_a_refused_one_is_forgotten(rig: Presence, outcome: Outcome) -> None:
    """Nothing of it stays."""
    rig.answer(rig.peer, rig.ask(), outcome)
    rig.out(rig.service)
    assert rig.told().reason is Reason.NOT_SUBSCRIBED


def test_a_success_that_grants_nothing_is_none(rig: Presence) -> None:
    """Without state and duration it counts as a failure (section 7.6); a renewal changes nothing."""
    rig.feed(rig.peer, response_to(rig.ask(), SUCCESS))
    rig.out(rig.service)
    assert rig.told().reason is Reason.NOT_SUBSCRIBED
    rig.grant(rig.ask())
    rig.feed(rig.peer, response_to(rig.ask(), SUCCESS))
    rig.out(rig.service)
    assert rig.told().ok


def test_one_in_doubt_may_be_there(rig: Presence) -> None:
    """The other side may have granted it, so what it tells is taken while an answer could come."""
    rig.answer(rig.peer, rig.ask(), indeterminant(Reason.ANSWER_TIMEOUT))
    rig.out(rig.service)
    assert rig.told().ok
    rig.now += LATE_S
    assert rig.told().reason is Reason.NOT_SUBSCRIBED


def test_a_fetch_takes_one_answer(rig: Presence) -> None:
    """Duration 0 without a subscription: its notification says that it is over."""
    rig.grant(rig.ask(0), TERMINATED, 0)
    assert rig.told(rig.notify(TERMINATED)).ok
    assert rig.told(rig.notify(TERMINATED)).reason is Reason.NOT_SUBSCRIBED


def test_a_fetch_that_is_answered_late_is_followed_by_its_notification(rig: Presence) -> None:
    """What is late has its time from the answer on."""
    sent = rig.ask(0)
    rig.now += LATE_S - 1
    rig.grant(sent, TERMINATED, 0)
    rig.now += LATE_S - 1
    assert rig.told().ok
    rig.now += 1
    assert rig.told().reason is Reason.NOT_SUBSCRIBED


def test_the_last_word_ends_it(rig: Presence) -> None:
    """Terminated, and taken: the next one is refused; terminated and not taken may be said again."""
    rig.grant(rig.ask())
    rig.feed(rig.peer, rig.notify(TERMINATED))
    (record,) = rig.out(rig.service)
    rig.answer(rig.service, record, failure(Reason.BUSY, retry_after_s=5))
    rig.out(rig.peer)
    assert rig.told(rig.notify(TERMINATED)).ok
    assert rig.told().reason is Reason.NOT_SUBSCRIBED


def test_a_last_word_that_was_refused_ends_nothing(rig: Presence) -> None:
    """Nor does what comes with its id instead."""
    rig.grant(rig.ask())
    last = rig.notify(TERMINATED)
    rig.peer.granted_requests = 0
    assert rig.told(last).reason is Reason.BUSY
    rig.peer.granted_requests = 100
    assert rig.told(replace(rig.notify(), message_id=last.message_id)).ok
    assert rig.told().ok


def test_nothing_of_what_was_answered_is_remembered(rig: Presence) -> None:
    """However it was answered."""
    rig.grant(rig.ask())
    rig.answer(rig.peer, rig.ask(ident=b"sub-2"))
    rig.answer(rig.peer, rig.ask(ident=b"sub-3"), failure(Reason.NOT_DELIVERED))
    rig.out(rig.service)
    rig.feed(rig.peer, rig.notify(TERMINATED))
    (sent,) = rig.out(rig.service)
    rig.answer(rig.service, sent, failure(Reason.NOT_DELIVERED))
    rig.out(rig.peer)
    assert rig.told(rig.notify(TERMINATED)).ok
    assert rig.switch.presence._changing == {}


def test_notifications_have_a_rate_of_their_own(rig: Presence) -> None:
    """Twenty at once, then one a second; a message of the same sender is not concerned."""
    rig.grant(rig.ask())
    assert all(rig.told().ok for _ in range(20))
    refused = rig.told()
    assert refused.reason is Reason.RATE_LIMITED
    assert refused.retry_after_s
    rig.now += 1
    assert rig.told().ok


def _unknown(rig: Presence, presentity: bytes, *, local: bytes = b"", body: bytes = b"") -> Record:
    word = Reason.SERVICE_DOWN.code.to_bytes(2, "big") + PEER
    fields = (Field(FieldType.UNKNOWN | 0x8000, word), Field(FieldType.PRESENTITY | 0x8000, presentity))
    return replace(rig.notify(ACTIVE, *fields, local=local), body=body)


def test_unknown_is_the_routers_word(rig: Presence) -> None:
    """Of a user of its own domain, without a body, and never in the user's name."""
    rig.grant(rig.ask())
    assert rig.told(_unknown(rig, ALICE + b"@" + PEER)).ok
    assert rig.told(_unknown(rig, b"other@" + PEER)).reason is Reason.NOT_SUBSCRIBED
    assert rig.told(_unknown(rig, ALICE + b"@other.example")).reason is Reason.BAD_RECORD
    assert rig.told(_unknown(rig, ALICE + b"@" + PEER, local=ALICE)).reason is Reason.BAD_RECORD
    assert rig.told(_unknown(rig, ALICE + b"@" + PEER, body=b"<presence/>")).reason is Reason.BAD_RECORD


def test_unknown_ends_no_subscription(rig: Presence) -> None:
    """The router's own word is refused where it says so, and the presentity's is taken afterwards."""
    rig.grant(rig.ask())
    word = _unknown(rig, ALICE + b"@" + PEER)
    ended = tuple(
        one._replace(value=TERMINATED) if one.number == FieldType.SUBSCRIPTION_STATE else one
        for one in word.fields
    )
    assert rig.told(replace(word, fields=ended)).reason is Reason.BAD_RECORD
    assert rig.told().ok


def test_one_that_is_asked_for_again_may_be_told_before_the_answer(rig: Presence) -> None:
    """After its end and what is late, but not swept yet (specification section 7.6)."""
    rig.grant(rig.ask(60))
    rig.now += 60 + LATE_S + 1
    assert rig.told().reason is Reason.NOT_SUBSCRIBED
    rig.ask(60)
    assert rig.told().ok


@pytest.mark.parametrize("missing", [FieldType.SUBSCRIPTION_ID, FieldType.DURATION])
def test_a_subscription_without_a_part_is_none(rig: Presence, missing: FieldType) -> None:
    """Refused by name, and nothing is remembered."""
    record = rig.subscribe()
    rig.feed(
        rig.service, replace(record, fields=tuple(one for one in record.fields if one.number != missing))
    )
    assert rig.outcome(rig.service).reason is Reason.BAD_RECORD
    assert len(rig.switch.presence.table) == 0


def test_a_full_table_and_a_broken_disk_refuse_new_ones_only(rig: Presence) -> None:
    """By name; what is subscribed is renewed, and messages pass."""
    rig.grant(rig.ask())
    table = rig.switch.presence.table
    table.may_keep = lambda: False
    rig.feed(rig.service, rig.subscribe(ident=b"new"))
    assert rig.outcome(rig.service).reason is Reason.STATE_UNAVAILABLE
    rig.grant(rig.ask())
    table.may_keep = lambda: True
    table.limits = SubscriptionLimits(total=1)
    rig.feed(rig.service, rig.subscribe(ident=b"new"))
    assert rig.outcome(rig.service).reason is Reason.BUSY
    rig.grant(rig.ask())


def test_what_a_domain_is_asked_goes_to_the_router(rig: Presence) -> None:
    """And what a user is asked to his service."""
    inside = rig.port(9, Role.SERVICE)
    rig.switch.inside.append(inside)
    for kind in (RecordType.ATTRIBUTES, RecordType.ECHO):
        request = rig.request(kind, Envelope(b"", HERE, b"", PEER))
        rig.feed(rig.peer, request)
        (got,) = rig.out(inside)
        assert got.type == kind
        assert rig.out(rig.service) == []
        rig.answer(inside, got)
        assert rig.outcome(rig.peer).status is Status.SUCCESS
    rig.feed(rig.peer, rig.request(RecordType.ATTRIBUTES, Envelope(BOB, HERE, b"", PEER)))
    assert [one.type for one in rig.out(rig.service)] == [RecordType.ATTRIBUTES]
    rig.feed(rig.peer, rig.request(RecordType.ECHO, Envelope(BOB, HERE, b"", PEER)))
    assert rig.outcome(rig.peer).reason is Reason.BAD_ADDRESS


def test_a_copy_of_a_last_word_gets_its_answer(rig: Presence) -> None:
    """The subscription is gone, but the request is known: it is no new one."""
    rig.grant(rig.ask())
    last = rig.notify(TERMINATED)
    data = encode_record(last)
    rig.feed(rig.peer, data)
    (record,) = rig.out(rig.service)
    rig.answer(rig.service, record)
    assert rig.outcome(rig.peer).ok
    rig.feed(rig.peer, data)
    assert rig.outcome(rig.peer).ok


def test_a_notification_takes_the_link_it_was_asked_over(rig: Presence) -> None:
    """Of several to the watcher's domain, so that its hosts need not know each other's subscriptions."""
    other = rig.port(3, Role.PEER)
    rig.prove(other, PEER)
    rig.switch.ways.open(PEER, HERE, other)

    def asked(over: Port, ident: bytes) -> None:
        """Alice asks for bob's presence."""
        record = replace(rig.subscribe(ident=ident), envelope=Envelope(BOB, HERE, ALICE, PEER))
        rig.feed(over, record)
        (sent,) = rig.out(rig.service)
        said = (
            Field(FieldType.SUBSCRIPTION_STATE, ACTIVE),
            Field(FieldType.DURATION, (60).to_bytes(4, "big")),
        )
        response = response_to(sent, SUCCESS)
        rig.feed(rig.service, replace(response, fields=(*response.fields, *said)))
        rig.out(over)

    def told(ident: bytes) -> list[Port]:
        """Bob's side tells alice; the links that it went over."""
        rig.feed(rig.service, replace(rig.notify(ident=ident), envelope=Envelope(ALICE, PEER, BOB, HERE)))
        return [port for port in (rig.peer, other) if rig.out(port)]

    asked(rig.peer, b"one")
    asked(other, b"two")
    assert [told(b"one") + told(b"two") for _ in range(3)] == [[rig.peer, other]] * 3
    asked(other, b"one")  # renewed after a loss, perhaps
    assert [told(b"one") for _ in range(3)] == [[other]] * 3
    rig.switch.stop_using(other)
    assert told(b"one") == told(b"two") == [rig.peer]


def test_a_renewal_of_the_router_does_not_bring_back_what_its_watcher_has_ended(rig: Presence) -> None:
    """The end overtakes it on another link, or crosses its answer."""
    inside = rig.port(9, Role.SERVICE)
    rig.prove(inside, HERE)
    rig.switch.inside.append(inside)
    rig.grant(rig.ask())
    rig.feed(inside, rig.subscribe())
    (own,) = rig.out(rig.peer)
    rig.grant(rig.ask(duration=0), TERMINATED, 0)
    rig.grant(own)
    assert rig.switch.presence.table.watching(PEER, rig.now) == []
    rig.grant(rig.ask())
    rig.feed(inside, rig.subscribe(duration=90))
    (own,) = rig.out(rig.peer)
    rig.grant(own, seconds=90)
    ((_, entry),) = rig.switch.presence.table.items()
    assert (entry.granted, entry.end) == (True, rig.now + 90)


@pytest.mark.parametrize("by_streams", [True, False])
def test_what_a_gateway_asks_at_the_routers_own_port_is_its_users(rig: Presence, by_streams: bool) -> None:
    """Users of streams subscribe there: it is granted, and may be notified until it ends.

    Of all else that comes there the router only renews what is granted.
    """
    inside = rig.port(9, Role.SERVICE)
    rig.prove(inside, HERE)
    rig.switch.inside.append(inside)
    asked: list[tuple[Any, ...]] = []

    def is_theirs(*one: Any) -> bool:
        asked.append(one)
        return by_streams

    rig.switch.presence.by_streams = is_theirs
    rig.switch.presence.lane = lambda *_: Lane.CHOSEN  # type: ignore[method-assign]
    rig.feed(inside, rig.subscribe(duration=600))
    (own,) = rig.out(rig.peer)
    rig.grant(own, seconds=600)
    ((_, entry),) = rig.switch.presence.table.items()
    assert entry.granted is by_streams
    assert asked[0] == (True, b"bob@" + HERE, b"alice@" + PEER, ID)
    rig.now += LATE_S + 1
    rig.feed(rig.peer, rig.notify())
    assert bool(rig.out(rig.service)) is by_streams


def test_what_the_routers_own_machines_tell_is_shed_with_the_rest(rig: Presence) -> None:
    """They tell the newest of it later; an end passes, and what the router says in its own name."""
    inside = rig.port(9, Role.SERVICE)
    rig.prove(inside, PEER)
    rig.switch.inside.append(inside)
    rig.switch.shed = Level.PRESENCE
    rig.feed(inside, rig.notify())
    assert rig.outcome(inside).reason is Reason.BUSY
    rig.feed(inside, rig.notify(TERMINATED), rig.notify(local=b""), rig.subscribe())
    assert [one.type for one in rig.out(rig.service)] == [RecordType.NOTIFY] * 2
    without = Presence(replace(ALL_CHECKS, shedding=False))
    inside = without.port(9, Role.SERVICE)
    without.prove(inside, PEER)
    without.switch.inside.append(inside)
    without.switch.shed = Level.PRESENCE
    without.feed(inside, without.notify())
    assert len(without.out(without.service)) == 1, "the check is what stops it"
