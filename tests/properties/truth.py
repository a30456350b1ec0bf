"""What was really said on each simulated connection, kept apart from the routers, and what it proves.

The routers' tables are judged against this: it decodes the bytes that left and reached each honest process,
and says which domains that process may hold proved on which connection (specification section 6).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from imxrouter.model.vocabulary import Reason
from imxrouter.wire.control import (
    Claim,
    ClaimResult,
    Control,
    Proof,
    Proved,
    Verify,
    VerifyResult,
    Withdraw,
    decode_control,
)
from imxrouter.wire.errors import WireError
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.layout import HIGHEST_MAX_RECORD
from imxrouter.wire.record import Record, decode_record
from tests.properties.net import End, Endpoint

Pair = tuple[bytes, bytes]

#: Refusals that only the claimed domain's own routers can cause.
_BY_THE_CLAIMER = frozenset({Reason.DIALBACK_REFUSED.code, Reason.NOT_MINE.code})


@dataclass
class Said:
    """Everything of claims that one honest end of a connection said and heard there.

    Attributes:
        opener: whether that end opened the connection.
        dialled: the address it dialled; openers only.
        asked: requests heard and not answered there, by route tag and message id.
        is_broken: what came last is no record; all requests of that chunk stand before it.
        is_mixed: the chunk heard last has requests behind records of the link's own, which may end it.
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
    #: VERIFYs said here by number: (claiming domain, verifying domain, token, secret)
    asks_said: dict[int, tuple[bytes, bytes, bytes, bytes]] = field(default_factory=dict)
    verdicts_heard: list[VerifyResult] = field(default_factory=list)
    asked: Counter[tuple[int, bytes]] = field(default_factory=Counter)
    is_broken: bool = False
    is_mixed: bool = False


@lru_cache(maxsize=4096)
def _read(raw: bytes) -> tuple[Record, Control | None]:
    """A record as it is and, one of the link's own that can be read, decoded; each is met twice."""
    record = decode_record(raw)
    try:
        return record, None if record.is_routed else decode_control(record)
    except WireError:
        return record, None


class Ear:
    """Cuts one direction into records.

    Attributes:
        is_broken: something came that is no record; nothing after it is heard.
    """

    def __init__(self) -> None:
        self._splitter = RecordSplitter(HIGHEST_MAX_RECORD)
        self.is_broken = False

    def feed(self, data: bytes) -> list[tuple[Record, Control | None]]:
        """Whole records up to the first byte that is no record."""
        records: list[tuple[Record, Control | None]] = []
        while not self.is_broken:
            try:
                raw = self._splitter.feed(data)
                for one in raw:
                    records.append(_read(one))  # noqa: PERF401 - those before a bad one count
            except WireError:
                self.is_broken = True
                break
            if not raw:
                break
            data = b""  # what is left is no whole record, or the splitter raises now
        return records


class Truth:
    """Facts of one honest process life: all its connections.

    Args:
        addresses: where each domain really is, by the simulated DNS.
        told: called with each record that the process says, as it is and decoded.
        answered: called with each response that reaches it, before it is read.
    """

    def __init__(
        self,
        addresses: dict[bytes, list[Endpoint]],
        told: Callable[[Record, Control | None], None],
        answered: Callable[[End, Record], None],
    ) -> None:
        self._addresses = addresses
        self._told = told
        self._answered = answered
        self.said: dict[End, Said] = {}
        #: what the process should not have said
        self.faults: list[str] = []

    def watch(self, end: End, *, opener: bool) -> None:
        """Listen at an honest end from its first byte."""
        said = self.said[end] = Said(opener, end.remote if opener else None)
        out, into = Ear(), Ear()

        def on_said(data: bytes) -> None:
            for record, control in out.feed(data):
                if control is not None:
                    self._said(said, control)
                elif record.is_response:
                    self._response_said(said, record)
                self._told(record, control)

        def on_heard(data: bytes) -> None:
            controls = withdrawn = 0
            said.is_mixed = False
            for record, control in into.feed(data):
                if not record.is_routed:
                    controls += 1
                    self._heard(said, control)
                    withdrawn += isinstance(control, Withdraw)
                elif record.is_response:
                    if not withdrawn:  # whether an answer may come here is asked before the chunk is read
                        self._answered(end, record)
                else:
                    said.is_mixed = said.is_mixed or controls > 0
                    said.asked[record.route_tag, record.message_id] += 1
            said.is_broken = into.is_broken

        end.said, end.heard = on_said, on_heard

    @staticmethod
    def _response_said(said: Said, record: Record) -> None:
        key = record.route_tag, record.message_id
        said.asked[key] -= 1
        if said.asked[key] <= 0:  # below: the answer to a request whose own link is gone
            del said.asked[key]

    def _said(self, said: Said, control: Control) -> None:
        if isinstance(control, Claim):
            said.claims_said[control.number] = (control.from_domain, control.to_domain)
        elif isinstance(control, Proof):
            if control.number in said.proofs_said:
                self.faults.append(f"the answer of claim {control.number} was released twice")
            said.proofs_said.add(control.number)
        elif isinstance(control, Verify):
            ask = (control.from_domain, control.to_domain, control.token, control.secret)
            if self._is_asked(ask):
                self.faults.append(f"a claim of {control.from_domain!r} is asked of two hosts at once")
            said.asks_said[control.number] = ask
            if not self.is_at(control.from_domain, said):
                self.faults.append(f"{control.from_domain!r} was verified elsewhere, at {said.dialled}")
        elif isinstance(control, VerifyResult) and control.nonce is not None and not control.reason:
            said.nonces_said[control.nonce] = said.asks_heard[control.number]
        elif isinstance(control, ClaimResult):
            self._result_said(said, control)

    def _is_asked(self, ask: tuple[bytes, bytes, bytes, bytes]) -> bool:
        """Whether a host was asked that and may still answer: its link is up, and it has not."""
        for end, said in self.said.items():
            if end.closed or end.protocol.port.closed:
                continue
            numbers = {number for number, one in said.asks_said.items() if one == ask}
            if numbers - {verdict.number for verdict in said.verdicts_heard}:
                return True
        return False

    def _result_said(self, said: Said, result: ClaimResult) -> None:
        """What we say of a claim is what its own domain's router said, where it was asked."""
        verdicts = list(self._verdicts(said, result.number))
        if not result.reason:
            true = {one.nonce for one in verdicts if not one.reason}
            if not true.issuperset(result.nonces):
                self.faults.append(f"a nonce was returned that no router asked gave: claim {result.number}")
        elif result.reason in _BY_THE_CLAIMER and not any(one.reason for one in verdicts):
            self.faults.append(f"claim {result.number} was refused, and no router asked refused it")

    def _verdicts(self, said: Said, number: int) -> Iterator[VerifyResult]:
        """What was heard of a claim on the very links that were asked about it."""
        claims = {claim[1:] for claim in said.claims_heard if claim[0] == number}
        for other in self.said.values():
            for verdict in other.verdicts_heard:
                ask = other.asks_said.get(verdict.number)
                if ask is not None and ask[:3] in claims:
                    yield verdict

    @staticmethod
    def _heard(said: Said, control: Control | None) -> None:
        if isinstance(control, Claim):
            said.claims_heard.add((control.number, control.from_domain, control.to_domain, control.token))
        elif isinstance(control, Proof):
            said.proofs_heard.add((control.number, control.answer))
        elif isinstance(control, ClaimResult) and not control.reason:
            said.results_heard.append((control.number, control.nonces))
        elif isinstance(control, Verify):
            said.asks_heard[control.number] = (control.from_domain, control.to_domain)
        elif isinstance(control, VerifyResult):
            said.verdicts_heard.append(control)
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
                for ask in other.asks_said.values():
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
