"""Judging a peer's chain: one forgiven error, and every other one refused by its word."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import crypto

from imxrouter.model.domain import Domain
from imxrouter.tls.peer import CACHE_S, MAX_CHAIN, Anchors, ChainProblem, Intermediates, PeerCertificate
from tests.doubles.authority import (
    CLIENT,
    CODE,
    DAY,
    NOW,
    SERVER,
    Authority,
    Issued,
    dns_srv,
    rsa_key,
    xmpp_address,
)

ROOT = Authority.root()
MIDDLE = ROOT.below()


def peer(issued: Issued, *, resumed: bool = False) -> PeerCertificate:
    """What a peer with that certificate shows."""
    return PeerCertificate(issued.certificate, issued.chain, resumed=resumed)


def anchors(*authorities: Authority, partial: bool = False, known: Intermediates | None = None) -> Anchors:
    """Trust in those, or in the usual root."""
    trusted = [one.certificate for one in authorities or (ROOT,)]
    return Anchors(trusted, partial=partial, known=known, source="the test root")


PURPOSES = {
    "serverAuth only, as today's public authorities issue": [SERVER],
    "clientAuth only": [CLIENT],
    "both": [SERVER, CLIENT],
    "none stated": [],
}


@pytest.mark.parametrize("name", PURPOSES)
def test_a_good_chain_is_trusted_from_who_connects_to_us(name: str) -> None:
    """The purpose of a peer that connects may be client, server or anything."""
    issued = MIDDLE.issue("a.example", purposes=PURPOSES[name])
    judgement = anchors().judge(peer(issued), at=NOW, as_client=True)
    assert (judgement.problem, judgement.note) == (None, "")


def test_a_client_only_certificate_is_refused_from_who_we_connect_to() -> None:
    """Nothing is forgiven to a server."""
    issued = MIDDLE.issue("a.example", purposes=[CLIENT])
    judgement = anchors().judge(peer(issued), at=NOW, as_client=False)
    assert judgement.problem is ChainProblem.WRONG_PURPOSE


def _bad_signature() -> Issued:
    other = ec.generate_private_key(ec.SECP256R1())
    names = x509.AuthorityKeyIdentifier.from_issuer_public_key(MIDDLE.issued.key.public_key())
    good = MIDDLE.issue("a.example")
    builder = x509.CertificateBuilder(
        good.certificate.issuer,
        good.certificate.subject,
        good.key.public_key(),
        good.certificate.serial_number,
        good.certificate.not_valid_before_utc.replace(tzinfo=None),
        good.certificate.not_valid_after_utc.replace(tzinfo=None),
    )
    for extension in good.certificate.extensions:
        value = names if isinstance(extension.value, x509.AuthorityKeyIdentifier) else extension.value
        builder = builder.add_extension(value, critical=extension.critical)
    return Issued(builder.sign(other, hashes.SHA256()), good.key, good.above)


def _self_signed(*, authority: bool) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    made = Authority.root("a.example", key=key, san=[x509.DNSName("a.example")])
    if authority:
        return made.issued
    leaf = made.issue("a.example", key=key, common="a.example")
    return Issued(leaf.certificate, key)


def _without_intermediate() -> Issued:
    issued = MIDDLE.issue("a.example")
    return Issued(issued.certificate, issued.key)


def _leaf_as_authority() -> Issued:
    leaf = MIDDLE.issue("m.example", common="m.example")
    return Authority(leaf, is_root=False).issue("a.example")


def _no_cert_sign() -> Issued:
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return ROOT.below("no signing", extra=[(usage, True)]).issue("a.example")


def _constrained(*, excluded: bool) -> Issued:
    tree = [x509.DNSName("example")] if excluded else [x509.DNSName("other.example")]
    limits = x509.NameConstraints(None if excluded else tree, tree if excluded else None)
    return ROOT.below("constrained", constraints=limits).issue("a.example")


def _constrained_service(*, excluded: bool) -> Issued:
    """A limited authority names a stranger's service, a kind of name that its limits do not speak of."""
    tree = [x509.DNSName("victim.example")] if excluded else [x509.DNSName("other.example")]
    limits = x509.NameConstraints(None if excluded else tree, tree if excluded else None)
    san = [x509.DNSName("im.other.example"), dns_srv("_imx.im.victim.example")]
    return ROOT.below("constrained", constraints=limits).issue(san=san)


def _constrained_server(*, excluded: bool) -> Issued:
    """The same with the address of a stranger's XMPP server."""
    tree = [x509.DNSName("victim.example")] if excluded else [x509.DNSName("other.example")]
    limits = x509.NameConstraints(None if excluded else tree, tree if excluded else None)
    san = [x509.DNSName("im.other.example"), xmpp_address("victim.example")]
    return ROOT.below("constrained", constraints=limits).issue(san=san)


def _unknown_critical() -> Issued:
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
    return MIDDLE.issue("a.example", extra=[(extension, True)])


def _code_signing_authority() -> Issued:
    return ROOT.below("code only", purposes=[CODE]).issue("a.example")


REFUSED: dict[str, tuple[ChainProblem, Callable[[], Issued]]] = {
    "expired": (ChainProblem.EXPIRED, lambda: MIDDLE.issue("a.example", not_after=NOW - 1)),
    "intermediate expired": (
        ChainProblem.EXPIRED,
        lambda: ROOT.below("old", not_after=NOW - 1).issue("a.example"),
    ),
    "not yet valid": (ChainProblem.NOT_YET_VALID, lambda: MIDDLE.issue("a.example", not_before=NOW + 1)),
    "wrong authority": (ChainProblem.UNKNOWN_AUTHORITY, lambda: Authority.root().below().issue("a.example")),
    "wrong authority of the same name, root presented": (
        ChainProblem.UNKNOWN_AUTHORITY,
        lambda: _with_root(Authority.root("Another Root")),
    ),
    "self-signed": (ChainProblem.SELF_SIGNED, lambda: _self_signed(authority=False)),
    "self-signed authority": (ChainProblem.SELF_SIGNED, lambda: _self_signed(authority=True)),
    "bad signature": (ChainProblem.BAD_SIGNATURE, _bad_signature),
    "authority as leaf": (ChainProblem.AUTHORITY_AS_LEAF, lambda: MIDDLE.issued),
    "leaf as authority": (ChainProblem.NOT_AN_AUTHORITY, _leaf_as_authority),
    "authority that may not sign": (ChainProblem.NOT_AN_AUTHORITY, _no_cert_sign),
    "name not permitted": (ChainProblem.NAME_CONSTRAINT, lambda: _constrained(excluded=False)),
    "name excluded": (ChainProblem.NAME_CONSTRAINT, lambda: _constrained(excluded=True)),
    "service not permitted": (ChainProblem.NAME_CONSTRAINT, lambda: _constrained_service(excluded=False)),
    "server not permitted": (ChainProblem.NAME_CONSTRAINT, lambda: _constrained_server(excluded=False)),
    "server excluded": (ChainProblem.NAME_CONSTRAINT, lambda: _constrained_server(excluded=True)),
    "service excluded": (ChainProblem.NAME_CONSTRAINT, lambda: _constrained_service(excluded=True)),
    "path length": (
        ChainProblem.TOO_LONG_CHAIN,
        lambda: ROOT.below("short", path_length=0).below("too deep").issue("a.example"),
    ),
    "weak key": (ChainProblem.WEAK_KEY, lambda: MIDDLE.issue("a.example", key=rsa_key(1024))),
    "weak key of the authority": (
        ChainProblem.WEAK_KEY,
        lambda: ROOT.below("weak", key=rsa_key(1024)).issue("a.example"),
    ),
    "weak curve": (
        ChainProblem.WEAK_KEY,
        lambda: MIDDLE.issue("a.example", key=ec.generate_private_key(ec.SECP224R1())),
    ),
    "weak digest": (ChainProblem.WEAK_DIGEST, lambda: MIDDLE.issue("a.example").signed_weakly(MIDDLE)),
    "code signing": (ChainProblem.WRONG_PURPOSE, lambda: MIDDLE.issue("a.example", purposes=[CODE])),
    "code signing authority": (ChainProblem.WRONG_PURPOSE, _code_signing_authority),
    "intermediate missing": (ChainProblem.UNKNOWN_AUTHORITY, _without_intermediate),
    "unknown critical extension": (ChainProblem.BAD_CERTIFICATE, _unknown_critical),
}


def _with_root(root: Authority) -> Issued:
    issued = root.issue("a.example")
    return Issued(issued.certificate, issued.key, (root.certificate,))


@pytest.mark.parametrize("as_client", [True, False], ids=["it connects", "we connect"])
@pytest.mark.parametrize("name", REFUSED)
def test_every_other_error_is_refused(name: str, *, as_client: bool) -> None:
    """Each by its word, with a note, in both directions; each carries serverAuth only, unless it says."""
    problem, make = REFUSED[name]
    judgement = anchors().judge(peer(make()), at=NOW, as_client=as_client)
    assert judgement.problem is problem
    assert judgement.note


def test_a_limited_authority_may_name_what_it_is_limited_to() -> None:
    """DNS-IDs and services alike."""
    limits = x509.NameConstraints([x509.DNSName("other.example")], [x509.DNSName("bad.other.example")])
    san = [x509.DNSName("other.example"), dns_srv("_imx.im.other.example")]
    issued = ROOT.below("constrained", constraints=limits).issue(san=san)
    assert anchors().judge(peer(issued), at=NOW, as_client=True).problem is None


def test_a_chain_that_is_too_long_is_not_read() -> None:
    """More certificates than any public chain has cost nothing."""
    issued = MIDDLE.issue("a.example")
    long = PeerCertificate(issued.certificate, (issued.certificate,) + issued.above * MAX_CHAIN)
    judgement = anchors().judge(long, at=NOW, as_client=True)
    assert judgement.problem is ChainProblem.TOO_LONG_CHAIN


def test_a_judgement_ends_with_the_validity() -> None:
    """What is kept for minutes is not kept beyond a date of the chain."""
    issued = MIDDLE.issue("a.example", not_after=NOW + 60)
    trust = anchors()
    assert trust.judge(peer(issued), at=NOW, as_client=True).problem is None
    assert trust.judge(peer(issued), at=NOW + 59, as_client=True).problem is None
    assert trust.judge(peer(issued), at=NOW + 61, as_client=True).problem is ChainProblem.EXPIRED


def test_a_refusal_ends_with_the_date_it_waits_for() -> None:
    """A certificate that becomes valid is trusted then, not minutes later."""
    issued = MIDDLE.issue("a.example", not_before=NOW + 10)
    trust = anchors()
    assert trust.judge(peer(issued), at=NOW, as_client=True).problem is ChainProblem.NOT_YET_VALID
    assert trust.judge(peer(issued), at=NOW + 10, as_client=True).problem is None


def test_a_kept_judgement_is_of_this_role_and_this_chain() -> None:
    """What a client may show does not pass for a server, nor without its intermediate."""
    issued = MIDDLE.issue("a.example", purposes=[CLIENT])
    trust = anchors()
    assert trust.judge(peer(issued), at=NOW, as_client=True).problem is None
    assert trust.judge(peer(issued), at=NOW, as_client=False).problem is ChainProblem.WRONG_PURPOSE
    bare = Issued(issued.certificate, issued.key)
    assert trust.judge(peer(bare), at=NOW, as_client=True).problem is ChainProblem.UNKNOWN_AUTHORITY


def test_a_resumed_session_finds_its_intermediate_again() -> None:
    """A ticket holds the leaf only; the intermediates are those that were once trusted."""
    known = Intermediates()
    trust = anchors(known=known)
    issued = MIDDLE.issue("a.example")
    bare = Issued(issued.certificate, issued.key)
    assert trust.judge(peer(bare, resumed=True), at=NOW, as_client=True).problem is not None
    assert trust.judge(peer(issued), at=NOW, as_client=True).problem is None
    assert len(known) == 1  # not the anchor, not the peer's own
    assert trust.judge(peer(bare, resumed=True), at=NOW, as_client=True).problem is None
    assert trust.judge(peer(bare), at=NOW, as_client=True).problem is ChainProblem.UNKNOWN_AUTHORITY
    late = trust.judge(peer(bare, resumed=True), at=NOW + 91 * DAY, as_client=True)
    assert late.problem is ChainProblem.EXPIRED


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many certificates beside the leaf each verification of OpenSSL was given."""
    given: list[int] = []

    class Counted(crypto.X509StoreContext):
        def __init__(self, store: crypto.X509Store, leaf: crypto.X509, chain: list[crypto.X509]) -> None:
            given.append(len(chain))
            super().__init__(store, leaf, chain)

    monkeypatch.setattr(crypto, "X509StoreContext", Counted)
    return given


def test_a_resumed_session_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a time, as others are; one that is refused again when one more intermediate is known."""
    known = Intermediates()
    trust = anchors(known=known)
    issued = MIDDLE.issue("a.example", purposes=[SERVER, CLIENT])
    bare = peer(Issued(issued.certificate, issued.key), resumed=True)
    given = _counted(monkeypatch)

    def judged(at: float = NOW) -> ChainProblem | None:
        return trust.judge(bare, at=at, as_client=True).problem

    assert judged() is judged() is ChainProblem.UNKNOWN_AUTHORITY
    asked = len(given)
    assert trust.judge(peer(issued), at=NOW, as_client=True).problem is None
    assert judged() is judged() is None
    assert len(given) == asked + 2
    assert judged(NOW + CACHE_S) is None
    assert len(given) == asked + 3


def test_a_resumed_session_is_judged_anew_when_its_intermediate_ends() -> None:
    """Its chain is not there, so its own dates do not tell."""
    known = Intermediates()
    trust = anchors(known=known)
    issued = ROOT.below("ends soon", not_after=NOW + 60).issue("a.example")
    bare = peer(Issued(issued.certificate, issued.key), resumed=True)
    assert trust.judge(peer(issued), at=NOW, as_client=True).problem is None
    assert trust.judge(bare, at=NOW + 59, as_client=True).problem is None
    assert trust.judge(bare, at=NOW + 61, as_client=True).problem is ChainProblem.EXPIRED


def test_a_judgement_ends_with_its_anchor() -> None:
    """An authority that is trusted and has ended vouches for nobody, from that second on."""
    root = Authority.root("ends soon", not_after=NOW + 60)
    issued, trust = root.issue("a.example"), anchors(root)
    assert trust.judge(peer(issued), at=NOW + 59, as_client=True).problem is None
    assert trust.judge(peer(issued), at=NOW + 61, as_client=True).problem is ChainProblem.EXPIRED


def test_only_intermediates_that_may_lead_up_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand known ones cost a resumed session nothing."""
    known = Intermediates()
    trust = anchors(known=known)
    for number in range(20):
        trust.judge(peer(ROOT.below(f"number {number}").issue("b.example")), at=NOW, as_client=True)
    upper = ROOT.below("upper")
    issued = upper.below("lower").issue("a.example", purposes=[SERVER, CLIENT])
    trust.judge(peer(issued), at=NOW, as_client=True)
    given = _counted(monkeypatch)
    bare = Issued(issued.certificate, issued.key)
    assert trust.judge(peer(bare, resumed=True), at=NOW, as_client=True).problem is None
    assert given == [2]


def test_an_intermediate_whose_name_is_written_otherwise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL takes names for equal that differ in case (X509_NAME_cmp(3)), and it decides."""
    known = Intermediates()
    trust = anchors(known=known)
    issued = MIDDLE.issue("a.example")
    trust.judge(peer(issued), at=NOW, as_client=True)
    monkeypatch.setattr(known, "above", lambda _certificates: [])
    bare = Issued(issued.certificate, issued.key)
    assert trust.judge(peer(bare, resumed=True), at=NOW, as_client=True).problem is None


def test_intermediates_of_strangers_are_not_kept() -> None:
    """Only what led to an anchor is; and no more than a bound."""
    known = Intermediates(2)
    trust = anchors(known=known)
    trust.judge(peer(Authority.root().below().issue("a.example")), at=NOW, as_client=True)
    assert len(known) == 0
    for number in range(4):
        trust.judge(peer(ROOT.below(f"number {number}").issue("a.example")), at=NOW, as_client=True)
    assert len(known) == 2


def test_another_set_of_anchors_judges_otherwise() -> None:
    """The same chain is good for one policy and not for another."""
    issued = MIDDLE.issue("a.example")
    assert anchors(Authority.root()).judge(peer(issued), at=NOW, as_client=True).problem is not None
    assert anchors().judge(peer(issued), at=NOW, as_client=True).problem is None


def test_a_pinned_intermediate_or_certificate_is_trusted_by_itself() -> None:
    """A file of anchors need not hold a root; the system's store must."""
    issued = MIDDLE.issue("a.example")
    assert anchors(MIDDLE, partial=True).judge(peer(issued), at=NOW, as_client=True).problem is None
    assert anchors(MIDDLE).judge(peer(issued), at=NOW, as_client=True).problem is not None
    alone = _self_signed(authority=True)
    pinned = Anchors([alone.certificate], partial=True)
    assert pinned.judge(peer(alone), at=NOW, as_client=True).problem is None
    assert pinned.judge(peer(alone), at=NOW + 91 * DAY, as_client=True).problem is ChainProblem.EXPIRED


def test_an_expired_path_does_not_hide_a_valid_one() -> None:
    """An authority that was renewed with the same key stands beside its old self."""
    key = ec.generate_private_key(ec.SECP256R1())
    old = Authority.root("Renewed Root", key=key, not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    new = Authority.root("Renewed Root", key=key)
    issued = new.issue("a.example")
    for pair in ((old, new), (new, old)):
        assert anchors(*pair).judge(peer(issued), at=NOW, as_client=True).problem is None
    assert anchors(old).judge(peer(issued), at=NOW, as_client=True).problem is ChainProblem.EXPIRED


def test_what_a_certificate_tells() -> None:
    """End, names and fingerprint are those of the leaf."""
    shown = peer(MIDDLE.issue("a.example", "*.a.example"))
    assert shown.not_after == NOW + 90 * DAY
    assert shown.names == ("a.example", "*.a.example")
    assert shown.fingerprint == shown.leaf.fingerprint(hashes.SHA256())
    assert shown.covers(Domain("a.example"))
    assert shown.covers_name("IM1.a.example.")
    assert not shown.covers(Domain("b.example"))
