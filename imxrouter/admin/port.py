"""What the API needs of a router. `app.py` provides it; tests use a double.

Every method may return its value or a Deferred of it, and may raise (or fail with) `AdminError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from imxrouter.admin.certs_views import CertsReload, CertsView
from imxrouter.admin.config_routes import ConfigPort
from imxrouter.admin.detail import DoctorView, PeerDetailView, TracesView, TraceView
from imxrouter.admin.policy_port import PolicyPort
from imxrouter.admin.report import PeerReportView
from imxrouter.admin.user_port import PresencePort, SettingsPort
from imxrouter.admin.views import (
    AttributesView,
    DomainDiff,
    DomainView,
    DrainView,
    InsideView,
    LimitView,
    LinkView,
    LookupView,
    MessageView,
    OutcomeView,
    PeerChange,
    PeerView,
    RecordsView,
    StatusView,
)

#: Ends a watch; calling it twice does nothing.
Stop = Callable[[], None]


@dataclass(frozen=True, slots=True)
class InsideAsked:
    """Which file is wanted of `dns_inside`; what is empty is as the configuration has it.

    Attributes:
        resolver: a word of `discovery.inside_dns.ResolverName`.
        service: whose server will ask it, where several are behind this router.
        passes: further domains that are answered as published.
        upstreams: resolvers that know what is published, as `ADDRESS` or `ADDRESS:PORT`.
        listen: where it answers; empty: as usual.
    """

    resolver: str
    service: str = ""
    passes: Sequence[str] = ()
    upstreams: Sequence[str] = ()
    listen: str = ""


class AdminPort(Protocol):
    """The router as operators see it."""

    @property
    def presence(self) -> PresencePort:
        """Presence of users of embedded services, and subscriptions."""

    @property
    def configuration(self) -> ConfigPort:
        """The configuration that is in force."""

    @property
    def settings(self) -> SettingsPort:
        """What users of embedded services set."""

    @property
    def policy(self) -> PolicyPort:
        """Block and allow lists."""

    def status(self) -> StatusView | Deferred[StatusView]:
        """Tell how this process is."""

    def drain(self, deadline_s: float | None) -> DrainView | Deferred[DrainView]:
        """Take the host out of service, kept until `undrain`."""

    def undrain(self) -> DrainView | Deferred[DrainView]:
        """Take the host back into service."""

    def limits(self) -> list[LimitView] | Deferred[list[LimitView]]:
        """Tell how each limit stands."""

    def links(self) -> list[LinkView] | Deferred[list[LinkView]]:
        """List the links."""

    def peers(self) -> list[PeerView] | Deferred[list[PeerView]]:
        """List the remote domains that are known."""

    def peer(self, name: str) -> PeerDetailView | Deferred[PeerDetailView]:
        """Tell all that is known of a remote domain."""

    def peer_retry(self, name: str) -> PeerChange | Deferred[PeerChange]:
        """Clear what keeps a remote domain from being tried now, and ask DNS for it anew."""

    def peer_forget(self, name: str) -> PeerChange | Deferred[PeerChange]:
        """Forget the strongest level that a remote domain was seen at."""

    def peer_report(self, name: str, since_s: float | None) -> PeerReportView | Deferred[PeerReportView]:
        """Tell how a remote domain was in the last seconds; a day where none are given."""

    def domains(self) -> list[DomainView] | Deferred[list[DomainView]]:
        """List the domains served here."""

    def dns_lookup(self, domain: str) -> LookupView | Deferred[LookupView]:
        """Look a domain up as for a message to it, past the cache."""

    def dns_records(self, domain: str) -> RecordsView | Deferred[RecordsView]:
        """Say what to publish for a domain, in all three forms."""

    def dns_inside(self, asked: InsideAsked) -> InsideView | Deferred[InsideView]:
        """Write the file of a resolver that leads a server's outside domains here."""

    def send(
        self, source: str, destination: str, text: str, *, html: bool = False
    ) -> OutcomeView | Deferred[OutcomeView]:
        """Send a message as a user of an embedded service; answer when its outcome is known."""

    def attributes(
        self, owner: str, names: Sequence[str], requester: str, *, fresh: bool
    ) -> AttributesView | Deferred[AttributesView]:
        """Ask for attributes as a user of an embedded service or as a domain served here."""

    def watch(self, user: str, emit: Callable[[MessageView], None]) -> Stop:
        """Call `emit` for each message to a user until the returned function is called."""

    def domain_add(self, entry: Mapping[str, Any]) -> DomainDiff | Deferred[DomainDiff]:
        """Serve one more domain; keys as in [[domain]]."""

    def domain_change(self, name: str, changes: Mapping[str, Any]) -> DomainDiff | Deferred[DomainDiff]:
        """Change keys of a served domain; null takes one away."""

    def domain_remove(self, name: str) -> DomainDiff | Deferred[DomainDiff]:
        """Stop serving a domain."""

    def domain_doctor(self, name: str) -> DoctorView | Deferred[DoctorView]:
        """Look at a served domain as a peer does, and say what to publish."""

    def check(self, domain: str, ours: str, timeout_s: float) -> Deferred[dict[str, Any]] | dict[str, Any]:
        """Check a domain as one of ours; answers as `imxctl check` does."""

    def certs(self) -> CertsView | Deferred[CertsView]:
        """List our certificates."""

    def certs_reload(self) -> CertsReload | Deferred[CertsReload]:
        """Read the folder of our certificates again."""

    def trace(self, message_id: str) -> TraceView | Deferred[TraceView]:
        """Tell the steps of a message; its id in hexadecimal."""

    def traces(
        self, source: str, destination: str, since_s: float | None
    ) -> TracesView | Deferred[TracesView]:
        """List the messages that are traced, by sender and recipient: address, domain, or empty for any."""
