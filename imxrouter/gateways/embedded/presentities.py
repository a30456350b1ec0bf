"""The presentity's side: what our users publish, who watches them, and who is told what.

A watcher who is blocked takes the same way through this module as one who is allowed, up to `state_for`,
where he is shown somebody who is offline (RFC 2779 section 5.1.15). Nothing else may depend on it: neither an
answer nor a bound, a version or a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice
from operator import attrgetter
from typing import Final

from imxrouter.gateways.embedded.accounts import Account, NotAllowed
from imxrouter.gateways.embedded.directory import UserKey
from imxrouter.gateways.embedded.inbox import refused
from imxrouter.gateways.embedded.instances import (
    DEFAULT_PUBLICATION_S,
    MAX_PUBLICATION_S,
    BadPublication,
    Publication,
)
from imxrouter.gateways.embedded.register import Register, Topic
from imxrouter.gateways.embedded.tellings import Telling, Tellings
from imxrouter.model.address import Address
from imxrouter.model.errors import RouterError
from imxrouter.model.operations import Attribute, EndReason, Subscribe, SubscriptionState, Version
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.presence import Presence, Unknown
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.routing.interfaces import Answer
from imxrouter.routing.notifying import Notifying
from imxrouter.routing.owed import Decision as Word
from imxrouter.routing.owed import KeptSubscription, Onlooker, Owed
from imxrouter.routing.rules import BadRule, Decision, Person, Right, Ruling
from imxrouter.routing.watched import BETWEEN, address_of
from imxrouter.routing.wheel import Timed, Wheel
from imxrouter.routing.zones import zone_of

#: Notifications made in one go, and seconds after which no more are: messages wait for a turn of that
#: length at each end. A turn costs a tenth of it by itself.
SLICE: Final = 25
SLICE_S: Final = 0.001
#: Of those, how many are taken out at a time.
_STEP: Final = 8
#: Watchers that are looked at in one go after rules changed: some 5 ms.
RULES_SLICE: Final = 250
#: Patterns of one audience.
MAX_AUDIENCE: Final = 16
#: Subscriptions that wait for one user's decision, and of those of one zone.
MAX_PENDING: Final = 1_000
MAX_PENDING_OF_ZONE: Final = 100
#: Users whose publications are looked at for being over in one tick.
MAX_EXPIRIES: Final = 1_000

#: What the machine is told: it does not know of politeness.
_WORDS: Final = {
    Decision.ALLOW: Word.ALLOW, Decision.BLOCK: Word.ALLOW, Decision.ASK: Word.WAIT,
    Decision.REFUSE: Word.REFUSE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WatcherOf:
    """Somebody who watches a user, for that user's eyes.

    Attributes:
        watcher: who.
        subscription_id: of the subscription.
        state: as the watcher knows it.
        left_s: seconds until it ends.
        ruling: what is decided on him, and why; he is not told.
        failures: notifications that were not taken, in a row.
    """

    watcher: Address
    subscription_id: bytes
    state: SubscriptionState
    left_s: float
    ruling: Ruling
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """What one person is shown of a user, for that user's eyes.

    Attributes:
        watcher: the person.
        subscribed: what a subscription tells him; `Unknown` where he is refused or waits for a decision.
        fetched: what a fetch tells him; the same.
        rulings: what is decided on him, and why.
    """

    watcher: Address
    subscribed: Presence | Unknown
    fetched: Presence | Unknown
    rulings: tuple[tuple[Right, Ruling], ...]


class _Expiry(Timed):
    """When a publication of a user is over next."""

    __slots__ = ("account",)

    def __init__(self, account: Account) -> None:
        super().__init__()
        self.account = account


class Presentities:
    """Presence of our users, and subscriptions to it.

    Args:
        register: of accounts.
        wake: asks for `send_due` soon.
    """

    def __init__(self, register: Register, wake: Callable[[], None]) -> None:
        self._register = register
        self._wake = wake
        self._expiries: Wheel[_Expiry] = Wheel()
        self._expiry_of: dict[UserKey, _Expiry] = {}
        self._durable = False
        self._kept = True
        self._pending: dict[UserKey, dict[bytes, str]] = {}
        self._passes: dict[Address, tuple[Account, Iterator[Onlooker]]] = {}
        self._tellings = Tellings()
        self._number = 0
        self._born = register.tools.now()
        self._notifying = self._new_machine()

    def _new_machine(self) -> Notifying:
        tools = self._register.tools
        wall, now = tools.wall(), tools.now()
        self._born, self._number = now, 0
        self._pending.clear()
        self._passes.clear()
        epoch = self._register.keeping.new_epoch(wall)
        return Notifying(epoch, tools.chance, wall_ahead_s=wall - now, kept=self._keep)

    # -- which users there are ---------------------------------------------------------------------------

    def begin(self) -> None:
        """Go on with what the store has: publications that live, and subscriptions."""
        self._notifying = self._new_machine()
        self._expiries, self._expiry_of = Wheel(), {}
        self.returned(set(self._register.directory.accounts()))

    def returned(self, came: set[UserKey]) -> None:
        """Go on with what is kept for users who are new."""
        if not came:
            return
        for account in list(self._register.accounts.values()):
            if account.key in came:
                self._watch_expiry(account)
        for kept in self._register.keeping.all_watchers():
            try:
                watcher, presentity = address_of(kept.watcher), address_of(kept.presentity)
            except RouterError:
                continue
            watched = self._register.find(presentity)
            if watched is not None and watched.key in came:
                self._restore(watched, watcher, kept)
        self._wake()

    def _restore(self, account: Account, watcher: Address, kept: KeptSubscription) -> None:
        """Go on with one; rules may have changed while the router was away."""
        presentity = address_of(kept.presentity)
        if self._notifying.from_kept(kept, self._register.tools.now()) is not None:
            return
        self._count_pending(account, _store_key(kept), watcher, kept)
        self._follow_rules(account, presentity, watcher, SubscriptionState(kept.state))

    def unserved(self) -> None:
        """Names or accounts went: subscriptions to them end."""
        now = self._register.tools.now()
        for presentity in self._notifying.presentities():
            if self._register.find(presentity) is None:
                self._notifying.end(presentity, EndReason.NORESOURCE, now)
        self._wake()

    # -- publishing --------------------------------------------------------------------------------------

    def publish(
        self,
        user: Address,
        instance: str,
        presence: Presence,
        *,
        by: Address | None = None,
        expires_s: float = DEFAULT_PUBLICATION_S,
        audience: Iterable[str] = (),
    ) -> Presence:
        """Say how one instance of a user is; who watches is told at once.

        Args:
            user: whose presence it is.
            instance: a name for the device or program; what it said before is replaced.
            presence: its full state; whose it says it is does not matter.
            by: who publishes; None: the user himself.
            expires_s: seconds until it is forgotten, unless it is published again.
            audience: patterns (`access.Who`) of those who see this instance, if they may see the user at all;
                none: all of them. So different people can be told different states (RFC 2779 section 5.2.3).

        Returns:
            The state that all instances add up to.

        Raises:
            NotAUser: there is no such account.
            PresenceOff: presence is off here.
            NotAllowed: the user did not allow this person to publish for him (section 2.3.4).
            BadPublication: it is too large, or one instance too many, or the time is out of range.
            BadRule: a pattern is none.
        """
        account = self._register.changeable(user)
        publisher = self._publisher(account, instance, by)
        if not 0 < expires_s <= MAX_PUBLICATION_S:
            raise BadPublication(f"{expires_s:.0f} seconds; more than 0, and at most {MAX_PUBLICATION_S:.0f}")
        people = tuple(self._register.who(text) for text in dict.fromkeys(audience))
        if len(people) > MAX_AUDIENCE:
            raise BadRule(f"{len(people)} patterns; at most {MAX_AUDIENCE}, groups hold more people")
        until = self._register.tools.wall() + expires_s
        publication = Publication(replace(presence, presentity=account.address), until, publisher, people)
        account.instances.publish(instance, publication)
        self._register.keeping.presence(account, instance, publication)
        self._watch_expiry(account)
        self._changed_state(account)
        return account.instances.whole(account.address)

    def retract(self, user: Address, instance: str, *, by: Address | None = None) -> bool:
        """Forget an instance; tells whether it was there. Raises as `publish`."""
        account = self._register.changeable(user)
        self._publisher(account, instance, by)
        found = account.instances.retract(instance)
        if found:
            self._register.keeping.presence(account, instance, None)
            self._changed_state(account)
        return found

    def _publisher(self, account: Account, instance: str, by: Address | None) -> Address:
        publisher = account.address if by is None else self._register.canonical(by)
        if publisher == account.address:
            return publisher
        if publisher not in account.publishers:
            raise NotAllowed(f"{publisher} may not publish for {account.address}")
        theirs = dict(account.instances.all()).get(instance)
        if theirs is not None and theirs.by != publisher:
            raise NotAllowed(f"the instance {instance!r} is not one of {publisher}")
        return publisher

    def _watch_expiry(self, account: Account) -> None:
        entry = self._expiry_of.get(account.key)
        if len(account.instances):
            if entry is None or entry.account is not account:
                entry = self._expiry_of[account.key] = _Expiry(account)
            self._expiries.set(entry, account.instances.next_expiry())
        elif entry is not None:
            self._expiries.drop(entry)
            del self._expiry_of[account.key]

    def _changed_state(self, account: Account) -> None:
        for address in self._register.names_of(account):
            self._notifying.publish(address, self._notifying.next_version())
        self._register.tell(account, Topic.PRESENCE)
        self._wake()

    def state_of(self, user: Address) -> Presence:
        """The state that all instances of a user add up to, as he sees it himself. Raises `NotAUser`."""
        account = self._register.account(user)
        return account.instances.whole(account.address)

    def instances(self, user: Address) -> tuple[tuple[str, Publication], ...]:
        """What each instance of a user published, by name. Raises `NotAUser`."""
        return self._register.account(user).instances.all()

    def watchers(self, user: Address) -> tuple[WatcherOf, ...]:
        """Who watches a user, or waits for his decision, by address (section 5.1.11). Raises `NotAUser`."""
        account, now = self._register.account(user), self._register.tools.now()
        found = []
        for address in self._register.names_of(account):
            for one in self._notifying.watchers(address, now):
                ruling = account.ruling(self._register.person(account, one.watcher), Right.SUBSCRIBE)
                found.append(
                    WatcherOf(one.watcher, one.subscription_id, one.state, one.left_s, ruling, one.failures)
                )
        return tuple(sorted(found, key=lambda one: (one.watcher, one.subscription_id)))

    def shown_to(self, user: Address, watcher: Address) -> Shown:
        """What somebody is shown of a user now, and why. Raises `NotAUser`."""
        account, watcher = self._register.account(user), self._register.canonical(watcher)
        person = self._register.person(account, watcher)
        return Shown(
            watcher,
            _shown(account, person, Right.SUBSCRIBE),
            _shown(account, person, Right.FETCH),
            tuple((right, account.ruling(person, right)) for right in Right),
        )

    # -- subscriptions -----------------------------------------------------------------------------------

    def deliver(self, asked: Subscribe, answer: Answer) -> None:
        """Begin, renew or end a subscription, or take a fetch; `answer` is called before this returns."""
        answer(self._taken(asked))
        self._wake()

    def _taken(self, asked: Subscribe) -> Outcome:
        domain, now = asked.presentity.domain.name, self._register.tools.now()
        account = self._register.find(asked.presentity)
        if account is None:
            return refused(asked.presentity, Reason.UNKNOWN_USER)
        if not self._register.watchable(account):
            note = "users who differ in case alone have no presence"
            return failure(Reason.TYPE_NOT_ENABLED, by=domain, role="service", note=note)
        known = self._notifying.to_kept(asked.watcher, asked.presentity, asked.subscription_id) is not None
        word = self._word(account, asked, known)
        new = not known and asked.duration_s > 0
        if new and word is Word.WAIT and not self._has_room(account, asked.watcher):
            return failure(Reason.RECIPIENT_LIMIT, by=domain, role="service", retry_after_s=3_600)
        self._durable, self._kept = new, True
        longest_s = self._register.directory.record(account.key).subscription_lifetime_s
        taken = self._notifying.subscribe(asked, word, now, longest_s)
        self._durable = False
        if not self._kept:
            self._notifying.subscribe(replace(asked, duration_s=0), Word.ALLOW, now, longest_s)
            return failure(Reason.STATE_UNAVAILABLE, by=domain, role="service", retry_after_s=60)
        if taken.refusal is not None:
            if taken.refusal.reason is Reason.BLOCKED:
                return refused(asked.presentity, Reason.BLOCKED)
            return failure(
                taken.refusal.reason, by=domain, role="service", retry_after_s=taken.refusal.retry_after_s,
                note=taken.refusal.note,
            )  # fmt: skip
        return Outcome(Status.SUCCESS, result=taken.result)

    def _word(self, account: Account, asked: Subscribe, known: bool) -> Word:
        if known and asked.duration_s == 0:
            return Word.ALLOW  # whoever has a subscription may end it
        fetches = asked.duration_s == 0
        person = self._register.person(account, asked.watcher)
        decision = account.ruling(person, Right.FETCH if fetches else Right.SUBSCRIBE).decision
        if fetches and decision is Decision.ASK:
            self.knock(account, asked.watcher)
        return _WORDS[decision]

    def knock(self, account: Account, person: Address) -> None:
        """Somebody asked once for the presence of a user who has to agree first."""
        person = self._register.canonical(person)
        if account.knocks.note(person, person.key, Right.FETCH, self._register.tools.wall()):
            self._register.tell(account, Topic.KNOCK, person)

    def refresh(self, account: Account) -> None:
        """Rules, decisions or contacts of a user changed: all that watch him see what they may see now.

        Whoever is told anything from now on is told by the new rules. Subscriptions that begin or end by them
        do so in slices, the first of them before this returns.
        """
        now = self._register.tools.now()
        for address in self._register.names_of(account):
            self._passes[address] = account, self._notifying.watchers(address, now)
            self._pass_on(address)
            self._notifying.publish(address, self._notifying.next_version())  # what each may see has changed
        self._wake()

    def _pass_on(self, address: Address) -> None:
        """One slice of the watchers whose rules changed."""
        account, onlookers = self._passes[address]
        count = 0
        if self._register.accounts.get(account.key) is account:
            for one in islice(onlookers, RULES_SLICE):
                self._follow_rules(account, address, one.watcher, one.state)
                count += 1
        if count < RULES_SLICE:
            del self._passes[address]

    def _follow_rules(
        self, account: Account, address: Address, watcher: Address, state: SubscriptionState
    ) -> None:
        """Let a watcher's subscription be in the state that the rules give it now."""
        now = self._register.tools.now()
        decision = account.ruling(self._register.person(account, watcher), Right.SUBSCRIBE).decision
        word, active = _WORDS[decision], state is SubscriptionState.ACTIVE
        if word is Word.WAIT and active:
            self._notifying.end(address, EndReason.REJECTED, now, watcher)
        elif word is Word.REFUSE or (word is Word.ALLOW and not active):
            self._notifying.decide(watcher, address, word, now)

    def _keep(self, key: bytes, kept: KeptSubscription | None) -> None:
        before = self._register.keeping.state_of_watcher(key)
        if not self._register.keeping.watcher(key, kept, durable=self._durable):
            self._kept = False
        watcher, presentity = map(address_of, key.split(BETWEEN, 2)[:2])
        account = self._register.find(presentity)
        if account is None:
            return
        self._count_pending(account, key, watcher, kept)
        if before != (kept.state if kept is not None else None):
            self._register.tell(account, Topic.WATCHERS, watcher)

    def _count_pending(
        self, account: Account, key: bytes, watcher: Address, kept: KeptSubscription | None
    ) -> None:
        waiting = self._pending.setdefault(account.key, {})
        if kept is not None and kept.state == SubscriptionState.PENDING:
            waiting[key] = zone_of(watcher.domain.name)
        else:
            waiting.pop(key, None)
        if not waiting:
            del self._pending[account.key]

    def _has_room(self, account: Account, watcher: Address) -> bool:
        """Whether one more may wait for the user's decision: strangers must not fill his table."""
        waiting = self._pending.get(account.key, {})
        zone = zone_of(watcher.domain.name)
        of_zone = sum(1 for one in waiting.values() if one == zone)
        return len(waiting) < MAX_PENDING and of_zone < MAX_PENDING_OF_ZONE

    # -- notifications -----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Forget what has expired."""
        wall = self._register.tools.wall()
        self._notifying.wall_ahead_s = wall - self._register.tools.now()
        for entry in self._expiries.take(wall, MAX_EXPIRIES):
            account = entry.account
            if self._register.accounts.get(account.key) is not account:
                continue
            expired = account.instances.expire(wall)
            self._watch_expiry(account)
            if expired:
                self._changed_state(account)

    def send_due(self) -> None:
        """Send some of the notifications that are due; asks to be called again where there are more."""
        now = self._register.tools.now()
        for address in list(self._passes)[:1]:
            self._pass_on(address)
        count, due = 0, self._notifying.due(now, _STEP)
        while due:
            self._notify_all(due, now)
            count += len(due)
            now_s = self._register.tools.now()
            if count >= SLICE or now_s >= now + SLICE_S:
                break
            due = self._notifying.due(now_s, _STEP)
        if due or self._passes or self._notifying.next_due(now) <= now:
            self._wake()

    def _notify_all(self, due: list[Owed], now: float) -> None:
        """Those of one user stand together, so each is looked up once."""
        for presentity, owed in groupby(due, attrgetter("presentity")):
            account = self._register.find(presentity)
            for one in owed:
                self._notify(one, account, now)

    def _notify(self, owed: Owed, account: Account | None, now: float) -> None:
        telling: Telling | None = None
        along: tuple[Attribute, ...] = ()
        if owed.full and account is not None:
            person = self._register.person(account, owed.watcher)
            right = Right.FETCH if owed.state is SubscriptionState.TERMINATED else Right.SUBSCRIBE
            telling = self._tellings.of(account.state_for(person, right), owed.presentity)
            along = account.along_for(person)
        if not self._notifying.sending(owed, telling.digest if telling is not None else b"", now):
            return
        ident, version = self._register.tools.new_id(), self._version(now) if owed.full else None
        state, document = (telling.state, telling.document) if telling is not None else (None, b"")
        told = owed.notify(ident, state, document, along, version)
        self._register.tools.submit(told, lambda outcome: self._answered(owed, outcome))

    def _version(self, now: float) -> Version:
        """By the clock alone: a number that counted changes would tell a blocked watcher of them."""
        self._number = max(self._number + 1, int((now - self._born) * 1_000_000))
        return Version(self._notifying.epoch, self._number)

    def _answered(self, owed: Owed, outcome: Outcome) -> None:
        now = self._register.tools.now()
        self._notifying.answered(owed, outcome, now)
        if self._notifying.next_due(now) <= now:
            self._wake()


def _shown(account: Account, person: Person, right: Right) -> Presence | Unknown:
    """What this right lets a person see: the state, or why he is told none, in the words that he gets."""
    word, whose = _WORDS[account.ruling(person, right).decision], account.address
    if word is Word.ALLOW:
        return account.state_for(person, right)
    why = Reason.CONSENT_NEEDED if word is Word.WAIT else Reason.NOT_DELIVERED
    return Unknown(whose, why, whose.domain)


def _store_key(kept: KeptSubscription) -> bytes:
    watcher, presentity = address_of(kept.watcher), address_of(kept.presentity)
    return BETWEEN.join((watcher.key, presentity.key, kept.subscription_id))
