"""A router whose embedded users do what lines of JSON say: `python -m tests.storm.home`, as twistd.

They come over the unix socket `home.sock` in the run directory: `{"do": "publish", "users": [...],
"number": 7}` changes the state of users; `{"do": "asked", "since": T}` gives how often their presence was
subscribed to in each second, and for how long the process stood still meanwhile.
"""

from __future__ import annotations

import json
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver
from twisted.scripts.twistd import run

from imxrouter.app.router import Router
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.model.address import Address
from imxrouter.model.operations import Subscribe
from imxrouter.model.presence import Basic, Note, Presence, PresenceTuple

#: The process looks so often whether it stood still; what comes meanwhile is read at once afterwards.
_LOOK_S = 0.1
#: Characters of the second note, so that a document has about 400 bytes.
_FILLER = "x" * 120


class _Lines(LineReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 1 << 20

    def __init__(self, home: _Home) -> None:
        self._home = home

    def lineReceived(self, line: bytes) -> None:
        """Do it, and answer."""
        command = json.loads(line)
        said = getattr(self._home, command.pop("do"))(**command)
        self.sendLine(json.dumps(said).encode())  # type: ignore[no-untyped-call]


class _Home:
    """The users' programs: each says its state by itself, so there is at most one in a turn."""

    def __init__(self, service: EmbeddedService, reactor: Any) -> None:
        self._service, self._reactor = service, reactor
        self._to_say: deque[tuple[str, int]] = deque()
        self._asked: list[float] = []
        #: (when it ended, seconds)
        self._still: list[tuple[float, float]] = []
        self._looked = time.time()
        self._look()
        self._deliver = service.presentities.deliver
        cast("Any", service.presentities).deliver = self._count

    def _count(self, asked: Subscribe, answer: Callable[[Any], None]) -> None:
        self._asked.append(time.time())
        self._deliver(asked, answer)

    def _look(self) -> None:
        now = time.time()
        if now - self._looked > 2 * _LOOK_S:
            self._still.append((now, now - self._looked))
        self._looked = now
        self._reactor.callLater(_LOOK_S, self._look)

    def publish(self, users: list[str], number: int) -> None:
        if not self._to_say:
            self._reactor.callLater(0, self._say)
        self._to_say.extend((user, number) for user in users)

    def _say(self) -> None:
        user, number = self._to_say.popleft()
        address = Address.parse(user)
        basic = Basic.OPEN if number % 2 else Basic.CLOSED
        notes = (Note(f"state {number}", "en"), Note(_FILLER, "en"))
        self._service.publish(address, "desk", Presence(address, (PresenceTuple("t", basic),), notes))
        if self._to_say:
            self._reactor.callLater(0, self._say)

    def asked(self, since: float) -> tuple[list[int], float]:
        counts = Counter(int(at - since) for at in self._asked if at >= since)
        still = sum(seconds for at, seconds in self._still if at >= since)
        return [counts[second] for second in range(max(counts, default=-1) + 1)], still


class HomeClient:
    """The other end of the socket; comes back when the router does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sock: socket.socket | None = None

    def ask(self, word: str, **arguments: Any) -> Any:
        """Have something done; gives what it says. Raises `OSError` where nobody is there."""
        for last in (False, True):
            try:
                return self._ask(json.dumps({"do": word, **arguments}).encode() + b"\n")
            except OSError:
                self._sock = None
                if last:
                    raise
        return None

    def _ask(self, line: bytes) -> Any:
        if self._sock is None:
            self._sock = socket.socket(socket.AF_UNIX)
            self._sock.settimeout(30)
            self._sock.connect(str(self._path))
        self._sock.sendall(line)
        with self._sock.makefile("rb") as answers:
            said = answers.readline()
        if not said:
            raise ConnectionResetError
        return json.loads(said)


def _with_socket() -> None:
    original = Router.startService

    def start_service(self: Router) -> None:
        original(self)
        home = _Home(next(iter(self.embedded.values())), self._reactor)
        factory = Factory.forProtocol(lambda: _Lines(home))
        path = Path(self.config.run_dir or "") / "home.sock"
        path.unlink(missing_ok=True)
        self._reactor.listenUNIX(str(path), factory)

    Router.startService = start_service  # type: ignore[method-assign]


if __name__ == "__main__":
    _with_socket()
    run()  # type: ignore[no-untyped-call]
