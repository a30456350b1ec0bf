"""The choice of protocol with its look-ups: kept for its time, and never moved on by a failure."""

from __future__ import annotations

import random
from typing import Any

import pytest
from twisted.internet.task import Clock

from imxrouter.discovery.answers import TYPE_IMX, TYPE_SRV, Status
from imxrouter.discovery.cache import AnswerCache
from imxrouter.discovery.finder import Finder
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Choice, NoChoice, Protocol, Uri, Why
from imxrouter.switch.ports import Port, Role
from imxrouter.switch.presence import Lane
from imxrouter.switch.ways import Ways
from imxrouter.transport import choosing
from imxrouter.transport.choosing import Chooser, Chosen, Preference
from imxrouter.wire.registry import RecordType
from tests.doubles.zones import FakeZones

IMX, XMPP = Protocol.IMX, Protocol.XMPP
B = Domain("b.example")
OURS = b"a.example"
RECORDS = {
    IMX: "@ 60 IN IMX 1 im port=6490\n",
    XMPP: "_xmpp-server._tcp 90 IN SRV 0 0 5269 im\n",
    None: "@ 60 IN A 192.0.2.1\n",
}


class Rig:
    """A chooser over zones, with what is configured and remembered."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.zones = FakeZones()
        finder = Finder(self.clock, self.zones.ask, random.Random(1), AnswerCache(self.clock.seconds))
        self.preference = Preference(frozenset({IMX, XMPP}))
        self.served: set[Domain] = set()
        self.remembered: set[Protocol] = set()
        self.chooser = Chooser(
            finder, lambda _domain: self.preference, self.served.__contains__,
            lambda _domain: frozenset(self.remembered), self.clock.seconds,
        )  # fmt: skip

    def publish(self, *protocols: Protocol | None, domain: str = "b.example") -> None:
        """What stands in DNS from now on; what was answered before is not asked again."""
        self.zones.load("im 60 IN A 192.0.2.1\n" + "".join(RECORDS[one] for one in protocols), domain)

    def choose(self, incoming: Protocol | None = None, domain: Domain = B) -> Any:
        """Choose at once."""
        results: list[Any] = []
        self.chooser.choose(domain, Uri.IM, incoming).addCallback(results.append)
        assert results, "it waits for an answer"
        return results[0]


@pytest.fixture
def rig() -> Rig:
    """One with both protocols."""
    return Rig()


@pytest.mark.parametrize(
    ("published", "incoming", "expected"),
    [
        ([IMX], None, Choice(IMX, Why.ORDER)),
        ([XMPP], None, Choice(XMPP, Why.ORDER)),
        ([IMX, XMPP], None, Choice(IMX, Why.ORDER)),
        ([IMX, XMPP], XMPP, Choice(XMPP, Why.INCOMING)),
        ([IMX], XMPP, Choice(IMX, Why.ORDER)),
        ([None], None, Choice(XMPP, Why.ADDRESS)),
        ([], None, NoChoice(Reason.NO_IMX_RECORD)),
    ],
)
def test_what_is_published_decides(
    rig: Rig, published: list[Protocol | None], incoming: Protocol | None, expected: object
) -> None:
    """IMX, XMPP, both, an address alone, nothing."""
    rig.publish(*published)
    assert rig.choose(incoming) == expected


@pytest.mark.parametrize("status", [Status.FAILURE, Status.TIMEOUT, Status.MALFORMED])
@pytest.mark.parametrize("rest", [[], [IMX], [XMPP], [IMX, XMPP]])
def test_a_failure_of_what_comes_first_is_the_end(rig: Rig, status: Status, rest: list[Protocol]) -> None:
    """SERVFAIL for IMX does not lead to XMPP, and for XMPP not to IMX where the message came by XMPP."""
    rig.publish(*rest)
    rig.zones.fail("b.example", TYPE_IMX, status)
    rig.zones.fail("_xmpp-server._tcp.b.example", TYPE_SRV, status)
    for incoming, first in ((None, IMX), (XMPP, XMPP)):
        result = rig.choose(incoming)
        assert isinstance(result, NoChoice)
        assert result.protocol is first
        assert result.reason in {Reason.DNS_FAILURE, Reason.DNS_TIMEOUT, Reason.BAD_DNS_RECORD}


def test_records_that_vanish_are_a_fall_unless_dnssec_proves_it(rig: Rig) -> None:
    """Who was reached by IMX before is not reached by XMPP because its IMX records are gone."""
    rig.remembered.add(IMX)
    rig.publish(XMPP)
    assert rig.choose() == NoChoice(Reason.WEAKER_THAN_REMEMBERED, IMX)
    assert rig.choose(XMPP) == Choice(XMPP, Why.INCOMING)
    signed = Rig()
    signed.zones.secure = True
    signed.remembered.add(IMX)
    signed.publish(XMPP)
    assert signed.choose() == Choice(XMPP, Why.ORDER)


def test_dot_for_xmpp_leaves_imx(rig: Rig) -> None:
    """And `0 .` for IMX leaves nothing."""
    rig.zones.load("_xmpp-server._tcp 60 IN SRV 0 0 0 .\n" + RECORDS[IMX], "b.example")
    assert rig.choose(XMPP) == Choice(IMX, Why.ORDER)
    rig.zones.load("@ 60 IN IMX 0 .\n" + RECORDS[XMPP], "c.example")
    assert rig.choose(domain=Domain("c.example")) == NoChoice(Reason.NO_SERVICE, IMX)


def test_configuration_comes_first(rig: Rig) -> None:
    """Pinned, ours, the order, and what is allowed: a lone protocol costs no look-up here."""
    rig.publish(IMX, XMPP)
    rig.preference = Preference(frozenset({IMX, XMPP}), (XMPP, IMX))
    assert rig.choose() == Choice(XMPP, Why.ORDER)
    rig.zones.asked.clear()
    rig.chooser.forget()
    rig.preference = Preference(frozenset({XMPP}))
    assert rig.choose() == Choice(XMPP, Why.ORDER)
    rig.preference = Preference(frozenset({IMX, XMPP}), pinned=IMX)
    assert rig.choose(XMPP) == Choice(IMX, Why.PINNED)
    rig.preference = Preference(frozenset())
    assert rig.choose() == NoChoice(Reason.BLOCKED)
    rig.served.add(B)
    assert rig.choose() == Choice(None, Why.SERVED_HERE)
    assert rig.zones.asked == []


def test_a_choice_holds_for_the_shortest_ttl(rig: Rig) -> None:
    """Then it is made anew; a domain that an operator forgets at once."""
    rig.publish(XMPP)  # the absence of IMX holds for as long as the zone says
    rig.choose()
    kept = rig.chooser.kept(B)
    assert kept is not None
    assert kept.choice == Choice(XMPP, Why.ORDER)
    assert set(kept.look_ups) == {IMX, XMPP}
    asked = len(rig.zones.asked)
    rig.publish(IMX, XMPP)
    assert rig.choose() == Choice(XMPP, Why.ORDER)
    assert len(rig.zones.asked) == asked
    rig.clock.advance(kept.until - rig.clock.seconds())
    assert rig.chooser.kept(B) is None
    assert rig.choose() == Choice(IMX, Why.ORDER)
    rig.chooser.forget(B)
    assert rig.chooser.kept(B) is None


def test_a_failure_is_not_kept_for_the_ttl_of_what_came_before(rig: Rig) -> None:
    """A second later DNS is asked again, as its own memory of failures allows."""
    rig.publish()
    rig.zones.fail("_xmpp-server._tcp.b.example", TYPE_SRV)
    assert rig.choose() == NoChoice(Reason.DNS_FAILURE, XMPP)
    rig.zones.heal()
    rig.publish(XMPP)
    rig.clock.advance(5)
    assert rig.choose() == Choice(XMPP, Why.ORDER)


def test_choices_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand domains do not fill the memory; the oldest choice goes."""
    monkeypatch.setattr(choosing, "CHOICES", 3)
    for number in range(5):
        rig.choose(domain=Domain(f"d{number}.example"))
    kept = [rig.chooser.kept(Domain(f"d{number}.example")) is not None for number in range(5)]
    assert kept == [False, False, True, True, True]


def test_streams_are_admitted_as_long_as_the_choice_holds(rig: Rig) -> None:
    """Chosen: what is no stanza goes over the streams. Over, or chosen otherwise: it does not."""
    ways, stream = Ways(), Port(1, Role.PEER, lambda _data: None)
    stream.carries_stanzas = True
    ways.open(B.wire, OURS, stream)
    chosen = Chosen(ways)
    assert chosen.known(B.wire) is IMX  # without XMPP there is nothing to choose
    chosen.chooser, chosen.several = rig.chooser, True
    assert chosen.known(B.wire) is None
    rig.publish(XMPP)
    chosen.choose(B)
    assert ways[B.wire][OURS] == [stream]
    assert chosen.known(B.wire) is XMPP
    chosen.tick()
    assert B.wire in ways
    rig.clock.advance(3600)
    chosen.tick()
    assert B.wire not in ways
    assert chosen.known(B.wire) is None
    rig.publish(IMX, XMPP)
    chosen.choose(B)
    assert chosen.known(B.wire) is IMX
    assert B.wire not in ways


def test_where_a_subscription_over_links_waits(rig: Rig) -> None:
    """It waits for no choice: its hosts are those for presence unless they are known to be for both.

    After a restart, when nothing is known, it would be given a link that is for messages alone.
    """
    chosen = Chosen(Ways())
    chosen.chooser = rig.chooser

    def waits_at() -> tuple[object, ...]:
        return chosen.key(B.wire, RecordType.SUBSCRIBE, Lane.LINKS)

    assert waits_at() == (B.wire, IMX, Uri.PRES)
    rig.publish(IMX)
    chosen.choose(B, Uri.PRES)
    assert waits_at() == (B.wire, IMX, Uri.IM)
    assert chosen.key(B.wire, RecordType.MESSAGE, Lane.CHOSEN) == (B.wire, IMX, Uri.IM)


def test_an_operator_is_told_what_dns_said(rig: Rig) -> None:
    """Each look-up with its answer."""
    rig.remembered.add(IMX)
    rig.publish(XMPP)
    chosen = Chosen(Ways())
    chosen.chooser = rig.chooser
    told = rig.choose()
    assert chosen.why(B, told) == "decided by imx, imx absent, xmpp published"
