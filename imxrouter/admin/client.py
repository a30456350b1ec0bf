"""A small synchronous client over the unix socket, for the command line. Does not import twisted."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, cast
from urllib.parse import quote

from imxrouter.admin.certs_views import VIEWS as CERTS_VIEWS
from imxrouter.admin.certs_views import CertsReload, CertsView
from imxrouter.admin.config_views import VIEWS as CONFIG_VIEWS
from imxrouter.admin.config_views import ConfigView, ReloadView, SettingView
from imxrouter.admin.detail import VIEWS as DETAIL_VIEWS
from imxrouter.admin.detail import DoctorView, PeerDetailView, TracesView, TraceView, VerdictView
from imxrouter.admin.errors import STATUS, AdminError, AdminUnreachable, Kind
from imxrouter.admin.policy_client import PolicyClient
from imxrouter.admin.policy_views import VIEWS as POLICY_VIEWS
from imxrouter.admin.policy_views import AbuseReportView, AccessListView, ExplainView
from imxrouter.admin.report import VIEWS as REPORT_VIEWS
from imxrouter.admin.report import KindView, MeasureView, OutageView, PeerReportView, TimesView
from imxrouter.admin.user_client import UserClient
from imxrouter.admin.user_views import VIEWS as USER_VIEWS
from imxrouter.admin.user_views import (
    ContactsView,
    FetchView,
    NoteView,
    PresenceView,
    RulesView,
    SeenView,
    StateView,
    SubscriptionsView,
    SubscriptionView,
    UserView,
    WatchersView,
    WatcherView,
)
from imxrouter.admin.views import (
    AttributesView,
    AttributeView,
    ClaimView,
    DomainDiff,
    DomainView,
    DrainView,
    InsideView,
    LimitView,
    LinkView,
    LookupView,
    MessageView,
    OffenderView,
    OutcomeView,
    OverloadView,
    PeerChange,
    PeerView,
    RecordsView,
    StatusView,
    StoreView,
    StreamView,
    TargetView,
)

__all__ = [
    "VIEWS",
    "AbuseReportView",
    "AccessListView",
    "AdminClient",
    "AdminError",
    "AdminUnreachable",
    "AttributeView",
    "AttributesView",
    "CertsReload",
    "CertsView",
    "ConfigView",
    "ContactsView",
    "DoctorView",
    "DomainDiff",
    "DomainView",
    "DrainView",
    "ExplainView",
    "FetchView",
    "InsideView",
    "KindView",
    "LimitView",
    "LinkView",
    "MeasureView",
    "MessageView",
    "NoteView",
    "OutageView",
    "OutcomeView",
    "PeerChange",
    "PeerDetailView",
    "PeerReportView",
    "PeerView",
    "PresenceView",
    "ReloadView",
    "RulesView",
    "SeenView",
    "SettingView",
    "StateView",
    "StoreView",
    "SubscriptionView",
    "SubscriptionsView",
    "TimesView",
    "UserClient",
    "UserView",
    "VerdictView",
    "WatcherView",
    "WatchersView",
]

#: The shapes of all answers, outer ones first; for the reference page.
VIEWS: tuple[type, ...] = (
    StatusView, DrainView, StoreView, OverloadView, LimitView, OffenderView, LinkView, StreamView, ClaimView,
    PeerView, PeerChange,
    DomainView, DomainDiff, OutcomeView, AttributesView, AttributeView, MessageView, LookupView, TargetView,
    RecordsView, InsideView, *DETAIL_VIEWS, *REPORT_VIEWS, *USER_VIEWS, *CERTS_VIEWS, *CONFIG_VIEWS,
    *POLICY_VIEWS,
)  # fmt: skip

#: Longer than a held message waits (15 s) and its answer may take (30 s).
TIMEOUT_S = 60.0

#: Reading 100,000 domains in each process, one after the other where they share a core.
RELOAD_S = 300.0

#: What the registry has to say of a refusal.
_WORDS = ("reason", "stage", "retry", "retry_after_s")

#: A check takes at most so many of its time-outs, and then as long as a request may take here (its defaults
#: are 15 s held and 30 s for the answer).
CHECK_PARTS = 8
CHECK_EXCHANGE_S = 120.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the path instead of a host; called by http.client."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class AdminClient:
    """Asks one router.

    Every method raises `AdminUnreachable` when no router answers and `AdminError` when it refuses.
    """

    def __init__(self, path: str, timeout_s: float = TIMEOUT_S) -> None:
        """Take the path of the socket; nothing is opened yet."""
        self._path, self._timeout_s = path, timeout_s

    def status(self) -> StatusView:
        """Tell how the process is."""
        return cast("StatusView", self._ask("GET", "status"))

    def drain(self, deadline_s: float | None = None) -> DrainView:
        """Take the host out of service."""
        given = {} if deadline_s is None else {"deadline_s": deadline_s}
        return cast("DrainView", self._ask("POST", "drain", body=given))

    def undrain(self) -> DrainView:
        """Take the host back into service."""
        return cast("DrainView", self._ask("POST", "undrain"))

    def limits(self) -> list[LimitView]:
        """Tell how each limit stands."""
        return cast("list[LimitView]", self._ask("GET", "limits"))

    def links(self) -> list[LinkView]:
        """List the links."""
        return cast("list[LinkView]", self._ask("GET", "links"))

    def peers(self) -> list[PeerView]:
        """List the remote domains."""
        return cast("list[PeerView]", self._ask("GET", "peers"))

    def peer(self, name: str) -> PeerDetailView:
        """Tell all that is known of a remote domain."""
        return cast("PeerDetailView", self._ask("GET", "peers", name))

    def peer_retry(self, name: str) -> PeerChange:
        """Clear the back-off of a remote domain."""
        return cast("PeerChange", self._ask("POST", "peers", name, "retry"))

    def peer_forget(self, name: str) -> PeerChange:
        """Forget the strongest level seen of a remote domain."""
        return cast("PeerChange", self._ask("POST", "peers", name, "forget"))

    def peer_report(self, name: str, since_s: float | None = None) -> PeerReportView:
        """Tell how a remote domain was in the last seconds, or in the last day."""
        return cast("PeerReportView", self._ask("POST", "peers", name, "report", body={"since_s": since_s}))

    def config(self) -> ConfigView:
        """Tell what is in force."""
        return cast("ConfigView", self._ask("GET", "config"))

    def config_reload(self, *, dry_run: bool) -> ReloadView:
        """Read the files again and apply what is new, or say what that would do."""
        patient = AdminClient(self._path, RELOAD_S)
        return cast("ReloadView", patient._ask("POST", "config", "reload", body={"dry_run": dry_run}))

    def domains(self) -> list[DomainView]:
        """List the domains served."""
        return cast("list[DomainView]", self._ask("GET", "domains"))

    def domain_add(self, entry: Mapping[str, Any]) -> DomainDiff:
        """Serve one more domain."""
        return cast("DomainDiff", self._ask("POST", "domains", body=entry))

    def domain_change(self, name: str, changes: Mapping[str, Any]) -> DomainDiff:
        """Change keys of a domain."""
        return cast("DomainDiff", self._ask("PATCH", "domains", name, body=changes))

    def domain_remove(self, name: str) -> DomainDiff:
        """Stop serving a domain."""
        return cast("DomainDiff", self._ask("DELETE", "domains", name))

    def domain_doctor(self, name: str) -> DoctorView:
        """Look at a served domain as a peer does."""
        return cast("DoctorView", self._ask("GET", "domains", name, "doctor"))

    def dns_lookup(self, domain: str) -> LookupView:
        """Look a domain up."""
        return cast("LookupView", self._ask("GET", "dns", "lookup", domain))

    def dns_records(self, domain: str) -> RecordsView:
        """Say what to publish."""
        return cast("RecordsView", self._ask("GET", "dns", "records", domain))

    def dns_inside(
        self,
        resolver: str,
        service: str = "",
        passes: Sequence[str] = (),
        upstreams: Sequence[str] = (),
        listen: str = "",
    ) -> InsideView:
        """Write a resolver's file that leads a server's outside domains to the router."""
        body = {"for": resolver, "service": service, "listen": listen}
        lists = {"pass": list(passes), "upstream": list(upstreams)}
        return cast("InsideView", self._ask("POST", "dns", "inside", body={**body, **lists}))

    def send(self, source: str, destination: str, text: str, *, html: bool = False) -> OutcomeView:
        """Send a message, plain text or text/html-lite, and wait for its outcome."""
        body = {"from": source, "to": destination, "text": text, "html": html}
        return cast("OutcomeView", self._ask("POST", "messages", body=body))

    def check(self, domain: str, ours: str, timeout_s: float) -> dict[str, Any]:
        """Check a domain as one of ours; answers as `probe.report.CheckView` has it."""
        body = {"domain": domain, "as": ours, "timeout_s": timeout_s}
        patient = AdminClient(self._path, CHECK_PARTS * timeout_s + CHECK_EXCHANGE_S)
        return cast("dict[str, Any]", patient._ask("POST", "checks", body=body))

    def attributes(
        self, owner: str, names: Sequence[str] = (), requester: str = "", *, fresh: bool = False
    ) -> AttributesView:
        """Ask for attributes of a user or of a domain, as a user or domain of the router's."""
        body = {"owner": owner, "names": list(names), "as": requester, "fresh": fresh}
        return cast("AttributesView", self._ask("POST", "attributes", body=body))

    def certs(self) -> CertsView:
        """List the router's certificates."""
        return cast("CertsView", self._ask("GET", "certs"))

    def certs_reload(self) -> CertsReload:
        """Have it read their folder again."""
        return cast("CertsReload", self._ask("POST", "certs", "reload"))

    def trace(self, message_id: str) -> TraceView:
        """Tell the steps of a message."""
        return cast("TraceView", self._ask("GET", "trace", message_id))

    def user(self, user: str) -> UserClient:
        """Ask about a user of an embedded service, or act for him."""
        return UserClient(
            lambda method, parts, body: self._ask(method, *parts, body=body), self._stream, user
        )

    @property
    def policy(self) -> PolicyClient:
        """Block and allow lists."""
        return PolicyClient(lambda method, parts, body: self._ask(method, *parts, body=body))

    def traces(self, source: str, destination: str, since_s: float | None) -> TracesView:
        """List traced messages by sender and recipient."""
        body = {"from": source, "to": destination, "since_s": since_s}
        return cast("TracesView", self._ask("POST", "traces", body=body))

    def watch(self, user: str) -> Iterator[MessageView]:
        """Give each message to a user as it comes.

        Raises:
            AdminUnreachable: also when the router ends the watch, as it does when it stops.
        """
        return self._stream(("watch", user))

    def _stream(self, parts: tuple[str, ...]) -> Iterator[Any]:
        with _Exchange(self._path, None) as exchange:
            answer = exchange.ask("GET", _path(*parts), None)
            while line := answer.readline():
                if line.strip():
                    yield json.loads(line)
        raise AdminUnreachable(f"the router at {self._path} ended the watch", "watch again once it is back")

    def _ask(self, method: str, *parts: str, body: Mapping[str, Any] | None = None) -> Any:
        with _Exchange(self._path, self._timeout_s) as exchange:
            return _json(exchange.ask(method, _path(*parts), body).read())


class _Exchange:
    """One request; turns socket errors into `AdminUnreachable` and error answers into `AdminError`."""

    def __init__(self, path: str, timeout_s: float | None) -> None:
        self._path = path
        self._link = _UnixConnection(path, cast("float", timeout_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._link.close()
        if isinstance(error, OSError | http.client.HTTPException):
            raise self._unreachable(error) from None

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> http.client.HTTPResponse:
        """Send the request and read the head of its answer."""
        content = None if body is None else json.dumps(body).encode()
        self._link.request(method, path, content, {"Content-Type": "application/json"} if content else {})
        answer = self._link.getresponse()
        if answer.status != http.client.OK:
            raise _refusal(answer.status, answer.read())
        return answer

    def _unreachable(self, error: Exception) -> AdminUnreachable:
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            do = "start the router, or name its socket with --socket or IMXROUTER_ADMIN"
            return AdminUnreachable(f"no router listens at {self._path}", do)
        if isinstance(error, PermissionError):
            return AdminUnreachable(f"{self._path} may not be opened", "run as the router's user")
        if isinstance(error, TimeoutError):
            return AdminUnreachable(f"the router at {self._path} does not answer", "see its log")
        return AdminUnreachable(f"{self._path}: {str(error) or type(error).__name__}", "see the router's log")


def _path(*parts: str) -> str:
    return "/v1/" + "/".join(quote(part, safe="@") for part in parts)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        raise AdminUnreachable("the answer is no JSON", "is this the socket of imxrouter?") from None


def _refusal(status: int, raw: bytes) -> AdminError:
    kinds: dict[int, Kind] = {code: kind for kind, code in STATUS.items()}
    value = _json(raw)
    error = value.get("error", {}) if isinstance(value, dict) else {}
    what, where, do = (str(error.get(name, "")) for name in ("what", "where", "do"))
    words = {name: error[name] for name in _WORDS if name in error} if isinstance(error, dict) else {}
    return AdminError(kinds.get(status, "failed"), what or f"HTTP status {status}", where, do, words)
