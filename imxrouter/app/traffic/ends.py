"""By which link a request came and by which it left, as a trace tells it: protocol, role, service, strength.

What is told here is worked out when a trace is written, from what is there at that moment: nothing is noted
for a request that is not traced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from imxrouter.gateways.xmpp.acks import Way
from imxrouter.gateways.xmpp.streams.pool import ServicePool
from imxrouter.gateways.xmpp.streams.records import marks_of, stanza_in
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.link.claims import ClaimState
from imxrouter.link.ledger import FROM_DOMAIN, IN_PORT, OUT_PORT, RECORD, TO_DOMAIN, Entry
from imxrouter.model.domain import Domain
from imxrouter.routing.choice import Protocol
from imxrouter.routing.domains import ServedDomains
from imxrouter.switch.ports import Port, Role
from imxrouter.transport.link import Link
from imxrouter.wire.describe import level_words
from imxrouter.wire.errors import WireError
from imxrouter.wire.record import decode_record
from imxrouter.wire.registry import FORMS, FieldType

#: Characters of a stanza id that are kept; ids of servers and clients have 8 to 40.
MAX_ORIGIN: Final = 128
#: How the arrival of a stanza became known, in words.
CONFIRMED: Final = {
    Way.ACKS: "an acknowledgement (XEP-0198)",
    Way.PING: "the answer to a ping behind it",
    Way.WRITTEN: "nothing: it was written",
}
_ANSWERS: Final = frozenset({"error", "result"})
Facts = dict[str, bytes | str | float]


def origin_of(record: bytes) -> tuple[str, bool]:
    """The id that a request had where it came from: of a stanza, or as it is carried over IMX.

    Args:
        record: of a request, whole.

    Returns:
        at most `MAX_ORIGIN` characters, empty where it had none; and whether it is the id of what it answers,
        which errors and results bear.
    """
    try:
        request = decode_record(record)
        if request.type not in FORMS:
            return (request.value(FieldType.ORIGIN_ID) or b"").decode("utf-8", "replace")[:MAX_ORIGIN], False
    except WireError:
        return "", False
    ident, type_ = marks_of(stanza_in(request) or b"")
    return ident[:MAX_ORIGIN], type_ in _ANSWERS


class Ends:
    """Tells of requests.

    Args:
        sessions: links by number.
        ports: ends of the switch by number.
        domains: those that are served here.
        choice_of: by what a domain elsewhere is reached for what came by a protocol (None: from a service
            of ours in the router's own form), and why; empty where nothing was chosen.

    Attributes:
        ports: the same.
        pools: XMPP services by name.
        streams: those with servers behind us.
    """

    def __init__(
        self,
        sessions: Mapping[int, Link],
        ports: Mapping[int, Port],
        domains: ServedDomains,
        choice_of: Callable[[Domain, Protocol | None], str],
    ) -> None:
        self._sessions = sessions
        self.ports = ports
        self._domains = domains
        self._choice_of = choice_of
        self.pools: Mapping[str, ServicePool] = {}
        self.streams: Callable[[], Iterable[XmppSession]] = tuple

    def came(self, entry: Entry) -> Facts:
        """How a request came, what is proved of its source there, and how its destination is reached."""
        number, source = entry[IN_PORT], entry[FROM_DOMAIN]
        port, link = self.ports.get(number), self._link(number, source, entry[TO_DOMAIN], out=False)
        facts: Facts = {"link": number if link is None else link.number}
        if port is not None:
            facts["role"] = Role(port.role).name.lower()
            facts["service"] = self._service(number, link, source)
        if link is not None:
            facts["protocol"] = link.protocol.value
            facts["level"] = level_at(link, source, entry[TO_DOMAIN])
        origin, answers = origin_of(entry[RECORD])
        facts["answers" if answers else "origin"] = origin
        facts["choice"] = self.choice(entry, link)
        return facts

    def choice(self, entry: Entry, came: Link | None = None) -> str:
        """By what its destination is reached, and why; empty of a domain that is served here.

        Args:
            entry: of the request.
            came: the link by which it came; None: from a gateway of this process.
        """
        if self._service_of(entry[TO_DOMAIN]) is not None:
            return ""
        is_stanza = came is not None and came.protocol is Protocol.XMPP
        domain = Domain(entry[TO_DOMAIN].decode("ascii", "replace"))
        return self._choice_of(domain, Protocol.XMPP if is_stanza else None)

    def went(self, entry: Entry, by: int = 0) -> Facts:
        """How it left, and what is proved of its destination there; nothing where it did not.

        Args:
            entry: of the request.
            by: the port by which it leaves now; 0: the one that its entry names.
        """
        number, destination = by or entry[OUT_PORT], entry[TO_DOMAIN]
        if not number:
            return {}
        link = self._link(number, entry[FROM_DOMAIN], destination, out=True)
        port = self.ports.get(number)
        facts: Facts = {"out_link": number if link is None else link.number}
        if port is not None:
            facts["out_role"] = Role(port.role).name.lower()
            facts["out_service"] = self._service(number, link, destination)
        if link is not None:
            facts["out_protocol"] = link.protocol.value
            facts["out_level"] = level_at(link, destination, entry[FROM_DOMAIN])
        return facts

    def leaves(self, number: int) -> bool:
        """Whether what goes to a port leaves this process."""
        return number in self._sessions or any(one.port.number == number for one in self.pools.values())

    def confirmed(self, entry: Entry) -> str:
        """What said that it arrived, in words."""
        link = self._link(entry[OUT_PORT], entry[FROM_DOMAIN], entry[TO_DOMAIN], out=True)
        if isinstance(link, XmppSession):
            return CONFIRMED[link.machine.confirmations.way]
        return "a response" if link is not None else "the service in this process"

    def _service_of(self, domain: bytes) -> str | None:
        record = self._domains.get(Domain(domain.decode("ascii", "replace")))
        return record.service if record is not None else None

    def _service(self, number: int, link: Link | None, domain: bytes) -> str:
        if link is not None:
            return link.service
        named = self._service_of(domain) or ""
        return named if number not in self._sessions else ""

    def _link(self, number: int, source: bytes, destination: bytes, *, out: bool) -> Link | None:
        """The link of a port; of a service's pool the stream on which this pair of domains goes."""
        session = self._sessions.get(number)
        if session is not None:
            return session
        pool = next((one for one in self.pools.values() if one.port.number == number), None)
        if pool is None:
            return None
        pair = source.decode("ascii", "replace"), destination.decode("ascii", "replace")
        if out:
            return pool.way(*pair)
        return next((one for one in self.streams() if pair in one.machine.pairs.theirs), None)


def level_at(session: Link, theirs: bytes, ours: bytes) -> str:
    """What is proved on a link between a domain of theirs and one of ours; empty: nothing had to be."""
    proof = session.port.sources.get(theirs)
    if proof is not None and proof[0]:
        return level_words(proof[0])
    made = session.made.of_pair(ours, theirs)
    return level_words(made.level) if made is not None and made.state is ClaimState.PROVED else ""
