"""Redirects: obeyed only where they cannot hijack (specification section 5.5; IMX-19).

A redirect counts only from the acceptor of a link that we opened, only for domains we reached over that link,
and only if the domain's own current DNS answer lists the target. Once in a row, for this reconnect only; a
link so opened serves no verification.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.hub import Hub
from imxrouter.transport.session import LinkSession, Purpose
from imxrouter.transport.verifier import LOGGED_REFUSALS
from imxrouter.wire.control import Control, Hello, Redirect

#: Each redirect makes us ask DNS and dial whom the peer names: so often for a domain on a link, no more.
JUDGED_EVERY_S: Final = 10.0


class Redirector:
    """Obeys and sends redirects.

    Args:
        hub: links of this process.
        lists: whether the domain's own fresh DNS answer lists `host:port`; fires with a bool.
        reconnect: opens a link for a domain to one target only, marked as redirected: (domain, host, port,
            the old link, whether the domain's DNS lists the target). Its certificate must cover the domain
            where DNS does not, and it is worth no less than the old one; else it fails.
        asks_certificate: whether a link to the domain must have a certificate that covers it.
    """

    log = Logger()

    def __init__(
        self,
        hub: Hub,
        lists: Callable[[Domain, str, int], Deferred[bool]],
        reconnect: Callable[[Domain, str, int, LinkSession, bool], Deferred[LinkSession]],
        asks_certificate: Callable[[Domain], bool] = lambda _domain: False,
    ) -> None:
        self._hub = hub
        self._lists = lists
        self._reconnect = reconnect
        self._asks_certificate = asks_certificate
        #: number of a link -> domain -> when a redirect for it was judged there
        self._judged_at: dict[int, dict[bytes, float]] = {}
        self.refused = 0

    def redirect(self, session: LinkSession, target: str, domains: tuple[bytes, ...]) -> None:
        """Tell a peer that opened a link to us to reconnect elsewhere, then close in order."""
        session.send(Redirect(target, domains, Reason.REDIRECTED.code))
        session.close(Reason.REDIRECTED)

    def obey(self, session: LinkSession, record: Redirect) -> None:
        """Judge a redirect; what is not allowed is counted and ignored, the link stays."""
        host, _, port_text = record.target.rpartition(":")
        if session.purpose is not Purpose.DATA or session.redirected or not host or not port_text.isdecimal():
            self._ignore(session, record, "not allowed on this link")
            return
        for raw in record.domains:
            if raw not in session.reached:
                self._ignore(session, record, "names a domain that was not reached over this link")
                continue
            if not self._is_due(session, raw):
                self._ignore(session, record, "comes too soon after another one")
                continue
            domain = Domain(raw.decode("ascii"))
            listed = self._lists(domain, host.strip("[]"), int(port_text))
            listed.addCallback(self._judged, session, record, domain, host.strip("[]"), int(port_text))
            listed.addErrback(self._broken, session, record)

    def _is_due(self, session: LinkSession, domain: bytes) -> bool:
        """Whether a redirect for a domain is judged, or came too soon after another one."""
        judged_at, now = self._judged_at.setdefault(session.number, {}), self._hub.now()
        if now - judged_at.get(domain, float("-inf")) < JUDGED_EVERY_S:
            return False
        judged_at[domain] = now
        return True

    def _judged(
        self, listed: bool, session: LinkSession, record: Redirect, domain: Domain, host: str, port: int
    ) -> Deferred[None] | None:
        if not listed and not self._asks_certificate(domain):
            self._ignore(session, record, "the domain's own DNS does not list the target")
            return None
        moving = self._reconnect(domain, host, port, session, listed)
        return moving.addCallback(self._moved, session, domain)

    def _moved(self, fresh: LinkSession, old: LinkSession, domain: Domain) -> None:
        """The new link is open: new work for the domain goes there, the old one is left in order."""
        fresh.reached.add(domain.wire)
        self.log.info("{domain} moved to {address}", domain=domain.name, address=fresh.remote[0])
        old.reached.discard(domain.wire)
        self._hub.switch.ways.end_to(domain.wire, old.port)
        if not old.reached:
            old.close(Reason.REDIRECTED)

    def _ignore(self, session: LinkSession, record: Redirect, why: str) -> None:
        self.refused += 1
        self._hub.count(Reason.REDIRECTED)
        session.port.refused += 1
        if session.port.refused > LOGGED_REFUSALS:
            return
        self.log.warn(
            "redirect of link {link} to {target} ignored: {note}",
            link=session.number,
            target=record.target,
            note=why,
            reason=Reason.REDIRECTED.word,
            stage=Reason.REDIRECTED.stage.value,
        )

    def _broken(self, problem: Failure, session: LinkSession, record: Redirect) -> None:
        self._ignore(session, record, problem.getErrorMessage())

    def opened(self, session: LinkSession, peer: Hello) -> None:
        """Nothing to do."""

    def control(self, session: LinkSession, record: Control) -> None:
        """Redirects only."""
        if isinstance(record, Redirect):
            self.obey(session, record)

    def draining(self, session: LinkSession, reason: Reason, by_peer: bool) -> None:
        """Nothing to do."""

    def lost(self, session: LinkSession) -> None:
        """What was judged on it is forgotten."""
        self._judged_at.pop(session.number, None)

    def tick(self, now: float) -> None:
        """Nothing is due."""
