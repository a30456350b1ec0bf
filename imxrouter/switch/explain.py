"""The checks of `Switch`, one after the other and with words, for a request that nobody sent.

The same tables are asked in the same order as in `switch.py`; nothing is counted and nothing changes. A
property test holds the verdict here to what the switch does with the record.
"""

from __future__ import annotations

from collections.abc import Iterator

from imxrouter.model.vocabulary import Reason
from imxrouter.switch.explain_limits import Asked, StandingOf, first_limits, limit_steps, output_step
from imxrouter.switch.explained import Case, Step, Verdict
from imxrouter.switch.ports import Proof, Role, Route
from imxrouter.switch.presence import INSIDE_TYPES, OF_DOMAINS
from imxrouter.switch.switch import Switch
from imxrouter.switch.tables import key_of
from imxrouter.wire.registry import INTERNAL_TYPES, RecordType

#: Of a type that gateways of a process hand each other.
INTERNAL = "the type comes over no link of IMX"


def walk(switch: Switch, case: Case, now: float, standing_of: StandingOf) -> list[Step]:
    """Every check up to the first that refuses, that one included.

    Args:
        switch: whose tables are asked.
        case: the request.
        now: monotonic seconds.
        standing_of: looks at the rates of senders without counting.
    """
    steps = []
    for step in _steps(switch, case, now, standing_of):
        steps.append(step)
        if step.verdict is Verdict.REFUSE:
            break
    return steps


def _steps(switch: Switch, case: Case, now: float, standing_of: StandingOf) -> Iterator[Step]:
    sender, recipient = key_of(case.source), key_of(case.destination)
    if sender is None or recipient is None:
        which = case.source if sender is None else case.destination
        text = f"{which.decode('utf-8', 'replace')} is no address"
        yield Step("addresses", Verdict.REFUSE, Reason.BAD_ADDRESS, text)
        return
    yield Step("addresses", Verdict.PASS, text="both are valid")
    from_domain, to_domain = sender.rpartition(b"@")[2], recipient.rpartition(b"@")[2]
    route = switch.routes.get(to_domain)
    is_service = case.port is not None and case.port.role is Role.SERVICE
    yield from _destination(route, to_domain, case, is_service=is_service)
    proof = case.port.sources.get(from_domain) if case.port is not None else case.assumed
    if case.port is not None and proof is None and case.port.role is Role.UPLINK:
        proof = case.port.sources.get(b"*") if from_domain not in switch.routes else None
    yield _source(case, proof, route, from_domain, to_domain, now)
    if proof is not None and case.body_bytes > proof[5]:
        text = f"{case.body_bytes} bytes; the source may send {proof[5]:g}"
        yield Step("size of the source", Verdict.REFUSE, Reason.TOO_LARGE, text)
    asked = Asked(case, sender, recipient, from_domain, to_domain, route, proof, now)
    yield from first_limits(switch, asked)
    if case.rtype == RecordType.SUBSCRIBE:
        reason = switch.presence.table.judge_subscribe(b"", from_domain, to_domain, 1)
        verdict = Verdict.PASS if reason is None else Verdict.REFUSE
        yield Step("table of subscriptions", verdict, reason or Reason.NONE)
    yield from limit_steps(switch, asked, standing_of)
    yield from _way(switch, asked)
    bar = switch.gate.judge(sender, recipient, case.right) if switch.gate is not None else None
    if bar is not None:
        yield Step("access lists and recipients' rules", Verdict.REFUSE, bar.reason, bar.note, bar)
    else:
        text = "nothing is against it" if switch.gate is not None else "there are none"
        yield Step("access lists and recipients' rules", Verdict.PASS, text=text)


def _destination(route: Route | None, to_domain: bytes, case: Case, *, is_service: bool) -> Iterator[Step]:
    name = to_domain.decode()
    is_internal = case.rtype in INTERNAL_TYPES and not (case.port is not None and case.port.internal)
    if route is None:
        if not is_service:
            text = f"neither {name} nor the source is served here"
            yield Step("destination", Verdict.REFUSE, Reason.RELAY_DENIED, text)
        if is_internal:
            yield Step("record types", Verdict.REFUSE, Reason.TYPE_NOT_ENABLED, INTERNAL)
        yield Step("destination", Verdict.PASS, text=f"{name} is elsewhere")
        return
    yield Step("destination", Verdict.PASS, text=f"{name} is served here")
    if route.suspended:
        yield Step("state of the destination", Verdict.REFUSE, Reason.SUSPENDED, f"{name} is suspended")
    if is_internal:
        yield Step("record types", Verdict.REFUSE, Reason.TYPE_NOT_ENABLED, INTERNAL)
    if case.rtype not in route.types and case.rtype not in OF_DOMAINS:
        text = f"{name} does not take type 0x{case.rtype:04x}"
        yield Step("record types", Verdict.REFUSE, Reason.TYPE_NOT_ENABLED, text)
    yield Step("record types", Verdict.PASS, text=f"{name} takes it")
    if case.body_bytes > route.max_bytes:
        text = f"{case.body_bytes} bytes; {name} takes {route.max_bytes}"
        yield Step("size", Verdict.REFUSE, Reason.TOO_LARGE, text)
    yield Step("size", Verdict.PASS, text=f"{name} takes {route.max_bytes} bytes")


def _source(
    case: Case, proof: Proof | None, route: Route | None, from_domain: bytes, to_domain: bytes, now: float
) -> Step:
    name, port = from_domain.decode(), case.port
    step = "source"
    if proof is None or proof[2] < now:
        return Step(step, Verdict.REFUSE, Reason.NOT_PROVED, f"{name} is not proved")
    if port is None or port.role is not Role.SERVICE:
        if proof[1] is not None and to_domain not in proof[1]:
            text = f"{name} is proved there towards other domains only"
            return Step(step, Verdict.REFUSE, Reason.RELAY_DENIED, text)
        if route is not None and route.level & ~proof[0]:
            text = f"{name} is proved less strongly than the destination asks"
            return Step(step, Verdict.REFUSE, Reason.WEAKER_THAN_POLICY, text)
    if port is None:
        return Step(step, Verdict.WAIT, text=f"{name} would have to prove itself first")
    if port.role is Role.SERVICE:
        return Step(step, Verdict.PASS, text=f"{name} is bound to the service of link {port.number}")
    return Step(step, Verdict.PASS, text=f"{name} is proved on link {port.number}")


def _way(switch: Switch, asked: Asked) -> Iterator[Step]:
    route, case, name = asked.route, asked.case, asked.to_domain.decode()
    if route is not None:
        own = case.destination.startswith(b"@") and case.rtype in INSIDE_TYPES
        ways = switch.inside if own else route.ports
        if not ways:
            yield Step("way", Verdict.REFUSE, Reason.SERVICE_DOWN, f"no link of the service of {name} is up")
        yield Step("way", Verdict.PASS, text=f"to the service of {name}")
        yield output_step(switch, asked, ways)
        return
    by_streams = case.rtype == RecordType.STANZA
    uplinks = [] if by_streams else switch.uplinks
    to_it = (switch.ways.streams if by_streams else switch.ways).get(asked.to_domain, {})
    ways, protocol = uplinks or to_it.get(asked.from_domain, []), "XMPP" if by_streams else "IMX"
    if not ways:
        text = f"{name} is looked up and dialled ({protocol}); until then it waits"
        yield Step("way", Verdict.WAIT, text=text)
        return
    text = "to the uplink" if uplinks else f"over a link to {name} that is up ({protocol})"
    yield Step("way", Verdict.PASS, text=text)
    yield output_step(switch, asked, ways)
