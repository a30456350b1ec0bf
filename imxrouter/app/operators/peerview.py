"""One peer as `imxctl peers show` shows it."""

from __future__ import annotations

import time
from collections import Counter
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Final

from imxrouter.admin.detail import PeerDetailView, PeerErrorView
from imxrouter.admin.errors import AdminError
from imxrouter.app.operators.linkview import link_view
from imxrouter.app.operators.report import measure_views, outage_views
from imxrouter.app.traffic.peerlog import PeerError
from imxrouter.app.traffic.rules import strength_words
from imxrouter.link.claims import MadeClaim
from imxrouter.link.ledger import FROM_DOMAIN, SINCE, SIZE, TO_DOMAIN
from imxrouter.model.domain import Domain
from imxrouter.model.quality import Part, ends, seconds
from imxrouter.routing.choice import Choice, NoChoice, Protocol, Uri
from imxrouter.routing.destinations import DestinationState
from imxrouter.telemetry.catalogue import PEER_RESULTS
from imxrouter.transport.link import Link

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts


#: Outages shown beside everything else; a report has all.
OUTAGES_SHOWN: Final = 5


def peer_detail(router: Parts, domain: Domain) -> PeerDetailView:
    """Everything this process knows of a remote domain.

    Raises:
        AdminError: the domain is served here, or nothing is known of it.
    """
    if domain in router.domains:
        raise AdminError("bad-request", f"{domain} is served here", "peer", "see imxctl domains doctor")
    now = router.hub.now()
    protocol, choice = reached_by(router, domain)
    entry = router.federation.destinations.find(domain, protocol)
    links = [one for one in router.hub.sessions.values() if _concerns(one, domain.wire)]
    errors, pin = router.peer_log.of(domain.wire), router.pinned.get(domain.name, ())
    if entry is None and len(spoken := {one.protocol for one in links}) == 1:
        protocol = spoken.pop()  # it calls us
    seen, until = remembered(router, domain, protocol)
    known = links or errors or pin or seen or router.quality.outages.of(domain.wire)
    if entry is None and not known:
        raise AdminError("not-found", f"nothing is known of {domain}", "peer", "see imxctl peers")
    rule = router.rules.policy_of(domain, protocol)
    failing = entry is not None and entry.state is DestinationState.FAILING
    targets = {f"{one.remote[0]}:{one.remote[1]}" for one in links if domain.wire in one.reached}
    waiting = list(router.federation.holding.waiting(domain.wire))
    held = [one for tag in waiting if (one := router.switch.ledger.entries.get(tag)) is not None]
    counted, answered_s = _counted(router, domain)
    entries = router.switch.ledger.entries.values()
    flying = [one for one in entries if domain.wire in (one[TO_DOMAIN], one[FROM_DOMAIN])]
    return PeerDetailView(
        domain=domain.name, protocol=protocol.value, choice=choice,
        presence_choice=_presence_choice(router, domain), presence_next_try_s=_presence_wait(router, domain),
        subscriptions=_subscriptions(router, domain),
        state=entry.state.value if entry else "calls us" if links else "not tried",
        state_for_s=round(now - entry.since, 1) if entry else None, source="pinned" if pin else "dns",
        targets=sorted(targets | {f"{ip}:{port}" for ip, port in pin}),
        required=router.gatekeeper.all_policies[protocol].policy_for(domain).value,
        required_by=rule.setting,
        remembered=seen, remembered_until=until,
        acceptable=router.gatekeeper.decide(domain, protocol).accepted,
        links=[link_view(one, now, router.switch.ways) for one in links],
        errors=[_error_view(*one) for one in errors],
        failures=entry.failures if entry else 0,
        next_try_s=round(max(0.0, entry.next_try - now), 1) if entry and failing else None,
        backoff_first_s=router.config.dial.backoff_first_s, backoff_cap_s=router.config.dial.backoff_cap_s,
        held=len(held), held_bytes=sum(one[SIZE] for one in held),
        held_age_s=round(now - min(one[SINCE] for one in held), 1) if held else None,
        in_flight=len(flying), bytes_in=sum(one.bytes_in for one in links),
        bytes_out=sum(one.bytes_out for one in links), counted=counted, answered_s=answered_s,
        outages=outage_views(router, domain, OUTAGES_SHOWN), objectives=measure_views(router, domain),
    )  # fmt: skip


def clear_waits(router: Parts, domain: Domain) -> list[str]:
    """End what keeps a remote domain from being tried now; returns what was ended, in words."""
    now, tables = router.hub.now(), (router.federation.destinations, router.federation.presence)
    cleared = []
    router.chooser.forget(domain)
    for table, what in zip(tables, ("back-off", "back-off of presence"), strict=True):
        if any(entry.retry_after_s(now) for entry in table.of(domain)) and table.forget(domain):
            cleared.append(what)
    refused = [claim for claim in claims_towards(router, domain) if claim.retry_at > now]
    for claim in refused:
        claim.retry_at = now
    if refused:
        cleared.append("refused claims")
    return cleared


def reached_by(router: Parts, domain: Domain) -> tuple[Protocol, str]:
    """By which protocol a domain is reached, or was last, and why; no words where there is no choice."""
    kept = router.chooser.kept(domain) if router.federation.chosen.chooser is not None else None
    if kept is not None and isinstance(kept.choice, Choice):
        return kept.choice.protocol or Protocol.IMX, router.federation.chosen.words(domain, kept.choice)
    known = router.federation.destinations.of(domain)
    protocol = known[0].protocol if known else Protocol.IMX
    if kept is not None and isinstance(kept.choice, NoChoice):
        why = router.federation.chosen.why(domain, kept.choice)
        return kept.choice.protocol or protocol, f"none: {kept.choice.reason.word} ({why})"
    return protocol, ""


def _presence_choice(router: Parts, domain: Domain) -> str:
    """By which protocol presence reaches a domain, and why; no words where that is not known now."""
    kept, chosen = router.chooser.kept(domain, Uri.PRES), router.federation.chosen
    if kept is None:
        return ""
    if isinstance(kept.choice, Choice):
        return chosen.words(domain, kept.choice, Uri.PRES)
    return f"none: {kept.choice.reason.word} ({chosen.why(domain, kept.choice, Uri.PRES)})"


def _presence_wait(router: Parts, domain: Domain) -> float | None:
    """Seconds until the domain's hosts for presence alone are tried again; None where nothing waits."""
    now = router.hub.now()
    waits = [one for one in router.federation.presence.of(domain) if one.retry_after_s(now)]
    return round(min(one.next_try for one in waits) - now, 1) if waits else None


def _subscriptions(router: Parts, domain: Domain) -> dict[str, int]:
    """How many subscriptions live with users of a domain, either way, by the protocol that they live by."""
    table, now = router.subscriptions, router.hub.now()
    by_streams = router.switch.presence.by_streams
    counts: Counter[str] = Counter()
    for theirs, keys in (
        (True, table.watched_by(domain.wire, now)),
        (False, table.watching(domain.wire, now)),
    ):
        for key in keys:
            over = by_streams is not None and by_streams(theirs, *key.split(b"\0", 2))
            counts[(Protocol.XMPP if over else Protocol.IMX).value] += 1
    return dict(counts)


def claims_towards(router: Parts, domain: Domain) -> list[MadeClaim]:
    """Claims of ours towards a remote domain, on all links."""
    made = (claim for session in router.hub.sessions.values() for claim in session.made.claims())
    return [claim for claim in made if claim.to_domain == domain.wire]


def _concerns(session: Link, domain: bytes) -> bool:
    """Whether a link was opened to the domain, or the domain speaks or claims on it."""
    if session.service:
        return False
    claimed = any(domain == claim.to_domain for claim in session.made.claims())
    claims = claimed or any(domain == claim.from_domain for claim in session.received.claims())
    return claims or any(
        domain in known for known in (session.reached, session.port.speaks, session.port.sources)
    )


def _counted(router: Parts, domain: Domain) -> tuple[dict[str, dict[str, int]] | None, float | None]:
    """What was counted under the domain's own label, and the mean seconds of what it delivered."""
    router.figures.tick()
    row = router.figures.peers.rows().get(domain.name)
    if row is None or domain.wire not in router.figures.peers.domains():
        return None, None
    came, went = (dict(zip(PEER_RESULTS, ends(row, side), strict=True)) for side in (True, False))
    took_s = seconds(row, Part.THEIRS, False)
    mean = round(took_s / went["delivered"], 6) if went["delivered"] else None
    return {"came": came, "went": went}, mean


def remembered(router: Parts, domain: Domain, protocol: Protocol = Protocol.IMX) -> tuple[str, float | None]:
    """The strongest level seen by a protocol, in words, and when it is forgotten, seconds since 1970."""
    memory, now = router.gatekeeper.remembered, router.hub.now()
    ways = (memory.seen(domain, now, reached=reached, protocol=protocol) for reached in (False, True))
    strength = reduce(or_, ways)
    if not strength:
        return "", None
    until = next((at for name, _, at in memory.items(now) if name == domain), now)
    return strength_words(strength), round(time.time() + until - now, 1)


def _error_view(direction: str, error: PeerError) -> PeerErrorView:
    return PeerErrorView(
        at=error.at_s, direction=direction, stage=error.reason.stage.value, reason=error.reason.word,
        note=error.note, remedy=error.reason.remedy,
    )  # fmt: skip
