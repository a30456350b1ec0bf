"""What `explain` asks about and says: a request that nobody sent, and each check of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from imxrouter.model.limits import Limit
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.gate import Bar
from imxrouter.routing.rules import Right
from imxrouter.switch.forms import WHOLE
from imxrouter.switch.ports import Port, Proof


class Verdict(Enum):
    """What a check says."""

    PASS = "pass"  # noqa: S105 - a verdict
    REFUSE = "refuse"
    #: it can only be seen when it happens
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Case:
    """A request.

    Attributes:
        source: `local@domain` in wire form.
        destination: the same.
        rtype: its record type.
        body_bytes: size of its body, MIME headers included.
        right: what it wants of its recipient.
        port: the link that would bring it; None: a link on which the source would have to be proved first.
        assumed: what would be proved there; None where policy refuses it.
        part: of what a message costs its sender (`forms.part_of`).
        is_presence: it is a form that carries presence.
    """

    source: bytes
    destination: bytes
    rtype: int
    body_bytes: int
    right: Right | None
    port: Port | None
    assumed: Proof | None = None
    part: float = WHOLE
    is_presence: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One check.

    Attributes:
        name: which.
        verdict: what it says.
        reason: why it refuses.
        text: the facts, in words.
        bar: what decided in an access list or a recipient's rules.
        limit: which limit was looked at.
    """

    name: str
    verdict: Verdict
    reason: Reason = Reason.NONE
    text: str = ""
    bar: Bar | None = None
    limit: Limit | None = None
