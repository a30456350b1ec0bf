"""`imxctl check DOMAIN --as OURS` by XMPP: which proof of us a server takes, and why not the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from imxrouter.cli.exits import Exit
from imxrouter.model.vocabulary import REASON_BY_WORD, Reason
from tests.doubles.ctl import ctl
from tests.doubles.router_rig import Lab, fresh_address, issued
from tests.doubles.xmpp_server import Conduct, XmppServer
from tests.gateways.xmpp.streams.lab import StreamRouter

A, B = "a.example", "b.example"
STAGES = ["policy", "dns", "connect", "tls", "identity", "peer", "dialback"]
_STREAM = "urn:ietf:params:xml:ns:xmpp-streams"
_REFUSED = f"<stream:error><not-authorized xmlns='{_STREAM}'/></stream:error></stream:stream>"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What ends with the test."""
    with ExitStack() as made:
        yield made


@pytest.fixture
def router(lab: Lab) -> StreamRouter:
    """Ours, whose policy takes dial-back in TLS with any certificate."""
    return StreamRouter(lab, A, certificates=[A], settings={"trust.xmpp_default": "dialback+tls"})


def served(lab: Lab, stack: ExitStack, how: Conduct) -> XmppServer:
    """The server of b.example, published."""
    server = stack.enter_context(XmppServer(B, fresh_address(), how))
    ip, port = server.endpoint
    label = "_xmpps-server" if how.direct else "_xmpp-server"
    lab.zones.load(f"$ORIGIN {B}.\n{label}._tcp 60 IN SRV 0 0 {port} im\nim 60 IN A {ip}\n")
    return server


def check(router: StreamRouter, code: Exit = Exit.OK) -> Any:
    """The XMPP part of the answer."""
    result = ctl(router.rig, "--json", "check", B, "--as", router.domain, "--timeout", "15")
    assert result.exit_code == code, result.output
    view = json.loads(result.output)
    assert view["ours"] == router.domain
    (streams,) = [one for one in view["protocols"] if one["protocol"] == "xmpp"]
    assert [one["stage"] for one in streams["stages"]] == STAGES
    return streams


def answers(streams: Any) -> dict[str, tuple[str, str, str]]:
    """Of each way of proof: what became of it, the reason where it counts, and what was said."""
    return {
        one["facts"]["proof"]: (one["facts"]["answer"], one["reason"], one["note"])
        for one in streams["stages"][-1]["evidence"]
        if "proof" in one["facts"]
    }


def test_a_router_takes_our_key_for_it_asks_ours(lab: Lab, router: StreamRouter) -> None:
    """A real dial-back: the other side looks us up, and our own listener says that the key is ours."""
    other = StreamRouter(lab, B, certificates=[B], settings={"trust.xmpp_default": "dialback+tls"})
    streams = check(router)
    assert streams["result"] == "good"
    told = answers(streams)
    assert told["dial-back"] == ("taken", "", "")
    assert told["SASL EXTERNAL"][0] == "not offered"
    assert "dial-back" in told["SASL EXTERNAL"][2]
    assert router.rig.call(lambda: router.rig.router.streams.trust.tongue.checking) == set()
    shown = ctl(router.rig, "check", B, "--as", A).output
    assert f"{A} by dial-back at" in shown
    assert shown.endswith(f"{B}: good\n")
    assert other.domain == B


def test_a_router_takes_our_certificate(lab: Lab, router: StreamRouter) -> None:
    """Where its policy does; our key then is not taken, for it takes no dial-back."""
    StreamRouter(lab, B, certificates=[B], settings={"trust.xmpp_default": "certificate"})
    told = answers(check(router))
    assert told["SASL EXTERNAL"] == ("taken", "", "")
    assert told["dial-back"][:2] in {("taken", ""), ("not offered", "")}


def test_our_records_lead_elsewhere(lab: Lab, router: StreamRouter) -> None:
    """The key is not known where our records lead: that is said, and what to do."""
    StreamRouter(lab, B, certificates=[B], settings={"trust.xmpp_default": "dialback+tls"})
    wrong = StreamRouter(lab, "c.example", certificates=["c.example"])
    port = wrong.stream_port
    lab.zones.load(f"$ORIGIN {A}.\n_xmpp-server._tcp 60 IN SRV 0 0 {port} im\nim 60 IN A {wrong.rig.ip}\n")
    streams = check(router, Exit.FAILED)
    assert streams["failure"]["step"] == "dialback"
    kind, reason, note = answers(streams)["dial-back"]
    assert kind == "refused"
    assert REASON_BY_WORD[reason].stage.value in {"dialback", "connect", "identity", "tls", "peer"}
    assert note


@pytest.mark.parametrize(
    ("how", "dialback", "external"),
    [
        (Conduct(issued(B)), ("taken", ""), ("not offered", "")),
        (Conduct(issued(B), direct=True), ("taken", ""), ("not offered", "")),
        (Conduct(issued(B), external="offer"), ("taken", ""), ("taken", "")),
        (Conduct(issued(B), external="offer", offers_dialback=False), ("not offered", ""), ("taken", "")),
        (Conduct(issued(B), external="refuse"), ("taken", ""), ("refused", "")),
        (Conduct(issued(B), dialback="invalid"), ("refused", "dialback-refused"),
         ("not offered", "no-common-proof")),
        (Conduct(issued(B), dialback="error"), ("refused", "not-hosted"),
         ("not offered", "no-common-proof")),
        (Conduct(issued(B), external="refuse", offers_dialback=False), ("not offered", "no-common-proof"),
         ("refused", "no-common-proof")),
        (Conduct(issued(B), instead={"result": _REFUSED}), ("refused", "no-common-proof"),
         ("not offered", "no-common-proof")),
    ],
)  # fmt: skip
def test_what_a_server_takes(
    lab: Lab, stack: ExitStack, router: StreamRouter, how: Conduct, dialback: tuple[str, str],
    external: tuple[str, str],
) -> None:  # fmt: skip
    """Each way on a stream of its own; one that is taken is enough, and the other is told all the same."""
    served(lab, stack, how)
    taken = "taken" in {dialback[0], external[0]}
    streams = check(router, Exit.OK if taken else Exit.FAILED)
    told = answers(streams)
    assert (told["dial-back"][:2], told["SASL EXTERNAL"][:2]) == (dialback, external)
    for kind, _, note in told.values():
        assert bool(note) == (kind != "taken")


def test_without_a_certificate_of_ours(lab: Lab, stack: ExitStack) -> None:
    """EXTERNAL is not tried, and why is said."""
    router = StreamRouter(
        lab, A, certificates=["other.example"], settings={"trust.xmpp_default": "dialback+tls"}
    )
    served(lab, stack, Conduct(issued(B), external="offer"))
    kind, _, note = answers(check(router))["SASL EXTERNAL"]
    assert kind == "not tried"
    assert "tls.certificates" in note


def test_nothing_is_proved_to_who_is_not_the_domain(lab: Lab, stack: ExitStack, router: StreamRouter) -> None:
    """A wrong certificate ends the check before our own is shown, or a key is."""
    router = StreamRouter(lab, "d.example", certificates=["d.example"])  # certificates are asked for
    server = served(lab, stack, Conduct(issued("c.example"), external="offer"))
    streams = check(router, Exit.FAILED)
    assert streams["failure"]["reason"] == Reason.CERTIFICATE_REFUSED.word
    assert answers(streams) == {}
    assert server.claimed == []
