"""Which streams may bring what the other side answers, and how long an error may be behind a ping's answer.

The answer to a ping behind messages says that they were read, and on one stream an error for one of them
comes first (RFC 6120 section 10.1). Where the other side has several streams to us it may say the error on
one and the answer on another, and nothing orders those: ejabberd takes any stream of a listener for what is
to any component of it (`global_routes`, `ejabberd_router:balancing_route`), and one of several streams to a
domain by the sender (`max_s2s_connections`, `ejabberd_s2s:choose_pid`). Successes wait a moment there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from imxrouter.gateways.xmpp.pairs import Pair

#: So long an error that comes on another stream than the answer to the ping is still the outcome.
SETTLE_S: Final = 0.1


class WaysIn:
    """The streams of a process, by the pairs of which they may bring stanzas.

    Attributes:
        opened: told of pairs of which stanzas may come on one more stream.
    """

    def __init__(self) -> None:
        #: (their domain, ours) -> numbers of streams
        self._streams: dict[Pair, set[int]] = {}
        self._pairs: dict[int, set[Pair]] = {}
        self.opened: Callable[[list[Pair]], None] = lambda _pairs: None

    def __len__(self) -> int:
        return len(self._pairs)

    def may_bring(self, stream: int, pairs: Iterable[Pair]) -> None:
        """A stream may bring stanzas of these pairs and of no others, until it is gone.

        Args:
            stream: its number (`Link.number`).
            pairs: (their domain, ours); of a component's stream, ours is empty: it brings what is for any.
        """
        before, now = self._pairs.get(stream, set()), set(pairs)
        self._less(stream, before - now)
        new = sorted(now - before)
        for pair in new:
            self._streams.setdefault(pair, set()).add(stream)
        if now:
            self._pairs[stream] = now
        else:
            self._pairs.pop(stream, None)
        if new:
            self.opened(new)

    def leads(self, theirs: str, ours: str) -> bool:
        """Whether a stream may bring what a domain of theirs says to one of ours."""
        return (theirs, ours) in self._streams or (theirs, "") in self._streams

    def gone(self, stream: int) -> None:
        """It brings nothing any more."""
        self._less(stream, self._pairs.pop(stream, ()))

    def _less(self, stream: int, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            streams = self._streams[pair]
            streams.discard(stream)
            if not streams:
                del self._streams[pair]

    def are_several(self, pairs: Iterable[Pair]) -> bool:
        """Whether stanzas of these pairs may come on more than one stream."""
        first: int | None = None
        for pair in pairs:
            for stream in self._streams.get(pair, ()):
                if first is None:
                    first = stream
                elif stream != first:
                    return True
        return False
