"""What the verifier asks of policy, caps and the limits of dialling; `app.trust.gatekeeper` answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.dialling import Permit
from imxrouter.transport.link import Link


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the trust rules say of a claim.

    Attributes:
        reason: NONE lets it go on.
        retry_after_s: when it may be made again.
        level: what is proved, as bits; of a claim that nobody was dialled for, 0.
        note: for operators.
    """

    reason: Reason
    retry_after_s: int = 0
    level: int = 0
    note: str = ""


class Trust(Protocol):
    """What a claim must satisfy; `app.py` builds it from policy, caps and dialling limits."""

    def may_claim(self, session: Link, from_domain: Domain, to_domain: Domain) -> Verdict:
        """Judge policy and limits before dialling; reason NONE admits and takes a dialling permit.

        A verdict with a level says that the link's own certificate proves the domain: nobody is dialled.
        """

    def worth(self, first: Link, second: Link, from_domain: Domain) -> Verdict:
        """What dial-back over that second connection proves; a reason refuses the claim."""

    def permit(self, session: Link, from_domain: Domain) -> Permit | None:
        """The leave that `may_claim` took."""

    def not_mine(self, session: Link, from_domain: Domain) -> None:
        """A host of the domain answered that the claim is another host's: the next one may be dialled."""

    def may_prove(self, session: Link, from_domain: Domain, level: int) -> Verdict:
        """Judge the cap on connections of the proved domain; reason NONE counts the connection."""

    def done(self, session: Link, from_domain: Domain, reason: Reason, level: int = 0) -> int:
        """The verification ended; gives the permit back and remembers failures where they belong.

        Args:
            session: of the claim.
            from_domain: the claimed domain.
            reason: NONE where it was proved.
            level: at which.

        Returns:
            seconds for which the same claim would fail again, by what is remembered.
        """

    def dropped(self, session: Link, from_domain: Domain) -> None:
        """A proof ended; its connection counts no longer."""

    def closed(self, session: Link) -> None:
        """The connection is gone; nothing happens for one that is not counted."""

    def terms(self, from_domain: bytes) -> tuple[float, float]:
        """GCRA interval and burst, seconds, of the domain's senders."""
