"""A message that arrived somewhere: its envelope, the limits, the service behind the domain, the answer."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace

from imxrouter.discovery.answers import TYPE_IMX
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.wire.control import Hello, Ping
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import FLAG_RETRY
from imxrouter.wire.record import Envelope, Record, response_to
from imxrouter.wire.registry import CRITICAL_BIT, PROTOCOL_VERSION, FieldType, RecordType
from tests.doubles.raw_peer import RawPeer, text_message
from tests.doubles.router_rig import RouterRig, login_key, service_table
from tests.staged.scene import Case, Scene, Told

A, B = "a.example", "b.example"
ALICE, BOB = f"alice@{A}", f"bob@{B}"
KEY = login_key(1)
SLOW = {"limits.sender_burst": 1, "limits.sender_rate_per_s": 0.01}
SMALL = {"limits.max_message_bytes": 100}
UNKNOWN_FIELD = Field(0x0FFF | CRITICAL_BIT, b"?")


# -- records made by hand: a proved peer sends them to a router with users -------------------------------


def _peer_sends(change: Callable[[Record], Record], **settings: object) -> Callable[[Scene], Told]:
    """A peer that proved itself sends one record."""

    def play(scene: Scene) -> Told:
        b, a = scene.router(B, settings=settings), scene.lab.organisation(A)
        return scene.ask(b, a.proved_link(b), change(text_message(ALICE, BOB, "hello")))

    return play


def _to(local: bytes) -> Callable[[Record], Record]:
    return lambda record: replace(record, envelope=Envelope(local, B.encode(), b"alice", A.encode()))


def _twice(second: str, hops: int, **settings: object) -> Callable[[Scene], Told]:
    """The same id again, or the same sender."""

    def play(scene: Scene) -> Told:
        b, a = scene.router(B, settings=settings), scene.lab.organisation(A)
        link = a.proved_link(b)
        assert scene.ask(b, link, text_message(ALICE, BOB, "one")).answer == Outcome(Status.SUCCESS)
        return scene.ask(b, link, text_message(ALICE, BOB, second, hops))

    return play


def _messages_only(scene: Scene) -> Told:
    tables = f'[[domain]]\nname = "{B}"\nservice = "home"\ntypes = ["message"]\n'
    b, a = scene.router("other.example", tables=tables), scene.lab.organisation(A)
    scene.lab.publish(B, b.endpoint)
    link = a.connect(b)
    assert a.prove(link, B).reason == 0
    return scene.ask(b, link, _notification(RecordType.SUBSCRIBE))


def _notification(kind: RecordType, number: int = 9) -> Record:
    """A request of Alice's about presence, towards Bob."""
    fields = (
        Field(FieldType.SUBSCRIPTION_ID, b"sub-1"), Field(FieldType.SUBSCRIPTION_STATE, bytes([1, 0])),
        Field(FieldType.DURATION, (60).to_bytes(4, "big")),
    )  # fmt: skip
    envelope = Envelope(b"bob", B.encode(), b"alice", A.encode())
    return Record(kind, 0x80, 110, number, number.to_bytes(16, "big"), envelope, fields)


def _full_disk(scene: Scene) -> Told:
    """A subscription could not be kept, and is not taken."""
    disk = scene.disk()
    b, a = scene.router(B), scene.lab.organisation(A)
    scene.fill(disk, b)
    return scene.ask(b, a.proved_link(b), _notification(RecordType.SUBSCRIBE))


def _newer(scene: Scene) -> Told:
    """Alice's state changes twice while the watcher's domain is being looked up."""
    a = scene.router(
        A, embedded=False, tables=service_table("office", KEY, A, types=["subscribe", "notify"]),
        settings={"lab": True, "dns.query_timeout_s": 0.3, "dns.lookup_timeout_s": 0.6},
    )  # fmt: skip
    service = scene.peer(a)
    service.hello()
    assert service.log_in(KEY) == 0
    watcher = scene.lab.organisation(B)
    link = watcher.proved_link(a)
    asked = _notification(RecordType.SUBSCRIBE)
    link.send(replace(asked, envelope=asked.envelope.swapped()))
    request = service.request()
    answer = response_to(request, SUCCESS)
    service.send(replace(answer, fields=(*answer.fields, *asked.fields[1:])))
    assert link.outcome().ok
    for one in (link, *watcher.listener.accepted):
        one.close()
    scene.lab.wait_until(lambda: len(a.router.hub.sessions) == 1, "the watcher's links are gone")
    scene.lab.zones.hang(B, TYPE_IMX)
    a.forget_dns()
    service.send(_notification(RecordType.NOTIFY, 1), _notification(RecordType.NOTIFY, 2))
    told = Told(a, (1).to_bytes(16, "big"), service.outcome())
    assert service.outcome().reason is Reason.DNS_TIMEOUT
    return told


# -- services --------------------------------------------------------------------------------------------


def _service(scene: Scene, **settings: object) -> tuple[RouterRig, RawPeer]:
    """A router whose domain is answered for by a server of its own, which has logged in."""
    b = scene.router(
        B, embedded=False, tables=service_table("office", KEY, B), settings={"lab": True, **settings}
    )
    service = scene.peer(b)
    service.hello()
    assert service.log_in(KEY) == 0
    return b, service


def _no_service(scene: Scene) -> Told:
    tables = service_table("office", KEY, B)
    scene.router(B, embedded=False, tables=tables)
    return scene.say(scene.router(A), ALICE, BOB)


def _service_gone(scene: Scene) -> Told:
    """The service ends with the message in its hands."""
    _, service = _service(scene)
    a = scene.router(A)
    sent, ident = scene.begin(a, ALICE, BOB)
    service.request()
    service.close()
    return Told(a, ident, sent.outcome())


def _service_says(outcome: Outcome) -> Callable[[Scene], Told]:
    """The service of the recipient refuses; its own operator looks."""

    def play(scene: Scene) -> Told:
        b, service = _service(scene)
        a = scene.router(A)
        sent, ident = scene.begin(a, ALICE, BOB)
        service.answer(service.request(), outcome)
        return Told(b, ident, sent.outcome())

    return play


def _unknown_user(scene: Scene) -> Told:
    b = scene.router(B)
    told = scene.say(scene.router(A), ALICE, f"nobody@{B}")
    told.router = b
    return told


def _circle(scene: Scene) -> Told:
    """The service sends back what it is given, as if it were another router's."""
    b, service = _service(scene)
    a = scene.router(A)
    sent, ident = scene.begin(a, ALICE, BOB)
    request = service.request()
    service.send(replace(request, route_tag=99, hops_left=request.hops_left - 1))
    service.answer(request, service.outcome())
    return Told(b, ident, sent.outcome())


def _slow_service(scene: Scene) -> Told:
    """The service takes one request at a time, and has it."""
    b, service = _service(scene)
    del b
    a = scene.router(A, settings={"limits.sender_burst": 100})
    waiting = [scene.begin(a, ALICE, BOB, f"{number}")[0] for number in range(2)]
    requests = [service.request() for _ in waiting]
    told = scene.say(a, ALICE, BOB)
    for request in requests:
        service.answer(request)
    assert all(sent.outcome().ok for sent in waiting)
    return told


# -- peers -----------------------------------------------------------------------------------------------


def _carried(scene: Scene, **settings: object) -> tuple[RouterRig, RawPeer, Record, Callable[[], Told]]:
    """A message of ours is in the hands of a peer; the last value waits for its answer."""
    a, b = scene.router(A, settings=settings), scene.lab.organisation(B)
    sent, ident = scene.begin(a, ALICE, BOB)
    link = b.accept()
    b.take_claim(link, a)
    return a, link, link.request(), lambda: Told(a, ident, sent.outcome())


def _peer_dies(scene: Scene) -> Told:
    _, link, _, told = _carried(scene)
    link.close()
    return told()


def _peer_answers_never(scene: Scene) -> Told:
    settings = {"links.answer_timeout_s": 1.0, "links.duplicate_window_s": 2.0, "links.ping_s": 0.2}
    settings["dial.hold_s"] = 0.9
    _, link, _, told = _carried(scene, **settings)
    answered = told()
    link.send(Ping(b"12345678"))  # it was there all the time
    return answered


def _peer_is_silent(scene: Scene) -> Told:
    """Its network is cut: it sends nothing, not even an answer to a ping."""
    return _carried(scene, **{"links.ping_s": 0.1, "links.dead_s": 1.0})[3]()


def _peer_invents(scene: Scene) -> Told:
    """It answers with a reason that is not registered."""
    _, link, request, told = _carried(scene)
    answer = response_to(request, failure(Reason.BUSY))
    link.send(replace(answer, body=answer.body[:2] + (9999).to_bytes(2, "big") + answer.body[4:]))
    return told()


def _peer_is_busy(scene: Scene) -> Told:
    """It takes two requests at a time, and has them."""
    a, b = scene.router(A), scene.lab.organisation(B)
    waiting = [scene.begin(a, ALICE, BOB)[0] for _ in range(2)]
    link = b.accept(hello=False)
    link.expect(Hello)
    link.send(Hello((PROTOCOL_VERSION,), credit_requests=2))
    b.take_claim(link, a)
    requests = [link.request() for _ in waiting]
    told = scene.say(a, ALICE, BOB)
    for request in requests:
        link.answer(request)
    assert all(sent.outcome().ok for sent in waiting)
    return told


def _peer_reads_not(scene: Scene) -> Told:
    """More is written to it than the kernel keeps, until the link is given up."""
    limits = {
        "links.output_high_bytes": 4096, "links.unread_answer_bytes": 8192, "limits.sender_burst": 10_000,
        "links.credit_bytes": 1 << 28,
    }  # fmt: skip
    a, b = scene.router(A, settings={**limits, "limits.max_message_bytes": 60_000}), scene.lab.organisation(B)
    b.listener._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sent, ident = scene.begin(a, ALICE, BOB)
    link = b.accept(hello=False)
    link.expect(Hello)
    link.send(Hello((PROTOCOL_VERSION,), credit_requests=10_000, credit_bytes=1 << 30))
    b.take_claim(link, a)
    b.listener._sock.close()  # whoever comes later is refused
    more = [sent]
    while not sent.outcomes:
        more.append(scene.begin(a, ALICE, BOB, "x" * 50_000)[0])
    reasons = [one.outcome().reason for one in more]
    late = len(reasons) - reasons.count(Reason.LINK_LOST)
    refusals = {Reason.LINK_LOST: len(reasons) - late} | ({Reason.CONNECTION_REFUSED: late} if late else {})
    return Told(a, ident, sent.outcome(), refusals=refusals)


def _hold_full(scene: Scene) -> Told:
    """More is waiting for a domain that is being looked up than may wait."""
    scene.lab.zones.hang("slow.example", TYPE_IMX)
    a = scene.router(
        A, settings={"dial.hold_count": 1, "dns.query_timeout_s": 0.3, "dns.lookup_timeout_s": 0.6}
    )
    first, _ = scene.begin(a, ALICE, "zoe@slow.example")
    told = scene.say(a, ALICE, "zoe@slow.example")
    assert first.outcome().reason is Reason.DNS_TIMEOUT
    return told


def _too_fast(scene: Scene) -> Told:
    a = scene.router(A, settings=SLOW)
    before = scene.say(a, ALICE, f"bob@{A}")
    assert before.answer.ok
    return scene.say(a, ALICE, f"bob@{A}")


def _large(scene: Scene) -> Told:
    a = scene.router(A, settings=SMALL)
    return scene.say(a, ALICE, f"bob@{A}", "x" * 200)


CASES = [
    Case("bad address", "an address has characters that no address may have",
         _peer_sends(_to(b"bob smith")), Reason.BAD_ADDRESS),
    Case("critical field unknown", "the sender's software uses an extension that must be understood",
         _peer_sends(lambda record: replace(record, fields=(UNKNOWN_FIELD,))), Reason.UNKNOWN_CRITICAL),
    Case("body that is none", "the sender's software builds bodies that cannot be read",
         _peer_sends(lambda record: replace(record, body=b"no header at all")), Reason.BAD_BODY, by=B),
    Case("record that cannot be read", "the sender's software builds records that cannot be read",
         _peer_sends(lambda record: replace(record, fields=(Field(FieldType.TRANS_ID, b"t" * 41),))),
         Reason.BAD_RECORD, by=B),
    Case("hops used up", "the message went through too many routers",
         _peer_sends(lambda record: replace(record, hops_left=0)), Reason.TOO_MANY_HOPS),
    Case("too large for the peer's users", "the message is larger than the recipient's domain takes",
         _peer_sends(lambda record: replace(record, body=record.body + b"x" * 200), **SMALL),
         Reason.TOO_LARGE),
    Case("retry after a restart", "a message is sent again, and nobody knows whether the first try arrived",
         _peer_sends(lambda record: replace(
             record, flags=record.flags | FLAG_RETRY,
             fields=(Field(FieldType.EPOCH | CRITICAL_BIT, b"restart!"),),
         )), Reason.EPOCH_UNKNOWN, Status.INDETERMINANT),
    Case("id used twice", "two messages of one sender have the same id",
         _twice("two", 1), Reason.ID_REUSED),
    Case("peer over its rate", "a sender of another organisation sends too fast",
         _twice("two", 2, **SLOW), Reason.RATE_LIMITED),
    Case("type not taken", "presence is asked of a domain that takes messages only",
         _messages_only, Reason.TYPE_NOT_ENABLED),
    Case("nobody asked for it", "a notification comes without a subscription",
         _peer_sends(lambda _record: _notification(RecordType.NOTIFY)), Reason.NOT_SUBSCRIBED),
    Case("disk full", "presence is asked for while the state file cannot be written",
         _full_disk, Reason.STATE_UNAVAILABLE),
    Case("newer state", "somebody's state changed again before the first change could be told",
         _newer, Reason.SUPERSEDED, counted={Reason.SUPERSEDED: 1, Reason.DNS_TIMEOUT: 1}),
    Case("over the rate", "one of our own users sends too fast",
         _too_fast, Reason.RATE_LIMITED),
    Case("too large", "one of our own users sends too much at once",
         _large, Reason.TOO_LARGE),
    Case("too much waits", "a domain is being looked up, and more waits for it than may wait",
         _hold_full, Reason.HOLD_FULL, counted={Reason.HOLD_FULL: 1, Reason.DNS_TIMEOUT: 1}),
    Case("service down", "no server of the recipient's domain has logged in",
         _no_service, Reason.SERVICE_DOWN, by=B),
    Case("service lost", "the recipient's server ended before it answered",
         _service_gone, Reason.LINK_LOST, Status.INDETERMINANT, by=B),
    Case("unknown user", "the recipient does not exist; the sender is not told so",
         _unknown_user, Reason.UNKNOWN_USER, by=B),
    Case("blocked", "the recipient does not want the sender's messages; the sender is not told so",
         _service_says(failure(Reason.BLOCKED, role="service")), Reason.BLOCKED, by=B),
    Case("first contact", "the recipient has not agreed to hear from the sender; the sender is not told so",
         _service_says(failure(Reason.CONSENT_NEEDED, role="service")), Reason.CONSENT_NEEDED, by=B),
    Case("not delivered", "the recipient's server refuses and does not say why",
         _service_says(failure(Reason.NOT_DELIVERED, role="service")), Reason.NOT_DELIVERED, by=B),
    Case("limit of the recipient", "the recipient's inbox is full",
         _service_says(failure(Reason.RECIPIENT_LIMIT, role="service", retry_after_s=60)),
         Reason.RECIPIENT_LIMIT, by=B),
    Case("loop", "a server of ours gives back what it should deliver",
         _circle, Reason.LOOP, by=B, counted={Reason.LOOP: 2}),
    Case("peer lost", "the connection broke before the answer came",
         _peer_dies, Reason.LINK_LOST, Status.INDETERMINANT, by=B, links={Reason.LINK_LOST: 1}),
    Case("no answer", "the peer has the message and does not answer",
         _peer_answers_never, Reason.ANSWER_TIMEOUT, Status.INDETERMINANT, by=B),
    Case("peer silent", "the peer's network is cut: not even pings are answered",
         _peer_is_silent, Reason.KEEPALIVE_TIMEOUT, Status.INDETERMINANT, by=B,
         links={Reason.KEEPALIVE_TIMEOUT: 2}),
    Case("peer does not read", "the peer takes what we send and reads none of it",
         _peer_reads_not, Reason.LINK_LOST, Status.INDETERMINANT, by=B, links={Reason.UNREAD_ANSWERS: 1}),
    Case("peer busy", "the peer has as many requests in its hands as it takes",
         _peer_is_busy, Reason.BUSY),
    Case("unregistered reason", "the peer refuses with a reason that nobody knows",
         _peer_invents, Reason.PEER_FAILED, by=B),
]  # fmt: skip
