"""A router as operators see it, without a router: records what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from imxrouter.admin.certs_views import CertsReload, CertsView
from imxrouter.admin.detail import DoctorView, PeerDetailView, TraceRow, TracesView, TraceView, VerdictView
from imxrouter.admin.errors import AdminError
from imxrouter.admin.port import InsideAsked
from imxrouter.admin.report import MeasureView, OutageView, PeerReportView, TimesView
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
from tests.doubles.admin_config import ConfigDouble
from tests.doubles.admin_policy import PolicyDouble
from tests.doubles.admin_users import UsersDouble

DRAIN: DrainView = {
    "state": "running", "wanted": False, "since": None, "deadline_s": None, "processes": {"0": "running"},
    "redirects": 0, "kept": True,
}  # fmt: skip
STATUS: StatusView = {
    "name": "router.a.example", "role": "gateway", "version": "1", "process": 0, "state": "running",
    "ready": True,
    "why": "", "uptime_s": 3725.0, "listening": ["127.0.0.1:6490"], "domains": 1, "links": 1, "in_flight": 0,
    "held": 0, "counters": {"accepted": 3},
    "store": {"path": "/var/lib/imxrouter/state.db", "size_bytes": 36864, "entries": 12, "waiting": 0,
              "last_write_at": 1800000000.0, "problem": "none", "detail": "", "refused": 0},
    "drain": DRAIN,
    "overload": {"level": 0, "what": "nothing is shed", "lag_ms": 0.4, "unwritten_bytes": 0, "times": 0},
}  # fmt: skip
LIMIT: LimitView = {
    "name": "sender", "what": "messages of one sender", "settings": {"limits.sender_rate_per_s": "5"},
    "fixed": "", "more_keys": ["limits.exceptions"], "answer": "rate-limited", "used": None, "of": None,
    "by": "", "refused": 12, "by_name": True, "worst": [{"who": "b.example", "refused": 9}],
}  # fmt: skip
LINK: LinkView = {
    "link": 7, "protocol": "imx", "role": "peer", "state": "open", "opened_by": "us",
    "address": "192.0.2.1:6490", "name": "router.b.example", "domains": ["b.example"],
    "claims": [{"theirs": "b.example", "ours": "a.example", "direction": "in", "state": "proved",
                "level": "dialback", "reason": ""}],
    "age_s": 61.0, "idle_s": 0.5, "in_flight": 2, "bytes_in": 3000,
    "bytes_out": 2900, "tls": "TLSv1.3", "certificate": ["b.example"], "certificate_until": 1900000000.0,
    "stream": None,
}  # fmt: skip
PEER: PeerView = {
    "domain": "b.example", "protocol": "imx", "state": "backing-off", "source": "dns", "policy": "dialback",
    "level": "dialback+tls", "tls": ["TLSv1.3"], "certificate": ["b.example"],
    "certificate_until": 1900000000.0,
    "targets": ["192.0.2.1:6490"], "links": 0, "held": 1, "last_error": "connect-timeout", "next_try_s": 12.0,
}  # fmt: skip
DOMAIN: DomainView = {
    "name": "a.example", "state": "active", "service": "home", "tenant": "", "aliases": [],
    "policy": "dialback", "up": True, "as_in_file": True,
}  # fmt: skip
LOOKUP: LookupView = {
    "domain": "b.example", "form": "svcb", "result": "found", "stage": "dns", "reason": "", "ttl_s": 60.0,
    "aliases": [], "targets": [{"host": "imx.b.example", "port": 6490, "priority": 1,
                                "addresses": ["192.0.2.1"], "parameters": {"ver": "1"}}],
    "steps": ["b.example TYPE65400: NODATA", "_imx.b.example SVCB: 1 record"],
}  # fmt: skip
ZONE = "a.example. 3600 IN TYPE65400 \\# 3 000100\n"
OUTCOME: OutcomeView = {
    "id": "00" * 16, "status": "success", "reason": "none", "stage": "service", "decided_by": "b.example",
    "decided_role": "service", "failed_at": "", "retry": "", "retry_after_s": 0, "note": "", "remedy": "",
    "seconds": 0.004,
    "left": None,
}  # fmt: skip
OUTAGE: OutageView = {
    "begin": 1800000000.0, "end": 1800000090.0, "side": "theirs", "stage": "connect",
    "reason": "connection-refused", "reasons": {"connection-refused": 3, "connect-timeout": 1},
    "down_s": 62.5, "flaps": 2, "how": "reached",
}  # fmt: skip
MEASURE: MeasureView = {
    "objective": "availability", "unit": "%", "expected": 99.9, "measured": 99.5, "burn": 5.0, "met": False,
}  # fmt: skip
QUICK: TimesView = {"mean_s": 0.0021, "p50_s": 0.002, "p90_s": 0.004, "p99_s": 0.005}
SLOW: TimesView = {"mean_s": 1.25, "p50_s": 0.5, "p90_s": 1.5, "p99_s": 2.0}
NEVER: TimesView = {"mean_s": None, "p50_s": None, "p90_s": None, "p99_s": None}
REPORT: PeerReportView = {
    "peer": "b.example", "reported_by": "router.a.example", "process": 0, "made_at": 1800003600.0,
    "begin": 1799999700.0, "end": 1800003600.0, "watched_s": 3600.0, "available_percent": 98.264,
    "objectives": [
        MEASURE,
        {"objective": "delivery-time", "unit": "s", "expected": 2.5, "measured": 2.0, "burn": 0.5,
         "met": True},
        {"objective": "refusals", "unit": "%", "expected": 1.0, "measured": None, "burn": None, "met": None},
    ],
    "kinds": [
        {"direction": "out", "kind": "message", "delivered": 40, "refused": 0, "failed": 2,
         "indeterminant": 1, "ours": QUICK, "theirs": SLOW},
        {"direction": "in", "kind": "notify", "delivered": 0, "refused": 3, "failed": 0, "indeterminant": 0,
         "ours": NEVER, "theirs": NEVER},
    ],
    "not_delivered": [
        {"direction": "out", "stage": "connect", "reason": "connection-refused", "count": 2,
         "by_recipient": False},
        {"direction": "in", "stage": "service", "reason": "unknown-user", "count": 3, "by_recipient": True},
    ],
    "outages": [OUTAGE, {**OUTAGE, "end": None, "side": "ours", "flaps": 0, "how": ""}],
    "asked": [{"stage": "connect", "reason": "connection-refused", "outages": 1, "requests": 2,
               "text": "nothing listens"}],
}  # fmt: skip
PEER_DETAIL: PeerDetailView = {
    "domain": "b.example", "protocol": "imx", "choice": "imx (order; imx published)", "state": "failing",
    "presence_choice": "imx (order; imx published)", "presence_next_try_s": 3.0, "subscriptions": {"imx": 2},
    "state_for_s": 12.0, "source": "dns", "targets": [],
    "required": "dialback+tls", "required_by": "[trust] default_policy", "remembered": "dialback",
    "remembered_until": 1800000000.0, "acceptable": False, "links": [LINK],
    "errors": [{"at": 1800000000.0, "direction": "ours", "stage": "connect", "reason": "connect-timeout",
                "note": "192.0.2.1 port 6490", "remedy": "look at the firewall"}],
    "failures": 3, "next_try_s": 12.0, "backoff_first_s": 1.0, "backoff_cap_s": 300.0, "held": 1,
    "held_bytes": 200, "held_age_s": 2.0, "in_flight": 1, "bytes_in": 3000, "bytes_out": 2900,
    "counted": {"came": {"delivered": 0}, "went": {"delivered": 4, "failed": 1}}, "answered_s": 0.004,
    "outages": [OUTAGE], "objectives": [MEASURE],
}  # fmt: skip
DOCTOR: DoctorView = {
    "domain": "a.example", "result": "warnings", "publish": ZONE, "took_s": 0.5,
    "findings": [{"severity": "warning", "what": "a stale record", "stage": "dns", "reason": "bad-dns-record",
                  "evidence": ["there: x", "wanted: y"], "remedy": "take it out"}],
}  # fmt: skip
VERDICT: VerdictView = {
    "status": "failure", "stage": "limit", "reason": "too-large", "decided_by": "", "decided_role": "router",
    "failed_at": "", "rule": "size of a message", "setting": "limits.max_message_bytes = 16384", "answer": "",
    "note": "", "remedy": "over the message size limit", "retry": "never", "retry_after_s": 0,
}  # fmt: skip
TRACED: TraceRow = {
    "id": "00" * 16, "at": 1.5, "kind": "message", "source": "*@a.example", "destination": "*@b.example",
    "steps": 3, "last": "settled", "status": "failure", "stage": "limit", "reason": "too-large",
    "protocol": "xmpp", "out_protocol": "imx", "origin": "m-1",
}  # fmt: skip
CERTS: CertsView = {
    "folder": "/etc/imxrouter/certificates",
    "certificates": [{
        "file": "/etc/imxrouter/certificates/a.example.crt", "names": ["a.example", "*.a.example"],
        "domains": ["a.example"], "not_before": 1700000000.0, "not_after": 1800000000.0,
        "issuer": "An Authority", "fingerprint": "00" * 32,
    }],
    "default": "/etc/imxrouter/certificates/a.example.crt", "without": ["c.example"], "without_count": 3,
    "problems": ["x.crt: no key: put it there"], "warnings": ["a.example.key: chmod go-w"],
}  # fmt: skip
CERTS_RELOAD: CertsReload = {
    "result": "swapped", "count": 2, "added": ["/etc/c.crt"], "renewed": ["/etc/a.crt"],
    "removed": ["/etc/b.crt"], "problems": [], "warnings": [],
    "processes": [
        {"process": 0, "result": "swapped", "why": ""}, {"process": 1, "result": "absent", "why": "w"},
    ],
}  # fmt: skip
#: Of no domain that exists; the stages between are left out.
CHECK: dict[str, Any] = {
    "domain": "", "ours": "", "result": "failed", "name_servers": [], "took_s": 0.1,
    "failure": {"step": "dns", "stage": "dns", "reason": "no-such-domain", "what": "b.example IMX",
                "note": "", "remedy": "not in DNS", "retry": "never", "retry_after_s": 0},
    "stages": [{"stage": "service", "state": "not tried", "why": "stage dns failed", "took_s": None,
                "facts": {}, "evidence": []}],
}  # fmt: skip
CHECK["protocols"] = [
    {"protocol": "imx", "published": None, **{key: CHECK[key] for key in ("result", "failure", "stages")}},
]

TOLD: AttributesView = {
    **OUTCOME, "decided_role": "router", "owner": "b.example", "requester": "a.example",
    "values": [
        {"name": "max-message-size", "kind": "number", "value": "16384", "encoding": "text",
         "max_age_s": 3600, "cached": True},
        {"name": "b.example/raw", "kind": "any", "value": "/w==", "encoding": "base64", "max_age_s": 0,
         "cached": False},
        {"name": "b.example/long", "kind": "any", "value": "x" * 300 + "\x1b[2J", "encoding": "text",
         "max_age_s": 60, "cached": False},
    ],
    "not_told": [],
}  # fmt: skip


class PortDouble:
    """Satisfies `AdminPort`.

    Attributes:
        calls: what was asked, in order.
        outcome: what `send` answers.
        told: what `attributes` answers.
        reloaded: what `certs_reload` answers.
        watchers: those who watch now.
        users: users of an embedded service.
        config: the configuration.
    """

    def __init__(self) -> None:
        self.users = UsersDouble()
        self.access = PolicyDouble()
        self.config = ConfigDouble()
        self.calls: list[tuple[Any, ...]] = []
        self.outcome: OutcomeView = {**OUTCOME}
        self.told: AttributesView = deepcopy(TOLD)
        self.reloaded: CertsReload = {**CERTS_RELOAD}
        self.watchers: list[Callable[[MessageView], None]] = []

    @property
    def presence(self) -> UsersDouble:
        """Their presence."""
        return self.users

    @property
    def settings(self) -> UsersDouble:
        """Their settings."""
        return self.users

    @property
    def policy(self) -> PolicyDouble:
        """Access."""
        return self.access

    @property
    def configuration(self) -> ConfigDouble:
        """What is in force."""
        return self.config

    def certs(self) -> CertsView:
        """Answer at once."""
        return CERTS

    def certs_reload(self) -> Deferred[CertsReload]:
        """Answer later, as who reads files does."""
        return succeed(self.reloaded)

    def status(self) -> StatusView:
        """Answer at once."""
        return STATUS

    def drain(self, deadline_s: float | None) -> DrainView:
        """Take it down."""
        self.drained = deadline_s
        return DRAIN | {"state": "moving", "wanted": True, "since": 1800000000.0, "deadline_s": deadline_s}

    def undrain(self) -> DrainView:
        """In service."""
        return DRAIN

    def limits(self) -> list[LimitView]:
        """One of them."""
        self.calls.append(("limits",))
        return [LIMIT]

    def links(self) -> Deferred[list[LinkView]]:
        """Answer by a Deferred."""
        return succeed([LINK])

    def peers(self) -> list[PeerView]:
        """Answer at once."""
        return [PEER]

    def peer(self, name: str) -> PeerDetailView:
        """Know b.example and nobody else."""
        if name != "b.example":
            raise AdminError("not-found", f"nothing is known of {name}", "peer", "see imxctl peers")
        return PEER_DETAIL

    def peer_report(self, name: str, since_s: float | None) -> PeerReportView:
        """Know b.example and nobody else."""
        self.calls.append(("peer_report", name, since_s))
        if name != "b.example":
            raise AdminError("not-found", f"nothing was counted of {name}", "peer", "see imxctl peers")
        return REPORT

    def peer_retry(self, name: str) -> Deferred[PeerChange]:
        """Clear the back-off of b.example; nobody else waits."""
        self.calls.append(("peer_retry", name))
        return succeed({"domain": name, "cleared": ["back-off"] if name == "b.example" else []})

    def peer_forget(self, name: str) -> PeerChange:
        """Forget anybody but c.example."""
        self.calls.append(("peer_forget", name))
        if name == "c.example":
            raise AdminError("not-found", f"nothing is remembered of {name}", "peer")
        return {"domain": name, "cleared": ["dialback"]}

    def domains(self) -> list[DomainView]:
        """Answer at once."""
        return [DOMAIN]

    def domain_doctor(self, name: str) -> DoctorView:
        """Warn of a.example; others are ill."""
        return DOCTOR if name == "a.example" else {**DOCTOR, "domain": name, "result": "failed"}

    def dns_lookup(self, domain: str) -> LookupView:
        """Answer for b.example; nothing is published for the rest."""
        self.calls.append(("dns_lookup", domain))
        if domain == "b.example":
            return LOOKUP
        return {**LOOKUP, "domain": domain, "result": "failure", "reason": "no-imx-record", "targets": []}

    def dns_records(self, domain: str) -> RecordsView:
        """Answer with one line."""
        served = domain == "a.example"
        return RecordsView(
            domain=domain, served=served, zone=ZONE, imx=[ZONE.strip()], svcb=[], srv=[], xmpp=[], tlsa=[]
        )  # fmt: skip

    def dns_inside(self, asked: InsideAsked) -> InsideView:
        """Answer with what was asked for."""
        self.calls.append(("dns_inside", asked))
        text = f"# {asked.resolver}\n"
        return InsideView(
            format=asked.resolver, file="/etc/x.conf", text=text, router=["10.0.0.9:5269"], own=["a.example"],
            passes=list(asked.passes),
        )  # fmt: skip

    def send(self, source: str, destination: str, text: str, *, html: bool = False) -> Deferred[OutcomeView]:
        """Refuse carol, break for mallory, else answer `outcome`."""
        self.calls.append(("send", source, destination, text, *(["html"] if html else ())))
        if source.startswith("carol"):
            return fail(AdminError("not-found", "no such user", "from", "add the user to its service"))
        if source.startswith("mallory"):
            return fail(ZeroDivisionError("a secret inside"))
        return succeed(self.outcome)

    def attributes(
        self, owner: str, names: Sequence[str], requester: str, *, fresh: bool
    ) -> Deferred[AttributesView]:
        """Answer `told`; whoever asks for a name alone gets none where it is not told."""
        self.calls.append(("attributes", owner, list(names), requester, *(["fresh"] if fresh else ())))
        values = [one for one in self.told["values"] if not names or one["name"] in names]
        not_told = [name for name in names if name not in {one["name"] for one in values}]
        return succeed({**self.told, "owner": owner, "values": values, "not_told": not_told})

    def watch(self, user: str, emit: Callable[[MessageView], None]) -> Callable[[], None]:
        """Note the watcher until it stops."""
        if user.startswith("nobody"):
            raise AdminError("not-found", "no such user", "user", "see the service")
        self.calls.append(("watch", user))
        self.watchers.append(emit)

        def stop() -> None:
            self.calls.append(("unwatch", user))
            self.watchers.remove(emit)

        return stop

    def domain_add(self, entry: Mapping[str, Any]) -> DomainDiff:
        """Add all but a.example."""
        if entry.get("name") == "a.example":
            raise AdminError("conflict", "a.example is served already", "name", "change it instead")
        self.calls.append(("domain_add", dict(entry)))
        return {
            "name": str(entry["name"]),
            "action": "added",
            "before": {},
            "after": dict(entry),
            "kept": True,
        }

    def domain_change(self, name: str, changes: Mapping[str, Any]) -> DomainDiff:
        """Change anything."""
        self.calls.append(("domain_change", name, dict(changes)))
        before = {"state": "active"}
        return {"name": name, "action": "changed", "before": before, "after": dict(changes), "kept": True}

    def domain_remove(self, name: str) -> DomainDiff:
        """Remove anything."""
        self.calls.append(("domain_remove", name))
        return {"name": name, "action": "removed", "before": {"name": name}, "after": {}, "kept": False}

    def check(self, domain: str, ours: str, timeout_s: float) -> dict[str, Any]:
        """Find nothing of any domain."""
        self.calls.append(("check", domain, ours, timeout_s))
        return {**CHECK, "domain": domain, "ours": ours}

    def trace(self, message_id: str) -> TraceView:
        """Tell one step and a verdict; nothing is known of other ids."""
        if message_id != "00" * 16:
            raise AdminError("not-found", "no step of that message is known any more", "id")
        return {
            "id": message_id, "state": "finished", "verdict": VERDICT, "gaps": ["hops before are not known"],
            "steps": [{"at": 1.5, "event": "accepted", "fields": {"source": "*@a.example"}}],
        }  # fmt: skip

    def traces(self, source: str, destination: str, since_s: float | None) -> TracesView:
        """Tell one message of a.example."""
        self.calls.append(("traces", source, destination, since_s))
        return {"messages": [TRACED] if source == "a.example" else [], "left_out": 2, "notes": ["a note"]}
