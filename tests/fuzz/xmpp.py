"""Fuzzes the parser of XMPP streams.

Invariant: any bytes in any pieces give events or `XmlRefused` and nothing else, and the pieces do not matter.
Nothing is held beyond the limits, and expat looks at each byte three times at most. What is a stanza means
the same when it is written for another stream.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from unittest import mock

from tests.fuzz import engine

with engine.instrumented():
    from imxrouter.formats.xmltree import BadXml
    from imxrouter.gateways.xmpp import findings, names, xml
    from imxrouter.gateways.xmpp.canonical import canonical, canonical_of
    from imxrouter.gateways.xmpp.stanza import Stanza, rescoped
    from imxrouter.gateways.xmpp.xml import BEFORE, Event, StreamParser, XmlRefused

from tests.gateways.xmpp.counting import Counting
from tests.gateways.xmpp.test_xml import HEADER, REFUSED, STREAM, WHOLE


def seeds() -> list[bytes]:
    """Streams to begin from, good and bad; the first byte is the size of the pieces."""
    bad = [data for data, _condition in REFUSED.values()]
    streams = [WHOLE, *(HEADER + piece for piece in STREAM[1:]), *bad]
    return [b"\x00" + stream[: engine.MAX_BYTES - 1] for stream in streams]


def read(data: bytes, size: int, *, stepwise: bool) -> tuple[list[Event], XmlRefused | None]:
    """What there was, and how it ended."""
    parser = StreamParser(BEFORE, names.SERVER, stepwise=stepwise)
    events: list[Event] = []
    for at in range(0, len(data), size):
        try:
            found = parser.feed(data[at : at + size])
            events += found
            while stepwise and found:
                found = parser.feed(b"")
                events += found
        except XmlRefused as refused:
            return events + refused.before, refused
        assert parser.held_bytes <= BEFORE.stanza_bytes + BEFORE.tag_bytes
        assert parser.names <= 2 * BEFORE.new_names + xml.MOST_NAMES
    parser.close()
    return events, None


def check(data: bytes) -> Hashable:
    """One stream, whole, in pieces, and in steps."""
    size, stream = data[0] % 64 + 1 if data else 1, data[1:]
    events, refused = read(stream, len(stream) + 1, stepwise=False)
    Counting.looked_at = 0
    with mock.patch.object(findings, "new_expat", Counting):
        again, refused_again = read(stream, size, stepwise=False)
    assert Counting.looked_at <= 3 * len(stream)
    assert again == events[: len(again)], (again, events)
    # Of two faults another one may be seen first, and one inside of a tag may wait for the end of the tag.
    assert refused or not refused_again, refused_again
    if size % 4 == 0:
        stepped, refused_stepped = read(stream, size, stepwise=True)
        assert stepped == again
        assert refused or not refused_stepped, refused_stepped
    for event in events[:4]:
        if isinstance(event, Stanza):
            try:
                wanted = canonical_of(event)
            except BadXml:
                continue
            passed = rescoped(event, names.COMPONENT)
            assert canonical(passed, content=names.COMPONENT) == wanted, (event, passed)
    return len(events), len(stream) // 256, refused.condition if refused else None, str(refused)[:40]


if __name__ == "__main__":
    sys.exit(engine.main("xmpp", check, seeds()))
