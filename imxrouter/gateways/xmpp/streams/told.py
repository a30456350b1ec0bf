"""What is remembered of stanzas that came, so that their senders can be told what became of them."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from itertools import takewhile
from typing import Final, NamedTuple

from imxrouter.formats.xmltree import BadXml, Element
from imxrouter.gateways.xmpp import say
from imxrouter.gateways.xmpp.build import Unsayable, Xml, stanza
from imxrouter.gateways.xmpp.names import SERVER, StanzaError
from imxrouter.gateways.xmpp.stanza import Stanza
from imxrouter.gateways.xmpp.translate.failures import error_of, may_be_answered
from imxrouter.gateways.xmpp.translate.queries import Wanted
from imxrouter.model.domain import Domain
from imxrouter.model.outcome import Outcome

#: The switch has answered every request long before: it holds one for minutes at most.
TOLD_S: Final = 900.0
#: Of all that is remembered; some 60,000 stanzas of usual addresses.
TOLD_BYTES: Final = 32 << 20
#: Of one entry beside its texts (measured: object, its places in two tables).
_ENTRY_BYTES: Final = 400
#: Of the key of an iq beside its own bytes: two objects, its place in a table.
_KEY_BYTES: Final = 200


class Question(NamedTuple):
    """What an iq asks for.

    Attributes:
        wanted: that.
        node: that it names (XEP-0030 section 3.2); empty for none.
        resource: of whom it is for; empty for the bare JID.
    """

    wanted: Wanted
    node: str
    resource: str


class Told(NamedTuple):
    """A stanza whose failure its sender is told.

    Attributes:
        kind: `message`, `presence` or `iq`.
        from_: its sender, as written; so are the others.
        to: its recipient.
        ident: its id.
        type: its type.
        domain: of the recipient (A-labels): who answers.
        sender: domain of the sender (A-labels).
        question: of an iq, what it asks for, where that is known here.
    """

    kind: str
    from_: str
    to: str
    ident: str
    type: str
    domain: str
    sender: str
    question: Question | None = None

    def error(self, outcome: Outcome, more: str = "") -> bytes | None:
        """The stanza that tells a failure, with more words for people; None of what is not to be told."""
        return error_of(outcome, self.tree(), Domain(self.domain), more)

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

    def tree(self) -> Element:
        """Its start tag."""
        said = {"from": self.from_, "to": self.to, "id": self.ident, "type": self.type}
        flat = [part for name, value in said.items() if value for part in (name, value)]
        return Element(f"{SERVER} {self.kind}", flat, b"", 0)


@lru_cache(maxsize=256)
def _may_be_answered(kind: str, type_: str) -> bool:
    """Whether a failure of such a stanza is told, as far as its kind and type decide."""
    return may_be_answered(Element(f"{SERVER} {kind}", ["type", type_], b"", 0))


def told_of(given: Stanza, domain: str, sender: str) -> Told | None:
    """What to remember of a stanza; None where no failure of it is ever told.

    Args:
        given: as it came.
        domain: of its recipient (A-labels).
        sender: domain of its sender (A-labels).
    """
    said, name = given.attributes.get, given.name
    type_ = said("type", "")
    if not (_is_answered(given) if name == "message" else _may_be_answered(name, type_)):
        return None
    return Told(name, said("from", ""), said("to", ""), said("id", ""), type_, domain, sender)


def _is_answered(given: Stanza) -> bool:
    """Whether a failure of a message is told at all (rows err-never-twice to err-headline-quiet).

    One without one of these words is a chat state or a receipt, maybe; only then it is looked at.
    """
    if b"body" in given.raw or b"subject" in given.raw:
        return _may_be_answered("message", given.type)
    try:
        return may_be_answered(given.tree())
    except BadXml:
        return False


class ToldTable:
    """Stanzas whose outcome is not known yet, by the tag that their records were given.

    What is in flight is bounded by the switch; this is for what streams left behind that are gone, whose
    outcomes nobody brings.

    Args:
        life_s: seconds for which one is remembered.
        most_bytes: of all together; one sender's domain has a quarter of it.
    """

    def __init__(self, life_s: float = TOLD_S, most_bytes: int = TOLD_BYTES) -> None:
        self._life_s, self._most_bytes = life_s, most_bytes
        #: until when, its size, itself, and its key
        self._entries: dict[int, tuple[float, int, Told, bytes]] = {}
        #: the tag of an iq by its key
        self._asked: dict[bytes, int] = {}
        self._bytes = 0
        self._of_domain: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, tag: int, told: Told, now: float, key: bytes = b"") -> bool:
        """Remember one; False where there is no room, and a failure of it cannot be told.

        Args:
            tag: of its record.
            told: what it was.
            now: monotonic seconds.
            key: what `answered` knows an iq by. One with the same that has no answer yet is forgotten: nobody
                could say whose the next one is.
        """
        before = self._asked.get(key)
        if before is not None:
            self.take(before)
        _, from_, to, ident, type_, _, sender, question = told
        node = len(question.node) if question is not None else 0
        size = (
            (_KEY_BYTES + len(key) if key else 0)
            + _ENTRY_BYTES
            + 2 * (len(from_) + len(to) + len(ident) + len(type_) + node)
        )
        of_domain = self._of_domain.get(sender, 0) + size
        if of_domain > self._most_bytes // 4 or self._bytes + size > self._most_bytes:
            return False
        self._entries[tag] = (now + self._life_s, size, told, key)
        if key:
            self._asked[key] = tag
        self._bytes += size
        self._of_domain[sender] = of_domain
        return True

    def take(self, tag: int) -> Told | None:
        """What was remembered under a tag, once."""
        found = self._entries.pop(tag, None)
        if found is None:
            return None
        _, size, told, key = found
        if key:
            del self._asked[key]
        self._bytes -= size
        left = self._of_domain[told.sender] - size
        if left:
            self._of_domain[told.sender] = left
        else:
            del self._of_domain[told.sender]
        return told

    def answered(self, key: bytes) -> None:
        """Who was asked has answered: no failure of that iq is told any more."""
        tag = self._asked.get(key)
        if tag is not None:
            self.take(tag)

    def tick(self, now: float) -> None:
        """Forget what has been there too long."""
        over = takewhile(lambda entry: entry[1][0] <= now, self._entries.items())
        for tag in [tag for tag, _ in over]:
            self.take(tag)
