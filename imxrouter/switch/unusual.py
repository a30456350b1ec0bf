"""What the loop of requests asks where a request is not of the common case, and is no matter of limits."""

from __future__ import annotations

from typing import Final, Literal

from imxrouter.model.limits import Limit
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.gate import Bar
from imxrouter.switch import slots
from imxrouter.switch.core import SUSPENDED_S
from imxrouter.switch.limiting import SwitchLimits
from imxrouter.switch.ports import FOREVER, MAX_UNACKNOWLEDGED, HeldTo, Port, Proof, Role, Route
from imxrouter.switch.presence import OF_DOMAINS
from imxrouter.wire.layout import ADDRESSES_OFFSET, FLAG_RETRY, FLAGS_OFFSET
from imxrouter.wire.registry import INTERNAL_TYPES

#: Stands for the proof of a domain of which nothing is proved.
NOT_PROVED: Final[Proof] = (0, None, -FOREVER, 0.0, 0.0, FOREVER)

_NO_ROOM: Final = (0, 0, 0)
_NO_TYPES: Final[frozenset[int]] = frozenset()

#: A sender's key and domain; a recipient's domain, its route, and his place in the table of inboxes.
_Sender = tuple[bytes, bytes]
_Target = tuple[bytes, Route | None, int]


class SwitchUnusual(SwitchLimits):
    """What is seldom of a request. Where a method refuses it, nothing is left to do for the loop."""

    def _is_held_to(self, role: Role, internal: bool, inside: bool) -> HeldTo:
        """What requests of links of one kind are held to; it is remembered.

        Args:
            role: theirs.
            internal: they may bring what never comes over IMX.
            inside: the router's own.
        """
        checks, is_limited = self.checks, not inside and role is not Role.PROCESS
        held_to = self._held_to[role, internal, inside] = (
            role is Role.SERVICE, checks.source, checks.size, checks.duplicates,
            checks.traffic and is_limited, checks.rate and is_limited, checks.recipient and is_limited,
            checks.access and role is not Role.PROCESS, checks.shedding and role is not Role.PROCESS,
            INTERNAL_TYPES if checks.internal and not internal else _NO_TYPES,
        )  # fmt: skip
        return held_to

    def _room_to_remember(self, port: Port) -> tuple[bool, int]:
        """Whether the memory is crowded, and the requests in flight of a link up to which it remembers."""
        memory = self.memory
        crowded, unacked = memory.is_crowded(), MAX_UNACKNOWLEDGED
        if crowded:
            unacked = min(unacked, memory.share)
        return crowded, port.in_flight + min(memory.limit - len(memory.seen), unacked - len(port.unacked))

    def _new_addresses(self, port: Port, data: bytes) -> tuple[_Sender, _Target] | None:
        """What is to be known of two addresses, one of which is new; None where the request is refused."""
        to_end = ADDRESSES_OFFSET + data[16] + 1 + data[17]
        from_end = to_end + data[18] + 1 + data[19]
        to_address, from_address = data[ADDRESSES_OFFSET:to_end], data[to_end:from_end]
        sender = self._names.get(from_address) or self._check_sender(from_address)
        target = self._targets.get(to_address) or self._check_target(to_address)
        if sender is None or target is None:
            if self.checks.addresses:
                self.refuse(port, data, Reason.BAD_ADDRESS)
                return None
            to_domain, from_domain = _domains(data)
            sender = sender or (b"", from_domain)
            target = target or (to_domain, self.routes.get(to_domain), 0)
        return sender, target

    def _unlisted_proof(self, port: Port, source: bytes) -> Proof:
        """What holds for a domain of which a link has no proof: an uplink may bring all but ours."""
        if port.role is Role.UPLINK and source not in self.routes:
            return port.sources.get(b"*", NOT_PROVED)
        return NOT_PROVED

    def _refuse_relay(self, port: Port, data: bytes) -> None:
        """To a domain that is not served here: by who may not send there, or of a type that goes nowhere."""
        may_send = port.role is Role.SERVICE or not self.checks.relay
        self.refuse(port, data, Reason.TYPE_NOT_ENABLED if may_send else Reason.RELAY_DENIED)

    def _refuse_by_route(self, port: Port, data: bytes, route: Route, internal: bool, now: float) -> None:
        """Suspended, a type that the domain does not take, too large, or at a weaker level; in that order."""
        rtype, body_at = (data[4] << 8) | data[5], _body_at(data)
        if route.suspended:
            self.refuse(port, data, Reason.SUSPENDED, SUSPENDED_S)
        elif internal or (rtype not in route.types and rtype not in OF_DOMAINS):
            self.refuse(port, data, Reason.TYPE_NOT_ENABLED)
        elif self.checks.size and len(data) - body_at > route.max_bytes:
            self.refuse(port, data, Reason.TOO_LARGE)
        else:
            self._refuse_source(port, data, now)

    def _refuse_source(self, port: Port, data: bytes, now: float) -> None:
        """Its source may not come over this link, or not to that domain."""
        to_domain, from_domain = _domains(data)
        self.refuse(port, data, self._source_refusal(port, data, from_domain, to_domain, now), SUSPENDED_S)

    def _is_amiss(self, port: Port, data: bytes, hops: int, is_large: bool) -> bool:
        """Whether a request is refused for its size, its hops left, or a field; in that order."""
        if is_large:
            reason: Reason | None = Reason.TOO_LARGE
        elif not hops and self.checks.hops:
            reason = Reason.TOO_MANY_HOPS
        else:
            reason = self._judge_fields(data)
        if reason is not None:
            self.refuse(port, data, reason)
        return reason is not None

    def _look_back(
        self, port: Port, data: bytes, ident: bytes, digest: int, hops: int, is_full: bool
    ) -> bytes | None:
        """A request that may have come before, or cannot be remembered.

        Args:
            port: it came by.
            data: the whole record.
            ident: its key in the memory.
            digest: of its type and body.
            hops: it has left here.
            is_full: the link has in flight what the memory takes of it.

        Returns:
            None where it is answered; of a retry whose first try never came here, what is sent in its place;
            nothing where it is as every other.
        """
        if ident in self.memory.seen:
            self.duplicate(port, data, ident, digest, hops, int.from_bytes(data[8:16], "big"))
            return None
        memory, source = self.memory, _domains(data)[1]
        if is_full or (memory.is_crowded() and memory.kept_of(source) >= memory.share):
            self.refuse_by(Limit.DUPLICATES, port, data, source, 5)
            return None
        return self._first_of_retry(port, data) if data[FLAGS_OFFSET] & FLAG_RETRY else b""

    def _open_way(
        self, port: Port, data: bytes, way: Port, ways: list[Port]
    ) -> tuple[Port | None, tuple[int, int, int]]:
        """The link that a request leaves by, where another one did for the last, and what room it has.

        Args:
            port: it came by.
            data: the whole record.
            way: whose turn it is.
            ways: all that lead there.

        Returns:
            The link, None where the request is refused; and as `_room`.
        """
        if way.role is Role.PROCESS and port.role is Role.PROCESS:  # its service has just left us too
            self.refuse(port, data, Reason.SERVICE_DOWN, 30)
            return None, _NO_ROOM
        size, room = len(data), self._room(way)
        if room[0] > 0 and room[1] >= size and room[2] >= size:
            return way, room
        rtype = (data[4] << 8) | data[5]
        other = self.way(*_domains(data), size, rtype, self.presence.lane(rtype, data))
        if other is None:
            self.refuse_no_way(port, data, ways, size)
            return None, _NO_ROOM
        return other, self._room(other)

    def _spend(self, out: Port, spent: int, spent_bytes: int) -> None:
        """The loop turns from a link over which it has sent so much."""
        out.sent += spent
        out.sent_bytes += spent_bytes
        self.counters[slots.RECORDS_OUT] += spent

    def _put_aside(
        self, tag: int, out: Port | None, bar: Bar | Literal[False] | None, *, is_retry: bool
    ) -> None:
        """A request that was accepted does not leave with the others of its run.

        Args:
            tag: its own.
            out: where a retry leaves by itself, unless it is barred or waits.
            bar: why it may not pass.
            is_retry: its first try may still come.
        """
        if is_retry:
            self.doubt(tag)
        if bar:
            self.barred.append((tag, bar))
        elif out is None:
            self.held.append(tag)
        else:
            self.entrust(tag, out)


def _domains(data: bytes) -> tuple[bytes, bytes]:
    """The domains of To and From."""
    to_end = ADDRESSES_OFFSET + data[16] + 1 + data[17]
    from_at = to_end + data[18] + 1
    return data[to_end - data[17] : to_end], data[from_at : from_at + data[19]]


def _body_at(data: bytes) -> int:
    """Where the body begins."""
    return ADDRESSES_OFFSET + data[16] + data[17] + data[18] + data[19] + 2 + ((data[20] << 8) | data[21])
