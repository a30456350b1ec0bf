"""Stanzas wait until it is known by which protocol their domain is reached, and go on in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred

from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.streams import deciding
from imxrouter.gateways.xmpp.streams.deciding import Deciding
from imxrouter.gateways.xmpp.streams.parts import StreamLink
from imxrouter.routing.choice import Protocol

IMX, XMPP = Protocol.IMX, Protocol.XMPP
B, C = "b.example", "c.example"


class Stanza:
    """As much of one as is looked at."""

    def __init__(self, ident: str, kind: str = "message", type_: str = "chat") -> None:
        self.kind, self.type, self.ident = kind, type_, ident
        self.raw = ident.encode() * 100


def stanza(ident: str, to: str = B, kind: str = "message", type_: str = "chat") -> StanzaIn:
    """One to a domain."""
    return StanzaIn(cast("Any", Stanza(ident, kind, type_)), "a.example", to)


class Stream:
    """Brings stanzas to the edge, as a session does."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def bring(self, stanzas: Sequence[StanzaIn]) -> None:
        """They go on, or come."""
        self.scene.deciding.records_of(cast("StreamLink", self), stanzas)


class Scene:
    """An edge that notes what came and what its domain was reached by."""

    def __init__(self) -> None:
        self.kept: dict[str, Protocol] = {}
        self.awaited: set[str] = set()
        self.asked: list[tuple[str, Deferred[Protocol]]] = []
        self.seen: list[tuple[str, str, Protocol]] = []
        self.deciding = Deciding(
            cast("Any", self), lambda name: name == "ours.example", self.kept.get, self._choose,
            lambda got: got.stanza.ident in self.awaited,
        )  # fmt: skip
        self.stream, self.other = Stream(self), Stream(self)

    def _choose(self, name: str) -> Deferred[Protocol]:
        waiting: Deferred[Protocol] = Deferred()
        self.asked.append((name, waiting))
        return waiting

    def records_of(self, session: object, stanzas: Sequence[StanzaIn]) -> bytes:
        """Note them."""
        which = "stream" if session is self.stream else "other"
        for one in stanzas:
            self.seen.append((which, one.stanza.ident, self.deciding.spoken(one.to)))
        return b""

    def idents(self) -> list[str]:
        """What came, in order."""
        return [ident for _, ident, _ in self.seen]


def test_what_is_known_does_not_wait() -> None:
    """A choice that holds, a domain of ours, an answer."""
    scene = Scene()
    scene.kept[B] = IMX
    scene.stream.bring([stanza("1"), stanza("2", "ours.example"), stanza("3", C, "iq", "result")])
    assert scene.seen == [("stream", "1", IMX), ("stream", "2", XMPP), ("stream", "3", XMPP)]
    assert scene.asked == []


def test_they_go_on_in_order_each_on_its_stream() -> None:
    """One look-up for all of a domain; what comes meanwhile waits behind, other domains do not."""
    scene = Scene()
    scene.kept[C] = XMPP
    scene.stream.bring([stanza("1"), stanza("2"), stanza("x", C)])
    scene.other.bring([stanza("3")])
    scene.stream.bring([stanza("4")])
    assert scene.idents() == ["x"]
    assert [name for name, _ in scene.asked] == [B]
    assert scene.deciding.waiting == (4, 400)
    scene.asked[0][1].callback(IMX)
    assert scene.seen[1:] == [
        ("stream", "1", IMX), ("stream", "2", IMX), ("other", "3", IMX), ("stream", "4", IMX),
    ]  # fmt: skip
    assert scene.deciding.waiting == (0, 0)


def test_an_error_that_is_awaited_does_not_wait() -> None:
    """The answer to the ping behind its message does not either: they stay in their order."""
    scene = Scene()
    scene.awaited |= {"2", "3"}
    scene.stream.bring([stanza("1"), stanza("2", type_="error"), stanza("3", kind="iq", type_="result")])
    assert scene.idents() == ["2", "3"]
    assert scene.deciding.waiting == (1, 100)
    scene.asked[0][1].callback(IMX)
    assert scene.idents() == ["2", "3", "1"]


def test_an_answer_comes_behind_what_was_said_before_it() -> None:
    """As a page of an archive before the answer that ends it (RFC 6120 section 10.1, XEP-0313)."""
    scene = Scene()
    scene.stream.bring([stanza("1"), stanza("2", kind="iq", type_="result"), stanza("x", C, "iq", "error")])
    scene.stream.bring([stanza("3", kind="iq", type_="error"), stanza("4")])
    assert scene.idents() == ["x"]
    assert [name for name, _ in scene.asked] == [B]
    scene.asked[0][1].callback(XMPP)
    assert scene.idents() == ["x", "1", "2", "3", "4"]


def test_a_choice_made_at_once_costs_no_wait() -> None:
    """What configuration decides alone; it is not remembered here."""
    scene = Scene()
    made: list[str] = []

    def choose(name: str) -> Deferred[Protocol]:
        made.append(name)
        fired: Deferred[Protocol] = Deferred()
        fired.callback(IMX)
        return fired

    scene.deciding._choose = choose
    scene.stream.bring([stanza("1"), stanza("2")])
    scene.stream.bring([stanza("3")])
    assert scene.seen == [("stream", "1", IMX), ("stream", "2", IMX), ("stream", "3", IMX)]
    assert made == [B, B]


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond that they go on as stanzas, and are held where all requests are."""
    monkeypatch.setattr(deciding, "WAITING", 2)
    scene = Scene()
    scene.stream.bring([stanza("1"), stanza("2"), stanza("3")])
    assert scene.seen == [("stream", "3", XMPP)]
    monkeypatch.setattr(deciding, "WAITING", 100)
    monkeypatch.setattr(deciding, "WAITING_BYTES", 250)
    scene.stream.bring([stanza("4")])
    assert scene.idents() == ["3", "4"]
    assert scene.deciding.waiting == (2, 200)


def test_a_bug_in_choosing_loses_nothing() -> None:
    """They go on as what they came as."""
    scene = Scene()
    scene.stream.bring([stanza("1")])
    scene.deciding.log = cast("Any", Quiet())
    scene.asked[0][1].errback(ValueError("a bug"))
    assert scene.seen == [("stream", "1", XMPP)]


class Quiet:
    """A log that nobody reads."""

    def failure(self, *_args: object, **_fields: object) -> None:
        """Nothing."""
