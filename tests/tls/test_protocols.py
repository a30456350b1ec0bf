"""Two protocols on one set of certificates: what is named in the handshake, and that sessions stay apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from OpenSSL import SSL

from imxrouter.model.domain import Domain
from imxrouter.tls.contexts import ALPN, XMPP_ALPN, TlsContexts, offered_others
from imxrouter.tls.folder import load_folder
from imxrouter.tls.store import CertificateSet
from imxrouter.transport.encryption import HandshakeFailed, require_alpn
from tests.doubles.authority import NOW, Authority
from tests.tls.test_contexts import Ends

A, B = Domain("a.example"), Domain("b.example")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> CertificateSet:
    """Certificates for a.example and b.example."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    root = Authority.root()
    for name in ("a.example", "b.example"):
        root.issue(name).write(folder, name)
    return load_folder(folder, NOW, domains=[A, B])


def accepting(contexts: TlsContexts, alpn: bytes) -> SSL.Connection:
    """A connection that was taken, on which that protocol is spoken."""
    connection = SSL.Connection(contexts.server(alpn), None)
    connection.set_accept_state()
    return connection


def ends(contexts: TlsContexts, offered: bytes, spoken: bytes) -> Ends:
    """Who offers one protocol meets who speaks another, or the same; b.example is not the default."""
    opener = contexts.open(A, "b.example", "192.0.2.1", 5269, offered)
    return Ends(opener, accepting(contexts, spoken))


@pytest.mark.parametrize(
    ("offered", "spoken", "agreed", "others"),
    [
        (ALPN, ALPN, ALPN, False),
        (XMPP_ALPN, XMPP_ALPN, XMPP_ALPN, False),
        (b"", XMPP_ALPN, b"", False),
        (ALPN, XMPP_ALPN, b"", True),
        (XMPP_ALPN, ALPN, b"", True),
        (b"", ALPN, b"", False),
    ],
)
def test_only_what_is_spoken_is_agreed_on(
    ours: CertificateSet, offered: bytes, spoken: bytes, agreed: bytes, others: bool
) -> None:
    """An opener that names something else is known for it, also where another certificate is chosen."""
    both = ends(TlsContexts(ours), offered, spoken)
    mine, other = both.shake()
    assert mine.alpn == other.alpn == agreed
    assert other.own is ours.for_domain(B)
    assert offered_others(both.acceptor) is others


def test_what_each_protocol_asks_for(ours: CertificateSet) -> None:
    """Ours must be named; XMPP need not, but nothing else may be."""
    facts, _ = ends(TlsContexts(ours), ALPN, ALPN).shake()
    none, xmpp = replace(facts, alpn=b""), replace(facts, alpn=XMPP_ALPN)
    require_alpn(facts, ALPN)
    require_alpn(xmpp, XMPP_ALPN)
    require_alpn(none, XMPP_ALPN)
    for refused, spoken, other in (
        (none, ALPN, False), (xmpp, ALPN, False), (facts, XMPP_ALPN, False), (none, XMPP_ALPN, True),
    ):  # fmt: skip
        with pytest.raises(HandshakeFailed, match="ALPN is"):
            require_alpn(refused, spoken, other=other)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_sessions_of_two_protocols_stay_apart(ours: CertificateSet, version: str) -> None:
    """A session is resumed where it was, and not by who speaks something else at the same place."""
    contexts, seen = TlsContexts(ours), []
    for alpn in (ALPN, XMPP_ALPN, b"", ALPN, XMPP_ALPN, b""):
        both = ends(contexts, alpn, alpn or XMPP_ALPN)
        if version == "1.2":
            both.opener.set_options(SSL.OP_NO_TLSv1_3)
        mine, other = both.shake()
        assert mine.resumed is other.resumed
        seen.append(mine.resumed)
        contexts.keep_session(both.opener, "b.example", "192.0.2.1", 5269)
        both.opener.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
    assert seen == [False, False, False, True, True, True]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("guarded", [True, False])
def test_a_ticket_opens_nothing_where_something_else_is_spoken(
    ours: CertificateSet, version: str, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone presents a ticket that he got where records are spoken, where streams are.

    Check: each protocol has contexts, and keys of tickets, of its own.
    """
    contexts = TlsContexts(ours)
    if not guarded:
        monkeypatch.setattr(contexts, "server", lambda _alpn: contexts._servers[ALPN])
    first = ends(contexts, b"", ALPN)
    second = ends(contexts, b"", XMPP_ALPN)
    for one in (first, second):
        if version == "1.2":
            one.opener.set_options(SSL.OP_NO_TLSv1_3)
    first.shake()
    session = first.opener.get_session()
    assert session is not None
    first.opener.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
    second.opener.set_session(session)
    _, other = second.shake()
    assert other.resumed is not guarded
