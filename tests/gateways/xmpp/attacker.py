"""Streams that somebody attacks, and what he says on them."""

from __future__ import annotations

from typing import Any

from imxrouter.gateways.xmpp.elements import authzid
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.terms import StreamTerms, TlsRule
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.pipe import OURS, THEIRS, Party, a_party

MALLORY = "mallory.example"
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
PROCEED = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
SASL = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
SM = "xmlns='urn:xmpp:sm:3'"


def yes(_domain: str) -> bool:
    """Say yes for every domain."""
    return True


def terms(tls: TlsRule = TlsRule.NONE, **more: Any) -> StreamTerms:
    """Ours: one domain is served, dial-back is taken."""
    return StreamTerms(tls, **{"serves": lambda domain: domain == OURS, "dialback": yes, **more})


def header(from_: str = THEIRS, to: str = OURS, ident: str = "") -> bytes:
    """A stream's tag."""
    said = "".join(f" {k}='{v}'" for k, v in (("from", from_), ("to", to), ("id", ident)) if v)
    names = "xmlns='jabber:server' xmlns:db='jabber:server:dialback'"
    names += " xmlns:stream='http://etherx.jabber.org/streams'"
    return f"<stream:stream {names}{said} version='1.0'>".encode()


def message(from_: str = f"x@{THEIRS}", to: str = f"y@{OURS}") -> bytes:
    """A stanza."""
    return f"<message from='{from_}' to='{to}'><body>hi</body></message>".encode()


def auth(name: str) -> bytes:
    """SASL EXTERNAL that asks for a name."""
    return f"<auth {SASL} mechanism='EXTERNAL'>{authzid(name) if name else '='}</auth>".encode()


def accepted(what: StreamTerms | None = None, *, tls: bool = False, from_: str = THEIRS) -> Party:
    """A stream that they opened, after the first header."""
    party = a_party(StreamRole.S2S_IN, "", "", what or terms(), tls=tls)
    party.perform(party.machine.start())
    party.take(header(from_))
    party.out.clear()
    return party


def opened(what: StreamTerms, *, features: str = "", tls: bool = False) -> Party:
    """A stream that we opened, after their features."""
    party = a_party(StreamRole.S2S_OUT, OURS, THEIRS, what, tls=tls)
    party.perform(party.machine.start())
    party.take(header(THEIRS, OURS, "id1") + f"<stream:features>{features}</stream:features>".encode())
    party.out.clear()
    return party


def ended(party: Party, condition: Condition | None, reason: Reason) -> None:
    """The stream ended so, the other side was told, and nothing more is read."""
    assert party.drop is not None
    assert (party.drop.condition, party.drop.reason) == (condition, reason), party.drop
    told = bytes(party.out)
    if condition is not None:
        assert f"<stream:error><{condition.value} ".encode() in told
        assert told.endswith(b"</stream:error></stream:stream>")
    party.machine.proved((THEIRS, OURS))
    party.take(message())
    assert not party.stanzas
