"""The last part of `imxctl policy explain`: a request that would have to be taken to a domain elsewhere.

What a held request meets, as in `transport.federation`: the policy for the destination and what it was seen
at before, our own state and policy, what waits for it, and how the destination stands now.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from imxrouter.admin.policy_views import PolicyStepView
from imxrouter.app.operators.peerview import reached_by, remembered
from imxrouter.app.traffic.rules import Rule
from imxrouter.model.domain import Domain
from imxrouter.model.limits import Limit
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.destinations import Destination, DestinationState

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts


def made_step(step: str, verdict: str, reason: Reason, text: str, rule: Rule) -> PolicyStepView:
    """One check as it is shown."""
    return PolicyStepView(
        step=step, verdict=verdict, reason=reason.word if reason is not Reason.NONE else "", text=text,
        rule=rule.check, setting=rule.setting,
    )  # fmt: skip


def seen_words(router: Parts, domain: Domain) -> str:
    """The strongest that a domain was seen at, and until when less is refused."""
    words, until = remembered(router, domain)
    if until is None:
        return "it was seen at: nothing"
    return f"it was seen at: {words}; less is refused until {datetime.fromtimestamp(until, UTC):%Y-%m-%d}"


def away_steps(
    router: Parts, from_domain: bytes, domain: Domain, size: int, *, has_way: bool
) -> Iterator[PolicyStepView]:
    """Each check up to the first that refuses.

    Args:
        router: whose tables are asked.
        from_domain: of the source.
        domain: of the destination, which is not served here.
        size: bytes of the record.
        has_way: a link to it is up; then it was judged when that was opened.
    """
    for step in _steps(router, from_domain, domain, size, has_way=has_way):
        yield step
        if step["verdict"] == "refuse":
            return


def _steps(
    router: Parts, from_domain: bytes, domain: Domain, size: int, *, has_way: bool
) -> Iterator[PolicyStepView]:
    yield _policy(router, domain)
    if has_way:
        return
    federation = router.federation
    if federation.stopped:
        yield made_step(
            "this router", "refuse", Reason.SHUTTING_DOWN, "it goes out of service", Rule("drain")
        )
    if not router.switch.level_is_enough(from_domain, router.claimer.best_level):
        text = f"no link of ours can be as strong as {from_domain.decode()} asks for"
        rule = Rule("policy of the sender's domain", f'[[domain]] name = "{from_domain.decode()}": policy')
        yield made_step("policy of the source", "refuse", Reason.WEAKER_THAN_POLICY, text, rule)
    yield _hold(router, domain, size)
    yield _state(router, domain, federation.destinations.find(domain, reached_by(router, domain)[0]))


def _policy(router: Parts, domain: Domain) -> PolicyStepView:
    """What is asked of it, and whether a link of ours can be that, and as strong as before."""
    decision, rule = router.gatekeeper.decide(domain), router.rules.policy_of(domain)
    step, seen = "policy for the destination", seen_words(router, domain)
    if decision.accepted:
        return made_step(step, "pass", Reason.NONE, seen, rule)
    text = f"{decision.note}; {seen}" if decision.note else seen
    if decision.reason is Reason.WEAKER_THAN_REMEMBERED:
        setting = f"trust.remember_days = {router.config.trust.remember_days:g}"
        rule = Rule(f"never weaker than before: imxctl peers forget {domain}", setting)
    return made_step(step, "refuse", decision.reason, text, rule)


def _state(router: Parts, domain: Domain, entry: Destination | None) -> PolicyStepView:
    """Whether it is failing now."""
    now = router.hub.now()
    if entry is None or entry.state is not DestinationState.FAILING:
        word = "it is not failing" if entry is None else f"it is {entry.state.value}"
        last = entry.last_error if entry is not None else None
        text = f"{word}; its last error: {last.reason.word}, {_since(now - last.at)} ago" if last else word
        return made_step("state of the destination", "pass", Reason.NONE, text, Rule(""))
    last, waits = entry.last_error, entry.retry_after_s(now)
    reason = last.reason if last is not None else Reason.BACKING_OFF
    note = f" ({last.note})" if last is not None and last.note else ""
    text = f"failing for {_since(now - entry.since)}, {entry.failures} times: {reason.word}{note}"
    if entry.may_try(now):
        text = f"{text}; it is tried again with the next request"
        return made_step("state of the destination", "wait", Reason.NONE, text, Rule(""))
    dial = router.config.dial
    setting = f"dial.backoff_first_s = {dial.backoff_first_s:g}, dial.backoff_cap_s = {dial.backoff_cap_s:g}"
    text = f"{text}; the next try is in {waits} s (imxctl peers retry {domain}: at once)"
    return made_step(
        "state of the destination", "refuse", reason, text, Rule("waits after failures", setting)
    )


def _hold(router: Parts, domain: Domain, size: int) -> PolicyStepView:
    """What may wait for it while it is dialled."""
    dial, (_, held_bytes) = router.config.dial, router.federation.held
    held = router.federation.holding.count(domain.wire)
    text = f"{held} of {dial.hold_count} wait for it; {held_bytes} of {dial.hold_total_bytes} bytes in all"
    full = held >= dial.hold_count or held_bytes + size > dial.hold_total_bytes
    verdict, reason = ("refuse", Limit.HOLD.reason) if full else ("pass", Reason.NONE)
    setting = ", ".join(f"{key} = {router.rules.value(key)}" for key in Limit.HOLD.plain_keys)
    rule = Rule("what may wait for a domain", setting) if full else Rule("")
    return made_step(f"limit {Limit.HOLD.word}", verdict, reason, text, rule)


def _since(seconds: float) -> str:
    at = time.gmtime(max(seconds, 0))
    if seconds < 60:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds // 60:.0f} min" if seconds < 3600 else f"{seconds // 3600:.0f} h {at.tm_min} min"
