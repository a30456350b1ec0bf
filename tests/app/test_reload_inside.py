"""XMPP servers behind a router that runs come, move and go by a reload, and streams of others stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest

from imxrouter.gateways.xmpp.heard import StreamEnd
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.stanza import Stanza
from imxrouter.model.address import Address
from imxrouter.model.vocabulary import Reason
from tests.doubles.reload_rig import Reloadable, lines
from tests.doubles.router_rig import Lab, RouterRig, free_port, fresh_address
from tests.doubles.xmpp import XmppPeer
from tests.doubles.xmpp_server import XmppServer

#: Served by the router itself; its users write to those of the servers.
Z: Final = "z.example"
ANN: Final = f"alice@{Z}"


class Behind:
    """A router whose configuration is in a file, with room for servers behind it.

    Attributes:
        rig: the router.
        file: its configuration.
        inside: where servers behind it are taken.
    """

    def __init__(self, lab: Lab, stack: ExitStack, *servers: tuple[str, XmppServer], **settings: Any) -> None:
        self.lab, self._stack = lab, stack
        ip = fresh_address()
        networks = [f"{server.endpoint[0]}/32" for _, server in servers]
        self.inside = (ip, free_port(ip))
        self.rig: RouterRig = lab.router(
            Z,
            settings={
                "xmpp.inside.listen": [f"{ip}:{self.inside[1]}"],
                "xmpp.inside.allow": networks or ["192.0.2.1/32"],
                "xmpp.confirm": "written", **settings,
            },
            tables="".join(table(name, server) for name, server in servers),
        )  # fmt: skip
        self.file = Reloadable(self.rig)

    def stream(self, server: XmppServer, to: str = Z) -> XmppPeer:
        """A stream on which a server writes to an outside domain, proved by its address alone."""
        peer = server.connect(self.inside)
        peer.open(server.domain, to)
        peer.claim(server.domain, to, b"any key")
        assert peer.result() == "valid"
        return peer

    def writes(self, server: XmppServer, text: str) -> None:
        """A user of the router's own writes to one of the server's, where it must arrive."""
        sent = self.rig.send(ANN, f"bob@{server.domain}", text)
        assert sent.outcome().ok, sent.outcome()
        server.wait_for(lambda one: any(text.encode() in stanza.raw for stanza in one.stanzas))

    def hears(self, peer: XmppPeer, server: XmppServer, text: str) -> None:
        """A user of the server's writes to one of the router's own, where it must arrive."""
        peer.send(
            f"<message from='bob@{server.domain}/r' to='{ANN}' type='chat'><body>{text}</body></message>"
        )
        address = Address.parse(ANN)
        users = self.rig.router.embedded_for(address)
        assert users is not None
        self.lab.wait_until(
            lambda: any(one.content.decode() == text for one in users.inbox(address)), f"{text} arrives"
        )

    def streams(self) -> set[int]:
        """Numbers of the streams that are there."""
        return {one.number for one in self.rig.router.behind.streams()}


def table(name: str, server: XmppServer) -> str:
    """A service with one domain."""
    place = f'address = "{server.endpoint[0]}:{server.endpoint[1]}"'
    service = f'[[service]]\nname = "{name}"\nkind = "xmpp"\n{place}\n'
    return f'{service}[[domain]]\nname = "{server.domain}"\nservice = "{name}"\n'


def allow(*servers: XmppServer) -> str:
    """The networks of servers, as the file of `Behind` has them."""
    networks = ", ".join(f'"{server.endpoint[0]}/32"' for server in servers) or '"192.0.2.1/32"'
    return f"xmpp.inside.allow = [{networks}]\n"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What ends with the test."""
    with ExitStack() as made:
        yield made


def server(stack: ExitStack, domain: str) -> XmppServer:
    """A server of a domain, that runs."""
    return stack.enter_context(XmppServer(domain, fresh_address()))


def test_a_service_comes_and_the_streams_of_another_feel_nothing(lab: Lab, stack: ExitStack) -> None:
    """A dry run tells it, the reload does it: both ways, with a network that is new as well."""
    old, new = server(stack, "a.example"), server(stack, "c.example")
    behind = Behind(lab, stack, ("chat", old))
    theirs = behind.stream(old)
    behind.writes(old, "before")
    there, peers = behind.streams(), len(old.peers)
    behind.file.edit((allow(old), allow(old, new)), also=table("more", new))
    told = behind.file.reload(dry_run=True)
    assert lines(told) == [
        "~ xmpp.inside  allow: at once", "+ service more : at once", "+ domain c.example : at once",
    ]  # fmt: skip
    assert told["links"] == []
    assert behind.rig.router.behind.pools.keys() == {"chat"}
    behind.file.reload()
    behind.writes(new, "hello")
    behind.hears(behind.stream(new), new, "hello yourself")
    assert there <= behind.streams()
    behind.writes(old, "after")
    behind.hears(theirs, old, "as ever")
    assert len(old.peers) == peers, "no stream was opened anew"
    behind.file.reload(result="unchanged")


def test_the_first_service_may_come_by_a_reload(lab: Lab, stack: ExitStack) -> None:
    """Into a router that had none, where there is a listener; where there is not, a restart is needed."""
    new = server(stack, "a.example")
    behind = Behind(lab, stack)
    behind.file.edit((allow(), allow(new)), also=table("chat", new))
    behind.file.reload()
    behind.writes(new, "hello")
    without = Reloadable(lab.router("y.example")).edit(
        before=f'xmpp.inside.listen = ["127.0.0.1:1"]\n{allow(new)}', also=table("chat", new)
    )
    view = without.reload(result="failed")
    assert "restart the router" in view["problems"][0]["do"]
    assert without.rig.router.behind.pools == {}


def test_a_service_goes_in_order(lab: Lab, stack: ExitStack) -> None:
    """Its streams end with `</stream:stream>`, what was said last is answered, others' streams stay."""
    goes, stays = server(stack, "a.example"), server(stack, "c.example")
    behind = Behind(lab, stack, ("chat", goes), ("more", stays))
    theirs, other = behind.stream(goes), behind.stream(stays)
    for one in (goes, stays):
        behind.writes(one, "before")
    of_others = {one.number for one in behind.rig.router.behind.streams() if one.service == "more"}
    assert len(of_others) == 2
    behind.file.edit((table("chat", goes), ""))
    told = behind.file.reload(dry_run=True)
    assert {one["what"] for one in told["links"]} == {"closed in order: service chat is gone"}
    assert {one["link"] for one in told["links"]} == behind.streams() - of_others
    behind.file.reload()
    assert isinstance(theirs.next(), StreamEnd)
    theirs.end()
    theirs.until_closed()
    lab.wait_until(lambda: "chat" not in behind.rig.router.behind.pools, "the service to be gone")
    assert behind.streams() == of_others
    assert isinstance(goes.peers[-1].log[-1], StreamEnd)
    assert behind.rig.send(ANN, "bob@a.example").outcome().reason is not Reason.NONE
    again = goes.connect(behind.inside)
    again.header("a.example", Z)
    assert again.error() is Condition.INVALID_FROM
    behind.writes(stays, "after")
    behind.hears(other, stays, "as ever")


def test_a_service_may_come_again_before_its_streams_have_ended(lab: Lab, stack: ExitStack) -> None:
    """It is served as before, and what ended in the meantime takes nothing of it along."""
    one = server(stack, "a.example")
    behind = Behind(lab, stack, ("chat", one))
    silent = behind.stream(one)
    behind.writes(one, "before")
    behind.file.edit((table("chat", one), "")).reload()
    behind.file.edit(also=table("chat", one)).reload()
    behind.writes(one, "again")
    assert isinstance(silent.next(), StreamEnd)
    silent.end()
    silent.until_closed()
    behind.hears(behind.stream(one), one, "again")
    lab.wait_until(lambda: not behind.rig.router.behind._going, "nothing to go")
    behind.writes(one, "after")


def test_a_server_moves(lab: Lab, stack: ExitStack) -> None:
    """New messages go to the new place at once; what waits for a word at the old one still gets it."""
    old, new = server(stack, "a.example"), server(stack, "a.example")
    behind = Behind(lab, stack, ("chat", old), **{"xmpp.confirm": "ping", "links.answer_timeout_s": 20})
    theirs = behind.stream(old)
    waits = behind.rig.send(ANN, "bob@a.example", "to the old place")
    old.wait_for(lambda one: one.stanzas)
    (before,) = (one for one in behind.rig.router.behind.streams() if one.side.name == "OPENER")
    place = [f"{one.endpoint[0]}:{one.endpoint[1]}" for one in (old, new)]
    view = behind.file.edit((place[0], place[1])).reload()
    assert lines(view) == ["~ service chat address: at once"]
    assert [(one["link"], one["what"]) for one in view["links"]] == [
        (before.number, "closed in order: the address of service chat is another")
    ]
    asked = behind.rig.send(ANN, "bob@a.example", "to the new place")
    new.wait_for(lambda one: one.stanzas)
    assert not waits.outcomes
    assert before.number in behind.streams()
    old.reply = new.reply = theirs
    said = [one for one in old.peers[-1].log if isinstance(one, Stanza)]
    (ping,) = (one for one in said if b"urn:xmpp:ping" in one.raw)
    old._take(ping, theirs)  # the old server answers only now
    assert waits.outcome().ok, waits.outcome()
    lab.wait_until(lambda: before.number not in behind.streams(), "the old stream to end")
    assert isinstance(old.peers[-1].log[-1], StreamEnd)
    behind.hears(theirs, old, "what the server opened stays")
    del asked


def test_a_message_that_waits_for_the_old_place_goes_to_the_new_one(lab: Lab, stack: ExitStack) -> None:
    """Where the old one takes the connection and says nothing."""
    old, new = server(stack, "a.example"), server(stack, "a.example")
    old.conduct.dialback = ""
    behind = Behind(lab, stack, ("chat", old))
    waits = behind.rig.send(ANN, "bob@a.example", "hello")
    old.wait_for(lambda one: one.claimed)
    place = [f"{one.endpoint[0]}:{one.endpoint[1]}" for one in (old, new)]
    behind.file.edit((place[0], place[1])).reload()
    assert waits.outcome().ok, waits.outcome()
    assert [one.raw.count(b"hello") for one in new.stanzas] == [1]
    assert old.stanzas == []


def test_a_network_that_is_taken_out_is_a_proof_that_ends(lab: Lab, stack: ExitStack) -> None:
    """At once, also of streams that are open; those of another server stay."""
    goes, stays = server(stack, "a.example"), server(stack, "c.example")
    behind = Behind(lab, stack, ("chat", goes), ("more", stays))
    theirs, other = behind.stream(goes), behind.stream(stays)
    view = behind.file.edit((allow(goes, stays), allow(stays))).reload()
    assert [one["what"] for one in view["links"]] == [
        "ends: its address is not in xmpp.inside.allow any more"
    ]
    assert theirs.error() is Condition.NOT_AUTHORIZED
    cut = goes.connect(behind.inside)
    cut.send_or_gone("<?xml version='1.0'?>")
    cut.until_closed()
    behind.hears(other, stays, "as ever")


def test_bounds_of_what_waits_are_those_of_the_new_file(lab: Lab, stack: ExitStack) -> None:
    """`dial.hold_count` says that it is obeyed at once."""
    one = server(stack, "a.example")
    behind = Behind(lab, stack, ("chat", one))
    behind.file.edit(before="dial.hold_count = 7\nlinks.output_high_bytes = 100000\n").reload()
    router = behind.rig.router
    assert router.behind.pools["chat"].settings.hold_count == 7
    assert router.behind._inside.settings is router.hub.settings
