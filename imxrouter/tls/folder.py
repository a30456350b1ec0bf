"""Reading the certificate folder: which files belong together, and whether each set holds.

Taken are, in the folder and in the folders below it (two levels):

- `NAME.crt` (also `.cer`) with `NAME.key`, as lego and Caddy leave them;
- `fullchain.pem` with `privkey.pem`, as certbot and dehydrated leave them; what else lies in that folder
  (`cert.pem`, `chain.pem`) is not looked at;
- `fullchain.cer` with the one `*.key` beside it, as acme.sh leaves them;
- `NAME.pem` with both, or with `NAME.key`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.tls import pem
from imxrouter.tls.identity import identifiers_of
from imxrouter.tls.own import OwnCertificate, PrivateKey
from imxrouter.tls.peer import MAX_CHAIN, Anchors, PeerCertificate, chain_fingerprint
from imxrouter.tls.store import CertificateSet
from imxrouter.tls.strength import weak_digest, weak_key

#: Levels of folders below the one that is configured.
DEPTH = 2
#: A file that is not ours would else be read for its size; see `pem.MAX_PEM_BYTES`.
_CHAIN_SUFFIXES = (".crt", ".cer", ".pem")
_FULL_CHAINS = {"fullchain.pem": "privkey.pem", "fullchain.cer": ""}


@dataclass(frozen=True, slots=True)
class FileProblem:
    """One thing that is wrong with a file.

    Attributes:
        file: which one.
        what: what is wrong.
        do: what to do.
    """

    file: Path
    what: str
    do: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}: {self.do}"


class BadCertificates(RouterError):
    """A folder holds certificates that cannot be used.

    Attributes:
        problems: every one that was found.
        good: the rest, which could be used.
    """

    def __init__(self, problems: Sequence[FileProblem], good: CertificateSet) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)
        self.good = good


class _Bad(Exception):
    """One file is no good."""

    def __init__(self, file: Path, what: str, do: str) -> None:
        super().__init__(what)
        self.problem = FileProblem(file, what, do)


@dataclass(frozen=True, slots=True)
class _Pair:
    chain: Path
    key: Path


def load_folder(
    folder: Path,
    at: float,
    *,
    current: CertificateSet | None = None,
    chosen: Mapping[Domain, Path] | None = None,
    domains: Sequence[Domain] = (),
    anchors: Anchors | None = None,
    take_ended: bool = False,
) -> CertificateSet:
    """Read and check all certificates.

    Args:
        folder: where they lie.
        at: now, in seconds since 1970.
        current: the set in use. A certificate of it that has ended meanwhile is a warning, so that it does
            not hinder the others' renewal.
        chosen: domain -> file that the configuration names for it; need not lie in the folder.
        domains: our own, for the default certificate.
        take_ended: one that has ended is a warning in any case: what was there already when the router
            started must not hinder the others' renewal either.
        anchors: whom we trust; a chain that does not lead there is a warning.

    Raises:
        BadCertificates: anything is wrong with any of them; says all that is.
    """
    problems: list[FileProblem] = []
    warnings: list[str] = []
    good: dict[bytes, OwnCertificate] = {}
    old = {one.fingerprint for one in current.all} if current is not None else set()
    try:
        pairs = list(_pairs(folder, problems, warnings))
    except OSError as error:
        problems.append(FileProblem(folder, _why(error), "name a folder that the router's user can read"))
        pairs = []
    pairs += _chosen_pairs(chosen or {}, {pair.chain.absolute() for pair in pairs})
    for pair in pairs:
        try:
            one = _load(pair)
            _check(one, at, take_ended or one.fingerprint in old, warnings)
        except _Bad as bad:
            problems.append(bad.problem)
            continue
        if (twin := good.get(one.fingerprint)) is not None and one.path not in (chosen or {}).values():
            warnings.append(f"{one.path}: the same certificate as {twin.path}: one of them can go")
            continue
        warnings += _key_warnings(pair.key)
        warnings += _trust_warnings(one, at, anchors)
        good[one.fingerprint] = one
    problems += _chosen_problems(chosen or {}, good.values(), problems)
    found = CertificateSet(good.values(), warnings=warnings, chosen=chosen, domains=domains)
    if problems:
        raise BadCertificates(problems, found)
    return found


def _chosen_pairs(chosen: Mapping[Domain, Path], known: set[Path]) -> Iterator[_Pair]:
    for path in dict.fromkeys(chosen.values()):
        if path.absolute() not in known:
            yield _pair_of(path)


def _chosen_problems(
    chosen: Mapping[Domain, Path], good: Iterable[OwnCertificate], problems: Sequence[FileProblem]
) -> Iterator[FileProblem]:
    by_path = {one.path.absolute(): one for one in good}
    bad = {problem.file.absolute() for problem in problems}
    for domain, path in chosen.items():
        one = by_path.get(path.absolute())
        if one is None and path.absolute() not in bad:
            yield FileProblem(path, f"not read, although {domain} names it", "name a certificate file")
        elif one is not None and not one.covers(domain):
            names = ", ".join(one.names[:5])
            yield FileProblem(path, f"does not name {domain}, but {names}", "name another file, or renew it")


def _pairs(
    folder: Path, problems: list[FileProblem], warnings: list[str], depth: int = DEPTH
) -> Iterator[_Pair]:
    names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    files = [folder / name for name in names if _is_file(folder / name)]
    yield from _pairs_of_files(files, problems, warnings)
    if depth:
        for name in names:
            try:
                if (folder / name).is_dir():
                    yield from _pairs(folder / name, problems, warnings, depth - 1)
            except OSError as error:
                if folder / name not in files:
                    do = "let the router's user read it, or move it away"
                    problems.append(FileProblem(folder / name, _why(error), do))


def _is_file(path: Path) -> bool:
    """Whether it is a file; of what cannot be looked at its name says so, and reading it says why."""
    try:
        return path.is_file()
    except OSError:
        return path.suffix in (*_CHAIN_SUFFIXES, ".key")


def _pairs_of_files(files: list[Path], problems: list[FileProblem], warnings: list[str]) -> Iterator[_Pair]:
    keys = [path for path in files if path.suffix == ".key"]
    for path in files:
        if path.name in _FULL_CHAINS:
            key = _FULL_CHAINS[path.name]
            if key:
                yield _Pair(path, path.with_name(key))
            elif len(keys) == 1:
                yield _Pair(path, keys[0])
            else:
                what = f"{len(keys)} files *.key beside it"
                problems.append(FileProblem(path, what, "keep one folder for each certificate"))
            return
    used: set[Path] = set()
    for path in files:
        if path.suffix not in _CHAIN_SUFFIXES or path.stem.endswith(".issuer"):  # lego's NAME.issuer.crt
            continue
        pair = _pair_of(path)
        used.add(pair.key)
        yield pair
    warnings += [
        f"{key}: no certificate beside it: remove it, or add {key.stem}.crt"
        for key in keys
        if key not in used
    ]


def _pair_of(path: Path) -> _Pair:
    if key_name := _FULL_CHAINS.get(path.name):
        return _Pair(path, path.with_name(key_name))
    key = path.with_suffix(".key")
    return _Pair(path, key if path.suffix != ".pem" or _is_file(key) else path)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > pem.MAX_PEM_BYTES:
            raise _Bad(path, "is far too large for a certificate file", "move it away")
        return path.read_bytes()
    except OSError as error:
        do = "put it there" if isinstance(error, FileNotFoundError) else "let the router's user read it"
        raise _Bad(path, _why(error), do) from None


def _load(pair: _Pair) -> OwnCertificate:
    try:
        chain = pem.certificates(text := _read(pair.chain))
    except ValueError as error:
        raise _Bad(
            pair.chain, f"a certificate in it cannot be read ({error})"[:200], "export it again"
        ) from None
    if not pem.is_whole(text):
        raise _Bad(pair.chain, "what begins in it has no end", "write it whole, and move it into its place")
    if not chain:
        raise _Bad(pair.chain, "no certificate in it", "write the certificate and its intermediates, as PEM")
    if pair.key == pair.chain:
        found = pem.private_keys(text)
        if not found:
            do = f"add the key to it, or put it beside as {pair.chain.with_suffix('.key').name}"
            raise _Bad(pair.chain, "no private key in it", do)
    else:
        found = pem.private_keys(_read(pair.key))
        if not found:
            raise _Bad(pair.key, "no private key in it", "write the certificate's private key, as PEM")
    key = _key(pair.key, found[0])
    leaf = chain[0]
    _match(pair, chain, key)
    return OwnCertificate(
        chain=tuple(chain),
        key=key,
        identifiers=identifiers_of(leaf),
        path=pair.chain,
        fingerprint=chain_fingerprint(chain),
        not_before=max(one.not_valid_before_utc.timestamp() for one in chain),
        not_after=min(one.not_valid_after_utc.timestamp() for one in chain),
    )


def _key(path: Path, block: bytes) -> PrivateKey:
    try:
        # To check an RSA key's primes takes 40 ms; to see that it signs (`_match`) takes one.
        key = load_pem_private_key(block, None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        do = "take the password off (openssl pkey -in OLD -out NEW)"
        raise _Bad(path, "the private key has a password", do) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _Bad(
            path, f"the private key cannot be read ({error})"[:200], "write it again, as PEM"
        ) from None
    if not isinstance(key, PrivateKey):
        raise _Bad(path, "the key is neither RSA nor an elliptic curve", "have it issued for such a key")
    return key


def _match(pair: _Pair, chain: Sequence[x509.Certificate], key: PrivateKey) -> None:
    def raw(public: object) -> bytes:
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]

    try:
        mine, theirs = raw(key.public_key()), [raw(one.public_key()) for one in chain]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _Bad(pair.chain, f"its public key cannot be read ({error})"[:200], "use RSA or P-256") from None
    if mine == theirs[0]:
        if isinstance(key, rsa.RSAPrivateKey) and not _signs(key):
            raise _Bad(pair.key, "the private key is damaged", "put the right one there")
        return
    if mine in theirs:
        do = "put the certificate first, and its intermediates after it"
        raise _Bad(pair.chain, "the chain does not begin with the certificate of the key", do)
    do = f"put the key there that {pair.chain.name} was issued for"
    raise _Bad(pair.key, f"the key does not belong to {pair.chain.name}", do)


def _signs(key: rsa.RSAPrivateKey) -> bool:
    """Whether what it signs can be verified: all of its numbers take part in that."""
    scheme, digest = padding.PKCS1v15(), hashes.SHA256()
    try:
        key.public_key().verify(key.sign(b"imxrouter", scheme, digest), b"imxrouter", scheme, digest)
    except (InvalidSignature, ValueError, InternalError):
        return False
    return True


def _check(one: OwnCertificate, at: float, may_have_ended: bool, warnings: list[str]) -> None:
    if len(one.chain) > MAX_CHAIN:
        raise _Bad(
            one.path, f"{len(one.chain)} certificates in a row", "keep the certificate and its intermediates"
        )
    for certificate in one.chain:
        if why := weak_key(certificate) or weak_digest(certificate):
            raise _Bad(one.path, f"{_subject(certificate)}: {why}", "have it issued again")
    for child, parent in zip(one.chain, one.chain[1:], strict=False):
        _check_step(one.path, child, parent)
    if not one.names:
        do = "have it issued with subjectAltName; the common name is not looked at"
        raise _Bad(one.path, "it names no domain that can match", do)
    if at < one.not_before:
        since = _date(max(one.chain, key=lambda other: other.not_valid_before_utc).not_valid_before_utc)
        raise _Bad(one.path, f"it is valid only from {since}", "set this host's clock, or wait")
    if at > one.not_after:
        until = _date(min(one.chain, key=lambda other: other.not_valid_after_utc).not_valid_after_utc)
        what = f"it ended {until}"
        if not may_have_ended:
            raise _Bad(one.path, what, "renew it, or move it away")
        warnings.append(f"{one.path}: {what}: renew it, or move it away")


def _check_step(path: Path, child: x509.Certificate, parent: x509.Certificate) -> None:
    name = _subject(child)
    do = "write the certificate first, then each one's issuer; the last may be left out"
    try:
        child.verify_directly_issued_by(parent)
    except ValueError:
        what = f"{name} is followed by {_subject(parent)}, which is not its issuer"
        raise _Bad(path, what, do) from None
    except InvalidSignature:
        raise _Bad(path, f"the signature on {name} is not that of its issuer's key", do) from None
    except (TypeError, UnsupportedAlgorithm) as error:
        raise _Bad(
            path, f"the signature on {name} cannot be checked ({error})"[:200], "have it issued again"
        ) from None


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "the certificate"


def _key_warnings(key: Path) -> Iterator[str]:
    try:
        mode = key.stat().st_mode
    except OSError:  # gone since it was read: whoever changes the folder is not done
        return
    if mode & 0o004:
        yield f"{key}: every user of this host can read the private key: chmod o-rwx {key}"
    if mode & 0o022:
        yield f"{key}: others than its owner can change the private key: chmod go-w {key}"


def _trust_warnings(one: OwnCertificate, at: float, anchors: Anchors | None) -> Iterator[str]:
    if anchors is None or at > one.not_after:
        return
    judgement = anchors.judge(PeerCertificate(one.leaf, one.chain), at=at, as_client=False)
    if judgement.problem is not None:
        yield (
            f"{one.path}: peers who trust whom we trust will refuse it ({judgement.problem.value}: "
            f"{judgement.note}): add what is missing, unless your peers pin its authority"
        )


def _date(date: object) -> str:
    return f"{date:%Y-%m-%d %H:%M} UTC"


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def signature_of(folder: Path, extra: Iterable[Path] = ()) -> tuple[tuple[str, int, int, int], ...]:
    """Tell one state of a folder from another without reading it: path, inode, size and time of each file.

    Symbolic links are followed, so that a link that is turned to another file counts as a change. What
    cannot be looked at is left out; reading it says why.
    """
    found: list[tuple[str, int, int, int]] = []
    _collect(folder, DEPTH, found.append)
    for path in extra:
        _note(path, found.append)
    return tuple(sorted(found))


def _collect(folder: Path, depth: int, note: Callable[[tuple[str, int, int, int]], None]) -> None:
    try:
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError:
        return
    for entry in entries:
        if _note(Path(entry.path), note) and depth:
            _collect(Path(entry.path), depth - 1, note)


def _note(path: Path, note: Callable[[tuple[str, int, int, int]], None]) -> bool:
    """Note one path; say whether it is a folder."""
    try:
        state = path.stat()
    except OSError:
        return False
    is_folder = path.is_dir()
    if not is_folder:
        note((str(path), state.st_ino, state.st_size, state.st_mtime_ns))
    return is_folder
