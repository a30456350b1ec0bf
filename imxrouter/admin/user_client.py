"""The part of the client that is about users of embedded services."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from imxrouter.admin.user_views import (
    ContactsView,
    FetchView,
    PresenceView,
    RulesView,
    SeenView,
    SubscriptionsView,
    SubscriptionView,
    UserView,
    WatchersView,
)

#: Asks: method, parts of the path, and the body.
Ask = Callable[[str, tuple[str, ...], Mapping[str, Any] | None], Any]


class UserClient:
    """One user of an embedded service. Methods raise as those of `AdminClient`.

    Args:
        ask: asks the router.
        stream: gives each line of a route that streams.
        user: whose.
    """

    def __init__(self, ask: Ask, stream: Callable[[tuple[str, ...]], Iterator[Any]], user: str) -> None:
        self._ask, self._stream, self._user = ask, stream, user

    def _call(self, method: str, *parts: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._ask(method, ("users", self._user, *parts), body)

    # -- presence ----------------------------------------------------------------------------------------

    def presence(self) -> PresenceView:
        """Tell the whole state, and the instances."""
        return cast("PresenceView", self._call("GET", "presence"))

    def seen_by(self, watcher: str) -> SeenView:
        """Tell what a watcher is shown, and why."""
        return cast("SeenView", self._call("GET", "seen-by", watcher))

    def publish(self, body: Mapping[str, Any]) -> PresenceView:
        """Let an instance say something; keys as `user_port.Publishing`."""
        return cast("PresenceView", self._call("POST", "presence", body=body))

    def retract(self, instance: str, by: str = "") -> PresenceView:
        """Forget an instance."""
        return cast("PresenceView", self._call("DELETE", "presence", instance, body={"by": by}))

    # -- subscriptions -----------------------------------------------------------------------------------

    def subscribe(self, presentity: str, for_s: int | None = None) -> SubscriptionView:
        """Watch somebody; answers when it is granted or refused, or after a while."""
        return cast(
            "SubscriptionView", self._call("POST", "subscriptions", presentity, body={"for_s": for_s})
        )

    def unsubscribe(self, presentity: str) -> SubscriptionsView:
        """Watch somebody no more."""
        return cast("SubscriptionsView", self._call("DELETE", "subscriptions", presentity))

    def fetch(self, presentity: str) -> FetchView:
        """Ask once for somebody's presence."""
        return cast("FetchView", self._call("POST", "fetch", presentity))

    def subscriptions(self) -> SubscriptionsView:
        """List whom he watches."""
        return cast("SubscriptionsView", self._call("GET", "subscriptions"))

    def follow(self, presentity: str = "") -> Iterator[SubscriptionView]:
        """Give what he is told now and each change, of one or of all whom he watches.

        Raises:
            AdminUnreachable: also when the router ends the stream, as it does when it stops.
        """
        return self._stream(("users", self._user, "follow", *([presentity] if presentity else ())))

    def watchers(self) -> WatchersView:
        """List who watches him, or waits for his decision."""
        return cast("WatchersView", self._call("GET", "watchers"))

    # -- settings ----------------------------------------------------------------------------------------

    def decide(self, person: str, decision: str, scope: str = "presence") -> WatchersView:
        """Decide on a person: `allow`, `refuse`, `block`, or `forget` what was decided."""
        body = {"decision": decision, "scope": scope}
        return cast("WatchersView", self._call("POST", "watchers", person, body=body))

    def rules(self) -> RulesView:
        """List rules, decisions and delegates."""
        return cast("RulesView", self._call("GET", "rules"))

    def set_rule(self, who: str, rights: Sequence[str], decision: str, detail: str = "full") -> RulesView:
        """Add or replace the rule for some people."""
        body = {"who": who, "rights": list(rights), "decision": decision, "detail": detail}
        return cast("RulesView", self._call("POST", "rules", body=body))

    def remove_rule(self, who: str, rights: Sequence[str]) -> RulesView:
        """Drop the rule for some people."""
        return cast("RulesView", self._call("DELETE", "rules", who, body={"rights": list(rights)}))

    def delegate(self, person: str, role: str, *, allowed: bool) -> RulesView:
        """Let somebody do something for him, or no longer."""
        method = "POST" if allowed else "DELETE"
        return cast("RulesView", self._call(method, "delegates", person, body={"role": role}))

    def contacts(self) -> ContactsView:
        """List contacts."""
        return cast("ContactsView", self._call("GET", "contacts"))

    def set_contact(
        self, address: str, name: str | None, groups: Sequence[str] | None, watch: bool | None
    ) -> ContactsView:
        """Add or change a contact; None leaves as it is."""
        body = {"name": name, "groups": None if groups is None else list(groups), "watch": watch}
        return cast("ContactsView", self._call("POST", "contacts", address, body=body))

    def remove_contact(self, address: str) -> ContactsView:
        """Drop a contact."""
        return cast("ContactsView", self._call("DELETE", "contacts", address))

    def show(self) -> UserView:
        """Tell what he has."""
        return cast("UserView", self._call("GET"))

    def set_attribute(
        self, name: str, value: str, visible: Sequence[str] | None = None, along: bool | None = None,
        max_age_s: int | None = None,
    ) -> UserView:  # fmt: skip
        """Add or change an attribute; None leaves as it is."""
        seen = None if visible is None else list(visible)
        body = {"value": value, "visible": seen, "along": along, "max_age_s": max_age_s}
        return cast("UserView", self._call("POST", "attributes", name, body=body))

    def remove_attribute(self, name: str) -> UserView:
        """Drop an attribute."""
        return cast("UserView", self._call("DELETE", "attributes", name))
