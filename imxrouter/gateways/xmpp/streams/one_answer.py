"""An iq that passes as it is has one answer at most (RFC 6120 section 8.2.3; row iq-passes of the mapping).

Who asks may be answered twice: by who was asked, whose answer passes on any stream, and by the router, where
it does not learn whether the iq has arrived, as its stream broke or nobody confirmed it in time. Whichever
comes first is the answer. Where it is theirs, what is remembered of the iq (`told`) is forgotten with it;
where it is the router's, a later one of theirs goes nowhere for some time. An iq of which not even that can
be remembered is not answered by the router at all.
"""

from __future__ import annotations

from typing import Final

from imxrouter.gateways.xmpp.stanza import Stanza
from imxrouter.gateways.xmpp.streams.records import party_of
from imxrouter.gateways.xmpp.streams.told import Told, ToldTable
from imxrouter.gateways.xmpp.translate.awaited import LATE_S, Awaited
from imxrouter.gateways.xmpp.translate.jid import BadJid

#: Between the parts of a key; neither JIDs nor ids can have it.
_BETWEEN: Final = b"\0"


class OneAnswer:
    """See the module.

    Args:
        told: what is remembered of stanzas that came.
    """

    def __init__(self, told: ToldTable) -> None:
        self._told = told
        #: those that the router has answered and who was asked may still answer
        self._doubted: Awaited[bool] = Awaited(LATE_S)

    def __len__(self) -> int:
        return len(self._doubted)

    def asked(self, told: Told, now: float) -> bytes:
        """A stanza passes; its key in `ToldTable`, empty where it is no iq that asks, or has no id.

        An answer that comes from now on is its own, also where one with the same addresses and id was asked
        before.
        """
        if told.kind != "iq":
            return b""
        if self._doubted:
            self._doubted.answered(told.to, told.from_, told.ident, now)
        return _key(told.from_, told.to, told.ident)

    def answers(self, answer: Stanza, now: float) -> bool:
        """An iq that answers is about to pass; False where the router has answered in its place."""
        if self._doubted and self._doubted.answered(answer.from_, answer.to, answer.ident, now):
            return False
        self._told.answered(_key(answer.to, answer.from_, answer.ident))
        return True

    def doubted(self, told: Told, now: float) -> bool:
        """Nobody knows whether an iq has arrived; whether the router may say so in the place of an answer."""
        try:
            asker = party_of(told.from_)
        except BadJid:
            return False
        sender = f"{asker.local.decode()}@{asker.domain.decode()}"
        return self._doubted.sent((told.from_, told.to, told.ident), sender, told.domain, True, now)

    def tick(self, now: float) -> None:
        """Forget those that have had their time."""
        self._doubted.due(now)


def _key(asker: str, asked: str, ident: str) -> bytes:
    """An iq by both addresses as they compare, and its id; empty without one, or where one is no address."""
    try:
        return _BETWEEN.join((*party_of(asker), *party_of(asked), ident.encode())) if ident else b""
    except BadJid:
        return b""
