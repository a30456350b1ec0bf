"""A peer's certificate, and the judgement whether to trust its chain.

The handshake lets any certificate through; the router judges afterwards, as often as it likes and against
the anchors that its policy names for this peer. So every refusal has words, and a resumed session is judged
as anew as a fresh one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from math import inf

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL, crypto

from imxrouter.model.domain import Domain
from imxrouter.tls.identity import Identifiers, Service, identifiers_of
from imxrouter.tls.openssl import NO_CHECK_TIME, clear_errors, require_purpose
from imxrouter.tls.reading import UNREADABLE, is_authority, is_self_issued, outside_constraints
from imxrouter.tls.strength import weak_digest, weak_key

#: Certificates of a chain as presented. Public chains have 2 to 4; each one more costs a signature.
MAX_CHAIN = 10
#: A judgement is used again for so long, unless a date of the chain comes before.
CACHE_S = 300.0
#: Judgements kept; one takes about 200 bytes.
CACHE_ENTRIES = 4096
#: Intermediates kept for resumed sessions; public authorities have some hundreds in use.
KNOWN_ENTRIES = 1000


class ChainProblem(Enum):
    """Why a chain is not trusted. The value is the word in logs, metrics and traces."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    UNKNOWN_AUTHORITY = "unknown-authority"
    SELF_SIGNED = "self-signed"
    WRONG_PURPOSE = "wrong-purpose"
    NOT_AN_AUTHORITY = "not-an-authority"
    AUTHORITY_AS_LEAF = "authority-as-leaf"
    WEAK_KEY = "weak-key"
    WEAK_DIGEST = "weak-digest"
    BAD_SIGNATURE = "bad-signature"
    TOO_LONG_CHAIN = "too-long-chain"
    NAME_CONSTRAINT = "name-constraint"
    BAD_CERTIFICATE = "bad-certificate"


_CODES = SSL.X509VerificationCodes
#: OpenSSL's error -> our word; what is not here is a bad certificate. X509_verify_cert(3).
_PROBLEM_OF = {
    _CODES.ERR_CERT_HAS_EXPIRED: ChainProblem.EXPIRED,
    _CODES.ERR_CERT_NOT_YET_VALID: ChainProblem.NOT_YET_VALID,
    _CODES.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: ChainProblem.SELF_SIGNED,
    _CODES.ERR_SELF_SIGNED_CERT_IN_CHAIN: ChainProblem.UNKNOWN_AUTHORITY,
    _CODES.ERR_UNABLE_TO_GET_ISSUER_CERT: ChainProblem.UNKNOWN_AUTHORITY,
    _CODES.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ChainProblem.UNKNOWN_AUTHORITY,
    _CODES.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: ChainProblem.UNKNOWN_AUTHORITY,
    _CODES.ERR_CERT_UNTRUSTED: ChainProblem.UNKNOWN_AUTHORITY,
    _CODES.ERR_CERT_REJECTED: ChainProblem.UNKNOWN_AUTHORITY,
    _CODES.ERR_INVALID_PURPOSE: ChainProblem.WRONG_PURPOSE,
    _CODES.ERR_INVALID_CA: ChainProblem.NOT_AN_AUTHORITY,
    _CODES.ERR_INVALID_NON_CA: ChainProblem.NOT_AN_AUTHORITY,
    _CODES.ERR_KEYUSAGE_NO_CERTSIGN: ChainProblem.NOT_AN_AUTHORITY,
    _CODES.ERR_CERT_SIGNATURE_FAILURE: ChainProblem.BAD_SIGNATURE,
    _CODES.ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE: ChainProblem.BAD_SIGNATURE,
    _CODES.ERR_CERT_CHAIN_TOO_LONG: ChainProblem.TOO_LONG_CHAIN,
    _CODES.ERR_PATH_LENGTH_EXCEEDED: ChainProblem.TOO_LONG_CHAIN,
    _CODES.ERR_PERMITTED_VIOLATION: ChainProblem.NAME_CONSTRAINT,
    _CODES.ERR_EXCLUDED_VIOLATION: ChainProblem.NAME_CONSTRAINT,
    _CODES.ERR_SUBTREE_MINMAX: ChainProblem.NAME_CONSTRAINT,
    _CODES.ERR_UNSUPPORTED_CONSTRAINT_TYPE: ChainProblem.NAME_CONSTRAINT,
    _CODES.ERR_UNSUPPORTED_CONSTRAINT_SYNTAX: ChainProblem.NAME_CONSTRAINT,
    _CODES.ERR_UNSUPPORTED_NAME_SYNTAX: ChainProblem.NAME_CONSTRAINT,
}

_DATES = frozenset({ChainProblem.EXPIRED, ChainProblem.NOT_YET_VALID})


def fingerprint_of(certificate: x509.Certificate) -> bytes:
    """The SHA-256 of a certificate."""
    return certificate.fingerprint(hashes.SHA256())


def chain_fingerprint(chain: Iterable[x509.Certificate]) -> bytes:
    """The SHA-256 of certificates in their order."""
    digest = hashes.Hash(hashes.SHA256())
    for certificate in chain:
        digest.update(fingerprint_of(certificate))
    return digest.finalize()


@dataclass(frozen=True)
class PeerCertificate:
    """What the other side showed in the handshake.

    Attributes:
        leaf: the certificate of the other side itself.
        chain: as presented, leaf first.
        resumed: the session was resumed, so that the chain may lack what was presented the first time.
    """

    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    resumed: bool = False

    @cached_property
    def not_after(self) -> float:
        """When the leaf ends, in seconds since 1970."""
        return self.leaf.not_valid_after_utc.timestamp()

    @cached_property
    def first_end(self) -> float:
        """When the first certificate of the chain ends: until then none has."""
        return min(one.not_valid_after_utc.timestamp() for one in (self.leaf, *self.chain))

    @cached_property
    def identifiers(self) -> Identifiers:
        """The names that can match."""
        return identifiers_of(self.leaf)

    @property
    def names(self) -> tuple[str, ...]:
        """The names for people."""
        return self.identifiers.shown

    @cached_property
    def fingerprint(self) -> bytes:
        """The SHA-256 of the leaf."""
        return fingerprint_of(self.leaf)

    @cached_property
    def chain_fingerprint(self) -> bytes:
        """The SHA-256 of all that was presented, in order."""
        return chain_fingerprint(self.chain)

    def covers(self, domain: Domain, service: Service = Service.IMX) -> bool:
        """Say whether it names the domain for a service, by DNS-ID or that service's own names."""
        return self.identifiers.covers(domain.name, service)

    def covers_name(self, host: str) -> bool:
        """Say whether it names a target host, by DNS-ID."""
        return self.identifiers.covers_host(host.lower().removesuffix("."))


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a chain is trusted.

    Attributes:
        problem: why not; None: trusted.
        note: an operator's detail.
        until: when the first certificate of the path ends, seconds since 1970.
    """

    problem: ChainProblem | None
    note: str = ""
    until: float = field(default=inf, compare=False)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A certificate as OpenSSL takes it, with what is asked of it often."""

    loaded: crypto.X509
    fingerprint: bytes
    not_before: float
    not_after: float

    @classmethod
    def of(cls, one: x509.Certificate) -> _Loaded:
        return cls(
            crypto.X509.from_cryptography(one),
            fingerprint_of(one),
            one.not_valid_before_utc.timestamp(),
            one.not_valid_after_utc.timestamp(),
        )

    def is_valid(self, at: float) -> bool:
        return self.not_before <= at <= self.not_after


@dataclass(frozen=True, slots=True)
class _Intermediate:
    """One of `Intermediates`; None for a name that cannot be read."""

    loaded: _Loaded
    subject: x509.Name | None
    issuer: x509.Name | None


def _names(one: x509.Certificate) -> tuple[x509.Name | None, x509.Name | None]:
    try:
        return one.subject, one.issuer
    except UNREADABLE:
        return None, None


class Intermediates:
    """Intermediates of chains that were trusted, for sessions that are resumed.

    A resumed session holds the peer's own certificate, but not the intermediates beside it: a ticket has no
    room for them (SSL_SESSION is stored without its chain). Only what led to an anchor is kept.

    Attributes:
        added: how many came that were not there; what could not be trusted may be where it has grown.
    """

    def __init__(self, entries: int = KNOWN_ENTRIES) -> None:
        self._entries = entries
        self._known: OrderedDict[bytes, _Intermediate] = OrderedDict()
        self._by_subject: dict[x509.Name | None, dict[bytes, _Intermediate]] = {}
        self.added = 0

    def __len__(self) -> int:
        return len(self._known)

    def keep(self, certificate: x509.Certificate) -> None:
        """Remember one, and forget the one that was not seen for longest where there are too many."""
        fingerprint = fingerprint_of(certificate)
        if fingerprint not in self._known:
            one = _Intermediate(_Loaded.of(certificate), *_names(certificate))
            self._known[fingerprint] = one
            self._by_subject.setdefault(one.subject, {})[fingerprint] = one
            self.added += 1
        self._known.move_to_end(fingerprint)
        if len(self._known) > self._entries:
            gone, one = self._known.popitem(last=False)
            same = self._by_subject[one.subject]
            del same[gone]
            if not same:
                del self._by_subject[one.subject]

    def above(self, certificates: Iterable[x509.Certificate]) -> list[_Loaded]:
        """What may lead from these up to an anchor, by the names of subjects and issuers."""
        found: dict[bytes, _Loaded] = {}
        names = [_names(one)[1] for one in certificates]
        while names:
            for fingerprint, one in self._by_subject.get(names.pop(), {}).items():
                if fingerprint not in found:
                    found[fingerprint] = one.loaded
                    names.append(one.issuer)
        return list(found.values())

    def all(self) -> list[_Loaded]:
        """What is known."""
        return [one.loaded for one in self._known.values()]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A judgement, and when it holds: between two times; a bad one until one more intermediate is known."""

    begin: float
    end: float
    added: int
    judgement: Judgement

    @property
    def good(self) -> bool:
        return self.judgement.problem is None


class Anchors:
    """One set of trusted authorities; judges chains against it.

    Args:
        certificates: whom to trust.
        partial: each of them is trusted by itself, also an intermediate or a peer's own certificate; else
            only authorities that end a chain (the system's store).
        known: intermediates for resumed sessions; hand the same one to all sets of a process.
        source: where they came from, for notes; empty: nothing is said of it.
    """

    def __init__(
        self,
        certificates: Iterable[x509.Certificate],
        *,
        partial: bool,
        known: Intermediates | None = None,
        source: str = "",
    ) -> None:
        trusted = list(certificates)
        self.source = source
        self.fingerprints = frozenset(fingerprint_of(one) for one in trusted)
        self.certificates = tuple(trusted)
        self._trusted = [_Loaded.of(one) for one in trusted]
        self._flags = NO_CHECK_TIME | (crypto.X509StoreFlags.PARTIAL_CHAIN if partial else 0)
        self._stores = {one: self._store(self._trusted, as_client=one) for one in (True, False)}
        self._known = known if known is not None else Intermediates()
        self._cache: OrderedDict[tuple[bytes, bool, bool], _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._trusted)

    def judge(self, peer: PeerCertificate, *, at: float, as_client: bool) -> Judgement:
        """Say whether the chain leads to an anchor, with every signature, date, purpose and constraint.

        A peer that connects to us shows a certificate that today's public authorities give out for servers
        only. So where the purpose `client` fails, and nothing else than the purpose, the whole chain is
        verified once more for the purpose `server`.

        Args:
            peer: what was presented.
            at: now, in seconds since 1970.
            as_client: the peer connected to us.
        """
        if len(peer.chain) > MAX_CHAIN:
            return Judgement(
                ChainProblem.TOO_LONG_CHAIN, f"{len(peer.chain)} certificates; {MAX_CHAIN} are read"
            )
        key = (peer.chain_fingerprint, as_client, peer.resumed)
        # A resumed session without its chain may be trusted as soon as an intermediate is known.
        added = self._known.added if peer.resumed else 0
        kept = self._cache.get(key)
        if kept is not None and kept.begin <= at < kept.end and (kept.good or kept.added == added):
            self._cache.move_to_end(key)
            return kept.judgement
        judgement = self._judged_alone(peer, at, as_client)
        end = min(self._good_until(peer, at), judgement.until)
        self._cache[key] = _Kept(at, end, added, judgement)
        self._cache.move_to_end(key)
        if len(self._cache) > CACHE_ENTRIES:
            self._cache.popitem(last=False)
        return judgement

    def _judged_alone(self, peer: PeerCertificate, at: float, as_client: bool) -> Judgement:
        """Judge, and leave nothing behind that other connections would be taken for."""
        try:
            return self._judge(peer, at, as_client)
        finally:
            clear_errors()

    def _good_until(self, peer: PeerCertificate, at: float) -> float:
        dates = (
            date.timestamp()
            for one in peer.chain
            for date in (one.not_valid_before_utc, one.not_valid_after_utc)
        )
        return min(at + CACHE_S, *(date for date in dates if date > at), at + CACHE_S)

    def _judge(self, peer: PeerCertificate, at: float, as_client: bool) -> Judgement:
        if is_authority(peer.leaf) and peer.fingerprint not in self.fingerprints:
            note = "the certificate is that of an authority; a router needs one of its own"
            if is_self_issued(peer.leaf):
                return Judgement(ChainProblem.SELF_SIGNED, _of(peer.leaf, note))
            return Judgement(ChainProblem.AUTHORITY_AS_LEAF, _of(peer.leaf, note))
        try:
            leaf = crypto.X509.from_cryptography(peer.leaf)
            others = [_Loaded.of(one) for one in peer.chain if one != peer.leaf]
        except (crypto.Error, *UNREADABLE) as error:
            return Judgement(ChainProblem.BAD_CERTIFICATE, f"cannot be read: {error}"[:200])
        if peer.resumed:
            others += self._known.above(peer.chain)
        judgement = self._try(leaf, others, self._stores, at, as_client)
        if peer.resumed and judgement.problem is ChainProblem.UNKNOWN_AUTHORITY:
            others += self._known.all()  # OpenSSL takes names for equal that are written differently
            judgement = self._try(leaf, others, self._stores, at, as_client)
        if judgement.problem in _DATES and peer.leaf.not_valid_after_utc.timestamp() >= at:
            # Perhaps another path has no expired certificate: an authority renewed, or cross-signed.
            trusted = [one for one in self._trusted if one.is_valid(at)]
            stores = {one: self._store(trusted, as_client=one) for one in (True, False)}
            again = self._try(leaf, [one for one in others if one.is_valid(at)], stores, at, as_client)
            return again if again.problem is None else judgement
        return judgement

    def _try(
        self,
        leaf: crypto.X509,
        others: list[_Loaded],
        stores: Mapping[bool, crypto.X509Store],
        at: float,
        as_client: bool,
    ) -> Judgement:
        try:
            path = _path(leaf, [one.loaded for one in others], stores, as_client)
            certificates = [one.to_cryptography() for one in path]
        except crypto.X509StoreContextError as error:
            return self._problem(error)
        except (crypto.Error, *UNREADABLE) as error:
            return Judgement(ChainProblem.BAD_CERTIFICATE, f"cannot be read: {error}"[:200])
        if judgement := _dates(certificates, at) or _strength(certificates) or _constraints(certificates):
            return judgement
        for one in certificates[1:-1]:
            self._known.keep(one)
        return Judgement(None, "", min(one.not_valid_after_utc.timestamp() for one in certificates))

    def _store(self, trusted: Iterable[_Loaded], *, as_client: bool) -> crypto.X509Store:
        # One for each purpose, without a time: `X509Store.set_time` is obeyed the first time only, since
        # X509_VERIFY_PARAM_set1 keeps a time that is there. The dates of the path are read afterwards.
        store = crypto.X509Store()
        for one in trusted:
            store.add_cert(one.loaded)
        store.set_flags(self._flags)
        require_purpose(store, as_client=as_client)
        return store

    def _problem(self, error: crypto.X509StoreContextError) -> Judgement:
        code = error.errors[0]
        problem = _PROBLEM_OF.get(code, ChainProblem.BAD_CERTIFICATE)
        note = str(error)
        if problem is ChainProblem.UNKNOWN_AUTHORITY:
            trusted = f" ({self.source})" if self.source else ""
            note += f"; its authority is none of those trusted{trusted}, or an intermediate is missing"
        try:
            return Judgement(problem, _of(error.certificate.to_cryptography(), note))
        except (crypto.Error, *UNREADABLE):
            return Judgement(problem, note)


def _path(
    leaf: crypto.X509, others: list[crypto.X509], stores: Mapping[bool, crypto.X509Store], as_client: bool
) -> list[crypto.X509]:
    try:
        return crypto.X509StoreContext(stores[as_client], leaf, others).get_verified_chain()
    except crypto.X509StoreContextError as error:
        if not as_client or error.errors[0] != _CODES.ERR_INVALID_PURPOSE:
            raise
    return crypto.X509StoreContext(stores[False], leaf, others).get_verified_chain()


def _dates(path: list[x509.Certificate], at: float) -> Judgement | None:
    for one in path:
        if at < one.not_valid_before_utc.timestamp():
            note = f"valid from {one.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC"
            return Judgement(ChainProblem.NOT_YET_VALID, _of(one, note))
        if at > one.not_valid_after_utc.timestamp():
            note = f"ended {one.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
            return Judgement(ChainProblem.EXPIRED, _of(one, note))
    return None


def _strength(path: list[x509.Certificate]) -> Judgement | None:
    for one in path:
        if why := weak_key(one):
            return Judgement(ChainProblem.WEAK_KEY, _of(one, why))
    for one in path[:-1]:  # nobody relies on the signature of an anchor
        if why := weak_digest(one):
            return Judgement(ChainProblem.WEAK_DIGEST, _of(one, why))
    return None


def _constraints(path: list[x509.Certificate]) -> Judgement | None:
    try:
        outside = outside_constraints(path[1:], identifiers_of(path[0]).of_services)
    except UNREADABLE as error:
        return Judgement(ChainProblem.BAD_CERTIFICATE, f"cannot be read: {error}"[:200])
    if outside:
        return Judgement(ChainProblem.NAME_CONSTRAINT, _of(path[0], f"its authority may not name {outside}"))
    return None


def _of(certificate: x509.Certificate, note: str) -> str:
    try:
        name = certificate.subject.rfc4514_string()
    except UNREADABLE:
        name = "a certificate with an unreadable subject"
    if not name:
        name = next(iter(identifiers_of(certificate).shown), "a certificate without a subject")
    return f"{name[:120]}: {note}"
