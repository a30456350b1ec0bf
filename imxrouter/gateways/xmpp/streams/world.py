"""What an edge between stanzas and records needs of its process, and what it asks of the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.streams.parts import StreamLink
from imxrouter.gateways.xmpp.streams.told import Told
from imxrouter.gateways.xmpp.subscriptions.passing import Seen
from imxrouter.gateways.xmpp.translate.messages import Takes
from imxrouter.link.ledger import Entry
from imxrouter.model.address import Address
from imxrouter.model.outcome import Outcome
from imxrouter.model.presence import Presence
from imxrouter.routing.choice import Protocol
from imxrouter.switch.ports import Port
from imxrouter.wire.record import Record


def _takes(_from: str, _to: str) -> Takes:
    return Takes()


def _no(_from: str, _to: str) -> bool:
    return False


def _yes(_domain: str) -> bool:
    return True


def _largest(_domain: str) -> int:
    return 65_536


def _no_pair(_from: str, _to: str) -> bool:
    return False


def _unnoted(_told: Told, _outcome: Outcome) -> None:
    """Nobody notes it."""


def _wrote(_from: Address, _to: Address) -> None:
    """Nobody wants to know."""


def _unseen(_got: StanzaIn) -> Seen | None:
    return None


def _not_passed(_seen: Seen, _outcome: Outcome) -> None:
    """Nobody wants to know."""


def _not_shown(_watcher: Address, _presentity: Address, _resource: str) -> bool:
    return False


def _no_state(_watcher: Address, _presentity: Address) -> Presence | None:
    return None


#: Takes a stanza that is neither message nor foreign form; whole records for it, or a refusal.
Takers = Callable[[StreamLink, StanzaIn, Element], bytes | Outcome]


@dataclass(frozen=True, slots=True)
class Known:
    """What an edge asks of the world. Domains are A-labels.

    Attributes:
        spoken: what the domain is reached by, one that is served here included.
        is_served: whether it is served here.
        takes: what a message from one domain for another may be.
        foreign: whether, from one domain, another takes FOREIGN of XMPP.
        refused: told that a domain refused it.
        forms: whether original forms are used for a served domain.
        largest_record: bytes of a record that the way to it takes.
        pair: whether a consent is known between two addresses.
        presence: takes presence of a pair; None: presence is not translated here.
        shown: whether a user of XMPP is shown somebody, and a resource of his where one is named.
        state: what somebody may see of a user of XMPP now; None where that is nothing.
        operations: answers a SUBSCRIBE or NOTIFY for a user of XMPP; None: neither is translated here.
        wrote: told of each message of a user of XMPP that was translated.
        seen: what to remember of a presence that passes, until it is known what became of it; None: nothing.
        passed: told that.
    """

    spoken: Callable[[str], Protocol]
    is_served: Callable[[str], bool]
    takes: Callable[[str, str], Takes] = _takes
    foreign: Callable[[str, str], bool] = _no
    refused: Callable[[str], object] = _yes
    forms: Callable[[str], bool] = _yes
    largest_record: Callable[[str], int] = _largest
    pair: Callable[[str, str], bool] = _no_pair
    presence: Takers | None = None
    shown: Callable[[Address, Address, str], bool] = _not_shown
    state: Callable[[Address, Address], Presence | None] = _no_state
    operations: Callable[[Record], Outcome] | None = None
    wrote: Callable[[Address, Address], None] = _wrote
    seen: Callable[[StanzaIn], Seen | None] = _unseen
    passed: Callable[[Seen, Outcome], None] = _not_passed


@dataclass(frozen=True, slots=True)
class Outside:
    """What an edge needs of its process.

    Attributes:
        submit: hands a request of the router itself to the switch (`InsidePort.submit`).
        has_room: whether the switch takes one more of those.
        inject: hands records to the switch as of a port (`Hub.inject`).
        entries: requests in flight by their route tag (`Ledger.entries`).
        ports: the ends of the switch by their number (`Switch.ports`).
        later: calls a function after seconds.
        now: seconds of the monotonic clock.
        clock: the time of day, with its zone.
        random_bytes: source of message ids.
        dropped: told the word of each stanza that went nowhere, and of each original form not used.
        refused: told of each stanza that became no record, and why; its sender is told.
    """

    submit: Callable[[Record, Callable[[Record], None]], None]
    has_room: Callable[[], bool]
    inject: Callable[[Port, bytes], None]
    entries: Mapping[int, Entry]
    ports: Mapping[int, Port]
    later: Callable[[float, Callable[[], object]], object]
    now: Callable[[], float]
    clock: Callable[[], datetime]
    random_bytes: Callable[[int], bytes]
    dropped: Callable[[str], None]
    refused: Callable[[Told, Outcome], object] = _unnoted
