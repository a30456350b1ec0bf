"""What is stored of subscriptions between XMPP and others: consents and wishes, never presence.

Keys are both addresses as they are spelled, for two spellings with one key may be two people of XMPP (RFC
7622 section 3.5). Values are JSON with a form number: a later version reads this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, TypeVar

import msgspec

from imxrouter.gateways.xmpp.subscriptions.effects import BETWEEN
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.routing.interfaces import Store
from imxrouter.routing.owed import KeptSubscription
from imxrouter.routing.tables import Tables
from imxrouter.routing.watched import KeptWatch, address_of

#: Whom users of XMPP watch, and who watches them.
WATCHING: Final = "xmpp-watching"
WATCHED: Final = "xmpp-watched"
#: Subscriptions of IMX that belong to these.
WATCHES: Final = "xmpp-watches"
ONLOOKERS: Final = "xmpp-onlookers"
#: Pairs of two users of XMPP whose presence passes.
PASSING: Final = "xmpp-passing"
#: Of the last life of the gateway.
EPOCH: Final = "xmpp-epoch"

#: Entries at most.
TABLE_ENTRIES: Final = {
    WATCHING: 100_000, WATCHED: 200_000, WATCHES: 100_000, ONLOOKERS: 200_000, PASSING: 100_000,
    EPOCH: 1,
}  # fmt: skip
#: The state of a pair that the store forgets by itself.
DENIED: Final = "denied"
#: Of the values' form.
FORM: Final = 1


class KeptWatching(msgspec.Struct, frozen=True):
    """A user of XMPP watches somebody.

    Attributes:
        form: of this value.
        state: word of the state.
        since: seconds since 1970.
        asked_day: day since 1970 on which the user's server asked last.
        ident: of the subscription that ended when it fell asleep.
    """

    form: int
    state: str
    since: int
    asked_day: int
    ident: bytes = b""


class KeptWatched(msgspec.Struct, frozen=True):
    """Somebody watches a user of XMPP, may do so, or may not.

    Attributes:
        form: of this value.
        state: word of the state.
        since: seconds since 1970.
        until: seconds since 1970 at which it is forgotten; 0: never.
        asked: how often the user was asked.
    """

    form: int
    state: str
    since: int
    until: int = 0
    asked: int = 0


class KeptPassing(msgspec.Struct, frozen=True):
    """A user of XMPP watches another one, and what passes between them is theirs.

    Attributes:
        form: of this value.
        granted: it was answered.
        day: since 1970, on which something of it passed last.
        shown: resources that the watcher is shown, so that those which went meanwhile can be taken back.
    """

    form: int
    granted: bool
    day: int
    shown: list[str] = []


class _Watch(msgspec.Struct, frozen=True):
    form: int
    one: KeptWatch


class _Onlooker(msgspec.Struct, frozen=True):
    form: int
    one: KeptSubscription


T = TypeVar("T")


class Keeping:
    """Writes pairs down and reads them again.

    Args:
        store: where.
        on_bad: told the table of an entry that cannot be read; it goes, unless a later version wrote it.
    """

    def __init__(self, store: Store, on_bad: Callable[[str], None]) -> None:
        self._tables = Tables(store, on_bad, FORM)

    def watching(self, key: bytes, kept: KeptWatching | None, *, durable: bool) -> bool:
        """Keep that a user watches somebody; None: no more. With `durable`, False where it cannot be now."""
        return self._tables.put(WATCHING, key, kept, None, durable=durable)

    def watched(self, key: bytes, kept: KeptWatched | None, *, durable: bool) -> bool:
        """Keep what a user thinks of a watcher, as above."""
        # Only a refusal may go without a word; the end of anything else is told.
        until = float(kept.until) if kept is not None and kept.state == DENIED else None
        return self._tables.put(WATCHED, key, kept, until, durable=durable)

    def watch(self, key: bytes, kept: KeptWatch | None) -> None:
        """Keep a subscription of a user; it can be begun again without this."""
        self._tables.put(WATCHES, key, _Watch(FORM, kept) if kept is not None else None)

    def onlooker(self, key: bytes, kept: KeptSubscription | None) -> None:
        """Keep a subscription to a user until it ends."""
        until = kept.ends_at if kept is not None else None
        self._tables.put(ONLOOKERS, key, _Onlooker(FORM, kept) if kept is not None else None, until)

    def passing(self, ends: tuple[str, str], kept: KeptPassing | None) -> bool:
        """Keep that presence of the second of these passes to the first; it can be learned again without."""
        return self._tables.put(PASSING, "\n".join(ends).encode(), kept)

    def all_passing(self) -> Iterator[tuple[tuple[str, str], tuple[str, str], KeptPassing]]:
        """Of each its ends, the domains of the second and the first, and its form."""
        for key, kept, _ in self._tables.items(PASSING, KeptPassing):
            try:
                watcher, _, presentity = key.decode().partition("\n")
                yield (watcher, presentity), (_domain_of(presentity), _domain_of(watcher)), kept
            except (RouterError, UnicodeDecodeError):
                self._tables.drop(PASSING, key)

    def all_watching(self) -> Iterator[tuple[Address, Address, KeptWatching]]:
        """Watcher, presentity and form of each."""
        return self._pairs(WATCHING, KeptWatching)

    def all_watched(self) -> Iterator[tuple[Address, Address, KeptWatched]]:
        """The same of the other table."""
        return self._pairs(WATCHED, KeptWatched)

    def all_watches(self) -> list[KeptWatch]:
        """Every subscription of a user."""
        return [kept.one for _, kept, _ in self._tables.items(WATCHES, _Watch)]

    def all_onlookers(self) -> list[KeptSubscription]:
        """Every subscription to a user."""
        return [kept.one for _, kept, _ in self._tables.items(ONLOOKERS, _Onlooker)]

    def new_epoch(self, wall: float) -> int:
        """The epoch of this life: milliseconds since 1970, greater than every one before (section 7.7)."""
        return self._tables.new_epoch(EPOCH, wall)

    def _pairs(self, table: str, kind: type[T]) -> Iterator[tuple[Address, Address, T]]:
        for key, kept, _ in self._tables.items(table, kind):
            watcher, _, presentity = key.partition(BETWEEN)
            try:
                yield address_of(watcher), address_of(presentity), kept
            except RouterError:
                self._tables.drop(table, key)


def _domain_of(jid: str) -> str:
    """The domain of a bare JID, in A-labels."""
    return _name_of(jid.rpartition("@")[2])


@lru_cache(maxsize=1024)
def _name_of(domain: str) -> str:
    return Domain.parse(domain).name


def names_of(watcher: Address, presentity: Address) -> bytes:
    """The key of a pair: both addresses as they are spelled."""
    return watcher.wire + BETWEEN + presentity.wire
