"""What waits for one remote domain, how far we are in reaching it, and why it was not reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from imxrouter.link.claims import ClaimState, MadeClaim
from imxrouter.link.ledger import KEY, RECORD, TYPE, Entry
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol, Uri
from imxrouter.routing.hold import HoldBudget, HoldQueue
from imxrouter.transport.dialing import Endpoint
from imxrouter.transport.link import Link
from imxrouter.wire.layout import MESSAGE_ID_BYTES
from imxrouter.wire.record import decode_record
from imxrouter.wire.registry import FieldType, RecordType

#: A remote domain, the protocol by which it is reached (None while that is not chosen), and for what: what is
#: published for both services waits as `im`, as does everything by streams.
Key = tuple[bytes, Protocol | None, Uri]


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something that waited was given up.

    Attributes:
        reason: of the registry.
        note: for operators.
        by_peer: the peer said so; otherwise we decided, by what we saw.
        soon: there was no room, and there is some within seconds.
    """

    reason: Reason
    note: str = ""
    by_peer: bool = False
    soon: bool = False

    @classmethod
    def of_link(cls, session: Link) -> Cause:
        """Why a link ended."""
        soon = session.has_room_in_s > 0
        return cls(session.drop_reason, session.drop_note, session.machine.peer_closed, soon)

    @classmethod
    def of_claim(cls, claim: MadeClaim) -> Cause:
        """Why a claim of ours failed."""
        return cls(claim.reason, f"claim of {claim.from_domain.decode()}", claim.told)

    def of_unsent(self) -> Cause:
        """What is told of a request that was never sent: it was not delivered, and may be sent again."""
        if self.reason not in _LEAVE_OPEN:
            return self
        return Cause(Reason.BACKING_OFF, ": ".join(filter(None, (self.reason.word, self.note))))


#: Ends of a link that leave open whether what it carried was delivered.
_LEAVE_OPEN: Final = frozenset({Reason.LINK_LOST, Reason.KEEPALIVE_TIMEOUT})
#: What is told of what waits when this router goes out of service.
OUT_OF_SERVICE: Final = Cause(Reason.SHUTTING_DOWN)
NOT_IN_TIME: Final = Cause(Reason.CONNECT_TIMEOUT)
NOT_FOUND_IN_TIME: Final = Cause(Reason.DNS_TIMEOUT)
#: What was chosen before may not be chosen any more; a subscription by it is begun anew when it has ended.
NOT_BY_STREAMS: Final = Cause(Reason.WEAKER_THAN_POLICY, "protocols of [[trust.peer]] have no xmpp for it")
#: The link would be weaker than what the sender's own domain asks for.
OWN_POLICY: Final = Cause(Reason.WEAKER_THAN_POLICY, "policy of the sender's domain")


@dataclass(slots=True)
class Pursuit:
    """What waits for one remote domain, and how far we are in reaching it.

    Attributes:
        protocol: by which it is reached; None while that is not chosen.
        uri: `pres` where what is published for presence alone is meant; everything else is `im`.
        held: by source domain of ours.
        session: number of the link that is being opened or claimed on; 0: none.
        reused: that link was there before.
        tried: targets that failed since the last success.
        last: why the last of them did.
        newest: tag of the newest notification that waits, by both addresses and the subscription's id.
        again: a new link was closed in order before it was of use, and its target is tried once more.
    """

    domain: Domain
    budget: HoldBudget
    protocol: Protocol | None = Protocol.IMX
    uri: Uri = Uri.IM
    held: dict[bytes, HoldQueue[int]] = field(default_factory=dict)
    dialling: bool = False
    session: int = 0
    reused: bool = False
    tried: set[Endpoint] = field(default_factory=set)
    last: Cause = NOT_IN_TIME
    newest: dict[bytes, int] = field(default_factory=dict)
    again: bool = False

    @property
    def key(self) -> Key:
        """What it is found by."""
        return self.domain.wire, self.protocol, self.uri

    def take(self, from_domain: bytes) -> list[int]:
        """Tags of what waited of one domain of ours, in order; they wait no longer."""
        queue = self.held.pop(from_domain, None)
        if not self.held:
            self.newest.clear()
        return queue.drain() if queue is not None else []

    def replaced_by(self, tag: int, entry: Entry) -> int | None:
        """The tag of the notification that waited until this one came, of the same subscription."""
        if entry[TYPE] != RecordType.NOTIFY:
            return None
        record = decode_record(entry[RECORD])
        named = entry[KEY][MESSAGE_ID_BYTES:] + (record.value(FieldType.SUBSCRIPTION_ID) or b"")
        older = self.newest.get(named)
        self.newest[named] = tag
        return older

    def why_late(self, session: Link | None, from_domain: bytes) -> Cause:
        """Why what waits for a domain of ours to be proved on the link has waited too long."""
        if session is None or not session.is_open:
            return self.last
        claim = session.made.of_pair(from_domain, self.domain.wire)
        if claim is not None and claim.state is ClaimState.REFUSED:
            return Cause.of_claim(claim)
        return Cause(Reason.DIALBACK_TIMEOUT)


#: A retry goes over another open link after this: a process that dies takes all its links, not all at once.
RETRY_REST_S: Final = 0.1


class Resting:
    """Retries that rest before they are sent: a link that died with the first one is gone by then."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def add(self, tag: int, now: float) -> None:
        """One more."""
        self._since[tag] = now

    def rested(self, now: float) -> list[int]:
        """Those that have rested; they are here no longer."""
        rested = [tag for tag, since in self._since.items() if now - since >= RETRY_REST_S]
        for tag in rested:
            del self._since[tag]
        return rested

    def take(self) -> list[int]:
        """All of them; none is here any longer."""
        since, self._since = self._since, {}
        return list(since)
