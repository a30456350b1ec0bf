"""What the presentity's side holds of a watcher elsewhere and a user of XMPP."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.subscriptions.effects import Effects
from imxrouter.gateways.xmpp.subscriptions.held import HeldPair
from imxrouter.gateways.xmpp.subscriptions.pairs import Resources
from imxrouter.gateways.xmpp.subscriptions.presentity_table import State
from imxrouter.gateways.xmpp.subscriptions.probes import ALL_S, FIRST_S, OUTCOME_S, SILENT_S, Gathering
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import DEFAULT_SUBSCRIPTION_S, Subscribe
from imxrouter.model.outcome import Outcome
from imxrouter.routing.destinations import BackOff
from imxrouter.routing.owed import Owed

#: A user who cannot be asked now is asked again after a minute, and at last once a day.
_ASK_AGAIN = BackOff(first_s=60.0, cap_s=86_400.0)


@dataclass(frozen=True, slots=True)
class PresentitySettings:
    """Bounds and pauses.

    Attributes:
        most: pairs in all.
        per_presentity: of one user.
        early: of one user, approved by him before somebody watched.
        per_zone: of one zone of watchers, not approved: a quarter of the room.
        coalesce_s: a login with five stanzas is one notification.
        silent_s: after an approval presence is waited for so long, then asked for.
        repeat_s: the user is asked again.
        refresh_s: a pair without any presence is asked for it, lest ghosts stay.
        denied_s: a refusal holds so long.
        failed_s: an error of the user's service counts as one so long.
        late_s: an approval is waited for so long after the watcher left.
        dormant_days: an approval that nobody uses is given back.
        spread_s: probes are spread over so long at most when a service is back, and after a restart.
        spread_per_s: so many in a second, where that is less than all in that time.
        longest_s: granted at most.
        ask_again: pauses where the user cannot be asked.
    """

    most: int = 200_000
    per_presentity: int = 20_000
    early: int = 200
    per_zone: int = 50_000
    coalesce_s: float = 0.5
    silent_s: float = 2.0
    repeat_s: float = 86_400.0
    refresh_s: float = 86_400.0
    denied_s: float = 86_400.0
    failed_s: float = 600.0
    late_s: float = 7 * 86_400.0
    dormant_days: int = 180
    spread_s: float = 10.0
    spread_per_s: float = 20.0
    longest_s: int = DEFAULT_SUBSCRIPTION_S
    ask_again: BackOff = _ASK_AGAIN


class Answers(Gathering):
    """The answers to a probe.

    Attributes:
        ident: of the probe.
        again: there were none, and `until` is when it is asked again.
        waited: somebody waits for them: where a stream is opened meanwhile it is not asked again.
        refused: it found no room, which says nothing of whether there is a way.
        lost: it did not arrive, or nobody knows whether it did.
        told: what has come was told before it was known whether the probe has arrived.
    """

    __slots__ = ("again", "ident", "lost", "refused", "told", "waited")

    def __init__(self, ident: str, now: float, within_s: float, *, had_way: bool) -> None:
        super().__init__(now + OUTCOME_S, had_way=had_way, within_s=within_s)
        self.ident = ident
        self.again = self.lost = self.refused = self.told = False
        self.waited = within_s < ALL_S

    def heard(self, now: float) -> None:
        """Something has come; it is told soon, whatever is known of the probe."""
        until = self.until
        super().heard(now)
        if not self.is_there:
            self.until = until if self.told else min(until, now + FIRST_S)

    def tell(self, now: float) -> None:
        """What has come is told now; then the word on the probe is waited for, or it is asked again."""
        self.told = True
        if self.again or self.lost:
            self.pause(now, SILENT_S)
        else:
            self.until = self._latest

    def pause(self, now: float, for_s: float) -> None:
        """Let it be asked again after so long."""
        self.again, self.until = True, now + for_s

    def failed(self, now: float, *, refused: bool) -> None:
        """It did not arrive, or nobody knows whether it did."""
        if not self.again:
            self.refused, self.lost, self.until = refused, True, now


class Pair(HeldPair[State]):
    """A watcher elsewhere and a user of ours.

    Attributes:
        watcher: as he is spelled as a JID.
        presentity: the same of the user.
        state: see there.
        since: seconds since 1970.
        until: seconds since 1970 at which the state is over; 0: never.
        times: that the user was asked.
        resources: what the user's resources said for this watcher.
        gathering: answers to a probe are waited for.
        blank: nothing is known since the start, or since nobody watched: nothing is told before an answer.
        held: notifications that wait for what a probe brings.
        doubts: how often it was told that nothing is known; the next state is told whatever it says.
        tell_at: changes are told then.
        silent_at: presence is asked for then, where none has come.
        repeat_at: the user is asked again then.
        refresh_at: presence is asked for then.
        clear_at: what a fetch brought is forgotten then.
        probed_at: the user's service was asked last.
        tries: to ask him, in vain, in a row.
        silent: how often nothing at all answered a probe, in a row.
        approved_at: the approval could not be stored; it is tried again then.
        form: of the stanza that decided, until it was told.
    """

    __slots__ = (
        "approved_at", "blank", "clear_at", "doubts", "form", "gathering", "held", "probed_at",
        "refresh_at", "repeat_at", "resources", "silent", "silent_at", "since", "tell_at", "times",
        "tries", "until",
    )  # fmt: skip

    def __init__(self, watcher: Address, presentity: Address) -> None:
        super().__init__(watcher, presentity, State.NONE)
        self.since = self.until = self.times = self.tries = self.doubts = self.silent = 0
        self.resources = Resources()
        self.gathering: Answers | None = None
        self.blank = True
        self.held: list[Owed] = []
        self.tell_at = self.silent_at = self.repeat_at = self.refresh_at = self.clear_at = inf
        self.probed_at = -inf
        self.approved_at = inf
        self.form = b""

    @property
    def is_asked(self) -> bool:
        """Whether answers are waited for, and nothing is told meanwhile."""
        return self.gathering is not None and not self.gathering.told

    @property
    def domains(self) -> tuple[Domain, str]:
        """Of the presentity, and the watcher's name (A-labels)."""
        return self.presentity.domain, self.watcher.domain.name


@dataclass(slots=True)
class Happening:
    """One event with all that belongs to it.

    Attributes:
        now: monotonic seconds.
        effects: where what is done is put.
        asked: the request.
        outcome: its answer.
        stanza: the presence.
        resource: of its sender.
        form: of the request or of the stanza.
        tells: a doubt is told.
    """

    now: float
    effects: Effects = field(default_factory=Effects)
    asked: Subscribe | None = None
    outcome: Outcome | None = None
    stanza: Element | None = None
    resource: str = ""
    form: bytes = b""
    tells: bool = True
