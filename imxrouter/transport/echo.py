"""The echo of a domain: shows that it is reached and that the asker is proved (specification section 7.9)."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Final

from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.limits import Rate, SenderRates
from imxrouter.wire.record import Record, response_to

#: Bytes that are sent back at most.
MAX_ECHO_BYTES: Final = 1024
#: Of each From domain, lasting and at once (specification section 7.9).
RATE: Final = Rate.of(1.0, 10)
#: From domains remembered; each is forgotten once its allowance is full again, which takes ten seconds.
MAX_DOMAINS: Final = 16_384
#: Looked at with each echo, so that forgetting keeps up with what comes.
_SWEPT: Final = 4


class Echo:
    """Answers ECHO records, one a second on average for each From domain.

    Args:
        clock: monotonic seconds.
        limit: From domains that are remembered; one zone gets an eighth of it.

    Attributes:
        on_result: told `answered`, or the word of the reason why not.
    """

    def __init__(self, clock: Callable[[], float], limit: int = MAX_DOMAINS) -> None:
        self._clock = clock
        self._rates = SenderRates(RATE.interval_s, RATE.burst_s, per_domain=1, limit=limit)
        self.on_result: Callable[[str], None] = lambda _word: None

    def __len__(self) -> int:
        return len(self._rates.arrivals)

    def respond(self, request: Record) -> Record:
        """The response to a request whose To domain is served here."""
        outcome = self._judge(request)
        self.on_result("answered" if outcome.ok else outcome.reason.word)
        return response_to(request, outcome, request.body if outcome.ok else b"")

    def _judge(self, request: Record) -> Outcome:
        envelope = request.envelope
        here = envelope.to_domain.decode("ascii")
        if envelope.to_local:
            return failure(Reason.BAD_ADDRESS, by=here, note="an echo is of a domain, not of a user")
        if len(request.body) > MAX_ECHO_BYTES:
            note = f"{len(request.body)} bytes; at most {MAX_ECHO_BYTES}"
            return failure(Reason.TOO_LARGE, by=here, note=note)
        now = self._clock()
        self._rates.sweep(now, _SWEPT)
        wait = self._rates.admit(b"@" + envelope.from_domain, envelope.from_domain, now)
        if wait > 0:
            return failure(Reason.RATE_LIMITED, by=here, retry_after_s=ceil(wait))
        return SUCCESS
