"""Out of service without an error to anyone, over real sockets (specification 5.3 to 5.5, 6.7, 8.4)."""

from __future__ import annotations

import http.client
from collections.abc import Callable

import pytest

from imxrouter.cli.exits import Exit
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.dialling import KNOWN_FAILED_S
from imxrouter.switch import slots
from imxrouter.transport.draining import DrainState
from imxrouter.transport.siblings import sibling_key
from imxrouter.wire.control import (
    Claim,
    ClaimResult,
    Close,
    Credit,
    HandOver,
    Hello,
    Ping,
    Pong,
    Proof,
    Redirect,
    Verify,
    VerifyResult,
)
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import Envelope, Record
from imxrouter.wire.registry import Capability, RecordType
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.raw_peer import RawPeer
from tests.doubles.router_rig import Lab, RawOrganisation, RouterRig, free_port

SECRET = "ab" * 32


def _message(text: str) -> Record:
    body = (
        "From: <im:somebody@m.example>\r\nTo: <im:alice@a.example>\r\nContent-Type: text/plain\r\n\r\n" + text
    )
    return Record(
        RecordType.MESSAGE, FLAG_RESPONSE_WANTED, 110, 1, bytes(16),
        Envelope(b"alice", b"a.example", b"somebody", b"m.example"), (), body.encode(),
    )  # fmt: skip


def _begin(rig: RouterRig, deadline_s: float = 10.0) -> None:
    rig.call(lambda: rig.router.draining.drain(deadline_s))


def _is_drained(lab: Lab, rig: RouterRig) -> None:
    lab.wait_until(lambda: rig.router.drain.state is DrainState.DRAINED, "it is drained")


def _ready(port: int) -> int:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    link.request("GET", "/readyz")
    status = link.getresponse().status
    link.close()
    return status


# -- leaving -------------------------------------------------------------------------------------------------


def test_a_request_that_crosses_is_answered(lab: Lab) -> None:
    """Told that nothing new is taken, a peer may have sent before it knew: that is delivered, then closed."""
    a, m = lab.router("a.example"), lab.organisation("m.example")
    link = m.proved_link(a)
    link.answers_pings = False
    _begin(a)
    link.until_told_to_stop()
    link.send(_message("sent before I knew"))
    assert link.outcome().ok
    link.send(*(Pong(item.nonce) for item in link.log if isinstance(item, Ping)))
    assert link.find(Close).reason == Reason.SHUTTING_DOWN.code
    link.send(Close(0, 0))
    _is_drained(lab, a)
    assert a.inbox("alice@a.example")[-1][1] == "sent before I knew"


def test_what_our_own_users_send_meanwhile_goes_out(lab: Lab) -> None:
    """One direction is closed first: ours stays open until nothing new can come."""
    a, m = lab.router("a.example"), lab.organisation("m.example")
    link = m.proved_link(a)
    link.answers_pings = False
    _begin(a)
    link.until_told_to_stop()
    sent = a.send("alice@a.example", "somebody@m.example", "one more")
    link.answer(link.request())
    assert sent.outcome().ok
    assert link.find(Close).reason == Reason.SHUTTING_DOWN.code  # without a word, after a second
    refused = a.send("alice@a.example", "somebody@m.example", "too late").outcome()
    assert refused.reason is Reason.SHUTTING_DOWN
    assert refused.retry_after_s > 0


def test_the_deadline_cuts_what_is_in_flight(lab: Lab) -> None:
    """A peer that never answers does not keep a router: its request is `indeterminant`."""
    a, m = lab.router("a.example", settings={"links.close_deadline_s": 60.0}), lab.organisation("m.example")
    link = m.proved_link(a)
    sent = a.send("alice@a.example", "somebody@m.example", "nobody will answer")
    link.request()
    _begin(a, deadline_s=0.5)
    _is_drained(lab, a)
    assert sent.outcome().in_doubt
    assert a.sessions() == []


def test_a_link_that_takes_nothing_new_is_left_for_another(lab: Lab) -> None:
    """The other side of it: the next messages go over the peer's other link, for good."""
    a, m = lab.router("a.example"), lab.organisation("m.example")
    first, second = m.proved_link(a), m.proved_link(a)
    first.send(Credit(0, 0), Credit(256, 1 << 20))
    first.drain()
    for number in range(4):
        sent = a.send("alice@a.example", "somebody@m.example", f"number {number}")
        second.answer(second.request())
        assert sent.outcome().ok
    assert first.requests == []


def test_drained_over_a_restart_and_back(lab: Lab) -> None:
    """No link is left, none is taken, 503 for load balancers; a restart changes nothing, undrain does."""
    port = free_port("127.0.0.1")
    settings = {"metrics.listen": f"127.0.0.1:{port}", "state_dir": str(lab.folder / "kept")}
    a, b = lab.router("a.example"), lab.router("b.example", settings=settings)
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert _ready(port) == 200
    view = ctl_json(b, "drain", "--wait")
    assert (view["processes"], view["wanted"], view["kept"]) == ({"0": "drained"}, True, True)
    assert b.sessions() == []
    _takes_nothing(b, port)

    b.stop()
    again = lab.router("b.example", endpoint=b.endpoint, settings=settings)
    _takes_nothing(again, port)
    assert ctl(again, "undrain").exit_code == Exit.OK
    assert _ready(port) == 200
    assert "no, in service" in ctl(again, "status").output
    ctl(a, "peers", "retry", "b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert again.send("bob@b.example", "alice@a.example").outcome().ok


def _takes_nothing(rig: RouterRig, port: int) -> None:
    assert _ready(port) == 503
    assert rig.send("bob@b.example", "alice@b.example").outcome().ok  # what needs no link goes on
    refused = rig.send("bob@b.example", "alice@a.example").outcome()
    assert refused.reason is Reason.SHUTTING_DOWN
    stranger = RawPeer.connect(rig.endpoint)
    stranger.send(Hello((1,)))
    close = stranger.until_closed()
    assert close is not None
    assert (close.reason, close.retry_after_s) == (Reason.SHUTTING_DOWN.code, 5)
    stranger.close()
    status = ctl_json(rig, "status")
    assert (status["state"], status["ready"], status["why"]) == ("drained", False, "drained")


# -- where to ------------------------------------------------------------------------------------------------


def _redirectable(m: RawOrganisation, a: RouterRig) -> RawPeer:
    link = m.connect(a, hello=False)
    link.hello(capabilities=(Capability.REDIRECT,))
    assert m.prove(link, a.domains[0]).reason == 0
    return link


@pytest.mark.parametrize("configured", [False, True], ids=["by DNS", "configured"])
def test_who_opened_a_link_is_told_of_another_host(lab: Lab, configured: bool) -> None:
    """The other host of the domain's DNS answer, or a configured one; never oneself. It may stay a while."""
    other, m = lab.organisation("other.example"), lab.organisation("m.example")
    siblings = [f"im9.a.example:{other.endpoint[1]}"] if configured else []
    a = lab.router("a.example", settings={"name": "im1.a.example", "drain.siblings": siblings})
    lab.publish("a.example", a.endpoint, other.endpoint)
    a.forget_dns()
    link = _redirectable(m, a)
    _begin(a)
    told = link.expect(Redirect)
    host = "im9" if configured else "im2"
    assert (told.target, told.domains) == (f"{host}.a.example:{other.endpoint[1]}", (b"a.example",))
    link.send(_message("I still send here"))
    assert link.outcome().ok
    assert link.find(Close).reason == Reason.SHUTTING_DOWN.code
    assert any(isinstance(item, Credit) for item in link.log)


def test_nobody_is_told_where_there_is_no_other_host(lab: Lab) -> None:
    """The only host of a domain says goodbye, and nothing else."""
    a, m = lab.router("a.example", settings={"name": "im1.a.example"}), lab.organisation("m.example")
    link = _redirectable(m, a)
    _begin(a)
    assert link.expect(Close).reason == Reason.SHUTTING_DOWN.code
    assert not any(isinstance(item, Redirect) for item in link.log)


def test_a_redirect_moves_before_the_old_link_is_left(lab: Lab) -> None:
    """Until the new link is proved the old one carries what is sent."""
    a, m = lab.router("a.example"), lab.organisation("m.example")
    other = lab.organisation("other.example")
    sent = a.send("alice@a.example", "somebody@m.example", "one")
    old = m.accept()
    m.take_claim(old, a)
    old.answer(old.request())
    assert sent.outcome().ok
    lab.publish("m.example", m.endpoint, other.endpoint)
    old.send(Redirect(f"im2.m.example:{other.endpoint[1]}", (b"m.example",), 0))
    fresh = other.accept()
    a.send("alice@a.example", "somebody@m.example", "two")
    old.answer(old.request())
    other.take_claim(fresh, a)
    assert old.find(Close).reason == Reason.REDIRECTED.code
    a.send("alice@a.example", "somebody@m.example", "three")
    assert b"three" in fresh.request().body


# -- refused at one host -------------------------------------------------------------------------------------


def _two_hosts(lab: Lab) -> tuple[RouterRig, Callable[[], tuple[RawPeer, Record]], RawPeer, RawPeer]:
    a, m = lab.router("a.example"), lab.organisation("m.example")
    first, second = m.proved_link(a), m.proved_link(a)

    def asked() -> tuple[RawPeer, Record]:
        """Which of them is asked first, and what."""
        before = len(first.requests)
        first.drain()
        if len(first.requests) > before:
            return first, first.requests[-1]
        second.drain()
        return second, second.requests[-1]

    return a, asked, first, second


@pytest.mark.parametrize("reason", [Reason.SERVICE_DOWN, Reason.SHUTTING_DOWN])
def test_what_one_host_refuses_another_takes(lab: Lab, reason: Reason) -> None:
    """The sender learns nothing of it."""
    a, asked, first, second = _two_hosts(lab)
    sent = a.send("alice@a.example", "somebody@m.example", "hello")
    lab.wait_until(lambda: a.router.switch.ledger.entries, "it is sent")
    link, request = asked()
    link.answer(request, failure(reason, retry_after_s=30))
    other = second if link is first else first
    again = other.request()
    assert (again.message_id, again.body, again.flags) == (request.message_id, request.body, request.flags)
    other.answer(again)
    assert sent.outcome().ok
    assert a.counter(slots.ELSEWHERE) == 1


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        (failure(Reason.BUSY, retry_after_s=5), Reason.BUSY),
        (failure(Reason.NOT_DELIVERED), Reason.NOT_DELIVERED),
    ],
    ids=["busy", "not-delivered"],
)  # fmt: skip
def test_other_refusals_are_the_senders(lab: Lab, word: Outcome, reason: Reason) -> None:
    """Only what says that this host cannot is asked of another one."""
    a, asked, first, second = _two_hosts(lab)
    sent = a.send("alice@a.example", "somebody@m.example", "hello")
    lab.wait_until(lambda: a.router.switch.ledger.entries, "it is sent")
    link, request = asked()
    link.answer(request, word)
    assert sent.outcome().reason is reason
    other = second if link is first else first
    other.drain()
    assert other.requests == []


def test_two_hosts_that_refuse_are_asked_once_each(lab: Lab) -> None:
    """They cannot play ball with a request."""
    a, asked, first, second = _two_hosts(lab)
    sent = a.send("alice@a.example", "somebody@m.example", "hello")
    lab.wait_until(lambda: a.router.switch.ledger.entries, "it is sent")
    link, request = asked()
    link.answer(request, failure(Reason.SERVICE_DOWN))
    other = second if link is first else first
    other.answer(other.request(), failure(Reason.SERVICE_DOWN))
    assert sent.outcome().reason is Reason.SERVICE_DOWN
    link.drain()
    assert (len(first.requests), len(second.requests)) == (1, 1)
    link.answer(request, SUCCESS)  # too late, and it changes nothing
    link.drain()
    assert len(sent.outcomes) == 1


# -- subscriptions -------------------------------------------------------------------------------------------


def _given(domain: str = "a.example") -> HandOver:
    return HandOver(b"somebody@m.example", f"alice@{domain}".encode(), b"id-1", 600)


def test_a_host_of_ours_hands_subscriptions_over(lab: Lab) -> None:
    """It proves that it holds the dial-back secret; what it gives is kept, of domains served here only."""
    a = lab.router("a.example", settings={"dialback.keys.one": SECRET, "lab": True})
    link = RawPeer.connect(a.endpoint)
    link.hello()
    assert link.log_in(sibling_key(bytes.fromhex(SECRET))) == 0
    link.send(_given(), _given("elsewhere.example"))
    link.drain()
    kept = [entry for _, entry in a.router.subscriptions.items()]
    assert [(entry.watcher, entry.presentity, entry.ident) for entry in kept] == [
        (b"somebody@m.example", b"alice@a.example", b"id-1")
    ]
    assert a.router.siblings.taken == 1
    link.close()


# -- coming back ---------------------------------------------------------------------------------------------


def test_a_host_that_is_back_is_not_refused_for_having_been_down(lab: Lab) -> None:
    """Its address did not answer a moment ago: its claim is put off, and a second later verified."""
    a, m = lab.router("a.example"), lab.organisation("m.example")
    m.proved_link(a).close()
    assert m.second is not None
    m.second.close()
    m.second = None
    lab.wait_until(lambda: not a.router.hub.sessions, "no link is left")
    dialling = a.router.gatekeeper.dialling
    a.call(lambda: dialling.failed_connect(*m.endpoint, a.router.hub.now(), Reason.CONNECTION_REFUSED))
    link = m.connect(a)
    link.send(Claim(1, b"m.example", b"a.example", bytes(32)))
    assert link.expect(ClaimResult).reason == Reason.DIAL_LIMIT.code
    since = a.router.hub.now() - KNOWN_FAILED_S
    a.call(lambda: dialling.failed_connect(*m.endpoint, since, Reason.CONNECTION_REFUSED))
    assert m.prove(m.connect(a), "a.example").reason == 0


# -- what waits ----------------------------------------------------------------------------------------------


def test_what_waits_for_a_proof_still_goes_out(lab: Lab) -> None:
    """The peer may verify our claim while we go, though no other connection is taken."""
    a, m = lab.router("a.example"), lab.organisation("m.example")
    sent = a.send("alice@a.example", "somebody@m.example", "first contact")
    link = m.accept()
    claim = link.find(Claim)
    _begin(a)
    stranger = RawPeer.connect(a.endpoint)
    stranger.hello()
    link.until_told_to_stop()
    asking = m.connect(a)
    asking.send(Verify(77, claim.from_domain, claim.to_domain, claim.token, bytes(32), 0))
    assert asking.find(VerifyResult).reason == 0
    assert link.find(Proof).answer == bytes(32)
    link.send(ClaimResult(claim.number, 0, 1))
    link.answer(link.request())
    assert sent.outcome().ok
    _is_drained(lab, a)
    assert stranger.until_closed() is not None


def test_what_cannot_go_any_more_is_answered(lab: Lab) -> None:
    """A peer that says no hello has half of the deadline."""
    a, m = lab.router("a.example"), lab.organisation("m.example")
    sent = a.send("alice@a.example", "somebody@m.example", "nobody says hello")
    m.accept(hello=False)
    _begin(a, deadline_s=0.6)
    outcome = sent.outcome()
    assert (outcome.reason, outcome.in_doubt) == (Reason.SHUTTING_DOWN, False)
    _is_drained(lab, a)
