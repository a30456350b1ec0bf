"""How near a request is to each limit of the loop, and which would refuse it; nothing is counted.

The order is that of `switch.py`. A property test holds what is said here to what the loop does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isinf

from imxrouter.model.limits import Limit
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.overload import Level
from imxrouter.routing.traffic import Meter
from imxrouter.switch.explained import Case, Step, Verdict
from imxrouter.switch.forms import HANDED_OUT, NOTHING, WHOLE
from imxrouter.switch.ports import MAX_UNACKNOWLEDGED, Port, Proof, Role, Route
from imxrouter.switch.switch import Switch
from imxrouter.wire.layout import ADDRESSES_OFFSET
from imxrouter.wire.registry import FORMS, RecordType

_AS_MESSAGES = FORMS | {RecordType.MESSAGE.value}
#: A sender as the table of rates knows him: seconds to wait, part of the burst that is used, messages a
#: second, and whether he is known or there is room to remember him.
Standing = tuple[float, float, float, bool]
#: Looks at a sender's rate: of his key and domain, with interval and burst of his domain.
StandingOf = Callable[[bytes, bytes, float, float], Standing]


@dataclass(frozen=True, slots=True)
class Asked:
    """A case with what the checks before have found.

    Attributes:
        case: the request.
        sender: key of the source.
        recipient: key of the destination.
        from_domain: domain of the source.
        to_domain: domain of the destination.
        route: of a domain served here.
        proof: of the source, or what it would be.
        now: monotonic seconds.
    """

    case: Case
    sender: bytes
    recipient: bytes
    from_domain: bytes
    to_domain: bytes
    route: Route | None
    proof: Proof | None
    now: float

    @property
    def is_message(self) -> bool:
        """Whether it is a message for the limits of many things at once."""
        return self.case.rtype in _AS_MESSAGES and not self.case.is_presence

    @property
    def size(self) -> int:
        """Bytes of the record."""
        case = self.case
        return ADDRESSES_OFFSET + len(case.source) + len(case.destination) + case.body_bytes


def first_limits(switch: Switch, asked: Asked) -> Iterator[Step]:
    """Those that are asked before subscriptions are."""
    yield _memory(switch, asked)
    if not asked.is_message and asked.case.port not in switch.inside:
        yield _shed(switch, asked)


def limit_steps(switch: Switch, asked: Asked, standing_of: StandingOf) -> Iterator[Step]:
    """Each limit after `first_limits` up to the way.

    Args:
        switch: whose tables are asked.
        asked: the request.
        standing_of: looks at the rates of senders.
    """
    port = asked.case.port
    inside = port is not None and port in switch.inside
    if not inside:
        if port is not None and port.meter is not None:
            yield _link(port, asked.now)
        if asked.is_message:
            yield _shed(switch, asked)
        yield from _meters(switch, asked)
    if asked.proof is not None:
        yield _sender(asked, asked.proof, standing_of)
    if not inside and asked.route is not None and asked.is_message:
        yield _recipient(switch, asked, asked.route)
    if port is not None:
        yield _credit(port, asked)


def output_step(switch: Switch, asked: Asked, ways: list[Port]) -> Step:
    """Whether one of the links that could carry it takes it now."""
    size = asked.size
    if any(switch.takes(way, size) for way in ways):
        unwritten = min(way.sent for way in ways)
        return _passes(Limit.OUTPUT, f"{_count(unwritten, 'request')} without an answer on its emptiest link")
    if all(size > way.largest for way in ways):
        text = f"{size} bytes; the largest record that it takes has {max(way.largest for way in ways)}"
        return Step("size for the way", Verdict.REFUSE, Reason.TOO_LARGE, text)
    return _over(Limit.OUTPUT, "no link there has room: too much waits to be written or answered")


def _memory(switch: Switch, asked: Asked) -> Step:
    memory, port = switch.memory, asked.case.port
    crowded = memory.is_crowded()
    text = f"{len(memory.seen)} of {memory.limit} ids are remembered"
    if len(memory.seen) >= memory.limit:
        return _over(Limit.DUPLICATES, text)
    if crowded and memory.kept_of(asked.from_domain) >= memory.share:
        return _over(
            Limit.DUPLICATES, f"{text}; {asked.from_domain.decode()} has its share of {memory.share}"
        )
    most = min(MAX_UNACKNOWLEDGED, memory.share) if crowded else MAX_UNACKNOWLEDGED
    if port is not None and len(port.unacked) >= most:
        return _over(Limit.DUPLICATES, f"link {port.number} left {len(port.unacked)} answers unacknowledged")
    return _passes(Limit.DUPLICATES, text)


def _shed(switch: Switch, asked: Asked) -> Step:
    """Renewals and ends of subscriptions always pass; this one begins."""
    level, rtype = Level(switch.shed), asked.case.rtype
    if asked.is_message:
        limit, from_level = Limit.SHED_MESSAGES, Level.MESSAGES
        if Level.QUARTER <= level < from_level:
            return Step(f"limit {limit.word}", Verdict.WAIT, text=f"overload: {level.word}", limit=limit)
    elif rtype == RecordType.SUBSCRIBE:
        limit, from_level = Limit.SHED_SUBSCRIPTIONS, Level.SUBSCRIPTIONS
    else:
        limit, from_level = Limit.SHED_PRESENCE, Level.PRESENCE
    if level >= from_level:
        return _over(limit, f"overload: {level.word}")
    return _passes(limit, level.word if level is Level.NOTHING else f"overload: {level.word}")


def _link(port: Port, now: float) -> Step:
    meter = port.meter
    assert meter is not None  # noqa: S101 - asked before
    if now < meter.until:
        return _over(Limit.LINK_RATE, f"link {port.number} is refused for another {meter.until - now:.1f} s")
    return _passes(Limit.LINK_RATE, f"link {port.number}: {_used(meter, now)}")


def _meters(switch: Switch, asked: Asked) -> Iterator[Step]:
    """Who sends, and who is sent to where that has a rate of its own; each with the tenant's above it."""
    yield from _meter(switch.traffic.senders.look(asked.from_domain), asked)
    if asked.route is not None and asked.route.meter is not None:
        yield from _meter(asked.route.meter, asked)


def _meter(meter: Meter, asked: Asked) -> Iterator[Step]:
    spent = meter.left < 1 or meter.left_bytes < asked.size
    for one in (meter, meter.above):
        if one is None:
            continue
        wait, who = one.wait(asked.now), one.who.decode("utf-8", "replace")
        if spent and wait:
            yield _over(one.limit, f"{who} has to wait {wait:.1f} s; {_used(one, asked.now)}")
            return
        yield _passes(one.limit, f"{who}: {_used(one, asked.now)}")


def _used(meter: Meter, now: float) -> str:
    rate = meter.rate
    rates = ((rate.requests, "requests"), (rate.size, "bytes"))
    words = [f"{one.per_s:.10g} {what} a second" for one, what in rates if one.interval_s]
    if not words:
        return "no limit"
    return f"{_part(meter.used(now))} of what may come at once is used ({' and '.join(words)})"


def _sender(asked: Asked, proof: Proof, standing_of: StandingOf) -> Step:
    part = asked.case.part
    if part == NOTHING:
        return _passes(Limit.SENDER, "it costs the sender nothing")
    payer = b"@" + asked.from_domain if part == HANDED_OUT else asked.sender
    wait, used, per_s, known = standing_of(payer, asked.from_domain, proof[3], proof[4])
    limit = Limit.SENDER if known else Limit.SENDERS_REMEMBERED
    domain = "" if payer is asked.sender else asked.from_domain.decode()
    if wait:
        who = f"{domain} as a whole is over its rate" if domain else "the sender is over his rate"
        whose = who if known else "there is no room to remember this sender's rate"
        return _over(limit, f"{whose}, and has to wait {wait:.1f} s")
    if isinf(per_s):
        return _passes(limit, "no limit")
    whose = f"the burst of {domain} as a whole" if domain else "his burst"
    text = f"{_part(used)} of {whose} is used ({per_s:g} a second)"
    if part != WHOLE:
        text += f"; this costs 1/{1 / part:g} of a message ({per_s / part:.10g} a second)"
    return _passes(limit, text)


def _recipient(switch: Switch, asked: Asked, route: Route) -> Step:
    known = asked.from_domain in switch.acquainted
    stranger = not known and (asked.case.port is None or asked.case.port.role is not Role.SERVICE)
    limit = Limit.RECIPIENT_STRANGERS if stranger else Limit.RECIPIENT
    cost, reach = route.inbox[stranger]
    if not cost:
        return _passes(limit, "no limit")
    ahead = switch.inboxes.due[switch.inboxes.place(asked.recipient)] - asked.now
    rate = f"{1 / cost:g} a second"
    if ahead > reach and not route.would_be_calm(asked.now):
        return _over(limit, f"the recipient takes more in {ahead - reach:.1f} s ({rate})")
    return _passes(limit, f"{_part(max(ahead, 0.0) / reach if reach > 0 else 0.0)} is used ({rate})")


def _credit(port: Port, asked: Asked) -> Step:
    share, size = port.destinations.get(asked.to_domain, 0), asked.size
    granted, flying = port.granted_requests, port.in_flight
    text = (
        f"link {port.number}: {flying} of {granted} requests, {port.in_bytes} of {port.granted_bytes} bytes"
    )
    crowds = share * 4 >= granted and flying * 2 > granted
    if flying >= granted or port.in_bytes + size > port.granted_bytes or crowds:
        return _over(Limit.CREDIT, f"{text} wait for an answer, {share} of {asked.to_domain.decode()}")
    return _passes(Limit.CREDIT, f"{text} wait for an answer")


def _passes(limit: Limit, text: str) -> Step:
    return Step(f"limit {limit.word}", Verdict.PASS, text=text, limit=limit)


def _over(limit: Limit, text: str) -> Step:
    return Step(f"limit {limit.word}", Verdict.REFUSE, limit.reason, text, limit=limit)


def _part(used: float) -> str:
    return f"{max(used, 0.0):.0%}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
