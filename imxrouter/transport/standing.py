"""Where we stand with remote domains: what tries, links and proofs change of that, and who has to wait.

Hosts for presence alone have a table of their own: that they cannot be reached says nothing of the others.
"""

from __future__ import annotations

from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol, Uri
from imxrouter.routing.destinations import Destination, DestinationState, DestinationTable
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link
from imxrouter.transport.pursuit import Cause

#: Seconds until those try again for whom the table has no room.
_NO_ROOM_S = 5


class Standing:
    """See the module. Domains are in wire form where they are bytes.

    Args:
        hub: links of this process, and its clock.
        destinations: what is known of remote domains (state, last error, back-off).

    Attributes:
        destinations: that.
        presence: the same of hosts for presence alone.
    """

    def __init__(self, hub: Hub, destinations: DestinationTable) -> None:
        self._hub = hub
        self.destinations, self.presence = destinations, destinations.another()

    def _table(self, uri: Uri) -> DestinationTable:
        return self.presence if uri is Uri.PRES else self.destinations

    def _find(self, domain: bytes, protocol: Protocol) -> Destination | None:
        return self.destinations.find(Domain(domain.decode("ascii")), protocol)

    def holds_back(self, domain: Domain, protocol: Protocol, uri: Uri) -> tuple[Cause, int] | None:
        """Why a domain is not tried now, and the seconds until it may be; None where it may."""
        now = self._hub.now()
        entry = self._table(uri).open(domain, now, protocol)
        if entry is None:
            return Cause(Reason.BUSY, "too many domains are being reached"), _NO_ROOM_S
        if entry.state is not DestinationState.FAILING or entry.may_try(now):
            return None
        last = entry.last_error
        cause = Cause(last.reason, last.note) if last else Cause(Reason.BACKING_OFF)
        return cause.of_unsent(), entry.retry_after_s(now)

    def connecting(self, domain: Domain, protocol: Protocol, uri: Uri) -> None:
        """It is dialled; of hosts for presence alone nothing is noted before they fail."""
        entry = self.destinations.find(domain, protocol) if uri is Uri.IM else None
        if entry is not None:
            entry.connecting(self._hub.now())

    def idle(self, domain: Domain, protocol: Protocol, uri: Uri = Uri.IM) -> None:
        """Nothing is dialled for it any more, and nothing is up."""
        entry = self._table(uri).find(domain, protocol)
        if entry is not None:
            entry.idle(self._hub.now())

    def failed(self, domain: Domain, protocol: Protocol, uri: Uri, cause: Cause) -> int:
        """Every target failed; returns the seconds until the next try."""
        now = self._hub.now()
        entry = self._table(uri).open(domain, now, protocol)
        if entry is None:
            return _NO_ROOM_S
        entry.failed(cause.reason, now, cause.note)
        return entry.retry_after_s(now)

    def next_try(self, domain: bytes, protocol: Protocol, now: float) -> float:
        """When a domain may be tried again, monotonic seconds; `now` where it may be."""
        entry = self._find(domain, protocol)
        return entry.next_try if entry is not None and entry.state is DestinationState.FAILING else now

    def up(self, domain: bytes, protocol: Protocol) -> None:
        """A link to it carries our traffic."""
        entry = self.destinations.open(Domain(domain.decode("ascii")), self._hub.now(), protocol)
        if entry is not None:
            entry.up(self._hub.now())

    def claim_refused(self, domain: bytes, protocol: Protocol, cause: Cause) -> None:
        """It is reached, and does not take what one of our domains claimed."""
        entry = self._find(domain, protocol)
        if entry is not None:
            entry.refused(cause.reason, self._hub.now(), cause.note)

    def is_failing(self, domain: bytes, protocol: Protocol) -> bool:
        """Whether the last try came to nothing."""
        entry = self._find(domain, protocol)
        return entry is not None and entry.state is DestinationState.FAILING

    def proved_itself(self, domain: bytes, session: Link) -> bool:
        """The peer did, on a link; returns whether it was failing until now."""
        was_failing = self.destinations.peer_proved(
            Domain(domain.decode("ascii")), self._hub.now(), session.protocol
        )
        self.presence_reached(domain, session)
        return was_failing

    def presence_reached(self, domain: bytes, session: Link) -> None:
        """A link is proved: where it is for presence, the back-off of the hosts for that is over."""
        fits = self._hub.switch.ways.fits(domain, session.port, Uri.PRES)
        entry = self.presence.find(Domain(domain.decode("ascii")), session.protocol) if fits else None
        if entry is not None:
            entry.peer_proved(self._hub.now())
