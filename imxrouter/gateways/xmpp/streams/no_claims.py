"""Streams on which nothing is claimed: their parties are settled by an address or a secret."""

from __future__ import annotations

from typing import NoReturn

from imxrouter.gateways.xmpp.effects import AskedExternal
from imxrouter.gateways.xmpp.elements import Db
from imxrouter.gateways.xmpp.streams.parts import StreamLink
from imxrouter.model.errors import LocalMisuse


class NoClaims:
    """The part of a `Trust` that components have no words for: `steps.LEGAL` ends a stream that says them."""

    def asked_external(self, session: StreamLink, asked: AskedExternal) -> None:
        """Raise `LocalMisuse`: there is no SASL."""
        _never(session, asked)

    def external(self, session: StreamLink, from_: str, to: str) -> None:
        """Raise `LocalMisuse`: there is no SASL."""
        _never(session, (from_, to))

    def claim_in(self, session: StreamLink, db: Db) -> None:
        """Raise `LocalMisuse`: there is no dial-back."""
        _never(session, db)

    def claim_result_in(self, session: StreamLink, db: Db) -> None:
        """Raise `LocalMisuse`: there is no dial-back."""
        _never(session, db)

    def verify_in(self, session: StreamLink, db: Db) -> None:
        """Raise `LocalMisuse`: there is no dial-back."""
        _never(session, db)

    def verify_result_in(self, session: StreamLink, db: Db) -> None:
        """Raise `LocalMisuse`: there is no dial-back."""
        _never(session, db)


def _never(session: StreamLink, what: object) -> NoReturn:
    raise LocalMisuse(f"{what} on link {session.number}, the stream of a component")
