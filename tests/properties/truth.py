"""What was really said on each simulated connection, kept apart from the routers, and what it proves.

The routers' tables are judged against this: it decodes the bytes that left and reached each honest process,
and says which domains that process may hold proved on which connection (specification section 6).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from imxrouter.wire.control import Claim, ClaimResult, Proof, Proved, Verify, VerifyResult, decode_control
from imxrouter.wire.errors import WireError
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.layout import HIGHEST_MAX_RECORD
from imxrouter.wire.record import Record, decode_record
from tests.properties.net import End, Endpoint

Pair = tuple[bytes, bytes]


@dataclass
class Said:
    """Everything of claims that one honest end of a connection said and heard there.

    Attributes:
        opener: whether that end opened the connection.
        dialled: the address it dialled; openers only.
        routed_heard: routed records that reached it.
    """

    opener: bool
    dialled: Endpoint | None
    claims_heard: set[tuple[int, bytes, bytes, bytes]] = field(default_factory=set)
    proofs_heard: set[tuple[int, bytes]] = field(default_factory=set)
    claims_said: dict[int, Pair] = field(default_factory=dict)
    proofs_said: set[int] = field(default_factory=set)
    results_heard: list[tuple[int, tuple[bytes, ...]]] = field(default_factory=list)
    asks_heard: dict[int, Pair] = field(default_factory=dict)
    nonces_said: dict[bytes, Pair] = field(default_factory=dict)
    proved_heard: set[Pair] = field(default_factory=set)
    #: VERIFYs said here: (claiming domain, verifying domain, token, secret)
    asks_said: set[tuple[bytes, bytes, bytes, bytes]] = field(default_factory=set)


class Ear:
    """Cuts one direction into records."""

    def __init__(self) -> None:
        self._splitter = RecordSplitter(HIGHEST_MAX_RECORD)
        self._broken = False

    def feed(self, data: bytes) -> list[Record]:
        """Whole records; none after the first byte that is no record."""
        if self._broken:
            return []
        try:
            return [decode_record(one) for one in self._splitter.feed(data)]
        except WireError:
            self._broken = True
            return []


class Truth:
    """Facts of one honest process life: all its connections.

    Args:
        addresses: where each domain really is, by the simulated DNS.
    """

    def __init__(self, addresses: dict[bytes, list[Endpoint]]) -> None:
        self._addresses = addresses
        self.said: dict[End, Said] = {}

    def watch(self, end: End, *, opener: bool) -> None:
        """Listen at an honest end from its first byte."""
        said = self.said[end] = Said(opener, end.remote if opener else None)
        out, into = Ear(), Ear()

        def on_said(data: bytes) -> None:
            for record in out.feed(data):
                self._said(said, record)

        def on_heard(data: bytes) -> None:
            for record in into.feed(data):
                self._heard(said, record)

        end.said, end.heard = on_said, on_heard

    @staticmethod
    def _said(said: Said, record: Record) -> None:
        control = None if record.is_routed else decode_control(record)
        if isinstance(control, Claim):
            said.claims_said[control.number] = (control.from_domain, control.to_domain)
        elif isinstance(control, Proof):
            said.proofs_said.add(control.number)
        elif isinstance(control, Verify):
            said.asks_said.add((control.from_domain, control.to_domain, control.token, control.secret))
        elif isinstance(control, VerifyResult) and control.nonce is not None and not control.reason:
            said.nonces_said[control.nonce] = said.asks_heard[control.number]

    @staticmethod
    def _heard(said: Said, record: Record) -> None:
        if record.is_routed:
            return
        try:
            control = decode_control(record)
        except WireError:
            return
        if isinstance(control, Claim):
            said.claims_heard.add((control.number, control.from_domain, control.to_domain, control.token))
        elif isinstance(control, Proof):
            said.proofs_heard.add((control.number, control.answer))
        elif isinstance(control, ClaimResult) and not control.reason:
            said.results_heard.append((control.number, control.nonces))
        elif isinstance(control, Verify):
            said.asks_heard[control.number] = (control.from_domain, control.to_domain)
        elif isinstance(control, Proved):
            said.proved_heard.add((control.from_domain, control.to_domain))

    # -- what it proves ----------------------------------------------------------------------------------

    def is_at(self, domain: bytes, said: Said) -> bool:
        """Whether that process itself dialled an address of the domain."""
        return said.dialled is not None and said.dialled in self._addresses.get(domain, ())

    def may_hold(self, end: End, domain: bytes) -> bool:
        """Whether a remote domain may be held proved at that end of a connection."""
        here = self.said[end]
        if not here.opener:
            return self._answered_here(here, domain) or self._nonce_returned(here, domain)
        if not self.is_at(domain, here):
            return False
        result = any(
            number in here.proofs_said and here.claims_said.get(number, (b"", b""))[1] == domain
            for number, _ in here.results_heard
        )
        return result or any(pair[1] == domain for pair in here.proved_heard)

    def _answered_here(self, here: Said, domain: bytes) -> bool:
        """A right answer came on that very connection: the secret we told the domain's own address."""
        for number, claiming, verifying, token in here.claims_heard:
            if claiming != domain:
                continue
            for other in self.said.values():
                if not self.is_at(domain, other):
                    continue
                for ask in other.asks_said:
                    if ask[:3] == (claiming, verifying, token) and (number, ask[3]) in here.proofs_heard:
                        return True
        return False

    def _nonce_returned(self, here: Said, domain: bytes) -> bool:
        """Our nonce, said here, came back on a connection that we opened to the domain's own address."""
        for other in self.said.values():
            if not self.is_at(domain, other):
                continue
            for number, nonces in other.results_heard:
                pair = other.claims_said.get(number)
                if pair is None or pair[1] != domain:
                    continue
                if any(here.nonces_said.get(nonce) == pair for nonce in nonces):
                    return True
        return False
