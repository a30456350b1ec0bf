"""What a router process is made of: every part, and what ties it to the others."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import structs
from twisted.logger import Logger

import imxrouter
from imxrouter.app.behind import BehindUs
from imxrouter.app.components import Components
from imxrouter.app.draining import ASKED, FAR, Draining, OtherHosts, drain_figures
from imxrouter.app.host import Host
from imxrouter.app.housekeeping import Housekeeping
from imxrouter.app.remembering import Remembering
from imxrouter.app.served.embedding import make_embedded
from imxrouter.app.served.embeddings import Embeddings
from imxrouter.app.served.provisioning import Provisioner, served_domain
from imxrouter.app.served.run_time_domains import RunTimeDomains
from imxrouter.app.served.subscribed import BEGUN, KeptSubscriptions
from imxrouter.app.settings import (
    cap_settings,
    connection_rates,
    dial_settings,
    discovery_limits,
    handshakes,
    hub_settings,
    peer_rates,
    policy_table,
    sender_rates,
    xmpp_policy_table,
)
from imxrouter.app.sockets import Sockets
from imxrouter.app.storing import make_store, store_figures
from imxrouter.app.streams_out import StreamsOut
from imxrouter.app.traffic.access_control import AccessControl, first_contacts
from imxrouter.app.traffic.ends import Ends
from imxrouter.app.traffic.figures import Figures, links_by_state
from imxrouter.app.traffic.full_outcomes import FullOutcomes
from imxrouter.app.traffic.limiting import Limiting
from imxrouter.app.traffic.lookups import CountedFinder
from imxrouter.app.traffic.own import OwnDomains, router_facts
from imxrouter.app.traffic.peerlog import PeerLog
from imxrouter.app.traffic.quality import Quality, always
from imxrouter.app.traffic.rules import Rulebook
from imxrouter.app.traffic.settling import Settling
from imxrouter.app.traffic.steps import Steps, tells_every
from imxrouter.app.trust.certificates import OwnCertificates
from imxrouter.app.trust.certificates_everywhere import KIND as CERTIFICATES
from imxrouter.app.trust.certificates_everywhere import CertificatesEverywhere
from imxrouter.app.trust.gatekeeper import Gatekeeper
from imxrouter.app.trust.keys import dialback_secrets, service_keys
from imxrouter.app.trust.link_tls import LinkTls
from imxrouter.app.trust.preferences import Preferences, make_chooser
from imxrouter.app.trust.targets import TargetDialer
from imxrouter.app.turns import Turns
from imxrouter.app.uplinks import Uplinks
from imxrouter.app.xmpp import Streams
from imxrouter.config.net import parse_published
from imxrouter.config.schema import Config
from imxrouter.config.served import Service
from imxrouter.discovery.adapter import NameServerAsker
from imxrouter.discovery.cache import AnswerCache
from imxrouter.discovery.finder import Ask
from imxrouter.discovery.guard import DialGuard
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.link.duplicates import DuplicateMemory
from imxrouter.link.ledger import Ledger
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import MESSAGE_ID_BYTES, Kind, Operation
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.attribute_asking import AttributeAsker
from imxrouter.routing.attribute_cache import AttributeCache
from imxrouter.routing.caps import ConnectionCaps
from imxrouter.routing.choice import Protocol
from imxrouter.routing.destinations import BackOff, DestinationTable
from imxrouter.routing.dialling import DialLimits
from imxrouter.routing.domains import ServedDomains
from imxrouter.routing.interfaces import Answer, Submit
from imxrouter.routing.policy import RememberedStrength
from imxrouter.routing.subscriptions import SubscriptionLimits
from imxrouter.switch import slots
from imxrouter.switch.checks import ALL_CHECKS, Checks
from imxrouter.switch.switch import Switch
from imxrouter.telemetry.metrics import Metrics
from imxrouter.telemetry.privacy import AddressMask, Privacy
from imxrouter.telemetry.trace import TraceRing
from imxrouter.transport.bus import BusEnd, MemoryExchange
from imxrouter.transport.bus_unix import UnixBus
from imxrouter.transport.dialback import Claimer
from imxrouter.transport.dialing import Reach
from imxrouter.transport.draining import Drain, DrainState
from imxrouter.transport.federation import Federation
from imxrouter.transport.gateway_port import GatewayPort
from imxrouter.transport.handover import Handover
from imxrouter.transport.hub import Hub, Identity
from imxrouter.transport.idle_proofs import IdleProofs
from imxrouter.transport.inside import InsidePort
from imxrouter.transport.keyring import KeyRing
from imxrouter.transport.link import Purpose
from imxrouter.transport.liveness import Liveness
from imxrouter.transport.processes import RECORDS, SERVICES, Processes
from imxrouter.transport.pursuit import Cause
from imxrouter.transport.redirecting import Redirector
from imxrouter.transport.services import Services
from imxrouter.transport.session import LinkSession
from imxrouter.transport.siblings import Siblings
from imxrouter.transport.strangers import StrangersTurns
from imxrouter.transport.strengths import Strengths
from imxrouter.transport.verifier import Verifier
from imxrouter.transport.watchers import RouterWatchers


class Parts:
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
        self.config = config
        self.version = imxrouter.__version__
        self._reactor = self.reactor = reactor
        self.service_names = frozenset(service.name for service in config.services)
        self.pinned = {peer.domain: tuple(peer.endpoints) for peer in config.peers if peer.addresses}
        self.mask = AddressMask(Privacy(config.log.addresses), os.urandom(32))
        self.trace = TraceRing(time.time, self.mask, config.log.trace_entries, config.log.trace_age_s)
        self.metrics = Metrics(self.version, time.time)
        self._make_hub(checks)
        self._make_discovery(ask)
        self._make_trust()
        self._make_links()
        self._make_moving()
        self._watch_links()
        self.streams = Streams(self)
        self._make_services()
        self._make_store()
        self._observe()
        self._housekeeping = Housekeeping(
            self.rates, self.federation.destinations, self.gatekeeper.dialling, self.subscriptions
        )

    # -- building ----------------------------------------------------------------------------------------

    def _make_hub(self, checks: Checks) -> None:
        config, counters = self.config, slots.new_counters()
        self.rates = sender_rates(config.limits, cools=checks.cooldown)
        self.switch = Switch(
            Ledger(config.process, int.from_bytes(os.urandom(8), "big")),
            DuplicateMemory(os.urandom(8), config.links.duplicate_window_s, config.links.duplicate_entries),
            self.rates,
            counters,
            checks,
        )
        self.switch.max_hops = config.links.max_hops
        secrets, server = dialback_secrets(config)
        identity = Identity(server, config.process, os.urandom(16))
        self.hub = Hub(time.monotonic, self.switch, hub_settings(config), identity, os.urandom)
        self.hub.on_ended = lambda reason: self.metrics.link_ends.inc(reason.stage.value, reason.word)
        self.inside = InsidePort(self.hub)
        self.subscriptions = self.switch.presence.table
        self.subscriptions.limits = SubscriptionLimits(
            config.limits.subscriptions, config.limits.subscriptions_per_domain
        )
        self.subscriptions.answer_s = config.links.answer_timeout_s
        self.keyring = KeyRing(secrets)
        self.bus: BusEnd
        self._shares_port = config.shares_port
        if self._shares_port:
            self.bus = UnixBus(self._reactor, config.process, Path(config.run_dir))
        else:
            self.bus = MemoryExchange(self._reactor).join(config.process)
        self.host = Host(self.bus)
        self._sockets = Sockets(self._reactor, reuse_port=self._shares_port)

    @property
    def strangers_turns(self) -> StrangersTurns:
        """What shares out a turn of the reactor among strangers."""
        return self._sockets.turns

    def _make_discovery(self, ask: Ask | None) -> None:
        config = self.config
        #: whether DNS answers can count as validated with DNSSEC
        self.validates = True
        #: somebody handed in what asks DNS, so that [dns] does not say whom
        self.asks_by_itself = ask is not None
        if ask is None:
            asker = NameServerAsker(
                self._reactor, config.dns.nameservers, question_s=config.dns.query_timeout_s,
                trust_ad=config.dns.trust_ad, go_on=self.strangers_turns.go_on,
            )  # fmt: skip
            ask, self.validates = asker.ask, asker.trusts_ad
        self.ask = ask
        cache_limits, find_limits = discovery_limits(config.dns)
        self.answers = AnswerCache(time.monotonic, cache_limits)
        self.finder = CountedFinder(
            self.metrics, self._reactor, ask, random.SystemRandom(), self.answers, find_limits
        )

    def _make_trust(self) -> None:
        config = self.config
        self.certificates = OwnCertificates(config, self._reactor, time.time, self.metrics)
        remembered = RememberedStrength(age_s=config.trust.remember_days * 86_400.0)
        self.strengths = Strengths(policy_table(config), remembered, time.monotonic)
        self.xmpp_strengths = Strengths(
            xmpp_policy_table(config), remembered, time.monotonic, protocol=Protocol.XMPP
        )
        self.gatekeeper = Gatekeeper(
            self.strengths,
            ConnectionCaps(cap_settings(config)),
            ConnectionCaps(cap_settings(config)),
            connection_rates(config.caps),
            DialLimits(dial_settings(config.caps)),
            self._peer_terms,
            time.monotonic,
        )
        self.gatekeeper.by_protocol[Protocol.XMPP] = self.xmpp_strengths
        self.hub.admit = self.gatekeeper.admit
        self.hub.turns_away = self.gatekeeper.turns_away
        self.gatekeeper.on_turned_away = self.hub.count
        self.handshakes = self.hub.first_bytes.handshakes = handshakes(config.caps)
        self.handshakes.is_known = self.gatekeeper.is_known
        turns = self.strangers_turns
        self.handshakes.in_turn, self.hub.timers.go_on = turns.later, turns.go_on
        self.peer_rates = peer_rates(config)

    def _peer_terms(self, domain: bytes) -> tuple[float, float]:
        rate = self.peer_rates.get(domain)
        if rate is None:
            return self.rates.interval_s, self.rates.burst_s
        return rate.interval_s, rate.burst_s

    def _make_links(self) -> None:
        config = self.config
        guard = DialGuard(
            config.dial.allow_networks,
            config.dial.allow_ports_below_1024,
            config.taken_at,
        )
        self.dialer = TargetDialer(
            self._reactor, self.hub, self.finder, guard, self.gatekeeper, self.strengths, self.pinned,
            (config.dial, config.dns), self.metrics,
        )  # fmt: skip
        self.claimer = Claimer(self.hub, self.keyring, self.bus, time.time, self._peer_terms)
        self.claimer.may_use_second = self.gatekeeper.may_use_second
        self.verifier = Verifier(self.hub, self.dialer, self.gatekeeper, self.claimer.tongue)
        turns = self.strangers_turns
        self.verifier.in_turn, self.verifier.go_on = turns.later, turns.go_on
        backoff = BackOff(config.dial.backoff_first_s, config.dial.backoff_cap_s, config.dial.backoff_jitter)
        destinations = DestinationTable(random.SystemRandom().random, backoff)
        #: how domains are reached, by protocol
        self.reaches: dict[Protocol, Reach] = {
            Protocol.IMX: Reach(self.dialer, lambda *_: LinkSession(self.hub, Purpose.DATA))
        }
        self.federation = Federation(self.hub, self.reaches, self.claimer, destinations)
        self.preferences = Preferences(config, self.reaches, self.pinned)
        self.chooser = make_chooser(self)
        self.verifier.on_proved = self.federation.peer_proved
        self.verifier.on_result = partial(self._claim_ended, "received")
        self.claimer.on_result = partial(self._claim_ended, "made")
        self.dialer.room.busy = self.verifier.busy
        self.link_tls = LinkTls(
            self.hub, self.strengths, self.xmpp_strengths, self.dialer, self.claimer, self.federation,
            time.time,
        )  # fmt: skip
        self.link_tls.on_good = self.metrics.peer_certificates.seen
        self.link_tls.follow(self.certificates, config)

    def _make_moving(self) -> None:
        """What links and traffic go elsewhere by: redirects, the drain, other hosts and processes."""
        self.redirector = Redirector(
            self.hub, self.dialer.lists, self.dialer.reconnect, self.claimer.claim,
            self.dialer.asks_certificate,
        )  # fmt: skip
        self.federation.on_settled = self.redirector.settled
        others = OtherHosts(self.finder.find, lambda: self.config.drain.siblings, self.published)
        self.drain = Drain(self.hub, self.federation, self.redirector, others.of)
        self.siblings = Siblings(
            self.hub, lambda: self.keyring.secrets, self.subscriptions, others.all_of, self.dialer.to_sibling
        )
        self.drain.before = self.siblings.hand_over
        self.handover = Handover(self.hub, self.bus, self.claimer)
        self.certificates_everywhere = CertificatesEverywhere(self.host, self.certificates.reload)
        self.handover.asked[CERTIFICATES] = self.certificates_everywhere.asked

    def _watch_links(self) -> None:
        config = self.config
        self.steps = Steps(self.hub, self.trace, shown=config.lab, every=tells_every(config))
        self.peer_log = PeerLog(time.time)
        self.steps.on_failure = self.peer_log.failed
        self.steps.listen(self.dialer, self.claimer, self.verifier, self.federation)
        self.idle_proofs = IdleProofs(self.hub, self.verifier.drop_proof)
        self.hub.events += [self.steps, self.claimer, self.verifier, self.federation, self.redirector]
        self.hub.events += [self.siblings, self.drain]
        watchers = self._watchers = RouterWatchers(self.hub, self.inside, self.subscriptions)
        self.liveness = Liveness(
            self.hub, self.subscriptions, watchers, self.federation, random.SystemRandom().random
        )
        self.federation.on_unreachable = self._unreachable
        self.federation.on_reached = self._reached
        self.verifier.on_dropped = lambda domain: self.liveness.left((domain,))
        self.hub.events += [self.idle_proofs, self.liveness]

    def _make_services(self) -> None:
        config = self.config
        self.domains = ServedDomains()
        facts = router_facts(config, self.hub.settings)
        self.own = OwnDomains(self.inside, self.domains, facts, self.hub.now)
        self.own.echo.on_result = self.metrics.echoes.inc
        self.attributes = AttributeAsker(AttributeCache(), self.submit, self.hub.now)
        self.attributes.on_way = self.metrics.questions.inc
        self.full_outcomes = FullOutcomes()
        self._turns = Turns(self._reactor, self.hub.together)
        self.embeddings = Embeddings(self._make_embedded, self._embedded_changed)
        self.embeddings.begin(config.services)
        self.gateways, self.embedded = self.embeddings.gateways, self.embeddings.services
        self.behind = BehindUs(self)
        self.drain.streams = StreamsOut(self.streams, self.behind, self._sockets, self.reactor.callLater)
        self.provisioner = Provisioner(
            self.domains, self.hub, config.limits, self.gateways, self.claimer, self.behind.pools
        )
        self.services: Services = Services(
            self.hub, service_keys(config.services), self.provisioner.domains_of, self.provisioner.terms
        )
        self.components = Components(self)
        self.provisioner.is_component = self.components.knows
        self.limiting = Limiting(config, self.hub, self.domains, self.log.warn)
        self.gatekeeper.on_refused = self.handshakes.on_refused = self.limiting.refused
        self.provisioner.on_entered = self.limiting.entered
        self.processes: Processes = Processes(
            self.hub, self.bus, self.provisioner.ports_of, self.services.knows
        )
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

    def _claim_ended(self, direction: str, reason: Reason) -> None:
        self.metrics.claims.inc(direction, "proved" if reason is Reason.NONE else reason.word)
        self.dialer.wake()

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

    def published(self) -> list[tuple[str, int]]:
        """Host and port of every host of these domains, as others reach them."""
        if self.config.listen.publish:
            return [parse_published(text) for text in self.config.listen.publish]
        places = self._sockets.for_links() or self.config.listen.endpoints
        return [(self.config.name, places[0].port)]

    def embedded_for(self, user: Address) -> EmbeddedService | None:
        """The embedded service that has this user."""
        record = self.domains.get(user.domain)
        service = self.embedded.get(record.service) if record is not None else None
        return service if service is not None and service.knows(user) else None

    def new_id(self) -> bytes:
        """A message id that nobody has."""
        return os.urandom(MESSAGE_ID_BYTES)

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
