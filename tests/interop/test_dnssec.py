"""DNSSEC for real: zones that Knot DNS signs, seen through an unbound that validates; then the chain breaks.

What counts is what the router makes of it: which way is secure, which TLSA records are believed, and that a
forged or stripped answer is a failure of DNS and never an unsigned zone.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from imxrouter.discovery.adapter import NameServerAsker
from imxrouter.discovery.answers import TYPE_IMX, TYPE_TLSA, Answer, Status
from imxrouter.discovery.cache import AnswerCache
from imxrouter.discovery.errors import DiscoveryFailed
from imxrouter.discovery.finder import Finder, Found
from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.dane import published
from imxrouter.tls.own import OwnCertificate
from tests.doubles.reactor_thread import ReactorThread
from tests.doubles.router_rig import Lab, issued
from tests.doubles.zones import FakeZones
from tests.interop.signed import HEAD, Signed, contents, generic, keys, wire

pytestmark = pytest.mark.interop

PORT = 6490
DIGEST = hashlib.sha256(b"the key of r1").hexdigest()
TLSA = f"_{PORT}._tcp.r1.hoster.example"


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    """The zones, signed and served."""
    with Signed(tmp_path_factory.mktemp("dnssec"), contents(f"3 1 1 {DIGEST}")) as signed:
        yield signed


class Router:
    """What a router asks, with a resolver of its own and nothing kept."""

    def __init__(self, reactor_thread: ReactorThread, resolver: str, trust_ad: Any = "loopback") -> None:
        self._thread = reactor_thread
        self.asker = NameServerAsker(reactor_thread.reactor, [resolver], trust_ad=trust_ad)
        cache = AnswerCache(reactor_thread.reactor.seconds)
        self._finder = Finder(reactor_thread.reactor, self.asker.ask, random.Random(1), cache)

    def ask(self, name: str, rdtype: int) -> Answer:
        """One question."""
        return self._thread.call(self.asker.ask, name, rdtype)  # type: ignore[no-any-return]

    def find(self, domain: str) -> Found:
        """A domain's routers."""
        return self._thread.call(self._finder.find, Domain.parse(domain))  # type: ignore[no-any-return]

    def way(self, domain: str, at: int = 0) -> Delegation:
        """What is said of the way to one of them."""
        found = self.find(domain)
        self._thread.call(self._finder.addresses, found.targets[at].host)
        return self._thread.call(self._finder.delegation, found, found.targets[at])  # type: ignore[no-any-return]

    def failure(self, domain: str) -> DiscoveryFailed:
        """Why a domain's routers are not found."""
        with pytest.raises(DiscoveryFailed) as caught:
            self.find(domain)
        return caught.value


@pytest.fixture
def router(reactor_thread: ReactorThread) -> Callable[..., Router]:
    """Makes routers."""
    return lambda resolver, **kwargs: Router(reactor_thread, resolver, **kwargs)


def test_a_signed_chain_is_secure(zones: Signed, router: Callable[..., Router]) -> None:
    """Through the alias to the hoster and its private record type; TLSA records behind it are believed."""
    asking = router(zones.resolver())
    way = asking.way("customer.example")
    assert (way.secure, way.target, way.failure) == (True, "r1.hoster.example", Reason.NONE)
    assert [record.to_text() for record in way.tlsa] == [f"3 1 1 {DIGEST}"]
    second = asking.way("customer.example", 1)
    assert (second.secure, second.tlsa, second.failure) == (True, (), Reason.NONE)
    no = asking.ask("none.hoster.example", TYPE_IMX)
    assert (no.status, no.secure) == (Status.NXDOMAIN, True)


def test_an_unsigned_link_of_the_chain_is_named(zones: Signed, router: Callable[..., Router]) -> None:
    """An unsigned customer is insecure from its first question; a host in an unsigned zone has no DANE."""
    asking = router(zones.resolver())
    plain = asking.way("plain.example")
    assert (plain.secure, plain.insecure_at, plain.tlsa) == (False, "plain.example IMX", ())
    astray = asking.way("astray.example")
    assert (astray.secure, astray.tlsa, astray.failure) == (True, (), Reason.NONE)
    assert "addresses" in astray.note


def test_the_word_of_the_resolver_counts_only_where_it_is_trusted(
    zones: Signed, router: Callable[..., Router]
) -> None:
    """`never` takes nothing from it; and without our anchor the resolver itself calls the zones insecure."""
    assert not router(zones.resolver(), trust_ad="never").find("customer.example").secure
    assert not router(zones.resolver(anchor=[])).find("customer.example").secure


def test_forged_data_is_a_failure(zones: Signed, router: Callable[..., Router]) -> None:
    """A record changed under its signature: the look-up fails, it does not become an insecure one."""
    signed = zones.transferred("hoster.example")
    forged = signed.replace(DIGEST, "00" * 32)
    assert forged != signed
    asking = router(zones.resolver({"hoster.example": zones.serve({"hoster.example": forged})}))
    way = asking.way("customer.example")
    assert (way.secure, way.tlsa, way.failure) == (True, (), Reason.DNS_FAILURE)
    assert asking.ask(TLSA, TYPE_TLSA).status is Status.FAILURE


def test_a_forged_record_of_the_domain_finds_nothing(zones: Signed, router: Callable[..., Router]) -> None:
    """Not the target that somebody put there, and no other form either."""
    signed = zones.transferred("customer.example")
    forged = signed.replace(
        generic("0000" + wire("imx.hoster.example").lower()), generic("0000" + wire("bad.example"))
    )
    assert forged != signed
    served = zones.serve({"customer.example": forged})
    asking = router(zones.resolver({"customer.example": served}))
    assert asking.failure("customer.example").reason is Reason.DNS_FAILURE


def test_signatures_out_of_date_are_a_failure(zones: Signed, router: Callable[..., Router]) -> None:
    """The same zones ten years on."""
    asking = router(zones.resolver(date="20370101000000"))
    assert asking.failure("customer.example").reason is Reason.DNS_FAILURE


def test_a_wrong_ds_is_a_failure(zones: Signed, router: Callable[..., Router]) -> None:
    """The parent vouches for another key: as after a roll-over that went wrong."""
    wrong = "12345 13 2 " + "ab" * 32
    port = zones.sign({"example": zones.parent({"hoster": wrong})})
    asking = router(zones.resolver({"example": port}, anchor=keys(port, "example")))
    assert asking.failure("customer.example").reason is Reason.DNS_FAILURE
    assert asking.ask("astray.example", TYPE_IMX).secure


def test_stripped_signatures_are_a_failure(zones: Signed, router: Callable[..., Router]) -> None:
    """All of DNSSEC taken out of the answers, while the parent says that the zone is signed."""
    bare = zones.serve({"hoster.example": "$ORIGIN hoster.example.\n" + HEAD + zones.bodies["hoster"]})
    asking = router(zones.resolver({"hoster.example": bare}))
    assert asking.failure("customer.example").reason is Reason.DNS_FAILURE


def test_a_delegation_that_is_provably_unsigned_is_insecure(
    zones: Signed, router: Callable[..., Router]
) -> None:
    """The owner took the DS record away: no failure, and the first question behind it is named."""
    port = zones.sign({"example": zones.parent({"hoster": ""})})
    asking = router(zones.resolver({"example": port}, anchor=keys(port, "example")))
    way = asking.way("customer.example")
    assert (way.secure, way.insecure_at, way.tlsa) == (False, "imx.hoster.example IMX", ())


# -- whole routers -----------------------------------------------------------------------------------------

#: Where the routers listen; the zones lead there.
HOSTER, PEER = ("127.0.0.81", 6490), ("127.0.0.82", 6490)
STRICT = {"trust.default_policy": "dialback+certificate"}
ALICE, BOB = "alice@customer.example", "bob@peer.example"


class Routers:
    """A hoster's router for `customer.example` and one of `peer.example`, whose DNS is real.

    Args:
        lab: where they live.
        resolver: whom both ask.
        certificate: what the hoster shows.
    """

    def __init__(self, lab: Lab, resolver: str, certificate: OwnCertificate) -> None:
        lab.zones = cast("FakeZones", NameServerAsker(lab.thread.reactor, [resolver]))
        self.hoster = lab.router("customer.example", publish=False, endpoint=HOSTER, settings=STRICT)
        self.hoster.use_tls([certificate])
        self.peer = lab.router("peer.example", publish=False, endpoint=PEER, settings=STRICT)
        self.peer.use_tls([issued("peer.example")])

    def both_ways(self) -> bool:
        """Whether a message passes from each to the other."""
        sent = [self.hoster.send(ALICE, BOB).outcome(20), self.peer.send(BOB, ALICE).outcome(20)]
        return all(outcome.ok for outcome in sent)

    def reason(self) -> Reason:
        """Why the peer's message does not go."""
        assert not self.peer.send(BOB, ALICE).outcome(20).ok
        errors = self.peer.call(lambda: self.peer.router.peer_log.of(b"customer.example"))
        reasons: list[Reason] = [error.reason for way, error in errors if way == "ours"]
        return reasons[0]


@pytest.fixture
def lab(reactor_thread: ReactorThread) -> Iterator[Lab]:
    """Routers on loopback."""
    with Lab(reactor_thread) as made:
        yield made


UNKNOWN = issued("r1.hoster.example", by="unknown")


@pytest.fixture(scope="module")
def with_routers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    """The zones that lead to whole routers; TLSA names a certificate by an authority that nobody trusts."""
    bodies = contents(published(UNKNOWN.leaf).to_text(), HOSTER, PEER)
    bodies["hoster"] = _without("r2", bodies["hoster"])  # a second target without TLSA records has no DANE
    with Signed(tmp_path_factory.mktemp("routers"), bodies) as signed:
        yield signed


def test_a_hosted_customer_is_proved_by_dane(with_routers: Signed, lab: Lab) -> None:
    """No certificate for its domain, and none by an authority: DNSSEC alone makes the strongest level."""
    assert Routers(lab, with_routers.resolver(), UNKNOWN).both_ways()


def test_another_certificate_than_the_published_one_is_refused(with_routers: Signed, lab: Lab) -> None:
    """By the trusted authority, for the customer's very domain."""
    routers = Routers(lab, with_routers.resolver(), issued("customer.example", "r1.hoster.example"))
    assert routers.reason() is Reason.DANE_MISMATCH


def test_a_hosted_customer_is_proved_by_delegation(with_routers: Signed, lab: Lab) -> None:
    """Without TLSA records: the hoster's certificate by a trusted authority names its own host."""
    bare = HEAD + _without(" TLSA ", with_routers.bodies["hoster"])
    port = with_routers.sign({"hoster.example": bare})
    with_routers.ports["hoster.example"], before = port, with_routers.ports["hoster.example"]
    parent = with_routers.sign({"example": with_routers.parent({})})
    with_routers.ports["hoster.example"] = before
    resolver = with_routers.resolver(
        {"hoster.example": port, "example": parent}, anchor=keys(parent, "example")
    )
    assert Routers(lab, resolver, issued("r1.hoster.example")).both_ways()


def test_the_same_without_dnssec_is_refused_by_name(with_routers: Signed, lab: Lab) -> None:
    """The parent holds no DS record of the customer: the domain stays weaker, and is told why."""
    parent = with_routers.sign({"example": with_routers.parent({"customer": "", "hoster": ""})})
    resolver = with_routers.resolver({"example": parent}, anchor=keys(parent, "example"))
    assert Routers(lab, resolver, issued("r1.hoster.example")).reason() is Reason.DELEGATION_INSECURE


def test_a_broken_chain_is_no_way_round_dane(with_routers: Signed, lab: Lab) -> None:
    """Who strips or forges DNSSEC gets no link at all, whatever certificate he shows."""
    signed = with_routers.transferred("hoster.example")
    other = published(issued("r1.hoster.example").leaf).data.hex()
    forged = signed.replace(published(UNKNOWN.leaf).data.hex(), other)
    assert forged != signed
    resolver = with_routers.resolver({"hoster.example": with_routers.serve({"hoster.example": forged})})
    assert Routers(lab, resolver, issued("r1.hoster.example")).reason() is Reason.DNS_FAILURE


def _without(word: str, body: str) -> str:
    """A zone without the lines that hold a word, or the name of a target."""
    hidden = wire(f"{word}.hoster.example") if word == "r2" else word
    kept = [line for line in body.splitlines() if word not in line and hidden not in line]
    return "".join(f"{line}\n" for line in kept)
