"""Pairs of users of XMPP whose presence passes: who watches whom, as their servers' stanzas tell.

Where both sides speak XMPP their servers look after the subscription, and what passes is theirs. What was
said while no way was there is lost, though, and nobody says it again. So it is remembered for whom presence
passes, and `rounds` asks for it anew when something may have been lost.

A pair is believed by what a user served here did, never by a stranger's word alone: a watcher of ours asked
(`subscribe`, or his server's probe) and then got an answer; or a presentity of ours said `subscribed`, or his
server tells him to the watcher. Stanzas count when the switch has handed them on, so after lists and limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from imxrouter.gateways.xmpp.subscriptions.kept import Keeping, KeptPassing
from imxrouter.routing.zones import zone_of

#: Watcher and presentity, as bare JIDs, as they are spelled.
Ends = tuple[str, str]
#: Domain of the presentity and of the watcher (A-labels): by this way his presence comes.
Way = tuple[str, str]

DAY_S: Final = 86_400.0
#: The third counter of pairs: of zones. Behind it stand those of domains served here.
ZONE: Final = 2
#: The room behind this part is for domains served here that have less than an even share of it.
FREE_PART: Final = 0.75
#: Resources of one presentity that a watcher is known to be shown; what is over them is not taken back.
MOST_SHOWN: Final = 8
#: Bytes of a resource that is remembered; those of programs have 8 to 40.
RESOURCE_BYTES: Final = 128
#: A server's probe, or a wish on its way, counts as asked for so long, and so many are remembered.
PROBED_S: Final = 60.0
MOST_PROBED: Final = 10_000
#: Pairs whose age is looked at in one go.
_LOOKED_AT: Final = 500
_KINDS: Final = frozenset(
    {"", "unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "error"}
)


@dataclass(frozen=True, slots=True)
class PassingSettings:
    """Bounds.

    Attributes:
        most: pairs in all; what is over them is not remembered, and passes as before.
        per_user: of one user, in each of both roles.
        per_zone: of one zone that is not served here, a quarter of the room.
        asked_days: a wish without an answer is remembered so long.
        idle_days: a pair of which nothing passes is; whoever logs in after that has his server probe, and
            it is learned anew.
    """

    most: int = 100_000
    per_user: int = 5_000
    per_zone: int = 25_000
    asked_days: int = 7
    idle_days: int = 30


class Seen(NamedTuple):
    """A presence that passes, until it is known whether it did.

    Attributes:
        type: as RFC 6121 section 4.7.1 has it; empty for available.
        source: bare JID of its sender.
        resource: of the sender; empty for none.
        recipient: bare JID.
        to_one: it is for one resource of the recipient.
        from_domain: of the sender (A-labels).
        to_domain: of the recipient.
        at: when it came, in monotonic seconds.
    """

    type: str
    source: str
    resource: str
    recipient: str
    to_one: bool
    from_domain: str
    to_domain: str
    at: float


class PassingPair:
    """A watcher and whom he watches.

    Attributes:
        ends: its key.
        way: by which presence comes.
        granted: it was answered; before, the watcher has only asked.
        day: since 1970, on which something of it passed last.
        shown: resources of the presentity that the watcher is shown as available.
        counted: in which counters of `PassingPairs` it is, from the first one on: watcher, presentity, zone.
    """

    __slots__ = ("counted", "day", "ends", "granted", "shown", "way")

    def __init__(self, ends: Ends, way: Way, day: int, *, granted: bool) -> None:
        self.ends, self.way, self.day, self.granted = ends, way, day, granted
        self.shown: tuple[str, ...] = ()
        self.counted = 0

    @property
    def watcher(self) -> str:
        """Bare JID, as it is spelled."""
        return self.ends[0]

    @property
    def presentity(self) -> str:
        """The same of whom he watches."""
        return self.ends[1]


def seen_of(type_: str, from_: str, to: str, way: Way, now: float) -> Seen | None:
    """What to remember of a presence until it is known whether it passed; None of other types.

    Args:
        type_: its type; empty for none.
        from_: as it stands in it.
        to: the same.
        way: domains of its sender and recipient (A-labels).
        now: monotonic seconds.
    """
    if type_ not in _KINDS:
        return None
    source, _, resource = from_.partition("/")
    recipient, _, one = to.partition("/")
    return Seen(type_, source, resource, recipient, bool(one), *way, now)


class PassingPairs:
    """All pairs whose presence passes.

    Args:
        keeping: where they are kept.
        is_served: whether a domain is served here.
        settings: bounds.

    Attributes:
        settings: the same.
        counts: what found no room, by word.
    """

    def __init__(
        self, keeping: Keeping, is_served: Callable[[str], bool], settings: PassingSettings | None = None
    ) -> None:
        self.settings = settings or PassingSettings()
        self.counts: Counter[str] = Counter()
        self._keeping, self._is_served = keeping, is_served
        self._pairs: dict[Ends, PassingPair] = {}
        self._ways: dict[Way, dict[Ends, PassingPair]] = {}
        #: pairs of each watcher and presentity who is ours, and of each zone that is not
        self._of: tuple[Counter[str], Counter[str], Counter[str]] = (Counter(), Counter(), Counter())
        #: pairs of each domain served here
        self._of_domain: Counter[str] = Counter()
        #: until when a server's probe, or a wish on its way, counts as asked, and whose; the oldest first
        self._asked: dict[Ends, tuple[float, str]] = {}
        self._asked_by: Counter[str] = Counter()
        self._to_look_at: list[PassingPair] = []

    def __len__(self) -> int:
        return len(self._pairs)

    def get(self, ends: Ends) -> PassingPair | None:
        """The pair of a watcher and a presentity."""
        return self._pairs.get(ends)

    def of_way(self, way: Way) -> Iterable[PassingPair]:
        """All whose presence comes by a way."""
        return self._ways.get(way, {}).values()

    def ways(self) -> list[Way]:
        """All by which presence comes."""
        return list(self._ways)

    def all(self) -> Iterable[PassingPair]:
        """Every pair, for people to read."""
        return self._pairs.values()

    def granted(self) -> int:
        """Pairs that were answered."""
        return sum(one.granted for one in self._pairs.values())

    def restore(self, wall: float) -> None:
        """Take over what is kept; `wall` is in seconds since 1970."""
        for ends, way, kept in self._keeping.all_passing():
            pair = PassingPair(ends, self._same(way), kept.day, granted=kept.granted)
            pair.shown = tuple(kept.shown)
            self._hold(pair)
            if self._is_over(pair, int(wall / DAY_S)) or not self._is_ours(way):
                self._drop(pair)

    # -- what passes ---------------------------------------------------------------------------------------

    def passed(self, seen: Seen, now: float, wall: float, *, arrived: bool = True) -> PassingPair | None:
        """A presence was handed on.

        Args:
            seen: it.
            now: monotonic seconds.
            wall: seconds since 1970.
            arrived: False where it did not and is said again: that makes no pair, and tells of one.

        Returns:
            the pair of which it says how the presentity is; None where it says nothing of that.
        """
        type_, day = seen.type, int(wall / DAY_S)
        if type_ in {"subscribe", "probe", "unsubscribe"}:
            if arrived:
                self._wished(seen, now, day)
            return None
        ends, way = (seen.recipient, seen.source), (seen.from_domain, seen.to_domain)
        pair = self._pairs.get(ends)
        if type_ == "unsubscribed":
            if pair is not None:
                self._drop(pair)
            return None
        if pair is None:
            if type_ not in {"", "subscribed"} or not arrived or not self._is_believed(seen, ends, now):
                return None
            pair = self._add(ends, way, day, granted=True)
            if pair is None:
                return None
        self._says(pair, seen, day)
        return pair if type_ != "subscribed" else None

    def asks(self, seen: Seen, now: float) -> None:
        """A watcher asks, and it is not known yet whether that arrives: the answer may be here before."""
        ends = seen.source, seen.recipient
        if seen.type == "subscribe" and ends not in self._pairs and self._is_served(seen.from_domain):
            self._note_asked(ends, now, seen.from_domain)

    def _wished(self, seen: Seen, now: float, day: int) -> None:
        """The watcher asks, or wants no more."""
        ends = seen.source, seen.recipient
        pair = self._pairs.get(ends)
        if seen.type == "unsubscribe":
            if pair is not None:
                self._drop(pair)
        elif pair is None and self._is_served(seen.from_domain):
            if seen.type == "subscribe":
                self._add(ends, (seen.to_domain, seen.from_domain), day, granted=False)
            else:
                self._note_asked(ends, now, seen.from_domain)

    def _note_asked(self, ends: Ends, now: float, domain: str) -> None:
        while self._asked and next(iter(self._asked.values()))[0] <= now:
            self._was_asked(next(iter(self._asked)))
        self._was_asked(ends)  # the newest stands last, and counts
        if len(self._asked) >= MOST_PROBED:
            return
        if len(self._asked) >= FREE_PART * MOST_PROBED and self._has_its_share(
            domain, MOST_PROBED, self._asked_by
        ):
            return
        self._asked[ends] = now + PROBED_S, domain
        self._asked_by[domain] += 1

    def _was_asked(self, ends: Ends) -> float:
        """Take one out; until when it counts."""
        until, domain = self._asked.pop(ends, (0.0, ""))
        if domain:
            _less(self._asked_by, domain)
        return until

    @staticmethod
    def _has_its_share(domain: str, room: int, counts: Counter[str]) -> bool:
        """Whether a domain has an even share of a room already; one more may come at any time."""
        return counts[domain] * (len(counts) + (domain not in counts) + 1) >= room

    def _is_believed(self, seen: Seen, ends: Ends, now: float) -> bool:
        """Whether a user of ours did what makes a pair of these two."""
        if self._was_asked(ends) > now:
            return True
        if seen.to_one:
            return False  # a room, or somebody who shows himself once
        if self._is_served(seen.from_domain):
            return True
        # he may watch our user, whom our user's server tells him: most who do are watched as well
        back = self._pairs.get((ends[1], ends[0]))
        return seen.type == "" and back is not None and back.granted

    def _says(self, pair: PassingPair, seen: Seen, day: int) -> None:
        """What a presentity says, or that the watcher may see him."""
        shown, name = pair.shown, seen.resource
        if seen.type == "" and name:
            if name not in shown and len(shown) < MOST_SHOWN and len(name.encode()) <= RESOURCE_BYTES:
                shown = (*shown, name)
        elif seen.type != "subscribed":
            shown = tuple(one for one in shown if one != name) if name and seen.type else ()
        granted = pair.granted or seen.type in {"", "subscribed"}
        if (shown, granted, day) != (pair.shown, pair.granted, pair.day):
            pair.shown, pair.granted, pair.day = shown, granted, day
            self._keep(pair)

    def forget_shown(self, pair: PassingPair, names: Iterable[str] | None = None) -> None:
        """The watcher was told that these resources are gone, or, without names, that nothing is known."""
        gone = set(pair.shown if names is None else names)
        pair.shown = tuple(one for one in pair.shown if one not in gone)
        self._keep(pair)

    # -- the end -------------------------------------------------------------------------------------------

    def look(self, wall: float) -> None:
        """Forget some of what is over; called about once a second."""
        if not self._to_look_at:
            self._to_look_at = list(self._pairs.values())
        looked, self._to_look_at = self._to_look_at[-_LOOKED_AT:], self._to_look_at[:-_LOOKED_AT]
        day = int(wall / DAY_S)
        for pair in looked:
            if self._is_over(pair, day):
                self._drop(pair)

    def removed(self) -> None:
        """Domains are served no more: pairs of which neither end is served any more go."""
        for way in [way for way in self._ways if not self._is_ours(way)]:
            for pair in list(self.of_way(way)):
                self._drop(pair)

    def _is_ours(self, way: Way) -> bool:
        return any(map(self._is_served, way))

    def _is_over(self, pair: PassingPair, day: int) -> bool:
        days = self.settings.idle_days if pair.granted else self.settings.asked_days
        return day - pair.day > days

    # -- the table -----------------------------------------------------------------------------------------

    def _add(self, ends: Ends, way: Way, day: int, *, granted: bool) -> PassingPair | None:
        pair = PassingPair(ends, self._same(way), day, granted=granted)
        places = [(self._of[place][name], self._most(place)) for place, name in self._shares(pair)]
        full = len(self._pairs) >= self.settings.most or self._is_anothers(pair)
        if full or any(count >= most for count, most in places):
            self.counts["no-room"] += 1
            return None
        self._hold(pair)
        self._keep(pair)
        return pair

    def _is_anothers(self, pair: PassingPair) -> bool:
        """Whether what room is left is for other domains served here: none takes it all."""
        most = self.settings.most
        return len(self._pairs) >= FREE_PART * most and any(
            self._has_its_share(one, most, self._of_domain) for one in set(pair.way) if self._is_served(one)
        )

    def _most(self, place: int) -> int:
        return self.settings.per_zone if place == ZONE else self.settings.per_user

    def _shares(self, pair: PassingPair) -> list[tuple[int, str]]:
        """Counter and key of what of it is counted: users served here, the zone of one who is not."""
        domains = pair.way[::-1]
        ours = [(place, pair.ends[place]) for place in (0, 1) if self._is_served(domains[place])]
        return ours + [(ZONE, zone_of(one)) for one in domains if not self._is_served(one)][:1]

    def _same(self, way: Way) -> Way:
        """Equal tuples are kept once."""
        of_way = self._ways.get(way)
        return next(iter(of_way.values())).way if of_way else way

    def _hold(self, pair: PassingPair) -> None:
        self._pairs[pair.ends] = pair
        self._ways.setdefault(pair.way, {})[pair.ends] = pair
        for place, name in self._shares(pair):
            self._of[place][name] += 1
            pair.counted |= 1 << place
        for name in self._domains_of(pair):
            self._of_domain[name] += 1

    @staticmethod
    def _domains_of(pair: PassingPair) -> set[str]:
        """Domains served here when it was counted: of the presentity, of the watcher."""
        return {domain for place, domain in enumerate(reversed(pair.way)) if pair.counted >> place & 1}

    def _keep(self, pair: PassingPair) -> None:
        kept = KeptPassing(1, pair.granted, pair.day, list(pair.shown))
        if not self._keeping.passing(pair.ends, kept):
            self.counts["not-kept"] += 1

    def _drop(self, pair: PassingPair) -> None:
        if self._pairs.get(pair.ends) is not pair:
            return
        del self._pairs[pair.ends]
        of_way = self._ways[pair.way]
        del of_way[pair.ends]
        if not of_way:
            del self._ways[pair.way]
        far = pair.way[0] if pair.counted & 1 else pair.way[1]
        for place, name in enumerate((*pair.ends, zone_of(far))):
            if pair.counted >> place & 1:
                _less(self._of[place], name)
        for name in self._domains_of(pair):
            _less(self._of_domain, name)
        self._keeping.passing(pair.ends, None)

    def of_user(self, jid: str, *, watches: bool) -> list[PassingPair]:
        """Pairs in which a user watches, or is watched; for people to read."""
        place = 0 if watches else 1
        return list(islice((one for ends, one in self._pairs.items() if ends[place] == jid), 10_000))


def _less(counts: Counter[str], name: str) -> None:
    """Count one less."""
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
