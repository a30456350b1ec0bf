"""What the API tells of users of an embedded service. As in `views`, keys are stable."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class NoteView(TypedDict):
    """Words for people; `language` is a tag like `de`, empty where none was said."""

    text: str
    language: str


class TupleView(TypedDict):
    """One way to reach somebody; `priority` is 0 to 1, null where none was said.

    `xmpp_priority` is what watchers on XMPP are shown of it, -128 to 127; 0 where they are shown none.
    """

    id: str
    status: str
    contact: str
    priority: float | None
    xmpp_priority: int
    activities: list[str]
    notes: list[NoteView]


class StateView(TypedDict):
    """What is known of somebody's presence: `status` is `open`, `closed` or `unknown`.

    Where a router says that nobody can know, `reason` has its word, `domain` names where that was decided,
    `failed_at` is the domain at which it failed, empty where that was here, as in the answer of
    `imxctl send`, and `stage`, `remedy` and `retry` are those of the reason; else they are empty.
    """

    status: str
    activities: list[str]
    notes: list[NoteView]
    tuples: list[TupleView]
    reason: str
    stage: str
    domain: str
    failed_at: str
    remedy: str
    retry: str


class InstanceView(TypedDict):
    """What one device or program of a user says; forgotten after `left_s`.

    `by` published it. `audience` are the patterns of those who see it; none: all who may see the user.
    """

    instance: str
    until: float
    left_s: float
    by: str
    audience: list[str]
    state: StateView


class PresenceView(TypedDict):
    """`imxctl presence USER`: the whole state, as he sees it himself, and its instances.

    `kept` says whether all that was set is written, and so holds after a restart.
    """

    user: str
    kept: bool
    state: StateView
    instances: list[InstanceView]


class RulingView(TypedDict):
    """What is decided on somebody: `right` is `message`, `subscribe` or `fetch`.

    `decision` is `allow`, `ask`, `refuse` or `block`; `because` is `consent`, `default`, `self`, or the
    pattern of the rule; `detail` says how much presence is shown: `full` or `basic`.
    """

    right: str
    decision: str
    because: str
    detail: str


class WatcherView(TypedDict):
    """Somebody who watches a user: `state` is what he knows, `decision` and `because` what he is not told.

    Of a user of XMPP `state` is also `dormant` (he may watch, and does not now) or `denied`, or `passes` of
    users of XMPP whose servers look after it; `until` is 0 where nothing ends. `failures` counts the
    notifications in a row that his side did not take.
    """

    watcher: str
    state: str
    left_s: float
    until: float
    decision: str
    because: str
    detail: str
    failures: int


class SeenView(TypedDict):
    """`imxctl presence USER --seen-by WATCHER`: what that watcher is shown of the user, and why.

    `fetch` tells what a fetch is shown where that differs from a subscription, else it is null. Who is
    refused or waits for a decision is shown nothing: `unknown`, with the reason that a fetch of his gets.
    """

    user: str
    watcher: str
    state: StateView
    fetch: StateView | None
    rulings: list[RulingView]
    subscriptions: list[WatcherView]


class SubscriptionView(TypedDict):
    """A subscription of a user: `state` is `asked`, `pending`, `active` or `terminated`, or `asleep` (XMPP).

    It is `passes` between users of XMPP whose servers look after it; the rest is empty then.

    `presence` is what was told last, null where nothing was since the start. `renewal_s` is when it is asked
    for again, null while it is; `failures` counts those in a row, and `reason` (with `stage`, `domain`,
    `failed_at`, `remedy` and `retry`) is that of the last one, or of the refusal. `end_reason` says why a
    terminated one ended, in the words of RFC 6665. `at` is when that was, or now. With `--follow`, `dropped`
    counts what was left out before it.
    """

    at: float
    watcher: str
    presentity: str
    state: str
    left_s: float
    renewal_s: float | None
    presence: StateView | None
    failures: int
    end_reason: str
    reason: str
    stage: str
    domain: str
    failed_at: str
    remedy: str
    retry: str
    dropped: NotRequired[int]


class SubscriptionsView(TypedDict):
    """`imxctl subscriptions`: whom a user watches, and what others ended or refused, the newest last."""

    user: str
    subscriptions: list[SubscriptionView]
    ended: list[SubscriptionView]


class FetchView(TypedDict):
    """`imxctl subscribe --fetch`: what was told once."""

    watcher: str
    presentity: str
    state: StateView
    seconds: float


class KnockView(TypedDict):
    """Somebody who was turned away until the user decides; `at` is the last time."""

    person: str
    right: str
    at: float
    count: int


class DecisionView(TypedDict):
    """What a user decided on one person, about `presence` or `messages`."""

    person: str
    scope: str
    decision: str
    at: float


class WatchersView(TypedDict):
    """`imxctl watchers`: who watches a user, who was turned away until he decides, and what he decided.

    `kept` says whether all that was set is written, and so holds after a restart.
    """

    user: str
    kept: bool
    watchers: list[WatcherView]
    waiting: list[KnockView]
    decisions: list[DecisionView]


class RuleView(TypedDict):
    """One rule; of those that name somebody the first in the list decides."""

    who: str
    right: str
    decision: str
    detail: str


class RulesView(TypedDict):
    """`imxctl rules`: rules, decisions on persons (which come first), and what holds for everybody else.

    `publishers` may publish for the user, `readers` may read his messages; `kept` says whether all that was
    set is written, and so holds after a restart.
    """

    user: str
    kept: bool
    rules: list[RuleView]
    decisions: list[DecisionView]
    presence_default: str
    messages_default: str
    publishers: list[str]
    readers: list[str]


class ContactView(TypedDict):
    """One entry of a contact list; `watch`: a subscription to his presence is held now."""

    address: str
    name: str
    groups: list[str]
    watch: bool


class ContactsView(TypedDict):
    """`imxctl contacts`: a user's contact list.

    `kept` says whether all that was set is written, and so holds after a restart.
    """

    user: str
    kept: bool
    contacts: list[ContactView]


class OwnAttributeView(TypedDict):
    """An attribute of a user: `visible` to these patterns or words; `along`: it rides along on what he sends.

    `value` is text, or base64 where its bytes are no UTF-8 (`encoding`).
    """

    name: str
    value: str
    encoding: str
    visible: list[str]
    along: bool
    max_age_s: int


class UserView(TypedDict):
    """`imxctl user`: what a user has, in figures, and his attributes.

    `kept` says whether all that was set is written, and so holds after a restart.
    """

    user: str
    kept: bool
    service: str
    presence: str
    instances: int
    subscriptions: int
    watchers: int
    waiting: int
    rules: int
    contacts: int
    attributes: list[OwnAttributeView]


#: Shapes of these answers, outer ones first; for the reference page.
VIEWS: tuple[type, ...] = (
    UserView, OwnAttributeView, PresenceView, InstanceView, StateView, TupleView, NoteView, SeenView,
    RulingView, SubscriptionsView, SubscriptionView, FetchView, WatchersView, WatcherView, KnockView,
    DecisionView, RulesView, RuleView, ContactsView, ContactView,
)  # fmt: skip
