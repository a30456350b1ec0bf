"""A user whose service has no rules is told that somebody knocks (SEC-1, FCC-4).

The notice is a message of his own domain. It holds who, and what he wants, and nothing of what was sent.
There is one for each person as long as he waits, and few an hour for one user, so that nobody is flooded by
people who invent addresses; `imxctl watchers` has all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from imxrouter.model.address import Address
from imxrouter.model.operations import Message
from imxrouter.model.outcome import Outcome
from imxrouter.routing.limits import Rate, SenderRates
from imxrouter.routing.rules import Right

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts

#: Notices for one user: so many at once, and an hour.
NOTICES_AT_ONCE: Final = 5
NOTICES_AN_HOUR: Final = 5
#: Notices of one process, a second.
NOTICES_A_SECOND: Final = 10
_USER: Final = Rate.of(NOTICES_AN_HOUR / 3600, NOTICES_AT_ONCE)
_ALL: Final = Rate.of(NOTICES_A_SECOND, NOTICES_A_SECOND)
_WANTS: Final = {
    Right.MESSAGE: "wrote to you. It was not delivered: you do not know each other yet.",
    Right.SUBSCRIBE: "wants to see when you are there, and was not told.",
    Right.FETCH: "asked whether you are there, and was not told.",
}
_WRITE_BACK: Final = "Write to that address to let messages from there through for a month. "


class KnockNotices:
    """Tells users who knocked.

    Args:
        router: whose.
    """

    def __init__(self, router: Parts) -> None:
        self._router = router
        self._users = SenderRates(_USER.interval_s, _USER.burst_s, limit=100_000)
        self._all = SenderRates(_ALL.interval_s, _ALL.burst_s)

    def tell(self, user: Address, person: Address, right: Right) -> None:
        """Tell a user, if he was not told of too many lately."""
        record = self._router.domains.get(user.domain)
        now = self._router.hub.now()
        if record is None or self._all.look(b"", b"", now, _ALL.interval_s, _ALL.burst_s)[0]:
            return
        name = record.name.wire
        if self._users.admit(user.key, name, now) > 0:
            return
        self._all.admit(b"", b"", now)
        do = _WRITE_BACK if right is Right.MESSAGE else ""
        text = f"{person} {_WANTS[right]}\n{do}Who runs {record.name} can allow or block it for good."
        ident = self._router.new_id()
        message = Message(Address("", record.name), user, ident, "text/plain", text.encode("utf-8"))
        self._router.reactor.callLater(0, self._router.submit, message, _forget)


def _forget(_outcome: Outcome) -> None:
    """Its traces say what became of it; `imxctl watchers` has the knock in any case."""
