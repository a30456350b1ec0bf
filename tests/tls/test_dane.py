"""Matching certificates against TLSA records, and what a certificate then counts for."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.dane import Delegation, Matching, Selector, TlsaRecord, Usage
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.dane import (
    MAX_RECORDS,
    Coverage,
    Dane,
    DaneResult,
    association_data,
    coverage,
    match,
    published,
    usable,
)
from imxrouter.tls.peer import PeerCertificate
from tests.doubles.authority import CLIENT, DAY, NOW, Authority, rsa_key

NAME = "r1.hoster.example"
AUTHORITY = Authority.root()
BELOW = AUTHORITY.below()
STRANGER = Authority.root("Stranger")
LEAF = BELOW.issue(NAME).certificate
MIDDLE, ROOT, OTHER = BELOW.certificate, AUTHORITY.certificate, STRANGER.certificate
CHAIN = [LEAF, MIDDLE, ROOT]


def record(usage: int, of: x509.Certificate, selector: int = 1, matching: int = 1) -> TlsaRecord:
    """The record that names a certificate."""
    data = association_data(of, Selector(selector), Matching(matching))
    return TlsaRecord(usage, selector, matching, data)


def peer(chain: list[x509.Certificate]) -> PeerCertificate:
    """Who presented it."""
    return PeerCertificate(chain[0], tuple(chain))


def state(
    *records: TlsaRecord, chain: list[x509.Certificate] = CHAIN, trusted: bool = False, at: float = NOW
) -> Dane:
    """What comes of it."""
    return match(records, peer(chain), trusted=trusted, at=at).state


@pytest.mark.parametrize(("selector", "matching"), list(product(Selector, Matching)))
def test_every_selector_and_matching_type(selector: int, matching: int) -> None:
    """Of the peer's own certificate, and of an authority."""
    assert state(record(3, LEAF, selector, matching)) is Dane.MATCH
    assert state(record(3, MIDDLE, selector, matching)) is Dane.MISMATCH
    for authority in (MIDDLE, ROOT):
        assert state(record(2, authority, selector, matching)) is Dane.MATCH
    assert state(record(2, OTHER, selector, matching)) is Dane.MISMATCH
    assert state(record(2, LEAF, selector, matching)) is Dane.MISMATCH


def test_digests_are_those_of_the_rfc() -> None:
    """Not only our own counterpart: computed apart."""
    der = LEAF.public_bytes(Encoding.DER)
    key = LEAF.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert state(TlsaRecord(3, 0, 0, der)) is Dane.MATCH
    assert state(TlsaRecord(3, 1, 1, hashlib.sha256(key).digest())) is Dane.MATCH
    assert state(TlsaRecord(3, 0, 2, hashlib.sha512(der).digest())) is Dane.MATCH
    assert published(LEAF) == TlsaRecord(3, 1, 1, hashlib.sha256(key).digest())


@pytest.mark.parametrize("kind", ["rsa", "p384", "ed25519"])
def test_the_public_key_is_taken_as_it_stands(kind: str) -> None:
    """For each kind of key the octets that its certificate holds."""
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    if kind == "rsa":
        key = rsa_key(2048)
    elif kind == "p384":
        key = ec.generate_private_key(ec.SECP384R1())
    else:
        key = ed25519.Ed25519PrivateKey.generate()
    certificate = AUTHORITY.issue(NAME, key=key).certificate
    expected = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert association_data(certificate, Selector.PUBLIC_KEY, Matching.FULL) == expected


def test_no_usable_record_is_no_record() -> None:
    """RFC 6698 section 4.1: then the usual rules hold, and it is told why."""
    assert match([], peer(CHAIN), trusted=True, at=NOW) == DaneResult(Dane.NONE)
    result = match([TlsaRecord(9, 1, 1, bytes(32))], peer(CHAIN), trusted=True, at=NOW)
    assert result.state is Dane.NONE
    assert "usage 9" in result.note
    unusable = [TlsaRecord(3, 7, 1, bytes(32)), TlsaRecord(3, 1, 7, bytes(32)), TlsaRecord(3, 1, 1, b"short")]
    assert state(*unusable) is Dane.NONE
    assert state(*unusable, record(3, OTHER)) is Dane.MISMATCH


def test_any_record_that_matches_is_enough() -> None:
    """A roll-over: the old and the new one stand beside each other."""
    assert state(record(3, OTHER), record(3, LEAF)) is Dane.MATCH
    assert state(record(3, OTHER), record(2, ROOT)) is Dane.MATCH
    assert state(record(3, OTHER), record(3, MIDDLE)) is Dane.MISMATCH


def test_the_best_digest_alone_counts() -> None:
    """RFC 7671 section 9, for each usage and selector; a full value stands beside it."""
    weak, strong = record(3, LEAF, 1, 1), record(3, OTHER, 1, 2)
    assert state(weak) is Dane.MATCH
    assert state(weak, strong) is Dane.MISMATCH
    assert state(weak, record(3, OTHER, 0, 2)) is Dane.MATCH
    assert state(record(3, LEAF, 1, 0), strong) is Dane.MATCH
    assert len(usable([record(3, LEAF)] * 99)) == MAX_RECORDS


def test_dane_ee_asks_for_nothing_else() -> None:
    """Dates, purpose and authority of the certificate say nothing (RFC 7671 section 5.1)."""
    ended = STRANGER.issue("x.example", not_after=NOW - 1, purposes=[CLIENT]).certificate
    assert state(record(3, ended), chain=[ended]) is Dane.MATCH


def test_an_authority_must_have_signed_within_its_time() -> None:
    """DANE-TA: the path, its dates and its purpose hold."""
    own = record(2, ROOT)
    options: dict[str, Any]
    for options, word in (
        ({"not_after": NOW - 1}, "expired"),
        ({"not_before": NOW + 1}, "not-yet-valid"),
        ({"signer": STRANGER.issued.key}, "unknown-authority"),
        ({"purposes": [CLIENT]}, "wrong-purpose"),
    ):
        leaf = BELOW.issue(NAME, **options).certificate
        result = match([own], peer([leaf, *CHAIN[1:]]), trusted=False, at=NOW)
        assert result.state is Dane.MISMATCH
        assert word in result.note
    no_authority = Authority(BELOW.issue(NAME), is_root=False)
    below = no_authority.issue(NAME)
    assert state(record(2, no_authority.certificate), chain=list(below.chain)) is Dane.MISMATCH
    assert state(own, chain=[STRANGER.issue(NAME).certificate, ROOT]) is Dane.MISMATCH
    assert state(own, at=NOW + 91 * DAY) is Dane.MISMATCH


def test_an_authority_whole_in_the_record_need_not_be_sent() -> None:
    """2 0 0 (RFC 7671 section 5.2.2); its digest must."""
    assert state(record(2, ROOT, 0, 0), chain=CHAIN[:2]) is Dane.MATCH
    assert state(record(2, ROOT, 0, 1), chain=CHAIN[:2]) is Dane.MISMATCH
    assert state(record(2, ROOT, 1, 0), chain=CHAIN[:2]) is Dane.MISMATCH
    assert state(TlsaRecord(2, 0, 0, b"no certificate"), chain=CHAIN[:2]) is Dane.MISMATCH


def test_pkix_usages_ask_for_an_anchor_of_ours_too() -> None:
    """0 and 1 narrow what is trusted, and never widen it."""
    for one in (record(1, LEAF), record(0, MIDDLE), record(0, ROOT)):
        assert state(one, trusted=True) is Dane.MATCH
        result = match([one], peer(CHAIN), trusted=False, at=NOW)
        assert (result.state, result.usage) == (Dane.MISMATCH, None)
        assert "vouches" in result.note
    assert state(record(1, OTHER), trusted=True) is Dane.MISMATCH
    assert state(record(0, OTHER), trusted=True) is Dane.MISMATCH


def test_a_root_that_we_trust_need_not_be_sent() -> None:
    """PKIX-TA: a longer chain than was presented (RFC 7671 section 5.4); it must lead there all the same."""
    root = record(0, ROOT)
    assert match([root], peer(CHAIN[:2]), trusted=True, at=NOW).state is Dane.MISMATCH
    assert match([root], peer(CHAIN[:2]), trusted=True, at=NOW, anchors=[OTHER, ROOT]).state is Dane.MATCH
    assert match([root], peer(CHAIN[:2]), trusted=False, at=NOW, anchors=[ROOT]).state is Dane.MISMATCH
    assert (
        match([record(2, ROOT)], peer(CHAIN[:2]), trusted=True, at=NOW, anchors=[ROOT]).state is Dane.MISMATCH
    )
    other = STRANGER.issue(NAME).certificate
    assert match([root], peer([other]), trusted=True, at=NOW, anchors=[ROOT]).state is Dane.MISMATCH


@given(
    st.lists(
        st.builds(TlsaRecord, st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.binary())
    )
)
def test_any_records_are_judged(records: list[TlsaRecord]) -> None:
    """Whatever is published: no exception, and no match by chance."""
    assert state(*records) is not Dane.MATCH


# -- what it counts for ------------------------------------------------------------------------------------

DOMAIN = Domain.parse("customer.example")
SECURE = Delegation("r1.hoster.example", secure=True, tlsa_name="_7000._tcp.r1.hoster.example")
INSECURE = Delegation("r1.hoster.example", insecure_at="customer.example IMX")
NONE = DaneResult(Dane.NONE)
MISMATCH = DaneResult(Dane.MISMATCH, note="DANE-EE: another certificate")


def matched(usage: int) -> DaneResult:
    """A match by a record of that usage."""
    return DaneResult(Dane.MATCH, record(usage, LEAF))


#: A certificate by what it names: the domain, the target, both or neither.
NAMING = {
    (domain, target): peer([STRANGER.issue(*names).certificate])
    for domain, target, names in (
        (True, True, (DOMAIN.name, NAME)),
        (True, False, (DOMAIN.name,)),
        (False, True, (NAME,)),
        (False, False, ("other.example",)),
    )
}


def judge(
    way: Delegation,
    dane: DaneResult = NONE,
    *,
    untrusted: str = "",
    domain: bool = False,
    target: bool = False,
) -> Coverage:
    """What comes of it for the customer's domain."""
    return coverage(DOMAIN, NAMING[domain, target], way, dane, untrusted=untrusted)


def test_a_certificate_for_the_domain_needs_no_dns() -> None:
    """As ever."""
    for way in (SECURE, INSECURE):
        assert judge(way, domain=True) == Coverage(True, "authority")
        assert judge(way, domain=True, untrusted="expired").reason is Reason.CERTIFICATE_REFUSED


def test_a_certificate_for_the_target_counts_behind_a_secure_way() -> None:
    """BEY-9; else the answer says which question was not validated."""
    assert judge(SECURE, target=True) == Coverage(True, "delegation")
    refused = judge(INSECURE, target=True)
    assert (refused.covers, refused.reason) == (False, Reason.DELEGATION_INSECURE)
    assert "customer.example IMX" in refused.note
    assert "r1.hoster.example" in refused.note
    assert judge(SECURE, target=True, untrusted="unknown-authority").reason is Reason.CERTIFICATE_REFUSED
    assert judge(INSECURE, target=True, untrusted="expired").reason is Reason.CERTIFICATE_REFUSED
    assert judge(SECURE).reason is Reason.CERTIFICATE_REFUSED


def test_dane_takes_the_place_of_an_authority() -> None:
    """DANE-EE wholly; DANE-TA where the certificate names domain or target."""
    assert judge(SECURE, matched(3), untrusted="self-signed") == Coverage(True, "DANE-EE")
    for domain, target in ((True, False), (False, True)):
        by_ta = judge(SECURE, matched(2), untrusted="unknown-authority", domain=domain, target=target)
        assert by_ta == Coverage(True, "DANE-TA")
        assert judge(SECURE, matched(1), domain=domain, target=target).by == "PKIX-EE"
    assert judge(SECURE, matched(2), untrusted="unknown-authority").reason is Reason.CERTIFICATE_REFUSED


def test_records_that_do_not_match_refuse_what_an_authority_signed() -> None:
    """Never weaker: whoever publishes TLSA records is not taken for somebody by an authority's mistake."""
    refused = judge(SECURE, MISMATCH, domain=True, target=True)
    assert (refused.covers, refused.reason) == (False, Reason.DANE_MISMATCH)
    assert "_7000._tcp.r1.hoster.example" in refused.note


def test_records_that_may_be_hidden_refuse_as_well() -> None:
    """A failed look-up behind a secure way."""
    hidden = replace(SECURE, failure=Reason.DNS_FAILURE, note="SERVFAIL")
    refused = judge(hidden, domain=True, target=True)
    assert (refused.covers, refused.reason) == (False, Reason.DNS_FAILURE)
    assert "SERVFAIL" in refused.note


DANES = (NONE, MISMATCH, *map(matched, Usage))


@given(
    st.sampled_from((SECURE, INSECURE, replace(SECURE, failure=Reason.DNS_TIMEOUT))),
    st.sampled_from(DANES),
    st.sampled_from(("", "expired")),
    st.booleans(),
    st.booleans(),
)
def test_whatever_counts_has_a_ground(
    way: Delegation, dane: DaneResult, untrusted: str, domain: bool, target: bool
) -> None:
    """What counts rests on an authority or DANE, and on a name unless DANE-EE; a refusal has words."""
    result = judge(way, dane, untrusted=untrusted, domain=domain, target=target)
    if not result.covers:
        assert result.reason.stage.value in {"identity", "dns"}
        assert result.note
        assert not result.by
        return
    assert result.reason is Reason.NONE
    assert way.failure is Reason.NONE
    assert dane.state is not Dane.MISMATCH
    assert not untrusted or dane.state is Dane.MATCH
    assert domain or (target and way.secure) or dane.usage is Usage.DANE_EE
