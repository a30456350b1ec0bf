"""What the discovery room raises."""

from __future__ import annotations

from imxrouter.discovery.answers import Step
from imxrouter.model.errors import RouterError
from imxrouter.model.vocabulary import Reason


class BadDnsRecord(RouterError):
    """A published record breaks the specification of the IMX record or of SRV; says which rule."""


class DiscoveryFailed(RouterError):
    """A domain's routers, or a router's addresses, were not found.

    Attributes:
        reason: why, from the closed registry; its stage is `dns` (or `limit` when we ask too much at once).
        domain: the domain or host that was looked for.
        step: the question that decided, as `NAME TYPE`; empty when none did.
        note: an operator's detail.
        asked: every question of a domain's search and its answer, as far as it came.
        secure: every answer it rests on was validated with DNSSEC: it is proved that nothing is published.
        ttl_s: how long that holds, as DNS gave it; 0 for what failed.
    """

    def __init__(
        self, reason: Reason, domain: str, step: str = "", note: str = "", asked: tuple[Step, ...] = (),
        *, secure: bool = False, ttl_s: float = 0.0,
    ) -> None:  # fmt: skip
        at = f" at {step}" if step else ""
        tail = f": {note}" if note else ""
        super().__init__(f"{domain}: {reason.word}{at}{tail}")
        self.reason = reason
        self.domain = domain
        self.step = step
        self.note = note
        self.asked = asked
        self.secure = secure
        self.ttl_s = ttl_s
