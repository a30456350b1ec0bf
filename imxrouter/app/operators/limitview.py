"""How the limits stand: what `imxctl limits` shows of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from imxrouter.admin.views import LimitView, OffenderView, OverloadView
from imxrouter.model.limits import Limit
from imxrouter.routing.traffic import Meter
from imxrouter.switch import slots
from imxrouter.switch.ports import Role

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts

#: What is used, of how much, and by whom most; None where there is no one figure.
Use = tuple[float, float, str] | None

_METERS: Final = {
    Limit.PEER_RATE, Limit.DOMAIN_OUT, Limit.DOMAIN_IN, Limit.TENANT_OUT, Limit.TENANT_IN,
}  # fmt: skip


def limits_view(router: Parts) -> list[LimitView]:
    """Every limit: its keys and their values, what is used now, refusals, who was refused most."""
    return [_view(router, limit) for limit in Limit]


def overload_view(router: Parts) -> OverloadView:
    """What is shed now, and why."""
    overload = router.limiting.overload
    return OverloadView(
        level=int(overload.level),
        what=overload.level.word,
        lag_ms=round(overload.lag_s * 1000, 1),
        unwritten_bytes=overload.unwritten,
        times=overload.times,
    )


def _view(router: Parts, limit: Limit) -> LimitView:
    info, switch = limit.value, router.switch
    use = _use(router, limit)
    refused = switch.book.counts[limit] if info.counted else slots.refusals(switch.counters, info.reason)
    return LimitView(
        name=info.word,
        what=info.what,
        settings={key: router.rules.value(key) for key in limit.plain_keys},
        fixed=info.fixed,
        more_keys=[key for key in info.keys if key not in limit.plain_keys],
        answer=info.reason.word,
        used=round(use[0], 3) if use is not None else None,
        of=round(use[1], 3) if use is not None else None,
        by=use[2] if use is not None else "",
        refused=refused,
        by_name=info.counted,
        worst=[
            OffenderView(who=_shown(router, who), refused=count) for who, count in switch.book.worst(limit)
        ],
    )


def _shown(router: Parts, who: bytes) -> str:
    """Whom; an address as the log shows it."""
    return router.mask.address(who) if b"@" in who else who.decode("utf-8", "replace")


def _use(router: Parts, limit: Limit) -> Use:
    if limit in _METERS:
        traffic = router.switch.traffic
        return _fullest(router, (*traffic.senders.all(), *traffic.receivers.all()), limit)
    counted = _COUNTED.get(limit)
    return counted(router) if counted is not None else None


def _fullest(router: Parts, meters: Iterable[Meter], limit: Limit) -> Use:
    """Who used most of his burst."""
    now = router.hub.now()
    used = [(max(meter.used(now), 0.0), meter.who) for meter in meters if meter.limit is limit]
    if not used:
        return 0.0, 1.0, ""
    most, who = max(used)
    return most, 1.0, who.decode("utf-8", "replace")


def _links(router: Parts) -> Use:
    meters = [one.port.meter for one in router.hub.sessions.values() if one.port.meter is not None]
    return _fullest(router, meters, Limit.LINK_RATE)


def _credit(router: Parts) -> Use:
    """The link with most requests in flight."""
    links = [(port.in_flight, port.number, port.granted_requests) for port in router.switch.ports.values()]
    flying, number, granted = max(links, default=(0, 0, 0))
    return flying, granted, f"link {number}" if flying else ""


def _output(router: Parts) -> Use:
    """The link with most bytes unwritten."""
    links = [(one.unwritten, one.number) for one in router.hub.sessions.values()]
    most, number = max(links, default=(0, 0))
    return most, router.config.links.output_high_bytes, f"link {number}" if most else ""


def _links_peer(router: Parts) -> Use:
    domain, count = router.gatekeeper.caps.most_links()
    return count, router.config.caps.in_per_peer, domain


_COUNTED: Final[dict[Limit, Callable[[Parts], Use]]] = {
    Limit.STRANGERS: lambda router: (
        router.gatekeeper.caps.strangers, router.config.caps.unauthenticated_total, ""
    ),
    Limit.LINKS: lambda router: (
        sum(1 for one in router.hub.sessions.values() if one.port.role is not Role.UPLINK),
        router.config.caps.in_total, "",
    ),
    Limit.LINKS_PEER: _links_peer,
    Limit.DIALLING: lambda router: (router.gatekeeper.dialling.running, 256, ""),
    Limit.LINK_RATE: _links,
    Limit.CREDIT: _credit,
    Limit.OUTPUT: _output,
    Limit.UNREAD: _output,
    Limit.DUPLICATES: lambda router: (
        len(router.switch.memory.seen), router.config.links.duplicate_entries, ""
    ),
    Limit.HOLD: lambda router: (router.federation.held[1], router.config.dial.hold_total_bytes, ""),
    Limit.SENDERS_REMEMBERED: lambda router: (len(router.rates.arrivals), router.rates.limit, ""),
    Limit.SUBSCRIPTIONS: lambda router: (
        len(router.subscriptions), router.config.limits.subscriptions, ""
    ),
}  # fmt: skip
