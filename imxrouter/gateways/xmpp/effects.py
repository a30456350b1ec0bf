"""What a stream machine wants done, in order, as values."""

from __future__ import annotations

from dataclasses import dataclass

from imxrouter.gateways.xmpp.elements import Db
from imxrouter.gateways.xmpp.heard import Header
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.stanza import Stanza
from imxrouter.link.machine import Draining
from imxrouter.model.vocabulary import Reason


@dataclass(frozen=True, slots=True)
class Write:
    """Write these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StartTls:
    """The other side goes on in TLS: begin the handshake as its client, then call `encrypted`."""

    server_name: str


@dataclass(frozen=True, slots=True)
class TlsFollows:
    """The other side's ClientHello follows: begin the handshake as its server, then call `encrypted`."""


@dataclass(frozen=True, slots=True)
class HeaderSeen:
    """A stream header that is in order; it comes again when the stream begins anew."""

    header: Header


@dataclass(frozen=True, slots=True)
class Open:
    """Nothing is left to negotiate but claims; told once."""


@dataclass(frozen=True, slots=True)
class AskedExternal:
    """The other side asks to be taken for the domain by its certificate, and the terms allow it.

    Decide, then call `authenticated` or `not_authenticated`: nothing is answered before, and nothing more is
    taken.
    """

    from_: str
    to: str


@dataclass(frozen=True, slots=True)
class External:
    """The other side took us for `from_` by our certificate (SASL EXTERNAL): no claim is needed."""

    from_: str
    to: str


@dataclass(frozen=True, slots=True)
class Attached:
    """A component proved that it knows the secret of its name, or the server took us for ours (XEP-0114)."""

    name: str


@dataclass(frozen=True, slots=True)
class ClaimIn:
    """`<db:result>` with a key: the other side claims to be `from_` and wants to speak to `to`."""

    db: Db


@dataclass(frozen=True, slots=True)
class ClaimResultIn:
    """The answer to a claim that we made on this stream."""

    db: Db


@dataclass(frozen=True, slots=True)
class VerifyIn:
    """`<db:verify>` with a key: whether we made it."""

    db: Db


@dataclass(frozen=True, slots=True)
class VerifyResultIn:
    """The answer to a question that we asked on this stream."""

    db: Db


@dataclass(slots=True)
class StanzaIn:
    """A stanza of a proved pair. Not frozen: what freezes it would cost a twentieth of its whole way."""

    stanza: Stanza
    from_: str
    to: str


@dataclass(frozen=True, slots=True)
class PingOut:
    """A ping goes out whose answer says that all stanzas before it were read.

    The answer (a result or an error with this id, from `to` to `from_`) may come on any stream; it is given
    to `barrier` and goes no further.
    """

    ident: str
    from_: str
    to: str


@dataclass(frozen=True, slots=True)
class Handled:
    """What these stanzas of ours came to.

    Attributes:
        tags: as they were given to `stanzas`, in order.
        confirmed: the other side said so; False where the bytes being written must do.
    """

    tags: tuple[int, ...]
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Late:
    """No confirmation of these stanzas came in time: nobody knows what became of them.

    Attributes:
        tags: as they were given to `stanzas`, in order.
        ping_dropped: a barrier was not answered although the other side spoke meanwhile.
    """

    tags: tuple[int, ...]
    ping_dropped: bool = False


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something was not acted on: count it."""

    reason: Reason
    note: str


@dataclass(frozen=True, slots=True)
class Drop:
    """End the connection now, after what is written.

    Attributes:
        reason: in the one vocabulary.
        condition: of the stream error that was sent or received; None without one.
        note: words for the log.
    """

    reason: Reason
    condition: Condition | None = None
    note: str = ""


Effect = (
    Write
    | StartTls
    | TlsFollows
    | HeaderSeen
    | Open
    | AskedExternal
    | External
    | Attached
    | ClaimIn
    | ClaimResultIn
    | VerifyIn
    | VerifyResultIn
    | StanzaIn
    | PingOut
    | Handled
    | Late
    | Ignored
    | Draining
    | Drop
)
