"""Certificates for outside domains, as the servers behind the router judge them."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from imxrouter.model.domain import Domain
from imxrouter.tls.contexts import XMPP_ALPN
from imxrouter.tls.facts import read_facts
from imxrouter.tls.inside import (
    AUTHORITY_S,
    LEAF_S,
    RENEW_S,
    BadAuthority,
    InsideAuthority,
    Mint,
    authority_at,
)
from imxrouter.tls.inside_contexts import InsideContexts
from tests.doubles.authority import DAY, NOW, Authority, Issued, rsa_key

FAR = Domain.parse("far.example")
LONG = Domain.parse(".".join(["a" * 50, "b" * 50, "example"]))
ROUTER = Domain.parse("router.a.example")


class Clock:
    """Seconds since 1970, as a test sets them."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """What time it is."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock at `NOW`."""
    return Clock()


@pytest.fixture
def authority(tmp_path: Path) -> InsideAuthority:
    """A new authority of the inside."""
    return InsideAuthority.made("router.a.example", NOW, tmp_path / "inside.pem")


@pytest.fixture
def mint(authority: InsideAuthority, clock: Clock) -> Mint:
    """What mints by it."""
    return Mint(authority, clock)


# -- what is minted ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
@pytest.mark.parametrize("domain", [FAR, LONG])
def test_openssl_takes_it(mint: Mint, tmp_path: Path, domain: Domain, purpose: str) -> None:
    """OpenSSL verifies the chain for both purposes and the name, by its strict rules."""
    done = _verify(mint, tmp_path, domain, domain.name, purpose, NOW)
    assert done.returncode == 0, done.stderr
    assert "OK" in done.stdout


@pytest.mark.parametrize(
    ("name", "at", "why"),
    [
        ("other.far.example", NOW, "hostname mismatch"),
        (FAR.name, NOW + LEAF_S + 1, "certificate has expired"),
        (FAR.name, NOW - 2 * DAY, "certificate is not yet valid"),
    ],
)
def test_openssl_refuses_what_is_not_said(mint: Mint, tmp_path: Path, name: str, at: float, why: str) -> None:
    """Another name, and any time outside its days: the verification above can fail."""
    done = _verify(mint, tmp_path, FAR, name, "sslserver", at)
    assert done.returncode != 0
    assert why in done.stderr


def test_openssl_refuses_it_by_another_authority(
    mint: Mint, tmp_path: Path, authority: InsideAuthority
) -> None:
    """Who was told of another authority of the same name does not take it."""
    other = InsideAuthority.made("router.a.example", NOW, authority.path)
    done = _verify(mint, tmp_path, FAR, FAR.name, "sslserver", NOW, trusted=other)
    assert done.returncode != 0


def _verify(
    mint: Mint,
    folder: Path,
    domain: Domain,
    name: str,
    purpose: str,
    at: float,
    trusted: InsideAuthority | None = None,
    strict: bool = True,
) -> subprocess.CompletedProcess[str]:
    root, leaf = folder / "root.pem", folder / "leaf.pem"
    root.write_bytes((trusted or mint.authority).certificate_pem)
    leaf.write_bytes(mint.certificate_for(domain).leaf.public_bytes(Encoding.PEM))
    command = [
        "openssl",
        "verify",
        *(["-x509_strict"] if strict else []),
        "-CAfile",
        str(root),
        "-no-CApath",
        "-purpose",
        purpose,
    ]
    command += ["-attime", f"{at:.0f}", "-verify_hostname", name, str(leaf)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)


def test_it_names_the_domain_and_nothing_else(mint: Mint) -> None:
    """One DNS name: ejabberd 23.01 ends EXTERNAL without a word where another kind of name stands there."""
    leaf = mint.certificate_for(FAR).leaf
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName("far.example")]


def test_its_days(mint: Mint) -> None:
    """Seven from now, and an hour before now for a clock that is behind."""
    own = mint.certificate_for(FAR)
    assert own.not_after == NOW + LEAF_S
    assert own.not_before == NOW - 3600


def test_it_ends_with_its_authority(authority: InsideAuthority, clock: Clock) -> None:
    """Nothing is promised beyond the authority's own end, which is before 2100."""
    clock.now = NOW + AUTHORITY_S - DAY
    own = Mint(authority, clock).certificate_for(FAR)
    assert own.not_after == authority.certificate.not_valid_after_utc.timestamp()
    assert authority.certificate.not_valid_after_utc < dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


# -- what is kept ------------------------------------------------------------------------------------------


def test_it_is_kept_until_its_last_day(mint: Mint, clock: Clock) -> None:
    """The same certificate while it has a day left; then a new one."""
    first = mint.certificate_for(FAR)
    clock.now = NOW + LEAF_S - RENEW_S - 1
    assert mint.certificate_for(FAR) is first
    clock.now = NOW + LEAF_S - RENEW_S
    second = mint.certificate_for(FAR)
    assert second is not first
    assert second.not_after == clock.now + LEAF_S
    assert len(mint) == 1


def test_clock_that_is_set_back(mint: Mint, clock: Clock) -> None:
    """A certificate that has not begun by a clock that was corrected is made anew."""
    first = mint.certificate_for(FAR)
    clock.now = NOW - DAY
    # the authority itself has not begun either; what is minted begins with it
    assert mint.certificate_for(FAR) is not first


def test_only_the_last_domains_are_kept(authority: InsideAuthority, clock: Clock) -> None:
    """The one that was asked for longest ago goes; nothing grows without end."""
    mint = Mint(authority, clock, kept=3)
    made = [mint.certificate_for(Domain.parse(f"d{n}.example")) for n in range(3)]
    assert mint.certificate_for(Domain.parse("d0.example")) is made[0]
    mint.certificate_for(Domain.parse("d3.example"))
    assert len(mint) == 3
    assert mint.certificate_for(Domain.parse("d0.example")) is made[0]
    assert mint.certificate_for(Domain.parse("d1.example")) is not made[1]


# -- the authority -----------------------------------------------------------------------------------------


def test_authority_is_made_once(tmp_path: Path) -> None:
    """Who comes later reads what is there; nobody but its owner can."""
    path = tmp_path / "inside.pem"
    first = authority_at(path, "router.a.example", NOW)
    assert path.stat().st_mode & 0o777 == 0o600
    assert authority_at(path, "router.a.example", NOW + DAY).certificate == first.certificate
    assert [one.name for one in tmp_path.iterdir()] == ["inside.pem"]


def test_what_servers_are_given_of_it(tmp_path: Path) -> None:
    """The page's own command leaves the key behind."""
    page = (Path(__file__).parents[2] / "docs" / "operators" / "xmpp-inside.md").read_text()
    (command,) = [line.split() for line in page.splitlines() if line.startswith("    openssl x509 ")]
    path = tmp_path / "inside-authority.pem"
    authority = authority_at(path, "router.a.example", NOW)
    there = [str(path) if word.endswith(path.name) else word for word in command]
    assert there != command
    subprocess.run(there, cwd=tmp_path, check=True, timeout=20)
    given = (tmp_path / "inside-ca.pem").read_bytes()
    assert b"PRIVATE KEY" in path.read_bytes()
    assert b"PRIVATE KEY" not in given
    assert x509.load_pem_x509_certificates(given) == [authority.certificate]


def test_two_processes_make_one_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another one was first while we made ours, theirs is taken."""
    path = tmp_path / "inside.pem"
    made = InsideAuthority.made
    theirs: list[InsideAuthority] = []

    def slowly(name: str, now: float, where: Path) -> InsideAuthority:
        theirs.append(made(name, now, where))
        path.write_bytes(theirs[0].file_text)
        return made(name, now, where)

    monkeypatch.setattr(InsideAuthority, "made", slowly)
    assert authority_at(path, "router.a.example", NOW).certificate == theirs[0].certificate
    assert [one.name for one in tmp_path.iterdir()] == ["inside.pem"]


@pytest.mark.parametrize("key", [rsa_key(2048), ed25519.Ed25519PrivateKey.generate()], ids=["rsa", "ed25519"])
def test_authority_of_the_operator(tmp_path: Path, clock: Clock, key: Any) -> None:
    """One that was made elsewhere signs as well, with any kind of key that is strong."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ours")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(dt.datetime.fromtimestamp(NOW - DAY, dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(NOW + DAY, dt.UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    path = tmp_path / "ours.pem"
    path.write_bytes(Issued(certificate, key).chain_pem + Issued(certificate, key).key_pem)
    mint = Mint(InsideAuthority.read(path, NOW), clock)
    done = _verify(mint, tmp_path, FAR, FAR.name, "sslclient", NOW, strict=False)
    assert done.returncode == 0, done.stderr


BAD = Authority.root("bad")
LEAF = BAD.issue("far.example")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "No such file"),
        (b"", "no certificate in it"),
        (BAD.issued.chain_pem, "no private key in it"),
        (LEAF.chain_pem + LEAF.key_pem, "not the certificate of an authority"),
        (BAD.issued.chain_pem + LEAF.key_pem, "the key is not that of the certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
    ],
)
def test_file_that_is_no_authority(tmp_path: Path, text: bytes | None, why: str) -> None:
    """It is refused with its path and what is wrong with it."""
    path = tmp_path / "bad.pem"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(BadAuthority, match=why) as caught:
        InsideAuthority.read(path, NOW)
    assert str(path) in str(caught.value)


def test_authority_that_is_over(tmp_path: Path) -> None:
    """It is not taken after its last day; what it would sign nobody would take."""
    path = tmp_path / "inside.pem"
    authority_at(path, "router.a.example", NOW)
    with pytest.raises(BadAuthority, match="ended on 2036-"):
        authority_at(path, "router.a.example", NOW + AUTHORITY_S + 1)


# -- handshakes --------------------------------------------------------------------------------------------


@pytest.fixture
def contexts(mint: Mint) -> InsideContexts:
    """Contexts of what is minted."""
    return InsideContexts(mint, ROUTER)


def _server_context(issued: Issued | None = None) -> SSL.Context:
    """A context of a server behind us, of the other kind that is needed."""
    context = SSL.Context(SSL.TLS_METHOD)
    if issued is not None:
        context.use_certificate(issued.certificate)
        context.use_privatekey(issued.key)
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    return context


def _shake(one: SSL.Connection, two: SSL.Connection) -> None:
    """Carry bytes between two ends until both are done."""
    for _ in range(10):
        for end, other in ((one, two), (two, one)):
            with contextlib.suppress(SSL.WantReadError):
                end.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(end.bio_read(65536))


def _name_shown(to: SSL.Connection) -> str:
    shown = to.get_peer_certificate(as_cryptography=True)
    assert shown is not None
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return str(names.get_values_for_type(x509.DNSName)[0])


@pytest.mark.parametrize(
    ("stream_to", "server_name", "shown"),
    [
        (None, "far.example", "far.example"),
        ("far.example", "", "far.example"),
        ("far.example", "other.example", "other.example"),
        (None, "", "router.a.example"),
        (None, "not a domain", "router.a.example"),
    ],
)
def test_server_that_calls_sees_whom_it_calls(
    contexts: InsideContexts, stream_to: str | None, server_name: str, shown: str
) -> None:
    """By the name that it asks for, else by that of its stream, else ours."""
    client = SSL.Connection(_server_context(), None)
    client.set_connect_state()
    if server_name:
        client.set_tlsext_host_name(server_name.encode())
    server = contexts.accepting(Domain.parse(stream_to) if stream_to else None)
    _shake(client, server)
    assert _name_shown(client) == shown
    facts = read_facts(server)
    assert facts.own is not None
    assert facts.own.names == (shown,)


def test_server_that_is_called_sees_who_calls(contexts: InsideContexts) -> None:
    """It is shown the certificate of the outside domain, and asked for its own by its name."""
    asked: list[bytes | None] = []
    own = Authority.root().issue("a.example")
    context = _server_context(own)
    context.set_tlsext_servername_callback(lambda connection: asked.append(connection.get_servername()))
    server = SSL.Connection(context, None)
    server.set_accept_state()
    client = contexts.opening(FAR, "a.example")
    _shake(client, server)
    assert _name_shown(server) == "far.example"
    assert asked == [b"a.example"]
    facts = read_facts(client)
    assert facts.peer is not None
    assert facts.peer.leaf == own.certificate


def test_direct_tls_agrees_on_the_protocol(contexts: InsideContexts) -> None:
    """A server that names XMPP is answered so, whatever domain it was switched to (XEP-0368 section 4)."""
    context = _server_context()
    context.set_alpn_protos([XMPP_ALPN])
    client = SSL.Connection(context, None)
    client.set_connect_state()
    client.set_tlsext_host_name(b"far.example")
    _shake(client, contexts.accepting())
    assert client.get_alpn_proto_negotiated() == XMPP_ALPN


def test_contexts_are_bounded(
    authority: InsideAuthority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handshake that is under way when its contexts go is finished all the same; the rest is freed."""
    monkeypatch.setattr("imxrouter.tls.inside_contexts._CONTEXTS", 2)
    contexts = InsideContexts(Mint(authority, clock, kept=2), ROUTER)
    server = contexts.accepting(FAR)
    client = SSL.Connection(_server_context(), None)
    client.set_connect_state()
    client.set_tlsext_host_name(b"late.example")
    for n in range(20):
        contexts.accepting(Domain.parse(f"d{n}.example"))
        contexts.opening(Domain.parse(f"d{n}.example"), "a.example")
    assert len(contexts) == 2
    del contexts
    gc.collect()
    _shake(client, server)
    assert _name_shown(client) == "late.example"
