"""A foreign protocol's own words go over its streams, and nothing else does because a stream is open."""

from __future__ import annotations

from imxrouter.link.ledger import OUT_PORT
from imxrouter.switch.ports import FOREVER, Port, Role
from imxrouter.switch.ways import STANZA
from imxrouter.wire.record import Envelope, Record
from tests.switch.rig import ALICE, BOB, FAR, HERE, Rig, message

LEVEL = 1
BODY = b"xmpp\0<message from='alice@here.example' to='bob@far.example'/>"


def out_bound(number: int, rtype: int = 0x0100) -> Record:
    """What alice@here.example says to bob@far.example."""
    body = BODY if rtype == STANZA else b"hello"
    return message(number, type=rtype, envelope=Envelope(BOB, FAR, ALICE, HERE), body=body)


class Both(Rig):
    """A stream to FAR, and a link of our own protocol that a test may open."""

    def __init__(self) -> None:
        super().__init__()
        self.service.sources[HERE] = (0, None, FOREVER, 0.001, 10.0, FOREVER)
        self.service.internal = True
        self.stream, self.link = self.port(11, Role.PEER), self.port(12, Role.PEER)
        self.stream.carries_stanzas = True
        self.switch.open_way(FAR, HERE, self.stream, LEVEL)

    def went(self, rtype: int, number: int) -> Port | None:
        """Where one more request goes; None: it waits."""
        self.feed(self.service, out_bound(number, rtype))
        (entry,) = [
            one for one in self.switch.ledger.entries.values() if one[3].startswith(number.to_bytes(16))
        ]
        return self.switch.ports.get(entry[OUT_PORT])


def test_stanzas_have_the_streams_and_nothing_else_has() -> None:
    """A message waits for its own choice though a stream is open."""
    rig = Both()
    assert rig.went(STANZA, 1) is rig.stream
    assert rig.went(0x0100, 2) is None
    assert len(rig.switch.held) == 1


def test_what_is_chosen_for_the_domain_opens_its_streams_to_all() -> None:
    """As long as the choice holds; then the next message waits for a new one."""
    rig = Both()
    rig.switch.ways.admit(FAR)
    assert rig.went(0x0100, 1) is rig.stream
    rig.switch.ways.dismiss(FAR)
    assert rig.went(0x0100, 2) is None
    assert rig.went(STANZA, 3) is rig.stream


def test_a_stanza_never_leaves_over_a_link_or_an_uplink() -> None:
    """No other router is ever given one, whatever is open."""
    rig = Both()
    rig.switch.open_way(FAR, HERE, rig.link, LEVEL)
    rig.switch.uplinks.append(rig.port(13, Role.UPLINK))
    rig.switch.ways.end_all(rig.stream)
    assert rig.went(STANZA, 1) is None
    assert rig.switch.way(FAR, HERE, 0, STANZA) is None
    assert not rig.link.out


def test_a_link_of_our_own_takes_all_messages() -> None:
    """The peer speaks the router's own protocol: none takes turns with a stream."""
    rig = Both()
    rig.switch.ways.admit(FAR)
    rig.switch.open_way(FAR, HERE, rig.link, LEVEL)
    assert [rig.went(0x0100, number) for number in range(1, 5)] == [rig.link] * 4
