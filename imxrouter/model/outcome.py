"""What became of an operation, in its internal and its disclosed form (architecture section 2; BEY-2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from imxrouter.model.operations import AttributeValues, SubscribeResult
from imxrouter.model.vocabulary import REASON_BY_WORD, Reason, Retry, Stage, Status

#: Retry times told to senders are rounded up to this, so that a limit's state cannot be read off exactly.
DISCLOSED_RETRY_STEP_S = 5
#: Stages at which a failure says something of the domain that was to be reached, whoever noticed it.
_THERE: Final = frozenset({
    Stage.DNS, Stage.CONNECT, Stage.TLS, Stage.IDENTITY, Stage.DIALBACK, Stage.PEER,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """The one answer each request gets.

    Attributes:
        status: success, failure or indeterminant.
        reason: from the closed registry; NONE on success.
        decided_by: the domain whose router or service decided; empty when it is this router.
        decided_role: `router`, `service`, `peer` or `uplink`.
        retry_after_s: seconds until a retry may help; 0 where none is known; ignored where retry is never.
        note: an operator's detail (never disclosed, never holds bodies or secrets).
        left: messages that the sender may still send at once, where he is near his limit; None: not said.
        result: what a success brings beside itself: of a Subscribe, of an AttributeQuery.
    """

    status: Status
    reason: Reason = Reason.NONE
    decided_by: str = ""
    decided_role: str = "router"
    retry_after_s: int = 0
    note: str = ""
    result: SubscribeResult | AttributeValues | None = None
    left: int | None = None

    @property
    def ok(self) -> bool:
        """Handed to the service that answers for the recipient."""
        return self.status is Status.SUCCESS

    @property
    def in_doubt(self) -> bool:
        """Nobody can know what became of it."""
        return self.status is Status.INDETERMINANT

    def disclosed(self) -> Outcome:
        """The form a sender outside is told: fewer words, rounded time, no note.

        Refusal by rules, first-contact hold and unknown user become alike (RFC 2779 section 5.1.15).
        """
        reason = REASON_BY_WORD[self.reason.disclosed]
        step = DISCLOSED_RETRY_STEP_S
        rounded = -(-self.retry_after_s // step) * step
        hidden = reason is Reason.NOT_DELIVERED
        return replace(
            self,
            reason=reason,
            retry_after_s=0 if hidden else rounded,
            note="",
            decided_role="service" if hidden else self.decided_role,
        )


SUCCESS = Outcome(Status.SUCCESS)


def failure(
    reason: Reason, *, by: str = "", role: str = "router", retry_after_s: int = 0, note: str = ""
) -> Outcome:
    """A failure with its reason; the deciding hop is this router unless named."""
    wait = retry_after_s if reason.retry is Retry.LATER else 0
    return Outcome(Status.FAILURE, reason, by, role, wait, note)


def indeterminant(reason: Reason, *, by: str = "", role: str = "router", note: str = "") -> Outcome:
    """An answer that nobody can know: the request may or may not have been delivered."""
    return Outcome(Status.INDETERMINANT, reason, by, role, 0, note)


def failed_at(reason: Reason, decided_by: str, destination: str) -> str:
    """The domain at which something failed, so that nobody blames another (FCC-3).

    Args:
        reason: why.
        decided_by: who decided, as in `Outcome`.
        destination: the domain that was to be reached.

    Returns:
        who decided; where this router did, the destination that it could not reach; else "": it failed here.
    """
    return decided_by or (destination if reason.stage in _THERE else "")
