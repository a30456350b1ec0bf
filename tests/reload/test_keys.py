"""Every key that is obeyed without a restart: a router that read it again is as one that began with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imxrouter.app.router import Router
from imxrouter.config.applies import APPLIES, Applies
from imxrouter.config.load import load
from tests.doubles.reload_rig import Reloadable
from tests.doubles.router_rig import Lab, login_key

#: Key -> another value; keys of lists that have no entry at first come with a whole one, below.
VALUES: Mapping[str, str] = {
    "name": '"other.a.example"', "role": '"aggregator"', "domains_dir": '"more.d"',
    "listen.publish": '["im.a.example:6490"]', "metrics.watch": '["w.example"]',
    "dns.nameservers": '["127.0.0.9:53"]', "dns.trust_ad": '"never"',
    "dns.ttl_floor_s": "11", "dns.ttl_cap_s": "1234",
    "dns.negative_ttl_s": "99", "dns.failure_ttl_s": "7", "dns.query_timeout_s": "1",
    "dns.lookup_timeout_s": "4", "dial.connect_timeout_s": "3", "dial.race_delay_ms": "100",
    "dial.hello_timeout_s": "4", "dial.backoff_first_s": "0.2", "dial.backoff_cap_s": "3",
    "dial.backoff_jitter": "0.25", "dial.hold_s": "9", "dial.hold_count": "77", "dial.hold_bytes": "7777",
    "dial.hold_total_bytes": "777777", "dial.protocols": '["xmpp", "imx"]',
    "dial.allow_networks": '["127.0.0.0/8", "10.0.0.0/8"]',
    "dial.allow_ports_below_1024": "[443, 853]", "dial.links_per_peer": "2", "dial.verify_links": "9",
    "links.ping_s": "1.25", "links.dead_s": "50", "links.idle_s": "222", "links.answer_timeout_s": "12",
    "links.close_deadline_s": "0.75", "links.credit_requests": "99", "links.credit_bytes": "99999",
    "links.output_high_bytes": "88888", "links.unread_answer_bytes": "99999",
    "links.duplicate_entries": "12345", "links.max_hops": "50", "caps.in_per_peer": "3",
    "caps.in_per_peer_total": "33",
    "caps.unauthenticated_per_address": "5", "caps.unauthenticated_total": "55",
    "caps.claims_before_proof": "4", "caps.claims_per_link": "44", "caps.proof_timeout_s": "33",
    "caps.verify_per_source_per_minute": "11", "caps.verify_per_source_prefix_per_minute": "12",
    "caps.verify_per_target_per_minute": "13", "caps.verify_per_target_prefix_per_minute": "14",
    "caps.verify_per_zone_per_minute": "15", "caps.verify_per_s": "16", "caps.verify_reserved_share": "0.5",
    "limits.sender_rate_per_s": "2", "limits.sender_burst": "22", "limits.senders_per_domain": "222",
    "limits.max_message_bytes": "2222", "limits.attribute_age_s": "60",
    "limits.subscriptions_per_domain": "222", "trust.default_policy": '"dialback+tls"',
    "trust.xmpp_default": '"dialback+tls"', "xmpp.tls": '"offered"', "xmpp.stanza_bytes": "20000",
    "xmpp.confirm": '"written"', "xmpp.original_form": "false", "xmpp.coalesce_s": "0.25",
    "xmpp.idle_days": "15", "xmpp.dormant_days": "181", "xmpp.denied_s": "3600",
    "xmpp.components.allow": '["127.0.0.2/32"]',
    "tls.watch_s": "5", "drain.deadline_s": "9", "drain.siblings": '["im2.a.example:6490"]',
    "trust.proof_max_age_s": "5000", "trust.proof_idle_s": "500", "trust.remember_days": "3",
    "dialback.keys": '{ k1 = "abababababababababababababababab" }', "dialback.token_ttl_s": "30",
    "dialback.clock_skew_s": "3", "dialback.claim_timeout_s": "13", "log.level": '"debug"',
    "log.format": '"text"', "log.addresses": '"full"', "log.trace_entries": "50", "log.trace_age_s": "55",
    "log.trace_deliveries": "true", "qos.availability_percent": "99", "qos.delivery_p99_s": "2",
    "qos.refusals_percent": "3", "caps.unauthenticated_per_prefix": "51",
    "caps.connections_per_address_per_minute": "52", "caps.connections_per_prefix_per_minute": "53",
    "caps.in_total": "5400",
    "caps.handshakes_per_s": "54", "caps.handshakes_reserved_share": "0.375",
    "limits.cooldown_s": "31", "limits.recipient_rate_per_s": "32",
    "limits.recipient_burst": "33", "limits.recipient_strangers_rate_per_s": "16",
    "limits.traffic_burst_s": "1.5", "limits.link_records_per_s": "3400",
    "limits.link_bytes_per_s": "3500000",
    "limits.peer_records_per_s": "3600", "limits.peer_bytes_per_s": "3700000",
    "limits.domain_records_per_s": "3800", "limits.domain_bytes_per_s": "3900000",
    "limits.tenant_records_per_s": "4100", "limits.tenant_bytes_per_s": "4200000",
    "overload.lag_ms": "333", "overload.unwritten_bytes": "44000000", "overload.calm_s": "7",
}  # fmt: skip
KEY = login_key(5).public_key().public_bytes_raw().hex()
#: Tables as they are added, then what is changed in them one after the other.
TABLES: Mapping[str, tuple[str, ...]] = {
    '[[limits.exceptions]]\nsender = "x@a.example"\nrate_per_s = 1\nburst = 2\n': (
        "rate_per_s = 1", "rate_per_s = 3", "burst = 2", "burst = 9", "x@a.example", "y@a.example",
    ),
    '[[limits.tenants]]\nname = "t"\nrecords_per_s = 61\nbytes_per_s = 62000\n': (
        "records_per_s = 61", "records_per_s = 63", "62000", "64000",
    ),
    '[[trust.peer]]\ndomain = "p.example"\npolicy = "dialback+tls"\nprotocols = ["imx"]\n': (
        "dialback+tls", "certificate", '["imx"]', '["xmpp"]', "p.example", "q.example",
    ),
    f'[[service]]\nname = "one"\nkind = "imx"\nkey = "{KEY}"\ncertificate = "s.example"\n': (
        "s.example", "t.example", KEY, KEY[::-1], '"one"', '"two"'),
    '[[service]]\nname = "other"\nkind = "embedded"\nusers = ["u"]\npresence = "ask"\nmessages = "open"\n': (
        '["u"]', '["v"]', '"ask"', '"contacts"', '"open"', '"contacts"',
    ),
    '[[domain]]\nname = "d.example"\nservice = "home"\naliases = ["e.example"]\ntenant = "t"\n'
    'policy = "dialback"\nstate = "active"\nmax_message_bytes = 7\nsender_rate_per_s = 7\nsender_burst = 8\n'
    'protocols = ["imx"]\ntypes = ["message"]\n'
    'case_profile = "case-sensitive"\nsubscription_lifetime_s = 61\n'
    'abuse_contact = "mailto:x@d.example"\ncontent_types = ["text/plain"]\nattributes = { a = "b" }\n'
    'hidden_attributes = ["a"]\nrecords_per_s = 71\nbytes_per_s = 72000\nrecipient_rate_per_s = 73\n': (
        "records_per_s = 71", "records_per_s = 74", "72000", "75000", "_s = 73", "_s = 76",
        '"home"\naliases', '"other"\naliases', "e.example", "f.example", 'tenant = "t"', 'tenant = "u"',
        '"dialback"', '"dialback+tls"', '"active"', '"suspended"', "bytes = 7", "bytes = 9",
        "_s = 7", "_s = 9",
        "burst = 8", "burst = 9", '["imx"]', '["imx", "xmpp"]', '["message"]', '["notify"]',
        "case-sensitive", "case-insensitive",
        "61", "62",
        "mailto:x", "mailto:y", "text/plain", "text/html-lite", '{ a = "b" }', '{ a = "c" }',
        'hidden_attributes = ["a"]', "hidden_attributes = []", '"d.example"', '"g.example"',
    ),
    '[[peer]]\ndomain = "r.example"\naddresses = ["192.0.2.1:6490"]\npolicy = "dialback"\n'
    "sender_rate_per_s = 4\nsender_burst = 5\nin_links = 6\nrecords_per_s = 81\nbytes_per_s = 82000\n"
    "objectives = { availability_percent = 90, delivery_p99_s = 1, refusals_percent = 4 }\n": (
        "records_per_s = 81", "records_per_s = 83", "82000", "84000",
        "percent = 90", "percent = 91", "p99_s = 1", "p99_s = 2", "percent = 4", "percent = 5",
        "192.0.2.1", "192.0.2.2", '"dialback"', '"certificate"', "_s = 4", "_s = 5",
        "_burst = 5", "_burst = 6", "in_links = 6", "in_links = 7", "r.example", "s.example",
    ),
}  # fmt: skip
#: Shown in other tests: files of keys, logs, certificates and authorities; what is dialled for a service.
ELSEWHERE = {
    "dialback.key_file",
    "log.file",
    "uplink.name",
    "uplink.address",
    "uplink.key_file",
    "uplink.server_name",
    "uplink.anchor",
    "peer.anchor",
    "domain.certificate",
    "service.secret_file",
    "service.address",
    "xmpp.inside.allow",
    *(key for key in APPLIES if key.startswith("xmpp.component.")),
    *(key for key in APPLIES if key.startswith("access.") or key.endswith(".first_contact")),
}


def facts(router: Router) -> dict[str, Any]:
    """What the parts of a router go by, as far as it comes from the configuration."""
    gatekeeper, dialling = router.gatekeeper, router.gatekeeper.dialling
    connector, guard, limiting = router.dialer._connector, router.dialer.guard, router.limiting
    return {
        "config": router.config,
        "rules": router.rules._config,
        "hub": router.hub.settings,
        "hops": router.switch.max_hops,
        "memory": router.switch.memory.limit,
        "subscriptions": (router.subscriptions.limits, router.subscriptions.answer_s),
        "facts": router.own._attributes.facts,
        "hold": router.federation.holding.budget.limit_bytes,
        "backoff": router.federation.destinations._backoff,
        "look-ups": (router.finder._limits, router.answers._limits),
        "dialling": (connector.limits, {name: getattr(guard, name) for name in vars(guard)}),
        "secrets": router.keyring.secrets,
        "policies": (gatekeeper.policies.default, gatekeeper.policies._rules),
        "caps": (gatekeeper.caps._settings, gatekeeper._service_caps._settings),
        "handshakes": (router.handshakes._general.rate, router.handshakes._reserved.rate),
        "verifying": (
            dialling._settings, dialling._hosts.rate, dialling._prefixes.rate, dialling._zones._all.rate,
            dialling._zones._parts.rate, dialling._targets._all.rate, dialling._target_prefixes._all.rate,
            dialling._total.window_s, dialling._total._general.__dict__.get("limit"),
        ),
        "protocols": (router.preferences.default, router.preferences.rules),
        "remembered": gatekeeper.remembered._age_s,
        "rates": (router.rates.interval_s, router.rates.burst_s, router.rates.per_domain),
        "exceptions": router.rates._exceptions,
        "cool-down": router.rates.cooldown_s,
        "traffic": (
            limiting._limits, limiting._peers, limiting._tenants, router.switch.traffic.link_rate,
            limiting.overload.settings, {raw: route.inbox for raw, route in router.switch.routes.items()},
        ),
        "peers' rates": router.peer_rates,
        "pins": router.pinned,
        "limits": router.provisioner._limits,
        "routes": {
            raw: (route.level, route.max_bytes, route.types, route.suspended)
            for raw, route in router.switch.routes.items()
        },
        "gateways": {name: set(port.port.sources.items()) for name, port in router.gateways.items()},
        "domains": set(router.domains),
        "services": (router.service_names, set(router.services._keys)),
        "users": {
            name: (one.defaults, set(one.directory.users())) for name, one in router.embedded.items()
        },
        "certificates": (router.certificates._settings, router.certificates._first),
        "quality": (router.quality._default, router.quality._own, router.quality.book.always),
        "mask": router.mask.mode,
        "trace": (router.trace._entries.maxlen, router.trace._max_age_s, router.traces_deliveries),
        "told": (router.steps._every, router.switch.on_delivered is None),
        "streams": _streams(router),
        "watched": router.figures.peers._watched,
        "components": router.components._host.networks,
    }  # fmt: skip


def _streams(router: Router) -> tuple[object, ...]:
    """What subscriptions of XMPP go by; whether original forms are used is asked each time."""
    streams = router.streams
    if (presence := streams.presence) is not None:
        assert (presence.watchers.settings, presence.presentities.settings) == streams.pair_settings
    return streams._known().forms("d.example"), streams.pair_settings


class Comparing:
    """A router that is reloaded, and one that begins with the same file."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.rig = lab.router("a.example", settings={"role": "gateway"})
        self.file = Reloadable(self.rig)
        self.seen: set[str] = set()

    def write(self, text: str) -> None:
        """Reload another file, and compare."""
        self.file.text = text
        self.file.edit()
        before = self.rig.call(lambda: facts(self.rig.router))
        view = self.file.reload()
        for change in view["changes"]:
            assert change["applies"] != Applies.RESTART.value
            table, key = change["table"], change["key"]
            self.seen.add(".".join(part for part in (table, key) if part))
        now = self.rig.call(lambda: facts(self.rig.router))
        fresh = self.rig.call(self._fresh)
        assert now == fresh, view["changes"]
        assert now != before, view["changes"]

    def _fresh(self) -> dict[str, Any]:
        config = load(self.rig.file).config
        return facts(Router(config, self._lab.thread.reactor, ask=self._lab.zones.ask))


def test_a_reloaded_router_is_as_one_that_began_so(lab: Lab) -> None:
    """Key by key; those that need a restart are the only ones left out."""
    both = Comparing(lab)
    for key, value in VALUES.items():
        head, tables = both.file.text.split("\n[[", 1)
        kept = [line for line in head.splitlines() if not line.startswith(f"{key} = ")]
        both.write("\n".join([f"{key} = {value}", *kept]) + "\n[[" + tables)
    for table, edits in TABLES.items():
        rest, text = both.file.text, table
        both.write(rest + text)
        for old, new in zip(edits[::2], edits[1::2], strict=True):
            text = text.replace(old, new, 1)
            both.write(rest + text)
    names = {
        "service.name", "domain.name", "peer.domain", "trust.peer.domain", "limits.exceptions.sender",
        "limits.tenants.name",
    }  # fmt: skip
    wanted = {key for key, when in APPLIES.items() if when is not Applies.RESTART}
    assert wanted - both.seen - names == ELSEWHERE
