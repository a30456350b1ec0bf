"""Presence, subscriptions and settings of users, in the shapes that operators are told."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from math import isfinite
from typing import TypedDict

from imxrouter.admin.user_views import (
    ContactView,
    DecisionView,
    InstanceView,
    KnockView,
    NoteView,
    OwnAttributeView,
    RuleView,
    RulingView,
    StateView,
    SubscriptionView,
    TupleView,
    WatcherView,
)
from imxrouter.gateways.embedded.accounts import Knock
from imxrouter.gateways.embedded.attributes import OwnAttribute
from imxrouter.gateways.embedded.contacts import Contact
from imxrouter.gateways.embedded.following import End, Followed
from imxrouter.gateways.embedded.instances import Publication
from imxrouter.gateways.embedded.presentities import WatcherOf
from imxrouter.gateways.xmpp.translate.showing import priority_of
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.presence import Activities, Basic, Note, Presence, PresenceTuple, Unknown, preferred
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.rules import Consent, Right, Rule, Ruling
from imxrouter.routing.watched import Standing


class ReasonWords(TypedDict):
    """What the registry says of a reason."""

    reason: str
    stage: str
    remedy: str
    retry: str


def state_view(state: Presence | Unknown, watcher: Address | None = None) -> StateView:
    """What is known of somebody's presence; `watcher` is who was told so, where that is another."""
    if isinstance(state, Unknown):
        nothing: list[NoteView] = []
        return StateView(
            status="unknown", activities=[], notes=nothing, tuples=[], domain=state.domain.name,
            failed_at=_failed_at(state.domain, state.presentity, watcher), **reason_words(state.reason),
        )  # fmt: skip
    notes = [*state.notes]
    doing: list[str] = []
    for person in state.persons:
        notes += person.notes
        doing += _doing(person.activities)
    tuples = preferred(state.tuples)
    for one in tuples:
        notes += one.notes
        doing += _doing(one.activities)
    return StateView(
        status=state.status.value, activities=list(dict.fromkeys(doing)), notes=_notes(notes),
        tuples=[_tuple_view(one) for one in tuples], reason="", stage="", domain="", failed_at="", remedy="",
        retry="",
    )  # fmt: skip


def _failed_at(domain: Domain, presentity: Address, watcher: Address | None) -> str:
    """The domain at which something failed; empty where it failed here (FCC-3)."""
    here = watcher is not None and domain == watcher.domain and domain != presentity.domain
    return "" if here else domain.name


def reason_words(reason: Reason) -> ReasonWords:
    """What the registry says of a reason; empty where there is none."""
    if reason is Reason.NONE:
        return ReasonWords(reason="", stage="", remedy="", retry="")
    return ReasonWords(
        reason=reason.word, stage=reason.stage.value, remedy=reason.remedy, retry=reason.retry.value
    )


def _tuple_view(one: PresenceTuple) -> TupleView:
    priority = one.contact.priority if one.contact is not None else None
    return TupleView(
        id=one.id, status=one.status.value, contact=one.contact.uri if one.contact is not None else "",
        priority=None if priority is None else priority / 1000,
        xmpp_priority=priority_of(one) if one.status is Basic.OPEN else 0,
        activities=_doing(one.activities), notes=_notes(one.notes),
    )  # fmt: skip


def _doing(activities: Iterable[Activities]) -> list[str]:
    return [word for one in activities for word in (*one.names, *(other.text for other in one.other))]


def _notes(notes: Iterable[Note]) -> list[NoteView]:
    return [NoteView(text=note.text, language=note.language) for note in dict.fromkeys(notes)]


def instance_view(name: str, publication: Publication, wall: float) -> InstanceView:
    """What one instance published."""
    return InstanceView(
        instance=name, until=publication.until, left_s=round(max(publication.until - wall, 0.0), 1),
        by=str(publication.by), audience=[who.text for who in publication.audience],
        state=state_view(publication.presence),
    )  # fmt: skip


# -- subscriptions ---------------------------------------------------------------------------------------


def followed_view(one: Followed, wall: float) -> SubscriptionView:
    """A subscription of a user that lives."""
    return standing_view(one.standing, one.presence, wall)


def standing_view(standing: Standing, presence: Presence | Unknown | None, wall: float) -> SubscriptionView:
    """A subscription that lives, and what was told."""
    reason, domain = standing.why if standing.why is not None else (Reason.NONE, None)
    renewal = round(standing.renewal_s, 1) if isfinite(standing.renewal_s) else None
    state = "asked" if standing.state is None else standing.state.name.lower()
    return _subscription(
        wall, standing.watcher, standing.presentity, state, reason, domain, left_s=round(standing.left_s, 1),
        renewal_s=renewal, failures=standing.failures,
        presence=None if presence is None else state_view(presence, standing.watcher),
    )  # fmt: skip


def asleep_view(watcher: Address, presentity: Address, wall: float) -> SubscriptionView:
    """A subscription that is approved and not renewed, for its user has not been seen for long."""
    return _subscription(wall, watcher, presentity, "asleep", Reason.NONE, None)


def passing_view(watcher: Address, presentity: Address, wall: float, *, granted: bool) -> SubscriptionView:
    """A subscription between users of two XMPP servers, which look after it; the router knows no state."""
    return _subscription(wall, watcher, presentity, "passes" if granted else "asked", Reason.NONE, None)


def ended_view(watcher: Address, one: End) -> SubscriptionView:
    """A subscription of a user that others ended or refused."""
    domain = one.presentity.domain if one.reason is not Reason.NONE else None
    view = _subscription(one.at, watcher, one.presentity, "terminated", one.reason, domain)
    view["end_reason"] = one.end_reason.word
    return view


def gone_view(watcher: Address, presentity: Address, wall: float) -> SubscriptionView:
    """A subscription that the user himself gave up."""
    return _subscription(wall, watcher, presentity, "terminated", Reason.NONE, None)


def _subscription(
    at: float, watcher: Address, presentity: Address, state: str, reason: Reason, domain: Domain | None,
    *, left_s: float = 0.0, renewal_s: float | None = None, failures: int = 0,
    presence: StateView | None = None,
) -> SubscriptionView:  # fmt: skip
    words = reason_words(reason)
    return SubscriptionView(
        at=at, watcher=str(watcher), presentity=str(presentity), state=state, left_s=left_s,
        renewal_s=renewal_s, presence=presence, failures=failures, end_reason="", reason=words["reason"],
        stage=words["stage"], domain=domain.name if domain is not None else "",
        failed_at=_failed_at(domain, presentity, watcher) if domain is not None else "",
        remedy=words["remedy"], retry=words["retry"],
    )  # fmt: skip


def watcher_view(one: WatcherOf, wall: float) -> WatcherView:
    """Somebody who watches a user."""
    return WatcherView(
        watcher=str(one.watcher), state=one.state.name.lower(), left_s=round(one.left_s, 1),
        until=round(wall + one.left_s, 1), decision=one.ruling.decision.value, because=one.ruling.because,
        detail=one.ruling.detail.value, failures=one.failures,
    )  # fmt: skip


def ruling_view(right: Right, ruling: Ruling) -> RulingView:
    """What is decided on somebody."""
    return RulingView(
        right=right.value, decision=ruling.decision.value, because=ruling.because, detail=ruling.detail.value
    )


# -- settings --------------------------------------------------------------------------------------------


def knock_view(one: Knock) -> KnockView:
    """Somebody who was turned away."""
    return KnockView(person=str(one.person), right=one.right.value, at=one.at, count=one.count)


def decision_view(one: Consent) -> DecisionView:
    """What was decided on a person."""
    return DecisionView(person=str(one.person), scope=one.scope.value, decision=one.decision.value, at=one.at)


def rule_view(one: Rule) -> RuleView:
    """A rule."""
    return RuleView(
        who=one.who.text, right=one.right.value, decision=one.decision.value, detail=one.detail.value
    )


def contact_view(one: Contact) -> ContactView:
    """A contact."""
    return ContactView(
        address=str(one.address), name=one.name, groups=sorted(one.groups), watch=bool(one.watch)
    )


def attribute_view(one: OwnAttribute) -> OwnAttributeView:
    """An attribute of a user."""
    raw = one.attribute.value
    try:
        value, encoding = raw.decode("utf-8"), "text"
    except UnicodeDecodeError:
        value, encoding = base64.b64encode(raw).decode("ascii"), "base64"
    return OwnAttributeView(
        name=one.attribute.name, value=value, encoding=encoding, visible=list(one.visibility.words),
        along=one.along, max_age_s=one.attribute.max_age_s,
    )  # fmt: skip
