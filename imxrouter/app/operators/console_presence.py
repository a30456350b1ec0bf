"""Presence of users and subscriptions as operators see them (`admin.user_port.PresencePort`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from imxrouter.admin.errors import AdminError
from imxrouter.admin.user_port import Emit, Publishing
from imxrouter.admin.user_views import (
    FetchView,
    PresenceView,
    SeenView,
    SubscriptionsView,
    SubscriptionView,
    WatchersView,
)
from imxrouter.app.operators import userviews
from imxrouter.app.operators.console_recipients import RecipientConsole
from imxrouter.app.operators.console_streams import StreamUserConsole
from imxrouter.app.operators.user_refusals import address, service_of, told
from imxrouter.gateways.embedded.instances import DEFAULT_PUBLICATION_S
from imxrouter.gateways.embedded.register import Change, Topic
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.gateways.xmpp.translate.presence import im_uri, is_resource, said_priority, tuple_id
from imxrouter.model.address import Address
from imxrouter.model.operations import DEFAULT_SUBSCRIPTION_S
from imxrouter.model.presence import (
    ACTIVITIES,
    Activities,
    Basic,
    Contact,
    Extension,
    Note,
    Presence,
    PresenceTuple,
    Unknown,
    element_id,
)
from imxrouter.routing.rules import Who

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts

#: An answer to `subscribe` waits so long for the first word of the other side; a held request waits 15 s.
SETTLE_S = 20.0

#: What changes of themselves while nothing happens.
_CLOCKS = frozenset({"at", "left_s", "renewal_s"})


class PresenceConsole:
    """Implements `PresencePort` for a router.

    Args:
        router: whose users.
    """

    def __init__(self, router: Parts) -> None:
        self._router = router

    # -- presence ----------------------------------------------------------------------------------------

    def presence(self, user: str) -> PresenceView:
        """Tell the whole state of a user, and his instances."""
        service, whose = service_of(self._router, user)
        wall = time.time()
        with told():
            state, instances = service.state_of(whose), service.instances(whose)
        return PresenceView(
            user=str(state.presentity), kept=self._router.store.health().works,
            state=userviews.state_view(state),
            instances=[userviews.instance_view(name, one, wall) for name, one in instances],
        )  # fmt: skip

    def seen(self, user: str, watcher: str) -> SeenView:
        """Tell what a watcher is shown of a user, and why."""
        service, whose = service_of(self._router, user)
        who = address(watcher, "watcher")
        with told():
            shown = service.shown_to(whose, who)
            watchers = service.watchers(whose)
        subscribed, fetched = userviews.state_view(shown.subscribed), userviews.state_view(shown.fetched)
        wall = time.time()
        return SeenView(
            user=str(whose), watcher=str(shown.watcher), state=subscribed,
            fetch=None if fetched == subscribed else fetched,
            rulings=[userviews.ruling_view(right, ruling) for right, ruling in shown.rulings],
            subscriptions=[
                userviews.watcher_view(one, wall)
                for one in watchers if one.watcher.key in {who.key, shown.watcher.key}
            ],
        )  # fmt: skip

    def publish(self, user: str, what: Publishing) -> PresenceView:
        """Let an instance of a user say something."""
        service, whose = service_of(self._router, user)
        by = address(what.by, "by") if what.by else None
        with told():
            _check_groups(service, whose, what.audience)
            service.publish(
                whose, what.instance, _presence(whose, what), by=by,
                expires_s=DEFAULT_PUBLICATION_S if what.for_s is None else what.for_s, audience=what.audience,
            )  # fmt: skip
        return self.presence(user)

    def retract(self, user: str, instance: str, by: str) -> PresenceView:
        """Forget an instance."""
        service, whose = service_of(self._router, user)
        with told():
            found = service.retract(whose, instance, by=address(by, "by") if by else None)
        if not found:
            known = ", ".join(name for name, _ in service.instances(whose)) or "none"
            raise AdminError("not-found", f"no instance {instance!r}", "instance", f"there are: {known}")
        return self.presence(user)

    # -- subscriptions -----------------------------------------------------------------------------------

    def subscribe(self, user: str, presentity: str, for_s: int | None) -> Deferred[SubscriptionView]:
        """Let a user watch somebody; answer when it is granted or refused, or after a while."""
        service, whose = service_of(self._router, user)
        whom = address(presentity, "presentity")
        answered: Deferred[SubscriptionView] = Deferred()
        waiting = _Waiting(answered, partial(_standing, service, whose, whom, time.time()))
        with told():
            waiting.stop = service.listen(whose, lambda _: self._router.reactor.callLater(0, waiting.look))
            try:
                service.subscribe(whose, whom, DEFAULT_SUBSCRIPTION_S if for_s is None else for_s)
            except BaseException:
                waiting.stop()
                raise
        call = self._router.reactor.callLater(SETTLE_S, waiting.finish)
        answered.addBoth(lambda view: (call.cancel() if call.active() else None, view)[1])
        waiting.look()
        return answered

    def unsubscribe(self, user: str, presentity: str) -> SubscriptionsView:
        """Let a user watch somebody no more."""
        service, whose = service_of(self._router, user)
        with told():
            found = service.unsubscribe(whose, address(presentity, "presentity"))
        if not found:
            do = f"see imxctl subscriptions {whose}"
            raise AdminError("not-found", f"{whose} does not watch {presentity}", "presentity", do)
        return self.subscriptions(user)

    def fetch(self, user: str, presentity: str) -> Deferred[FetchView]:
        """Ask once for somebody's presence as a user."""
        service, whose = service_of(self._router, user)
        whom = address(presentity, "presentity")
        answered: Deferred[FetchView] = Deferred()
        started = time.monotonic()

        def done(state: Presence | Unknown) -> None:
            view = userviews.state_view(state, whose)
            took = round(time.monotonic() - started, 6)
            answered.callback(FetchView(watcher=str(whose), presentity=str(whom), state=view, seconds=took))

        with told():
            service.fetch(whose, whom, done)
        return answered

    def subscriptions(self, user: str) -> SubscriptionsView:
        """List whom a user watches."""
        streams = StreamUserConsole(self._router)
        if (theirs := streams.user(user)) is not None:
            return streams.subscriptions(theirs)
        service, whose = service_of(self._router, user)
        wall = time.time()
        with told():
            found, ends = service.subscriptions(whose), service.ends(whose)
        return SubscriptionsView(
            user=str(whose), subscriptions=[userviews.followed_view(one, wall) for one in found],
            ended=[userviews.ended_view(whose, one) for one in ends],
        )  # fmt: skip

    def follow(self, user: str, presentity: str, emit: Emit) -> Callable[[], None]:
        """Call `emit` now and for each change of what a user watches, until the returned function is called.

        `presentity` is empty for everybody whom he watches.
        """
        service, whose = service_of(self._router, user)
        only = address(presentity, "presentity") if presentity else None
        with told():
            one = service.subscription(whose, only) if only is not None else None
        if only is not None and one is None:
            do = f"subscribe first: imxctl subscribe {whose} {only}"
            raise AdminError("not-found", f"{whose} does not watch {only}", "presentity", do)
        only = one.standing.presentity if one is not None else None
        following = _Following(service, whose, only, emit, self._router.reactor)
        with told():
            following.begin()
        return following.end

    def watchers(self, user: str) -> WatchersView:
        """List who watches a user, or waits for his decision."""
        own, streams = RecipientConsole(self._router), StreamUserConsole(self._router)
        if (theirs := streams.user(user)) is not None:
            return streams.watchers(theirs)
        if (mine := own.user(user)) is not None:
            return own.watchers(mine)
        service, whose = service_of(self._router, user)
        wall = time.time()
        with told():
            return WatchersView(
                user=str(whose),
                kept=self._router.store.health().works,
                watchers=[userviews.watcher_view(one, wall) for one in service.watchers(whose)],
                waiting=[userviews.knock_view(one) for one in service.knocks(whose)],
                decisions=[userviews.decision_view(one) for one in service.consents(whose)],
            )


class _Waiting:
    """An operator who waits until a subscription is granted or refused."""

    def __init__(
        self, answered: Deferred[SubscriptionView], standing: Callable[[], SubscriptionView]
    ) -> None:
        self.stop: Callable[[], None] = lambda: None
        self._answered = answered
        self._standing = standing

    def look(self) -> None:
        """Answer where enough is known."""
        view = self._standing()
        if view["state"] in {"pending", "terminated"} or view["presence"] is not None or view["reason"]:
            self.finish()

    def finish(self) -> None:
        """Answer with what is known."""
        self.stop()
        if not self._answered.called:
            self._answered.callback(self._standing())


class _Following:
    """Tells changes of one subscription, or of all of a user; what only the clock changed is not told.

    Nothing is said at once: the change may be under way still, and the head of the answer not be out.
    """

    def __init__(
        self, service: EmbeddedService, user: Address, only: Address | None, emit: Emit, reactor: Any
    ) -> None:
        self._service, self._user, self._only, self._emit = service, user, only, emit
        self._reactor = reactor
        self._last: dict[bytes, object] = {}
        self._alive_at: dict[bytes, float] = {}
        self._began = time.time()
        self._stop: Callable[[], None] = lambda: None
        self._ended = False

    def begin(self) -> None:
        """Tell how all is now, and each change. Raises `NotAUser`, `TooManyListeners`."""
        self._stop = self._service.listen(self._user, self._changed)
        for one in self._service.subscriptions(self._user):
            self._soon(one.standing.presentity)

    def end(self) -> None:
        """Tell nothing more."""
        self._ended = True
        self._stop()

    def _changed(self, change: Change) -> None:
        if change.topic is Topic.WATCHING and change.subject is not None:
            self._soon(change.subject)

    def _soon(self, presentity: Address) -> None:
        if self._only is None or presentity.key == self._only.key:
            self._reactor.callLater(0, self._tell, presentity)

    def _tell(self, presentity: Address) -> None:
        if self._ended:
            return
        key = presentity.key
        view = _standing(self._service, self._user, presentity, self._alive_at.get(key, self._began))
        if view["state"] != "terminated":
            self._alive_at[key] = view["at"]
        said = {name: value for name, value in view.items() if name not in _CLOCKS}
        if self._last.get(key) != said:
            self._last[key] = said
            self._emit(view)


def _standing(service: EmbeddedService, user: Address, presentity: Address, since: float) -> SubscriptionView:
    """How a subscription is, or how it ended since then."""
    if not service.knows(user):  # any more
        return userviews.gone_view(user, presentity, time.time())
    one = service.subscription(user, presentity)
    if one is not None:
        return userviews.followed_view(one, time.time())
    for end in reversed(service.ends(user)):
        if end.presentity.key == presentity.key and end.at >= since:
            return userviews.ended_view(user, end)
    return userviews.gone_view(user, presentity, time.time())


def _check_groups(service: EmbeddedService, user: Address, audience: Iterable[str]) -> None:
    """A group without anybody is a mistake: nobody would see him. Raises `AdminError`, `BadRule`."""
    known = {group for one in service.contacts(user) for group in one.groups}
    for who in map(Who.parse, audience):
        if who.group and who.group not in known:
            what, do = f"no contact is of group {who.group!r}", ", ".join(sorted(known)) or "none"
            raise AdminError("not-found", what, "audience", f"there are: {do}")


def _presence(user: Address, what: Publishing) -> Presence:
    """The state of an instance: one tuple, which says all of it. Raises `AdminError`, `BadPresence`.

    What one instance does is not said of the person (RFC 4479 section 3.2), who is the same for all of them.
    """
    basic = Basic.CLOSED if what.status == "closed" else Basic.OPEN
    if what.status not in {"open", "closed"} and what.status not in ACTIVITIES:
        do = "open, closed, or one of: " + ", ".join(sorted(ACTIVITIES))
        raise AdminError("bad-request", f"{what.status[:40]!r} is no state", "status", do)
    if basic is Basic.CLOSED and what.priority is not None:
        do = "leave it out, or say something that is open"
        raise AdminError("bad-request", "what is closed takes nothing, so it has no priority", "priority", do)
    notes = tuple(Note(one["text"], one["language"]) for one in what.notes)
    doing = () if what.status in {"open", "closed"} else (Activities((what.status,)),)
    contact, beside = _contact(user, what)
    one = PresenceTuple(_tuple_id(what.instance), basic, contact, notes, activities=doing, extensions=beside)
    return Presence(user, (one,))


def _contact(user: Address, what: Publishing) -> tuple[Contact | None, tuple[Extension, ...]]:
    """Where the instance is reached, how much it is preferred, and what of that has no place in a contact.

    A priority is of a contact (RFC 3863 section 4.1.5), so where none is given it is of the user's address.
    """
    if what.priority is None:
        return (Contact(what.contact) if what.contact else None), ()
    thousandths, beside = said_priority(what.priority)
    return Contact(what.contact or im_uri(user), thousandths), beside


def _tuple_id(instance: str) -> str:
    """The instance's name where that is an id, else a spelling of it from which XMPP has the name back."""
    plain = element_id(instance, "i")
    spelled = plain != instance or instance.startswith("ID-")
    return tuple_id(instance) if spelled and is_resource(instance) else plain
