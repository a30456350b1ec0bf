"""Which protocol a message takes: what is published decides, and nothing that breaks leads to a weaker one.

The XMPP half is the dialer and real connections; what a proved stream carries is tested where streams are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, cast

import pytest

from imxrouter.discovery.answers import TYPE_IMX, TYPE_SRV, Status
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.dialer import StreamDialer
from imxrouter.gateways.xmpp.streams.parts import StreamLink, StreamParts
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.gateways.xmpp.terms import StreamTerms, TlsRule
from imxrouter.model.domain import Domain
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.transport.dialing import Reach
from imxrouter.transport.link import Link, Purpose
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.router_rig import Lab, free_port, fresh_address, issued
from tests.doubles.xmpp_server import Conduct, XmppServer

Z = "z.example"
SETTINGS = {"dial.hold_s": 2.0, "dial.connect_timeout_s": 1.0, "dns.ttl_floor_s": 0.0}
_NO_TLS = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"


class World:
    """a.example with a user, who writes to z.example; that has an IMX router and an XMPP server."""

    def __init__(
        self, lab: Lab, stack: ExitStack, tables: str = "", settings: Mapping[str, object] = {}
    ) -> None:
        self.lab = lab
        given: dict[str, object] = {**SETTINGS, **settings}
        self.a = lab.router("a.example", settings=given, tables=tables, certificates=[["a.example"]])
        self.z = lab.router(Z, publish=False)
        self.server = stack.enter_context(XmppServer(Z, fresh_address(), Conduct(issued(Z))))
        self.a.call(self._speak)

    def _speak(self) -> None:
        router = self.a.router
        nobody = cast("Any", object())

        def terms(_session: StreamLink) -> StreamTerms:
            return StreamTerms(tls=TlsRule.REQUIRED)

        parts = StreamParts(
            nobody, nobody, None, terms, self.lab.thread.reactor.callLater, maker=router.dialer.maker
        )

        def make(own: Domain | None, peer: Domain) -> Link:
            del own, peer
            return XmppSession(router.hub, StreamRole.S2S_OUT, parts, purpose=Purpose.DATA)

        dialer = StreamDialer(
            self.lab.thread.reactor, router.xmpp_strengths, router.dialer.reach, lambda: router.dialer.maker
        )
        router.speak(Protocol.XMPP, Reach(dialer, make, shares=False))

    def publish(self, *protocols: Protocol, zone: str = "", imx: tuple[str, int] | None = None) -> None:
        """What stands in DNS from now on."""
        lines = [zone, f"im 60 IN A {(imx or self.z.endpoint)[0]}", f"xs 60 IN A {self.server.endpoint[0]}"]
        if Protocol.IMX in protocols:
            lines.append(f"@ 60 IN IMX 1 im port={(imx or self.z.endpoint)[1]}")
        if Protocol.XMPP in protocols:
            lines.append(f"_xmpp-server._tcp 60 IN SRV 0 0 {self.server.endpoint[1]} xs")
        self.lab.zones.heal()
        self.lab.zones.load("\n".join(lines) + "\n", Z)
        self.a.forget_dns()
        self.a.call(self.a.router.chooser.forget)

    def write(self) -> Outcome:
        """Alice writes to bob."""
        return self.a.send("alice@a.example", f"bob@{Z}").outcome()

    def end_links(self) -> None:
        """No link is left."""

        def cut() -> None:
            for one in list(self.a.router.hub.sessions.values()):
                one.cut()

        self.a.call(cut)

    @property
    def streams(self) -> int:
        """Connections that came to the XMPP server."""
        return len(self.server.peers)

    @property
    def messages(self) -> int:
        """What bob got over IMX."""
        return len(self.z.inbox(f"bob@{Z}"))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What ends with the test."""
    with ExitStack() as made:
        yield made


IMX, XMPP = Protocol.IMX, Protocol.XMPP


def test_imx_alone_and_beside_xmpp(lab: Lab, stack: ExitStack) -> None:
    """IMX is preferred, and nothing is said to the XMPP server."""
    world = World(lab, stack)
    for protocols in ([IMX], [IMX, XMPP]):
        world.publish(*protocols)
        assert world.write().ok
    assert (world.messages, world.streams) == (2, 0)


def test_xmpp_alone(lab: Lab, stack: ExitStack) -> None:
    """A stream is opened to it and negotiated; no IMX router is looked for any further."""
    world = World(lab, stack)
    world.publish(XMPP)
    world.write()
    assert (world.messages, world.streams) == (0, 1)
    assert world.server.peers[0].tls is not None


def test_an_order_of_its_own(lab: Lab, stack: ExitStack) -> None:
    """A domain is reached by XMPP though it has IMX, where that is configured; and by nothing else."""
    tables = '[[trust.peer]]\ndomain = "z.example"\nprotocols = ["xmpp"]\n'
    world = World(lab, stack, tables)
    world.publish(IMX, XMPP)
    world.write()
    assert (world.messages, world.streams) == (0, 1)
    world.publish(IMX)
    assert not world.write().ok
    assert world.messages == 0


def _servfail(name: str, rdtype: int) -> Callable[[World], None]:
    return lambda world: world.lab.zones.fail(name, rdtype, Status.FAILURE)


#: What happens to IMX of a domain that publishes both, and the reason that its sender's router gives.
BROKEN: dict[str, tuple[Callable[[World], None], set[Reason]]] = {
    "servfail": (_servfail(Z, TYPE_IMX), {Reason.DNS_FAILURE}),
    "dns time-out": (lambda world: world.lab.zones.fail(Z, TYPE_IMX, Status.TIMEOUT), {Reason.DNS_TIMEOUT}),
    "servfail at _imx": (_servfail(f"_imx.{Z}", 64), {Reason.DNS_FAILURE}),
    "refused": (lambda _world: None, {Reason.UNREACHABLE}),
}


@pytest.mark.parametrize("how", BROKEN)
def test_imx_that_breaks_does_not_lead_to_xmpp(lab: Lab, stack: ExitStack, how: str) -> None:
    """Name servers that fail and routers that are down are told; nobody connects to the XMPP server."""
    breaks, reasons = BROKEN[how]
    world = World(lab, stack)
    ip = fresh_address()
    only = [XMPP] if how == "servfail at _imx" else [IMX, XMPP]
    world.publish(*only, imx=(ip, free_port(ip)) if how == "refused" else None)
    breaks(world)
    outcome = world.write()
    assert outcome.reason in reasons
    assert (world.messages, world.streams) == (0, 0)


def test_imx_with_a_wrong_certificate_does_not_lead_to_xmpp(lab: Lab, stack: ExitStack) -> None:
    """Who cannot prove that he is the domain's router is not gone round."""
    world = World(lab, stack, settings={"trust.default_policy": "dialback+certificate"})
    wrong = lab.router("y.example", publish=False, certificates=[["y.example"]])
    world.publish(IMX, XMPP, imx=wrong.endpoint)
    assert world.write().reason in {Reason.CERTIFICATE_REFUSED, Reason.TLS_FAILED}
    assert (world.messages, world.streams) == (0, 0)


def test_imx_that_vanishes_is_a_fall_unless_that_is_proved(lab: Lab, stack: ExitStack) -> None:
    """Reached by IMX once; then its records are NXDOMAIN: refused, until DNSSEC says that they are gone."""
    world = World(lab, stack)
    world.publish(IMX, XMPP)
    assert world.write().ok
    world.end_links()
    lab.wait_until(lambda: not world.a.router.hub.sessions, "links to end")
    world.publish(XMPP)
    assert world.write().reason is Reason.WEAKER_THAN_POLICY  # as senders are told of what was remembered
    assert (world.messages, world.streams) == (1, 0)
    lab.zones.secure = True
    world.publish(XMPP)
    world.a.call(lambda: world.a.router.federation.destinations.forget(Domain(Z)))
    world.write()
    assert (world.messages, world.streams) == (1, 1)


@pytest.mark.parametrize("rdtype", ["xmpps", "xmpp"])
def test_xmpp_whose_records_fail_is_not_guessed_at(lab: Lab, stack: ExitStack, rdtype: str) -> None:
    """Without IMX: a failure of either SRV look-up does not lead to the other one, nor to the address."""
    world = World(lab, stack)
    world.publish(XMPP, zone=f"@ 60 IN A {world.server.endpoint[0]}")
    world.lab.zones.fail(f"_{rdtype}-server._tcp.{Z}", TYPE_SRV, Status.FAILURE)
    assert world.write().reason is Reason.DNS_FAILURE
    assert world.streams == 0


@pytest.mark.parametrize(
    ("conduct", "reason"),
    [
        (lambda: Conduct(issued("y.example")), Reason.CERTIFICATE_REFUSED),
        (lambda: Conduct(None, instead={"proceed": _NO_TLS}), Reason.WEAKER_THAN_POLICY),
    ],
)
def test_xmpp_that_is_too_weak_gets_nothing(
    lab: Lab, stack: ExitStack, conduct: Callable[[], Conduct], reason: Reason
) -> None:
    """A wrong certificate, no TLS: told by stage and reason, and no stanza goes there."""
    world = World(lab, stack)
    world.server.conduct = conduct()
    world.publish(XMPP)
    assert not world.write().ok
    told = world.a.call(lambda: world.a.router.federation.destinations.find(Domain(Z), XMPP))
    assert told.last_error.reason is reason
    assert world.server.stanzas == []
    assert world.server.claimed == []


def test_a_domain_that_says_no_to_xmpp_is_not_reached_by_its_address(lab: Lab, stack: ExitStack) -> None:
    """SRV `.` and an address: no service."""
    world = World(lab, stack)
    zone = f"@ 60 IN A {world.server.endpoint[0]}\n_xmpp-server._tcp 60 IN SRV 0 0 0 ."
    world.publish(zone=zone)
    assert world.write().reason is Reason.NO_SERVICE
    assert world.streams == 0


def test_operators_see_the_choice(lab: Lab, stack: ExitStack) -> None:
    """By which protocol, why, and what DNS said; in the list of peers, of one peer, and in traces."""
    world = World(lab, stack, settings={"log.trace_entries": 1000})
    world.publish(XMPP)
    world.write()
    (row,) = [one for one in ctl_json(world.a, "peers") if one["domain"] == Z]
    assert (row["protocol"], row["policy"]) == ("xmpp", "certificate")
    view = ctl_json(world.a, "peers", "show", Z)
    assert (view["protocol"], view["choice"]) == ("xmpp", "xmpp (order; imx absent, xmpp published)")
    shown = ctl(world.a, "peers", "show", Z).output
    assert "xmpp (order; imx absent, xmpp published)" in shown
    steps = world.a.call(lambda: [one for one in world.a.router.trace._entries if one.event == "choice"])
    assert [one.get("text") for one in steps] == [f"{Z} is reached by {view['choice']}"]
    world.publish(IMX, XMPP)
    assert world.write().ok
    rows = {one["protocol"]: one for one in ctl_json(world.a, "peers") if one["domain"] == Z}
    assert set(rows) == {"imx", "xmpp"}
    assert rows["imx"]["links"]


def test_a_vanished_protocol_is_told_and_can_be_forgotten(lab: Lab, stack: ExitStack) -> None:
    """`imxctl peers show` names what is missing; `forget` lets the rest be used."""
    world = World(lab, stack)
    world.publish(IMX)
    assert world.write().ok
    world.end_links()
    lab.wait_until(lambda: not world.a.router.hub.sessions, "links to end")
    world.publish(XMPP)
    world.write()
    view = ctl_json(world.a, "peers", "show", Z)
    assert view["choice"].startswith("none: weaker-than-remembered (decided by imx, imx absent")
    ctl_json(world.a, "peers", "forget", Z)
    ctl_json(world.a, "peers", "retry", Z)
    world.write()
    assert world.streams == 1
