"""Who we are on a stream, how far its negotiation is, and what may come when (RFC 6120 sections 4 to 6).

The machine's table of states as data: a pair of element and step that is not in `LEGAL` ends the stream.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from imxrouter.gateways.xmpp.names import BIDI as BIDI_NAMESPACE
from imxrouter.gateways.xmpp.names import COMPONENT, DIALBACK, SASL, SERVER, SM, STREAM, TLS
from imxrouter.link.machine import LinkState, Side

if TYPE_CHECKING:
    from collections.abc import Mapping


class StreamRole(Enum):
    """What a stream is for, and which end of it is ours."""

    #: there is one object of each: to look one up needs no call of Python's
    __hash__ = object.__hash__

    #: to another domain's server, or to the server of a domain served here
    S2S_OUT = "server-to-server, opened"
    #: from another domain's server
    S2S_IN = "server-to-server, accepted"
    #: from a server of the operator, which takes us for the domains outside
    INSIDE_IN = "inside, accepted"
    #: we are the component of a server (XEP-0114)
    COMPONENT_OUT = "component of a server"
    #: a component attaches to us
    COMPONENT_IN = "host of a component"

    @property
    def side(self) -> Side:
        """Who opened the connection."""
        return Side.OPENER if self in _OPENS else Side.ACCEPTOR

    @property
    def content(self) -> str:
        """The namespace of its stanzas."""
        return COMPONENT if self in COMPONENTS else SERVER


_OPENS: Final = frozenset({StreamRole.S2S_OUT, StreamRole.COMPONENT_OUT})
#: Roles that negotiate as RFC 6120 has it, and accept.
ACCEPTS: Final = frozenset({StreamRole.S2S_IN, StreamRole.INSIDE_IN})
COMPONENTS: Final = frozenset({StreamRole.COMPONENT_OUT, StreamRole.COMPONENT_IN})
SERVERS: Final = ACCEPTS | {StreamRole.S2S_OUT}


class Step(Enum):
    """How far the stream is; `state` of the machine tells the rest of the house less."""

    #: there is one object of each: to look one up needs no call of Python's
    __hash__ = object.__hash__

    NEW = "new"
    #: the other side's stream header is due
    HEADER = "header"
    #: its features are due (S2S_OUT)
    FEATURES = "features"
    #: our features are out, and TLS must come before anything else (accepted streams)
    NEGOTIATING = "negotiating"
    #: `<starttls/>` went out
    PROCEED = "proceed"
    #: the handshake of TLS is under way
    TLS = "tls"
    #: `<auth/>` went out, or came in and is being decided on
    SASL = "sasl"
    #: of a component: the proof of the secret is due (XEP-0114 section 3)
    HANDSHAKE = "handshake"
    OPEN = "open"
    #: one of the two ends is closing; what is on its way is still taken
    DRAINING = "draining"
    CLOSED = "closed"


#: What other parts see. A stream that was open stays so while it begins anew after TLS or SASL.
STATE: Final[Mapping[Step, LinkState]] = MappingProxyType(
    {
        Step.NEW: LinkState.NEW,
        Step.OPEN: LinkState.OPEN,
        Step.DRAINING: LinkState.DRAINING,
        Step.CLOSED: LinkState.CLOSED,
    }
)

_LIVE: Final = frozenset({Step.OPEN, Step.DRAINING})
_BEGUN: Final = frozenset(Step) - {Step.NEW, Step.CLOSED, Step.TLS}
_OUT: Final = frozenset({StreamRole.S2S_OUT})
_ALL: Final = frozenset(StreamRole)

#: (Namespace, local name) -> (steps in which it may come, roles of ours to which).
LEGAL: Final[Mapping[tuple[str, str], tuple[frozenset[Step], frozenset[StreamRole]]]] = MappingProxyType(
    {
        (STREAM, "error"): (_BEGUN, _ALL),
        (STREAM, "features"): (frozenset({Step.FEATURES}), _OUT),
        (TLS, "starttls"): (frozenset({Step.NEGOTIATING, Step.OPEN}), ACCEPTS),
        (TLS, "proceed"): (frozenset({Step.PROCEED}), _OUT),
        (TLS, "failure"): (frozenset({Step.PROCEED}), _OUT),
        (SASL, "auth"): (frozenset({Step.OPEN}), ACCEPTS),
        (SASL, "abort"): (frozenset({Step.OPEN}), ACCEPTS),
        (SASL, "challenge"): (frozenset({Step.SASL}), _OUT),
        (SASL, "success"): (frozenset({Step.SASL}), _OUT),
        (SASL, "failure"): (frozenset({Step.SASL}), _OUT),
        (BIDI_NAMESPACE, "bidi"): (frozenset({Step.OPEN}), ACCEPTS),
        (DIALBACK, "result"): (_LIVE, SERVERS),
        (DIALBACK, "verify"): (_LIVE, SERVERS),
        (SM, "enable"): (frozenset({Step.OPEN}), ACCEPTS),
        (SM, "resume"): (frozenset({Step.OPEN}), ACCEPTS),
        (SM, "enabled"): (_LIVE, _OUT),
        (SM, "failed"): (_LIVE, _OUT),
        (SM, "r"): (_LIVE, SERVERS),
        (SM, "a"): (_LIVE, SERVERS),
        (COMPONENT, "handshake"): (frozenset({Step.HANDSHAKE}), COMPONENTS),
        (SERVER, "message"): (_LIVE, SERVERS),
        (SERVER, "presence"): (_LIVE, SERVERS),
        (SERVER, "iq"): (_LIVE, SERVERS),
        (COMPONENT, "message"): (_LIVE, COMPONENTS),
        (COMPONENT, "presence"): (_LIVE, COMPONENTS),
        (COMPONENT, "iq"): (_LIVE, COMPONENTS),
    }
)
