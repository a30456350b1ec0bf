"""What becomes of a stanza for a domain that is reached otherwise than by XMPP: one function that says it.

It decides by what a stanza is; who may send it to whom is judged by the switch, as of everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.names import SERVER, STANZAS, Condition
from imxrouter.gateways.xmpp.translate.failures import may_be_answered
from imxrouter.gateways.xmpp.translate.foreign import CONSENTS, foreign_of, may_be_foreign
from imxrouter.gateways.xmpp.translate.jid import BadJid, address_of, parse_jid
from imxrouter.gateways.xmpp.translate.messages import NoMessage, Takes, message_of
from imxrouter.gateways.xmpp.translate.original import with_form
from imxrouter.model.operations import Foreign, Message
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal

_TELLS: Final = frozenset({"", "unavailable"})
_PRESENCE: Final = CONSENTS | _TELLS | {"probe", "error"}
_QUERIES: Final = frozenset({"get", "set"})
_ANSWERS: Final = frozenset({"result", "error"})


@dataclass(frozen=True, slots=True)
class Facts:
    """What a plan depends on beside the stanza.

    Attributes:
        now: of the clock, with its zone.
        new_id: 16 random bytes.
        takes: what is known of the destination.
        foreign: the destination's domain takes FOREIGN of XMPP (row for-takes).
        pair: a consent, or one that is asked for, is known between sender and recipient.
        forms: original forms are sent for the sender's domain (row org-off).
        largest_record: bytes of a record that the way takes.
    """

    now: datetime
    new_id: bytes
    takes: Takes
    foreign: bool = False
    pair: bool = False
    forms: bool = True
    largest_record: int = 65_536


class Why(Enum):
    """Why a stanza goes nowhere and is not answered; the word of its counter."""

    NO_STANZA = "no-stanza"
    NO_ADDRESS = "no-address"
    #: it may not be answered, or not be told of
    QUIET = "quiet"
    #: directed presence for a domain that has no way to be told of it
    DIRECTED = "directed"


@dataclass(frozen=True, slots=True)
class Operate:
    """A message of the model, its original form included."""

    operation: Message


@dataclass(frozen=True, slots=True)
class AsForeign:
    """Goes as it is; of an iq `get` or `set` the answer is awaited (row iq-wait)."""

    operation: Foreign


@dataclass(frozen=True, slots=True)
class Handshake:
    """Presence of a pair: the subscriptions decide (section 6)."""


@dataclass(frozen=True, slots=True)
class Query:
    """An iq `get` or `set` that is translated, or answered here (section 7)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an iq; `foreign` where it can go on as it is, if somebody awaits it (row iq-wait)."""

    foreign: Foreign | None


@dataclass(frozen=True, slots=True)
class Late:
    """An error for a message: the outcome of one in flight, a late failure of one kept, else nothing."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """A failure that its sender is told."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Drop:
    """Nothing becomes of it; `condition` where its stream is to be ended."""

    why: Why
    condition: Condition | None = None


Plan = Operate | AsForeign | Handshake | Query | Answer | Late | Refuse | Drop


def plan(stanza: Element, facts: Facts) -> Plan:
    """Say what becomes of a stanza.

    Args:
        stanza: whose content namespace is `jabber:server`.
        facts: see there.
    """
    if stanza.namespace != SERVER or stanza.name not in STANZAS:
        return Drop(Why.NO_STANZA, Condition.UNSUPPORTED_STANZA_TYPE)
    from_, to = stanza.attributes.get("from", ""), stanza.attributes.get("to", "")
    if not from_ or not to:
        return Drop(Why.NO_ADDRESS, Condition.IMPROPER_ADDRESSING)
    try:
        address_of(from_)
        _, resource = address_of(to)
    except BadJid as error:
        if not _is_jid(from_):
            return Drop(Why.NO_ADDRESS)
        return _refused(stanza, Refusal(error.reason, note=str(error)))
    if stanza.name == "message":
        return _message(stanza, facts)
    return _presence(stanza, facts, resource) if stanza.name == "presence" else _iq(stanza, facts)


def _is_jid(text: str) -> bool:
    try:
        parse_jid(text)
    except BadJid:
        return False
    return True


def _message(stanza: Element, facts: Facts) -> Plan:
    said = message_of(stanza, facts.new_id, facts.now, facts.takes)
    if isinstance(said, Message):
        return Operate(with_form(said, stanza, facts.largest_record) if facts.forms else said)
    if said is NoMessage.ERROR:
        return Late()
    if isinstance(said, Refusal):
        return _refused(stanza, said)
    if not facts.foreign:
        return _refused(
            stanza, Refusal(Reason.TYPE_NOT_ENABLED, note="the destination takes no foreign form")
        )
    return _foreign(stanza, facts)


def _presence(stanza: Element, facts: Facts, to_resource: str) -> Plan:
    type_ = stanza.attributes.get("type", "")
    if type_ not in _PRESENCE:
        return _refused(stanza, Refusal(Reason.BAD_RECORD, note=f"presence of type {type_[:40]!r}"))
    if type_ in CONSENTS or (type_ == "probe" and not to_resource):
        return Handshake()
    if facts.pair and (type_ == "error" or (type_ in _TELLS and not to_resource)):
        return Handshake()
    return _foreign(stanza, facts) if facts.foreign else Drop(Why.DIRECTED)


def _iq(stanza: Element, facts: Facts) -> Plan:
    type_ = stanza.attributes.get("type", "")
    if type_ in _ANSWERS:
        made = foreign_of(stanza, facts.new_id) if facts.foreign else None
        return Answer(made if isinstance(made, Foreign) else None)
    # RFC 6120 section 8.2.3: an id, a type, and of a query one child.
    if type_ not in _QUERIES or not stanza.attributes.get("id") or len(stanza.children) != 1:
        note = "an iq without an id, a type or its one child"
        return _refused(stanza, Refusal(Reason.BAD_RECORD, note=note))
    return _foreign(stanza, facts) if facts.foreign else Query()


def _foreign(stanza: Element, facts: Facts) -> Plan:
    if not may_be_foreign(stanza):
        return Drop(Why.QUIET)
    made = foreign_of(stanza, facts.new_id)
    return AsForeign(made) if isinstance(made, Foreign) else _refused(stanza, made)


def _refused(stanza: Element, refusal: Refusal) -> Plan:
    if not may_be_answered(stanza):
        return Drop(Why.QUIET)
    return Refuse(failure(refusal.reason, retry_after_s=refusal.retry_after_s, note=refusal.note))
