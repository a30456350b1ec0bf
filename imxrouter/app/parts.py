"""What a router process is made of: every part, and what ties it to the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import structs
from twisted.logger import Logger

from imxrouter.app.behind import BehindUs
from imxrouter.app.components import Components
from imxrouter.app.draining import ASKED, FAR, Draining, drain_figures
from imxrouter.app.housekeeping import Housekeeping
from imxrouter.app.link_parts import LinkParts
from imxrouter.app.remembering import Remembering
from imxrouter.app.served.embedding import make_embedded
from imxrouter.app.served.embeddings import Embeddings
from imxrouter.app.served.provisioning import Provisioner, served_domain
from imxrouter.app.served.run_time_domains import RunTimeDomains
from imxrouter.app.served.subscribed import BEGUN, KeptSubscriptions
from imxrouter.app.storing import make_store, store_figures
from imxrouter.app.streams_out import StreamsOut
from imxrouter.app.traffic.access_control import AccessControl, first_contacts
from imxrouter.app.traffic.ends import Ends
from imxrouter.app.traffic.figures import Figures, links_by_state
from imxrouter.app.traffic.full_outcomes import FullOutcomes
from imxrouter.app.traffic.limiting import Limiting
from imxrouter.app.traffic.own import OwnDomains, router_facts
from imxrouter.app.traffic.quality import Quality, always
from imxrouter.app.traffic.rules import Rulebook
from imxrouter.app.traffic.settling import Settling
from imxrouter.app.trust.keys import service_keys
from imxrouter.app.turns import Turns
from imxrouter.app.uplinks import Uplinks
from imxrouter.app.xmpp import Streams
from imxrouter.config.schema import Config
from imxrouter.config.served import Service
from imxrouter.discovery.finder import Ask
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Kind, Operation
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.attribute_asking import AttributeAsker
from imxrouter.routing.attribute_cache import AttributeCache
from imxrouter.routing.interfaces import Answer, Submit
from imxrouter.switch import slots
from imxrouter.switch.checks import ALL_CHECKS, Checks
from imxrouter.transport.draining import DrainState
from imxrouter.transport.gateway_port import GatewayPort
from imxrouter.transport.processes import RECORDS, SERVICES, Processes
from imxrouter.transport.pursuit import Cause
from imxrouter.transport.services import Services


class Parts(LinkParts):
    """The parts of one router process, tied together; nothing is open yet.

    Args:
        config: what `config.load` gave.
        reactor: the reactor.
        ask: asks DNS; None: the configured or the system's resolvers. Tests hand in zones of their own.
        checks: checks of the hot path; all of them outside tests and benchmarks.
    """

    log = Logger()

    def __init__(
        self, config: Config, reactor: Any, *, ask: Ask | None = None, checks: Checks = ALL_CHECKS
    ) -> None:
        super().__init__(config, reactor, ask, checks)
        self.service_names = frozenset(service.name for service in config.services)
        self.streams = Streams(self)
        self._make_services()
        self._make_store()
        self._observe()
        self._housekeeping = Housekeeping(
            self.rates,
            (self.federation.destinations, self.federation.presence),
            self.gatekeeper.dialling,
            self.subscriptions,
        )

    # -- building ----------------------------------------------------------------------------------------

    def _make_services(self) -> None:
        config = self.config
        facts = router_facts(config, self.hub.settings)
        self.own = OwnDomains(self.inside, self.domains, facts, self.hub.now)
        self.own.echo.on_result = self.metrics.echoes.inc
        self.attributes = AttributeAsker(AttributeCache(), self.submit, self.hub.now)
        self.attributes.on_way = self.metrics.questions.inc
        self.streams.ask = self.attributes.ask
        self.full_outcomes = FullOutcomes()
        self._turns = Turns(self._reactor, self.hub.together)
        self.embeddings = Embeddings(self._make_embedded, self._embedded_changed)
        self.embeddings.begin(config.services)
        self.gateways, self.embedded = self.embeddings.gateways, self.embeddings.services
        self.behind = BehindUs(self, self.streams)
        self.drain.streams = StreamsOut(self.streams, self.behind, self._sockets, self.reactor.callLater)
        self.provisioner = Provisioner(
            self.domains, self.hub, config.limits, self.gateways, self.claimer, self.behind.pools
        )
        self.services: Services = Services(
            self.hub, service_keys(config.services), self.provisioner.domains_of, self.provisioner.terms
        )
        self.components = Components(self, self.streams, self.services)
        self.provisioner.is_component = self.components.knows
        self.limiting = Limiting(config, self.hub, self.domains, self.log.warn)
        self.gatekeeper.on_refused = self.handshakes.on_refused = self.limiting.refused
        self.provisioner.on_entered = self.limiting.entered
        self.processes: Processes = Processes(
            self.hub, self.bus, self.provisioner.ports_of, self.services.knows
        )
        self.components.elsewhere(self.processes.elsewhere)
        self.handover.others.update({SERVICES: self.processes.told, RECORDS: self.processes.take})
        self.services.on_bound = self.processes.bound
        self.services.of_sibling = self.siblings.log_in
        self.services.judge = self.link_tls.why_not
        self.services.on_login = self.gatekeeper.closed
        self.provisioner.with_services(self.services)
        self.provisioner.on_embedded = self._embedded_changed
        self.provisioner.on_leaving = self.liveness.leaving
        self.provisioner.on_lost = self.streams.removed
        self.provisioner.on_returned = self.liveness.returned
        self.hub.events += [self.services, self.processes]
        self.access = AccessControl(
            config.access, self.domains, first_contacts(config.services), self.hub, self._watchers,
            self.verifier.drop_proof, time.time, self._reactor.callLater,
        )  # fmt: skip
        self.access.on_barred = self.streams.barred
        self.gatekeeper.shuts_out = self.access.shuts_out
        self.domains.replace_all(served_domain(entry) for entry in config.domains)
        self.config = structs.replace(config, domains=())  # 100,000 of them are 30 MB; `domains` has them now
        self.uplinks = Uplinks(self)

    def _make_store(self) -> None:
        self.store = make_store(self.config, self._reactor, shared=self._shares_port)
        self._remembering = Remembering(
            self.store, self.federation.destinations, self.gatekeeper.remembered, time.monotonic, time.time
        )
        workers = self.config.workers
        processes = workers if workers > 1 or not self._shares_port else 0
        self._kept_subscriptions = KeptSubscriptions(
            self.subscriptions, self.store, self.bus, time.monotonic, time.time, processes=processes
        )
        self.processes.on_new = self._kept_subscriptions.introduce
        self.handover.others[BEGUN] = self._kept_subscriptions.begun_elsewhere
        self.draining = Draining(self.drain, self.store, self.bus, self.host, time.time, self._in_service)
        self.handover.others.update({ASKED: self.draining.told, FAR: self.draining.told_far})
        self.bus.on_lost = self._process_gone
        self.federation.on_unreachable = self._unreachable
        self.federation.on_reached = self._reached
        self.quality = Quality(self.config, self.store, time.time, lambda: self.liveness.own_loss is not None)
        self.run_time_domains = RunTimeDomains(self.domains, self.store, self.service_names)

    def _traced(self, port: GatewayPort | OwnDomains) -> Submit:
        """What sends through a gateway's port, and tells the message's steps."""

        def submit(operation: Operation, answer: Answer) -> None:
            port.submit(operation, self.steps.sending(operation, answer))

        return submit

    def _make_embedded(self, service: Service, begun: bool) -> tuple[GatewayPort, EmbeddedService]:
        port, later = GatewayPort(self.hub, self._turns.later), self._turns.later
        submit = self.full_outcomes.for_watchers(self._traced(port))
        embedded = make_embedded(service, submit, later, self.attributes.cache, self._shares_port)
        port.connect(self.steps.watched(embedded))
        port.on_taken = self.steps.taken
        if begun:
            embedded.begin(self.store)
        return port, embedded

    def _in_service(self) -> None:
        """Dial what is dialled by itself."""
        self.liveness.begin(self.hub.now())
        self.uplinks.begin()
        self.behind.attach()

    def _process_gone(self, process: int) -> None:
        self.draining.gone(process)
        self.processes.gone(process)

    def _unreachable(self, domain: bytes, cause: Cause) -> None:
        self.quality.failed(domain, cause.reason)
        self.liveness.failed(domain, cause)

    def _reached(self, domain: bytes) -> None:
        self.quality.reached(domain)
        self.liveness.reached(domain)
        for service in self.embedded.values():
            service.following.reached(Domain(domain.decode("ascii")))

    def _embedded_changed(self, service: str) -> None:
        self.embedded[service].serve(record for record in self.domains if record.service == service)

    def _observe(self) -> None:
        self.metrics.add_slots(slots.slot_table(), self.switch.counters)
        self.metrics.watch_in_flight(
            lambda: {
                kind.name.lower(): count
                for kind, count in zip(Kind, self.switch.in_flight_by_kind(), strict=True)
            }
        )
        self.metrics.watch_limits(self.limiting.figures)
        self.metrics.watch_held(lambda: self.federation.held)
        self.metrics.watch_links(partial(links_by_state, self.hub))
        self.metrics.watch_drain(partial(drain_figures, self.drain, self.redirector, self.siblings))
        self.figures = Figures(self.metrics, self.hub, self.federation, self.quality, always(self.config))
        self.metrics.watch_store(lambda: store_figures(self.store.health()))
        ports, now = self.switch.ports, self.hub.now
        self.rules = Rulebook(self.config, self.domains, self.gatekeeper, ports, now)
        self.steps.policy_of = self.rules.policy_of
        self.ends = Ends(self.hub.sessions, ports, self.domains, self.federation.chosen.reached_by)
        self.ends.pools, self.ends.streams = self.behind.pools, self.behind.streams
        self.steps.ends = self.ends
        self.settling = Settling(self.trace, self.full_outcomes, self.rules, self.ends, now)
        self.traces_deliveries = self.settling.listen(self.switch, self.config)

    # -- for the console ---------------------------------------------------------------------------------

    def ready(self) -> tuple[bool, str]:
        """Whether this process takes traffic, and why not."""
        if self.hub.closing:
            return False, "drained" if self.drain.state is DrainState.DRAINED else "going out of service"
        if not self._sockets.for_links():
            return False, "not listening yet"
        return True, ""

    def listening(self) -> list[str]:
        """Where links are taken."""
        return [str(place) for place in self._sockets.for_links()]

    def embedded_for(self, user: Address) -> EmbeddedService | None:
        """The embedded service that has this user."""
        record = self.domains.get(user.domain)
        service = self.embedded.get(record.service) if record is not None else None
        return service if service is not None and service.knows(user) else None

    def submit(self, operation: Operation, answer: Callable[[Outcome], None]) -> None:
        """Send for an operator, as a user of an embedded service or as a domain: gives the full outcome."""
        source = operation.source
        record = self.domains.get(source.domain)
        port = self.gateways.get(record.service) if record is not None and source.local else None
        if record is not None and not source.local:
            send: Submit = self._traced(self.own)
        elif port is not None:
            send = self._traced(port)
        else:
            answer(failure(Reason.NOT_PROVED))
            return
        send(operation, self.full_outcomes.of(operation, answer))
