"""Hosted customers and DANE over real sockets: whole routers, whose DNS is in memory and says what is secure.

`customer.example` is served by a router of a hoster, which has a certificate for its own name only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from imxrouter.discovery.answers import TYPE_TLSA, Status
from imxrouter.link.machine import Side
from imxrouter.model.dane import Matching, Selector, TlsaRecord
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.dane import association_data, published
from imxrouter.tls.identity import identifiers_of
from imxrouter.tls.own import OwnCertificate
from tests.doubles.authority import Authority
from tests.doubles.router_rig import Lab, RouterRig, authority, issued
from tests.transport.test_tls_links import end_links

HOST = "r1.hoster.example"
ALICE, BOB = "alice@customer.example", "bob@p.example"
STRICT = {"trust.default_policy": "dialback+certificate"}
#: Seconds since 1970, after the time of this project.
FAR_OFF = 4_000_000_000.0
#: TLS 1.3, certificate, and dial-back bound to the session.
STRONGEST = 15


@dataclass
class Hosted:
    """A hoster's router for `customer.example`, and a peer with a certificate for its own domain."""

    lab: Lab
    hoster: RouterRig
    peer: RouterRig

    @property
    def tlsa(self) -> str:
        """Where the TLSA records of the hoster's router stand."""
        return f"_{self.hoster.endpoint[1]}._tcp.{HOST}"

    def publish(self, *named: OwnCertificate, records: Sequence[TlsaRecord] = ()) -> None:
        """Publish the customer's alias, the hoster's router, and TLSA records, for certificates too."""
        ip, port = self.hoster.endpoint
        lines = [f"imx IN IMX 1 r1 port={port}", f"r1 IN A {ip}"]
        records = [*records, *(published(one.leaf) for one in named)]
        lines += [f"_{port}._tcp.r1 IN TLSA {record.to_text()}" for record in records]
        self.lab.zones.load("$ORIGIN hoster.example.\n$TTL 60\n" + "\n".join(lines) + "\n")
        self.lab.zones.load("$ORIGIN customer.example.\n$TTL 60\n@ IN IMX 0 imx.hoster.example.\n")

    def refusal(self) -> tuple[Reason, str]:
        """Why the peer's message does not go, as its operator is told; nobody heard anything of it."""
        assert not self.peer.send(BOB, ALICE).outcome().ok
        assert self.hoster.inbox(ALICE) == []
        return self.told("ours")

    def told(self, way: str) -> tuple[Reason, str]:
        """The last failure between both, as the peer's operator is told: `ours` or `theirs`."""
        errors = self.peer.call(lambda: self.peer.router.peer_log.of(b"customer.example"))
        found: list[tuple[Reason, str]] = [(one.reason, one.note) for side, one in errors if side == way]
        assert found, errors
        return found[0]

    def levels(self) -> dict[Side, int]:
        """How strong the customer's domain is for the peer, by who opened the link."""
        raw = b"customer.example"
        return {one.side: one.port.sources[raw][0] for one in self.peer.sessions() if raw in one.port.sources}


@pytest.fixture
def hosted(lab: Lab) -> Hosted:
    """Everything signed; the hoster's certificate names its own host and is by the common authority."""
    lab.zones.secure = True
    hoster = lab.router("customer.example", publish=False, settings=STRICT, certificates=[[HOST]])
    peer = lab.router("p.example", settings=STRICT, certificates=[["p.example"]])
    made = Hosted(lab, hoster, peer)
    made.publish()
    return made


def test_a_certificate_for_the_target_counts_behind_a_secure_way(hosted: Hosted) -> None:
    """BEY-9: when the customer is reached, as strong as can be."""
    assert hosted.peer.send(BOB, ALICE).outcome().ok
    assert hosted.levels()[Side.OPENER] == STRONGEST


def test_so_it_does_when_the_customer_proves_itself(hosted: Hosted) -> None:
    """The second connection of dial-back is judged in the same way."""
    assert hosted.hoster.send(ALICE, BOB).outcome().ok
    assert hosted.levels()[Side.ACCEPTOR] == STRONGEST


@pytest.mark.parametrize("question", ["customer.example IMX", "imx.hoster.example IMX"])
def test_the_same_behind_an_insecure_way_is_refused_and_says_why(hosted: Hosted, question: str) -> None:
    """The domain stays weaker; the note names the question that was not validated."""
    hosted.lab.zones.insecure.add(question)
    reason, note = hosted.refusal()
    assert reason is Reason.DELEGATION_INSECURE
    assert question in note
    assert not hosted.hoster.send(ALICE, BOB).outcome().ok
    assert hosted.told("theirs")[0] is Reason.DELEGATION_INSECURE


def test_weaker_is_enough_where_the_policy_says_so(lab: Lab) -> None:
    """`dialback+tls` for the same domain with the same certificate."""
    settings = {"trust.default_policy": "dialback+tls"}
    hoster = lab.router("customer.example", publish=False, settings=settings, certificates=[[HOST]])
    peer = lab.router("p.example", settings=settings, certificates=[["p.example"]])
    hosted = Hosted(lab, hoster, peer)
    hosted.publish()
    assert peer.send(BOB, ALICE).outcome().ok


def test_an_authority_that_nobody_trusts_is_refused(hosted: Hosted) -> None:
    """Without TLSA records, behind a secure way all the same."""
    hosted.hoster.use_tls([issued(HOST, by="unknown")])
    assert hosted.refusal()[0] is Reason.CERTIFICATE_REFUSED


def test_tlsa_records_take_the_place_of_an_authority(hosted: Hosted) -> None:
    """The same certificate, which its owner names in his signed zone: reached, and proved by dial-back."""
    own = issued(HOST, by="unknown")
    hosted.hoster.use_tls([own])
    hosted.publish(own)
    assert hosted.hoster.send(ALICE, BOB).outcome().ok
    assert hosted.peer.send(BOB, ALICE).outcome().ok
    assert set(hosted.levels().values()) == {STRONGEST}


def test_a_certificate_beside_the_records_is_refused_whoever_signed_it(hosted: Hosted) -> None:
    """Never weaker: it names the domain itself and is by a trusted authority."""
    hosted.publish(issued(HOST, by="unknown"))
    hosted.hoster.use_tls([issued("customer.example", HOST)])
    reason, note = hosted.refusal()
    assert reason is Reason.DANE_MISMATCH
    assert hosted.tlsa in note
    assert not hosted.hoster.send(ALICE, BOB).outcome().ok
    assert hosted.told("theirs")[0] is Reason.DANE_MISMATCH


def test_records_behind_an_insecure_way_say_nothing(hosted: Hosted) -> None:
    """Neither good nor bad: the certificate for the domain counts as without them."""
    hosted.lab.zones.secure = False
    hosted.publish(issued(HOST, by="unknown"))
    hosted.hoster.use_tls([issued("customer.example", HOST)])
    assert hosted.peer.send(BOB, ALICE).outcome().ok


@pytest.mark.parametrize("rule", ["dialback+tls", "dialback"])
@pytest.mark.parametrize("hidden", [False, True], ids=["another certificate", "hidden records"])
def test_what_the_domain_itself_says_counts_under_every_policy(lab: Lab, rule: str, hidden: bool) -> None:
    """Though no certificate is asked for: records promise TLS and name who is there (RFC 7672 2.2, 3.2)."""
    lab.zones.secure = True
    settings = {"trust.default_policy": rule}
    hoster = lab.router("customer.example", publish=False, settings=settings, certificates=[[HOST]])
    peer = lab.router("p.example", settings=settings, certificates=[["p.example"]])
    hosted = Hosted(lab, hoster, peer)
    hosted.publish(issued(HOST))
    assert peer.send(BOB, ALICE).outcome().ok
    assert all(one.tls is not None for one in peer.sessions() if one.side is Side.OPENER)
    end_links(peer)
    end_links(hoster)
    if hidden:
        lab.zones.fail(hosted.tlsa, TYPE_TLSA)
    else:
        hosted.publish(issued(HOST, by="unknown"))
    peer.forget_dns()
    assert not peer.send(BOB, ALICE).outcome().ok
    assert hosted.told("ours")[0] is (Reason.DNS_FAILURE if hidden else Reason.DANE_MISMATCH)


@pytest.mark.parametrize("status", [Status.FAILURE, Status.TIMEOUT, Status.MALFORMED])
def test_records_that_cannot_be_learned_refuse_every_certificate(hosted: Hosted, status: Status) -> None:
    """Who can make the question fail gains nothing."""
    hosted.hoster.use_tls([issued("customer.example", HOST)])
    hosted.lab.zones.fail(hosted.tlsa, TYPE_TLSA, status)
    assert hosted.refusal()[0].stage.value == "dns"


def test_after_an_alias_its_end_is_named(hosted: Hosted) -> None:
    """The TLSA base domain is in SNI, and a certificate of that name does (RFC 7671 sections 7 and 10.2)."""
    ip, port = hosted.hoster.endpoint
    own = issued("box.net.example", by="unknown")
    hosted.hoster.use_tls([issued("customer.example"), own])
    signer = authority("unknown").certificate
    record = TlsaRecord(2, 0, 0, association_data(signer, Selector.CERTIFICATE, Matching.FULL))
    hosted.publish()
    hosted.lab.zones.load(
        f"$ORIGIN net.example.\n$TTL 60\nbox IN A {ip}\n_{port}._tcp.box IN TLSA {record.to_text()}\n"
    )
    hosted.lab.zones.load(
        f"$ORIGIN hoster.example.\n$TTL 60\nimx IN IMX 1 r1 port={port}\nr1 IN CNAME box.net.example.\n"
    )
    assert hosted.peer.send(BOB, ALICE).outcome().ok
    names = {one.tls.server_name for one in hosted.peer.sessions() if one.tls and one.side is Side.OPENER}
    assert names == {"box.net.example"}


def test_the_target_is_named_where_its_records_are_known(hosted: Hosted) -> None:
    """A hoster with its customer's certificate as well: it shows the one that its records name."""
    own = issued(HOST, by="unknown")
    hosted.hoster.use_tls([issued("customer.example"), own])
    hosted.publish(own)
    assert hosted.peer.send(BOB, ALICE).outcome().ok
    names = {one.tls.server_name for one in hosted.peer.sessions() if one.tls and one.side is Side.OPENER}
    assert names == {HOST}


def test_a_link_is_used_for_another_customer_only_if_its_way_is_good_too(lab: Lab) -> None:
    """One connection to the hoster serves several customers, each by its own DNS."""
    lab.zones.secure = True
    domains = ("customer.example", "second.example", "third.example")
    hoster = lab.router(*domains, publish=False, settings=STRICT, certificates=[[HOST]])
    peer = lab.router("p.example", settings=STRICT, certificates=[["p.example"]])
    hosted = Hosted(lab, hoster, peer)
    hosted.publish()
    for domain in domains[1:]:
        lab.zones.load(f"$ORIGIN {domain}.\n$TTL 60\n@ IN IMX 0 imx.hoster.example.\n")
    lab.zones.insecure.add("third.example IMX")
    assert peer.send(BOB, ALICE).outcome().ok
    assert peer.send(BOB, "alice@second.example").outcome().ok
    assert sum(one.side is Side.OPENER for one in peer.sessions()) == 1
    assert not peer.send(BOB, "alice@third.example").outcome().ok


def test_a_resumed_session_is_held_to_its_records_too(hosted: Hosted) -> None:
    """DANE-TA: the authority was presented in the whole handshake only."""
    authority = Authority.root(not_before=0.0, not_after=FAR_OFF)
    made = authority.below(not_before=0.0, not_after=FAR_OFF).issue(HOST, not_before=0.0, not_after=FAR_OFF)
    above = association_data(made.above[0], Selector.PUBLIC_KEY, Matching.SHA256)
    own = OwnCertificate(
        made.chain, made.key, identifiers_of(made.certificate), Path("r1.crt"), b"chain", 0.0, FAR_OFF
    )
    hosted.hoster.use_tls([own])
    hosted.publish(records=[TlsaRecord(2, 1, 1, above)])
    for resumed in (False, True):
        assert hosted.peer.send(BOB, ALICE).outcome().ok
        (link,) = (one for one in hosted.peer.sessions() if one.side is Side.OPENER)
        assert link.tls is not None
        assert (link.tls.resumed, hosted.levels()[Side.OPENER]) == (resumed, STRONGEST)
        links = hosted.peer.sessions()
        hosted.peer.call(lambda links=links: [one.end(Reason.IDLE) for one in links])  # type: ignore[misc]
        hosted.lab.wait_until(lambda: not hosted.peer.router.hub.sessions, "all links are closed")
