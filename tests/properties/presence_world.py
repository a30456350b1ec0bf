"""A world with presence: users watch each other while the network, a liar and services do their worst."""

from __future__ import annotations

from collections.abc import Callable

from imxrouter.model.address import Address
from imxrouter.model.operations import MAX_HOPS, Operation, SubscriptionState
from imxrouter.model.outcome import Outcome
from imxrouter.routing.owed import Decision
from imxrouter.routing.watched import Standing
from imxrouter.wire.control import Control
from imxrouter.wire.fields import Field
from imxrouter.wire.record import Envelope, Record
from imxrouter.wire.registry import RecordType
from tests.properties.judge import MOVED_DOMAIN, Broken
from tests.properties.net import Endpoint
from tests.properties.nodes import SETTINGS, Process
from tests.properties.presence import DURATIONS_S, PresenceService
from tests.properties.presence_judge import PresenceJudge
from tests.properties.presence_liar import PresenceLiar
from tests.properties.world import Shape, World

#: A domain that cannot be reached is shown as unknown after this: a link is dead, or a dial in its stead
#: fails; grace, and a back-off.
UNKNOWN_AFTER_S = int(SETTINGS.link.dead_s) + 5 + 4 + 3


class PresenceWorld(World):
    """Honest routers with a service each, perhaps a liar, and the network between them.

    Args:
        shape: as that of a world; one host for each organisation.
        liar: whether there is one.
    """

    def __init__(self, shape: Shape, *, liar: bool = False) -> None:
        super().__init__(shape, liar=liar)
        self.presence = PresenceJudge(self, self.judge.broken)
        self.services: dict[Endpoint, PresenceService] = {}
        for process in self.processes:
            if process.endpoint not in self.services:
                ours = [one for one in process.domains if one != MOVED_DOMAIN]
                self.services[process.endpoint] = PresenceService(self, process.endpoint, ours)
        for service in self.services.values():
            for watcher in service.users:
                for presentity in self._others(service)[::2]:
                    service.watch(watcher, presentity, self.chance.choice(DURATIONS_S))
        self.do_second()
        if isinstance(self.liar, PresenceLiar):
            self.liar.introduce()

    def _new_liar(self, endpoint: Endpoint) -> PresenceLiar:
        return PresenceLiar(self, endpoint)

    def new_id(self) -> bytes:
        """16 random bytes that are never the same."""
        return self.secrets.randbytes(16)

    def services_users(self) -> list[Address]:
        """All honest users."""
        return [user for service in self.services.values() for user in service.users]

    def _others(self, service: PresenceService) -> list[Address]:
        return [one for one in self.services_users() if one not in service.users]

    # -- what routers tell -------------------------------------------------------------------------------

    def deliver(self, process: Process, operation: Operation, answer: Callable[[Outcome], None]) -> None:
        """A subscription or a notification reached the service behind a router."""
        self.services[process.endpoint].deliver(process, operation, answer)

    def router_says(
        self, process: Process, kind: RecordType, envelope: Envelope, fields: tuple[Field, ...]
    ) -> Callable[[Record], None]:
        """A router subscribes again, or says that nobody knows."""
        record = Record(kind, hops_left=MAX_HOPS, message_id=bytes(16), envelope=envelope, fields=fields)
        return self.presence.router_says(process, record)

    def _told(self, process: Process, record: Record, control: Control | None) -> None:
        if record.is_routed and not record.is_response:
            self.presence.written(process, record)
        super()._told(process, record, control)

    # -- what happens ------------------------------------------------------------------------------------

    def _service(self) -> PresenceService:
        return self.chance.choice(list(self.services.values()))

    def do_watch(self) -> None:
        """Somebody wants to know."""
        service = self._service()
        presentity = self.chance.choice(self._others(service))
        service.watch(self.chance.choice(service.users), presentity, self.chance.choice(DURATIONS_S))

    def do_unwatch(self) -> None:
        """Somebody no longer."""
        service = self._service()
        if service.wants:
            service.unwatch(*self.chance.choice(list(service.wants)))

    def do_fetch(self) -> None:
        """Somebody wants to know once."""
        service = self._service()
        service.fetch(self.chance.choice(service.users), self.chance.choice(self._others(service)))

    def do_publish(self) -> None:
        """Somebody comes or goes."""
        service = self._service()
        service.publish(self.chance.choice(service.users))

    def do_decide(self) -> None:
        """Somebody thinks again of a watcher."""
        service = self._service()
        watcher, user = self.chance.choice(self._others(service)), self.chance.choice(service.users)
        service.decide(watcher, user, self.chance.choice(list(Decision)))

    def do_stray(self) -> None:
        """A careless service tells somebody under an id that it has seen, or not."""
        service = self._service()
        keys = self.presence.keys(service.endpoint)
        idents = [ident for _, _, ident in keys] or [b"none"]
        watcher, user = self.chance.choice(self._others(service)), self.chance.choice(service.users)
        right = [ident for by, of, ident in keys if (by, of) == (watcher.key, user.key)]
        ident = self.chance.choice(right if right and self.chance.random() < 0.5 else idents)
        service.stray(watcher, user, ident)

    def do_restart_service(self) -> None:
        """A service begins anew, with its memory or without."""
        self._service().restart(remembers=self.chance.random() < 0.5)

    def do_restart(self, process: Process | None = None) -> None:
        """A router process is killed; its service is told."""
        before = list(self.processes)
        super().do_restart(process)
        for one in before:
            if not one.alive:
                self.presence.lost(one)
                self.services[one.endpoint].lost(one)
        self.processes = [one for one in self.processes if one.alive]

    def do_dark(self, endpoint: Endpoint | None = None) -> None:
        """A host is cut off: everywhere else those who watch its users see soon that nobody knows."""
        endpoint = endpoint or self.chance.choice(list(self.services))
        watched = self._surely_watched(endpoint)
        self.net.dark.add(endpoint)
        for connection in self.net.connections:
            connection.frozen = any(end.remote == endpoint for end in connection.ends) or any(
                isinstance(end.party, Process) and end.party.endpoint == endpoint for end in connection.ends
            )
        for _ in range(UNKNOWN_AFTER_S):
            self.do_second()
            self.check()
        self.net.dark.clear()
        for service, one in watched:
            pair = one.watcher, one.presentity
            if service.shown.get(pair) is not None and pair in service.wants:
                raise Broken(f"{pair} is shown state {service.shown[pair]} of a host that is cut off")
        self.do_thaw()

    def _surely_watched(self, endpoint: Endpoint) -> list[tuple[PresenceService, Standing]]:
        """Subscriptions to users of a host that live on through a darkness, and that routers know of."""
        found, now = [], self.clock.seconds()
        for service in self.services.values():
            known = [
                key.split(b"\0")
                for process in self.net.listening[service.endpoint]
                if isinstance(process, Process)
                for domain in {user.domain.wire for user in self.services[endpoint].users}
                for key in process.table.watching(domain, now + UNKNOWN_AFTER_S)
            ]
            idents = {key[2] for key in known}
            found += [
                (service, one)
                for one in service.watching.standings(now)
                if one.subscription_id in idents and one.state is SubscriptionState.ACTIVE
            ]
        return found

    # -- parts of it -------------------------------------------------------------------------------------

    def tick(self) -> None:
        """A second passes."""
        super().tick()
        for service in self.services.values():
            service.run()
        self.clock.advance(0)

    def answer(self, process: Process, *, always: bool = False, waited_s: float = 0.0) -> None:
        """The service behind a router answers what waits."""
        super().answer(process, always=always, waited_s=waited_s)
        if always or self.chance.random() < 0.8:
            self.services[process.endpoint].answer_late(self.clock.seconds() - waited_s)

    def check(self) -> None:
        """What holds of messages, and of presence."""
        super().check()
        for process in self.living:
            faults = self.presence.faults(process)
            if faults:
                raise Broken(f"{process.domain!r}: {faults}")

    # -- the end -----------------------------------------------------------------------------------------

    def come_right(self) -> None:
        """Everybody is allowed, and sees in the end what the presentity published last."""
        for service in self.services.values():
            for (watcher, user), decision in list(service.decisions.items()):
                if decision is not Decision.ALLOW:
                    service.decide(watcher, user, Decision.ALLOW)
        self._until_none(self._wrong)

    def _wrong(self) -> list[str]:
        found = []
        for service in self.services.values():
            for (watcher, presentity), duration_s in service.wants.items():
                owner = next((one for one in self.services.values() if presentity in one.state), None)
                if owner is None:
                    continue
                shown, state = service.shown.get((watcher, presentity)), owner.state[presentity]
                if shown != state:
                    service.watching.want(watcher, presentity, duration_s)  # unless it was refused before
                    found.append(f"{watcher} is shown {shown} of {presentity}, whose state is {state}")
        return found

    def end_watching(self) -> None:
        """Nobody wants to know any more."""
        for service in self.services.values():
            for pair in list(service.wants):
                service.unwatch(*pair)

    def kept(self) -> list[str]:
        """What routers and services keep of what is over."""
        services = [(service.users[0].domain, service.leftovers()) for service in self.services.values()]
        return super().kept() + [f"the service of {name} keeps {left}" for name, left in services if left]
