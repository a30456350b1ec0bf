"""What a stream is held to: made once by whoever opens or accepts it, and never weakened afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from imxrouter.gateways.xmpp.heard import AFTER, XmlLimits
from imxrouter.gateways.xmpp.names import Condition


class TlsRule(Enum):
    """What STARTTLS is to this stream."""

    #: nothing but TLS is spoken without it
    REQUIRED = "required"
    #: taken where the other side has it
    OFFERED = "offered"
    #: neither offered nor asked for: a laboratory, or the inside
    NONE = "none"


class Confirm(Enum):
    """How it is known that a stanza arrived, where XEP-0198 is not offered."""

    #: a ping behind it comes back
    PING = "ping"
    #: it was written
    WRITTEN = "written"


def nobody(_domain: str) -> bool:
    """Say no for every domain."""
    return False


def nothing_against(_domain: str) -> Condition | None:
    """Take every domain."""
    return None


def no_secret(_name: str) -> bytes | None:
    """Know no component."""
    return None


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Times and bounds of a stream.

    Attributes:
        header_s: the other side's stream header is due by then, each time one is.
        negotiation_s: everything until the stream is open, TLS and SASL included.
        keepalive_s: after so long without a byte of ours a space goes out (RFC 6120 section 4.6.1).
        silent_s: after so long without a byte of theirs they are asked, where they can be.
        dead_s: the answer to that is due by then.
        close_s: the other side's `</stream:stream>` is due by then.
        answer_s: a confirmation is due by then.
        barrier_rest_s: between two pings that ask whether stanzas arrived.
        verifies_before_proof: questions of dial-back that are answered before anything is proved; each costs
            a look-up in a table and 300 bytes.
        limits: of XML once something is proved; its `stanza_bytes` is told in the features (XEP-0478).
        unasked: results that nobody asked for, before the stream is ended.
        idle_s: a stream without stanzas is closed after so long, as told in the features; 0: not told.
    """

    header_s: float = 10.0
    negotiation_s: float = 30.0
    keepalive_s: float = 60.0
    silent_s: float = 60.0
    dead_s: float = 30.0
    close_s: float = 5.0
    answer_s: float = 30.0
    barrier_rest_s: float = 0.05
    verifies_before_proof: int = 256
    limits: XmlLimits = AFTER
    unasked: int = 16
    idle_s: float = 300.0


@dataclass(frozen=True, slots=True)
class StreamTerms:
    """What holds for one stream. Functions are asked with normalised domains when the answer is needed.

    Attributes:
        tls: what STARTTLS is to it.
        serves: (accepting) whether the domain that the header and the stanzas are to is answered for here:
            one of ours, or on the inside one outside; of a component host, whether the name is one that a
            component may have.
        admits: (accepting) what speaks against the domain that the header is from, such as that it is
            served here; of a component host, against a name whose secret is right (`conflict`).
        external: (accepting) whether the certificate that the other side showed covers this domain and the
            policy takes it as proof; (opening) whether the certificate that we showed covers ours.
        dialback: (accepting) whether the policy lets this domain prove itself by dial-back as the stream is
            now, for the features.
        secret: (components) the secret of a component's name; None for an unknown one.
        also: (host of a component) whether it may speak for this domain beside that of its header.
        bidi: stanzas may go both ways (XEP-0288).
        sm: acknowledgements (XEP-0198).
        confirm: how arrival is known without them.
        settings: times and bounds.
    """

    tls: TlsRule = TlsRule.REQUIRED
    serves: Callable[[str], bool] = nobody
    admits: Callable[[str], Condition | None] = nothing_against
    external: Callable[[str], bool] = nobody
    dialback: Callable[[str], bool] = nobody
    secret: Callable[[str], bytes | None] = no_secret
    also: Callable[[str], bool] = nobody
    bidi: bool = True
    sm: bool = True
    confirm: Confirm = Confirm.PING
    settings: StreamSettings = field(default_factory=StreamSettings)
