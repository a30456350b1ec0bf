"""Links that are silent before they are dead: a domain that somebody watches is tried anew meanwhile (FCC-3).

What ends a link whose peer says nothing is the link's own time (`link/machine.py`). Watchers would have to
wait for that; so half of it is enough for a doubt, and a new connection decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from imxrouter.model.vocabulary import Reason
from imxrouter.routing import choice
from imxrouter.routing.subscriptions import Subscriptions
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link
from imxrouter.transport.more_links import MoreLinks
from imxrouter.transport.pursuit import Cause

#: Part of DEAD_AFTER of silence after which a link is doubted, and after which nothing is waited for.
DOUBT: Final = 0.5
NO_DOUBT: Final = 0.85


class Verdicts(Protocol):
    """Who is told what came of a doubt."""

    def moved(self, domain: bytes) -> None:
        """A new link is open, and the silent ones are closed."""

    def given_up(self, domain: bytes, cause: Cause) -> None:
        """A new connection fails as well; the silent links go now."""


class Silence:
    """Doubts silent links of domains that are watched.

    Args:
        hub: links of this process.
        table: who watches whom.
        more_links: opens one more link to a domain.
        verdicts: told what came of it.
    """

    def __init__(self, hub: Hub, table: Subscriptions, more_links: MoreLinks, verdicts: Verdicts) -> None:
        self._hub = hub
        self._table = table
        self._more_links = more_links
        self._verdicts = verdicts
        self._doubted: set[bytes] = set()
        #: numbers of new links whose hello is awaited, while older ones of the domain are silent
        self._opening: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._doubted) + len(self._opening)

    def doubts(self, domain: bytes) -> bool:
        """Whether a link of that domain is silent, and nothing has come of it yet."""
        return domain in self._doubted

    def reached(self, domain: bytes) -> None:
        """The domain was reached, or proved itself."""
        self._doubted.discard(domain)

    def opened(self, session: Link) -> None:
        """A link speaks: a new one, while older ones are silent?"""
        domain = self._opening.pop(session.number, None)
        if domain is not None:
            self._move_to(domain)

    def lost(self, session: Link) -> None:
        """A link is gone: a new one, before it spoke?"""
        domain = self._opening.pop(session.number, None)
        if domain is not None:
            self._give_up(domain, Cause.of_link(session))

    def look(self, now: float) -> None:
        """A silent link of a watched domain: try a new one, and do not wait for ever."""
        dead_s = self._hub.settings.link.dead_s
        for session in list(self._hub.sessions.values()):
            if not session.is_open:
                continue
            silent = session.machine.silent_for(now)
            if silent < dead_s * DOUBT:
                continue
            for domain in domains_of(session):
                if domain in self._hub.switch.routes or not self._table.watching(domain, now):
                    continue
                if domain not in self._doubted:
                    self._doubted.add(domain)
                    self._try_new_link(domain, session.protocol)
                elif silent >= dead_s * NO_DOUBT:
                    self._give_up(domain, Cause(Reason.KEEPALIVE_TIMEOUT, f"silent for {silent:.0f} s"))

    def _try_new_link(self, domain: bytes, protocol: choice.Protocol) -> None:
        def ended(cause: Cause | None, session: Link | None) -> None:
            if domain not in self._doubted:
                return
            if session is None:
                self._give_up(domain, cause or Cause(Reason.UNREACHABLE))
            elif session.is_open:
                self._move_to(domain)
            else:
                self._opening[session.number] = domain

        self._more_links.open(domain, ended, protocol)

    def _move_to(self, domain: bytes) -> None:
        """A new link is open while old ones are silent: those are closed, whether they speak again or not."""
        self._doubted.discard(domain)
        for session in self._silent_of(domain):
            session.close(Reason.KEEPALIVE_TIMEOUT, text="silent, and a new connection is open")
        self._verdicts.moved(domain)

    def _give_up(self, domain: bytes, cause: Cause) -> None:
        """A new connection fails as well: the silent links are as good as gone."""
        self._doubted.discard(domain)
        silent = self._silent_of(domain)
        if not silent:
            return  # it spoke again
        self._verdicts.given_up(domain, cause)
        for session in silent:
            session.abort(Reason.KEEPALIVE_TIMEOUT, "silent, and a new connection fails")

    def _silent_of(self, domain: bytes) -> list[Link]:
        now, limit = self._hub.now(), self._hub.settings.link.dead_s * DOUBT
        return [
            session
            for session in self._hub.sessions.values()
            if domain in domains_of(session) and session.machine.silent_for(now) >= limit
        ]


def domains_of(session: Link) -> Iterable[bytes]:
    """Remote domains that a link leads to or speaks for; of a service's link those served here."""
    return session.reached | session.port.speaks
