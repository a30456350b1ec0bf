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

from imxrouter.link.claims import MadeClaim
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link, Purpose
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
        claim: claims a domain of ours towards a remote one on a link.
        asks_certificate: whether a link to the domain must have a certificate that covers it.
    """

    log = Logger()

    def __init__(
        self,
        hub: Hub,
        lists: Callable[[Domain, str, int], Deferred[bool]],
        reconnect: Callable[[Domain, str, int, Link, bool], Deferred[Link]],
        claim: Callable[[Link, bytes, bytes], None],
        asks_certificate: Callable[[Domain], bool] = lambda _domain: False,
    ) -> None:
        self._hub = hub
        self._lists = lists
        self._reconnect = reconnect
        self._claim = claim
        #: number of a new link -> the old one, the domain, and those of ours that are not proved there yet
        self._moves: dict[int, tuple[Link, bytes, set[bytes]]] = {}
        self._asks_certificate = asks_certificate
        #: number of a link -> domain -> when a redirect for it was judged there
        self._judged_at: dict[int, dict[bytes, float]] = {}
        self.refused = 0
        self.obeyed = 0

    def redirect(self, session: Link, target: str, domains: tuple[bytes, ...], within_s: float) -> None:
        """Tell a peer that opened a link to us to reconnect elsewhere; it has so long until we leave it."""
        session.send(Redirect(target, domains, Reason.REDIRECTED.code, int(within_s * 1000)))

    def obey(self, session: Link, record: Redirect) -> None:
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

    def _is_due(self, session: Link, domain: bytes) -> bool:
        """Whether a redirect for a domain is judged, or came too soon after another one."""
        judged_at, now = self._judged_at.setdefault(session.number, {}), self._hub.now()
        if now - judged_at.get(domain, float("-inf")) < JUDGED_EVERY_S:
            return False
        judged_at[domain] = now
        return True

    def _judged(
        self, listed: bool, session: Link, record: Redirect, domain: Domain, host: str, port: int
    ) -> Deferred[None] | None:
        if not listed and not self._asks_certificate(domain):
            self._ignore(session, record, "the domain's own DNS does not list the target")
            return None
        if self._has_others(session, domain.wire):
            self._leave(session, domain.wire)
            return None
        moving = self._reconnect(domain, host, port, session, listed)
        return moving.addCallback(self._connected, session, domain)

    def _sources(self, old: Link, domain: bytes) -> set[bytes]:
        """Domains of ours that the link carries to a remote one."""
        by_source = self._hub.switch.ways.get(domain, {})
        return {ours for ours, ports in by_source.items() if old.port in ports}

    def _has_others(self, old: Link, domain: bytes) -> bool:
        """Whether all that the link carries to the domain has a link to another host already."""
        by_source, sources = self._hub.switch.ways.get(domain, {}), self._sources(old, domain)
        same = {None, old.port.epoch}
        return bool(sources) and all(
            any(port.epoch not in same for port in by_source[ours]) for ours in sources
        )

    def _connected(self, fresh: Link, old: Link, domain: Domain) -> None:
        """The new link is there: what the old one carried is proved there first, so that nothing waits."""
        fresh.reached.add(domain.wire)
        self.log.info("{domain} moves to {address}", domain=domain.name, address=fresh.remote[0])
        self._moves[fresh.number] = (old, domain.wire, self._sources(old, domain.wire))
        if fresh.is_open:
            self._claim_all(fresh)

    def _claim_all(self, fresh: Link) -> None:
        old, domain, sources = self._moves[fresh.number]
        for ours in sources:
            self._claim(fresh, ours, domain)
        if not sources:
            self._moved(fresh, old, domain)

    def settled(self, session: Link, claim: MadeClaim) -> None:
        """A claim of ours was proved or refused; with the last one of a move the old link is left."""
        old, domain, sources = self._moves.get(session.number, (None, b"", set()))
        if old is None or claim.to_domain != domain or claim.from_domain not in sources:
            return
        sources.discard(claim.from_domain)
        if not sources:
            self._moved(session, old, domain)

    def _moved(self, fresh: Link, old: Link, domain: bytes) -> None:
        del self._moves[fresh.number]
        self._leave(old, domain)

    def _leave(self, old: Link, domain: bytes) -> None:
        """New work for the domain goes over other links, the old one is left in order."""
        self.obeyed += 1
        old.reached.discard(domain)
        self._hub.switch.ways.end_to(domain, old.port)
        if not old.reached:
            old.close(Reason.REDIRECTED)

    def _ignore(self, session: Link, record: Redirect, why: str) -> None:
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

    def _broken(self, problem: Failure, session: Link, record: Redirect) -> None:
        self._ignore(session, record, problem.getErrorMessage())

    def opened(self, session: Link, peer: Hello | None) -> None:
        """Claim on the new link of a move what the old one carries."""
        del peer
        if session.number in self._moves:
            self._claim_all(session)

    def control(self, session: Link, record: Control) -> None:
        """Redirects only."""
        if isinstance(record, Redirect):
            self.obey(session, record)

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """Nothing to do."""

    def lost(self, session: Link) -> None:
        """A move that came to nothing: the old link stays until its peer closes it."""
        self._moves.pop(session.number, None)
        self._judged_at.pop(session.number, None)

    def tick(self, now: float) -> None:
        """Nothing is due."""
