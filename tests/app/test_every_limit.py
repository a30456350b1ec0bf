"""Each limit of docs/operators/limits.md, driven once over real sockets: its metric, and its answer.

What stands in a row of the page is what is looked at: the metric by its whole name, and the word that who is
over the limit is told. The limits that only load brings are driven elsewhere; the list at the end says where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from imxrouter.model.limits import Limit
from imxrouter.model.vocabulary import REASON_BY_CODE, REASON_BY_WORD, Reason
from imxrouter.wire.control import Claim, ClaimResult
from imxrouter.wire.fields import Field
from imxrouter.wire.record import Envelope, Record
from imxrouter.wire.registry import FieldType, RecordType
from tests.doubles.pages import OPERATORS
from tests.doubles.raw_peer import RawPeer, text_message
from tests.doubles.router_rig import Lab, RouterRig, login_key, service_table

ROOT = Path(__file__).parents[2]
FREE = {"limits.sender_rate_per_s": 100_000, "limits.sender_burst": 100_000}
#: One request at once, and no more for a minute.
SLOW = {**FREE, "limits.traffic_burst_s": 1.0}
TENANT = '[[limits.tenants]]\nname = "acme"\nrecords_per_s = 1\n'
SERVED = '[[domain]]\nname = "small.example"\nservice = "home"\n'


@dataclass(frozen=True)
class Drive:
    """How a limit is reached.

    Attributes:
        settings: that make it low.
        over: goes over it; returns what is told.
        tables: more of the configuration.
    """

    settings: Mapping[str, object]
    over: Callable[[Lab, RouterRig], Reason]
    tables: str = ""


def _closed(link: RawPeer) -> Reason:
    close = link.until_closed()
    assert close is not None
    return REASON_BY_CODE[close.reason]


def _connections(count: int, *, proved: bool = False) -> Callable[[Lab, RouterRig], Reason]:
    """The last of so many connections of one address, at once."""

    def over(lab: Lab, b: RouterRig) -> Reason:
        m = lab.organisation("m.example")
        for _ in range(count - 1):
            m.proved_link(b) if proved else m.connect(b)
        return _closed(m.connect(b, hello=False))

    return over


def _silent(lab: Lab, b: RouterRig) -> Reason:
    return _closed(lab.organisation("m.example").connect(b, hello=False))


def _unproved(lab: Lab, b: RouterRig) -> Reason:
    return _closed(lab.organisation("m.example").connect(b))


def _second_proof(lab: Lab, b: RouterRig) -> Reason:
    m = lab.organisation("m.example")
    m.proved_link(b)
    return REASON_BY_CODE[m.prove(m.connect(b), "b.example").reason]


def _claims(*domains: str) -> Callable[[Lab, RouterRig], Reason]:
    """Claims of domains whose routers do not answer; what the first that is refused is told."""

    def over(lab: Lab, b: RouterRig) -> Reason:
        m = lab.organisation(*domains)
        link = m.connect(b)
        for number, domain in enumerate(domains, 1):
            link.send(Claim(number, domain.encode(), b"b.example", b"token" * 4))
        return REASON_BY_CODE[link.find(ClaimResult).reason]

    return over


def _messages(
    count: int, to: str = "bob@b.example", *, many: bool = False, text: str = "x"
) -> Callable[[Lab, RouterRig], Reason]:
    """So many messages of one sender, or as many senders, over a proved link; the last refusal."""

    def over(lab: Lab, b: RouterRig) -> Reason:
        link = lab.organisation("m.example").proved_link(b)
        numbers = range(1, count + 1)
        link.send(*(text_message(f"u{n if many else 0}@m.example", to, text, n) for n in numbers))
        told = [link.outcome() for _ in numbers]
        refused = [one.reason for one in told if not one.ok]
        assert refused, told
        return refused[-1]

    return over


def _on_and_on(lab: Lab, b: RouterRig) -> Reason:
    """A link is charged after each read, so what comes next is refused."""
    link = lab.organisation("m.example").proved_link(b)
    reason = Reason.NONE
    for first in (1, 21):
        numbers = range(first, first + 20)
        link.send(*(text_message(f"u{n}@m.example", "bob@b.example", "x", n) for n in numbers))
        reason = [link.outcome() for _ in numbers][-1].reason
    return reason


def _own_messages(count: int, source: str) -> Callable[[Lab, RouterRig], Reason]:
    """So many messages of a service's domain."""

    def over(lab: Lab, b: RouterRig) -> Reason:
        service = lab.organisation("any.example").connect(b)
        assert service.log_in(login_key(1)) == 0
        numbers = range(1, count + 1)
        service.send(*(text_message(f"u{n}@{source}", "bob@b.example", "x", n) for n in numbers))
        return [one for one in (service.outcome() for _ in numbers) if not one.ok][-1].reason

    return over


def _unanswered(lab: Lab, b: RouterRig) -> Reason:
    """The shop does not answer, so that the first message takes all credit."""
    service = lab.organisation("any.example").connect(b)
    assert service.log_in(login_key(1)) == 0
    link = lab.organisation("m.example").proved_link(b)
    link.send(*(text_message("eve@m.example", "seller@shop.example", "x", n) for n in (1, 2)))
    return link.outcome().reason


def _copies(lab: Lab, b: RouterRig) -> Reason:
    """The shop does not answer, and the message comes again and again."""
    service = lab.organisation("any.example").connect(b)
    assert service.log_in(login_key(1)) == 0
    link = lab.organisation("m.example").proved_link(b)
    link.send(*(text_message("eve@m.example", "seller@shop.example", "x", 1) for _ in range(10)))
    return link.outcome().reason


def _held(lab: Lab, b: RouterRig) -> Reason:
    sent = b.send("alice@b.example", "carol@m.example")
    lab.organisation("m.example")
    return sent.outcome().reason


def _echoes(lab: Lab, b: RouterRig) -> Reason:
    link = lab.organisation("m.example").proved_link(b)
    envelope = Envelope(b"", b"b.example", b"eve", b"m.example")
    for number in range(1, 13):
        ident = number.to_bytes(16, "big")
        link.send(Record(RecordType.ECHO, 0x80, 110, number, ident, envelope, (), b"x"))
    return [one for one in (link.outcome() for _ in range(12)) if not one.ok][-1].reason


def _subscriptions(lab: Lab, b: RouterRig) -> Reason:
    link = lab.organisation("m.example").proved_link(b)
    envelope = Envelope(b"bob", b"b.example", b"eve", b"m.example")
    told = []
    for number in (1, 2):
        fields = (
            Field(FieldType.SUBSCRIPTION_ID, str(number).encode()),
            Field(FieldType.DURATION, (600).to_bytes(4, "big")),
        )
        ident = number.to_bytes(16, "big")
        link.send(Record(RecordType.SUBSCRIBE, 0x80, 110, number, ident, envelope, fields))
        told.append(link.outcome())
    return told[-1].reason


SHOP = service_table("shop", login_key(1), "shop.example")
DRIVES: dict[Limit, Drive] = {
    Limit.CONNECTION_RATE_ADDRESS: Drive({"caps.connections_per_address_per_minute": 1}, _connections(2)),
    Limit.CONNECTION_RATE_NETWORK: Drive({"caps.connections_per_prefix_per_minute": 1}, _connections(2)),
    Limit.STRANGERS_ADDRESS: Drive({"caps.unauthenticated_per_address": 1}, _connections(2)),
    Limit.STRANGERS_NETWORK: Drive({"caps.unauthenticated_per_prefix": 1}, _connections(2)),
    Limit.STRANGERS: Drive({"caps.unauthenticated_total": 1}, _connections(2)),
    Limit.LINKS: Drive({"caps.in_total": 1}, _connections(2)),
    Limit.SILENT: Drive({"dial.hello_timeout_s": 1}, _silent),
    Limit.UNPROVED: Drive({"caps.proof_timeout_s": 1}, _unproved),
    Limit.LINKS_PEER: Drive({"caps.in_per_peer": 1}, _second_proof),
    Limit.CLAIMS: Drive({"caps.claims_before_proof": 1}, _claims("m.example", "n.example")),
    Limit.DIALLING: Drive(
        {"caps.verify_per_source_per_minute": 1}, _claims(*(f"{n}.example" for n in "mnopqrs"))
    ),
    Limit.CREDIT: Drive({"links.credit_requests": 1, "lab": True}, _unanswered, SHOP),
    Limit.COPIES: Drive({"lab": True}, _copies, SHOP),
    Limit.HOLD: Drive({"dial.hold_count": 0}, _held),
    Limit.LINK_RATE: Drive({**SLOW, "limits.link_records_per_s": 1}, _on_and_on),
    Limit.PEER_RATE: Drive({**SLOW, "limits.peer_records_per_s": 1}, _messages(4, many=True)),
    Limit.DOMAIN_OUT: Drive(
        {**SLOW, "limits.domain_records_per_s": 1, "lab": True}, _own_messages(4, "shop.example"), SHOP
    ),
    Limit.DOMAIN_IN: Drive(
        SLOW, _messages(4, "bob@small.example", many=True), SERVED + "records_per_s = 1\n"
    ),
    Limit.TENANT_OUT: Drive(
        {**SLOW, "lab": True}, _own_messages(4, "shop.example"), SHOP + 'tenant = "acme"\n' + TENANT
    ),
    Limit.TENANT_IN: Drive(
        SLOW, _messages(4, "bob@small.example", many=True), SERVED + 'tenant = "acme"\n' + TENANT
    ),
    Limit.SENDER: Drive({"limits.sender_rate_per_s": 0.1, "limits.sender_burst": 1}, _messages(2)),
    Limit.SENDERS_REMEMBERED: Drive({"limits.senders_per_domain": 1}, _messages(2, many=True)),
    Limit.RECIPIENT: Drive(
        {**FREE, "limits.recipient_rate_per_s": 1, "limits.recipient_burst": 1}, _messages(4, many=True),
        '[[peer]]\ndomain = "m.example"\n',
    ),
    Limit.RECIPIENT_STRANGERS: Drive(
        {**FREE, "limits.recipient_strangers_rate_per_s": 1, "limits.recipient_burst": 2},
        _messages(4, many=True),
    ),
    Limit.SIZE: Drive({"limits.max_message_bytes": 512}, _messages(1, text="x" * 600)),
    Limit.ECHOES: Drive(FREE, _echoes),
    Limit.SUBSCRIPTIONS: Drive({"limits.subscriptions_per_domain": 1}, _subscriptions),
}  # fmt: skip
#: What only load, a full table or a slow reader brings, and TLS: the test that drives it, by file.
ELSEWHERE: dict[Limit, str] = {
    Limit.HANDSHAKES: "handshakes_per_s",
    Limit.DUPLICATES: "tests/switch/test_explain_limits.py",
    Limit.OUTPUT: "tests/switch/test_explain_limits.py",
    Limit.UNREAD: "unread_answer_bytes",
    Limit.PEERS_REMEMBERED: "tests/switch/test_explain_limits.py",
    Limit.NOTIFICATIONS: "tests/routing/test_subscriptions.py",
    Limit.SHED_PRESENCE: "tests/switch/test_explain_limits.py",
    Limit.SHED_SUBSCRIPTIONS: "tests/switch/test_explain_limits.py",
    Limit.SHED_MESSAGES: "tests/switch/test_explain_limits.py",
}


def _rows() -> dict[str, list[str]]:
    """The rows of the page: cells by the name of the limit."""
    lines = re.findall(r"^\| `[a-z-]+` \|.* \|$", (OPERATORS / "limits.md").read_text(), re.MULTILINE)
    rows = [line.strip("| ").split(" | ") for line in lines]
    return {row[0].strip("`"): row for row in rows if len(row) == 6}


def _figure(rig: RouterRig, selector: str) -> float:
    """The sum of what a selector of /metrics names, in the reactor's thread; there is something always."""
    name, _, labels = selector.rstrip("}").partition("{")
    lines = [line for line in rig.router.metrics.exposition().decode().splitlines() if line[0] != "#"]
    found = [line for line in lines if line.startswith(name + "{") and labels in line]
    assert found, selector
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


@pytest.mark.parametrize("limit", list(DRIVES), ids=lambda limit: limit.word)
def test_a_limit_is_counted_and_answered_as_the_page_says(lab: Lab, limit: Limit) -> None:
    """Its metric rises, its reason is answered to operators, and its other word to who is over it."""
    drive, row = DRIVES[limit], _rows()[limit.word]
    metric, (internal, told) = row[3].strip("`"), re.findall(r"`([a-z-]+)`", row[4])
    assert REASON_BY_WORD[internal] is limit.reason
    b = lab.router("b.example", settings=drive.settings, tables=drive.tables)
    before = b.call(lambda: _figure(b, metric))
    reason = drive.over(lab, b)
    assert reason.word == told
    lab.wait_until(lambda: _figure(b, metric) > before, metric)


def test_every_limit_of_the_page_is_driven() -> None:
    """Here, or in a test elsewhere that names it; and every row is a limit."""
    assert set(_rows()) == {limit.word for limit in Limit}
    assert set(DRIVES) | set(ELSEWHERE) == set(Limit)
    code = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    for limit, where in ELSEWHERE.items():
        if where in code:
            named = (f"Limit.{limit.name}", f"Reason.{limit.reason.name}")
            assert any(word in code[where] for word in named), limit
        else:
            assert any(
                where in text for name, text in code.items() if name != "tests/app/test_every_limit.py"
            )
