"""Handshakes in memory: whose certificate, which protocol, what both ends know, and resumption."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.tls import contexts as contexts_module
from imxrouter.tls.contexts import ALPN, TlsContexts, release
from imxrouter.tls.facts import CHAIN_BYTES, Chains, TlsFacts, read_facts
from imxrouter.tls.folder import load_folder
from imxrouter.tls.peer import Anchors, ChainProblem, Intermediates, PeerCertificate
from imxrouter.tls.store import CertificateSet
from tests.doubles.authority import CLIENT, DAY, NOW, Authority

ROOT = Authority.root()
MIDDLE = ROOT.below()
A, B, C = Domain("a.example"), Domain("b.example"), Domain("c.example")
VERSIONS = ["1.2", "1.3"]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> CertificateSet:
    """Certificates for a.example, b.example and *.w.example."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    for name in ("a.example", "b.example"):
        MIDDLE.issue(name).write(folder, name)
    MIDDLE.issue("*.w.example").write(folder, "w.example")
    return load_folder(folder, NOW, domains=[A, B])


class Ends:
    """Two connections back to back."""

    def __init__(self, opener: SSL.Connection, acceptor: SSL.Connection) -> None:
        self.opener = opener
        self.acceptor = acceptor

    def shake(self) -> tuple[TlsFacts, TlsFacts]:
        """Do the handshake, and let a byte come from the acceptor, with its tickets before it."""
        done = {self.opener: False, self.acceptor: False}
        for _ in range(20):
            for one, other in ((self.opener, self.acceptor), (self.acceptor, self.opener)):
                try:
                    one.do_handshake()
                    done[one] = True
                except SSL.WantReadError:
                    pass
                pump(one, other)
        assert all(done.values())
        self.acceptor.send(b"x")
        pump(self.acceptor, self.opener)
        assert self.opener.recv(1) == b"x"
        return read_facts(self.opener), read_facts(self.acceptor)


def pump(one: SSL.Connection, other: SSL.Connection) -> None:
    """Carry what one wants to send to the other."""
    try:
        while raw := one.bio_read(65536):
            other.bio_write(raw)
    except SSL.WantReadError:
        pass


def accepting(contexts: TlsContexts) -> SSL.Connection:
    """A connection that was taken."""
    connection = SSL.Connection(contexts.server(), None)
    connection.set_accept_state()
    return connection


def join(
    ours: TlsContexts, theirs: TlsContexts, name: str = "b.example", own: Domain | None = A
) -> tuple[TlsFacts, TlsFacts, Ends]:
    """A whole handshake from ours to theirs."""
    ends = Ends(ours.open(own, name, "192.0.2.1", 6490), accepting(theirs))
    mine, other = ends.shake()
    ours.keep_session(ends.opener, name, "192.0.2.1", 6490)
    return mine, other, ends


@pytest.mark.parametrize("version", VERSIONS)
def test_both_ends_know_the_same(ours: CertificateSet, version: str) -> None:
    """Version, ALPN, names and certificates; the exporter in TLS 1.3 only, equal at both ends."""
    contexts = TlsContexts(ours)
    opener = TlsContexts(ours)
    ends = Ends(opener.open(A, "b.example", "192.0.2.1", 6490), accepting(contexts))
    if version == "1.2":
        ends.opener.set_options(SSL.OP_NO_TLSv1_3)
    mine, other = ends.shake()
    assert mine.version == other.version == f"TLSv{version}"
    assert mine.cipher == other.cipher
    assert "GCM" in mine.cipher or "CHACHA20" in mine.cipher
    assert mine.alpn == other.alpn == ALPN
    assert mine.server_name == other.server_name == "b.example"
    assert mine.peer is not None
    assert other.peer is not None
    assert mine.peer.names == ("b.example",)
    assert other.peer.names == ("a.example",)
    assert len(mine.peer.chain) == len(other.peer.chain) == 2
    assert mine.own is ours.for_domain(A)
    assert other.own is ours.for_domain(B)
    assert not mine.resumed
    assert not other.resumed
    assert mine.exporter == other.exporter
    assert len(mine.exporter) == (32 if version == "1.3" else 0)


def test_each_session_has_its_own_exporter(ours: CertificateSet) -> None:
    """Also where one resumes the other."""
    contexts, theirs = TlsContexts(ours), TlsContexts(ours)
    first, _, _ = join(contexts, theirs)
    second, _, _ = join(contexts, theirs)
    assert second.resumed
    assert first.exporter != second.exporter


NAMED = [
    ("a.example", "a.example"),
    ("b.example", "b.example"),
    ("B.Example", "b.example"),
    ("im.w.example", "*.w.example"),
    ("x.im.w.example", "a.example"),  # unknown: the default, and the other side judges
    ("c.example", "a.example"),
]


@pytest.mark.parametrize(("asked", "shown"), NAMED)
def test_the_server_name_chooses_the_certificate(ours: CertificateSet, asked: str, shown: str) -> None:
    """In full, by wildcard, else the default; with the protocol and the client's certificate all the same."""
    mine, other, _ = join(TlsContexts(ours), TlsContexts(ours), asked)
    assert mine.peer is not None
    assert mine.peer.names == (shown,)
    assert mine.alpn == ALPN
    assert other.own is not None
    assert other.own.names == (shown,)
    assert other.peer is not None


def test_no_server_name_gets_the_default(ours: CertificateSet) -> None:
    """The certificate of our first domain."""
    contexts = TlsContexts(ours)
    opener = SSL.Connection(contexts.client(A), None)
    opener.set_connect_state()
    mine, other = Ends(opener, accepting(contexts)).shake()
    assert mine.peer is not None
    assert mine.peer.names == ("a.example",)
    assert other.server_name == ""


def test_an_opener_without_a_certificate_is_let_through(ours: CertificateSet) -> None:
    """What that is worth is decided afterwards."""
    mine, other, _ = join(TlsContexts(CertificateSet()), TlsContexts(ours))
    assert other.peer is None
    assert mine.own is None
    for domain in (C, None):
        assert join(TlsContexts(ours), TlsContexts(ours), own=domain)[1].peer is None


def test_a_worthless_certificate_is_let_through_and_judged_afterwards(
    ours: CertificateSet, tmp_path: Path
) -> None:
    """Expired and of a stranger's authority: the handshake is done, on both sides, and the chain is there."""
    stranger = Authority.root("Stranger").below("Stranger's")
    stranger.issue("b.example", not_after=NOW + DAY).write(tmp_path, "b.example")
    theirs = load_folder(tmp_path, NOW)
    trust = Anchors([ROOT.certificate], partial=False)
    mine, _, _ = join(TlsContexts(ours), TlsContexts(theirs))
    _, other, _ = join(TlsContexts(theirs), TlsContexts(ours), own=B)
    for facts in (mine, other):
        assert facts.peer is not None
        assert len(facts.peer.chain) == 2
        judged = trust.judge(facts.peer, at=NOW, as_client=True)
        assert judged.problem is ChainProblem.UNKNOWN_AUTHORITY


def test_without_certificates_no_tls_is_offered() -> None:
    """Asking for a server's context is then a mistake of ours."""
    contexts = TlsContexts(CertificateSet())
    assert not contexts.offers_tls
    with pytest.raises(LocalMisuse):
        contexts.server()


def test_the_least_version_is_kept(ours: CertificateSet) -> None:
    """An opener with TLS 1.2 only does not get in where 1.3 is the least."""
    contexts = TlsContexts(ours, minimum="1.3")
    ends = Ends(TlsContexts(ours).open(A, "b.example", "192.0.2.1", 6490), accepting(contexts))
    ends.opener.set_options(SSL.OP_NO_TLSv1_3)
    with pytest.raises(SSL.Error):
        ends.shake()


def test_tls_1_1_is_never_spoken(ours: CertificateSet) -> None:
    """Nor may a peer ask for it."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_1_VERSION)
    context.set_max_proto_version(SSL.TLS1_1_VERSION)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    opener = SSL.Connection(context, None)
    opener.set_connect_state()
    with pytest.raises(SSL.Error):
        Ends(opener, accepting(TlsContexts(ours))).shake()


def test_no_common_protocol_leaves_alpn_empty(ours: CertificateSet) -> None:
    """And no later connection of the same context hears of it (pyOpenSSL keeps a callback's exceptions)."""
    contexts = TlsContexts(ours)
    for offered in ([b"http/1.1", b"xmpp-server"], []):
        context = SSL.Context(SSL.TLS_METHOD)
        if offered:
            context.set_alpn_protos(offered)
        opener = SSL.Connection(context, None)
        opener.set_connect_state()
        opener.set_tlsext_host_name(b"b.example")
        acceptor = accepting(contexts)
        _, other = Ends(opener, acceptor).shake()
        assert other.alpn == b""
    assert join(TlsContexts(ours), contexts)[1].alpn == ALPN


@pytest.mark.parametrize("version", VERSIONS)
def test_a_resumed_session_keeps_the_certificates_and_is_judged_anew(
    ours: CertificateSet, version: str
) -> None:
    """On both ends; also by its dates, and by anchors that have changed meanwhile."""
    opening, taking = TlsContexts(ours), TlsContexts(ours)
    known = Intermediates()
    trust = Anchors([ROOT.certificate], partial=False, known=known)
    seen: list[tuple[TlsFacts, TlsFacts]] = []
    for _ in range(3):
        ends = Ends(opening.open(A, "b.example", "192.0.2.1", 6490), accepting(taking))
        if version == "1.2":
            ends.opener.set_options(SSL.OP_NO_TLSv1_3)
        seen.append(ends.shake())
        opening.keep_session(ends.opener, "b.example", "192.0.2.1", 6490)
        release(ends.opener)
        for facts, as_client in zip(seen[-1], (False, True), strict=True):
            assert facts.peer is not None
            assert trust.judge(facts.peer, at=NOW, as_client=as_client).problem is None
    assert [mine.resumed for mine, _ in seen] == [other.resumed for _, other in seen] == [False, True, True]
    mine, other = seen[-1]
    assert mine.peer is not None
    assert other.peer is not None
    assert mine.peer.names == ("b.example",)
    assert other.peer.names == ("a.example",)
    assert mine.alpn == other.alpn == ALPN
    assert other.server_name == "b.example"
    assert other.own is ours.for_domain(B)
    for peer in (mine.peer, other.peer):
        assert trust.judge(peer, at=NOW + 91 * DAY, as_client=True).problem is ChainProblem.EXPIRED
        elsewhere = Anchors([Authority.root().certificate], partial=False, known=known)
        assert elsewhere.judge(peer, at=NOW, as_client=True).problem is ChainProblem.UNKNOWN_AUTHORITY


@pytest.mark.parametrize("version", VERSIONS)
def test_a_resumed_session_has_its_chain_again(ours: CertificateSet, version: str) -> None:
    """Also where nobody judged it the first time, because the policy asked for less then."""
    opening, taking = TlsContexts(ours), TlsContexts(ours)
    for resumed in (False, True):
        ends = Ends(opening.open(A, "b.example", "192.0.2.1", 6490), accepting(taking))
        if version == "1.2":
            ends.opener.set_options(SSL.OP_NO_TLSv1_3)
        for facts in ends.shake():
            assert facts.resumed is resumed
            assert facts.peer is not None
            assert len(facts.peer.chain) == 2
            trust = Anchors([ROOT.certificate], partial=False)
            assert trust.judge(facts.peer, at=NOW, as_client=True).problem is None
        opening.keep_session(ends.opener, "b.example", "192.0.2.1", 6490)
        release(ends.opener)


def test_chains_of_sessions_are_bounded() -> None:
    """By their number and by their size."""
    chains = Chains(2)
    for number in range(4):
        issued = MIDDLE.issue(f"d{number}.example")
        chains.complete(PeerCertificate(issued.certificate, issued.chain))
    assert len(chains) == 2
    large = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.2"), bytes(CHAIN_BYTES))
    issued = ROOT.below("large", extra=[(large, False)]).issue("large.example")
    chains.complete(PeerCertificate(issued.certificate, issued.chain))
    bare = PeerCertificate(issued.certificate, (issued.certificate,), resumed=True)
    assert chains.complete(bare).chain == bare.chain


ELSEWHERE: dict[str, tuple[Domain | None, str, str, int]] = {
    "the same place": (A, "b.example", "192.0.2.1", 6490),
    "another address": (A, "b.example", "192.0.2.2", 6490),
    "another port": (A, "b.example", "192.0.2.1", 6491),
    "another name": (A, "a.example", "192.0.2.1", 6490),
    "another certificate of ours": (B, "b.example", "192.0.2.1", 6490),
    "no certificate of ours": (None, "b.example", "192.0.2.1", 6490),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_session_is_resumed_only_where_it_was(ours: CertificateSet, name: str) -> None:
    """Else the acceptor would take us for whom we were, or we a stranger for a friend."""
    opening, taking = TlsContexts(ours), TlsContexts(ours)
    _, _, ends = join(opening, taking)
    release(ends.opener)
    mine, other = Ends(opening.open(*ELSEWHERE[name]), accepting(taking)).shake()
    assert mine.resumed is other.resumed is (name == "the same place")


def test_a_session_of_another_domain_proves_nothing_of_this_one(ours: CertificateSet) -> None:
    """Where an opener of others resumes one all the same, it finds the certificate that it saw then."""
    opening, taking = TlsContexts(ours), TlsContexts(ours)
    _, _, ends = join(opening, taking)
    session = ends.opener.get_session()
    assert session is not None
    opener = SSL.Connection(opening.client(A), None)
    opener.set_connect_state()
    opener.set_tlsext_host_name(b"a.example")
    opener.set_session(session)
    mine, other = Ends(opener, accepting(taking)).shake()
    assert mine.resumed
    assert mine.peer is not None
    assert not mine.peer.covers(A)
    assert other.peer is not None
    assert other.peer.names == ("a.example",)


def test_a_lost_link_leaves_its_session(ours: CertificateSet) -> None:
    """OpenSSL spoils the session of a connection that goes without a farewell, unless it is released."""
    for released in (True, False):
        opening, taking = TlsContexts(ours), TlsContexts(ours)
        _, _, ends = join(opening, taking)
        if released:
            release(ends.opener)
        del ends
        assert join(opening, taking)[0].resumed is released


def test_a_refused_session_is_forgotten(ours: CertificateSet) -> None:
    """So that the next link shows the whole chain again."""
    opening, taking = TlsContexts(ours), TlsContexts(ours)
    _, _, ends = join(opening, taking)
    opening.forget_session(ends.opener, "b.example", "192.0.2.1", 6490)
    release(ends.opener)
    assert not join(opening, taking)[0].resumed


def test_a_new_set_resumes_no_session_of_the_old_one(ours: CertificateSet) -> None:
    """Tickets are of the contexts that gave them; the handshake is then a whole one."""
    opening = TlsContexts(ours)
    _, _, first = join(opening, TlsContexts(ours))
    release(first.opener)
    mine, _, ends = join(opening, TlsContexts(ours))
    assert not mine.resumed
    opening.retire()
    opening.keep_session(ends.opener, "b.example", "192.0.2.1", 6490)
    assert not opening._sessions
    assert mine.peer is not None


def test_a_second_first_message_keeps_the_choice(
    ours: CertificateSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After HelloRetryRequest OpenSSL asks for the name again, on the context of the first answer."""
    plain = contexts_module.server_context

    def only_p384(*args: Any) -> SSL.Context:
        context = plain(*args)
        context.set_tmp_ecdh(ec.SECP384R1())  # no opener of ours sends a share for it unasked
        return context

    monkeypatch.setattr(contexts_module, "server_context", only_p384)
    taking = TlsContexts(ours)
    ends = Ends(TlsContexts(ours).open(A, "b.example", "192.0.2.1", 6490), accepting(taking))
    front = weakref.ref(taking.server())
    taking.retire()
    del taking
    gc.collect()
    mine, other = ends.shake()
    assert front() is not None  # OpenSSL still calls it
    assert ends.opener.get_group_name() == "secp384r1"
    assert mine.peer is not None
    assert mine.peer.names == ("b.example",)
    assert other.alpn == ALPN


def test_connections_outlive_their_contexts(ours: CertificateSet) -> None:
    """A link goes on when its contexts were replaced, also one whose handshake is under way."""
    taking = TlsContexts(ours)
    opener = TlsContexts(ours).open(A, "b.example", "192.0.2.1", 6490)
    early = Ends(opener, accepting(taking))
    _, _, late = join(TlsContexts(ours), taking)
    taking.retire()
    del taking
    gc.collect()
    mine, _ = early.shake()
    assert mine.peer is not None
    assert mine.peer.names == ("b.example",)
    late.opener.send(b"still")
    pump(late.opener, late.acceptor)
    assert late.acceptor.recv(5) == b"still"


def test_retired_contexts_go_with_their_last_connection(ours: CertificateSet) -> None:
    """Nothing waits for the collector of circles: 1,000 reloads do not grow."""
    gc.collect()
    gc.disable()
    try:
        taking, opening = TlsContexts(ours), TlsContexts(ours)
        _, _, ends = join(opening, taking)
        watched: list[Callable[[], object]] = [
            weakref.ref(taking.server()),
            weakref.ref(ends.acceptor.get_context()),
            weakref.ref(ends.opener.get_context()),
        ]
        assert watched[0]() is not watched[1]()
        under_way = Ends(TlsContexts(ours).open(A, "b.example", "192.0.2.1", 6490), accepting(taking))
        taking.retire()
        opening.retire()
        under_way.shake()
        watched.append(weakref.ref(under_way.acceptor.get_context()))
        del taking, opening
        assert all(one() is not None for one in watched)
        del ends, under_way
        assert [one() for one in watched] == [None, None, None, None]
    finally:
        gc.enable()


def test_an_opener_may_show_a_server_certificate(ours: CertificateSet, tmp_path: Path) -> None:
    """What public authorities issue today is trusted from who connects; clientAuth alone is no server's."""
    ROOT.issue("a.example", purposes=[CLIENT]).write(tmp_path, "a.example")
    trust = Anchors([ROOT.certificate], partial=False)
    _, other, _ = join(TlsContexts(ours), TlsContexts(ours))
    assert other.peer is not None
    assert trust.judge(other.peer, at=NOW, as_client=True).problem is None
    mine, _, _ = join(TlsContexts(ours), TlsContexts(load_folder(tmp_path, NOW)), "a.example")
    assert mine.peer is not None
    assert trust.judge(mine.peer, at=NOW, as_client=False).problem is ChainProblem.WRONG_PURPOSE
