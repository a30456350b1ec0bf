"""A watching machine, and what it is told, for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from random import Random

from imxrouter.model.address import Address
from imxrouter.model.operations import (
    EndReason,
    Notify,
    Subscribe,
    SubscribeResult,
    SubscriptionState,
    Version,
)
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.presence import offline
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.destinations import BackOff
from imxrouter.routing.watched import WatchSettings
from imxrouter.routing.watching import Watching

ANN = Address.parse("ann@a.example")
BOB = Address.parse("Bob@b.example")
ACTIVE, PENDING, TERMINATED = (
    SubscriptionState.ACTIVE, SubscriptionState.PENDING, SubscriptionState.TERMINATED,
)  # fmt: skip
SETTINGS = WatchSettings(backoff=BackOff(first_s=5, cap_s=300, jitter=0.5))
UNREACHABLE = failure(Reason.UNREACHABLE)


def ids() -> Callable[[], bytes]:
    """Ids in order."""
    numbers = count(1)
    return lambda: next(numbers).to_bytes(16, "big")


def made(settings: WatchSettings = SETTINGS, chance: float | None = 0.5) -> Watching:
    """A machine whose chance is always the same, or with None seeded."""
    seeded = Random(1)
    return Watching(ids(), seeded.random if chance is None else lambda: chance, settings)


def granted(state: SubscriptionState = ACTIVE, duration_s: int = 1000) -> Outcome:
    """A success."""
    return replace(SUCCESS, result=SubscribeResult(state, duration_s))


def begun(watching: Watching, now: float = 0.0, duration_s: int = 1000) -> Subscribe:
    """A subscription that is active."""
    assert watching.want(ANN, BOB, duration_s) is None
    [asked] = watching.due(now).send
    effects = watching.answered(asked, granted(duration_s=duration_s), now)
    assert (effects.send, effects.show, effects.ended) == ([], [], [])
    return asked


def told(asked: Subscribe, number: int, epoch: int = 1) -> Notify:
    """A notification with a state."""
    return Notify(BOB, ANN, b"m" * 16, asked.subscription_id, ACTIVE, Version(epoch, number), offline(BOB))


def ended(asked: Subscribe, why: EndReason) -> Notify:
    """A notification that it is over."""
    return Notify(BOB, ANN, b"m" * 16, asked.subscription_id, TERMINATED, end_reason=why)


def moments(watching: Watching, start: float, until: float) -> list[float]:
    """When requests are sent that all fail, at ticks of a second."""
    sent = []
    now = start
    while now < until:
        for asked in watching.due(now).send:
            sent.append(now)
            watching.answered(asked, UNREACHABLE, now)
        now += 1.0
    return sent
