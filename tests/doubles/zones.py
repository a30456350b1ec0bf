"""DNS in memory: answers `ask` like `NameServerAsker`, and records what was asked."""

from __future__ import annotations

from dataclasses import replace

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
from twisted.internet.defer import Deferred, succeed

from imxrouter.discovery.answers import Answer, Status, type_name
from imxrouter.lab.zones import ZoneBook


class FakeZones:
    """Zones that answer at once, unless told otherwise.

    Names in no zone do not exist (NXDOMAIN).

    Attributes:
        asked: `NAME TYPE` of each question, in order.
        secure: whether answers count as validated.
        insecure: `NAME TYPE` of questions whose answers do not, whatever `secure` says.
        waiting: Deferreds of questions that hang, in order.
        cancelled: `NAME TYPE` of hanging questions that were cancelled.
    """

    def __init__(self, *zones: str) -> None:
        self.asked: list[str] = []
        self.secure = False
        self.insecure: set[str] = set()
        self.waiting: list[Deferred[Answer]] = []
        self.cancelled: list[str] = []
        self._book = ZoneBook()
        self._fixed: dict[str, Answer] = {}
        self._hanging: set[str] = set()
        for text in zones:
            self.load(text)

    def load(self, text: str, origin: str | None = None) -> None:
        """Add or replace a zone, given as zone text with `$ORIGIN`; `IMX` is understood as a type."""
        self._book.load(text, origin)

    def set(self, name: str, rdtype: int, answer: Answer) -> None:
        """Answer one question with just this, such as malformed RDATA."""
        self._fixed[f"{name} {type_name(rdtype)}"] = answer

    def fail(self, name: str, rdtype: int, status: Status = Status.FAILURE) -> None:
        """Answer one question with a server failure, or another status."""
        self.set(name, rdtype, Answer(status, note="SERVFAIL" if status is Status.FAILURE else ""))

    def hang(self, name: str, rdtype: int) -> None:
        """Leave one question without an answer."""
        self._hanging.add(f"{name} {type_name(rdtype)}")

    def heal(self) -> None:
        """Undo `set`, `fail` and `hang`."""
        self._fixed.clear()
        self._hanging.clear()

    def ask(self, name: str, rdtype: int) -> Deferred[Answer]:
        """Answer one question."""
        question = f"{name} {type_name(rdtype)}"
        self.asked.append(question)
        if question in self._hanging:
            waiting: Deferred[Answer] = Deferred(lambda _: self.cancelled.append(question))
            self.waiting.append(waiting)
            return waiting
        answer = self._fixed.get(question) or self._look_up(name, rdtype)
        return succeed(replace(answer, secure=False) if question in self.insecure else answer)

    def _look_up(self, name: str, rdtype: int) -> Answer:
        query = dns.message.make_query(name, dns.rdatatype.RdataType.make(rdtype))
        response = self._book.answer(query)
        if response is None:
            return Answer(Status.TIMEOUT)
        if response.rcode() == dns.rcode.REFUSED:
            return Answer(Status.NXDOMAIN, ttl_s=60, secure=self.secure)
        if response.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
            return Answer(Status.FAILURE, note=dns.rcode.to_text(response.rcode()))
        response.flags |= dns.flags.QR
        chain = dns.message.from_wire(response.to_wire()).resolve_chaining()  # type: ignore[attr-defined]
        ttl_s = float(chain.minimum_ttl)
        if chain.answer is None:
            missing = response.rcode() == dns.rcode.NXDOMAIN
            return Answer(Status.NXDOMAIN if missing else Status.NODATA, ttl_s=ttl_s, secure=self.secure)
        rdatas = tuple(rdata.to_wire() or b"" for rdata in chain.answer)
        owner = chain.canonical_name.to_text(omit_final_dot=True)
        return Answer(Status.RECORDS, rdatas, owner, ttl_s, self.secure)
