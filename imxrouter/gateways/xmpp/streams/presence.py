"""Presence between streams and everybody else: the two machines of subscriptions, joined to the switch.

What streams bring goes to the machines; what they want done goes to the switch as the router's own, stanzas
as STANZA records. Operations for users of XMPP come from the edge, which answers them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from twisted.logger import Logger

from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.build import Unsayable, stanza
from imxrouter.gateways.xmpp.build import form_of as bytes_of
from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.streams.again import PresenceAgain
from imxrouter.gateways.xmpp.streams.parts import StreamLink
from imxrouter.gateways.xmpp.streams.records import party_of, stanza_record
from imxrouter.gateways.xmpp.subscriptions import presentity_table, watcher_table
from imxrouter.gateways.xmpp.subscriptions.effects import Effects
from imxrouter.gateways.xmpp.subscriptions.kept import Keeping
from imxrouter.gateways.xmpp.subscriptions.pairs import paced, spend
from imxrouter.gateways.xmpp.subscriptions.presentity import Presentities
from imxrouter.gateways.xmpp.subscriptions.presentity_pairs import PresentitySettings
from imxrouter.gateways.xmpp.subscriptions.probes import HasWay, any_way
from imxrouter.gateways.xmpp.subscriptions.rounds import PACE_BURST, PACE_S
from imxrouter.gateways.xmpp.subscriptions.watcher import Watchers
from imxrouter.gateways.xmpp.subscriptions.watcher_pairs import WatcherSettings
from imxrouter.gateways.xmpp.translate.forms import MAX_FORM_BYTES, PREFIX, Misfit, opened, without_our_ids
from imxrouter.gateways.xmpp.translate.jid import BadJid, parse_jid, to_jid, to_model
from imxrouter.gateways.xmpp.translate.queries import caps
from imxrouter.gateways.xmpp.translate.showing import PresenceStanza, written
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Notify, Subscribe
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.interfaces import Store
from imxrouter.transport.operations import (
    notify_to_record,
    operation_to_record,
    record_to_operation,
    result_of,
)
from imxrouter.transport.translate import TranslationError
from imxrouter.wire.errors import WireError
from imxrouter.wire.record import Record, decode_outcome

#: Seconds for which a service may be out of reach before its users count as unknown (row p-22).
GRACE_S: Final = 5.0
#: The user's own wishes; everything else is about who watches him.
_OF_WATCHERS: Final = frozenset({"subscribe", "unsubscribe", "probe"})
#: What asks for something in his name where nothing was asked before; what renews it is the router's own.
_BEGIN: Final = frozenset({"subscribe", "probe"})
#: Types of presence that a Subscribe may be made of, and a Notify.
_WISHES: Final = frozenset({"subscribe", "unsubscribe"})
_VERDICTS: Final = frozenset({"unsubscribed"})
_NOT_BEGUN: Final = frozenset({watcher_table.State.NONE, watcher_table.State.ENDING})


@dataclass(frozen=True, slots=True)
class PresenceOutside:
    """What the joint needs of its process.

    Attributes:
        submit: hands a request of the router itself to the switch (`InsidePort.submit`).
        has_room: whether the switch takes one more of those.
        later: calls a function after seconds.
        now: seconds of the monotonic clock.
        wall: seconds since 1970.
        chance: a random number in [0, 1).
        random_bytes: source of ids.
        reached: (outside, domain): whether who answers for a domain of users can be reached now, as far as
            that is known (A-labels); `outside` is the domain of one whom they watch or who watches them, in
            whose name it may be tried.
        is_served: whether a domain is served here; of any other its loss is told by who tells it of all.
        dropped: told the word of each stanza that went nowhere.
        again: presence that is on its way, until it arrives.
        forms: whether original forms are sent and used (row org-off).
        over: (by which stream, user, bytes, whether it is of his own rate): why a wish of his may not begin
            now; None where it may, and it is counted.
        has_way: whether stanzas may come now, of a domain to another one.
    """

    submit: Callable[[Record, Callable[[Record], None]], None]
    has_room: Callable[[], bool]
    later: Callable[[float, Callable[[], object]], object]
    now: Callable[[], float]
    wall: Callable[[], float]
    chance: Callable[[], float]
    random_bytes: Callable[[int], bytes]
    reached: Callable[[str, str], bool]
    is_served: Callable[[str], bool]
    dropped: Callable[[str], None]
    again: PresenceAgain
    forms: Callable[[], bool] = lambda: True
    over: Callable[[StreamLink, Address, int, bool], Outcome | None] = lambda *_: None
    has_way: HasWay = any_way


class StreamPresence:
    """See the module.

    Args:
        outside: what it needs of its process.
        store: where consents and wishes are kept; what it has is gone on with.
        watchers: bounds of the watchers' side.
        presentities: bounds of the other.

    Attributes:
        watchers: users of XMPP who watch.
        presentities: users of XMPP who are watched.
    """

    log = Logger()

    def __init__(
        self,
        outside: PresenceOutside,
        store: Store,
        watchers: WatcherSettings | None = None,
        presentities: PresentitySettings | None = None,
    ) -> None:
        self._outside = outside
        keeping = Keeping(store, self._unread)
        now = outside.now()
        ahead = outside.wall() - now
        self.watchers = Watchers(
            keeping, self._new_id, outside.chance, watchers, wall_ahead_s=ahead, caps=caps()
        )
        self.presentities = Presentities(
            keeping, keeping.new_epoch(outside.wall()), self._new_id, outside.chance, presentities,
            wall_ahead_s=ahead, has_way=outside.has_way,
        )  # fmt: skip
        self._unreached: dict[Domain, float] = {}
        #: up to when the rounds of a domain are used up, as of ways in `rounds`
        self._spent: dict[Domain, float] = {}
        self._awake = False
        self.watchers.restore(now)
        self.presentities.restore(now)

    def _new_id(self) -> bytes:
        return self._outside.random_bytes(16)

    def _unread(self, table: str) -> None:
        self.log.warn("an entry of {table} cannot be read", table=table)

    # -- from streams --------------------------------------------------------------------------------------

    def pair(self, from_: str, to: str) -> bool:
        """Whether a consent, or the wish for one, is known between two JIDs (`Known.pair`)."""
        if not self.watchers and not self.presentities:
            return False  # asked of each presence that passes
        try:
            sender, recipient = _address(from_), _address(to)
        except BadJid:
            return False
        mine = self.watchers.state(sender, recipient) is not watcher_table.State.NONE
        return mine or self.presentities.state(recipient, sender) is not presentity_table.State.NONE

    def holds(self, told: bool, watcher: bytes, presentity: bytes, ident: bytes) -> bool:
        """Whether a subscription lives by streams, for it began by them (`PresenceChecks.by_streams`).

        Args:
            told: a notification is meant, of which the watcher is a user of XMPP; else the presentity is.
            watcher: his key.
            presentity: the same.
            ident: of the subscription.
        """
        if told:
            return self.watchers.awaits(watcher, presentity, ident)
        return self.presentities.lives(watcher, presentity, ident)

    def take(self, session: StreamLink, got: StanzaIn, tree: Element) -> bytes | Outcome:
        """Take a presence that is a matter of the handshake (`Known.presence`); no record is made of it."""
        try:
            source, resource = to_model(parse_jid(got.stanza.from_))
            other = _address(got.stanza.to)
        except BadJid as error:
            return failure(error.reason, note=str(error))
        kind, now, form = got.stanza.type, self._outside.now(), self._form_of(tree)
        asked = self.presentities.state(other, source) is presentity_table.State.ASKED
        if kind in _BEGIN and self.watchers.state(source, other) in _NOT_BEGUN:
            rated = kind == "subscribe"
            refused = self._outside.over(session, source, len(got.stanza.raw), rated)
            if refused is not None:
                return refused
        if kind in _OF_WATCHERS or (kind == "error" and not asked):
            self._do(self.watchers.stanza(source, other, kind, now, got.stanza.ident, form))
        else:
            self._do(self.presentities.stanza(source, resource, other, tree, now, form))
        return b""

    def wrote(self, from_: Address, to: Address) -> None:
        """A user of XMPP wrote to somebody: he is still interested in him (row w-24)."""
        self.watchers.active(from_, to, self._outside.now())

    # -- from the switch -----------------------------------------------------------------------------------

    def request(self, record: Record) -> Outcome:
        """Take a SUBSCRIBE or a NOTIFY for a user of XMPP; its one answer."""
        try:
            operation = record_to_operation(record)
        except TranslationError as error:
            return failure(error.reason, role="service", note=str(error))
        now = self._outside.now()
        if isinstance(operation, Subscribe):
            kind, form = self._judged(operation, _WISHES)
            outcome, effects = self.presentities.asked(operation, now, kind, form)
        elif isinstance(operation, Notify):
            _, form = self._judged(operation, _VERDICTS)
            outcome, effects = self.watchers.notified(operation, now, form)
        else:
            return failure(Reason.TYPE_NOT_ENABLED, role="service")
        # Its answer first: what is told of it comes behind.
        self._outside.later(0.0, lambda: self._do(effects))
        return outcome

    def _form_of(self, tree: Element) -> bytes:
        """What goes along with an operation; at least that a user wants no more (row org-off)."""
        if self._outside.forms():
            return _form_of(tree)
        return _bare(tree) if tree.attributes.get("type") == "unsubscribe" else b""

    def _judged(self, operation: Subscribe | Notify, kinds: frozenset[str]) -> tuple[str, bytes]:
        """Type and bytes of the stanza that an operation was made of, where it may be used (section 9)."""
        if not operation.original_form:
            return "", b""
        tree = _opened(operation, kinds)
        if isinstance(tree, Misfit):
            self._outside.dropped(f"form-{tree.value}")
            return "", b""
        kind = tree.attributes["type"]
        if self._outside.forms():
            there = operation.destination.domain.name
            return kind, without_our_ids(tree, lambda name: name == there)
        self._outside.dropped(f"form-{Misfit.OFF.value}")
        return kind, b""

    # -- time ----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """About once a second: what is due is sent, and lost services are noticed."""
        now = self._outside.now()
        ahead = self._outside.wall() - now
        self.watchers.wall_ahead_s = self.presentities.wall_ahead_s = ahead
        self._look_at_services(now)
        self._do(self.watchers.due(now))
        self._do(self.presentities.due(now))

    def removed(self, domains: Iterable[Domain]) -> None:
        """Domains are served no more: their users watch nobody, and nobody watches them."""
        now = self._outside.now()
        for domain in domains:
            self._do(self.watchers.removed(domain, now))
            self._do(self.presentities.removed(domain, now))
            self._unreached.pop(domain, None)

    def blocked(self, watcher: Address, presentity: Address) -> None:
        """A rule forbids this pair from now on: whichever of them is a user of XMPP is told its end."""
        now = self._outside.now()
        self._do(self.watchers.blocked(watcher, presentity, now))
        self._do(self.presentities.blocked(watcher, presentity, now))

    def _look_at_services(self, now: float) -> None:
        held = {**dict(self.watchers.domains()), **dict(self.presentities.domains())}
        for domain in self._unreached.keys() - held.keys():
            del self._unreached[domain]
            self._do(self.presentities.back(domain, now))  # nobody would say so later
        self._spent = {domain: spent for domain, spent in self._spent.items() if spent > now}
        for domain, other in held.items():
            if self._outside.reached(other.name, domain.name):
                if domain in self._unreached and self._has_turn(domain, now):
                    del self._unreached[domain]
                    self.watchers.back(domain, now)
                    self._do(self.presentities.back(domain, now))
            elif now >= self._unreached.setdefault(domain, now) + GRACE_S:
                tells = self._outside.is_served(domain.name)
                self._do(self.presentities.lost(domain, now, tells=tells))

    def _has_turn(self, domain: Domain, now: float) -> bool:
        """Whether all of a domain are asked now: whoever breaks streams to have much asked gets little."""
        spent = self._spent.get(domain, now)
        if paced(spent, now, PACE_BURST, PACE_S) and not self.presentities.is_lost(domain):
            self._unreached[domain] = now  # if it is lost before its turn, that has its time of grace
            return False
        self._spent[domain] = spend(spent, now, PACE_S)
        return True

    def shaken(self, domains: Iterable[Domain]) -> None:
        """A stream with these has broken: what their users said, or were told, may be lost with it."""
        for domain in domains:
            if self.presentities.holds(domain) or self.watchers.holds(domain):
                self._unreached.setdefault(domain, self._outside.now())

    def opened(self, domain: str, watchers: str) -> None:
        """Presence may come on one more stream; see `StreamPassing.opened`."""
        self.presentities.opened(Domain(domain), watchers, self._outside.now())

    def _wake_soon(self) -> None:
        """Come back before the next tick where something is due by then."""
        now = self._outside.now()
        due = self.presentities.next_due(now)
        if due < now + 1.0 and not self._awake:
            self._awake = True
            self._outside.later(max(due - now, 0.05), self._woken)

    def _woken(self) -> None:
        self._awake = False
        self._do(self.presentities.due(self._outside.now()))

    # -- what is done --------------------------------------------------------------------------------------

    def _do(self, effects: Effects) -> None:
        for one in effects.stanzas:
            self._send(one)
        for asked in effects.operations:
            self._submit(asked, lambda outcome, asked=asked: self._asked(asked, outcome))  # type: ignore[misc]
        for ticket, told in effects.notifications:
            self._submit(told, lambda outcome, ticket=ticket: self._told(ticket, outcome))  # type: ignore[misc]
        for told in effects.doubts:
            self._hand(notify_to_record(told, told.presentity.domain), _unheard)
        self._wake_soon()

    def _asked(self, asked: Subscribe, outcome: Outcome) -> None:
        self._do(self.watchers.answered(asked, outcome, self._outside.now()))

    def _told(self, ticket: int, outcome: Outcome) -> None:
        self._do(self.presentities.answered(ticket, outcome, self._outside.now()))

    def _submit(self, operation: Subscribe | Notify, heard: Callable[[Outcome], None]) -> None:
        def respond(response: Record) -> None:
            heard(result_of(response, decode_outcome(response)))

        try:
            record = operation_to_record(operation)
        except TranslationError as error:
            heard(failure(error.reason, note=str(error)))
            return
        if not self._hand(record, respond):
            heard(failure(Reason.BUSY, retry_after_s=5))

    def _send(self, one: PresenceStanza) -> None:
        try:
            raw = written(one)
            record = stanza_record(raw, party_of(_jid(one.source)), party_of(_jid(one.to)), self._new_id())
        except (BadJid, Unsayable, WireError):
            self._outside.dropped("unsayable")
            return
        if one.type == "probe":
            self._ask(one, record)
            return
        from_, to = (_jid(end) for end in (one.source, one.to))
        if one.resource:
            from_ = f"{from_}/{one.resource}"
        going = self._outside.again.going(from_, to, one.type, record)

        def respond(response: Record) -> None:
            if going is not None:
                self._outside.again.answered(going, decode_outcome(response))

        if not self._hand(record, respond):
            self._outside.dropped("no-room")

    def _ask(self, one: PresenceStanza, record: Record) -> None:
        """Send a probe: what silence means depends on what became of it."""

        def heard(outcome: Outcome) -> None:
            self.presentities.probed(one, outcome, self._outside.now())
            self._wake_soon()

        if not self._hand(record, lambda response: heard(decode_outcome(response))):
            heard(failure(Reason.BUSY))

    def _hand(self, record: Record, respond: Callable[[Record], None]) -> bool:
        if not self._outside.has_room():
            return False
        self._outside.submit(record, respond)
        return True


def _unheard(_response: Record) -> None:
    """A presence that cannot go is not told (row err-presence-quiet); who needs it asks again."""


def _address(jid: str) -> Address:
    return to_model(parse_jid(jid))[0]


def _jid(address: Address) -> str:
    return str(to_jid(address))


def _form_of(tree: Element) -> bytes:
    """The original form of what the model cannot say (row org-when); empty where it can."""
    kind = tree.attributes.get("type", "")
    if kind != "unsubscribe" and not (kind in {"subscribe", "unsubscribed"} and tree.children):
        return b""
    form = PREFIX + bytes_of(tree)
    return form if len(form) <= MAX_FORM_BYTES else b""


def _bare(tree: Element) -> bytes:
    """The form of a presence without anything in it."""
    said = {name: tree.attributes.get(name, "") for name in ("from", "to", "id", "type")}
    made = stanza("presence", to=said["to"], from_=said["from"], ident=said["id"], type_=said["type"])
    return PREFIX + made


def _opened(operation: Subscribe | Notify, kinds: frozenset[str]) -> Element | Misfit:
    """The stanza that an operation was made of, or why it is not used."""
    tree = opened(operation.original_form, operation.source, operation.destination, Protocol.XMPP)
    if isinstance(tree, Misfit):
        return tree
    kind = tree.attributes.get("type")
    if tree.name == "presence" and kind == "error":
        return Misfit.ERROR
    if tree.name != "presence" or kind not in kinds:
        return Misfit.KIND
    # Consents are between bare JIDs, and the envelope's spelling is what is sent.
    ends = (tree.attributes.get("from"), tree.attributes.get("to"))
    return tree if ends == (_jid(operation.source), _jid(operation.destination)) else Misfit.ENVELOPE
