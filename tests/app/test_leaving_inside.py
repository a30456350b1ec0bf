"""A router that stops ends the stream of the server behind it in order, on real sockets."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from threading import Thread

import pytest

from imxrouter.gateways.xmpp.heard import StreamEnd
from imxrouter.routing.choice import Protocol
from tests.app.test_choice_inside import BOB, A, World, Z
from tests.doubles.router_rig import Lab


def test_what_the_server_says_after_our_end_still_arrives(lab: Lab) -> None:
    """No stream error: our end, then its last message, which is passed on; nobody new is taken."""
    with ExitStack() as stack:
        world = World(lab, stack)
        world.publish(Protocol.IMX)
        assert world.write() == "imx"
        stream = world._open()
        stop = Thread(target=world.a.stop)
        stop.start()
        try:
            assert isinstance(stream.next(), StreamEnd)
            with pytest.raises(ConnectionRefusedError), socket.create_connection(world.inside):
                pass
            said = (
                f"<message from='alice@{A}/r' to='bob@{Z}' id='last' type='chat'><body>last</body></message>"
            )
            stream.send(said)
            stream.end()
            stream.until_closed()
            users = world.z.router.embedded_for(BOB)
            assert users is not None
            lab.wait_until(lambda: any(one.content == b"last" for one in users.inbox(BOB)), "it arrives")
            assert [one.type for one in world.home.stanzas if one.ident == "last"] == []
        finally:
            stop.join(30)
        assert not stop.is_alive()
