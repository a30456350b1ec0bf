"""The words of XMPP: namespaces, conditions of errors, and what they are called in the one vocabulary.

Stream errors are those of RFC 6120 section 4.9.3, stanza errors those of section 8.3.3; dial-back reads the
latter in its own sense (XEP-0220 section 2.5), so it has tables of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from imxrouter.model.limits import Limit
from imxrouter.model.vocabulary import Reason

STREAM: Final = "http://etherx.jabber.org/streams"
SERVER: Final = "jabber:server"
CLIENT: Final = "jabber:client"
COMPONENT: Final = "jabber:component:accept"
#: Namespaces whose elements are the stanzas of a stream; inside the router they all are `SERVER`.
CONTENT: Final = frozenset({SERVER, CLIENT, COMPONENT})
#: `xml:lang` that says that nothing is known: for where one must stand (RFC 5646 section 4.1).
UNDETERMINED: Final = "und"
DIALBACK: Final = "jabber:server:dialback"
TLS: Final = "urn:ietf:params:xml:ns:xmpp-tls"
SASL: Final = "urn:ietf:params:xml:ns:xmpp-sasl"
SM: Final = "urn:xmpp:sm:3"
BIDI: Final = "urn:xmpp:bidi"
BIDI_FEATURE: Final = "urn:xmpp:features:bidi"
DIALBACK_FEATURE: Final = "urn:xmpp:features:dialback"
LIMITS_FEATURE: Final = "urn:xmpp:stream-limits:0"
PING: Final = "urn:xmpp:ping"
STREAM_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-streams"
STANZA_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
APPLICATION_ERRORS: Final = "urn:xmpp:errors"

#: Local names of stanzas (RFC 6120 section 8).
STANZAS: Final = frozenset({"message", "presence", "iq"})


class Condition(Enum):
    """Conditions of stream errors (RFC 6120 section 4.9.3); the value is the name of the element."""

    BAD_FORMAT = "bad-format"
    BAD_NAMESPACE_PREFIX = "bad-namespace-prefix"
    CONFLICT = "conflict"
    CONNECTION_TIMEOUT = "connection-timeout"
    HOST_GONE = "host-gone"
    HOST_UNKNOWN = "host-unknown"
    IMPROPER_ADDRESSING = "improper-addressing"
    INTERNAL_SERVER_ERROR = "internal-server-error"
    INVALID_FROM = "invalid-from"
    INVALID_NAMESPACE = "invalid-namespace"
    INVALID_XML = "invalid-xml"
    NOT_AUTHORIZED = "not-authorized"
    NOT_WELL_FORMED = "not-well-formed"
    POLICY_VIOLATION = "policy-violation"
    REMOTE_CONNECTION_FAILED = "remote-connection-failed"
    RESET = "reset"
    RESOURCE_CONSTRAINT = "resource-constraint"
    RESTRICTED_XML = "restricted-xml"
    SEE_OTHER_HOST = "see-other-host"
    SYSTEM_SHUTDOWN = "system-shutdown"
    UNDEFINED_CONDITION = "undefined-condition"
    UNSUPPORTED_ENCODING = "unsupported-encoding"
    UNSUPPORTED_FEATURE = "unsupported-feature"
    UNSUPPORTED_STANZA_TYPE = "unsupported-stanza-type"
    UNSUPPORTED_VERSION = "unsupported-version"


class ErrorType(Enum):
    """What the sender of a stanza can do about its error (RFC 6120 section 8.3.2)."""

    AUTH = "auth"
    CANCEL = "cancel"
    CONTINUE = "continue"
    MODIFY = "modify"
    WAIT = "wait"


class StanzaCondition(Enum):
    """Conditions of stanza errors (RFC 6120 section 8.3.3); the value is the name of the element.

    `REMOTE_CONNECTION_FAILED` is used by dial-back alone (XEP-0220 section 2.5).
    """

    BAD_REQUEST = "bad-request"
    CONFLICT = "conflict"
    FEATURE_NOT_IMPLEMENTED = "feature-not-implemented"
    FORBIDDEN = "forbidden"
    GONE = "gone"
    INTERNAL_SERVER_ERROR = "internal-server-error"
    ITEM_NOT_FOUND = "item-not-found"
    JID_MALFORMED = "jid-malformed"
    NOT_ACCEPTABLE = "not-acceptable"
    NOT_ALLOWED = "not-allowed"
    NOT_AUTHORIZED = "not-authorized"
    POLICY_VIOLATION = "policy-violation"
    RECIPIENT_UNAVAILABLE = "recipient-unavailable"
    REDIRECT = "redirect"
    REGISTRATION_REQUIRED = "registration-required"
    REMOTE_CONNECTION_FAILED = "remote-connection-failed"
    REMOTE_SERVER_NOT_FOUND = "remote-server-not-found"
    REMOTE_SERVER_TIMEOUT = "remote-server-timeout"
    RESOURCE_CONSTRAINT = "resource-constraint"
    SERVICE_UNAVAILABLE = "service-unavailable"
    SUBSCRIPTION_REQUIRED = "subscription-required"
    UNDEFINED_CONDITION = "undefined-condition"
    UNEXPECTED_REQUEST = "unexpected-request"


#: The type that RFC 6120 section 8.3.3 gives a condition; `CANCEL` for all that are not named.
_USUAL: Final[Mapping[StanzaCondition, ErrorType]] = MappingProxyType(
    {
        StanzaCondition.BAD_REQUEST: ErrorType.MODIFY,
        StanzaCondition.FORBIDDEN: ErrorType.AUTH,
        StanzaCondition.JID_MALFORMED: ErrorType.MODIFY,
        StanzaCondition.NOT_ACCEPTABLE: ErrorType.MODIFY,
        StanzaCondition.NOT_AUTHORIZED: ErrorType.AUTH,
        StanzaCondition.POLICY_VIOLATION: ErrorType.MODIFY,
        StanzaCondition.RECIPIENT_UNAVAILABLE: ErrorType.WAIT,
        StanzaCondition.REDIRECT: ErrorType.MODIFY,
        StanzaCondition.REGISTRATION_REQUIRED: ErrorType.AUTH,
        StanzaCondition.REMOTE_SERVER_TIMEOUT: ErrorType.WAIT,
        StanzaCondition.RESOURCE_CONSTRAINT: ErrorType.WAIT,
        StanzaCondition.SUBSCRIPTION_REQUIRED: ErrorType.AUTH,
        StanzaCondition.UNEXPECTED_REQUEST: ErrorType.WAIT,
    }
)


@dataclass(frozen=True, slots=True)
class StanzaError:
    """What stands inside `<error/>` of a stanza or of an element of dial-back.

    Attributes:
        condition: the defined condition.
        type: what the sender can do.
        text: words for a human, empty for none.
    """

    condition: StanzaCondition
    type: ErrorType
    text: str = ""


def stanza_error(condition: StanzaCondition, text: str = "") -> StanzaError:
    """Make an error with the type that RFC 6120 section 8.3.3 gives its condition."""
    return StanzaError(condition, _USUAL.get(condition, ErrorType.CANCEL), text)


#: How we end a stream for a reason. None: `</stream:stream>` without an error.
_SAID: Final[Mapping[Reason, Condition | None]] = MappingProxyType(
    {
        Reason.NONE: None,
        Reason.IDLE: None,
        Reason.LINK_LOST: None,
        Reason.REDIRECTED: Condition.RESET,
        Reason.PROTOCOL_ERROR: Condition.BAD_FORMAT,
        Reason.BAD_RECORD: Condition.BAD_FORMAT,
        Reason.BAD_ADDRESS: Condition.IMPROPER_ADDRESSING,
        Reason.ADDRESS_TOO_LONG: Condition.IMPROPER_ADDRESSING,
        Reason.VERSION_MISMATCH: Condition.UNSUPPORTED_VERSION,
        Reason.HELLO_TIMEOUT: Condition.CONNECTION_TIMEOUT,
        Reason.KEEPALIVE_TIMEOUT: Condition.CONNECTION_TIMEOUT,
        Reason.OVER_CAP: Condition.RESOURCE_CONSTRAINT,
        Reason.BUSY: Condition.RESOURCE_CONSTRAINT,
        Reason.RATE_LIMITED: Condition.RESOURCE_CONSTRAINT,
        Reason.OVER_RATE: Condition.RESOURCE_CONSTRAINT,
        Reason.OVERLOADED: Condition.RESOURCE_CONSTRAINT,
        Reason.UNREAD_ANSWERS: Condition.RESOURCE_CONSTRAINT,
        Reason.HOLD_FULL: Condition.RESOURCE_CONSTRAINT,
        Reason.DIAL_LIMIT: Condition.RESOURCE_CONSTRAINT,
        Reason.TOO_MANY_CLAIMS: Condition.RESOURCE_CONSTRAINT,
        Reason.STATE_UNAVAILABLE: Condition.RESOURCE_CONSTRAINT,
        Reason.TOO_LARGE: Condition.POLICY_VIOLATION,
        Reason.WEAKER_THAN_POLICY: Condition.POLICY_VIOLATION,
        Reason.WEAKER_THAN_REMEMBERED: Condition.POLICY_VIOLATION,
        Reason.TLS_FAILED: Condition.POLICY_VIOLATION,
        Reason.NOT_PROVED: Condition.NOT_AUTHORIZED,
        Reason.SERVED_HERE: Condition.NOT_AUTHORIZED,
        Reason.CERTIFICATE_REFUSED: Condition.NOT_AUTHORIZED,
        Reason.DELEGATION_INSECURE: Condition.NOT_AUTHORIZED,
        Reason.DANE_MISMATCH: Condition.NOT_AUTHORIZED,
        Reason.LOGIN_FAILED: Condition.NOT_AUTHORIZED,
        Reason.DIALBACK_REFUSED: Condition.NOT_AUTHORIZED,
        Reason.NOT_MINE: Condition.NOT_AUTHORIZED,
        Reason.BAD_TOKEN: Condition.NOT_AUTHORIZED,
        Reason.TLS_VIEW_MISMATCH: Condition.NOT_AUTHORIZED,
        Reason.NO_COMMON_PROOF: Condition.NOT_AUTHORIZED,
        Reason.DIALBACK_TIMEOUT: Condition.REMOTE_CONNECTION_FAILED,
        Reason.DNS_FAILURE: Condition.REMOTE_CONNECTION_FAILED,
        Reason.DNS_TIMEOUT: Condition.REMOTE_CONNECTION_FAILED,
        Reason.CONNECTION_REFUSED: Condition.REMOTE_CONNECTION_FAILED,
        Reason.CONNECT_TIMEOUT: Condition.REMOTE_CONNECTION_FAILED,
        Reason.UNREACHABLE: Condition.REMOTE_CONNECTION_FAILED,
        Reason.BACKING_OFF: Condition.REMOTE_CONNECTION_FAILED,
        Reason.RELAY_DENIED: Condition.HOST_UNKNOWN,
        Reason.NO_SERVICE: Condition.HOST_UNKNOWN,
        Reason.NOT_HOSTED: Condition.HOST_UNKNOWN,
        Reason.SUSPENDED: Condition.HOST_GONE,
        Reason.SHUTTING_DOWN: Condition.SYSTEM_SHUTDOWN,
    }
)

#: Limits of how many connections of one address are open at one time.
_OF_ONE_ADDRESS: Final = frozenset({Limit.STRANGERS_ADDRESS, Limit.STRANGERS_NETWORK})

#: What it means that a peer ended a stream so. `PEER_FAILED` for all that are not named.
_HEARD: Final[Mapping[Condition, Reason]] = MappingProxyType(
    {
        Condition.BAD_FORMAT: Reason.PROTOCOL_ERROR,
        Condition.BAD_NAMESPACE_PREFIX: Reason.PROTOCOL_ERROR,
        Condition.INVALID_NAMESPACE: Reason.PROTOCOL_ERROR,
        Condition.INVALID_XML: Reason.PROTOCOL_ERROR,
        Condition.NOT_WELL_FORMED: Reason.PROTOCOL_ERROR,
        Condition.RESTRICTED_XML: Reason.PROTOCOL_ERROR,
        Condition.UNSUPPORTED_ENCODING: Reason.PROTOCOL_ERROR,
        Condition.UNSUPPORTED_FEATURE: Reason.PROTOCOL_ERROR,
        Condition.UNSUPPORTED_STANZA_TYPE: Reason.PROTOCOL_ERROR,
        Condition.UNSUPPORTED_VERSION: Reason.VERSION_MISMATCH,
        Condition.CONFLICT: Reason.OVER_CAP,
        Condition.CONNECTION_TIMEOUT: Reason.KEEPALIVE_TIMEOUT,
        Condition.HOST_GONE: Reason.NOT_HOSTED,
        Condition.HOST_UNKNOWN: Reason.NOT_HOSTED,
        Condition.IMPROPER_ADDRESSING: Reason.BAD_ADDRESS,
        Condition.INVALID_FROM: Reason.NOT_PROVED,
        Condition.NOT_AUTHORIZED: Reason.NOT_PROVED,
        Condition.POLICY_VIOLATION: Reason.WEAKER_THAN_POLICY,
        Condition.REMOTE_CONNECTION_FAILED: Reason.DIALBACK_TIMEOUT,
        Condition.RESET: Reason.REDIRECTED,
        Condition.RESOURCE_CONSTRAINT: Reason.BUSY,
        Condition.SYSTEM_SHUTDOWN: Reason.SHUTTING_DOWN,
    }
)

_CONDITIONS: Final = MappingProxyType({one.value: one for one in Condition})
_STANZA_CONDITIONS: Final = MappingProxyType({one.value: one for one in StanzaCondition})


def condition_of(reason: Reason, limit: Limit | None = None) -> Condition | None:
    """Return how a stream is ended for a reason, and the limit behind it; None for an end without an error.

    Too many in all is `resource-constraint` (RFC 6120 section 4.6.3), too many of one address `conflict`: he
    has others, which he may use or close (section 4.9.3.3).
    """
    if limit in _OF_ONE_ADDRESS:
        return Condition.CONFLICT
    return _SAID.get(reason, Condition.UNDEFINED_CONDITION)


def reason_of(condition: Condition) -> Reason:
    """Return what it means that the other side ended a stream with this condition."""
    return _HEARD.get(condition, Reason.PEER_FAILED)


def condition_named(name: str) -> Condition:
    """Return the condition of an element's local name; `undefined-condition` for one that is not defined."""
    return _CONDITIONS.get(name, Condition.UNDEFINED_CONDITION)


def stanza_condition_named(name: str) -> StanzaCondition:
    """Return the condition of an element's local name; `undefined-condition` for one that is not defined."""
    return _STANZA_CONDITIONS.get(name, StanzaCondition.UNDEFINED_CONDITION)


#: Errors of dial-back that a peer answers a claim with (XEP-0220 section 2.5); `DIALBACK_REFUSED` for others.
_CLAIM_HEARD: Final[Mapping[StanzaCondition, Reason]] = MappingProxyType(
    {
        StanzaCondition.ITEM_NOT_FOUND: Reason.NOT_HOSTED,
        StanzaCondition.REMOTE_CONNECTION_FAILED: Reason.DIALBACK_TIMEOUT,
        StanzaCondition.REMOTE_SERVER_NOT_FOUND: Reason.DIALBACK_TIMEOUT,
        StanzaCondition.REMOTE_SERVER_TIMEOUT: Reason.DIALBACK_TIMEOUT,
        StanzaCondition.POLICY_VIOLATION: Reason.WEAKER_THAN_POLICY,
        StanzaCondition.NOT_AUTHORIZED: Reason.CERTIFICATE_REFUSED,
        StanzaCondition.RESOURCE_CONSTRAINT: Reason.TOO_MANY_CLAIMS,
    }
)

#: Errors of dial-back that we answer a claim with; `remote-server-timeout` for reasons that are not named.
_CLAIM_SAID: Final[Mapping[Reason, StanzaCondition]] = MappingProxyType(
    {
        Reason.RELAY_DENIED: StanzaCondition.ITEM_NOT_FOUND,
        Reason.NO_SERVICE: StanzaCondition.REMOTE_SERVER_NOT_FOUND,
        Reason.NOT_HOSTED: StanzaCondition.REMOTE_SERVER_NOT_FOUND,
        Reason.NO_SUCH_DOMAIN: StanzaCondition.REMOTE_SERVER_NOT_FOUND,
        Reason.NO_IMX_RECORD: StanzaCondition.REMOTE_SERVER_NOT_FOUND,
        Reason.NOT_MINE: StanzaCondition.REMOTE_SERVER_NOT_FOUND,
        Reason.DNS_FAILURE: StanzaCondition.REMOTE_CONNECTION_FAILED,
        Reason.DNS_TIMEOUT: StanzaCondition.REMOTE_CONNECTION_FAILED,
        Reason.BAD_DNS_RECORD: StanzaCondition.REMOTE_CONNECTION_FAILED,
        Reason.NO_ADDRESS: StanzaCondition.REMOTE_CONNECTION_FAILED,
        Reason.ADDRESS_REFUSED: StanzaCondition.REMOTE_CONNECTION_FAILED,
        Reason.CONNECTION_REFUSED: StanzaCondition.REMOTE_CONNECTION_FAILED,
        Reason.CONNECT_TIMEOUT: StanzaCondition.REMOTE_CONNECTION_FAILED,
        Reason.UNREACHABLE: StanzaCondition.REMOTE_CONNECTION_FAILED,
        Reason.BACKING_OFF: StanzaCondition.REMOTE_CONNECTION_FAILED,
        Reason.TLS_FAILED: StanzaCondition.REMOTE_CONNECTION_FAILED,
        Reason.WEAKER_THAN_POLICY: StanzaCondition.POLICY_VIOLATION,
        Reason.WEAKER_THAN_REMEMBERED: StanzaCondition.POLICY_VIOLATION,
        Reason.SUSPENDED: StanzaCondition.POLICY_VIOLATION,
        Reason.CERTIFICATE_REFUSED: StanzaCondition.NOT_AUTHORIZED,
        Reason.DELEGATION_INSECURE: StanzaCondition.NOT_AUTHORIZED,
        Reason.DANE_MISMATCH: StanzaCondition.NOT_AUTHORIZED,
        Reason.SERVED_HERE: StanzaCondition.NOT_AUTHORIZED,
        Reason.NOT_PROVED: StanzaCondition.NOT_AUTHORIZED,
        Reason.NO_COMMON_PROOF: StanzaCondition.REMOTE_CONNECTION_FAILED,
        Reason.DIALBACK_REFUSED: StanzaCondition.FORBIDDEN,
        Reason.BAD_TOKEN: StanzaCondition.FORBIDDEN,
        Reason.TLS_VIEW_MISMATCH: StanzaCondition.FORBIDDEN,
        Reason.BAD_ADDRESS: StanzaCondition.NOT_ACCEPTABLE,
        Reason.TOO_MANY_CLAIMS: StanzaCondition.RESOURCE_CONSTRAINT,
        Reason.DIAL_LIMIT: StanzaCondition.RESOURCE_CONSTRAINT,
        Reason.OVER_CAP: StanzaCondition.RESOURCE_CONSTRAINT,
        Reason.OVER_RATE: StanzaCondition.RESOURCE_CONSTRAINT,
        Reason.OVERLOADED: StanzaCondition.RESOURCE_CONSTRAINT,
        Reason.BUSY: StanzaCondition.RESOURCE_CONSTRAINT,
        Reason.SHUTTING_DOWN: StanzaCondition.RESOURCE_CONSTRAINT,
    }
)


def claim_refused_by(condition: StanzaCondition) -> Reason:
    """Return what it means that a peer answers our claim with this error (XEP-0220 section 2.5)."""
    return _CLAIM_HEARD.get(condition, Reason.DIALBACK_REFUSED)


def claim_error(reason: Reason, text: str = "") -> StanzaError:
    """Return the error that a refused claim is answered with (XEP-0220 section 2.5)."""
    return stanza_error(_CLAIM_SAID.get(reason, StanzaCondition.REMOTE_SERVER_TIMEOUT), text)
