"""Servers at which a router attaches as a component come, change and go by a reload; and TLS towards them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from OpenSSL import SSL

from imxrouter.gateways.xmpp.heard import StreamEnd
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.own import OwnCertificate
from tests.app.test_components import ALICE, A, message, pinged
from tests.app.test_gateway_addresses import next_of
from tests.attacks.stream_routers import wait_for_message
from tests.doubles.component import ComponentPeer, ComponentServer, attached_table, secret_file
from tests.doubles.reload_rig import Reloadable, lines
from tests.doubles.router_rig import Lab, RouterRig, authority, issued

B, C, FAR, BOB = "b.example", "c.example", "far.example", "bob@b.example"


class Attaching:
    """A router whose configuration is in a file, and servers that take components."""

    def __init__(self, lab: Lab, stack: ExitStack, *names: str, more: str = "") -> None:
        self.lab, self._stack = lab, stack
        self.server = self.a_server()
        self.secret = secret_file(lab)
        domain = f'[[domain]]\nname = "{A}"\nservice = "chat"\n'
        table = attached_table("chat", self.server, self.secret, *names) + more + domain
        self.rig: RouterRig = lab.router(B, tables=table)
        self.file = Reloadable(self.rig)

    def a_server(self) -> ComponentServer:
        """One that listens."""
        made = ComponentServer()
        self._stack.callback(made.close)
        return made

    def take(self, server: ComponentServer, secret: str = "") -> tuple[str, ComponentPeer]:
        """Take the next component that comes there."""
        peer = server.accept()
        self._stack.callback(peer.close)
        return (peer.take(secret) if secret else peer.take()), peer

    def hears(self, peer: ComponentPeer, text: str) -> None:
        """A user of the router's own writes to one of the server's, on this stream."""
        sent = self.rig.send(BOB, ALICE, text)
        assert text.encode() in message(peer).raw
        pinged(peer)
        assert sent.outcome().ok, sent.outcome()

    def open_streams(self) -> list[str]:
        """What it is at servers now."""
        return sorted(one.own for one in self.rig.router.behind.streams() if one.is_open)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What ends with the test."""
    with ExitStack() as made:
        yield made


def until_its_end(peer: ComponentPeer) -> None:
    """Pass over what it says before; end it as well."""
    while not isinstance(peer.next(), StreamEnd):
        pass
    peer.end()
    peer.until_closed()


def test_names_come_and_go(lab: Lab, stack: ExitStack) -> None:
    """The stream of one that stays is not touched; that of one that goes ends in order."""
    at = Attaching(lab, stack, B, "x.example")
    there = dict([at.take(at.server), at.take(at.server)])
    assert there.keys() == {B, "x.example"}
    at.hears(there[B], "before")
    kept = next(one.number for one in at.rig.router.behind.streams() if one.own == B)
    view = at.file.edit((json.dumps([B, "x.example"]), json.dumps([B, FAR]))).reload()
    assert lines(view) == ["~ xmpp.component chat domains: at once"]
    assert [one["what"] for one in view["links"]] == [
        "closed in order: another component of service chat, or none"
    ]
    until_its_end(there["x.example"])
    name, _ = at.take(at.server)
    assert name == FAR
    lab.wait_until(lambda: at.open_streams() == [B, FAR], "both are there")
    assert kept in {one.number for one in at.rig.router.behind.streams()}
    at.hears(there[B], "after")
    at.file.reload(result="unchanged")


def test_a_server_comes_and_goes(lab: Lab, stack: ExitStack) -> None:
    """With its service: attached by a reload, and let go of by another one; the first feels nothing."""
    at = Attaching(lab, stack, B)
    _, first = at.take(at.server)
    more = at.a_server()
    tables = attached_table("more", more, at.secret, FAR)
    tables += '[[domain]]\nname = "c.example"\nservice = "more"\n'
    at.file.edit(also=tables).reload()
    name, second = at.take(more)
    assert name == FAR
    at.file.edit((tables, "")).reload()
    until_its_end(second)
    lab.wait_until(lambda: "more" not in at.rig.router.behind.pools, "the service is gone")
    at.hears(first, "as ever")


def test_a_server_is_elsewhere(lab: Lab, stack: ExitStack) -> None:
    """What waits for its ping at the old place is waited for; what is new goes to the new one."""
    at = Attaching(lab, stack, B)
    _, old = at.take(at.server)
    sent = at.rig.send(BOB, ALICE, "to the old place")
    assert b"to the old place" in message(old).raw
    new = at.a_server()
    places = [f"{one.endpoint[0]}:{one.endpoint[1]}" for one in (at.server, new)]
    at.file.edit((places[0], places[1])).reload()
    _, there = at.take(new)
    at.hears(there, "to the new place")
    assert not sent.outcomes
    pinged(old)
    assert sent.outcome().ok
    until_its_end(old)


def test_a_gateway_comes_and_reaches_other_domains(lab: Lab, stack: ExitStack) -> None:
    """All streams of that server are opened anew, and addresses stand for what the file says now."""
    at = Attaching(lab, stack, B)
    _, listed = at.take(at.server)
    lab.publish(A, at.rig.endpoint)
    far = lab.router(FAR)
    at.file.edit(('domains = ["b.example"]', 'domains = ["b.example"]\ngateway = "gw.a.example"')).reload()
    until_its_end(listed)
    there = dict([at.take(at.server), at.take(at.server)])
    gateway = there["gw.a.example"]
    gateway.send(through_gateway("there"))
    wait_for_message(lab, far, f"bob@{FAR}")
    only = '["partner.example"]'
    at.file.edit(('"gw.a.example"', f'"gw.a.example"\ngateway_domains = {only}')).reload()
    for peer in there.values():
        until_its_end(peer)
    there = dict([at.take(at.server), at.take(at.server)])
    gateway = there["gw.a.example"]
    gateway.send(through_gateway("not any more"))
    answer = next_of(gateway)
    assert answer.type == "error"
    assert f"{FAR} is not reached through this gateway".encode() in answer.raw
    at.hears(there[B], "as ever")
    assert [text for _, text in far.inbox(f"bob@{FAR}")] == ["there"]


def test_another_gateway_is_not_reached_through_one(lab: Lab, stack: ExitStack) -> None:
    """Not when it came by a later reload either, and the stream of the first one stayed."""
    at = Attaching(lab, stack, B, more='gateway = "gw.a.example"\n')
    there = dict([at.take(at.server), at.take(at.server)])
    more = at.a_server()
    tables = attached_table("more", more, at.secret) + f'gateway = "gw.c.example"\n[[domain]]\nname = "{C}"\n'
    at.file.edit(also=tables + 'service = "more"\n').reload()
    at.take(more)
    there["gw.a.example"].send(through_gateway("round", "gw.c.example"))
    assert b"a gateway is not reached through a gateway" in next_of(there["gw.a.example"]).raw


def through_gateway(text: str, domain: str = FAR) -> str:
    """A message of Alice's to Bob, by his gateway address."""
    to = f"bob\\40{domain}@gw.a.example"
    return f"<message type='chat' id='{text}' from='{ALICE}/r' to='{to}'><body>{text}</body></message>"


def test_another_secret_is_for_the_next_time(lab: Lab, stack: ExitStack) -> None:
    """The file is read with each reload; the stream stays, and is opened with the new one when it broke."""
    at = Attaching(lab, stack, B)
    _, first = at.take(at.server)
    at.secret.write_text("another one\n", "ascii")
    at.file.reload()
    at.hears(first, "still here")
    first.close()
    name, again = at.take(at.server, "another one")
    assert name == B
    lab.wait_until(lambda: at.open_streams() == [B], "it is there")
    at.hears(again, "here again")
    at.secret.unlink()
    at.file.reload(result="refused")


# -- TLS -------------------------------------------------------------------------------------------------


def in_tls(lab: Lab, stack: ExitStack, trusts: str = "laboratory") -> Attaching:
    """A router that is to find `chat.example` in TLS, by an authority that it trusts for that alone."""
    anchor = authority(trusts).issued.write(lab.folder, trusts)
    return Attaching(lab, stack, B, more=f'server_name = "chat.example"\nanchor = "{anchor}"\n')


def takes_tls(at: Attaching, shows: OwnCertificate) -> ComponentPeer:
    """The next connection, in TLS from the first byte."""
    peer = at.server.accept()
    peer.secure(shows, None, alpn=b"")
    return peer


def test_in_tls_from_the_first_byte(lab: Lab, stack: ExitStack) -> None:
    """As ejabberd takes it; the secret and all else are said in there, and a reload may begin it."""
    at = Attaching(lab, stack, B)
    _, clear = at.take(at.server)
    anchor = authority("laboratory").issued.write(lab.folder, "root")
    keys = f'server_name = "chat.example"\nanchor = "{anchor}"\n'
    at.file.edit(("[[xmpp.component]]\n", f"[[xmpp.component]]\n{keys}")).reload()
    until_its_end(clear)
    peer = takes_tls(at, issued("chat.example"))
    stack.callback(peer.close)
    assert peer.take() == B
    lab.wait_until(lambda: at.open_streams() == [B], "it is there")
    at.hears(peer, "in TLS")
    (session,) = at.rig.router.behind.streams()
    assert session.tls is not None


@pytest.mark.parametrize(
    ("shows", "trusts"),
    [(("other.example",), "laboratory"), (("chat.example",), "somebody else"), ((), "laboratory")],
)
def test_another_server_is_not_told_the_secret(
    lab: Lab, stack: ExitStack, shows: tuple[str, ...], trusts: str
) -> None:
    """One of another name, of an authority that is not trusted, or without TLS: not a byte of a stream."""
    at = in_tls(lab, stack, trusts)
    if shows:
        peer = takes_tls(at, issued(*shows))
        stack.callback(peer.close)
        with pytest.raises((SSL.Error, OSError, AssertionError)):
            peer.take()
        assert peer.log == []
    else:
        clear = at.server.accept()
        stack.callback(clear.close)
        assert clear._sock.recv(1) == b"\x16"
        clear.send("<stream:stream>")
    reasons = {Reason.CERTIFICATE_REFUSED} if shows else {Reason.TLS_FAILED}
    kept = at.rig.router.behind._clients._kept["chat", B]
    lab.wait_until(lambda: kept.why[0] in reasons, "it is refused")
    assert at.open_streams() == []
