"""What the keys must be to each other: names that exist, domains that stand once, times in order."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from imxrouter.config.attributes import attribute_faults
from imxrouter.config.keys import BadKey, parse_ed25519, parse_keys
from imxrouter.config.net import parse_endpoint, parse_name, parse_published
from imxrouter.config.problems import Problem
from imxrouter.config.quality import Objectives
from imxrouter.config.schema import Config
from imxrouter.config.served import INTERNAL_TYPE, TYPE_NUMBERS, ServedDomain
from imxrouter.config.suggest import advice
from imxrouter.config.texts import number_text
from imxrouter.config.tls_checks import (
    domain_warnings,
    login_problems,
    login_warnings,
    tls_problems,
    tls_warnings,
)
from imxrouter.config.xmpp_checks import xmpp_problems, xmpp_warnings
from imxrouter.model.address import Address
from imxrouter.model.errors import RouterError

#: (file, path, what, what to do) of one finding.
Found = tuple[str, str, str, str]

#: A served domain with the file and path where it stands.
Placed = tuple[str, str, ServedDomain]

#: Numbers of processes are two bytes on the wire (specification section 6.1).
MAX_PROCESS = 65535
MAX_PORT = 65535
#: Each has a dozen series on every process.
MAX_WATCHED = 200
#: sun_path of sockaddr_un(7) has 108 bytes, one of them the final zero.
MAX_SOCKET_BYTES = 107

#: Above this many domains a gateway is most likely meant to be an aggregator.
_ROLE_HINT = 'write role = "aggregator", or keep one [[service]]'


def problems(config: Config, file: str, placed: Iterable[Placed]) -> list[Problem]:
    """Return every contradiction.

    Args:
        config: the whole configuration.
        file: the main file's name.
        placed: each served domain with the file and path where it stands.
    """
    here = chain(
        _names(config),
        _watched(config),
        _endpoints(config),
        _processes(config),
        _orders(config),
        _keys(config),
        _services(config),
        _first_contacts(config),
        _outside(config),
        tls_problems(config),
        xmpp_problems(config),
    )
    found: Iterator[Found] = ((file, *rest) for rest in here)
    return [Problem(*one) for one in chain(found, _domains(config, placed))]


def warnings(config: Config, file: str, placed: Iterable[Placed]) -> list[Problem]:
    """Return what is allowed and probably not wanted; arguments as for `problems`."""
    found = chain(tls_warnings(config), xmpp_warnings(config), _other_warnings(config))
    here: Iterator[Found] = ((file, *rest) for rest in found)
    own = placed if not config.tls.certificates else ()
    return [Problem(*one) for one in chain(here, domain_warnings(own))]


def _try(parse: Callable[[str], object], text: str) -> str:
    """Return why a text does not parse, or nothing."""
    try:
        parse(text)
    except RouterError as error:
        return str(error)
    return ""


def _names(config: Config) -> Iterator[tuple[str, str, str]]:
    if why := _try(parse_name, config.name):
        yield "name", why, "write a host name, like router.a.example"
    for n, peer in enumerate(config.trust.peers):
        if why := _try(parse_name, peer.domain.removeprefix("*.")):
            yield f"trust.peer[{n}].domain", why, "write a domain, or *.zone"
    for n, entry in enumerate(config.limits.exceptions):
        if why := _try(Address.parse, entry.sender):
            yield f"limits.exceptions[{n}].sender", why, "write an address or a domain"


def _watched(config: Config) -> Iterator[tuple[str, str, str]]:
    for name in config.metrics.watch:
        if why := _try(parse_name, name):
            yield "metrics.watch", f"{name!r}: {why}", "write a domain, like b.example"
    expected = {peer.domain for peer in config.peers if peer.objectives != Objectives()}
    if len(config.metrics.watch) + len(expected.difference(config.metrics.watch)) > MAX_WATCHED:
        key = "metrics.watch" if config.metrics.watch else "peer"
        what = f"more than {MAX_WATCHED} domains, those with objectives of their own included"
        yield key, what, "watch fewer, or use [qos]: each has dozens of figures"


def _endpoints(config: Config) -> Iterator[tuple[str, str, str]]:
    lists = [
        ("listen.addresses", config.listen.addresses),
        ("listen.service.addresses", config.listen.service.addresses),
        ("dns.nameservers", config.dns.nameservers),
    ]
    lists += [(f"peer[{n}].addresses", peer.addresses) for n, peer in enumerate(config.peers)]
    lists += [(f"uplink[{n}].address", (uplink.address,)) for n, uplink in enumerate(config.uplinks)]
    if config.metrics.listen:
        lists.append(("metrics.listen", (config.metrics.listen,)))
    for path, texts in lists:
        for text in texts:
            if why := _try(parse_endpoint, text):
                yield path, why, "write ADDRESS:PORT, like 192.0.2.1:6490 or [2001:db8::1]:6490"
    for text in config.listen.publish:
        if why := _try(parse_published, text):
            yield "listen.publish", why, "write HOST:PORT, like im1.a.example:6490"
    for network in config.dial.allow_networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            yield "dial.allow_networks", str(error), "write a network, like 10.0.0.0/8"


def _processes(config: Config) -> Iterator[tuple[str, str, str]]:
    more = config.workers - 1
    if config.process + more > MAX_PROCESS:
        yield "process", f"the last of {config.workers} would be above {MAX_PROCESS}", "choose a lower one"
    if not _try(parse_endpoint, config.metrics.listen) and config.metrics.endpoint is not None:
        port = config.metrics.endpoint.port
        if port and port + more > MAX_PORT:
            yield "metrics.listen", f"worker {more} would take port {port + more}", "choose a lower port"
    path = config.admin_socket
    spare = len(f"-{config.process + more}") if more else 0
    if len(path.encode()) + spare > MAX_SOCKET_BYTES:
        yield (
            "admin.socket" if config.admin.socket else "run_dir",
            f"{path} is longer than the {MAX_SOCKET_BYTES} bytes that a unix socket's path may have",
            "choose a shorter path",
        )


def _orders(config: Config) -> Iterator[tuple[str, str, str]]:
    links, dial, dns = config.links, config.dial, config.dns
    pairs = [
        ("links.answer_timeout_s", links.answer_timeout_s, "dial.hold_s", dial.hold_s, True),
        ("links.dead_s", links.dead_s, "links.ping_s", links.ping_s, True),
        (
            "links.duplicate_window_s",
            links.duplicate_window_s,
            "links.answer_timeout_s",
            links.answer_timeout_s,
            True,
        ),
        ("links.credit_bytes", links.credit_bytes, "links.max_record_bytes", links.max_record_bytes, False),
        (
            "links.unread_answer_bytes",
            links.unread_answer_bytes,
            "links.output_high_bytes",
            links.output_high_bytes,
            True,
        ),
        (
            "links.max_record_bytes",
            links.max_record_bytes,
            "limits.max_message_bytes",
            config.limits.max_message_bytes,
            True,
        ),
        ("dial.backoff_cap_s", dial.backoff_cap_s, "dial.backoff_first_s", dial.backoff_first_s, False),
        ("dial.hold_total_bytes", dial.hold_total_bytes, "dial.hold_bytes", dial.hold_bytes, False),
        ("dns.ttl_cap_s", dns.ttl_cap_s, "dns.ttl_floor_s", dns.ttl_floor_s, False),
        ("dns.lookup_timeout_s", dns.lookup_timeout_s, "dns.query_timeout_s", dns.query_timeout_s, False),
        (
            "trust.proof_max_age_s",
            config.trust.proof_max_age_s,
            "caps.proof_timeout_s",
            config.caps.proof_timeout_s,
            False,
        ),
    ]
    for big_path, big, small_path, small, strict in pairs:
        if big < small or (strict and big == small):
            word = "above" if strict else "at least"
            yield (
                big_path,
                f"{number_text(big)} is not {word} {small_path} ({number_text(small)})",
                f"raise {big_path} or lower {small_path}",
            )


def _keys(config: Config) -> Iterator[tuple[str, str, str]]:
    try:
        parse_keys(config.dialback.keys)
    except BadKey as error:
        yield "dialback.keys", str(error), "write ID = HEX with 32 or more hex digits (openssl rand -hex 32)"
    if config.dialback.keys and config.dialback.key_file:
        yield "dialback.key_file", "stands beside dialback.keys", "keep one of the two"


def _services(config: Config) -> Iterator[tuple[str, str, str]]:
    seen: set[str] = set()
    for n, service in enumerate(config.services):
        path = f"service[{n}]"
        if service.name in seen:
            yield f"{path}.name", f"{service.name!r} stands twice", "give each service its own name"
        seen.add(service.name)
        if service.kind == "imx":
            if (service.key or not service.certificate) and (why := _try(parse_ed25519, service.key)):
                yield f"{path}.key", why, "write the service's Ed25519 public key, or name its certificate"
            yield from login_problems(path, service)
            if service.users:
                yield f"{path}.users", "an imx service knows its own users", "remove it"
            for key, value, usual in (
                ("presence", service.presence, "ask"),
                ("messages", service.messages, "open"),
            ):
                if value != usual:
                    yield f"{path}.{key}", "an imx service has rules of its own", "remove it"
        elif service.key or service.certificate:
            what = f"an {service.kind} service does not log in"
            yield f"{path}.key", what, 'remove it, or write kind = "imx"'
        for user in service.users:
            if why := _try(Address.parse, user if "@" in user else f"{user}@domain.invalid"):
                yield f"{path}.users", why, "write a local part like alice, or a full address"
    if config.role == "gateway" and len(config.services) > 1:
        yield "role", f"a gateway has one service, here are {len(config.services)}", _ROLE_HINT


def _first_contacts(config: Config) -> Iterator[tuple[str, str, str]]:
    for n, service in enumerate(config.services):
        if service.first_contact and service.kind == "embedded":
            yield f"service[{n}].first_contact", "an embedded service has presence and messages", "remove it"


def _outside(config: Config) -> Iterator[tuple[str, str, str]]:
    served = {name for entry in config.domains for name in (entry.name, *entry.aliases)}
    seen: set[str] = set()
    for n, peer in enumerate(config.peers):
        path = f"peer[{n}].domain"
        if why := _try(parse_name, peer.domain):
            yield path, why, "write a domain"
        elif peer.domain in seen:
            yield path, f"{peer.domain} is pinned twice", "keep one [[peer]] with all addresses"
        elif peer.domain in served:
            yield path, f"{peer.domain} is served here", "a domain is either ours or a peer's; remove one"
        seen.add(peer.domain)
    names = [uplink.name for uplink in config.uplinks]
    for n, name in enumerate(names):
        if name in names[:n]:
            yield f"uplink[{n}].name", f"{name!r} stands twice", "give each uplink its own name"


def _domains(config: Config, placed: Iterable[Placed]) -> Iterator[Found]:
    services = {service.name for service in config.services}
    embedded = {service.name for service in config.services if service.kind == "embedded"}
    first: dict[str, str] = {}
    for file, path, entry in placed:
        if entry.service not in services:
            yield (
                file,
                f"{path}.service",
                f"no [[service]] is named {entry.service!r}",
                advice(entry.service, services) if services else "add a [[service]]",
            )
        if entry.first_contact and entry.service in embedded:
            do = "remove it; presence and messages of its [[service]] say it"
            yield file, f"{path}.first_contact", "an embedded service has rules of its own", do
        for key, name in [("name", entry.name), *(("aliases", alias) for alias in entry.aliases)]:
            if why := _try(parse_name, name):
                yield file, f"{path}.{key}", why, "write a domain"
            elif name in first:
                yield (
                    file,
                    f"{path}.{key}",
                    f"{name} stands already at {first[name]}",
                    "a domain or alias may stand once",
                )
            first.setdefault(name, f"{file}: {path}")
        for key, what, do in attribute_faults(entry):
            yield file, f"{path}.{key}", what, do
        for word in entry.types:
            if word not in TYPE_NUMBERS and not _is_routed_number(word):
                yield (
                    file,
                    f"{path}.types",
                    f"unknown record type {word!r}",
                    advice(word, [*TYPE_NUMBERS, "0x0180"]),
                )


def _is_routed_number(word: str) -> bool:
    """Routed types are 0x0100 to 0x7FFF (specification section 4); one never comes from elsewhere."""
    try:
        return (
            word.startswith("0x")
            and 0x0100 <= (number := int(word, 16)) <= 0x7FFF
            and number != INTERNAL_TYPE
        )
    except ValueError:
        return False


def _other_warnings(config: Config) -> Iterator[tuple[str, str, str]]:
    if not config.domains:
        yield "domain", "no domain is served", "add a [[domain]], here or in domains_dir"
    used = {entry.service for entry in config.domains}
    for n, service in enumerate(config.services):
        if service.name not in used:
            yield f"service[{n}]", f"no domain uses {service.name!r}", "name it in a [[domain]], or remove it"
    yield from _unserved_users(config)
    yield from _presence_off(config)
    if not config.lab:
        yield from login_warnings(config)
    drain_s, close_s = config.drain.deadline_s, config.links.close_deadline_s
    if drain_s <= close_s:
        what = f"{drain_s:g} is not above links.close_deadline_s ({close_s:g}): a drain cuts what is open"
        yield "drain.deadline_s", what, "raise drain.deadline_s or lower links.close_deadline_s"
    if config.log.addresses == "full":
        yield (
            "log.addresses",
            "logs will hold who writes to whom",
            'write "domain" or "keyed-hash" unless you need it',
        )
    if config.lab:
        yield "lab", "laboratory mode is on", "turn it off on a host that others can reach"


def _unserved_users(config: Config) -> Iterator[tuple[str, str, str]]:
    for n, service in enumerate(config.services):
        served = {
            name for one in config.domains if one.service == service.name for name in (one.name, *one.aliases)
        }
        full = {user: Address.parse(user).domain.name for user in service.users if "@" in user}
        for user, domain in full.items():
            if domain not in served:
                do = f"add a [[domain]] {domain} with service = {service.name!r}, or remove the user"
                yield f"service[{n}].users", f"nobody can write to {user}: {domain} is not served by it", do


def _presence_off(config: Config) -> Iterator[tuple[str, str, str]]:
    """Each process would have a presence of its own."""
    if not config.shares_port:
        return
    key = "workers" if config.workers > 1 else "listen.reuse_port"
    for service in config.services:
        if service.kind == "embedded":
            yield (
                key,
                (
                    f"users of the embedded service {service.name!r} have messages only: presence, rules and "
                    "attributes need a single process, and are answered with type-not-enabled"
                ),
                'use one process, or a service of your own (kind = "imx")',
            )
    if config.takes_stanzas:
        what = (
            "between users of XMPP and of other protocols there are messages only: presence needs a single "
            "process and is refused with type-not-enabled; errors and answers to queries are lost that come "
            "at another process; what is XMPP on both sides passes as it is"
        )
        yield key, what, "use one process"
