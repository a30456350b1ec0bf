"""What the API needs for users of embedded services. Values, Deferreds and errors as with `AdminPort`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from imxrouter.admin.user_views import (
    ContactsView,
    FetchView,
    NoteView,
    PresenceView,
    RulesView,
    SeenView,
    SubscriptionsView,
    SubscriptionView,
    UserView,
    WatchersView,
)

#: Told of each change of a subscription.
Emit = Callable[[SubscriptionView], None]


@dataclass(frozen=True, slots=True)
class Publishing:
    """What an instance is to say.

    Attributes:
        instance: its name.
        status: `open` or `closed`, or an activity of RFC 4480, which is open.
        notes: words for people, by language.
        contact: an absolute URI; empty: none.
        for_s: seconds until it is forgotten; None: the default.
        by: who publishes; empty: the user himself.
        audience: patterns of those who see it; none: all who may see the user.
        priority: among those of the user, within `model.presence.PRIORITIES`; None: none is said.
    """

    instance: str
    status: str
    notes: Sequence[NoteView] = ()
    contact: str = ""
    for_s: float | None = None
    by: str = ""
    audience: Sequence[str] = ()
    priority: int | None = None


class PresencePort(Protocol):
    """Presence of users, and subscriptions both ways. `user` is one of an embedded service here."""

    def presence(self, user: str) -> PresenceView:
        """Tell the whole state of a user, and his instances."""

    def seen(self, user: str, watcher: str) -> SeenView:
        """Tell what a watcher is shown of a user, and why."""

    def publish(self, user: str, what: Publishing) -> PresenceView:
        """Let an instance of a user say something."""

    def retract(self, user: str, instance: str, by: str) -> PresenceView:
        """Forget an instance."""

    def subscribe(self, user: str, presentity: str, for_s: int | None) -> Deferred[SubscriptionView]:
        """Let a user watch somebody; answer when it is granted or refused, or after a while."""

    def unsubscribe(self, user: str, presentity: str) -> SubscriptionsView:
        """Let a user watch somebody no more."""

    def fetch(self, user: str, presentity: str) -> Deferred[FetchView]:
        """Ask once for somebody's presence as a user."""

    def subscriptions(self, user: str) -> SubscriptionsView:
        """List whom a user watches."""

    def follow(self, user: str, presentity: str, emit: Emit) -> Callable[[], None]:
        """Call `emit` now and for each change of what a user watches, until the returned function is called.

        `presentity` is empty for everybody whom he watches.
        """

    def watchers(self, user: str) -> WatchersView:
        """List who watches a user, or waits for his decision."""


class SettingsPort(Protocol):
    """What users set. `user` is one of an embedded service here; a change answers with all there is now."""

    def decide(self, user: str, person: str, decision: str, scope: str) -> WatchersView:
        """Decide on a person: `allow`, `refuse`, `block`, or `forget` what was decided."""

    def rules(self, user: str) -> RulesView:
        """List rules, decisions and delegates."""

    def set_rule(self, user: str, who: str, rights: Sequence[str], decision: str, detail: str) -> RulesView:
        """Add or replace the rule for some people, for each of the rights."""

    def remove_rule(self, user: str, who: str, rights: Sequence[str]) -> RulesView:
        """Drop the rule for some people, for each of the rights."""

    def delegate(self, user: str, person: str, role: str, *, allowed: bool) -> RulesView:
        """Let somebody do something for a user (`publish`, `read`), or no longer."""

    def contacts(self, user: str) -> ContactsView:
        """List contacts."""

    def set_contact(
        self, user: str, address: str, name: str | None, groups: Sequence[str] | None, watch: bool | None
    ) -> ContactsView:
        """Add or change a contact; None leaves as it is."""

    def remove_contact(self, user: str, address: str) -> ContactsView:
        """Drop a contact."""

    def user(self, user: str) -> UserView:
        """Tell what a user has."""

    def set_attribute(
        self, user: str, name: str, value: str, visible: Sequence[str] | None, along: bool | None,
        max_age_s: int | None,
    ) -> UserView:  # fmt: skip
        """Add or change an attribute of a user; None leaves as it is."""

    def remove_attribute(self, user: str, name: str) -> UserView:
        """Drop an attribute of a user."""
