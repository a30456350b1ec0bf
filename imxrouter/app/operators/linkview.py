"""One link as `imxctl links` shows it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import and_
from typing import Final, TypedDict

from imxrouter.admin.views import ClaimView, LinkView, StreamView
from imxrouter.app.xmpp import ROLE_WORDS
from imxrouter.gateways.xmpp.acks import Way
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.link.claims import ClaimState
from imxrouter.link.machine import Side
from imxrouter.model.vocabulary import Reason
from imxrouter.switch.ports import Role
from imxrouter.switch.ways import Ways
from imxrouter.transport.link import Link
from imxrouter.wire.describe import level_words

#: What confirms stanzas of ours, in a word.
_CONFIRMED_BY: Final = {Way.ACKS: "acknowledgement", Way.PING: "ping", Way.WRITTEN: "written"}


class PeerTls(TypedDict):
    """Part of a `PeerView`."""

    level: str
    tls: list[str]
    certificate: list[str]
    certificate_until: float | None


def link_view(session: Link, now: float, ways: Ways) -> LinkView:
    """The link's state, domains and claims."""
    port = session.port
    peer = session.tls.peer if session.tls is not None else None
    domains = sorted(raw.decode("ascii") for raw in port.speaks)
    return LinkView(
        link=session.number,
        protocol=session.protocol.value,
        role=Role(port.role).name.lower(),
        state=session.machine.state.value,
        opened_by="us" if session.side is Side.OPENER else "them",
        address=f"{session.remote[0]}:{session.remote[1]}",
        name=session.service or (session.peer.software or "" if session.peer else ""),
        domains=domains,
        claims=[*_made(session), *_received(session, ways)],
        age_s=round(now - session.opened_at, 1),
        idle_s=round(session.machine.idle_for(now), 1),
        in_flight=port.in_flight + port.sent,
        bytes_in=session.bytes_in,
        bytes_out=session.bytes_out,
        tls=tls_word(session),
        certificate=list(peer.names) if peer is not None else [],
        certificate_until=peer.not_after if peer is not None else None,
        stream=stream_view(session, ROLE_WORDS[session.role]) if isinstance(session, XmppSession) else None,
    )


def behind_view(session: XmppSession, now: float) -> LinkView:
    """A stream with a server behind us, which is no link of the hub: many of them share one port."""
    pairs = session.machine.pairs
    how = _proof(session) or "dial-back"
    claims = [
        *(_pair("made", served, outside, how) for outside, served in sorted(pairs.ours)),
        *(_pair("received", served, outside, "address") for served, outside in sorted(pairs.theirs)),
    ]
    domains = sorted({served for _, served in pairs.ours} | {served for served, _ in pairs.theirs})
    word = "inside out" if session.side is Side.OPENER else "inside in"
    if session.role is StreamRole.COMPONENT_OUT:  # as one outside domain, for all of the server's
        word, domains = ROLE_WORDS[session.role], sorted(raw.decode("ascii") for raw in session.way.speaks)
        claims = [_pair("made", "", session.own, "secret")] if session.is_open else []
    view = link_view(session, now, Ways())
    view |= LinkView(  # type: ignore[typeddict-item]
        role="service", name=session.service, domains=domains, claims=claims,
        in_flight=session.machine.confirmations.pending, stream=stream_view(session, word),
    )  # fmt: skip
    return view


def stream_view(session: XmppSession, way: str) -> StreamView:
    """What a stream is beside a link."""
    machine = session.machine
    return StreamView(
        way=way, ours=machine.own, theirs=machine.other, service=session.service, proof=_proof(session),
        both_ways=machine.pairs.bidi, stanzas_in=session.stanzas_in,
        stanzas_out=machine.confirmations.sent, pending=machine.confirmations.pending,
        confirmed_by=_CONFIRMED_BY[machine.confirmations.way],
    )  # fmt: skip


def _proof(session: XmppSession) -> str:
    return "SASL EXTERNAL" if session.machine.external else ""


def _pair(direction: str, theirs: str, ours: str, how: str) -> ClaimView:
    return ClaimView(
        theirs=theirs, ours=ours, direction=direction, state=ClaimState.PROVED.value, level=how, reason=""
    )


def tls_word(session: Link) -> str:
    """The version of TLS, or `none` in clear."""
    return session.tls.version if session.tls is not None else "none"


def peer_tls(sessions: Iterable[Link], domain: bytes) -> PeerTls:
    """What the links of one peer domain are worth now."""
    links = [one for one in sessions if domain in one.port.speaks]
    levels = {one.port.sources[domain][0] for one in links if domain in one.port.sources}
    shown = [one.tls.peer for one in links if one.tls is not None and one.tls.peer is not None]
    return PeerTls(
        level=level_words(reduce(and_, levels)) if levels else "",
        tls=sorted({tls_word(one) for one in links}),
        certificate=sorted({name for one in shown for name in one.names}),
        certificate_until=min((one.not_after for one in shown), default=None),
    )


def _made(session: Link) -> list[ClaimView]:
    return [
        _claim("made", claim.to_domain, claim.from_domain, claim.state, claim.level, claim.reason)
        for claim in session.made.claims()
    ]


def _received(session: Link, ways: Ways) -> list[ClaimView]:
    """What the peer claims and is proved to be, and the pairs that were verified over this link."""
    if session.port.role is not Role.PEER:
        return []
    carried = ways.of_port(session.port)
    made = {(claim.to_domain, claim.from_domain) for claim in session.made.claims()}
    views = [
        _claim("received", claim.from_domain, claim.to_domain, claim.state, 0)
        for claim in session.received.claims()
    ]
    for source, (level, allowed, *_) in sorted(session.port.sources.items()):
        ours = {ours for theirs, ours in carried if theirs == source}
        if allowed is None:
            pairs, direction = [(source, one) for one in sorted(ours) or [b""]], "received"
        else:
            pairs, direction = [(source, one) for one in sorted(allowed)], "verifier"
        views += [_claim(direction, *pair, ClaimState.PROVED, level) for pair in pairs if pair not in made]
    return views


def _claim(
    direction: str, theirs: bytes, ours: bytes, state: ClaimState, level: int, reason: Reason = Reason.NONE
) -> ClaimView:
    return ClaimView(
        theirs=theirs.decode("ascii"), ours=ours.decode("ascii"), direction=direction, state=state.value,
        level=level_words(level) if level else "", reason="" if reason is Reason.NONE else reason.word,
    )  # fmt: skip
