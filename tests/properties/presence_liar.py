"""The liar, where there is presence: he watches, is watched, and says whatever helps him of both."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imxrouter.model.address import Address
from imxrouter.model.operations import (
    EndReason,
    Notify,
    Subscribe,
    SubscribeResult,
    SubscriptionState,
    Version,
)
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.presence import Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.operations import notify_to_record, operation_to_record, with_result
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import Record, response_to
from imxrouter.wire.registry import FieldType, RecordType
from tests.properties.judge import LIARS_DOMAIN
from tests.properties.liar import Liar, LiarsLink
from tests.properties.net import Endpoint
from tests.properties.presence import shown_as

if TYPE_CHECKING:
    from tests.properties.presence_world import PresenceWorld

#: He is watched under this name.
MALLORY = Address.parse("ann@" + LIARS_DOMAIN.decode())
#: Who watches him is remembered, so many.
KNOWN = 12


class PresenceLiar(Liar):
    """The lying party.

    Args:
        world: where it lives.
        endpoint: where DNS says that its domains are.
    """

    def __init__(self, world: PresenceWorld, endpoint: Endpoint) -> None:
        super().__init__(world, endpoint)
        self._world = world
        #: who watches whom under which id, as he has seen
        self.seen: list[tuple[Address, Address, bytes]] = []
        self._version = 0
        self.plans = [
            *self.plans[:3], self.be_watched, self.be_watched, self.advertise, self.advertise, self.flood,
            self.deny, self.hoard, self.forge,
        ]  # fmt: skip

    def introduce(self) -> None:
        """Prove our domain to everybody, and be watched by some: who lies begins as a neighbour."""
        for endpoint, service in self._world.services.items():
            service.watch(service.users[0], MALLORY, 30)
            self.connect_to(endpoint)
        for _ in range(4):
            self.world.flow()
            self.play_along()
        self.world.flow()

    def routed(self, link: LiarsLink, record: Record) -> None:
        """A routed record came."""
        if record.type == RecordType.MESSAGE or record.is_response:
            super().routed(link, record)
            return
        self._world.presence.reached_liar(record)
        self.requests.append((link, record))
        self._see(record)

    def overhear(self, record: Record, control: object) -> None:
        """An honest router said something, to whomever."""
        super().overhear(record, control)  # type: ignore[arg-type]
        if record.is_routed and not record.is_response and record.type != RecordType.MESSAGE:
            self._see(record)

    def _see(self, record: Record) -> None:
        envelope, ident = record.envelope, record.value(FieldType.SUBSCRIPTION_ID)
        to = Address.parse(f"{envelope.to_local.decode()}@{envelope.to_domain.decode()}")
        sender = Address.parse(f"{envelope.from_local.decode()}@{envelope.from_domain.decode()}")
        pair = (sender, to) if record.type == RecordType.SUBSCRIBE else (to, sender)
        one = (*pair, ident or b"")
        if one in self.seen:
            self.seen.remove(one)
        self.seen = [*self.seen[1 - KNOWN :], one]

    def play_along(self) -> None:
        """Grant subscriptions, too, and take notifications."""
        for link, request in list(self.requests):
            if request.type == RecordType.SUBSCRIBE:
                self.requests.remove((link, request))
                if link in self.links:
                    self.say(link, self._grant(request))
        super().play_along()
        if self.world.chance.random() < 0.5:
            self._ask_for_some()

    def _grant(self, request: Record) -> Record:
        chance = self.world.chance
        if chance.random() < 0.2:
            return response_to(request, failure(Reason.UNKNOWN_USER))
        state = chance.choice([SubscriptionState.ACTIVE] * 3 + [SubscriptionState.PENDING])
        result = SubscribeResult(state, chance.choice([1, 20, 1 << 31]))
        outcome = replace(SUCCESS, result=result)
        return with_result(response_to(request, SUCCESS), outcome)

    # -- plans -------------------------------------------------------------------------------------------

    def be_watched(self) -> None:
        """Somebody honest gets interested in us."""
        service = self._any(list(self._world.services.values()))
        service.watch(self._any(service.users), MALLORY, self._any([12, 30]))

    def advertise(self) -> None:
        """Tell of ourselves whoever once watched us, and whoever did not."""
        for link in self.links:
            for watcher, _, ident in self.seen:
                self._tell(link, self._notify(MALLORY, watcher, ident))
            self._tell(link, self._notify(MALLORY, self._honest(), b"advertised"))

    def flood(self) -> None:
        """Tell one who watches us much at once, and that it goes on."""
        ours = [one for one in self.seen if one[1] == MALLORY]
        if ours:
            watcher, _, ident = self._any(ours)
            for link in self.links:
                for _ in range(40):
                    told = self._notify(MALLORY, watcher, ident)
                    self._tell(link, replace(told, state=SubscriptionState.ACTIVE, end_reason=EndReason.NONE))

    def deny(self) -> None:
        """Say as a router that nobody knows, of those who are none of ours."""
        for link in self.links:
            for watcher, presentity, ident in self.seen:
                why = Unknown(presentity, Reason.UNREACHABLE, presentity.domain)
                told = Notify(presentity, watcher, self._ident(), ident, SubscriptionState.ACTIVE, None, why)
                record = notify_to_record(told, MALLORY.domain)
                self.say(link, self._sent(record))

    def hoard(self) -> None:
        """Subscribe under many names and ids."""
        presentity = self._honest()
        for link in self.links:
            for number in range(40):
                watcher = Address.parse(f"u{number}@{LIARS_DOMAIN.decode()}")
                self.say(link, self._subscribe(watcher, presentity, self._any([0, 30, 1 << 31])))

    def forge(self) -> None:
        """Subscribe and tell in others' names, of what we have seen."""
        for link in self.links:
            for watcher, presentity, ident in self.seen:
                self.say(link, self._subscribe(watcher, presentity, self._any([0, 30]), ident))
                self._tell(link, self._notify(presentity, watcher, ident))

    def _ask_for_some(self) -> None:
        for link in self.links:
            for presentity in self._world.services_users():
                self.say(link, self._subscribe(MALLORY, presentity, self._any([0, 12, 30]), b"mine"))

    # -- records -----------------------------------------------------------------------------------------

    def _honest(self) -> Address:
        return self._any(self._world.services_users())

    def _ident(self) -> bytes:
        return self.world.secrets.randbytes(16)

    def _sent(self, record: Record) -> Record:
        return replace(record, flags=FLAG_RESPONSE_WANTED, route_tag=self.world.chance.getrandbits(8))

    def _notify(self, presentity: Address, watcher: Address, ident: bytes) -> Notify:
        self._version += 1
        over = self.world.chance.random() < 0.2
        state = SubscriptionState.TERMINATED if over else SubscriptionState.ACTIVE
        why = EndReason.DEACTIVATED if over else EndReason.NONE
        return Notify(
            presentity, watcher, self._ident(), ident or b"none", state, Version(1 << 40, self._version),
            shown_as(presentity, 666), end_reason=why,
        )  # fmt: skip

    def _tell(self, link: LiarsLink, told: Notify) -> None:
        self.say(link, self._sent(operation_to_record(told)))

    def _subscribe(
        self, watcher: Address, presentity: Address, duration_s: int, ident: bytes = b""
    ) -> Record:
        asked = Subscribe(watcher, presentity, self._ident(), ident or self._ident(), duration_s)
        return self._sent(operation_to_record(asked))
