"""Which questions show whether a target's TLSA records can be believed, and what the answers mean.

RFC 7671 section 7 and RFC 7673 sections 3.1 to 3.3: TLSA records count only behind answers that DNSSEC
validated; where the target's name is an alias (CNAME), they are looked for at its end first, then at the name
itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from imxrouter.discovery.answers import TYPE_CNAME, TYPE_TLSA, Answer, Status
from imxrouter.model.dane import BadTlsaRecord, Delegation, TlsaRecord, tlsa_name
from imxrouter.model.vocabulary import Reason

#: Records of one answer that are read; `tls.dane` compares fewer.
MAX_TLSA_RECORDS: Final = 32

_FAILURES: Final = {
    Status.FAILURE: Reason.DNS_FAILURE,
    Status.TIMEOUT: Reason.DNS_TIMEOUT,
    Status.MALFORMED: Reason.BAD_DNS_RECORD,
}


class SecureWay:
    """One search: first the addresses' answers, then TLSA answers while there is a `question`.

    Args:
        host: the target's name.
        port: the target's port.
        insecure_at: the first question on the way to the target whose answer was not validated.
        secure: all of them were.

    Attributes:
        host: the target's name.
        result: what is known so far.
    """

    def __init__(self, host: str, port: int, insecure_at: str, *, secure: bool) -> None:
        self.host = host.rstrip(".").lower()
        self.result = Delegation(self.host, secure, "" if secure else insecure_at)
        self._port = port
        self._waiting: list[str] = []
        self._asks_alias = False

    @property
    def needs_addresses(self) -> bool:
        """Whether the addresses' answers decide anything."""
        return self.result.secure

    @property
    def question(self) -> str | None:
        """The name at which to ask for TLSA records next; None where nothing is left to ask."""
        return self._waiting[0] if self._waiting else None

    @property
    def rdtype(self) -> int:
        """The type of record to ask for there."""
        return TYPE_CNAME if self._asks_alias else TYPE_TLSA

    def feed_addresses(self, answers: Sequence[Answer]) -> None:
        """Take the answers for A and AAAA: behind unvalidated ones nothing is asked.

        A zone without DNSSEC has no TLSA records that could be believed, and some of its name servers fail
        when asked for them. An alias may be validated although what it leads to is not; then there may be
        records at the alias (RFC 7672 section 2.2.2).
        """
        found = [answer for answer in answers if answer.status is Status.RECORDS]
        ends = [answer.owner.rstrip(".").lower() or self.host for answer in found]
        if not all(answer.secure for answer in found) and any(end != self.host for end in ends):
            self._waiting, self._asks_alias = [self.host], True
            return
        if not found or not all(answer.secure for answer in found):
            why = "its addresses were not validated with DNSSEC" if found else "it has no address"
            self._end(note=f"not asked for: {why}")
            return
        names = [tlsa_name(name, self._port) for name in dict.fromkeys([*ends, self.host])]
        self._waiting = [name for name in names if len(name) <= 253]

    def feed(self, answer: Answer) -> None:
        """Take the answer to `question`. What fails ends the search: somebody may be hiding records."""
        name = self._waiting.pop(0)
        if self._asks_alias:
            self._asks_alias, name = False, tlsa_name(self.host, self._port)
            if answer.status is Status.RECORDS and answer.secure:
                self._waiting = [name]
                return
            if not answer.is_failure:
                self._end(note="not asked for: its addresses were not validated with DNSSEC")
                return
        if answer.is_failure:
            self._waiting.clear()
            self._end(name, failure=_FAILURES[answer.status], note=answer.note)
        elif answer.status is not Status.RECORDS:
            self._end(name)
        elif not answer.secure:
            self._end(name, note="not validated with DNSSEC")
        else:
            self._waiting.clear()
            try:
                records = [TlsaRecord.parse(rdata) for rdata in answer.rdatas[:MAX_TLSA_RECORDS]]
            except BadTlsaRecord as error:
                self._end(name, failure=Reason.BAD_DNS_RECORD, note=str(error))
                return
            self._end(name, tuple(records))

    def failed(self, reason: Reason, note: str) -> Delegation:
        """What is known where the search could not end: behind a secure way there may be records."""
        if self.result.secure:
            asked = None if self._asks_alias else self.question
            name = asked or tlsa_name(self.host, self._port)
            self._end(name, failure=reason, note=note)
        return self.result

    def _end(
        self,
        name: str = "",
        tlsa: tuple[TlsaRecord, ...] = (),
        failure: Reason = Reason.NONE,
        note: str = "",
    ) -> None:
        self.result = Delegation(self.host, True, "", tlsa, name, failure, note)
