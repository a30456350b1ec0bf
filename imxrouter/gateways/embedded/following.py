"""The watcher's side: whom our users watch, and what they were told (RFC 2779 section 5.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from imxrouter.gateways.embedded.accounts import Account
from imxrouter.gateways.embedded.directory import UserKey
from imxrouter.gateways.embedded.keeping import NotKept
from imxrouter.gateways.embedded.register import PresenceOff, Register, Topic
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.operations import DEFAULT_SUBSCRIPTION_S, Attribute, EndReason, Notify, Subscribe
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.presence import Presence, Unknown, same_meaning
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.routing.interfaces import Answer
from imxrouter.routing.watched import Effects, KeptWatch, Seen, Standing, Verdict, address_of, pair_key
from imxrouter.routing.watching import Watching

#: Ends of subscriptions that are remembered for one user to read.
MAX_ENDS: Final = 50

Fetched = Callable[[Presence | Unknown], None]


class NoRoom(RouterError):
    """As many subscriptions or fetches as may be.

    Attributes:
        reason: of the registry.
        retry_after_s: when trying again may help.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.note)
        self.reason = refusal.reason
        self.retry_after_s = refusal.retry_after_s


@dataclass(frozen=True, slots=True)
class Followed:
    """One subscription of a user.

    Attributes:
        standing: how it is.
        presence: what was told last; None where nothing was since the start.
    """

    standing: Standing
    presence: Presence | Unknown | None


@dataclass(frozen=True, slots=True)
class End:
    """A subscription of a user that is over for good.

    Attributes:
        presentity: whom he watched.
        at: when, seconds since 1970.
        end_reason: as the presentity's side told it.
        reason: of a refusal.
    """

    presentity: Address
    at: float
    end_reason: EndReason
    reason: Reason


class Following:
    """Subscriptions of our users.

    Args:
        register: of accounts.
        take_along: takes what rides along on a notification to a user.
        wake: asks that `send_due` be called soon.
    """

    def __init__(
        self,
        register: Register,
        take_along: Callable[[Account, Address, tuple[Attribute, ...]], None],
        wake: Callable[[], None],
    ) -> None:
        self._register = register
        self._take_along = take_along
        self._wake = wake
        self._seen: dict[bytes, Presence | Unknown] = {}
        self._ends: dict[bytes, list[End]] = {}
        self._fetches: dict[bytes, Fetched] = {}
        self._watching = self._new_machine()

    def _new_machine(self) -> Watching:
        tools = self._register.tools
        ahead = tools.wall() - tools.now()
        return Watching(tools.new_id, tools.chance, wall_ahead_s=ahead, kept=self._keep)

    def begin(self) -> None:
        """Go on with the subscriptions that the store has."""
        self._watching = self._new_machine()
        for kept in self._register.keeping.all_watched():
            self._restore(kept, None)

    def returned(self, came: set[UserKey]) -> None:
        """Go on with what is kept of the subscriptions of users who are new."""
        if not came:
            return
        for kept in self._register.keeping.all_watched():
            self._restore(kept, came)

    def _restore(self, kept: KeptWatch, only: set[UserKey] | None) -> None:
        try:
            account = self._register.find(address_of(kept.watcher))
            if account is not None and (only is None or account.key in only):
                self._watching.from_kept(kept, self._register.tools.now())
        except RouterError:
            return

    def gone(self, accounts: Iterable[Account]) -> None:
        """Accounts are served no more: their subscriptions end."""
        now = self._register.tools.now()
        addresses = {account.address for account in accounts}
        for standing in self._watching.standings_of(addresses, now):
            self._watching.unwant(standing.watcher, standing.presentity, now)
            self._seen.pop(pair_key(standing.watcher, standing.presentity), None)
        for address in addresses:
            self._ends.pop(address.key, None)
        self._wake()

    def reached(self, domain: Domain) -> None:
        """A remote domain is reachable: what could not begin there does not wait for its pause to end."""
        self._watching.again(domain, self._register.tools.now())

    # -- what users want ---------------------------------------------------------------------------------

    def subscribe(self, user: Address, presentity: Address, duration_s: int = DEFAULT_SUBSCRIPTION_S) -> None:
        """Watch somebody from now on; it is renewed until `unsubscribe`.

        Args:
            user: who watches.
            presentity: whom.
            duration_s: seconds to ask for each time.

        Raises:
            NotAUser: there is no such account.
            PresenceOff: presence is off here.
            NoRoom: as many subscriptions as may be.
            NotKept: it cannot be written down now, and was not begun (`state-unavailable`).
        """
        account, presentity = self._pair(user, presentity)
        now = self._register.tools.now()
        before = self._watching.standing(account.address, presentity, now)
        refusal = self._watching.want(account.address, presentity, duration_s)
        if refusal is not None:
            raise NoRoom(refusal)
        key = pair_key(account.address, presentity)
        kept = self._watching.to_kept(account.address, presentity)
        is_new = before is None and kept is not None
        if is_new and not self._register.keeping.watched(key, kept, durable=True):
            self._watching.unwant(account.address, presentity, now)
            raise NotKept(f"a subscription to {presentity} cannot be written down now: try again later")
        self._wake()
        self._register.tell(account, Topic.WATCHING, presentity)

    def unsubscribe(self, user: Address, presentity: Address) -> bool:
        """Watch somebody no more; tells whether he was watched. Raises `NotAUser`, `PresenceOff`."""
        account, presentity = self._pair(user, presentity)
        found = self._watching.unwant(account.address, presentity, self._register.tools.now())
        self._seen.pop(pair_key(account.address, presentity), None)
        if found:
            self._wake()
            self._register.tell(account, Topic.WATCHING, presentity)
        return found

    def fetch(self, user: Address, presentity: Address, done: Fetched) -> None:
        """Learn somebody's presence once; `done` gets it, or `Unknown` with the reason, within a minute.

        Raises:
            NotAUser: there is no such account.
            PresenceOff: presence is off here.
            NoRoom: too many fetches are under way.
        """
        account, presentity = self._pair(user, presentity)
        asked = self._watching.fetch(account.address, presentity, self._register.tools.now())
        if isinstance(asked, Refusal):
            raise NoRoom(asked)
        self._fetches[asked.subscription_id] = done
        self._send(asked)

    def _pair(self, user: Address, presentity: Address) -> tuple[Account, Address]:
        account = self._register.changeable(user)
        if not self._register.watchable(account):
            raise PresenceOff(f"{account.address} and another user differ in case alone")
        return account, self._register.canonical(presentity)

    def watches(self, account: Account, address: Address) -> bool:
        """Whether a subscription of this user to somebody is held; by the account's address of ours."""
        return self._watching.standing(account.address, address, self._register.tools.now()) is not None

    def watch(self, account: Account, address: Address, *, wanted: bool) -> None:
        """Subscribe to a contact or end it, unless it is so already. Raises as `subscribe`."""
        if wanted == self.watches(account, address):
            return
        if wanted:
            self.subscribe(account.address, address)
        else:
            self.unsubscribe(account.address, address)

    # -- what they know ----------------------------------------------------------------------------------

    def subscriptions(self, user: Address) -> tuple[Followed, ...]:
        """Whom a user watches, and what he was told, by address. Raises `NotAUser`."""
        account, now = self._register.account(user), self._register.tools.now()
        mine = self._watching.standings_of([account.address], now)
        return tuple(
            Followed(one, self._seen.get(pair_key(one.watcher, one.presentity)))
            for one in sorted(mine, key=lambda one: one.presentity)
        )

    def subscription(self, user: Address, presentity: Address) -> Followed | None:
        """One of them; None where he does not watch this one. Raises `NotAUser`."""
        account, presentity = self._register.account(user), self._register.canonical(presentity)
        standing = self._watching.standing(account.address, presentity, self._register.tools.now())
        if standing is None:
            return None
        return Followed(standing, self._seen.get(pair_key(account.address, presentity)))

    def ends(self, user: Address) -> tuple[End, ...]:
        """Subscriptions of a user that others ended or refused, the newest last. Raises `NotAUser`."""
        return tuple(self._ends.get(self._register.account(user).address.key, ()))

    # -- notifications -----------------------------------------------------------------------------------

    def deliver(self, told: Notify, answer: Answer) -> None:
        """Take a notification; `answer` is called before this returns."""
        account = self._register.find(told.watcher)
        if account is None:
            answer(_not_subscribed(told))
            return
        heard = self._watching.notified(told, self._register.tools.now())
        if heard.verdict is Verdict.NOT_SUBSCRIBED:
            answer(_not_subscribed(told))
            return
        answer(SUCCESS)
        if not isinstance(told.presence, Unknown):
            self._take_along(account, told.presentity, told.attributes)
        done = self._fetches.pop(told.subscription_id, None)
        if done is not None:
            if told.presence is not None:
                done(told.presence)
            else:
                done(Unknown(told.presentity, Reason.NOT_DELIVERED, told.presentity.domain))
        elif heard.verdict is Verdict.NEWS and told.presence is not None:
            self._show(account, told.presentity, told.presence)
        elif heard.verdict is Verdict.STATE_ONLY:
            self._drop_doubt(told.watcher, told.presentity)
            self._register.tell(account, Topic.WATCHING, told.presentity)
        self._run(heard.effects)

    def _show(self, account: Account, presentity: Address, presence: Presence | Unknown) -> None:
        key = pair_key(account.address, presentity)
        before = self._seen.get(key)
        self._seen[key] = presence
        if isinstance(before, Presence) and isinstance(presence, Presence) and same_meaning(before, presence):
            return
        if before != presence:
            self._register.tell(account, Topic.WATCHING, presentity)

    # -- requests ----------------------------------------------------------------------------------------

    def send_due(self) -> None:
        """Send what is due: new subscriptions, renewals, ends."""
        now = self._register.tools.now()
        self._watching.wall_ahead_s = self._register.tools.wall() - now
        self._run(self._watching.due(now))

    def _send(self, asked: Subscribe) -> None:
        self._register.tools.submit(asked, lambda outcome: self._answered(asked, outcome))

    def _answered(self, asked: Subscribe, outcome: Outcome) -> None:
        now = self._register.tools.now()
        before = self._watching.standing(asked.watcher, asked.presentity, now)
        self._run(self._watching.answered(asked, outcome, now))
        after = self._watching.standing(asked.watcher, asked.presentity, now)
        account = self._register.find(asked.watcher)
        if account is None or before is None or after is None:
            return
        self._drop_doubt(asked.watcher, asked.presentity)
        if (before.state, before.why, before.failures > 0) != (after.state, after.why, after.failures > 0):
            self._register.tell(account, Topic.WATCHING, asked.presentity)

    def _drop_doubt(self, watcher: Address, presentity: Address) -> None:
        """Show no `Unknown` any more where what it said is over, and nothing else is known."""
        standing = self._watching.standing(watcher, presentity, self._register.tools.now())
        key = pair_key(watcher, presentity)
        over = standing is not None and standing.seen is Seen.NOTHING
        if over and isinstance(self._seen.get(key), Unknown):
            del self._seen[key]

    def _run(self, effects: Effects) -> None:
        for show in effects.show:
            done = self._fetches.pop(show.subscription_id, None)
            account = self._register.find(show.watcher)
            if done is not None:
                done(show.presence)
            elif account is not None:
                self._show(account, show.presentity, show.presence)
        for ended in effects.ended:
            self._seen.pop(pair_key(ended.watcher, ended.presentity), None)
            account = self._register.find(ended.watcher)
            if account is not None:
                ends = self._ends.setdefault(account.address.key, [])
                ends.append(
                    End(ended.presentity, self._register.tools.wall(), ended.end_reason, ended.reason)
                )
                del ends[:-MAX_ENDS]
                self._register.tell(account, Topic.WATCHING, ended.presentity)
        for asked in effects.send:
            self._send(asked)

    def _keep(self, key: bytes, kept: KeptWatch | None) -> None:
        self._register.keeping.watched(key, kept, durable=False)


def _not_subscribed(told: Notify) -> Outcome:
    return failure(Reason.NOT_SUBSCRIBED, by=told.watcher.domain.name, role="service")
