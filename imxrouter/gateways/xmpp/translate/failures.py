"""Outcomes and stanza errors, both ways (section 4 of the mapping; RFC 6120 section 8.3, RFC 7247 7)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from imxrouter.formats import imdn
from imxrouter.formats.imdn import BadImdn, Disposition, Notice
from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.build import Unsayable, Xml, element, stanza, without_unsayable
from imxrouter.gateways.xmpp.names import SERVER, STANZA_ERRORS
from imxrouter.gateways.xmpp.translate.chatstates import state_of
from imxrouter.gateways.xmpp.translate.jid import BadJid, address_of
from imxrouter.gateways.xmpp.translate.messages import KINDS
from imxrouter.gateways.xmpp.translate.receipts import imdn_of, notice_of, own_id
from imxrouter.gateways.xmpp.translate.text import one_line, short
from imxrouter.gateways.xmpp.translate.words import REASON, SEALS
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Message
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import REASON_BY_WORD, Reason, Retry, Status
from imxrouter.routing.caps import Refusal

#: Characters of an operator's note made of what the other side wrote.
MAX_NOTE: Final = 255
#: Seconds of `retry` that are believed: a day.
MAX_RETRY_S: Final = 86_400

#: Disclosed word -> type and condition (section 4.1); what is not here is told by no stanza.
CONDITIONS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({
    "bad-record": ("modify", "bad-request"),
    "bad-address": ("modify", "jid-malformed"),
    "address-too-long": ("modify", "jid-malformed"),
    "unknown-critical-field": ("cancel", "feature-not-implemented"),
    "type-not-enabled": ("cancel", "service-unavailable"),
    "bad-body": ("modify", "not-acceptable"),
    "not-proved": ("cancel", "not-allowed"),
    "relay-denied": ("cancel", "not-allowed"),
    "weaker-than-policy": ("cancel", "remote-server-timeout"),
    "not-subscribed": ("auth", "subscription-required"),
    "service-down": ("wait", "recipient-unavailable"),
    "not-delivered": ("cancel", "service-unavailable"),
    "rate-limited": ("wait", "policy-violation"),
    "too-large": ("modify", "policy-violation"),
    "busy": ("wait", "resource-constraint"),
    "over-cap": ("wait", "resource-constraint"),
    "loop": ("cancel", "not-acceptable"),
    "too-many-hops": ("cancel", "not-acceptable"),
    "id-reused": ("cancel", "conflict"),
    "epoch-unknown": ("cancel", "remote-server-timeout"),
    "link-lost": ("cancel", "remote-server-timeout"),
    "answer-timeout": ("cancel", "remote-server-timeout"),
    "shutting-down": ("wait", "recipient-unavailable"),
    "state-unavailable": ("wait", "resource-constraint"),
    "no-such-domain": ("cancel", "remote-server-not-found"),
    "no-imx-record": ("cancel", "remote-server-not-found"),
    "no-xmpp-record": ("cancel", "remote-server-not-found"),
    "no-service": ("cancel", "remote-server-not-found"),
    "dns-failure": ("wait", "remote-server-timeout"),
    "dns-timeout": ("wait", "remote-server-timeout"),
    "tls-failed": ("wait", "remote-server-timeout"),
    "unreachable": ("wait", "remote-server-timeout"),
    "own-network": ("wait", "internal-server-error"),
    "protocol-error": ("wait", "remote-server-timeout"),
    "dialback-refused": ("wait", "remote-server-timeout"),
    "dialback-timeout": ("wait", "remote-server-timeout"),
})  # fmt: skip

#: Condition, or type/condition where the type counts -> reason (section 4.2); `PEER_FAILED` for all others.
REASONS: Final[Mapping[str, Reason]] = MappingProxyType({
    "bad-request": Reason.BAD_BODY,
    "conflict": Reason.ID_REUSED,
    "feature-not-implemented": Reason.TYPE_NOT_ENABLED,
    "forbidden": Reason.BLOCKED,
    "gone": Reason.UNKNOWN_USER,
    "internal-server-error": Reason.SERVICE_DOWN,
    "item-not-found": Reason.UNKNOWN_USER,
    "jid-malformed": Reason.BAD_ADDRESS,
    "not-acceptable": Reason.BAD_BODY,
    "not-allowed": Reason.BLOCKED,
    "not-authorized": Reason.BLOCKED,
    "payment-required": Reason.BLOCKED,
    "wait/policy-violation": Reason.RECIPIENT_LIMIT,
    "policy-violation": Reason.BLOCKED,
    "recipient-unavailable": Reason.SERVICE_DOWN,
    "redirect": Reason.UNKNOWN_USER,
    "registration-required": Reason.BLOCKED,
    "remote-server-not-found": Reason.UNREACHABLE,
    "remote-server-timeout": Reason.UNREACHABLE,
    "resource-constraint": Reason.BUSY,
    "service-unavailable": Reason.NOT_DELIVERED,
    "subscription-required": Reason.CONSENT_NEEDED,
    "undefined-condition": Reason.PEER_FAILED,
    "unexpected-request": Reason.PEER_FAILED,
})  # fmt: skip

_STATUSES: Final = {Status.FAILURE: "failure", Status.INDETERMINANT: "indeterminant"}
_STATUS_OF: Final = {word: status for status, word in _STATUSES.items()}


# -- to XMPP -------------------------------------------------------------------------------------------------


def error_of(outcome: Outcome, to: Element, by: Domain, more: str = "") -> bytes | None:
    """The stanza error that tells a failure.

    Args:
        outcome: what became of the stanza; only its disclosed form is told.
        to: the stanza.
        by: the domain of this router, where it decided itself.
        more: words of this router for people, behind the usual ones.

    Returns:
        its bytes; None where nothing may be answered: success, `error`, the answer of an iq, presence that
        only tells, headlines, chat states and receipts (rows err-never-twice to err-headline-quiet).
    """
    told = outcome.disclosed()
    named = CONDITIONS.get(told.reason.word)
    if told.ok or named is None or not may_be_answered(to):
        return None
    type_, condition = named
    decider = _display(told.decided_by) or by.display
    said = {"retry": str(told.retry_after_s)} if told.retry_after_s else {}
    said["status"] = _STATUSES[told.status]
    words = _words(told, decider) + (f"; {more}" if more else "")
    error = error_element((type_, condition), told.reason, decider, words, said)
    attributes = to.attributes
    try:
        return stanza(
            to.name, error, to=attributes.get("from", ""), from_=attributes.get("to", ""),
            ident=attributes.get("id", ""), type_="error",
        )  # fmt: skip
    except Unsayable:
        return None


def error_element(kind: tuple[str, str], told: Reason, by: str, text: str, said: Mapping[str, str]) -> Xml:
    """An `<error/>` with the reason in our own words beside the condition (section 4.1).

    Args:
        kind: type and condition.
        told: the reason, in its disclosed form.
        by: who decided.
        text: for people; empty for none.
        said: attributes of the reason.
    """
    parts = [element(kind[1], namespace=STANZA_ERRORS)]
    if text:
        parts.append(element("text", text, namespace=STANZA_ERRORS, attributes={"xml:lang": "en"}))
    parts.append(element("reason", told.word, namespace=REASON, attributes=said))
    return element("error", *parts, attributes={"type": kind[0], "by": by})


def may_be_answered(given: Element) -> bool:
    """Whether a failure of a stanza may be told to who sent it."""
    type_ = given.attributes.get("type", "")
    if type_ == "error" or given.namespace != SERVER:
        return False
    if given.name == "iq":
        return type_ != "result"
    if given.name == "presence":
        return type_ not in {"", "unavailable"}
    return type_ != "headline" and not is_note(given)


def is_note(message: Element) -> bool:
    """Whether a message is a chat state, a receipt or a marker, and no text, sealed or not."""
    says = any(
        one.namespace in SEALS or (one.namespace == SERVER and one.name in {"body", "subject"})
        for one in message.children
    )
    return not says and (notice_of(message) is not None or bool(state_of(message)))


def _words(told: Outcome, decider: str) -> str:
    again = f"; it may be tried again after {told.retry_after_s} s" if told.retry_after_s else ""
    doubt = "nobody can know whether it was delivered" if told.in_doubt else "not delivered"
    return f"{doubt}: {told.reason.word}, decided by {decider}{again}"


def _display(name: str) -> str:
    return Domain(name).display if name else ""


# -- from XMPP -----------------------------------------------------------------------------------------------


def outcome_of(error: Element, proved: Domain, role: str = "service") -> Outcome:
    """What a stanza error says of the stanza that it answers.

    Args:
        error: the stanza of type `error`.
        proved: the domain on whose stream it came: that decided, whatever the error says of itself.
        role: of that domain, as `Outcome.decided_role`.
    """
    inside = next((one for one in error.children if (one.namespace, one.name) == (SERVER, "error")), None)
    if inside is None:
        return failure(Reason.PEER_FAILED, by=proved.name, role=role)
    condition = _condition(inside)
    type_ = inside.attributes.get("type", "")
    note = _note(inside, condition, proved)
    own = _own_words(inside, type_, condition)
    if own is not None:
        reason, status, retry_s = own
        return Outcome(status, reason, proved.name, role, retry_s, note)
    reason = REASONS.get(f"{type_}/{condition}", REASONS.get(condition, Reason.PEER_FAILED))
    return failure(reason, by=proved.name, role=role, note=note)


def _condition(inside: Element) -> str:
    """The defined condition; empty for none (RFC 6120 section 8.3.2)."""
    names = (one.name for one in inside.children if one.namespace == STANZA_ERRORS and one.name != "text")
    return next(names, "")


def _own_words(inside: Element, type_: str, condition: str) -> tuple[Reason, Status, int] | None:
    """What another router of this kind said, where the error itself says the same (row err-text)."""
    found = next((one for one in inside.children if (one.namespace, one.name) == (REASON, "reason")), None)
    if found is None:
        return None
    word = found.text.strip()
    if CONDITIONS.get(word) != (type_, condition):
        return None
    status = _STATUS_OF.get(found.attributes.get("status", "failure"))
    retry = found.attributes.get("retry", "0")
    if status is None or not retry.isdecimal() or not retry.isascii() or len(retry) > 6:
        return None
    reason = REASON_BY_WORD[word]
    return reason, status, min(int(retry), MAX_RETRY_S) if reason.retry is Retry.LATER else 0


def _note(inside: Element, condition: str, proved: Domain) -> str:
    """For operators: what the other side called it, and who says that it was somebody else."""
    by = inside.attributes.get("by", "")
    texts = (one.text for one in inside.children if (one.namespace, one.name) == (STANZA_ERRORS, "text"))
    words = [
        condition or "no condition",
        f"said by {by}" if by not in {"", proved.name, proved.display} else "",
    ]
    text = ": ".join(one for one in (", ".join(one for one in words if one), next(texts, "")) if one)
    return one_line(without_unsayable(text))[:MAX_NOTE]


# -- late failures -------------------------------------------------------------------------------------------


def late_failure(error: Element, new_id: bytes, now: datetime, in_reply_to: bytes = b"") -> Message | Refusal:
    """The message that tells a failure after success (row err-late).

    Args:
        error: a message stanza of type `error`, from the recipient.
        new_id: 16 random bytes.
        now: of the clock, with its zone.
        in_reply_to: id of the message that failed, where it is known.

    Returns:
        a notification from the recipient to the sender; or why there is none.
    """
    try:
        source, resource = address_of(error.attributes.get("from", ""))
        destination, to_resource = address_of(error.attributes.get("to", ""))
        ident = error.attributes.get("id", "")
        inside = next((one for one in error.children if (one.namespace, one.name) == (SERVER, "error")), None)
        waits = inside is not None and inside.attributes.get("type") == "wait"
        disposition = Disposition.ERROR if waits else Disposition.FAILED
        content = imdn_of(ident, Notice.DELIVERY, disposition, source, now)
    except BadJid as bad:
        return Refusal(bad.reason, note=str(bad))
    except BadImdn as bad:
        return Refusal(Reason.BAD_BODY, note=str(bad))
    found = {
        "kind": bytes([KINDS["chat"]]),
        "in-reply-to": in_reply_to or own_id(ident),
        "instance": short(resource),
        "to-instance": short(to_resource),
    }
    attributes = {name: value for name, value in found.items() if value}
    return Message(source, destination, new_id, imdn.CONTENT_TYPE, content, attributes=attributes)
