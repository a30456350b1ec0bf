"""What a domain elsewhere takes of XMPP: foreign forms, formatted text, messages of which size (pure).

Its router tells that as attributes (imx-protocol section 7.8). They are asked for when something is to be
sent there for the first time; until the answer is there, foreign forms are tried, for what goes as one has no
other way, and formatted text is not (row for-takes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Attribute, AttributeQuery
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.attribute_asking import Asked

#: What is asked for.
NAMES: Final = ("foreign-forms", "content-types", "max-message-size")
#: Kept at least and at most, whatever the answer says, and where it says nothing.
LEAST_S: Final = 60.0
MOST_S: Final = 86_400.0
USUAL_S: Final = 3_600.0
#: A domain that gives no answer is asked again after this.
AGAIN_S: Final = 60.0
#: Domains that are known; some 300 bytes each. What finds no room is not asked, and treated as not known.
MAX_DOMAINS: Final = 10_000
_HTML: Final = frozenset({"text/html-lite", "text/*", "*/*"})


@dataclass(frozen=True, slots=True)
class Taken:
    """What a domain takes.

    Attributes:
        foreign: FOREIGN of XMPP.
        html: `text/html-lite`.
        max_bytes: of a content; 0 where that is not known.
    """

    foreign: bool
    html: bool
    max_bytes: int = 0


UNKNOWN: Final = Taken(foreign=True, html=False)
NOTHING: Final = Taken(foreign=False, html=False)

#: Asks a domain; the answer comes exactly once, maybe before it returns.
Ask = Callable[[AttributeQuery, Callable[[Asked], None]], None]


class Takers:
    """Knows what domains take, and asks those it does not know.

    Args:
        ask: sends a query of a domain served here.
        new_id: 16 random bytes.
        clock: monotonic seconds.
        limit: domains that are known at one time.
    """

    def __init__(
        self, ask: Ask, new_id: Callable[[], bytes], clock: Callable[[], float], limit: int = MAX_DOMAINS
    ) -> None:
        self._ask = ask
        self._new_id = new_id
        self._clock = clock
        self._limit = limit
        #: what is known and until when; while it is asked for the first time it is not known
        self._known: dict[str, tuple[float, Taken]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, own: Domain, domain: Domain) -> Taken:
        """What a domain takes, as far as that is known.

        Args:
            own: served here; in its name it is asked.
            domain: elsewhere.
        """
        now = self._clock()
        until, taken = self._known.get(domain.name, (float("-inf"), UNKNOWN))
        if now < until:
            return taken
        if domain.name not in self._known and len(self._known) >= self._limit:
            self._sweep(now)
            if len(self._known) >= self._limit:
                return UNKNOWN
        # What was known stays until there is another answer; nobody asks twice meanwhile.
        self._known[domain.name] = now + AGAIN_S, taken
        query = AttributeQuery(Address("", own), Address("", domain), self._new_id(), NAMES)
        self._ask(query, lambda asked: self._answered(domain.name, asked))
        return self._known[domain.name][1]

    def refused(self, domain: Domain) -> None:
        """A foreign form was answered: its type is not enabled."""
        until, taken = self._known.get(domain.name, (0.0, UNKNOWN))
        if domain.name in self._known:
            kept = max(until, self._clock() + USUAL_S)
            self._known[domain.name] = kept, Taken(False, taken.html, taken.max_bytes)

    def _answered(self, domain: str, asked: Asked) -> None:
        now, outcome = self._clock(), asked.outcome
        if outcome.ok:
            ages = [float(one.max_age_s) for one in asked.attributes]
            kept = min(max(min(ages, default=USUAL_S), LEAST_S), MOST_S)
            self._known[domain] = now + kept, _taken(asked.attributes)
        elif outcome.reason is Reason.TYPE_NOT_ENABLED:
            self._known[domain] = now + USUAL_S, NOTHING

    def _sweep(self, now: float) -> None:
        for domain in [domain for domain, (until, _) in self._known.items() if until <= now]:
            del self._known[domain]


def _taken(attributes: tuple[Attribute, ...]) -> Taken:
    told = {one.name: one.value.decode("utf-8", "replace") for one in attributes}
    forms, types = (
        {one.strip().lower() for one in told.get(name, "").split(",")}
        for name in ("foreign-forms", "content-types")
    )
    size = told.get("max-message-size", "")
    number = int(size) if size.isdecimal() and len(size) <= 20 else 0
    return Taken("xmpp" in forms, not _HTML.isdisjoint(types), number)
