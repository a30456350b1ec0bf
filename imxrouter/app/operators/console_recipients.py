"""Rules that the router keeps for users whose services have none, as operators see and change them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from imxrouter.admin.errors import AdminError
from imxrouter.admin.user_views import KnockView, RulesView, WatchersView, WatcherView
from imxrouter.app.operators import userviews
from imxrouter.app.operators.user_refusals import told, user_of
from imxrouter.model.address import Address
from imxrouter.routing.recipients import FirstContact
from imxrouter.routing.rules import BadRule, Decision, Detail, Right, Scope
from imxrouter.routing.subscriptions import Subscription

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts


class RecipientConsole:
    """Rules, decisions and watchers of such users.

    Args:
        router: whose users.
    """

    def __init__(self, router: Parts) -> None:
        self._router = router

    def user(self, text: str) -> Address | None:
        """The address of a user whose rules the router keeps; None of everybody else."""
        if (address := user_of(text)) is None:
            return None
        recipients = self._router.access.recipients
        keeps = recipients.first_contact(address.domain.wire) is not FirstContact.SERVICE
        return address if keeps else None

    def rules(self, whose: Address) -> RulesView:
        """List rules and decisions."""
        recipients = self._router.access.recipients
        book, contact = recipients.book(whose), recipients.first_contact(whose.domain.wire).value
        return RulesView(
            user=str(whose), kept=self._router.store.health().works,
            rules=[userviews.rule_view(one) for one in book.rules.all()],
            decisions=[userviews.decision_view(one) for one in book.consents.values()],
            presence_default=contact, messages_default=contact, publishers=[], readers=[],
        )  # fmt: skip

    def set_rule(
        self, whose: Address, who: str, rights: Iterable[Right], decision: Decision, detail: Detail
    ) -> RulesView:
        """Add or replace the rule for some people."""
        with told():
            if detail is not Detail.FULL:
                raise BadRule("the router shows presence whole or not at all: that is the service's to say")
            self._router.access.recipients.set_rule(whose, who, rights, decision)
        return self.rules(whose)

    def remove_rule(self, whose: Address, who: str, rights: Iterable[Right]) -> RulesView:
        """Drop the rule for some people."""
        with told():
            found = self._router.access.recipients.remove_rule(whose, who, rights)
        if not found:
            raise AdminError("not-found", f"no such rule on {who}", "who", f"see imxctl rules {whose}")
        return self.rules(whose)

    def decide(
        self, whose: Address, person: Address, decision: Decision | None, scope: Scope
    ) -> WatchersView:
        """Decide on a person; None takes a decision back."""
        recipients = self._router.access.recipients
        with told():
            if decision is not None:
                recipients.decide(whose, person, decision, scope, time.time())
                found = True
            else:
                found = recipients.withdraw(whose, person, scope)
        if not found:
            what = f"{whose} has decided nothing on {person} about {scope.value}"
            raise AdminError("not-found", what, "person", f"see imxctl watchers {whose}")
        return self.watchers(whose)

    def watchers(self, whose: Address) -> WatchersView:
        """List who watches a user, as this process knows it, and who was turned away."""
        recipients, now, wall = self._router.access.recipients, self._router.hub.now(), time.time()
        key = recipients.canonical(whose.key)
        table = self._router.subscriptions
        watching = [
            self._watcher(entry, place.split(b"\0")[0], key, now, wall)
            for place, entry in table.items()
            if entry.granted and entry.end > now and recipients.canonical(place.split(b"\0")[1]) == key
        ]  # fmt: skip
        return WatchersView(
            user=str(whose), kept=self._router.store.health().works, watchers=watching,
            waiting=[
                KnockView(person=str(one.person), right=one.right.value, at=one.at, count=one.count)
                for one in recipients.knocks(whose, wall)
            ],
            decisions=self.rules(whose)["decisions"],
        )  # fmt: skip

    def _watcher(
        self, entry: Subscription, watcher: bytes, user: bytes, now: float, wall: float
    ) -> WatcherView:
        left_s = round(entry.end - now, 1)
        ruling = self._router.access.recipients.judge(watcher, user, Right.SUBSCRIBE)
        return WatcherView(
            watcher=entry.watcher.decode("utf-8", "replace"), state="active", left_s=left_s,
            until=round(wall + left_s, 1), decision=ruling.decision.value if ruling is not None else "allow",
            because=ruling.because if ruling is not None else "default", detail="full", failures=0,
        )  # fmt: skip
