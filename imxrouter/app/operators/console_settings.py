"""What users of embedded services set, as operators see and change it (`admin.user_port.SettingsPort`)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from imxrouter.admin.errors import AdminError
from imxrouter.admin.user_port import PresencePort
from imxrouter.admin.user_views import ContactsView, RulesView, UserView, WatchersView
from imxrouter.app.operators import userviews
from imxrouter.app.operators.console_recipients import RecipientConsole
from imxrouter.app.operators.user_refusals import address, service_of, told
from imxrouter.gateways.embedded.attributes import PUBLIC, OwnAttribute, Visibility
from imxrouter.gateways.embedded.contacts import Contact
from imxrouter.gateways.embedded.settings import PRESENCE_RIGHTS, Role
from imxrouter.model.operations import Attribute
from imxrouter.routing.rules import Decision, Detail, Right, Scope

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts

#: Others may keep an attribute so long unless its owner says otherwise.
DEFAULT_MAX_AGE_S = 3600

E = TypeVar("E", bound=Enum)


class SettingsConsole:
    """Implements `SettingsPort` for a router.

    Args:
        router: whose users.
        presence: tells who watches.
    """

    def __init__(self, router: Parts, presence: PresencePort) -> None:
        self._router = router
        self._presence = presence
        self._own = RecipientConsole(router)

    # -- decisions and rules -----------------------------------------------------------------------------

    def decide(self, user: str, person: str, decision: str, scope: str) -> WatchersView:
        """Decide on a person: `allow`, `refuse`, `block`, or `forget` what was decided."""
        if (mine := self._own.user(user)) is not None:
            ruling = None if decision == "forget" else _word(Decision, decision, "decision")
            if ruling is Decision.ASK:
                raise AdminError("bad-request", "to ask is no decision", "decision", "forget takes one back")
            return self._own.decide(mine, address(person, "person"), ruling, _word(Scope, scope, "scope"))
        service, whose = service_of(self._router, user)
        whom, about = address(person, "person"), _word(Scope, scope, "scope")
        if decision == "forget":
            with told():
                found = service.withdraw(whose, whom, about)
            if not found:
                what = f"{whose} has decided nothing on {whom} about {about.value}"
                raise AdminError("not-found", what, "person", f"see imxctl watchers {whose}")
        elif decision == Decision.ASK.value:
            raise AdminError("bad-request", "to ask is no decision", "decision", "forget takes one back")
        else:
            with told():
                service.decide(whose, whom, _word(Decision, decision, "decision"), about)
        return self._presence.watchers(user)

    def rules(self, user: str) -> RulesView:
        """List rules, decisions and delegates."""
        if (mine := self._own.user(user)) is not None:
            return self._own.rules(mine)
        service, whose = service_of(self._router, user)
        with told():
            return RulesView(
                user=str(whose),
                kept=self._router.store.health().works,
                rules=[userviews.rule_view(one) for one in service.rules(whose)],
                decisions=[userviews.decision_view(one) for one in service.consents(whose)],
                presence_default=service.defaults.presence.value,
                messages_default=service.defaults.messages.value,
                publishers=[str(one) for one in service.delegates(whose, Role.PUBLISH)],
                readers=[str(one) for one in service.delegates(whose, Role.READ)],
            )

    def set_rule(self, user: str, who: str, rights: Sequence[str], decision: str, detail: str) -> RulesView:
        """Add or replace the rule for some people, for each of the rights."""
        what, much = _word(Decision, decision, "decision"), _word(Detail, detail, "detail")
        if (mine := self._own.user(user)) is not None:
            return self._own.set_rule(mine, who, _rights(rights), what, much)
        service, whose = service_of(self._router, user)
        with told():
            service.set_rule(whose, who, _rights(rights), what, much)
        return self.rules(user)

    def remove_rule(self, user: str, who: str, rights: Sequence[str]) -> RulesView:
        """Drop the rule for some people, for each of the rights."""
        if (mine := self._own.user(user)) is not None:
            return self._own.remove_rule(mine, who, _rights(rights))
        service, whose = service_of(self._router, user)
        with told():
            found = service.remove_rule(whose, who, _rights(rights))
        if not found:
            raise AdminError("not-found", f"no such rule on {who}", "who", f"see imxctl rules {whose}")
        return self.rules(user)

    def delegate(self, user: str, person: str, role: str, *, allowed: bool) -> RulesView:
        """Let somebody do something for a user (`publish`, `read`), or no longer."""
        service, whose = service_of(self._router, user)
        whom, what = address(person, "person"), _word(Role, role, "role")
        with told():
            found = True
            if allowed:
                service.allow(whose, whom, what)
            else:
                found = service.disallow(whose, whom, what)
        if not found:
            words = f"{whom} may not {what.value} for {whose} anyway"
            raise AdminError("not-found", words, "person", f"see imxctl rules {whose}")
        return self.rules(user)

    # -- contacts ----------------------------------------------------------------------------------------

    def contacts(self, user: str) -> ContactsView:
        """List contacts."""
        service, whose = service_of(self._router, user)
        with told():
            found = service.contacts(whose)
        return ContactsView(
            user=str(whose), kept=self._router.store.health().works,
            contacts=[userviews.contact_view(one) for one in found],
        )  # fmt: skip

    def set_contact(
        self, user: str, who: str, name: str | None, groups: Sequence[str] | None, watch: bool | None
    ) -> ContactsView:
        """Add or change a contact; None leaves as it is."""
        service, whose = service_of(self._router, user)
        whom = address(who, "address")
        key = service.directory.find(whom)
        whom = whom if key is None else service.directory.address_of(key)  # of ours: one entry by any name
        known = [one for one in service.contacts(whose) if one.address.key == whom.key]
        before = known[0] if known else Contact(whom)
        with told():
            entry = Contact(
                whom,
                before.name if name is None else name,
                before.groups if groups is None else frozenset(groups),
                watch,
            )
            service.set_contact(whose, entry)
        return self.contacts(user)

    def remove_contact(self, user: str, who: str) -> ContactsView:
        """Drop a contact."""
        service, whose = service_of(self._router, user)
        with told():
            found = service.remove_contact(whose, address(who, "address"))
        if not found:
            raise AdminError("not-found", f"{who} is no contact", "address", f"see imxctl contacts {whose}")
        return self.contacts(user)

    # -- attributes --------------------------------------------------------------------------------------

    def user(self, user: str) -> UserView:
        """Tell what a user has."""
        service, whose = service_of(self._router, user)
        with told():
            return UserView(
                user=str(whose),
                kept=self._router.store.health().works,
                service=_name_of(self._router, service),
                presence=service.state_of(whose).status.value,
                instances=len(service.instances(whose)),
                subscriptions=len(service.subscriptions(whose)),
                watchers=len(service.watchers(whose)),
                waiting=len(service.knocks(whose)),
                rules=len(service.rules(whose)),
                contacts=len(service.contacts(whose)),
                attributes=[userviews.attribute_view(one) for one in service.attributes(whose)],
            )

    def set_attribute(
        self, user: str, name: str, value: str, visible: Sequence[str] | None, along: bool | None,
        max_age_s: int | None,
    ) -> UserView:  # fmt: skip
        """Add or change an attribute of a user; None leaves as it is."""
        service, whose = service_of(self._router, user)
        known = [one for one in service.attributes(whose) if one.attribute.name == name]
        before = known[0] if known else OwnAttribute(Attribute(name, b"", DEFAULT_MAX_AGE_S), PUBLIC)
        age = before.attribute.max_age_s if max_age_s is None else max_age_s
        with told():
            seen = before.visibility if visible is None else Visibility.parse(visible)
            one = OwnAttribute(
                Attribute(name, value.encode("utf-8"), age), seen, before.along if along is None else along
            )
            service.set_attribute(whose, one)
        return self.user(user)

    def remove_attribute(self, user: str, name: str) -> UserView:
        """Drop an attribute of a user."""
        service, whose = service_of(self._router, user)
        with told():
            found = service.remove_attribute(whose, name)
        if not found:
            raise AdminError("not-found", f"{whose} has no {name}", "attribute", f"see imxctl user {whose}")
        return self.user(user)


def _rights(words: Sequence[str]) -> tuple[Right, ...]:
    """Rights by name; `presence` is to subscribe and to fetch."""
    found: list[Right] = []
    for word in words:
        found += PRESENCE_RIGHTS if word == "presence" else (_word(Right, word, "rights", "presence"),)
    if not found:
        raise AdminError("bad-request", "no right is named", "rights", "presence, subscribe, fetch, message")
    return tuple(dict.fromkeys(found))


def _word(words: type[E], text: str, where: str, *more: str) -> E:
    for one in words:
        if one.value == text:
            return one
    do = "one of: " + ", ".join([*(str(one.value) for one in words), *more])
    raise AdminError("bad-request", f"{text[:40]!r} is unknown", where, do)


def _name_of(router: Parts, service: object) -> str:
    return next((name for name, one in router.embedded.items() if one is service), "")
