"""Users of an embedded service as operators see them, without one: records what was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from imxrouter.admin.errors import AdminError
from imxrouter.admin.user_port import Emit, Publishing
from imxrouter.admin.user_views import (
    ContactsView,
    FetchView,
    PresenceView,
    RulesView,
    SeenView,
    StateView,
    SubscriptionsView,
    SubscriptionView,
    UserView,
    WatchersView,
    WatcherView,
)
from imxrouter.model.vocabulary import Reason

ALICE, BOB = "alice@a.example", "bob@b.example"

AWAY: StateView = {
    "status": "open", "activities": ["away"], "notes": [{"text": "Bin gleich\x1b[2J da", "language": "de"}],
    "tuples": [
        {"id": "desk", "status": "open", "contact": "im:bob@b.example", "priority": None,
         "xmpp_priority": 0, "activities": [], "notes": []},
    ],
    "reason": "", "stage": "", "domain": "", "failed_at": "", "remedy": "", "retry": "",
}  # fmt: skip
UNKNOWN: StateView = {
    "status": "unknown", "activities": [], "notes": [], "tuples": [], "reason": "connect-timeout",
    "stage": "connect", "domain": "b.example", "failed_at": "b.example",
    "remedy": "see what stands between", "retry": "later",
}  # fmt: skip
PRESENCE: PresenceView = {
    "user": BOB, "kept": True, "state": AWAY,
    "instances": [
        {"instance": "desk", "until": 1.0, "left_s": 61.0, "by": ALICE, "audience": ["group:work"],
         "state": AWAY},
    ],
}  # fmt: skip
WATCHER: WatcherView = {
    "watcher": ALICE, "state": "active", "left_s": 61.0, "until": 1.0, "decision": "block",
    "because": "group:spam", "detail": "full", "failures": 2,
}  # fmt: skip
SEEN: SeenView = {
    "user": BOB, "watcher": ALICE, "state": {**AWAY, "status": "closed", "activities": [], "notes": []},
    "fetch": AWAY,
    "rulings": [
        {"right": "subscribe", "decision": "block", "because": "group:spam", "detail": "full"},
        {"right": "fetch", "decision": "allow", "because": "default", "detail": "basic"},
    ],
    "subscriptions": [WATCHER],
}  # fmt: skip
SUBSCRIPTION: SubscriptionView = {
    "at": 1.0, "watcher": ALICE, "presentity": BOB, "state": "active", "left_s": 1800.0, "renewal_s": 61.0,
    "presence": AWAY, "failures": 0, "end_reason": "", "reason": "", "stage": "", "domain": "",
    "failed_at": "", "remedy": "", "retry": "",
}  # fmt: skip
FAILING: SubscriptionView = {
    **SUBSCRIPTION, "state": "asked", "left_s": 0.0, "presence": UNKNOWN, "failures": 2,
    "reason": "connect-timeout", "stage": "connect", "domain": "b.example",
    "failed_at": "b.example", "remedy": "see what stands between", "retry": "later",
}  # fmt: skip
ENDED: SubscriptionView = {
    **SUBSCRIPTION, "state": "terminated", "presence": None, "renewal_s": None, "end_reason": "rejected",
    "reason": "not-delivered", "stage": "service", "domain": "b.example", "failed_at": "b.example",
    "remedy": "ask him", "retry": "never",
}  # fmt: skip
SUBSCRIPTIONS: SubscriptionsView = {"user": ALICE, "subscriptions": [SUBSCRIPTION, FAILING], "ended": [ENDED]}
FETCHED: FetchView = {"watcher": ALICE, "presentity": BOB, "state": AWAY, "seconds": 0.25}
WATCHERS: WatchersView = {
    "user": BOB, "kept": True, "watchers": [WATCHER],
    "waiting": [{"person": "eve@e.example", "right": "fetch", "at": 1.0, "count": 3}],
    "decisions": [{"person": ALICE, "scope": "messages", "decision": "allow", "at": 1.0}],
}  # fmt: skip
RULES: RulesView = {
    "user": BOB, "kept": False,
    "rules": [{"who": "*.example", "right": "fetch", "decision": "allow", "detail": "basic"}],
    "decisions": WATCHERS["decisions"], "presence_default": "ask", "messages_default": "open",
    "publishers": [ALICE], "readers": [],
}  # fmt: skip
CONTACTS: ContactsView = {
    "user": BOB, "kept": True,
    "contacts": [{"address": ALICE, "name": "Al", "groups": ["friends"], "watch": True}],
}  # fmt: skip
USER: UserView = {
    "user": BOB, "kept": True, "service": "home", "presence": "open", "instances": 1, "subscriptions": 2,
    "watchers": 3, "waiting": 4, "rules": 5, "contacts": 6,
    "attributes": [
        {"name": "alias", "value": "Bobby", "encoding": "text", "visible": ["*"], "along": True,
         "max_age_s": 60},
        {"name": "b.example/raw", "value": "/w==", "encoding": "base64", "visible": [], "along": False,
         "max_age_s": 0},
    ],
}  # fmt: skip


class UsersDouble:
    """Satisfies `PresencePort` and `SettingsPort`.

    Attributes:
        calls: what was asked, in order.
        subscribed: what `subscribe` answers.
        fetched: what `fetch` answers.
        followers: those who follow now.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.subscribed = deepcopy(SUBSCRIPTION)
        self.fetched = deepcopy(FETCHED)
        self.followers: list[Emit] = []

    def _note(self, name: str, *what: Any) -> None:
        self.calls.append((name, *what))
        if str(what[0]).startswith("nobody"):
            raise AdminError.of(Reason.UNKNOWN_USER, "not-found", "no such user", "user")

    def presence(self, user: str) -> PresenceView:
        """Bob is away."""
        self._note("presence", user)
        return PRESENCE

    def seen(self, user: str, watcher: str) -> SeenView:
        """Alice is blocked."""
        self._note("seen", user, watcher)
        return SEEN

    def publish(self, user: str, what: Publishing) -> PresenceView:
        """Anything."""
        self._note("publish", user, asdict(what))
        return PRESENCE

    def retract(self, user: str, instance: str, by: str) -> PresenceView:
        """Anything."""
        self._note("retract", user, instance, by)
        return PRESENCE

    def subscribe(self, user: str, presentity: str, for_s: int | None) -> Deferred[SubscriptionView]:
        """Answer `subscribed`; the disk is full for carol."""
        self._note("subscribe", user, presentity, for_s)
        if user.startswith("carol"):
            return fail(AdminError.of(Reason.STATE_UNAVAILABLE, "unavailable", "not kept", "state", "", 60))
        return succeed(self.subscribed)

    def unsubscribe(self, user: str, presentity: str) -> SubscriptionsView:
        """Anything."""
        self._note("unsubscribe", user, presentity)
        return SUBSCRIPTIONS

    def fetch(self, user: str, presentity: str) -> Deferred[FetchView]:
        """Answer `fetched`."""
        self._note("fetch", user, presentity)
        return succeed(self.fetched)

    def subscriptions(self, user: str) -> SubscriptionsView:
        """One that is well, one that is not, one that ended."""
        self._note("subscriptions", user)
        return SUBSCRIPTIONS

    def follow(self, user: str, presentity: str, emit: Emit) -> Callable[[], None]:
        """Note the follower until it stops."""
        self._note("follow", user, presentity)
        self.followers.append(emit)
        return lambda: self.followers.remove(emit)

    def watchers(self, user: str) -> WatchersView:
        """Alice watches, eve waits."""
        self._note("watchers", user)
        return WATCHERS

    def decide(self, user: str, person: str, decision: str, scope: str) -> WatchersView:
        """Anything."""
        self._note("decide", user, person, decision, scope)
        return WATCHERS

    def rules(self, user: str) -> RulesView:
        """One."""
        self._note("rules", user)
        return RULES

    def set_rule(self, user: str, who: str, rights: Sequence[str], decision: str, detail: str) -> RulesView:
        """Anything."""
        self._note("set_rule", user, who, list(rights), decision, detail)
        return RULES

    def remove_rule(self, user: str, who: str, rights: Sequence[str]) -> RulesView:
        """Anything."""
        self._note("remove_rule", user, who, list(rights))
        return RULES

    def delegate(self, user: str, person: str, role: str, *, allowed: bool) -> RulesView:
        """Anything."""
        self._note("delegate", user, person, role, allowed)
        return RULES

    def contacts(self, user: str) -> ContactsView:
        """One."""
        self._note("contacts", user)
        return CONTACTS

    def set_contact(
        self, user: str, address: str, name: str | None, groups: Sequence[str] | None, watch: bool | None
    ) -> ContactsView:
        """Anything."""
        self._note("set_contact", user, address, name, groups, watch)
        return CONTACTS

    def remove_contact(self, user: str, address: str) -> ContactsView:
        """Anything."""
        self._note("remove_contact", user, address)
        return CONTACTS

    def user(self, user: str) -> UserView:
        """Figures and two attributes."""
        self._note("user", user)
        return USER

    def set_attribute(
        self, user: str, name: str, value: str, visible: Sequence[str] | None, along: bool | None,
        max_age_s: int | None,
    ) -> UserView:  # fmt: skip
        """Anything."""
        self._note("set_attribute", user, name, value, visible, along, max_age_s)
        return USER

    def remove_attribute(self, user: str, name: str) -> UserView:
        """Anything."""
        self._note("remove_attribute", user, name)
        return USER
