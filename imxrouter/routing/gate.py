"""What is judged of each pair of addresses: the lists, then the recipient's rules; one answer of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from imxrouter.model.vocabulary import Reason
from imxrouter.routing.access import AccessLists, Ruling
from imxrouter.routing.recipients import Recipients
from imxrouter.routing.rules import Decision, Right

#: Kind of what is decided for strangers whom no rule names.
FIRST_CONTACT: Final = "first-contact"
#: Begins the note of an outcome that a list or a recipient's rule decided; what follows names the rule.
NOTE: Final = "access rule "


@dataclass(frozen=True, slots=True)
class Bar:
    """Why something may not pass.

    Attributes:
        reason: `blocked` or `consent-needed`; both are told as every refusal of a recipient is.
        rule: what decided: the name of an entry, or `USER: PATTERN` of a recipient's rule.
        kind: rank of the pattern, `recipient`, or `FIRST_CONTACT`; the words of metrics.
        direction: `in` or `out`.
        right: what was wanted of a user, where he is to be asked.
    """

    reason: Reason
    rule: str
    kind: str
    direction: str = "in"
    right: Right | None = None

    @property
    def note(self) -> str:
        """For the trace."""
        return NOTE + self.rule


class Gate:
    """Judges pairs of addresses.

    Args:
        lists: block and allow lists.
        recipients: rules of users whose services have none.
    """

    def __init__(self, lists: AccessLists, recipients: Recipients) -> None:
        self.lists = lists
        self.recipients = recipients

    def judge(self, source: bytes, destination: bytes, right: Right | None) -> Bar | None:
        """Why one may not send to another; None where he may.

        Args:
            source: key of the sender.
            destination: key of the recipient.
            right: what is wanted of the recipient; None of what he asked for himself.
        """
        ruling = self.lists.judge(source, destination)
        if ruling.blocked and ruling.entry is not None:
            kind = ruling.entry.pattern.rank.value
            return Bar(Reason.BLOCKED, ruling.entry.ident, kind, ruling.direction.value)
        return None if right is None else self._judge_recipient(ruling, source, destination, right)

    def passed(self, source: bytes, destination: bytes, right: Right | None) -> None:
        """A request between these two passes for the first time since something changed."""
        if right is Right.MESSAGE:
            self.recipients.wrote(source, destination)

    def _judge_recipient(self, listed: Ruling, source: bytes, destination: bytes, right: Right) -> Bar | None:
        ruling = self.recipients.judge(source, destination, right)
        if ruling is None or ruling.decision is Decision.ALLOW:
            return None
        user = self.recipients.canonical(destination).decode("utf-8", "replace")
        by_default = ruling.because == "default"
        if by_default and listed.entry is not None:
            return None
        rule = f"{user}: {ruling.because}"
        if ruling.decision is Decision.ASK:
            return Bar(Reason.CONSENT_NEEDED, rule, FIRST_CONTACT, right=right)
        return Bar(Reason.BLOCKED, rule, FIRST_CONTACT if by_default else "recipient")
