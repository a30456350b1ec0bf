"""Links over TLS between two routers over real sockets: levels, identities, claims."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from imxrouter.link.machine import Side
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.switch import slots
from imxrouter.tls import contexts
from imxrouter.transport.link import Link
from imxrouter.transport.strengths import Judged
from imxrouter.wire.control import Hello
from tests.doubles.router_rig import Lab, RouterRig, issued

BOTH = "dialback+certificate"


def tls_router(
    lab: Lab,
    *domains: str,
    policy: str = BOTH,
    certificates: Sequence[Sequence[str]] | None = None,
    settings: Mapping[str, object] | None = None,
    **options: Any,
) -> RouterRig:
    """A router with one certificate for each of its domains, unless told otherwise."""
    named = [[name] for name in domains] if certificates is None else certificates
    more = {"trust.default_policy": policy, **(settings or {})}
    return lab.router(*domains, settings=more, certificates=named, **options)


def level(rig: RouterRig, domain: str, side: Side) -> set[int]:
    """At which strengths a peer domain speaks on links of that side."""
    raw = domain.encode()
    links = [one for one in rig.sessions() if one.side is side]
    return {one.port.sources[raw][0] for one in links if raw in one.port.sources}


def end_links(rig: RouterRig) -> None:
    """Close every link, without blame."""

    def end() -> None:
        for one in list(rig.router.hub.sessions.values()):
            one.end(Reason.IDLE)

    rig.call(end)


def cause(rig: RouterRig, domain: str) -> tuple[Reason, str]:
    """Why a domain was not reached, as an operator sees it."""
    entry = rig.call(lambda: rig.router.federation.destinations.find(Domain(domain)))
    return entry.last_error.reason, entry.last_error.note


def may_try(rig: RouterRig, domain: str) -> bool:
    """Whether a domain that could not be reached may be tried again; in the reactor's thread."""
    entry = rig.router.federation.destinations.find(Domain(domain))
    return entry is not None and entry.may_try(rig.router.hub.now())


def peer(domain: str, policy: str) -> str:
    """A policy for one peer."""
    return f'[[trust.peer]]\ndomain = "{domain}"\npolicy = "{policy}"\n'


def test_two_routers_prove_each_other_with_certificates(lab: Lab) -> None:
    """Dial-back, certificate and binding; messages pass in both directions; nothing is in clear."""
    a, b = tls_router(lab, "a.example"), tls_router(lab, "b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    assert b.inbox("bob@b.example") == [("alice@a.example", "hello")]
    assert level(b, "a.example", Side.ACCEPTOR) == {15}
    assert level(a, "b.example", Side.OPENER) == {15}
    for rig in (a, b):
        assert all(one.tls is not None and one.tls.version == "TLSv1.3" for one in rig.sessions())
        assert all(one.tls is not None and one.tls.alpn == b"imx" for one in rig.sessions())
        assert all(len(one.made.exporter) == 32 for one in rig.sessions())


def test_two_versions_of_tls_meet(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS 1.2 proves all but the binding."""
    made = contexts.client_context

    def older(*args: Any) -> SSL.Context:
        context = made(*args)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        return context

    monkeypatch.setattr(contexts, "client_context", older)
    a, b = tls_router(lab, "a.example"), tls_router(lab, "b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert level(b, "a.example", Side.ACCEPTOR) == {7}


@pytest.mark.parametrize("policy", ["dialback", "dialback+tls", "certificate", BOTH])
def test_every_policy_is_met_by_what_it_asks_for(lab: Lab, policy: str) -> None:
    """And by no more: dial-back in clear opens nothing over TLS, a certificate alone needs no dial-back."""
    a, b = tls_router(lab, "a.example", policy=policy), tls_router(lab, "b.example", policy=policy)
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    (strength,) = level(b, "a.example", Side.ACCEPTOR) or {0}
    assert strength == {"dialback": 1, "dialback+tls": 15, "certificate": 6, BOTH: 15}[policy]
    if policy == "certificate":
        assert {one.purpose.value for one in b.sessions() if one.side is Side.OPENER} <= {"data"}
    in_clear = [one for rig in (a, b) for one in rig.sessions() if one.tls is None]
    assert bool(in_clear) == (policy == "dialback")


@pytest.mark.parametrize(
    ("why", "names", "by", "told"),
    [
        ("another domain's", ["m.example"], "laboratory", "wrong-name: the certificate names m.example"),
        ("of an authority that nobody knows", ["b.example"], "stranger", "unknown-authority"),
        ("a wildcard for the zone", ["*.b.example"], "laboratory", "wrong-name"),
    ],
)
@pytest.mark.parametrize("who", ["acceptor", "claimer"])
def test_a_certificate_that_is_no_good(
    lab: Lab, why: str, names: list[str], by: str, told: str, who: str
) -> None:
    """Nothing is said to an acceptor with it, and a claim is refused whose domain's router has it."""
    del why
    bad = [issued(*names, by=by)]
    # the wildcard names the target: with DNSSEC it would do
    expected = Reason.DELEGATION_INSECURE if names == ["*.b.example"] else Reason.CERTIFICATE_REFUSED
    a, b = tls_router(lab, "a.example"), tls_router(lab, "b.example")
    if who == "acceptor":
        b.use_tls(bad)
        received = b.counter(slots.BYTES_IN)
        outcome = a.send("alice@a.example", "bob@b.example").outcome()
        assert (outcome.reason, outcome.decided_role) == (Reason.TLS_FAILED, "router")  # as senders are told
        reason, note = cause(a, "b.example")
        assert reason is expected
        assert told in note
        assert b.counter(slots.BYTES_IN) == received
    else:
        b.use_tls(bad)
        outcome = b.send("bob@b.example", "alice@a.example").outcome()
        assert (outcome.reason, outcome.decided_role) == (Reason.TLS_FAILED, "peer")
        assert cause(b, "a.example")[0] is expected
        assert a.proved("b.example") == 0


def test_who_offers_no_tls_is_not_spoken_to_in_clear(lab: Lab) -> None:
    """A failure of the stronger way is a failure; the reason is that of the stage where it stopped."""
    a, b = tls_router(lab, "a.example"), lab.router("b.example")
    outcome = a.send("alice@a.example", "bob@b.example").outcome()
    assert outcome.reason is Reason.TLS_FAILED
    assert "does not speak TLS" in cause(a, "b.example")[1]
    assert b.proved("a.example") == 0


def test_a_peer_that_was_stronger_is_not_taken_weaker(lab: Lab) -> None:
    """Each side remembers what it saw, as who opens and as who accepts."""
    a = tls_router(lab, "a.example", policy="dialback+tls")
    b = tls_router(lab, "b.example", policy="dialback+tls")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    domain_a, domain_b = Domain("a.example"), Domain("b.example")
    now = a.call(a.router.hub.now)
    assert a.call(lambda: a.router.strengths.remembered.seen(domain_b, now, reached=True)) == 15
    assert b.call(lambda: b.router.strengths.remembered.seen(domain_a, now)) == 15
    b.use_tls([issued("m.example")])
    for rig in (a, b):
        end_links(rig)
    outcome = a.send("alice@a.example", "bob@b.example").outcome()
    assert outcome.reason is Reason.WEAKER_THAN_POLICY
    reason, note = cause(a, "b.example")
    assert reason is Reason.WEAKER_THAN_REMEMBERED
    assert "wrong-name" in note


def test_published_tls_raises_and_never_lowers(lab: Lab) -> None:
    """A record that asks for TLS is obeyed where policy does not; `none` cannot lower one that does."""
    a = tls_router(lab, "a.example", policy="dialback", tables=peer("d.example", BOTH))
    b = tls_router(lab, "b.example", policy="dialback", publish=False)
    c = tls_router(lab, "c.example", policy="dialback", publish=False)
    d = tls_router(lab, "d.example", publish=False)
    for rig, word in ((b, "required"), (c, "none"), (d, "none")):
        publish_tls(lab, rig, word)
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert a.send("alice@a.example", "bob@c.example").outcome().ok
    assert a.send("alice@a.example", "bob@d.example").outcome().reason is Reason.WEAKER_THAN_POLICY
    encrypted = {one.remote[0]: one.tls is not None for one in a.sessions() if one.side is Side.OPENER}
    assert encrypted == {b.ip: True, c.ip: False}


def publish_tls(lab: Lab, rig: RouterRig, word: str) -> None:
    """Publish a router with the tls parameter."""
    number = {"none": 0, "optional": 1, "required": 2}[word]
    (domain, *_), (ip, port) = rig.domains, rig.endpoint
    lab.zones.load(
        f"$ORIGIN {domain}.\n@ 60 IN IMX 1 im1 port={port} key65280=\\00{number}\nim1 60 IN A {ip}\n"
    )


def test_a_domain_of_ours_may_ask_for_more_than_its_neighbour(lab: Lab) -> None:
    """It gets a link of its own, over TLS, while the other one's stays in clear."""
    more = '[[domain]]\nname = "strict.example"\nservice = "home"\npolicy = "dialback+certificate"\n'
    a = tls_router(
        lab, "a.example", policy="dialback", tables=more, certificates=[["a.example", "strict.example"]]
    )
    tls_router(lab, "b.example", policy="dialback")
    lab.publish("strict.example", a.endpoint)
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert a.send("alice@strict.example", "bob@b.example").outcome().ok
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    opened = [one for one in a.sessions() if one.side is Side.OPENER and one.purpose.value == "data"]
    assert sorted(one.tls is not None for one in opened) == [False, True]


#: Verifications and messages in numbers, all between two addresses.
BUSY: Mapping[str, object] = {
    "caps.verify_per_target_per_minute": 100_000,
    "caps.verify_per_target_prefix_per_minute": 100_000,
    "caps.verify_per_source_per_minute": 100_000,
    "caps.verify_per_source_prefix_per_minute": 100_000,
    "caps.verify_per_zone_per_minute": 100_000,
    "limits.sender_burst": 1000,
}
MANY = [f"d{n}.example" for n in range(24)]


def test_an_aggregator_with_separate_certificates_claims_on_one_link(lab: Lab) -> None:
    """Each domain is verified on a second connection with its own SNI; one first link carries them all."""
    agg = tls_router(lab, *MANY)
    b = tls_router(lab, "b.example", settings=BUSY)
    sent = [agg.send(f"alice@{name}", "bob@b.example") for name in MANY]
    assert [one.outcome(20).reason for one in sent] == [Reason.NONE] * len(MANY)
    first = [one for one in b.sessions() if one.side is Side.ACCEPTOR and one.port.sources]
    assert len(first) == 1
    assert set(first[0].port.sources) == {name.encode() for name in MANY}
    assert {proof[0] for proof in first[0].port.sources.values()} == {15}


def test_an_opener_reaches_many_domains_with_separate_certificates(lab: Lab) -> None:
    """One link for each: each has its own SNI, and the aggregator's cap counts them apart."""
    agg = tls_router(lab, *MANY, settings={**BUSY, "caps.in_per_peer": 2})
    b = tls_router(lab, "b.example", settings=BUSY)
    sent = [b.send("bob@b.example", f"alice@{name}") for name in MANY]
    assert [one.outcome(20).reason for one in sent] == [Reason.NONE] * len(MANY)
    links = [one for one in b.sessions() if one.side is Side.OPENER and one.purpose.value == "data"]
    assert sorted(one.tls.server_name for one in links if one.tls is not None) == sorted(MANY)
    assert agg.counter(slots.REASON_SLOT[Reason.OVER_CAP]) == 0


def test_one_certificate_for_many_domains_needs_one_link(lab: Lab) -> None:
    """A link that was opened for one domain carries another one that its certificate covers."""
    tls_router(lab, *MANY[:8], certificates=[MANY[:8]])
    b = tls_router(lab, "b.example")
    for name in MANY[:8]:
        assert b.send("bob@b.example", f"alice@{name}").outcome().ok
    assert len([one for one in b.sessions() if one.side is Side.OPENER and one.purpose.value == "data"]) == 1


def test_by_certificate_alone_each_domain_presents_its_own(lab: Lab) -> None:
    """The peer takes what the link's certificate names; a second domain gets a link that shows its own."""
    agg = tls_router(lab, "d1.example", "d2.example", policy="certificate")
    b = tls_router(lab, "b.example", policy="certificate")
    assert agg.send("alice@d1.example", "bob@b.example").outcome().ok
    assert agg.send("alice@d2.example", "bob@b.example").outcome().ok
    shown = [one for one in b.sessions() if one.side is Side.ACCEPTOR]
    assert sorted(one.tls.peer.names[0] for one in shown if one.tls and one.tls.peer) == [
        "d1.example",
        "d2.example",
    ]
    assert {proof[0] for one in shown for proof in one.port.sources.values()} == {6}


def raw_tls(
    rig: RouterRig, name: str = "b.example", alpn: str = "imx", ip: str = "127.0.0.1"
) -> ssl.SSLSocket:
    """A connection over TLS that speaks nothing yet."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    plain = socket.create_connection(rig.endpoint, 5, (ip, 0))
    return context.wrap_socket(plain, server_hostname=name)


def test_sni_picks_the_certificate(lab: Lab) -> None:
    """Of several domains each is shown its own."""
    b = tls_router(lab, "b.example", "c.example")
    for name in ("b.example", "c.example"):
        with raw_tls(b, name) as link:
            raw = link.getpeercert(binary_form=True)
            assert raw == lab.issue(name).leaf.public_bytes(Encoding.DER)


def test_another_protocol_over_tls_is_refused(lab: Lab) -> None:
    """A session of something else is not taken for a link (RFC 7301)."""
    b = tls_router(lab, "b.example")
    with contextlib.suppress(OSError), raw_tls(b, alpn="h2") as link:
        assert link.recv(100) == b""
    lab.wait_until(lambda: b.router.switch.counters[slots.REASON_SLOT[Reason.TLS_FAILED]], "it is counted")


def test_a_handshake_that_never_ends_is_cut(lab: Lab) -> None:
    """The time for a hello covers it, and the connection counts from the start."""
    b = tls_router(lab, "b.example", settings={"dial.hello_timeout_s": 0.3})
    with socket.create_connection(b.endpoint, 5) as slow:
        slow.sendall(b"\x16\x03\x01")
        lab.wait_until(lambda: b.router.gatekeeper.caps.strangers == 1, "it counts")
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(100) == b""
        lab.wait_until(lambda: b.router.gatekeeper.caps.strangers == 0, "it is gone")


def test_no_room_is_told_in_the_language_that_is_spoken(lab: Lab) -> None:
    """In clear by a CLOSE, over TLS by a CLOSE inside; what is told, and that it is no TLS error."""
    b = tls_router(lab, "b.example", settings={"caps.unauthenticated_per_address": 1})
    with raw_tls(b):
        with raw_tls(b) as second:
            told = second.recv(1000)
        assert told[4:6] == b"\x00\x04" or b"\x00\x04" in told[:16]
        with socket.create_connection(b.endpoint, 5) as clear:
            clear.sendall(b"\x00\x00")
            assert b"\x00\x04" in clear.recv(1000)[:16]


def test_who_does_not_read_over_tls_is_shed_and_closed(lab: Lab) -> None:
    """What the kernel did not take is counted below TLS; the link is shed, then cut, and nothing stays."""
    b = tls_router(lab, "b.example", policy="dialback", settings={"links.unread_answer_bytes": 4 << 20})
    seen: list[bool] = []
    with raw_tls(b):
        lab.wait_until(lambda: any(one.tls for one in b.router.hub.sessions.values()), "it is there")

        def flood() -> None:
            (session,) = b.router.hub.sessions.values()
            while not session.port.closed:
                session.write(bytes(1 << 16))
                seen.append(session.port.shedding)

        b.call(flood)
        lab.wait_until(lambda: not b.router.hub.sessions, "it is closed")
    assert seen[0] is False
    assert True in seen
    assert b.refusals(Reason.UNREAD_ANSWERS) == 0  # no request was refused: the link ended


def test_a_session_is_resumed_and_judged_anew(lab: Lab) -> None:
    """A second link to the same place costs no whole handshake; what it proves is the same."""
    a, b = tls_router(lab, "a.example"), tls_router(lab, "b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    end_links(a)
    lab.wait_until(lambda: not a.router.hub.sessions and not b.router.hub.sessions, "all are closed")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    (again,) = [one for one in a.sessions() if one.side is Side.OPENER and b"b.example" in one.port.sources]
    assert again.tls is not None
    assert again.tls.resumed
    assert level(b, "a.example", Side.ACCEPTOR) == level(a, "b.example", Side.OPENER) == {15}


@pytest.mark.parametrize("cut", ["a.example", "b.example"])
def test_a_link_that_the_network_cut_is_resumed(lab: Lab, cut: str) -> None:
    """No farewell came: that is no attack, and after an outage no host makes a thousand whole handshakes."""
    a, b = tls_router(lab, "a.example"), tls_router(lab, "b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    end = a if cut == "a.example" else b

    def cut_all() -> None:
        for one in list(end.router.hub.sessions.values()):
            one.cut()

    end.call(cut_all)
    lab.wait_until(lambda: not a.router.hub.sessions and not b.router.hub.sessions, "all are gone")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    (again,) = [one for one in a.sessions() if one.side is Side.OPENER and b"b.example" in one.port.sources]
    assert again.tls is not None
    assert again.tls.resumed


def test_a_session_of_who_was_refused_is_not_resumed(lab: Lab) -> None:
    """Trust was taken away, and comes back: the chain is shown again."""
    a, b = tls_router(lab, "a.example"), tls_router(lab, "b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    end_links(a)
    lab.wait_until(lambda: not a.router.hub.sessions and not b.router.hub.sessions, "all are closed")
    judge = a.router.strengths.judge
    a.router.strengths.judge = lambda *_: Judged(False, "not any more")
    assert a.send("alice@a.example", "bob@b.example").outcome().reason is Reason.TLS_FAILED
    a.router.strengths.judge = judge
    lab.wait_until(lambda: may_try(a, "b.example"), "it may be tried again")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    link = next(one for one in a.sessions() if one.side is Side.OPENER and b"b.example" in one.port.sources)
    assert link.tls is not None
    assert not link.tls.resumed


def test_a_listener_for_tls_alone(lab: Lab) -> None:
    """A link in clear is refused by name, before anything is said on it."""
    b = tls_router(lab, "b.example", settings={"listen.tls": "only"})
    b.call(lambda: setattr(b.router.hub.first_bytes, "clear", False))  # the rig brings its certificates later
    with socket.create_connection(b.endpoint, 5) as clear:
        clear.sendall(Hello((1,)).encode())
        assert b"TLS only" in clear.recv(1000)


def test_who_is_refused_and_says_nothing_is_forgotten(lab: Lab) -> None:
    """A connection for which there is no room is told in clear after a second, or leaves no trace."""
    b = tls_router(lab, "b.example", settings={"caps.unauthenticated_per_address": 1})
    first_bytes, seen = b.router.hub.first_bytes, list[int]()
    refuse = first_bytes.refuse

    def noted(session: Link, refused: Refusal) -> None:
        refuse(session, refused)
        seen.append(session.number)

    first_bytes.refuse = noted  # type: ignore[method-assign]
    with raw_tls(b):
        with socket.create_connection(b.endpoint, 5) as silent:
            assert b"\x00\x04" in silent.recv(1000)[:16]
        with socket.create_connection(b.endpoint, 5):
            pass
        lab.wait_until(lambda: len(seen) == 2 and len(b.router.hub.sessions) == 1, "it came and is gone")
        assert b.call(lambda: b.router.hub.first_bytes._waiting) == set()


def test_a_resumed_session_that_is_refused_is_not_the_last_word(lab: Lab) -> None:
    """The other side has another certificate by now, and still takes tickets of before: it is asked anew."""
    a, b = tls_router(lab, "a.example"), tls_router(lab, "b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    end_links(a)
    lab.wait_until(lambda: not a.router.hub.sessions and not b.router.hub.sessions, "all are closed")
    first, second = issued("b.example"), issued("b.example", "other.example")
    ends = b.router.link_tls.ends
    assert ends is not None
    context = ends.contexts.server()
    context._used = False
    b.call(lambda: (context.use_certificate(second.leaf), context.use_privatekey(second.key)))
    judge = a.router.strengths.judge

    def not_the_first(shown: Any, *rest: Any) -> Judged:
        return Judged(False, "expired") if shown.leaf == first.leaf else judge(shown, *rest)

    a.call(lambda: setattr(a.router.strengths, "judge", not_the_first))
    assert a.send("alice@a.example", "bob@b.example", "two").outcome().ok
    assert ("alice@a.example", "two") in b.inbox("bob@b.example")
