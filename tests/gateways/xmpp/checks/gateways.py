"""Section 2.2 of the mapping: addresses of a gateway, and the gateway itself."""

from __future__ import annotations

from typing import Any, cast

import pytest

from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.stanza import read_stanza
from imxrouter.gateways.xmpp.streams.component_edge import ComponentEdge
from imxrouter.gateways.xmpp.streams.gateway import NotThrough, Reach, ServiceGateway
from imxrouter.gateways.xmpp.streams.pings import Pings
from imxrouter.gateways.xmpp.streams.told import told_of
from imxrouter.gateways.xmpp.translate.gateway import Misspelled, address_behind, gateway_jid
from imxrouter.gateways.xmpp.translate.jid import BadJid, parse_jid
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.canon import canon
from tests.gateways.xmpp.checks import rule, section
from tests.gateways.xmpp.mapping import Row

GW = "gw.a.example"
OWN, LISTED = "a.example", "listed.example"
GATEWAY = ServiceGateway(
    GW,
    Reach(
        {GW, "gw.b.example"}.__contains__,
        {LISTED},
        lambda name: name == OWN,
        frozenset({b".far.example", LISTED.encode()}),
    ),
)


@section("2.2")
def gateway_addresses(row: Row) -> None:
    """Gateway address and address, by the row's direction."""
    (text,) = [one for one in row.xmpp_spans if "@" in one]
    fields = row.fields
    if "refused" in fields:
        assert row.direction == "->"
        with pytest.raises(BadJid) as refused:
            address_behind(parse_jid(text))
        assert refused.value.reason.word == fields["refused"]
        assert isinstance(refused.value, Misspelled) is (
            "spelling" in row.model or "the same |" in f"{row.model} |"
        )
        return
    jid = parse_jid(text)
    address = address_behind(jid)
    assert str(address) == fields["address"]
    assert jid.resource == fields.get("instance", "")
    back = gateway_jid(address, Domain(GW), jid.resource)
    assert back == jid
    assert (str(back) == text) is (row.kept == "all")


@rule("gw-long")
def _longest() -> None:
    name = ".".join(["a" * 61] * 4) + ".bcdef"
    jid = gateway_jid(Address("'" * 255, Domain(name)), Domain(GW))
    assert len(jid.local) == 1021
    assert address_behind(parse_jid(str(jid))) == Address("'" * 255, Domain(name))
    with pytest.raises(BadJid) as refused:
        address_behind(parse_jid("b" * 256 + f"\\40far.example@{GW}"))
    assert refused.value.reason is Reason.ADDRESS_TOO_LONG


@rule("gw-unsayable")
def _from_the_right() -> None:
    raw = "<message from='שלום@far.example' to='alice@a.example'/>".encode()
    with pytest.raises(BadJid) as refused:
        GATEWAY.leaving(raw)
    assert refused.value.reason is Reason.BAD_ADDRESS


def came(raw: str) -> StanzaIn:
    """A stanza of Alice's for an address at the gateway."""
    return StanzaIn(read_stanza(raw.encode()), OWN, GW)


#: How a tag may be written; some have in another attribute what looks like the address.
TAGS = (
    "<message from='alice@a.example/d' to='{}' type='chat'>",
    '<message to="{}" from="alice@a.example/d" type="chat">',
    "<message id=' to=&apos;x&apos; ' from='alice@a.example/d' to\n=\n'{}' type='chat'>",
    "<message id=\" to='x'\" from='alice@a.example/d' to = '{}' type='chat'>",
)


@rule("gw-meant")
def _addresses_alone() -> None:
    inside = (
        f"<body>to='bob\\40far.example@{GW}'</body>"
        "<x xmlns='jabber:x:conference' jid='room@conference.far.example'/></message>"
    )
    for tag in TAGS:
        raw = tag.replace("{}", f"o\\27malley\\40far.example@{GW}/r &amp; x") + inside
        got = GATEWAY.arrived(came(raw))
        assert (got.from_, got.to) == (OWN, "far.example")
        assert got.stanza.to == "o\\27malley@far.example/r & x"
        assert got.stanza.tree().attributes == got.stanza.attributes
        assert canon(got.stanza.raw) == canon(tag.replace("{}", "o\\27malley@far.example/r &amp; x") + inside)
        assert got.stanza.raw.endswith(inside.encode())
    back = GATEWAY.leaving(
        b"<presence to='alice@a.example' from='Bob@Far.example/r'><show>dnd</show></presence>"
    )
    wanted = f"<presence to='alice@a.example' from=\"bob\\40far.example@{GW}/r\"><show>dnd</show></presence>"
    assert back == wanted.encode()


class _Clients:
    """All attachments: who is refused, and why."""

    def __init__(self) -> None:
        self.refused: list[tuple[str, Reason]] = []
        self.counted: list[Reason] = []

    def is_own(self, _session: object, domain: str) -> bool:
        return domain == OWN

    def count(self, reason: Reason) -> None:
        self.counted.append(reason)

    def refuse(self, _session: object, got: StanzaIn, outcome: Outcome, _more: str = "") -> None:
        self.refused.append((got.stanza.from_, outcome.reason))


@rule("gw-who")
def _strangers() -> None:
    """Whatever they write to, and in whose name; each is judged before an address is read."""
    for from_ in ("eve@world.example", f"alice\\40a.example@{GW}", f"alice@x.{OWN}", GW):
        for to in (f"bob\\40far.example@{GW}", f"alice\\40a.example@{GW}", GW):
            clients = _Clients()
            edge = ComponentEdge(cast("Any", clients), cast("Any", None), cast("Any", None), GATEWAY, Pings())
            domain = from_.rpartition("@")[2]
            stanza = read_stanza(f"<message from='{from_}' to='{to}'><body>x</body></message>".encode())
            assert edge.records_of(cast("Any", None), [StanzaIn(stanza, domain, GW)]) == b""
            assert clients.refused == [(from_, Reason.RELAY_DENIED)]
            assert clients.counted == [Reason.RELAY_DENIED]


@rule("gw-itself")
def _of_itself() -> None:
    """What it answers; that it costs is in `tests/app/test_gateway_addresses.py`."""
    answers = {
        "<query xmlns='http://jabber.org/protocol/disco#info'/>": "jid\\20escaping",
        "<query xmlns='http://jabber.org/protocol/disco#items'/>": "disco#items",
        "<ping xmlns='urn:xmpp:ping'/>": "result",
        "<query xmlns='jabber:iq:gateway'/>": "prompt",
        "<query xmlns='jabber:iq:register'/>": "service-unavailable",
    }
    for inside, found in answers.items():
        got = came(f"<iq from='alice@a.example/d' to='{GW}' id='1' type='get'>{inside}</iq>")
        (said,) = GATEWAY.answers(got.stanza, told_of(got.stanza, got.to, got.from_))
        assert found in said.decode()


@rule("gw-loop")
def _ways_round() -> None:
    for domain, reason in (
        (OWN, Reason.LOOP),
        (GW, Reason.LOOP),
        ("gw.b.example", Reason.LOOP),
        (LISTED, Reason.BAD_ADDRESS),
        ("else.example", Reason.RELAY_DENIED),
    ):
        with pytest.raises(NotThrough) as refused:
            GATEWAY.arrived(came(f"<message from='alice@a.example' to='x\\40{domain}@{GW}'/>"))
        assert refused.value.reason is reason
    assert GATEWAY.reach.against("far.example") is None
    assert GATEWAY.reach.against("chat.far.example") is None


@rule("gw-list")
def _in_a_list() -> None:
    for type_, answers in (
        ("subscribe", ["subscribed", ""]),
        ("probe", [""]),
        ("unsubscribe", ["unavailable"]),
        ("unavailable", []),
    ):
        got = came(f"<presence from='alice@a.example/d' to='{GW}' type='{type_}'/>")
        said = [read_stanza(raw) for raw in GATEWAY.answers(got.stanza, None)]
        assert [one.type for one in said] == answers
        assert {(one.from_, one.to) for one in said} <= {(GW, "alice@a.example")}
