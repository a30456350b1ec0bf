"""What the transport room needs to know, as one frozen value; `app.py` builds it from the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from imxrouter.link.claims import CLAIM_DEADLINE_S
from imxrouter.link.machine import LinkSettings
from imxrouter.link.token import CLOCK_SKEW_S
from imxrouter.wire.layout import DEFAULT_MAX_RECORD


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Limits and times of links; units are in the names.

    Attributes:
        software: told in hello.
        link: timers of the link machine.
        verify_idle_s: a link opened only to verify is closed after so much rest.
        output_high_bytes: above this a link that does not read is sent no new requests.
        unread_bytes: above this it is closed.
        proof_max_age_s: a proof ends after so long and is renewed before.
        claim_deadline_s: a claim not settled by then has failed.
        clock_skew_s: by so much the clocks of a domain's hosts may differ.
        clear_login: key login without TLS is taken (laboratories only).
    """

    software: str = "imxrouter"
    link: LinkSettings = field(default_factory=LinkSettings)
    verify_idle_s: float = 15.0
    answer_timeout_s: float = 30.0
    max_record_bytes: int = DEFAULT_MAX_RECORD
    credit_requests: int = 4096
    credit_bytes: int = 4 << 20
    output_high_bytes: int = 1 << 20
    unread_bytes: int = 4 << 20
    claims_per_link: int = 4096
    claims_before_proof: int = 16
    claim_deadline_s: float = CLAIM_DEADLINE_S
    proof_timeout_s: float = 60.0
    proof_max_age_s: float = 86_400.0
    proof_idle_s: float = 3_600.0
    token_ttl_s: int = 60
    clock_skew_s: float = CLOCK_SKEW_S
    links_per_peer: int = 4
    verify_links: int = 64
    hold_s: float = 15.0
    hold_count: int = 1000
    hold_bytes: int = 4 << 20
    hold_total_bytes: int = 64 << 20
    duplicate_window_s: float = 60.0
    clear_login: bool = False
