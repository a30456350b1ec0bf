"""Fetches: what is asked once of a presentity, and what comes of it (specification section 7.6)."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

from imxrouter.model.address import Address
from imxrouter.model.operations import Notify, Subscribe, SubscribeResult, SubscriptionState
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.routing.watched import Fetch, Show, WatchSettings, failed_where

#: Told with a refusal for want of room.
_BUSY_RETRY_S: Final = 60


class Fetches:
    """Those that wait for their notification, by the id of their subscription.

    The end of each is one notification, or one `Show` of what is unknown.

    Args:
        new_id: gives 16 random bytes, for subscriptions and requests.
    """

    def __init__(self, new_id: Callable[[], bytes]) -> None:
        self._new_id = new_id
        self._waiting: dict[bytes, Fetch] = {}

    def __contains__(self, ident: object) -> bool:
        return ident in self._waiting

    def ask(
        self, watcher: Address, presentity: Address, now: float, settings: WatchSettings
    ) -> Subscribe | Refusal:
        """Ask once; the request is to be sent now."""
        if len(self._waiting) >= settings.fetches:
            return Refusal(Reason.BUSY, _BUSY_RETRY_S, "too many fetches wait for their notification")
        own = sum(fetch.watcher.key == watcher.key for fetch in self._waiting.values())
        if own >= max(settings.fetches // 10, 1):
            return Refusal(Reason.BUSY, _BUSY_RETRY_S, f"too many fetches of {watcher} wait")
        ident, message_id = self._new_id(), self._new_id()
        self._waiting[ident] = Fetch(watcher, presentity, message_id, now + settings.answer_s)
        return Subscribe(watcher, presentity, message_id, ident, 0)

    def is_asked(self, asked: Subscribe) -> bool:
        """Whether a request is one of these, and its answer is waited for."""
        fetch = self._waiting.get(asked.subscription_id)
        return fetch is not None and fetch.message_id == asked.message_id

    def answered(self, asked: Subscribe, outcome: Outcome) -> Show | None:
        """Take the outcome of such a request; None where its notification is to come."""
        result = outcome.result
        waits = isinstance(result, SubscribeResult) and result.state is SubscriptionState.PENDING
        if outcome.ok and not waits:
            return None
        fetch = self._waiting.pop(asked.subscription_id)
        reason = Reason.CONSENT_NEEDED if waits else outcome.reason
        domain = failed_where(fetch.watcher, fetch.presentity, outcome)
        return fetch.unknown(asked.subscription_id, reason, domain)

    def told(self, told: Notify) -> bool:
        """Whether a notification is what one of these waits for; it waits no more."""
        fetch = self._waiting.get(told.subscription_id)
        if fetch is None or not fetch.of(told.watcher, told.presentity):
            return False
        del self._waiting[told.subscription_id]
        return True

    def over(self, now: float) -> list[Show]:
        """Those whose notification did not come in time; they wait no more."""
        shows: list[Show] = []
        while self._waiting:
            ident, fetch = next(iter(self._waiting.items()))
            if fetch.until > now:
                break
            del self._waiting[ident]
            shows.append(fetch.unknown(ident, Reason.ANSWER_TIMEOUT, fetch.presentity.domain))
        return shows

    def next_due(self) -> float:
        """Nothing is over before this moment; infinite where none waits."""
        oldest = next(iter(self._waiting.values()), None)
        return oldest.until if oldest is not None else inf
