"""Presence that passes between two servers is right again after an outage: it is asked for anew.

What passes is learned of the stanzas that edges have handed on (`subscriptions.passing`), and what is to be
asked stands in `subscriptions.rounds`; here both meet the switch. A question is a probe in the name of the
watcher, from his bare JID to that of the presentity (RFC 6121 section 4.3.1). Lists, rules and the choice of
a protocol judge it as one of his server's; who answers it is the presentity's server alone, and it answers
the watcher, or says that he may not see (section 4.3.2). Where nobody can be asked for some seconds, the
watcher is told that nothing is known (row prs-unknown).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from twisted.logger import Logger

from imxrouter.gateways.xmpp.build import Unsayable, stanza
from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.streams.again import PresenceAgain
from imxrouter.gateways.xmpp.streams.records import party_of, stanza_record
from imxrouter.gateways.xmpp.subscriptions.kept import Keeping
from imxrouter.gateways.xmpp.subscriptions.passing import (
    PassingPair,
    PassingPairs,
    PassingSettings,
    Seen,
    Way,
    seen_of,
)
from imxrouter.gateways.xmpp.subscriptions.probes import HasWay, any_way
from imxrouter.gateways.xmpp.subscriptions.rounds import START_S, Came, Rounds
from imxrouter.gateways.xmpp.translate.jid import BadJid, parse_jid, to_model
from imxrouter.gateways.xmpp.translate.showing import Shown, show, written
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.outcome import Outcome
from imxrouter.model.presence import Unknown
from imxrouter.model.vocabulary import Reason, Retry, Stage
from imxrouter.routing.interfaces import Store
from imxrouter.wire.errors import WireError
from imxrouter.wire.record import Record, decode_outcome

#: Questions, and things told, in one go: others want the switch, too.
MOST_AT_ONCE: Final = 1000
#: What a presentity's server answers a probe with (RFC 6121 section 4.3.2).
_ANSWERS: Final = frozenset({"", "unavailable", "error", "unsubscribed"})


@dataclass(frozen=True, slots=True)
class PassingOutside:
    """What it needs of its process.

    Attributes:
        submit: hands a request of the router itself to the switch (`InsidePort.submit`).
        has_room: whether the switch takes one more of those.
        is_calm: whether nothing is left out for overload; what is asked here waits until then.
        now: monotonic seconds.
        wall: seconds since 1970.
        chance: a random number in [0, 1).
        random_bytes: source of ids.
        is_served: whether a domain is served here (A-labels).
        choose: has it decided by what a domain is reached; told, now or later, whether that is XMPP.
        bars: (watcher, presentity): whether lists or rules keep the one from seeing the other.
        held: whether presence of two bare JIDs does not pass, but is translated.
        again: presence that is on its way, until it arrives.
        has_way: whether stanzas may come now, of a domain to another one.
    """

    submit: Callable[[Record, Callable[[Record], None]], None]
    has_room: Callable[[], bool]
    is_calm: Callable[[], bool]
    now: Callable[[], float]
    wall: Callable[[], float]
    chance: Callable[[], float]
    random_bytes: Callable[[int], bytes]
    is_served: Callable[[str], bool]
    choose: Callable[[str, Callable[[bool], None]], None]
    bars: Callable[[Address, Address], bool]
    held: Callable[[str, str], bool]
    again: PresenceAgain
    has_way: HasWay = any_way


class StreamPassing:
    """See the module.

    Args:
        outside: what it needs of its process.
        store: where pairs are kept; those that are there are asked for at once, spread.
        settings: bounds.

    Attributes:
        pairs: whose presence passes.
        rounds: what is to be asked.
        counts: what was done, by word: `asked`, `failed`, `refused`, `unknown`, `gone`.
    """

    log = Logger()

    def __init__(
        self, outside: PassingOutside, store: Store, settings: PassingSettings | None = None
    ) -> None:
        self._outside = outside
        self.counts: Counter[str] = Counter()
        self.pairs = PassingPairs(Keeping(store, self._unread), outside.is_served, settings)
        self.rounds = Rounds(self.pairs, outside.chance, outside.has_way)
        self._rests = False
        self.pairs.restore(outside.wall())
        self._ask_all()

    def _ask_all(self) -> None:
        self.rounds.begin(self.pairs.ways(), self._outside.now(), START_S)

    def rest(self, *, rests: bool) -> None:
        """Whether the router is out of service: then nothing is asked; when it is back, everybody is."""
        if self._rests and not rests:
            self._ask_all()
        self._rests = rests

    def _unread(self, table: str) -> None:
        self.log.warn("an entry of {table} cannot be read", table=table)

    # -- what passes ---------------------------------------------------------------------------------------

    def came(self, got: StanzaIn) -> Seen | None:
        """A presence came that passes; what `passed` is told when it did, None where it says nothing."""
        given, now = got.stanza, self._outside.now()
        seen = seen_of(given.type, given.from_, given.to, (got.from_, got.to), now)
        if seen is not None and seen.type in _ANSWERS:
            pair = self.pairs.get((seen.recipient, seen.source))
            if pair is not None:  # it is an answer now, whenever it reaches the watcher
                self.rounds.heard(pair, seen.resource if seen.type != "error" else "", now)
        elif seen is not None:
            self.pairs.asks(seen, now)
        return seen

    def passed(self, seen: Seen, outcome: Outcome) -> None:
        """What became of it is known: it counts where it arrived, or nothing but the way was in its way."""
        if not (outcome.ok or outcome.in_doubt or outcome.reason.retry is Retry.LATER):
            return
        self.pairs.passed(seen, self._outside.now(), self._outside.wall(), arrived=outcome.ok)

    def shaken(self, ways: Iterable[Way]) -> None:
        """A stream broke by which presence came from the first domain of each to the second."""
        self.rounds.begin(ways, self._outside.now())

    def opened(self, domain: str, watchers: str) -> None:
        """Presence may come on one more stream.

        Args:
            domain: of who says it (A-labels).
            watchers: domain of those for whom it is; empty: any.
        """
        now = self._outside.now()
        ways = [(domain, watchers)] if watchers else [way for way in self.pairs.ways() if way[0] == domain]
        for way in ways:
            self.rounds.opened(way, now)

    def removed(self) -> None:
        """Domains are served no more."""
        self.pairs.removed()

    def figures(self) -> tuple[int, int, Counter[str]]:
        """Pairs that were answered, those that wait for it, and what was done, by word."""
        granted = self.pairs.granted()
        return granted, len(self.pairs) - granted, self.counts + self.pairs.counts

    # -- time ----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """About once a second: ask what is due, and tell what came of it."""
        outside, now = self._outside, self._outside.now()
        self.pairs.look(outside.wall())
        self.rounds.tidy(now)
        gone = self.rounds.gone(now)
        if self._rests:
            return  # no stream is opened now, and all are asked when it is over
        for pair, names in gone:
            self._tell_gone(pair, names)
        if not outside.is_calm() or not outside.has_room():
            return
        for pair, reason in self.rounds.doubted(now, MOST_AT_ONCE):
            self._tell_doubt(pair, reason)
        for pair in self.rounds.take(now, MOST_AT_ONCE):
            self._ask(pair)

    # -- what is asked -------------------------------------------------------------------------------------

    def _ask(self, pair: PassingPair) -> None:
        if self._outside.held(pair.watcher, pair.presentity):
            self._refused(pair)
            return
        domain = pair.way[0]
        if self._outside.is_served(domain):
            self._probe(pair)
            return
        self._outside.choose(domain, lambda is_xmpp: (self._probe if is_xmpp else self._refused)(pair))

    def _refused(self, pair: PassingPair) -> None:
        self.counts["refused"] += 1
        self.rounds.answered(pair, Came.REFUSED, self._outside.now())

    def _probe(self, pair: PassingPair) -> None:
        try:
            new_id = self._outside.random_bytes(16)
            raw = stanza(
                "presence", to=pair.presentity, from_=pair.watcher, ident=new_id.hex(), type_="probe"
            )
            record = stanza_record(raw, party_of(pair.watcher), party_of(pair.presentity), new_id)
        except (BadJid, Unsayable, WireError):
            self._refused(pair)
            return
        if not self._outside.has_room():
            self.rounds.answered(pair, Came.FAILED, self._outside.now())
            return
        self.counts["asked"] += 1
        self._outside.submit(record, lambda response: self._answered(pair, decode_outcome(response)))

    def _answered(self, pair: PassingPair, outcome: Outcome) -> None:
        now, reason = self._outside.now(), outcome.reason
        if outcome.ok:
            self.rounds.answered(pair, Came.GOT, now)
        elif outcome.in_doubt or reason.retry is Retry.LATER:
            self.counts["failed"] += 1
            # what has no room, or came too often, says nothing of whether there is a way
            told = Reason.NONE if reason.stage is Stage.LIMIT else reason
            self.rounds.answered(pair, Came.FAILED, now, told)
        else:
            self._refused(pair)

    # -- what is told --------------------------------------------------------------------------------------

    def _tell_gone(self, pair: PassingPair, names: list[str]) -> None:
        """No answer named these resources, so they went meanwhile (row prs-unavailable)."""
        for name in names:
            try:
                raw = stanza(
                    "presence", to=pair.watcher, from_=f"{pair.presentity}/{name}", type_="unavailable"
                )
            except Unsayable:
                continue
            self.counts["gone"] += 1
            self._say(pair, raw, name, "unavailable")
        self.pairs.forget_shown(pair, names)

    def _tell_doubt(self, pair: PassingPair, reason: Reason) -> None:
        """Nothing is known of him: of each resource that is shown, and of him (row prs-unknown)."""
        shown = Shown(dict.fromkeys(pair.shown, b""))
        self.pairs.forget_shown(pair)
        try:
            watcher, presentity = (to_model(parse_jid(one))[0] for one in pair.ends)
            if self._outside.bars(watcher, presentity):
                return
            doubt = Unknown(presentity, reason, Domain(pair.way[0]))
            told = show(shown, doubt, watcher)[1]
            for one in told:
                self._say(pair, written(one), one.resource, "error")
        except (RouterError, Unsayable):
            return
        self.counts["unknown"] += 1

    def _say(self, pair: PassingPair, raw: bytes, resource: str, type_: str) -> None:
        """Tell the watcher, as the router's own; what is taken back is said again until it arrives."""
        try:
            ends = party_of(pair.presentity), party_of(pair.watcher)
            record = stanza_record(raw, *ends, self._outside.random_bytes(16))
        except (BadJid, WireError):
            return
        again = self._outside.again
        from_ = f"{pair.presentity}/{resource}" if resource else pair.presentity
        going = again.going(from_, pair.watcher, type_, record)

        def respond(response: Record) -> None:
            if going is not None:
                again.answered(going, decode_outcome(response))

        if self._outside.has_room():
            self._outside.submit(record, respond)
        # else it has its turn when what is on its way has been waited for long enough
