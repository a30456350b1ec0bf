"""One link as `imxctl links` shows it."""

from __future__ import annotations

from imxrouter.admin.views import ClaimView, LinkView
from imxrouter.link.machine import Side
from imxrouter.switch.ports import Role
from imxrouter.transport.session import LinkSession


def link_view(session: LinkSession, now: float) -> LinkView:
    """The link's state, domains and claims."""
    port = session.port
    domains = sorted(raw.decode("ascii") for raw in port.speaks)
    return LinkView(
        link=session.number,
        role=Role(port.role).name.lower(),
        state=session.machine.state.value,
        opened_by="us" if session.side is Side.OPENER else "them",
        address=f"{session.remote[0]}:{session.remote[1]}",
        name=session.service or (session.machine.peer.software or "" if session.machine.peer else ""),
        domains=domains,
        claims=[*_made(session), *_received(session)],
        age_s=round(now - session.opened_at, 1),
        idle_s=round(session.machine.idle_for(now), 1),
        in_flight=port.in_flight + port.sent,
        bytes_in=session.bytes_in,
        bytes_out=session.bytes_out,
    )


def _made(session: LinkSession) -> list[ClaimView]:
    return [
        ClaimView(
            theirs=claim.to_domain.decode("ascii"), ours=claim.from_domain.decode("ascii"), direction="made",
            state=claim.state.value, level="", reason=claim.reason.word,
        )
        for claim in session.made.claims()
    ]  # fmt: skip


def _received(session: LinkSession) -> list[ClaimView]:
    if session.side is Side.OPENER or session.service:
        return []
    return [
        ClaimView(
            theirs=source.decode("ascii"), ours="", direction="received", state="proved",
            level=str(proof[0]), reason="",
        )
        for source, proof in session.port.sources.items()
    ]  # fmt: skip
