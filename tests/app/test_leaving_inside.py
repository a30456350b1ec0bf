"""A router that stops ends the stream of the server behind it in order, on real sockets."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from threading import Thread

import pytest

from imxrouter.gateways.xmpp.heard import StreamEnd
from imxrouter.routing.choice import Protocol
from tests.app.test_choice_inside import A, World, Z
from tests.doubles.router_rig import Lab


def test_what_the_server_says_after_our_end_is_answered(lab: Lab) -> None:
    """No stream error: our end, then its last message, whose sender gets an error; nobody new is taken."""
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
            said = f"<message from='alice@{A}/r' to='bob@{Z}' id='last' type='chat'><body>b</body></message>"
            stream.send(said)
            stream.end()
            stream.until_closed()
            world.home.wait_for(lambda home: any(one.ident == "last" for one in home.stanzas))
            assert [one.type for one in world.home.stanzas if one.ident == "last"] == ["error"]
        finally:
            stop.join(30)
        assert not stop.is_alive()
