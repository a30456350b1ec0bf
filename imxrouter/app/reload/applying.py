"""A changed configuration, taken by the parts of a running router: each owner prepares, then all commit.

An owner looks at what changes and returns a `Step`: what it will do, and the links that it will touch. All
that can fail is done while it prepares, so that a failure leaves every part as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import structs

from imxrouter.app.operators.peerview import clear_waits
from imxrouter.app.prepared import Owner, Step, Touched
from imxrouter.app.served.provisioning import served_domain
from imxrouter.app.settings import (
    cap_settings,
    connection_rates,
    dial_settings,
    discovery_limits,
    exception_rates,
    hub_settings,
    peer_rates,
    policy_table,
    xmpp_policy_table,
)
from imxrouter.app.traffic.access_control import first_contacts
from imxrouter.app.traffic.own import router_facts
from imxrouter.app.traffic.quality import always
from imxrouter.app.traffic.steps import tells_every
from imxrouter.app.trust.keys import component_secrets, dialback_secrets, key_bytes, service_keys
from imxrouter.app.trust.link_tls import others_trusted, pinned_anchors
from imxrouter.app.trust.weak_proofs import WeakProofs, close_unused
from imxrouter.config.diff import Changes
from imxrouter.config.schema import Config
from imxrouter.config.served import Service
from imxrouter.discovery.adapter import NameServerAsker
from imxrouter.discovery.guard import DialGuard
from imxrouter.link.machine import Side
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.destinations import BackOff
from imxrouter.routing.domains import ServedDomain
from imxrouter.routing.limits import Rate
from imxrouter.routing.subscriptions import SubscriptionLimits
from imxrouter.switch.ports import Role
from imxrouter.telemetry.privacy import Privacy
from imxrouter.tls.anchors import anchors_from
from imxrouter.transport.link import Link

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts


#: Failures of destinations that another policy may end.
_BY_POLICY: Final = frozenset({
    Reason.WEAKER_THAN_POLICY, Reason.WEAKER_THAN_REMEMBERED, Reason.CERTIFICATE_REFUSED,
})  # fmt: skip


class Applying:
    """The owners inside the router itself, in the order in which they commit.

    Args:
        router: its parts.
    """

    def __init__(self, router: Parts) -> None:
        self._router = router
        self.weak = WeakProofs(router)
        router.hub.events.append(self.weak)
        #: others may add theirs
        self.owners: list[Owner] = [
            self._links, self._discovery, self._keys, self._trust, self._limits, self._telling,
            self._streams, self._services, router.behind.prepare, self._components, self._domains,
            self._pins, self._uplinks,
            router.certificates.prepare, self._access,
        ]  # fmt: skip

    # -- settings that the parts read --------------------------------------------------------------------

    def _links(self, config: Config, changes: Changes) -> Step | None:
        """Whatever stands in the settings of the hub, and what is made of them."""
        if not changes.touch("name", "links", "dial", "caps", "trust", "dialback", "limits"):
            return None
        router, settings, dial = self._router, hub_settings(config), config.dial
        facts = router_facts(config, settings)
        backoff = BackOff(dial.backoff_first_s, dial.backoff_cap_s, dial.backoff_jitter)

        def commit() -> None:
            router.hub.settings = settings
            router.switch.max_hops = config.links.max_hops
            router.switch.memory.limit = config.links.duplicate_entries
            router.subscriptions.answer_s = config.links.answer_timeout_s
            limits = config.limits
            router.subscriptions.limits = SubscriptionLimits(
                limits.subscriptions, limits.subscriptions_per_domain
            )
            router.own.change(facts)
            router.federation.change(dial.hold_total_bytes)
            for table in (router.federation.destinations, router.federation.presence):
                table.change(backoff)
            router.preferences.read(config)
            router.chooser.forget()
            router.switch.ways.judge()

        return Step(commit)

    def _discovery(self, config: Config, changes: Changes) -> Step | None:
        """Name servers, limits of look-ups and of connections, and what may be dialled."""
        if not changes.touch("dns", "dial"):
            return None
        router, ask, validates = self._router, self._router.ask, self._router.validates
        asked = changes.touch("dns.nameservers", "dns.trust_ad")
        if not router.asks_by_itself and (asked or changes.touch("dns.query_timeout_s")):
            servers, question_s = config.dns.nameservers, config.dns.query_timeout_s
            asker = NameServerAsker(
                router.reactor, servers, question_s=question_s, trust_ad=config.dns.trust_ad,
                go_on=router.strangers_turns.go_on,
            )  # fmt: skip
            ask, validates = asker.ask, asker.trusts_ad
        cache_limits, find_limits = discovery_limits(config.dns)
        dial = config.dial
        guard = DialGuard(dial.allow_networks, dial.allow_ports_below_1024, config.taken_at)

        def commit() -> None:
            router.ask, router.validates = ask, validates
            router.finder.change(ask, find_limits)
            router.answers.keep(cache_limits)
            if asked:
                router.answers.clear()
            router.dialer.change(guard, (dial, config.dns))

        return Step(commit)

    def _keys(self, config: Config, _changes: Changes) -> Step | None:
        """The key file may hold other keys although its name is the same."""
        secrets, _ = dialback_secrets(config)
        ring = self._router.keyring
        if ring.holds(secrets):
            return None
        return Step(partial(ring.change, secrets), notes=("dial-back keys: others than before",))

    # -- trust and limits --------------------------------------------------------------------------------

    def _trust(self, config: Config, changes: Changes) -> Step | None:
        """Policies, caps, limits of dialling; what no longer satisfies the policy ends at once (rule 3)."""
        if not changes.touch("trust", "caps", "peer"):
            return None
        router, gatekeeper = self._router, self._router.gatekeeper
        policies = {Protocol.IMX: policy_table(config), Protocol.XMPP: xmpp_policy_table(config)}
        caps, dialling = cap_settings(config), dial_settings(config.caps)
        rates = connection_rates(config.caps)

        def commit() -> None:
            gatekeeper.judge_by(policies)
            gatekeeper.remembered.change(config.trust.remember_days * 86_400.0)
            if changes.touch("caps", "peer"):
                gatekeeper.change(caps, dialling if changes.touch("caps") else None)
            if changes.touch("caps"):
                gatekeeper.rates.change(rates)
                router.handshakes.change(config.caps.handshakes_per_s, config.caps.handshakes_reserved_share)
            self.weak.end(policies)
            federation = router.federation
            for entry in (*federation.destinations, *federation.presence):  # tried by the new policy
                if entry.last_error is not None and entry.last_error.reason in _BY_POLICY:
                    clear_waits(router, entry.domain)

        words, weak = "the proof of {} ends: weaker than its policy", self.weak.proofs(policies)
        return Step(commit, tuple(Touched(one, words.format(domain.decode())) for one, domain in weak))

    def _limits(self, config: Config, changes: Changes) -> Step | None:
        """Rates of senders and sizes, on open links too."""
        if not changes.touch("limits", "peer", "overload"):
            return None
        router, limits = self._router, config.limits
        rate = Rate.of(limits.sender_rate_per_s, limits.sender_burst)
        peers, exceptions = peer_rates(config), exception_rates(limits)

        def commit() -> None:
            router.rates.change(rate, limits.senders_per_domain)
            router.rates.cooldown_s = limits.cooldown_s
            router.limiting.configure(config)
            if changes.touch("limits.exceptions"):
                router.rates.set_exceptions(exceptions)
            router.peer_rates = peers
            router.provisioner.change(limits)
            for uplink in router.uplinks.dialers.values():
                uplink.change((rate.interval_s, rate.burst_s))
            for session in router.hub.sessions.values():
                if session.port.role is Role.PEER:
                    retermed(router, session)

        return Step(commit)

    def _telling(self, config: Config, changes: Changes) -> Step | None:
        """Masks, traces, rules by name, watched peers. What writes the log lines is an owner of its own."""
        router, log = self._router, config.log
        if len(changes.restart) == len(changes.all):
            return None

        def commit() -> None:
            router.mask.mode = Privacy(log.addresses)
            if changes.touch("log.trace_entries", "log.trace_age_s"):
                router.trace.change(log.trace_entries, log.trace_age_s)
            router.traces_deliveries = router.settling.listen(router.switch, config)
            router.steps.change(every=tells_every(config))
            router.rules.read(structs.replace(config, domains=()))  # the table of domains has them
            if changes.touch("metrics.watch", "qos", "peer"):
                router.quality.expect(config)
                router.figures.watch(always(config))

        return Step(commit)

    def _streams(self, config: Config, changes: Changes) -> Step | None:
        """Bounds of subscriptions of XMPP; what streams are held to is read with each of them."""
        if not changes.touch("xmpp"):
            return None
        return Step(lambda: self._router.streams.change(config))

    # -- services, domains, peers, uplinks ---------------------------------------------------------------

    def _services(self, config: Config, changes: Changes) -> Step | None:
        """Services that come, go, or have another key or other users."""
        if not changes.touch("service"):
            return None
        services, keys = self._router.services, service_keys(config.services)
        before = {one.name: _login(one) for one in self._router.config.services}
        kept = {one.name for one in config.services if before.get(one.name) == _login(one)}
        prepared = self._router.embeddings.prepare(config.services)
        gone = [
            Touched(session, f"closed in order: service {session.service} may not log in so any more")
            for session in services.concerned(kept)
        ]

        def commit() -> None:
            services.change(keys, kept)
            prepared()

        return Step(commit, tuple(gone))

    def _components(self, config: Config, changes: Changes) -> Step | None:
        """Who may connect; the file of a secret may hold another one although its name is the same."""
        components, secrets = self._router.components, component_secrets(config.services)
        if components.has(secrets) and not changes.touch("xmpp.components.allow"):
            return None
        words = "closed in order: the secret of service {} is another, or gone"
        shut, concerned = components.shut(config), components.concerned(secrets)
        links = [Touched(one, "ends: its address is not in xmpp.components.allow any more") for one in shut]
        links += [Touched(one, words.format(one.service)) for one in concerned if one not in shut]

        def commit() -> None:
            components.allow(config)
            components.change(secrets)

        return Step(commit, tuple(links))

    def _domains(self, config: Config, changes: Changes) -> Step | None:
        """Domains as the new file has them; where it says nothing new, as they were changed at run time."""
        if not changes.touch("domain", "service"):
            return None
        router = self._router
        names = frozenset(service.name for service in config.services)
        entries = changes.entries("domain")
        file: dict[str, ServedDomain | None] = dict.fromkeys(entries)
        file.update((one.name, served_domain(one)) for one in config.domains if one.name in entries)
        plan = router.run_time_domains.plan(file, names)

        def commit() -> None:
            gone, router.service_names = router.service_names - names, names
            # planned anew, for domains may have been changed while other processes were asked
            router.run_time_domains.commit(router.run_time_domains.plan(file, names))
            router.embeddings.settle()
            router.behind.settle()
            for name in gone:
                router.provisioner.forget(name)

        words = "{}: what was changed at run time goes: {}"
        notes = tuple(words.format(name, why) for name, why in plan.dropped.items())
        return Step(commit, tuple(self._losing(plan.wanted)), notes)

    def _losing(self, wanted: Iterable[ServedDomain]) -> Iterator[Touched]:
        """Links on which a claim ends because a domain goes; they stay open."""
        router = self._router
        names = {name.wire for record in wanted for name in record.names if not record.suspended}
        for session in router.hub.sessions.values():
            used = {ours for _, ours in router.switch.ways.of_port(session.port)}
            if session.service:
                used |= session.port.sources.keys()
            for domain in sorted(used - names):
                yield Touched(session, f"{domain.decode()} ends on it")

    def _pins(self, config: Config, changes: Changes) -> Step | None:
        """Addresses of pinned peers; links to others are used for them no more."""
        if not changes.touch("peer"):
            return None
        router = self._router
        pinned = {peer.domain: tuple(peer.endpoints) for peer in config.peers if peer.addresses}
        before = router.pinned
        changed = {name for name in before.keys() | pinned.keys() if before.get(name) != pinned.get(name)}
        anchors = pinned_anchors(config, router.certificates.intermediates)
        judged = others_trusted(router.link_tls.pinned, anchors)

        def left() -> list[tuple[Link, bytes]]:
            return [
                (session, domain)
                for session in router.hub.sessions.values()
                for domain in sorted({*session.reached, *session.port.sources})
                if domain.decode("ascii") in changed | judged and session.port.role is Role.PEER
                if session.side is not Side.OPENER
                or domain.decode("ascii") in judged
                or session.remote not in pinned.get(domain.decode("ascii"), ())
            ]

        def commit() -> None:
            before.clear()
            before.update(pinned)
            router.chooser.forget()
            router.link_tls.pinned = anchors
            router.services.judge_anew()  # who logs in by certificate may be trusted by such an anchor
            for session, domain in left():
                if session.side is Side.OPENER:
                    router.claimer.leave(session, domain)
                    close_unused(session)
                else:  # proved by way of the old addresses
                    router.verifier.drop_proof(session, domain, Reason.IDLE)
            for name in changed | judged:
                clear_waits(router, Domain(name))

        words = "the proof of {} ends: its addresses are others, or whom its certificate is trusted by"
        return Step(commit, tuple(Touched(one, words.format(domain.decode())) for one, domain in left()))

    def _access(self, config: Config, _changes: Changes) -> Step | None:
        """Lists and what strangers may do; files are read at the next tick, off the reactor's thread."""
        access, contacts = self._router.access, first_contacts(config.services)
        if access.runs_with(config.access, contacts):
            return None
        return Step(partial(access.change, config.access, contacts))

    def _uplinks(self, config: Config, _changes: Changes) -> Step | None:
        """Uplinks that come, go, or have another address or key; the file of a key may hold another one."""
        uplinks = self._router.uplinks
        wanted = {uplink.name: (uplink, key_bytes(uplink)) for uplink in config.uplinks}
        running = uplinks.terms
        gone = [name for name in running if name not in wanted or running[name] != wanted[name]]
        new = [name for name in wanted if name not in running or running[name] != wanted[name]]
        if not gone and not new:
            return None
        for name in new:
            if wanted[name][0].anchor:
                anchors_from((wanted[name][0].anchor,))  # that it can be read
        sessions = [(name, uplinks.dialers[name].session) for name in gone]

        def commit() -> None:
            for name in gone:
                uplinks.end(name)
            for name in new:
                uplinks.add(wanted[name][0]).start()

        words = "closed in order: uplink {} is another, or gone"
        links = tuple(Touched(one, words.format(name)) for name, one in sessions if one is not None)
        return Step(commit, links)


def _login(service: Service) -> tuple[object, ...]:
    """All by which a service is known when it logs in."""
    return service.kind, service.key, service.certificate


def retermed(router: Parts, session: Link) -> None:
    """Let the senders of the domains proved on a link have the limits of this moment."""
    sources = session.port.sources
    for domain, proof in sources.items():
        level, allowed, until, _, _, largest = proof
        interval_s, burst_s = router.gatekeeper.terms(domain)
        sources[domain] = (level, allowed, until, interval_s, burst_s, largest)
