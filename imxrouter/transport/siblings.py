"""Hosts of one domain: what one of them remembers of subscriptions is handed to the others before it goes.

Specification section 6.7. They know each other by what they share already, the secret of the domain's
dial-back tokens; a sibling may hand over subscriptions of domains that both serve, and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from imxrouter.model.address import BadAddress, address_key
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.subscriptions import Subscription, Subscriptions, subscription_key
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link
from imxrouter.transport.services import exporter_of, key_id, login_text, sign_login
from imxrouter.wire.control import Control, HandOver, Hello, Login, LoginResult
from imxrouter.wire.errors import WireError

#: Hosts to which the subscriptions of one domain are handed at most; as many as are dialled for it.
HOSTS: Final = 8
#: Subscriptions written in one step, twenty times a second: some milliseconds for messages to wait.
_BATCH: Final = 1000

HostPort = tuple[str, int]


def sibling_key(secret: bytes) -> Ed25519PrivateKey:
    """The login key that hosts with one dial-back secret share (specification section 6.7)."""
    return Ed25519PrivateKey.from_private_bytes(hmac.digest(secret, b"imx-sibling", hashlib.sha256))


class _Gift:
    """What one other host is to be handed: names of subscriptions; and how many it got."""

    def __init__(self, keys: list[bytes]) -> None:
        self.keys = keys
        self.given = 0
        self.is_open = self.fenced = False
        self.done: Deferred[int] = Deferred()


class Siblings:
    """Hands subscriptions over, and takes them. It is a `LinkEvents`.

    Args:
        hub: links of this process.
        secrets: of dial-back as they are now, the one that signs first.
        table: who watches whom.
        others: the other hosts of a domain of ours.
        open_link: connects a session to one of them.

    Attributes:
        handed: subscriptions given away in this life.
        taken: subscriptions taken.
    """

    log = Logger()

    def __init__(
        self,
        hub: Hub,
        secrets: Callable[[], Sequence[bytes]],
        table: Subscriptions,
        others: Callable[[Domain], Deferred[list[HostPort]]],
        open_link: Callable[[Domain, HostPort], Deferred[Link]],
    ) -> None:
        self._hub = hub
        self._secrets = secrets
        self._table = table
        self._others = others
        self._open_link = open_link
        #: number of the link to another host -> what it is to get
        self._gifts: dict[int, _Gift] = {}
        #: numbers of links on which another host logged in
        self._trusted: set[int] = set()
        self.handed = self.taken = 0

    # -- giving ------------------------------------------------------------------------------------------

    def hand_over(self) -> Deferred[None] | None:
        """Give every live subscription to the other hosts of its domain; None where there is none.

        Fires when each has what it could be given; never fails.
        """
        wanted = self._by_domain()
        if not wanted:
            return None
        by_host: dict[HostPort, tuple[Domain, dict[bytes, None]]] = {}

        def found(hosts: list[HostPort], domain: Domain, keys: list[bytes]) -> None:
            for host in hosts[:HOSTS]:
                _, known = by_host.setdefault(host, (domain, {}))
                known.update(dict.fromkeys(keys))

        asked = []
        for raw, keys in wanted.items():
            domain = Domain.from_wire(raw)
            asked.append(self._others(domain).addCallback(found, domain, keys))
        given = DeferredList(asked, consumeErrors=True).addCallback(lambda _: self._give_all(by_host))
        return given.addCallback(self._say)

    def _by_domain(self) -> dict[bytes, list[bytes]]:
        now, routes = self._hub.now(), self._hub.switch.routes
        wanted: dict[bytes, list[bytes]] = {}
        for key, entry in self._table.items():
            if entry.granted and entry.end > now:
                for address in (entry.watcher, entry.presentity):
                    domain = address.rpartition(b"@")[2]
                    if domain in routes:
                        wanted.setdefault(domain, []).append(key)
        return wanted

    def _give_all(self, by_host: dict[HostPort, tuple[Domain, dict[bytes, None]]]) -> Deferred[object]:
        gifts: list[Deferred[int]] = []
        for host, (domain, keys) in by_host.items():
            gift = _Gift(list(keys))
            gifts.append(gift.done)
            opened = self._open_link(domain, host)
            opened.addCallback(partial(self._opened, gift))
            opened.addErrback(partial(self._not_open, gift, host))
        return DeferredList(gifts)  # type: ignore[return-value]

    def _records(self, keys: list[bytes]) -> list[bytes]:
        now, records = self._hub.now(), []
        for key in keys:
            entry = self._table.find(key)
            if entry is not None and entry.granted and entry.end > now:
                left = max(1, int(entry.end - now))
                records.append(HandOver(entry.watcher, entry.presentity, entry.ident, left).encode())
        return records

    def _opened(self, gift: _Gift, session: Link) -> None:
        self._gifts[session.number] = gift
        if session.peer is not None:
            self._log_in(session, session.peer)
        elif session.port.closed:
            self._finish(session, 0)

    def _not_open(self, gift: _Gift, host: HostPort, problem: Failure) -> None:
        self.log.warn(
            "subscriptions are not handed to {host}: {note}", host=host[0], note=problem.getErrorMessage()
        )
        gift.done.callback(0)

    def _log_in(self, session: Link, peer: Hello) -> None:
        if peer.challenge is None:
            self._finish(session, 0)
        else:
            session.send(sign_login(sibling_key(self._secrets()[0]), peer.challenge, exporter_of(session)))

    def _give(self, session: Link, gift: _Gift) -> None:
        """The next ones, as long as the other host reads; and after the last a question whether it has."""
        if session.port.shedding:
            return
        records = self._records(gift.keys[gift.given : gift.given + _BATCH])
        gift.given += _BATCH
        if records:
            session.write(b"".join(records))
        if gift.given >= len(gift.keys):
            session.fence()
            gift.fenced = True

    def _finish(self, session: Link, count: int) -> None:
        gift = self._gifts.pop(session.number, None)
        if gift is not None:
            self.handed += count
            session.close(Reason.NONE)
            gift.done.callback(count)

    def _say(self, _results: object) -> None:
        self.log.info("{count} subscription(s) handed to other hosts in this life", count=self.handed)

    def _known(self) -> dict[bytes, Ed25519PublicKey]:
        """By name, what hosts of ours sign with."""
        keys = [sibling_key(secret).public_key() for secret in self._secrets()]
        return {key_id(key): key for key in keys}

    # -- taking ------------------------------------------------------------------------------------------

    def log_in(self, session: Link, login: Login) -> bool:
        """Judge a login by what our hosts share; False where it is not of that kind."""
        known = self._known().get(login.key_id)
        if known is None:
            return False
        try:
            if session.challenge is None or session.port.sources or session.service:
                raise InvalidSignature
            known.verify(login.signature, login_text(session.challenge, login.key_id, exporter_of(session)))
        except InvalidSignature:
            self._hub.count(Reason.LOGIN_FAILED)
            session.send(LoginResult(Reason.LOGIN_FAILED.code))
            session.end(Reason.LOGIN_FAILED)
            return True
        self._trusted.add(session.number)
        session.send(LoginResult(0))
        self.log.info("another host of ours logged in on link {link}", link=session.number)
        return True

    def _take(self, session: Link, given: HandOver) -> None:
        if session.number not in self._trusted:
            session.end(Reason.PROTOCOL_ERROR, "subscriptions are taken from hosts of ours only")
            return
        domains = {address.rpartition(b"@")[2] for address in (given.watcher, given.presentity)}
        try:
            key = subscription_key(address_key(given.watcher), address_key(given.presentity), given.ident)
        except BadAddress as problem:
            raise WireError(str(problem)) from None
        if not domains & self._hub.switch.routes.keys():
            return
        end, known = self._hub.now() + given.duration_s, self._table.find(key)
        if known is not None and known.granted and known.end >= end - 1.0:
            return
        if known is None and len(self._table) >= self._table.limits.total:
            return
        entry = Subscription(end, given.watcher, given.presentity, given.ident, True)
        self._table.restore(key, entry)
        self._table.on_begun(entry)  # the other processes of this host must know at once
        self._table.on_changed(key, entry)
        self.taken += 1

    # -- events ------------------------------------------------------------------------------------------

    def opened(self, session: Link, peer: Hello | None) -> None:
        """Log in at the other host."""
        if session.number in self._gifts and peer is not None:
            self._log_in(session, peer)

    def control(self, session: Link, record: Control) -> None:
        """Its word on the login; or what another host gives."""
        gift = self._gifts.get(session.number)
        if isinstance(record, LoginResult) and gift is not None:
            if record.reason:
                self._finish(session, 0)
            else:
                gift.is_open = True
                self._give(session, gift)
        elif isinstance(record, HandOver):
            self._take(session, record)

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """Nothing to do."""

    def lost(self, session: Link) -> None:
        """A host that goes away has what it has."""
        self._trusted.discard(session.number)
        self._finish(session, 0)

    def step(self) -> None:
        """Give on; look whether what was given has been read."""
        for number, gift in list(self._gifts.items()):
            session = self._hub.sessions.get(number)
            if session is not None and gift.fenced and session.machine.fenced:
                self._finish(session, len(gift.keys))
            elif session is not None and gift.is_open and not gift.fenced:
                self._give(session, gift)

    def tick(self, now: float) -> None:
        """As `step`."""
        del now
        self.step()
