"""What routing learned and a restart must not lose: back-off of destinations, and the strength of domains.

Routing counts monotonic seconds, which begin anew with the machine; the store keeps seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from twisted.logger import Logger

from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.vocabulary import REASON_BY_WORD, Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.destinations import Destination, DestinationTable, LastError
from imxrouter.routing.interfaces import Store
from imxrouter.routing.policy import REMEMBERED_BITS, RememberedStrength

#: Tables of the store; keys are domains as on the wire, with `PROTOCOL:` before where it is not IMX.
BACK_OFF: Final = "back-off"
#: The bits of `routing.policy`, as a decimal number.
STRENGTH: Final = "strength"

#: Entries at most, as `DestinationTable` and `RememberedStrength` have them.
TABLE_ENTRIES: Final = {BACK_OFF: 100_000, STRENGTH: 100_000}
_NOTE_CHARACTERS: Final = 200
_PROTOCOLS: Final = {b"": Protocol.IMX} | {
    one.value.encode(): one for one in Protocol if one is not Protocol.IMX
}
#: Digits of the largest number that `RememberedStrength.kept` gives.
_DIGITS: Final = len(str(REMEMBERED_BITS))


class _BackOff(msgspec.Struct, frozen=True):
    """The value in `BACK_OFF`, as JSON; times in seconds since 1970, the reason's word."""

    failures: int
    next_try: float
    at: float = 0.0
    reason: str = ""
    note: str = ""


class Remembering:
    """Keeps a store in step with what routing learns, and gives it back after a start.

    Args:
        store: where it is kept.
        destinations: whose failures are kept.
        remembered: kept for its time; what other processes saw is added to it.
        now: monotonic seconds.
        wall: seconds since 1970.
    """

    log = Logger()

    def __init__(
        self,
        store: Store,
        destinations: DestinationTable,
        remembered: RememberedStrength,
        now: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._destinations = destinations
        self._remembered = remembered
        self._now = now
        self._wall = wall

    def begin(self) -> None:
        """Give back what the store has; from now on keep what changes."""
        for key, value, _ in self._store.items(BACK_OFF):
            self._failing_again(key, value)
        for key, value, expires_at in self._store.items(STRENGTH):
            self._seen(key, value, expires_at)
        self._destinations.on_changed = self._destination_changed
        self._remembered.on_changed = self._strength_changed
        self._store.watch(STRENGTH, self._seen_elsewhere)
        if len(self._destinations) or len(self._remembered):
            self.log.info(
                "state: {failing} domain(s) are waited for, the level of {count} is remembered",
                failing=len(self._destinations), count=len(self._remembered),
            )  # fmt: skip

    # -- back-off ----------------------------------------------------------------------------------------

    def _failing_again(self, key: bytes, value: bytes) -> None:
        word, _, name = key.rpartition(b":")
        domain, protocol = _domain(name), _PROTOCOLS.get(word)
        try:
            kept = msgspec.json.decode(value, type=_BackOff)
        except msgspec.MsgspecError:
            kept = None
        if domain is None or protocol is None or kept is None or kept.failures < 1:
            self._drop(BACK_OFF, key)
            return
        now, ahead = self._now(), self._now() - self._wall()
        entry = self._destinations.open(domain, now, protocol)
        if entry is not None:
            reason = REASON_BY_WORD.get(kept.reason, Reason.BACKING_OFF)
            entry.restore(
                kept.failures, kept.next_try + ahead, LastError(reason, kept.at + ahead, kept.note), now
            )

    def _destination_changed(self, domain: Domain, protocol: Protocol, entry: Destination | None) -> None:
        key = domain.wire if protocol is Protocol.IMX else b"%s:%s" % (protocol.value.encode(), domain.wire)
        if entry is None or not entry.failures:
            self._store.remove(BACK_OFF, key)
            return
        behind, error = self._wall() - self._now(), entry.last_error
        next_try = entry.next_try + behind
        kept = _BackOff(entry.failures, round(next_try, 3))
        if error is not None:
            kept = _BackOff(
                entry.failures, round(next_try, 3), round(error.at + behind, 3), error.reason.word,
                error.note[:_NOTE_CHARACTERS],
            )  # fmt: skip
        until = next_try + self._destinations.keep_s
        self._store.put(BACK_OFF, key, msgspec.json.encode(kept), until)

    # -- strength ----------------------------------------------------------------------------------------

    def _seen(self, key: bytes, value: bytes, expires_at: float | None) -> None:
        domain, strength = _domain(key), int(value) if value.isdigit() and len(value) <= _DIGITS else 0
        if domain is None or expires_at is None or not strength or strength & ~REMEMBERED_BITS:
            self._drop(STRENGTH, key)
            return
        now = self._now()
        seen = self._remembered.kept(domain, now)
        self._remembered.restore(domain, seen | strength, expires_at - self._wall() + now, now)
        if seen & ~strength:  # another process saw less at the same time
            self._store.put(STRENGTH, key, b"%d" % (seen | strength), expires_at)

    def _seen_elsewhere(self, key: bytes, value: bytes | None, expires_at: float | None) -> None:
        domain = _domain(key)
        if value is not None:
            self._seen(key, value, expires_at)
        elif domain is not None:
            self._remembered.forget(domain)

    def _strength_changed(self, domain: Domain, strength: int, until: float) -> None:
        if strength:
            self._store.put(STRENGTH, domain.wire, b"%d" % strength, until - self._now() + self._wall())
        else:
            self._store.remove(STRENGTH, domain.wire)

    def _drop(self, table: str, key: bytes) -> None:
        self.log.warn("state: an entry of {table} cannot be read and is dropped", table=table)
        self._store.remove(table, key)


def _domain(key: bytes) -> Domain | None:
    try:
        return Domain.from_wire(key)
    except BadDomain:
        return None
