"""The router as operators see it: what the administration socket answers (`admin.port.AdminPort`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed

from imxrouter.admin.certs_views import CertsReload, CertsView
from imxrouter.admin.detail import DoctorView, PeerDetailView, TracesView, TraceView
from imxrouter.admin.errors import AdminError
from imxrouter.admin.port import InsideAsked
from imxrouter.admin.report import PeerReportView
from imxrouter.admin.views import (
    AttributesView,
    DomainView,
    DrainView,
    InsideView,
    LimitView,
    LookupView,
    MessageView,
    OutcomeView,
    PeerChange,
    PeerView,
    RecordsView,
    StatusView,
)
from imxrouter.admin.views import (
    DomainDiff as DiffView,
)
from imxrouter.app.operators.asking import ask_attributes
from imxrouter.app.operators.checking import check_as
from imxrouter.app.operators.config_view import ConfigConsole
from imxrouter.app.operators.console_policy import PolicyConsole
from imxrouter.app.operators.console_presence import PresenceConsole
from imxrouter.app.operators.console_settings import SettingsConsole
from imxrouter.app.operators.dnsview import look_up, records_of
from imxrouter.app.operators.doctor import Doctor
from imxrouter.app.operators.inside_view import inside_view
from imxrouter.app.operators.limitview import limits_view, overload_view
from imxrouter.app.operators.linkview import behind_view, link_view, peer_tls
from imxrouter.app.operators.peerview import claims_towards, clear_waits, peer_detail
from imxrouter.app.operators.report import peer_report
from imxrouter.app.operators.traceview import trace_view, traces_view
from imxrouter.app.served.provisioning import domain_entry, served_domain
from imxrouter.app.storing import store_view
from imxrouter.config.load import parse_domain
from imxrouter.config.net import parse_name
from imxrouter.config.problems import ConfigError
from imxrouter.formats.html_lite import BadHtml
from imxrouter.gateways.embedded.texts import shown
from imxrouter.model.address import Address, BadAddress
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.operations import Kind, Message
from imxrouter.model.outcome import Outcome, failed_at
from imxrouter.routing.choice import Protocol
from imxrouter.routing.destinations import Destination
from imxrouter.routing.domains import DomainClash, DomainDiff, NotServed, ServedDomain
from imxrouter.routing.policy import BOUND, Policy
from imxrouter.switch import slots
from imxrouter.transport.draining import DrainState

if TYPE_CHECKING:
    from imxrouter.app.whole import Whole

#: The drain's states in the words of status.
_STATES = {
    DrainState.RUNNING: "running",
    DrainState.MOVING: "draining",
    DrainState.CLOSING: "draining",
    DrainState.DRAINED: "drained",
}

#: Keys of a served domain that a request may give; those of [[domain]].
_FIELDS = (
    "service", "tenant", "policy", "state", "aliases", "protocols", "max_message_bytes",
    "subscription_lifetime_s", "abuse_contact", "first_contact", "content_types", "attributes",
    "hidden_attributes",
)  # fmt: skip


class Console:
    """Implements `AdminPort` for a router.

    Attributes:
        presence: of users.
        configuration: in force, and read again.
        settings: of users.
        policy: block and allow lists.
    """

    def __init__(self, router: Whole) -> None:
        self._router = router
        self.presence = PresenceConsole(router)
        self.configuration = ConfigConsole(router)
        self.settings = SettingsConsole(router, self.presence)
        self.policy = PolicyConsole(router)

    # -- how it is ---------------------------------------------------------------------------------------

    def status(self) -> StatusView:
        """Tell how this process is."""
        router = self._router
        ready, why = router.ready()
        counters = router.hub.switch.counters
        return StatusView(
            name=router.config.name,
            role=router.config.role,
            version=router.version,
            process=router.config.process,
            state=_STATES[router.drain.state],
            ready=ready,
            why=why,
            uptime_s=round(router.metrics.uptime_s, 3),
            listening=router.listening(),
            domains=len(router.domains),
            links=len(router.hub.sessions),
            in_flight=len(router.hub.switch.ledger.entries),
            held=router.federation.held[0],
            counters={
                word: sum(counters[kind * slots.KIND_STRIDE + place] for kind in range(len(Kind)))
                for place, word in enumerate(slots.RESULTS)
            },
            store=store_view(router.store.health()),
            overload=overload_view(router),
            drain=router.draining.view(),
        )

    def drain(self, deadline_s: float | None) -> DrainView:
        """Take the host out of service; within the configured deadline unless another is given."""
        router = self._router
        return router.draining.drain(router.config.drain.deadline_s if deadline_s is None else deadline_s)

    def undrain(self) -> DrainView:
        """Take the host back into service."""
        return self._router.draining.undrain()

    def limits(self) -> list[LimitView]:
        """Tell how each limit stands."""
        return limits_view(self._router)

    def links(self) -> list[Any]:
        """List the links."""
        now, ways = self._router.hub.now(), self._router.switch.ways
        inside = [behind_view(session, now) for session in self._router.behind.streams()]
        return [*(link_view(one, now, ways) for one in self._router.hub.sessions.values()), *inside]

    def peers(self) -> list[PeerView]:
        """List the remote domains that are known."""
        known = {(entry.domain, entry.protocol): entry for entry in self._router.federation.destinations}
        rows = dict.fromkeys(known)
        for session in self._router.hub.sessions.values():
            if not session.service:
                names = (Domain(raw.decode("ascii")) for raw in session.port.speaks if raw != b"*")
                rows.update(dict.fromkeys((name, session.protocol) for name in names))
        by_name = sorted(rows, key=lambda row: (row[0], row[1].value))
        return [self._peer(*row, known.get(row)) for row in by_name]

    def _peer(self, domain: Domain, protocol: Protocol, entry: Destination | None) -> PeerView:
        router, now = self._router, self._router.hub.now()
        links = [
            s for s in router.hub.sessions.values()
            if domain.wire in s.port.speaks and s.protocol is protocol
        ]  # fmt: skip
        error = entry.last_error if entry is not None else None
        waiting = entry is not None and entry.state.value == "failing"
        return PeerView(
            domain=domain.name,
            protocol=protocol.value,
            state=entry.state.value if entry is not None else "calls us",
            source="pinned" if domain.name in router.pinned else "dns",
            policy=router.gatekeeper.all_policies[protocol].policy_for(domain).value,
            **peer_tls(links, domain.wire),
            targets=sorted({f"{s.remote[0]}:{s.remote[1]}" for s in links if domain.wire in s.reached}),
            links=len(links),
            held=router.federation.holding.count(domain.wire, protocol),
            last_error=f"{error.reason.stage.value}: {error.reason.word} {error.note}".strip()
            if error
            else "",
            next_try_s=round(max(0.0, entry.next_try - now), 1) if entry is not None and waiting else None,
        )

    def peer(self, name: str) -> PeerDetailView:
        """Tell all that is known of a remote domain."""
        return peer_detail(self._router, _domain(name))

    def peer_report(self, name: str, since_s: float | None) -> PeerReportView:
        """Tell how a remote domain was in the last seconds."""
        return peer_report(self._router, _domain(name), since_s)

    def peer_retry(self, name: str) -> Deferred[PeerChange]:
        """Clear what keeps a remote domain from being tried now, and ask DNS for it anew."""
        router, domain = self._router, _domain(name)
        tables = (router.federation.destinations, router.federation.presence)
        if not any(table.of(domain) for table in tables) and not claims_towards(router, domain):
            raise AdminError("not-found", f"nothing was sent to {domain} lately", "peer", "see imxctl peers")
        cleared = clear_waits(router, domain)
        router.log.info("{domain} is to be tried again: {what}", domain=domain.name, what=", ".join(cleared))
        view = PeerChange(domain=domain.name, cleared=cleared)
        if domain.name in router.pinned:
            return succeed(view)
        return look_up(router.finder, domain).addCallback(lambda _: view)

    def peer_forget(self, name: str) -> PeerChange:
        """Forget the strongest level that a remote domain was seen at."""
        router, domain = self._router, _domain(name)
        remembered = router.gatekeeper.remembered
        router.chooser.forget(domain)
        now = router.hub.now()
        words = []
        for protocol in (Protocol.IMX, Protocol.XMPP):
            ways = (remembered.seen(domain, now, reached=one, protocol=protocol) for one in (False, True))
            strength = reduce(or_, ways) & ~BOUND
            words += [
                policy.value if protocol is Protocol.IMX else f"{policy.value} ({protocol.value})"
                for policy in Policy
                if policy.level == strength
            ]
        if not remembered.forget(domain) or not words:
            raise AdminError("not-found", f"nothing is remembered of {domain}", "peer", "see imxctl peers")
        what = ", ".join(words)
        router.log.info("the level of {domain} is forgotten: {what}", domain=domain.name, what=what)
        return PeerChange(domain=domain.name, cleared=words)

    # -- served domains ----------------------------------------------------------------------------------

    def domains(self) -> list[DomainView]:
        """List the domains served here."""
        return [self._domain(record) for record in self._router.domains]

    def _domain(self, record: ServedDomain) -> DomainView:
        route = self._router.hub.switch.routes.get(record.name.wire)
        return DomainView(
            name=record.name.name,
            state=record.state.value,
            service=record.service,
            tenant=record.tenant,
            aliases=[alias.name for alias in record.aliases],
            policy=record.policy or "",
            up=bool(route is not None and route.ports) and not record.suspended,
            as_in_file=not self._router.run_time_domains.is_kept(record.name),
        )

    def domain_add(self, entry: Mapping[str, Any]) -> DiffView:
        """Serve one more domain; keys as in [[domain]]."""
        return self._apply("added", self._router.domains.add, self._record(entry))

    def domain_change(self, name: str, changes: Mapping[str, Any]) -> DiffView:
        """Change keys of a served domain; null takes one away."""
        changed = {**domain_entry(self._served(name)), **changes}
        entry = {key: value for key, value in changed.items() if value is not None}
        return self._apply("changed", self._router.domains.change, self._record(entry))

    def domain_remove(self, name: str) -> DiffView:
        """Stop serving a domain."""
        record = self._served(name)
        return self._apply("removed", lambda record: self._router.domains.remove(record.name), record)

    def domain_doctor(self, name: str) -> Deferred[DoctorView]:
        """Look at a served domain as a peer does."""
        return Doctor(self._router, _domain(name)).run()

    def _served(self, name: str) -> ServedDomain:
        record = self._router.domains.get(_domain(name))
        if record is None:
            raise AdminError("not-found", f"{name} is not served here", "domain", "see imxctl domains")
        return record

    def _record(self, entry: Mapping[str, Any]) -> ServedDomain:
        try:
            parsed = parse_domain(dict(entry))
        except ConfigError as error:
            problem = error.problems[0]
            raise AdminError("bad-request", problem.what, problem.path, problem.do) from None
        if parsed.certificate:
            do = "put it into the folder tls.certificates, which is watched"
            raise AdminError("bad-request", "a certificate is named in files only", "certificate", do)
        if parsed.service not in self._router.service_names:
            known = ", ".join(sorted(self._router.service_names))
            raise AdminError("bad-request", f"no service {parsed.service!r}", "service", f"one of: {known}")
        return served_domain(parsed)

    def _apply(
        self, action: str, apply: Callable[[ServedDomain], DomainDiff], record: ServedDomain
    ) -> DiffView:
        try:
            diff = apply(record)
        except DomainClash as clash:
            raise AdminError("conflict", str(clash), record.name.name, "choose another name") from None
        except NotServed as error:
            raise AdminError("not-found", str(error), record.name.name) from None
        return _diff_view(action, record.name.name, diff, kept=self._router.run_time_domains.keep(diff))

    # -- DNS ---------------------------------------------------------------------------------------------

    def dns_lookup(self, domain: str) -> Deferred[LookupView]:
        """Look a domain up as for a message to it, past the cache."""
        return look_up(self._router.finder, _domain(domain))

    def dns_records(self, domain: str) -> RecordsView:
        """Say what to publish for a domain, by each of its protocols."""
        return records_of(self._router, _domain(domain))

    def dns_inside(self, asked: InsideAsked) -> InsideView:
        """Write the file of a resolver that leads a server's outside domains here."""
        return inside_view(self._router.config, self._router.domains, asked)

    def check(self, domain: str, ours: str, timeout_s: float) -> Deferred[dict[str, Any]]:
        """Check a domain as one of ours."""
        checking = check_as(self._router, _domain(domain), _domain(ours), timeout_s)
        return checking.addCallback(dict)

    # -- messages ----------------------------------------------------------------------------------------

    def send(self, source: str, destination: str, text: str, *, html: bool = False) -> Deferred[OutcomeView]:
        """Send a message as a user of an embedded service; answer when its outcome is known."""
        try:
            sender, recipient = Address.parse(source), Address.parse(destination)
        except (BadAddress, BadDomain) as error:
            raise AdminError("bad-request", str(error), "address", "write local@domain") from None
        service = self._router.embedded_for(sender)
        if service is None:
            raise AdminError(
                "not-found",
                f"{sender} is not a user of an embedded service here",
                "source",
                "see imxctl domains",
            )
        answered: Deferred[OutcomeView] = Deferred()
        started = time.monotonic()

        def answer(outcome: Outcome) -> None:
            answered.callback(_outcome_view(message, outcome, time.monotonic() - started))

        try:
            message = service.compose(sender, recipient, text, html=html)
        except BadHtml as error:
            raise AdminError("bad-request", str(error), "text", "write less") from None
        self._router.submit(message, answer)
        return answered

    def attributes(
        self, owner: str, names: Sequence[str], requester: str, *, fresh: bool
    ) -> Deferred[AttributesView]:
        """Ask for attributes as a user of an embedded service or as a domain served here."""
        return ask_attributes(self._router, owner, names, requester, fresh=fresh)

    def watch(self, user: str, emit: Callable[[MessageView], None]) -> Callable[[], None]:
        """Call `emit` for each message to a user until the returned function is called."""
        try:
            address = Address.parse(user)
        except (BadAddress, BadDomain) as error:
            raise AdminError("bad-request", str(error), "user", "write local@domain") from None
        service = self._router.embedded_for(address)
        if service is None:
            raise AdminError("not-found", f"{user} is not a user of an embedded service here", "user")
        return service.watch(address, lambda message: emit(_message_view(message)))

    # -- certificates ------------------------------------------------------------------------------------

    def certs(self) -> CertsView:
        """List our certificates."""
        records = self._router.domains
        return self._router.certificates.view(name for one in records for name in (one.name, *one.aliases))

    def certs_reload(self) -> Deferred[CertsReload]:
        """Read the folder of our certificates again, in every process of the host."""
        return self._router.certificates_everywhere.reload()

    # -- traces ------------------------------------------------------------------------------------------

    def trace(self, message_id: str) -> TraceView:
        """Tell the steps of a message; its id in hexadecimal."""
        return trace_view(self._router, message_id)

    def traces(self, source: str, destination: str, since_s: float | None) -> TracesView:
        """List messages by sender and recipient."""
        return traces_view(self._router, source, destination, since_s)


def _domain(text: str) -> Domain:
    try:
        return parse_name(text)
    except BadDomain as error:
        raise AdminError("bad-request", str(error), "domain", "write a domain name") from None


def _diff_view(action: str, name: str, diff: DomainDiff, *, kept: bool) -> DiffView:
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for change in diff.changed:
        for item in change.fields:
            before[item.field] = _plain(item.before, item.field)
            after[item.field] = _plain(item.after, item.field)
    for record in diff.added:
        after = {name: _plain(getattr(record, name), name) for name in _FIELDS}
    for record in diff.removed:
        before = {name: _plain(getattr(record, name), name) for name in _FIELDS}
    return DiffView(
        name=name, action=action if diff else "unchanged", before=before, after=after, kept=kept
    )  # fmt: skip


def _plain(value: Any, field: str = "") -> Any:
    if field == "attributes":
        return dict(value)
    if isinstance(value, (tuple, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, Domain):
        return value.name
    return getattr(value, "value", value)


def _outcome_view(message: Message, outcome: Outcome, seconds: float) -> OutcomeView:
    decided_by, decided_role = outcome.decided_by, outcome.decided_role
    if outcome.ok and not decided_by:  # plain success says nothing more: the recipient's service has it
        decided_by, decided_role = message.destination.domain.name, "service"
    where = message.destination.domain.name
    return OutcomeView(
        id=message.message_id.hex(), status=outcome.status.name.lower(), reason=outcome.reason.word,
        stage=outcome.reason.stage.value, decided_by=decided_by, decided_role=decided_role,
        failed_at="" if outcome.ok else failed_at(outcome.reason, decided_by, where),
        retry="" if outcome.ok else outcome.reason.retry.value, retry_after_s=outcome.retry_after_s,
        note=outcome.note, remedy="" if outcome.ok else outcome.reason.remedy, seconds=round(seconds, 6),
        left=outcome.left,
    )  # fmt: skip


def _message_view(message: Message) -> MessageView:
    return MessageView(
        at=time.time(), id=message.message_id.hex(), source=str(message.source),
        destination=str(message.destination), content_type=message.content_type,
        text=shown(message),
    )  # fmt: skip
