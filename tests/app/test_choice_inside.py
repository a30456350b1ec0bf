"""By which protocol users of an XMPP server behind the router reach a domain, and never by a weaker one.

What comes in by XMPP goes out by XMPP where the domain publishes that, else by the order (section 2 of the
architecture). The domain publishes IMX, XMPP and both, and each is withdrawn or broken in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final, cast

import pytest

from imxrouter.discovery.answers import TYPE_A, TYPE_IMX, TYPE_SRV, Status
from imxrouter.gateways.xmpp.stanza import Stanza
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from tests.doubles.router_rig import Lab, free_port, fresh_address, issued
from tests.doubles.xmpp import XmppPeer
from tests.doubles.xmpp_server import Conduct, XmppServer

A, Z = "a.example", "z.example"
BOB: Final = Address.parse(f"bob@{Z}")
IMX, XMPP = Protocol.IMX, Protocol.XMPP
SVCB: Final = 64
#: The two look-ups of XMPP, and one of IMX, that can fail.
SRV_TLS, SRV_CLEAR = f"_xmpps-server._tcp.{Z}", f"_xmpp-server._tcp.{Z}"
_NO_TLS: Final = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
_SETTINGS: Final = {"dns.ttl_floor_s": 0.0, "xmpp.confirm": "written"}
#: Where nobody is to be reached: the sender is soon told so.
_VAIN: Final[dict[str, Any]] = {"dial.hold_s": 2.0}


class World:
    """The server of a.example is behind a router; z.example has an IMX router and an XMPP server of its own.

    Attributes:
        home: the server behind the router: its users' stanzas come from there, and go there.
        server: the one of z.example.
    """

    def __init__(self, lab: Lab, stack: ExitStack, more: str = "", **settings: Any) -> None:
        self.lab = lab
        self.z = lab.router(Z, publish=False, certificates=[[Z]])
        self.server = stack.enter_context(XmppServer(Z, fresh_address(), Conduct(issued(Z))))
        self.home = stack.enter_context(XmppServer(A, fresh_address(), Conduct()))
        ip = fresh_address()
        self.inside = (ip, free_port(ip))
        listening = {
            "xmpp.listen": [f"{ip}:{free_port(ip)}"], "xmpp.inside.listen": [f"{ip}:{self.inside[1]}"],
            "xmpp.inside.allow": [f"{self.home.endpoint[0]}/32"],
        }  # fmt: skip
        place = f'address = "{self.home.endpoint[0]}:{self.home.endpoint[1]}"'
        self.a = lab.router(
            A, embedded=False, certificates=[[A]], settings={**_SETTINGS, **listening, **settings},
            tables=f'[[service]]\nname = "chat"\nkind = "xmpp"\n{place}\n'
            f'[[domain]]\nname = "{A}"\nservice = "chat"\n{more}',
        )  # fmt: skip
        #: what leads from the domain itself to its XMPP server
        self.host = f"@ 60 IN A {self.server.endpoint[0]}"
        self._stream: XmppPeer | None = None
        self._sent = 0

    def publish(self, *protocols: Protocol, zone: str = "", imx: tuple[str, int] | None = None) -> None:
        """What stands in DNS from now on, and no link or answer of before is left."""
        there = imx or self.z.endpoint
        lines = [zone, f"im 60 IN A {there[0]}", f"xs 60 IN A {self.server.endpoint[0]}"]
        if IMX in protocols:
            lines.append(f"@ 60 IN IMX 1 im port={there[1]}")
        if XMPP in protocols:
            lines.append(f"_xmpp-server._tcp 60 IN SRV 0 0 {self.server.endpoint[1]} xs")
        self.a.call(self.a.cut)
        self.lab.wait_until(lambda: not self.a.router.hub.sessions, "links to end")
        self.lab.zones.heal()
        self.lab.zones.load("\n".join(lines) + "\n", Z)
        self.a.forget_dns()
        self.a.call(self._forget)

    def _forget(self) -> None:
        self.a.router.chooser.forget()
        self.a.router.federation.destinations.forget(Domain(Z))

    def write(self, kind: str = "chat") -> str:
        """A user of the server writes to bob; `imx`, `xmpp`, or the condition of the error that came back."""
        self._sent += 1
        ident, stream = f"n{self._sent}", self._open()
        said = f"<message from='alice@{A}/r' to='bob@{Z}' id='{ident}' type='{kind}'>"
        stream.send(f"{said}<body>{ident}</body></message>")
        came: list[str] = []

        def settled() -> bool:
            service = self.z.router.embedded_for(BOB)
            inbox = service.inbox(BOB) if service is not None else ()
            came.extend("imx" for one in inbox if one.content.decode() == ident)
            came.extend("xmpp" for one in list(self.server.stanzas) if one.ident == ident)
            came.extend(_condition(one) for one in list(self.home.stanzas) if one.ident == ident)
            return bool(came)

        self.lab.wait_until(settled, f"what becomes of {ident}")
        assert len(set(came)) == 1, came
        return came[0]

    def why(self, protocol: Protocol) -> Reason:
        """Why the domain could not be reached by a protocol."""

        def look() -> Reason | None:
            destination = self.a.router.federation.destinations.find(Domain(Z), protocol)
            last = destination.last_error if destination is not None else None
            return last.reason if last is not None else None

        self.lab.wait_until(look, f"why {Z} cannot be reached")
        return cast("Reason", self.a.call(look))

    def nobody_came(self) -> None:
        """Neither a message nor as much as a connection reached z.example in a way that it should not."""
        assert self.z.inbox(str(BOB)) == []
        assert self.server.stanzas == []

    def says(self, stanza: str) -> None:
        """The server says something to z.example."""
        self._open().send(stanza)

    def _open(self) -> XmppPeer:
        """The stream on which the server writes to z.example, proved by its address alone."""
        if self._stream is None:
            self._stream = self.home.connect(self.inside)
            self._stream.open(A, Z)
            self._stream.claim(A, Z, b"any key")
            assert self._stream.result() == "valid"
        return self._stream


def _condition(stanza: Stanza) -> str:
    """The condition of an error that came back."""
    assert stanza.type == "error", stanza.raw
    error = next(one for one in stanza.tree().children if one.name == "error")
    return error.children[0].name


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What ends with the test."""
    with ExitStack() as made:
        yield made


def test_what_is_published_decides_and_xmpp_comes_first(lab: Lab, stack: ExitStack) -> None:
    """Both: by XMPP, by which it came. XMPP withdrawn: by IMX. Both withdrawn: nobody is found. And back."""
    world = World(lab, stack)
    for protocols, by in (
        ((IMX, XMPP), "xmpp"), ((IMX,), "imx"), ((XMPP,), "xmpp"), ((IMX, XMPP), "xmpp"),
        ((), "remote-server-not-found"), ((IMX,), "imx"),
    ):  # fmt: skip
        world.publish(*protocols)
        assert world.write() == by, protocols


@pytest.mark.parametrize(
    ("spoken", "came"),
    [
        ('["imx"]', {(IMX, XMPP): "imx", (XMPP,): "remote-server-not-found", (IMX,): "imx"}),
        ('["xmpp"]', {(IMX, XMPP): "xmpp", (IMX,): "remote-server-not-found", (XMPP,): "xmpp"}),
    ],
)
def test_what_is_not_allowed_is_not_taken(
    lab: Lab, stack: ExitStack, spoken: str, came: dict[tuple[Protocol, ...], str]
) -> None:
    """Where a domain may be reached by one protocol alone, the other one is not fallen back to."""
    world = World(lab, stack, more=f'[[trust.peer]]\ndomain = "{Z}"\nprotocols = {spoken}\n')
    for protocols, by in came.items():
        world.publish(*protocols)
        assert world.write() == by, protocols


def _fails(name: str, rdtype: int, status: Status = Status.FAILURE) -> Callable[[World], None]:
    return lambda world: world.lab.zones.fail(name, rdtype, status)


def _conduct(**how: Any) -> Callable[[World], None]:
    def behave(world: World) -> None:
        world.server.conduct = Conduct(**{"certificate": issued(Z), **how})

    return behave


def _closes(world: World) -> None:
    world.server.__exit__()


_DIALBACK: Final[dict[str, Any]] = {"trust.xmpp_default": "dialback"}
_CLOSED: Final = {Reason.CONNECTION_REFUSED, Reason.UNREACHABLE}
_WRONG: Final = {Reason.CERTIFICATE_REFUSED}
#: What happens to XMPP of a domain that publishes both; settings; the reasons kept with the destination, if
#: it counts as one that cannot be reached.
BROKEN_XMPP: Final[dict[str, tuple[Callable[[World], None], dict[str, Any], set[Reason]]]] = {
    "servfail at xmpps": (_fails(SRV_TLS, TYPE_SRV), {}, {Reason.DNS_FAILURE}),
    "servfail at xmpp": (_fails(SRV_CLEAR, TYPE_SRV), {}, {Reason.DNS_FAILURE}),
    "time-out at xmpps": (_fails(SRV_TLS, TYPE_SRV, Status.TIMEOUT), {}, {Reason.DNS_TIMEOUT}),
    "time-out at xmpp": (_fails(SRV_CLEAR, TYPE_SRV, Status.TIMEOUT), {}, {Reason.DNS_TIMEOUT}),
    "servfail of the host": (_fails(f"xs.{Z}", TYPE_A), {}, {Reason.DNS_FAILURE}),
    "refused": (_closes, {}, _CLOSED),
    "wrong certificate": (_conduct(certificate=issued("y.example")), {}, _WRONG),
    "certificate at an end": (_conduct(certificate=issued(Z, ended=True)), {}, _WRONG),
    "certificate of nobody": (_conduct(certificate=issued(Z, by="nobody")), {}, _WRONG),
    "no tls": (
        _conduct(certificate=None, instead={"proceed": _NO_TLS}), {}, {Reason.WEAKER_THAN_POLICY}),
    "dial-back fails": (_conduct(dialback="invalid"), _DIALBACK, {Reason.DIALBACK_REFUSED}),
    "dial-back is an error": (_conduct(dialback="error"), _DIALBACK, {Reason.NOT_HOSTED}),
    "dial-back is silent": (_conduct(dialback=""), _DIALBACK, set()),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN_XMPP)
def test_xmpp_that_breaks_does_not_lead_to_imx(lab: Lab, stack: ExitStack, how: str) -> None:
    """It is published, so it is the one: what fails of it is told, and the IMX router hears nothing."""
    breaks, settings, reasons = BROKEN_XMPP[how]
    world = World(lab, stack, **_VAIN, **settings)
    world.publish(IMX, XMPP)
    breaks(world)
    condition = "remote-server-not-found" if how == "dial-back is an error" else "remote-server-timeout"
    assert world.write() == condition
    world.nobody_came()
    assert world.z.sessions() == []
    assert not reasons or world.why(XMPP) in reasons
    assert f"{Z} TYPE65400" not in world.lab.zones.asked  # nobody even looked for IMX


def _imx_closed(world: World) -> None:
    ip = fresh_address()
    world.publish(IMX, zone=world.host, imx=(ip, free_port(ip)))


def _imx_of_another(world: World) -> None:
    wrong = world.lab.router("y.example", publish=False, certificates=[["y.example"]])
    world.publish(IMX, zone=world.host, imx=wrong.endpoint)


_CERTIFIED: Final[dict[str, Any]] = {"trust.default_policy": "dialback+certificate"}
#: What happens to IMX of a domain that has withdrawn XMPP; its own address still leads to the XMPP server.
BROKEN_IMX: Final[dict[str, tuple[Callable[[World], None], dict[str, Any], set[Reason]]]] = {
    "servfail": (_fails(Z, TYPE_IMX), {}, {Reason.DNS_FAILURE}),
    "time-out": (_fails(Z, TYPE_IMX, Status.TIMEOUT), {}, {Reason.DNS_TIMEOUT}),
    "refused": (_imx_closed, {}, _CLOSED),
    "wrong certificate": (_imx_of_another, _CERTIFIED, {Reason.CERTIFICATE_REFUSED, Reason.TLS_FAILED}),
}


@pytest.mark.parametrize("how", BROKEN_IMX)
def test_imx_that_breaks_does_not_lead_to_the_address(lab: Lab, stack: ExitStack, how: str) -> None:
    """XMPP is withdrawn, so IMX is the one; where that fails nobody guesses at the domain's own address."""
    breaks, settings, reasons = BROKEN_IMX[how]
    world = World(lab, stack, **_VAIN, **settings)
    world.publish(IMX, zone=world.host)
    breaks(world)
    assert world.write() == "remote-server-timeout"
    world.nobody_came()
    assert world.server.peers == []
    assert world.why(IMX) in reasons


def test_imx_that_fails_to_say_whether_it_is_there(lab: Lab, stack: ExitStack) -> None:
    """Neither is published so far as is known, but one look-up of IMX failed: that is told."""
    world = World(lab, stack, **_VAIN)
    world.publish(zone=world.host)
    world.lab.zones.fail(f"_imx.{Z}", SVCB, Status.FAILURE)
    assert world.write() == "remote-server-timeout"
    assert world.server.peers == []
    assert world.why(IMX) is Reason.DNS_FAILURE


@pytest.mark.parametrize("how", ["servfail", "time-out", "refused"])
def test_broken_imx_is_nothing_to_what_came_by_xmpp(lab: Lab, stack: ExitStack, how: str) -> None:
    """Both are published and IMX is broken: XMPP is the one all the same."""
    world = World(lab, stack)
    world.publish(IMX, XMPP, imx=(world.z.endpoint[0], 1) if how == "refused" else None)
    if how != "refused":
        status = Status.FAILURE if how == "servfail" else Status.TIMEOUT
        world.lab.zones.fail(Z, TYPE_IMX, status)
    assert world.write() == "xmpp"


def test_a_domain_that_says_no_to_xmpp(lab: Lab, stack: ExitStack) -> None:
    """SRV `.`: it says so itself. With IMX it is reached by that; without, there is no service."""
    world = World(lab, stack)
    declined = f"{world.host}\n_xmpp-server._tcp 60 IN SRV 0 0 0 ."
    world.publish(IMX, zone=declined)
    assert world.write() == "imx"
    world.publish(zone=declined)
    assert world.write() == "remote-server-not-found"
    assert world.server.peers == []


def test_xmpp_that_is_preferred_and_vanishes(lab: Lab, stack: ExitStack) -> None:
    """Reached by XMPP, which is configured first; then it is gone: refused, until DNSSEC proves that."""
    world = World(lab, stack, more=f'[[trust.peer]]\ndomain = "{Z}"\nprotocols = ["xmpp", "imx"]\n')
    world.publish(IMX, XMPP)
    assert world.write() == "xmpp"
    world.publish(IMX)
    assert world.write() == "remote-server-not-found"
    assert world.z.inbox(str(BOB)) == []
    assert world.why(XMPP) is Reason.NO_XMPP_RECORD
    lab.zones.secure = True
    world.publish(IMX)
    assert world.write() == "imx"


def test_a_choice_holds_for_its_time(lab: Lab, stack: ExitStack) -> None:
    """What DNS says meanwhile changes nothing before the TTL is over, however it was made to say it."""
    world = World(lab, stack)
    world.publish(IMX, XMPP)
    assert world.write() == "xmpp"
    asked = len(lab.zones.asked)
    lab.zones.fail(SRV_CLEAR, TYPE_SRV)
    lab.zones.fail(Z, TYPE_IMX)
    assert world.write() == "xmpp"
    assert len(lab.zones.asked) == asked


def test_a_subscription_stays_with_imx(lab: Lab, stack: ExitStack) -> None:
    """Alice watches bob by IMX; XMPP comes to be published: it ends by IMX, and what is new goes by XMPP."""
    world = World(lab, stack)
    service = world.z.router.embedded_for(BOB)
    assert service is not None
    world.publish(IMX)
    presence = f"<presence from='alice@{A}' to='bob@{Z}' type='{{}}'/>".format
    world.says(presence("subscribe"))
    lab.wait_until(lambda: service.watchers(BOB), "alice's wish")
    world.publish(IMX, XMPP)
    world.says(presence("unsubscribe"))
    lab.wait_until(lambda: not service.watchers(BOB), "its end")
    assert world.server.stanzas == []
    world.says(presence("subscribe"))
    assert world.server.wait_for_stanza().type == "subscribe"
    assert service.watchers(BOB) == ()


@pytest.mark.parametrize("how", [one for one in BROKEN_XMPP if one not in {"refused", "dial-back is silent"}])
def test_presence_takes_no_weaker_path_either(lab: Lab, stack: ExitStack, how: str) -> None:
    """XMPP is published and broken: nobody at the IMX router hears that alice would like to watch bob."""
    breaks, settings, _ = BROKEN_XMPP[how]
    world = World(lab, stack, **_VAIN, **settings)
    world.publish(IMX, XMPP)
    breaks(world)
    world.says(f"<presence from='alice@{A}' to='bob@{Z}' type='subscribe'/>")
    assert world.write() in {"remote-server-timeout", "remote-server-not-found"}  # behind it
    assert world.server.stanzas == []
    assert world.z.sessions() == []
