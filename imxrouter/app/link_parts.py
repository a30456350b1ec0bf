"""What a router process is made of, as far as links to others go; `parts` has what is served by them.

What ties a foreign protocol's streams to the router needs no more than this.
"""

from __future__ import annotations

import os
import random
import time
from functools import partial
from pathlib import Path
from typing import Any

import imxrouter
from imxrouter.app.draining import OtherHosts
from imxrouter.app.host import Host
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
from imxrouter.app.traffic.lookups import CountedFinder
from imxrouter.app.traffic.peerlog import PeerLog
from imxrouter.app.traffic.steps import Steps, tells_every
from imxrouter.app.trust.certificates import OwnCertificates
from imxrouter.app.trust.certificates_everywhere import KIND as CERTIFICATES
from imxrouter.app.trust.certificates_everywhere import CertificatesEverywhere
from imxrouter.app.trust.gatekeeper import Gatekeeper
from imxrouter.app.trust.keys import dialback_secrets
from imxrouter.app.trust.link_tls import LinkTls
from imxrouter.app.trust.preferences import Preferences
from imxrouter.app.trust.targets import TargetDialer
from imxrouter.config.net import parse_published
from imxrouter.config.schema import Config
from imxrouter.discovery.adapter import NameServerAsker
from imxrouter.discovery.cache import AnswerCache
from imxrouter.discovery.finder import Ask
from imxrouter.discovery.guard import DialGuard
from imxrouter.link.duplicates import DuplicateMemory
from imxrouter.link.ledger import Ledger
from imxrouter.model.operations import MESSAGE_ID_BYTES
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import ConnectionCaps
from imxrouter.routing.choice import Protocol
from imxrouter.routing.destinations import BackOff, DestinationTable
from imxrouter.routing.dialling import DialLimits
from imxrouter.routing.domains import ServedDomains
from imxrouter.routing.policy import RememberedStrength
from imxrouter.routing.subscriptions import SubscriptionLimits
from imxrouter.switch import slots
from imxrouter.switch.checks import Checks
from imxrouter.switch.switch import Switch
from imxrouter.telemetry.metrics import Metrics
from imxrouter.telemetry.privacy import AddressMask, Privacy
from imxrouter.telemetry.trace import TraceRing
from imxrouter.transport.bus import BusEnd, MemoryExchange
from imxrouter.transport.bus_unix import UnixBus
from imxrouter.transport.choosing import Chooser
from imxrouter.transport.dialback import Claimer
from imxrouter.transport.dialing import Reach
from imxrouter.transport.draining import Drain
from imxrouter.transport.federation import Federation
from imxrouter.transport.handover import Handover
from imxrouter.transport.hub import Hub, Identity
from imxrouter.transport.idle_proofs import IdleProofs
from imxrouter.transport.inside import InsidePort
from imxrouter.transport.keyring import KeyRing
from imxrouter.transport.link import Purpose
from imxrouter.transport.liveness import Liveness
from imxrouter.transport.redirecting import Redirector
from imxrouter.transport.session import LinkSession
from imxrouter.transport.siblings import Siblings
from imxrouter.transport.strangers import StrangersTurns
from imxrouter.transport.strengths import Strengths
from imxrouter.transport.verifier import Verifier
from imxrouter.transport.watchers import RouterWatchers


class LinkParts:
    """Links, and what decides about them, tied together; nothing is open yet.

    Args:
        config: what `config.load` gave.
        reactor: the reactor.
        ask: asks DNS; None: the configured or the system's resolvers.
        checks: checks of the hot path.
    """

    def __init__(self, config: Config, reactor: Any, ask: Ask | None, checks: Checks) -> None:
        self.config = config
        self.version = imxrouter.__version__
        self._reactor = self.reactor = reactor
        self.pinned = {peer.domain: tuple(peer.endpoints) for peer in config.peers if peer.addresses}
        self.mask = AddressMask(Privacy(config.log.addresses), os.urandom(32))
        self.trace = TraceRing(time.time, self.mask, config.log.trace_entries, config.log.trace_age_s)
        self.metrics = Metrics(self.version, time.time)
        self.domains = ServedDomains()
        self._make_hub(checks)
        self._make_discovery(ask)
        self._make_trust()
        self._make_links()
        self._make_moving()
        self._watch_links()

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
        #: between protocols once `speak` was called, and hosts for presence
        self.chooser = self.federation.chosen.chooser = Chooser(
            self.finder, self.preferences.of, lambda domain: domain in self.domains,
            self.gatekeeper.reached_by, time.monotonic,
        )  # fmt: skip
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

    def speak(self, protocol: Protocol, reach: Reach) -> None:
        """Reach domains by one more protocol: from now on there is a choice."""
        self.reaches[protocol] = reach
        self.chooser.forget()
        self.federation.chosen.several = True

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
        self.verifier.on_dropped = lambda domain: self.liveness.left((domain,))
        self.hub.events += [self.idle_proofs, self.liveness]

    def _claim_ended(self, direction: str, reason: Reason) -> None:
        self.metrics.claims.inc(direction, "proved" if reason is Reason.NONE else reason.word)
        self.dialer.wake()

    def published(self) -> list[tuple[str, int]]:
        """Host and port of every host of these domains, as others reach them."""
        if self.config.listen.publish:
            return [parse_published(text) for text in self.config.listen.publish]
        places = self._sockets.for_links() or self.config.listen.endpoints
        return [(self.config.name, places[0].port)]

    def new_id(self) -> bytes:
        """A message id that nobody has."""
        return os.urandom(MESSAGE_ID_BYTES)
