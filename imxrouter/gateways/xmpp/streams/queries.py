"""Queries between streams and everybody else: iq stanzas and AttributeQuery of the model (mapping section 7).

What a stream asks is answered here, or by who has what it asks for. What is asked of a user or a domain that
is reached by XMPP leaves as an iq; that it was read says nothing yet, the iq that answers it is its outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from imxrouter.formats.pidf import write_pidf
from imxrouter.formats.xmltree import BadXml, Element
from imxrouter.gateways.xmpp.build import Unsayable
from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.stanza import Stanza
from imxrouter.gateways.xmpp.streams.told import Question, Told
from imxrouter.gateways.xmpp.streams.world import Known, Outside
from imxrouter.gateways.xmpp.translate.awaited import Awaited, Key
from imxrouter.gateways.xmpp.translate.failures import outcome_of
from imxrouter.gateways.xmpp.translate.jid import BadJid, address_of
from imxrouter.gateways.xmpp.translate.queries import (
    Wanted,
    answer_of,
    attributes_of,
    iq_of,
    query_of,
    wanted_of,
)
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Attribute, AttributeQuery, AttributeValues
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.transport.operations import record_to_query
from imxrouter.wire.record import Record

#: An iq of ours that has no answer by then has failed. Less than `links.answer_timeout_s` usually is, so that
#: who asked hears which side was silent.
ANSWER_S: Final = 20.0
#: Queries that wait for an answer; of one domain a quarter, of one requester 128 (`Awaited`). Some 800 bytes
#: each.
MAX_WAITING: Final = 4096
PRESENCE: Final = "presence"
#: Nobody is told apart by them: there is no such user, or he has nothing to show (XEP-0054 section 3.1).
_NOTHING_THERE: Final = frozenset({Reason.UNKNOWN_USER, Reason.NOT_DELIVERED})


class Settled(NamedTuple):
    """A query of the model that has its outcome.

    Attributes:
        tag: of the request.
        message_id: the same, as a check.
        outcome: its success has `AttributeValues`.
    """

    tag: int
    message_id: bytes
    outcome: Outcome


class _Left(NamedTuple):
    """A query that left as an iq; `known`: what of its answer is known without one."""

    tag: int
    query: AttributeQuery
    known: tuple[Attribute, ...]


class StreamQueries:
    """See the module.

    Args:
        outside: what it needs of its process.
        known: what it asks of the world.
    """

    def __init__(self, outside: Outside, known: Known) -> None:
        self._outside, self._known = outside, known
        self._left: Awaited[_Left] = Awaited(ANSWER_S, MAX_WAITING)
        #: the same by the tags of the requests
        self._by_tag: dict[int, Key] = {}

    def __len__(self) -> int:
        return len(self._by_tag)

    # -- asked by streams ----------------------------------------------------------------------------------

    @staticmethod
    def question(got: StanzaIn, tree: Element) -> Question | None:
        """What an iq `get` or `set` with its one child asks for; None where that is not known here."""
        try:
            owner, resource = address_of(got.stanza.to)
        except BadJid:
            return None
        wanted = wanted_of(tree, owner, resource)
        return (
            None
            if wanted is None
            else Question(wanted, tree.children[0].attributes.get("node", ""), resource)
        )

    def asked(self, question: Question | None, told: Told) -> bytes | AttributeQuery | Outcome:
        """The answer to an iq, the query that brings it, or why there is none.

        Raises:
            BadJid: an address is none.
        """
        if question is None:
            return failure(Reason.TYPE_NOT_ENABLED, note="an iq that nobody here knows")
        requester, _ = address_of(told.from_)
        owner, _ = address_of(told.to)
        query = query_of(question.wanted, requester, owner, self._outside.random_bytes(16))
        if query is not None:
            return query
        visible = self._known.shown(requester, owner, question.resource)
        answer = answer_of(_iq(question, told), question.wanted, visible=visible)
        return failure(answer, by=told.domain) if isinstance(answer, Reason) else answer

    @staticmethod
    def answer(told: Told, outcome: Outcome) -> bytes | None:
        """The stanza for an iq whose query has its outcome; a domain that tells nothing is still one."""
        question, values = told.question, outcome.result
        if question is None:
            return told.error(outcome)
        attributes = values.attributes if isinstance(values, AttributeValues) else ()
        if not outcome.ok and question.wanted is not Wanted.DOMAIN_INFO:
            return told.error(outcome)
        try:
            answer = answer_of(_iq(question, told), question.wanted, attributes)
        except Unsayable:
            return told.error(failure(Reason.BAD_BODY, by=told.domain))
        return told.error(failure(answer, by=told.domain)) if isinstance(answer, Reason) else answer

    # -- asked of streams ----------------------------------------------------------------------------------

    def leave(self, record: Record) -> bytes | Outcome:
        """The iq for an ATTRIBUTES request, or its outcome where none is needed or possible.

        Raises:
            TranslationError: it is no query.
        """
        query = record_to_query(record)
        known = self._state(query)
        ident = self._outside.random_bytes(12).hex()
        try:
            raw = iq_of(query, ident)
        except BadJid as error:
            return failure(error.reason, role="service", note=str(error))
        if raw is None:
            return Outcome(Status.SUCCESS, result=AttributeValues(known))
        key = _key(query.requester, query.owner, ident)
        left = _Left(record.route_tag, query, known)
        if not self._left.sent(key, key[0], query.owner.domain.name, left, self._outside.now()):
            return failure(Reason.BUSY, retry_after_s=5, note="too many queries wait for an answer")
        self._by_tag[record.route_tag] = key
        return raw

    def _state(self, query: AttributeQuery) -> tuple[Attribute, ...]:
        """What the requester may see of the owner's presence anyway (row att-presence)."""
        if not query.owner.local or (query.names and PRESENCE not in query.names):
            return ()
        state = self._known.state(query.requester, query.owner)
        return () if state is None else (Attribute(PRESENCE, write_pidf(state)),)

    def handled(self, tags: Sequence[int], outcome: Outcome) -> Sequence[int]:
        """Of requests whose stanzas have their outcome, those that have theirs with it.

        A query whose iq was read waits for its answer; one whose iq was lost waits no more.
        """
        if not self._by_tag or self._by_tag.keys().isdisjoint(tags):
            return tags
        if outcome.ok:
            return [tag for tag in tags if tag not in self._by_tag]
        for tag in tags:
            key = self._by_tag.get(tag)
            if key is not None:
                self._take(key)
        return tags

    def answered(self, got: StanzaIn) -> Settled | None:
        """An iq of type result or error came; what it settles, or None where no query waits for it."""
        key = self._key_of(got.stanza)
        left = None if key is None else self._take(key)
        if left is None:
            return None
        return Settled(left.tag, left.query.message_id, self._outcome(left, got))

    def awaits(self, answer: Stanza) -> bool:
        """Whether `answered` would settle something."""
        key = self._key_of(answer)
        if key is None:
            return False
        from_, to, ident = key
        return self._left.waiting(to, from_, ident, self._outside.now()) is not None

    def _key_of(self, answer: Stanza) -> Key | None:
        """What the query that an iq answers is kept under; None where there is none at all."""
        if not self._by_tag:
            return None
        try:
            owner, requester = address_of(answer.from_)[0], address_of(answer.to)[0]
        except BadJid:
            return None
        return _key(requester, owner, answer.ident)

    def _outcome(self, left: _Left, got: StanzaIn) -> Outcome:
        domain = Domain(got.from_)
        role = "service" if self._known.is_served(got.from_) else "peer"
        try:
            tree = got.stanza.tree()
        except BadXml as error:
            return failure(Reason.BAD_BODY, by=domain.name, role=role, note=str(error))
        if got.stanza.type == "error":
            failed = outcome_of(tree, domain, role)
            if not left.known or failed.reason not in _NOTHING_THERE:
                return failed
            return Outcome(Status.SUCCESS, result=AttributeValues(left.known))
        values = attributes_of(tree, left.query.names, of_domain=not left.query.owner.local)
        return Outcome(Status.SUCCESS, result=AttributeValues((*values, *left.known)))

    def due(self) -> list[Settled]:
        """Queries whose answer did not come in time."""
        over = self._left.due(self._outside.now())
        for one in over:
            self._by_tag.pop(one.value.tag, None)
        return [
            Settled(
                one.value.tag, one.value.query.message_id,
                failure(Reason.ANSWER_TIMEOUT, by=one.value.query.owner.domain.name, role="peer"),
            )
            for one in over
        ]  # fmt: skip

    def _take(self, key: Key) -> _Left | None:
        from_, to, ident = key
        left = self._left.answered(to, from_, ident, self._outside.now())
        if left is not None:
            self._by_tag.pop(left.tag, None)
        return left


def _key(requester: Address, owner: Address, ident: str) -> Key:
    """Both addresses as they compare: an answer may spell them otherwise, and its id nobody can guess."""
    return requester.key.decode(), owner.key.decode(), ident


def _iq(question: Question, told: Told) -> Element:
    """As much of an iq as its answer is made of."""
    iq = told.tree()
    said = ["node", question.node] if question.node else []
    iq.children.append(Element("query", said, b"", 0))
    return iq
