"""What cannot be of the keys about TLS, and what an operator should be told of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from imxrouter.config.schema import Config
from imxrouter.config.served import ServedDomain, Service
from imxrouter.config.tls import SYSTEM
from imxrouter.config.trust import CLEAR_POLICIES, policy_for
from imxrouter.model.domain import BadDomain, Domain


def tls_problems(config: Config) -> Iterator[tuple[str, str, str]]:
    """What contradicts itself: path, what is wrong, what to do."""
    tls = config.tls
    if not tls.trust:
        yield "tls.trust", "nobody is trusted", f'write "{SYSTEM}", or the PEM file of an authority'
    for word in sorted({word for word in tls.trust if tls.trust.count(word) > 1}):
        yield "tls.trust", f"{word} stands twice", "keep one of the two"
    for n, domain in enumerate(config.domains):
        if domain.certificate and not tls.certificates:
            do = "write tls.certificates, or remove it"
            yield f"domain[{n}].certificate", "stands without [tls] certificates", do
    yield from uplink_problems(config)


#: How a client certificate is pinned by its fingerprint.
_PIN = re.compile(r"sha256:[0-9a-fA-F]{64}")
_NO_TLS = "without tls.certificates links are in clear"


def login_problems(path: str, service: Service) -> Iterator[tuple[str, str, str]]:
    """What is wrong with the certificate by which a service logs in."""
    if not service.certificate or _PIN.fullmatch(service.certificate):
        return
    try:
        Domain.parse(service.certificate)
    except BadDomain as error:
        do = "write sha256: and 64 hexadecimal digits, or a domain that the certificate names"
        yield f"{path}.certificate", str(error), do


def tls_warnings(config: Config) -> Iterator[tuple[str, str, str]]:
    """Policies of peers that no link can meet, and TLS that is asked for and cannot be offered."""
    if config.tls.certificates:
        return
    if config.listen.tls == "only":
        yield "listen.tls", "no TLS is offered, and links in clear are refused", "write tls.certificates"
    do = 'write tls.certificates; or policy = "dialback" if that is enough for this peer'
    if config.trust.default_policy not in CLEAR_POLICIES:
        yield (
            "trust.default_policy",
            (
                f"{config.trust.default_policy} needs TLS, and {_NO_TLS}: every peer without an entry is "
                "refused as weaker-than-policy"
            ),
            (
                "write tls.certificates; or, for peers that may be proved by dial-back in clear, add "
                '[[trust.peer]] domain = "partner.example", policy = "dialback"'
            ),
        )
    for n, peer in enumerate(config.trust.peers):
        if peer.policy is not None and peer.policy not in CLEAR_POLICIES:
            what = f"{peer.domain} will be refused: {peer.policy} needs TLS, and {_NO_TLS}"
            yield f"trust.peer[{n}].policy", what, do
    rules = config.policy_rules
    for n, pinned in enumerate(config.peers):
        if policy_for(rules, config.trust.default_policy, pinned.domain) not in CLEAR_POLICIES:
            yield f"peer[{n}]", f"{pinned.domain} will be refused: its policy needs TLS, and {_NO_TLS}", do


def domain_warnings(
    placed: Iterable[tuple[str, str, ServedDomain]],
) -> Iterator[tuple[str, str, str, str]]:
    """The same of domains served here, where there are no certificates: file, path, what, what to do."""
    for file, path, entry in placed:
        if entry.policy is not None and entry.policy not in CLEAR_POLICIES:
            what = f"nobody can reach {entry.name}: {entry.policy} needs TLS, and {_NO_TLS}"
            yield file, f"{path}.policy", what, 'write tls.certificates; or policy = "dialback"'


def login_warnings(config: Config) -> Iterator[tuple[str, str, str]]:
    """A login is taken in clear by laboratories only (specification section 6.6)."""
    for n, service in enumerate(config.services):
        if service.kind == "imx" and not config.tls.certificates:
            what = f"{service.name!r} needs TLS for its login, and {_NO_TLS}: it cannot log in"
            yield f"service[{n}]", what, 'write tls.certificates, or use kind = "embedded"'
    for n, uplink in enumerate(config.uplinks):
        if not uplink.server_name:
            what = f"{uplink.name!r} needs TLS for our login, and without server_name the link is in clear"
            yield f"uplink[{n}]", f"{what}: it will refuse us", "write server_name"


def uplink_problems(config: Config) -> Iterator[tuple[str, str, str]]:
    """An uplink that cannot be logged in to."""
    for n, uplink in enumerate(config.uplinks):
        if uplink.server_name:
            try:
                Domain.parse(uplink.server_name)
            except BadDomain as error:
                yield f"uplink[{n}].server_name", str(error), "write the domain that its certificate names"
        elif uplink.anchor:
            yield f"uplink[{n}].anchor", "stands without server_name", "write server_name, or remove it"
        if not uplink.key_file and not (uplink.server_name and config.tls.certificates):
            do = "write key_file; or server_name and tls.certificates, to log in by certificate"
            yield f"uplink[{n}].key_file", "we have nothing to log in with", do
