"""A server that does not host the domain, and one that takes no proof that we can give, are told as that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from imxrouter.gateways.xmpp.translate.failures import CONDITIONS
from imxrouter.model.vocabulary import Reason
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.router_rig import Lab, fresh_address, issued
from tests.doubles.xmpp_server import Conduct, XmppServer
from tests.gateways.xmpp.streams.lab import StreamRouter

A, B = "a.example", "b.example"
_STREAM = "urn:ietf:params:xml:ns:xmpp-streams"


def error(condition: str, text: str = "") -> str:
    """The end of a stream."""
    said = f"<text xmlns='{_STREAM}'>{text}</text>" if text else ""
    return f"<stream:error><{condition} xmlns='{_STREAM}'/>{said}</stream:error></stream:stream>"


def conduct(**more: Any) -> Conduct:
    """A server with a certificate of its own, whose dial-back is not offered."""
    return Conduct(issued(B), offers_dialback=False, **more)


#: What the server does -> the reason, and what stands in its note.
CASES: dict[str, tuple[Conduct, Reason, str]] = {
    "it does not host the domain": (
        Conduct(issued(B), required=False, instead={"features": error("host-unknown")}),
        Reason.NOT_HOSTED, "host-unknown",
    ),
    "it does not host it, says dial-back": (
        Conduct(issued(B), dialback="error"), Reason.NOT_HOSTED, "",
    ),
    "neither EXTERNAL nor dial-back": (
        conduct(instead={"result": error("unsupported-stanza-type")}),
        Reason.NO_COMMON_PROOF, "it offers neither EXTERNAL nor dial-back",
    ),
    "EXTERNAL alone, and not for us": (
        conduct(external="refuse", instead={"result": error("not-authorized")}),
        Reason.NO_COMMON_PROOF, "it offers EXTERNAL; our certificate: not-authorized",
    ),
    "it has no features to offer": (
        conduct(direct=True, instead={"features": error("undefined-condition", "No features to offer")}),
        Reason.NO_COMMON_PROOF, "No features to offer",
    ),
    "it ends the stream without a word": (
        conduct(instead={"result": "</stream:stream>"}),
        Reason.NO_COMMON_PROOF, "it offers neither EXTERNAL nor dial-back",
    ),
}  # fmt: skip


@pytest.fixture
def router(lab: Lab) -> StreamRouter:
    """Ours."""
    settings = {"log.trace_entries": 1000, "dial.hold_s": 4.0}
    return StreamRouter(lab, A, certificates=[A], settings=settings)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What ends with the test."""
    with ExitStack() as made:
        yield made


def served(lab: Lab, stack: ExitStack, how: Conduct) -> XmppServer:
    """The server of b.example, published."""
    server = stack.enter_context(XmppServer(B, fresh_address(), how))
    ip, port = server.endpoint
    label = "_xmpps-server" if how.direct else "_xmpp-server"
    lab.zones.load(f"$ORIGIN {B}.\n{label}._tcp 60 IN SRV 0 0 {port} im\nim 60 IN A {ip}\n")
    return server


@pytest.mark.parametrize("case", CASES)
def test_senders_traces_and_peers_say_it(lab: Lab, stack: ExitStack, router: StreamRouter, case: str) -> None:
    """The reason with what the server said; the sender is told its disclosed form."""
    how, reason, note = CASES[case]
    served(lab, stack, how)
    sent = json.loads(ctl(router.rig, "--json", "send", f"alice@{A}", f"bob@{B}", "x").output)
    assert (sent["status"], sent["reason"]) == ("failure", reason.word), sent
    trace = ctl_json(router.rig, "trace", sent["id"])
    assert trace["verdict"]["reason"] == reason.word
    assert trace["verdict"]["rule"]
    (first, *_) = ctl_json(router.rig, "peers", "show", B)["errors"]
    assert first["reason"] == reason.word
    assert note in json.dumps([first, trace]), (first, trace)


def test_a_server_that_takes_dialback_and_does_not_say_so(
    lab: Lab, stack: ExitStack, router: StreamRouter
) -> None:
    """Is not judged by its features."""
    server = served(lab, stack, conduct())
    router.rig.send(f"alice@{A}", f"bob@{B}")
    server.wait_for_stanza()


def test_the_words_for_senders() -> None:
    """Both are told as what a sender can do something with."""
    assert CONDITIONS[Reason.NOT_HOSTED.disclosed] == ("cancel", "remote-server-not-found")
    assert CONDITIONS[Reason.NO_COMMON_PROOF.disclosed] == ("wait", "remote-server-timeout")
