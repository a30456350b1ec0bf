"""A streamed answer: one JSON object a line, until the client leaves.

A client that does not read gets a bounded queue; what does not fit is counted and told in the next line.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.web.http import Request
from zope.interface import implementer

#: Lines kept for a client that does not read: some seconds of a busy user.
MAX_WAITING = 1000


@implementer(IPushProducer)
class Watching:
    """One client's stream."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._waiting: deque[bytes] = deque()
        self._paused = False
        self._dropped = 0
        self._stop: Callable[[], None] | None = None
        self._ended = False

    def begin(self, watch: Callable[[Callable[[Mapping[str, Any]], None]], Callable[[], None]]) -> None:
        """Subscribe and send the head; an error of `watch` goes to the caller before anything is sent."""
        self._stop = watch(self.emit)
        self._request.notifyFinish().addBoth(lambda _: self._end())
        self._request.setHeader(b"content-type", b"application/x-ndjson")  # type: ignore[no-untyped-call]
        self._request.registerProducer(self, True)  # type: ignore[no-untyped-call]
        self._request.write(b"\n")  # type: ignore[no-untyped-call]  # an empty line: the client knows that the watch stands

    def emit(self, value: Mapping[str, Any]) -> None:
        """Send one line, or keep it while the client does not read."""
        if self._ended:
            return
        if len(self._waiting) >= MAX_WAITING:
            self._dropped += 1
            return
        shown = {**value, "dropped": self._dropped} if self._dropped else dict(value)
        self._dropped = 0
        self._waiting.append(json.dumps(shown, ensure_ascii=False, default=str).encode() + b"\n")
        if not self._paused:
            self.resumeProducing()

    def resumeProducing(self) -> None:
        """The client reads again; called by twisted."""
        self._paused = False
        while self._waiting and not self._paused and not self._ended:
            self._request.write(self._waiting.popleft())  # type: ignore[no-untyped-call]

    def pauseProducing(self) -> None:
        """The client does not read; called by twisted."""
        self._paused = True

    def stopProducing(self) -> None:
        """The connection is gone; called by twisted."""
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._waiting.clear()
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()
