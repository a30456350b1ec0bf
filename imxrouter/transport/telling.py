"""Which of several failures of one search is told: the one that says most about what to mend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.transport.dial_terms import Attempt

#: From the most telling failure to the least: what came furthest says most about what to mend. A reason that
#: is not listed comes from policy or DNS and stands at the end.
_TELLING: Final = (
    Reason.DANE_MISMATCH,
    Reason.CERTIFICATE_REFUSED,
    Reason.DELEGATION_INSECURE,
    Reason.TLS_FAILED,
    Reason.NO_COMMON_PROOF,
    Reason.NOT_HOSTED,
    Reason.NO_SERVICE,
    Reason.VERSION_MISMATCH,
    Reason.PROTOCOL_ERROR,
    Reason.HELLO_TIMEOUT,
    Reason.CONNECTION_REFUSED,
    Reason.CONNECT_TIMEOUT,
    Reason.UNREACHABLE,
    Reason.DIAL_LIMIT,
    Reason.ADDRESS_REFUSED,
    Reason.WEAKER_THAN_POLICY,
    Reason.WEAKER_THAN_REMEMBERED,
    Reason.DNS_TIMEOUT,
    Reason.DNS_FAILURE,
)
#: What it is called where time for everything is up.
LATE: Final = {
    Stage.DNS: Reason.DNS_TIMEOUT, Stage.TLS: Reason.TLS_FAILED, Stage.LIMIT: Reason.DIAL_LIMIT,
    Stage.PEER: Reason.HELLO_TIMEOUT,
}  # fmt: skip


def most_telling(attempts: Sequence[Attempt]) -> Attempt:
    """Return the attempt whose failure says most; there must be one."""
    return min(attempts, key=lambda attempt: telling_rank(attempt.reason))


def telling_rank(reason: Reason) -> int:
    """Return how much a failure says about what to mend among those of one search: the least says most."""
    return _TELLING.index(reason) if reason in _TELLING else len(_TELLING)
