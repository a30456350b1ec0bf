"""Reports of abuse: sent to the domains of those who abuse, received for our own users, kept and shown."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from imxrouter.app.storing import ABUSE
from imxrouter.model.abuse import Report
from imxrouter.model.address import Address, BadAddress
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.operations import MAX_HOPS, AttributeQuery, Message
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.attribute_asking import Asked
from imxrouter.routing.buckets import Buckets
from imxrouter.routing.interfaces import Store
from imxrouter.routing.limits import Rate
from imxrouter.routing.zones import zone_of
from imxrouter.transport.reports import Reports
from imxrouter.wire.record import Envelope, Record, decode_outcome
from imxrouter.wire.registry import RecordType

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts

#: Messages to one domain's abuse contact about what was received, lasting and at once; the rest is listed.
NOTICES: Final = Rate.of(0.5, 30)
_URI_SCHEMES: Final = ("im:", "imx:", "pres:")


class KeptReport(msgspec.Struct, frozen=True):
    """A report as it is kept, as JSON; times in seconds since 1970.

    Attributes:
        direction: `received` or `sent`.
        at: when.
        by: who reported.
        kind: what is wrong, of `AbuseType`.
        source: who is reported.
        destination: to whom that was.
        message_at: when.
        message_id: hexadecimal; empty where it is not known.
        text: words for people.
        status: of what was sent: `success`, `failure`, `indeterminant`; of what was received: `success`.
        reason: of a failure.
        contact: the domain's `abuse-contact`, where it was asked for.
    """

    direction: str
    at: float
    by: str
    kind: str
    source: str
    destination: str
    message_at: int
    message_id: str = ""
    text: str = ""
    status: str = "success"
    reason: str = ""
    contact: str = ""


class AbuseDesk:
    """Sends, takes and keeps reports.

    Args:
        router: whose.
    """

    log = Logger()

    def __init__(self, router: Parts) -> None:
        self._router = router
        self._store: Store | None = None
        self._kept: dict[bytes, KeptReport] = {}
        #: keys of those kept, by who takes their places: our own, or the zone that reports
        self._places: dict[str, set[bytes]] = {}
        self._notices = Buckets(NOTICES)
        self._count = 0
        reports = Reports(router.hub.now, self._same_domain, self._received)
        reports.on_result = lambda word: router.metrics.abuse.inc("received", word)
        router.inside.handlers[RecordType.REPORT] = lambda request, answer: answer(reports.respond(request))

    def begin(self, store: Store) -> None:
        """Take what the store has, and follow the other processes."""
        self._store = store
        for key, value, _ in store.items(ABUSE):
            self._restore(key, value, None)
        store.watch(ABUSE, self._restore)

    def reports(self) -> list[KeptReport]:
        """All that are kept, the newest first."""
        return [self._kept[key] for key in sorted(self._kept, reverse=True)]

    # -- taking ------------------------------------------------------------------------------------------

    def _same_domain(self, one: bytes, other: bytes) -> bool:
        found = self._router.domains.get(Domain(one.decode("ascii")))
        return found is not None and any(name.wire == other for name in found.names)

    def _received(self, report: Report, by: bytes) -> None:
        who = by.decode("utf-8", "replace").removeprefix("@")
        self._keep(_kept(report, "received", who))
        self.log.warn(
            "abuse: {by} reports {kind} of a user of {domain}", by=who.rpartition("@")[2],
            kind=report.kind.value, domain=report.source.domain.name,
        )  # fmt: skip
        record = self._router.domains.get(report.source.domain)
        contact = _user_of(record.abuse_contact) if record is not None else None
        now = self._router.hub.now()
        if record is None or contact is None or contact.domain not in self._router.domains:
            return
        if not self._notices.wait(record.name.wire, now):
            self._notices.take(record.name.wire, now)
            self._write(record.name, contact, f"{who} reports abuse.", report, lambda _outcome: None)

    # -- sending -----------------------------------------------------------------------------------------

    def report(self, report: Report) -> Deferred[KeptReport]:
        """Send a report to the domain of who is reported, in the name of the recipient's domain.

        Where that router knows no reports, it goes as a message to the domain's abuse contact, if that is an
        address of it; else the contact is told, for a person to write to.
        """
        record = self._router.domains.get(report.destination.domain)
        ours = record.name if record is not None else report.destination.domain
        done: Deferred[KeptReport] = Deferred()

        def end(outcome: Outcome, contact: str = "") -> None:
            status = outcome.status.name.lower()
            word = "" if outcome.ok else outcome.reason.word
            self._router.metrics.abuse.inc("sent", "taken" if outcome.ok else "refused")
            kept = msgspec.structs.replace(
                _kept(report, "sent", ours.name), status=status, reason=word, contact=contact
            )
            self._keep(kept)
            done.callback(kept)

        def answered(response: Record) -> None:
            outcome = decode_outcome(response)
            if outcome.ok:
                end(outcome)
            else:
                self._ask_contact(ours, report, outcome, end)

        envelope = Envelope(b"", report.source.domain.wire, b"", ours.wire)
        request = Record(
            RecordType.REPORT, 0, MAX_HOPS, 0, self._router.new_id(), envelope, (), report.encode()
        )
        self._router.inside.submit(request, answered)
        return done

    def _ask_contact(
        self, ours: Domain, report: Report, outcome: Outcome, end: Callable[[Outcome, str], None]
    ) -> None:
        if outcome.reason is not Reason.TYPE_NOT_ENABLED:
            end(outcome, "")
            return
        query = AttributeQuery(
            Address("", ours), Address("", report.source.domain), self._router.new_id(), ("abuse-contact",)
        )

        def told(asked: Asked) -> None:
            values = [one.value for one in asked.attributes if one.name == "abuse-contact"]
            contact = values[0].decode("utf-8", "replace") if values else ""
            user = _user_of(contact)
            if user is not None and user.domain == report.source.domain:
                self._write(ours, user, "We report abuse.", report, lambda sent: end(sent, contact))
            else:
                end(outcome, contact)

        self._router.attributes.ask(query, told, fresh=True)

    def _write(
        self, ours: Domain, to: Address, first: str, report: Report, answer: Callable[[Outcome], None]
    ) -> None:
        """Write to an abuse contact, as a domain of ours."""
        ident = report.message_id.hex() or "not known"
        text = (
            f"{first}\nType: {report.kind.value}\nFrom: {report.source}\nTo: {report.destination}\n"
            f"Time: {report.at}\nMessage id: {ident}\n\n{report.text}"
        )
        message = Message(Address("", ours), to, self._router.new_id(), "text/plain", text.encode("utf-8"))
        self._router.submit(message, answer)

    # -- keeping -----------------------------------------------------------------------------------------

    def _keep(self, report: KeptReport) -> None:
        self._count = (self._count + 1) % 10**6
        key = f"{int(report.at * 1000):014d}{self._count:06d}".encode() + os.urandom(4)
        self._restore(key, msgspec.json.encode(report), None)
        if self._store is not None:
            self._store.put(ABUSE, key, msgspec.json.encode(report))

    def _restore(self, key: bytes, value: bytes | None, _expires_at: float | None) -> None:
        self._drop(key)
        if value is None:
            return
        try:
            report = msgspec.json.decode(value, type=KeptReport)
        except msgspec.MsgspecError:
            self.log.warn("abuse: a report of the store cannot be read")
            return
        self._kept[key] = report
        self._places.setdefault(_place(report), set()).add(key)
        while len(self._kept) > self._router.config.access.abuse_reports:
            gone = self._oldest_of_most()
            self._drop(gone)
            if self._store is not None:
                self._store.remove(ABUSE, gone)

    def _oldest_of_most(self) -> bytes:
        """The oldest report of who has most: nobody makes others' go."""
        most = max(map(len, self._places.values()))
        return min(min(keys) for keys in self._places.values() if len(keys) == most)

    def _drop(self, key: bytes) -> None:
        report = self._kept.pop(key, None)
        if report is not None:
            keys = self._places[_place(report)]
            keys.discard(key)
            if not keys:
                del self._places[_place(report)]


def _place(report: KeptReport) -> str:
    """Whose place a report takes: ours, or that of the zone that sent it."""
    return "" if report.direction == "sent" else zone_of(report.by.rpartition("@")[2])


def _kept(report: Report, direction: str, by: str) -> KeptReport:
    return KeptReport(
        direction, time.time(), by, report.kind.value, str(report.source), str(report.destination),
        report.at, report.message_id.hex(), report.text,
    )  # fmt: skip


def _user_of(uri: str) -> Address | None:
    """The user that a URI names, where it is one of instant messages."""
    scheme = next((one for one in _URI_SCHEMES if uri.lower().startswith(one)), "")
    try:
        address = Address.parse(uri[len(scheme) :].partition("?")[0]) if scheme else None
    except (BadAddress, BadDomain):
        return None
    return address if address is not None and address.local else None
