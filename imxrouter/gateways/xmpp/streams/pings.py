"""Pings that ask whether stanzas were read: their answers come on whatever stream the other side sends on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class _Ping(NamedTuple):
    from_: str
    to: str
    answered: Callable[[], None]
    heard: Callable[[], None]


class Pings:
    """Those that are out, of all streams of the process; each stream has a handful at most."""

    def __init__(self) -> None:
        self._out: dict[str, _Ping] = {}
        #: ids of those that are out, by the domain that is asked
        self._asked: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._out)

    def out(
        self,
        ident: str,
        from_: str,
        to: str,
        answered: Callable[[], None],
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        """A ping goes out.

        Args:
            ident: of the iq: random, so that nobody else can answer it.
            from_: our domain.
            to: the domain that is asked.
            answered: called when the answer came, once.
            heard: called whenever the domain speaks on any stream while the ping is out.
        """
        self._out[ident] = _Ping(from_, to, answered, heard)
        self._asked.setdefault(to, set()).add(ident)

    def forget(self, ident: str) -> None:
        """Nobody waits for it any more."""
        ping = self._out.pop(ident, None)
        if ping is None:
            return
        same = self._asked[ping.to]
        same.discard(ident)
        if not same:
            del self._asked[ping.to]

    def spoke(self, domain: str) -> None:
        """A stanza came from a domain that is proved on the stream that brought it: it is alive.

        A domain that speaks and leaves pings unanswered drops them; one that is silent may be gone.
        """
        for ident in self._asked.get(domain, ()):
            self._out[ident].heard()

    def answer(self, ident: str, from_: str, to: str) -> bool:
        """An iq of type result or error came from a domain that is proved on the stream that brought it.

        Returns:
            Whether it answers a ping; it goes no further then.
        """
        if not self.awaits(ident, from_, to):
            return False
        ping = self._out[ident]
        self.forget(ident)
        ping.answered()
        return True

    def awaits(self, ident: str, from_: str, to: str) -> bool:
        """Whether `answer` would take it."""
        ping = self._out.get(ident)
        return ping is not None and (ping.to, ping.from_) == (from_, to)
