"""What is remembered of stanzas that came, so that their senders can be told what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from imxrouter.formats.xmltree import BadXml, Element
from imxrouter.gateways.xmpp import say
from imxrouter.gateways.xmpp.build import Unsayable, Xml, stanza
from imxrouter.gateways.xmpp.names import SERVER, StanzaError
from imxrouter.gateways.xmpp.stanza import Stanza
from imxrouter.gateways.xmpp.translate.failures import error_of, may_be_answered
from imxrouter.model.domain import Domain
from imxrouter.model.outcome import Outcome

#: A message without one of these words is a chat state or a receipt, maybe; only then it is looked at.
_SAYING: Final = (b"body", b"subject")


@dataclass(frozen=True, slots=True)
class Told:
    """A stanza whose failure its sender is told.

    Attributes:
        kind: `message`, `presence` or `iq`.
        from_: its sender, as written; so are the others.
        to: its recipient.
        ident: its id.
        type: its type.
        domain: of the recipient (A-labels): who answers.
        sender: domain of the sender (A-labels).
    """

    kind: str
    from_: str
    to: str
    ident: str
    type: str
    domain: str
    sender: str

    def error(self, outcome: Outcome) -> bytes | None:
        """The stanza that tells a failure; None of what is not to be told."""
        return error_of(outcome, self._tree(), Domain(self.domain))

    def answer(self, *children: Xml, type_: str) -> bytes | None:
        """A stanza back: a result, or an error whose cause is said by its child."""
        try:
            return stanza(
                self.kind, *children, to=self.from_, from_=self.to, ident=self.ident, type_=type_
            )  # fmt: skip
        except Unsayable:
            return None

    def timed_out(self, error: StanzaError) -> bytes | None:
        """The answer of the router in the place of who did not answer."""
        return self.answer(Xml(say.stanza_error(error).decode()), type_="error")

    def _tree(self) -> Element:
        said = {"from": self.from_, "to": self.to, "id": self.ident, "type": self.type}
        flat = [part for name, value in said.items() if value for part in (name, value)]
        return Element(f"{SERVER} {self.kind}", flat, b"", 0)

    def may_be_answered(self, given: Stanza) -> bool:
        """Whether a failure of it is told at all (rows err-never-twice to err-headline-quiet)."""
        if given.kind == "message" and not any(word in given.raw for word in _SAYING):
            try:
                return may_be_answered(given.tree())
            except BadXml:
                return False
        return may_be_answered(self._tree())


def told_of(given: Stanza, domain: str, sender: str) -> Told | None:
    """What to remember of a stanza; None where no failure of it is ever told.

    Args:
        given: as it came.
        domain: of its recipient (A-labels).
        sender: domain of its sender (A-labels).
    """
    made = Told(given.kind, given.from_, given.to, given.ident, given.type, domain, sender)
    return made if made.may_be_answered(given) else None
