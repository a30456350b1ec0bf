"""What is written for resolvers that lead a server's outside domains to this router."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from imxrouter.discovery.inside_dns import CannotDivert, Diversion, resolver_file
from imxrouter.model.resolvers import ResolverName

DIVERSION = Diversion(
    addresses=("10.0.0.9",),
    port=5269,
    own=("a.example", "chat.a.example"),
    passes=("push.example.net",),
    upstreams=(("192.0.2.53", 53),),
)

UNBOUND = """\
# Put this into /etc/unbound/unbound.conf.d/xmpp-inside.conf; `unbound-checkconf` checks it.
# For the XMPP server alone: the other programs of its host must not ask here.
# Every domain but a.example, chat.a.example, push.example.net leads to this router.
server:
    interface: 127.0.0.54
    module-config: "iterator"  # what is made up here cannot be validated
    local-zone: "." redirect
    local-data: ". 60 IN A 10.0.0.9"
    local-data: ". 60 IN SRV 0 0 5269 router.inside."
    local-zone: "a.example." transparent
    local-zone: "chat.a.example." transparent
    local-zone: "push.example.net." transparent
forward-zone:
    name: "."
    forward-addr: 192.0.2.53@53
"""

DNSMASQ = """\
# Put this into /etc/dnsmasq.d/xmpp-inside.conf; `dnsmasq --test` checks it.
# For the XMPP server alone: the other programs of its host must not ask here.
# Every domain but a.example, chat.a.example, push.example.net leads to this router.
port=53
listen-address=127.0.0.54
bind-interfaces
no-resolv
no-hosts
address=/#/10.0.0.9
local=/#/
server=/a.example/192.0.2.53#53
server=/chat.a.example/192.0.2.53#53
server=/push.example.net/192.0.2.53#53
"""

KRESD = r"""-- Put this into /etc/knot-resolver/kresd.conf; `kresd -c FILE` says what is wrong.
-- For the XMPP server alone: the other programs of its host must not ask here.
-- Every domain but a.example, chat.a.example, push.example.net leads to this router.
net.listen('127.0.0.54', 53, { kind = 'dns' })
modules = { 'policy' }
policy.add(policy.suffix(policy.STUB({'192.0.2.53@53'}), policy.todnames({ 'a.example.', 'chat.a.example.', 'push.example.net.' })))
-- names as they are on the wire: each label after its length
policy.add(policy.pattern(policy.ANSWER({[kres.type.SRV] = { rdata = '\000\000\000\000\020\149\006router\006inside\000', ttl = 60 }}, true), '^\012_xmpp%-server\004_tcp'))
-- no TLS from the first byte on inside: one way in is enough
policy.add(policy.pattern(policy.ANSWER({}, true), '^\013_xmpps%-server\004_tcp'))
policy.add(policy.domains(policy.ANSWER({[kres.type.A] = { rdata = kres.str2ip('10.0.0.9'), ttl = 60 }}, true), policy.todnames({ 'router.inside.' })))
policy.add(policy.all(policy.STUB({'192.0.2.53@53'})))
"""  # noqa: E501 - lines of a configuration

RPZ = """\
; Put this into /var/cache/bind/inside.rpz.zone; `named-checkconf -z` checks it.
; For the XMPP server alone: the other programs of its host must not ask here.
; Every domain but a.example, chat.a.example, push.example.net leads to this router.
; In named.conf:
;   options {
;       listen-on { 127.0.0.54; };
;       listen-on-v6 { none; };
;       recursion yes; allow-query { localhost; };
;       dnssec-validation no; empty-zones-enable no;
;       response-policy { zone "inside.rpz"; } qname-wait-recurse no break-dnssec yes;
;       forwarders { 192.0.2.53 port 53; }; forward only;
;   };
;   zone "inside.rpz" { type primary; file "inside.rpz.zone"; allow-query { none; }; };
$TTL 60
@ IN SOA localhost. root.localhost. 1 3600 600 86400 60
@ IN NS localhost.
a.example CNAME rpz-passthru.
*.a.example CNAME rpz-passthru.
chat.a.example CNAME rpz-passthru.
*.chat.a.example CNAME rpz-passthru.
push.example.net CNAME rpz-passthru.
*.push.example.net CNAME rpz-passthru.
* IN A 10.0.0.9
* IN SRV 0 0 5269 router.inside.
example IN A 10.0.0.9
example IN SRV 0 0 5269 router.inside.
*.example IN A 10.0.0.9
*.example IN SRV 0 0 5269 router.inside.
example.net IN A 10.0.0.9
example.net IN SRV 0 0 5269 router.inside.
*.example.net IN A 10.0.0.9
*.example.net IN SRV 0 0 5269 router.inside.
net IN A 10.0.0.9
net IN SRV 0 0 5269 router.inside.
*.net IN A 10.0.0.9
*.net IN SRV 0 0 5269 router.inside.
"""

TEXTS: dict[ResolverName, str] = {"unbound": UNBOUND, "dnsmasq": DNSMASQ, "kresd": KRESD, "rpz": RPZ}
RESOLVERS: tuple[ResolverName, ...] = get_args(ResolverName)


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_text(resolver: ResolverName) -> None:
    """Each resolver's file, to the letter; its first line names the file and how to check it."""
    made = resolver_file(resolver, DIVERSION)
    assert made.text == TEXTS[resolver]
    assert made.path in made.text.splitlines()[0]


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_listener_with_both_families(resolver: ResolverName) -> None:
    """An IPv6 address of the inside listener is told as well."""
    text = resolver_file(resolver, replace(DIVERSION, addresses=("10.0.0.9", "fd00::9"))).text
    assert "10.0.0.9" in text
    assert {
        "unbound": 'local-data: ". 60 IN AAAA fd00::9"',
        "dnsmasq": "address=/#/fd00::9",
        "kresd": "[kres.type.AAAA] = { rdata = kres.str2ip('fd00::9'), ttl = 60 }",
        "rpz": "* IN AAAA fd00::9",
    }[resolver] in text


@pytest.mark.parametrize("resolver", ["unbound", "kresd", "rpz"])
def test_another_port(resolver: ResolverName) -> None:
    """An SRV record carries any port."""
    text = resolver_file(resolver, replace(DIVERSION, port=15269)).text
    assert ("SRV 0 0 15269 router.inside." in text) or (r"\059\165\006router" in text)


def test_dnsmasq_cannot_carry_another_port() -> None:
    """It has no SRV record for every name: that is said, instead of a file that leads nowhere."""
    with pytest.raises(CannotDivert, match=r"no SRV record for every name.*port 15269; listen at port 5269"):
        resolver_file("dnsmasq", replace(DIVERSION, port=15269))


def test_dnsmasq_needs_somebody_to_ask() -> None:
    """It cannot look names up by itself."""
    with pytest.raises(CannotDivert, match="--upstream"):
        resolver_file("dnsmasq", replace(DIVERSION, upstreams=()))


@pytest.mark.parametrize("resolver", ["unbound", "kresd", "rpz"])
def test_without_upstream_the_resolver_asks_the_root(resolver: ResolverName) -> None:
    """Nothing is forwarded then."""
    text = resolver_file(resolver, replace(DIVERSION, upstreams=())).text
    assert "forward" not in text
    assert "STUB" not in text


def test_upstream_on_this_host() -> None:
    """Unbound asks a loopback address only when it is told that it may."""
    allowed = "do-not-query-localhost: no"
    assert allowed in resolver_file("unbound", replace(DIVERSION, upstreams=(("127.0.0.1", 5353),))).text
    assert allowed not in resolver_file("unbound", DIVERSION).text


@pytest.mark.parametrize("resolver", ["unbound", "rpz"])
def test_who_may_ask(resolver: ResolverName) -> None:
    """A server on another host may ask where it may use the inside listener."""
    text = resolver_file(resolver, replace(DIVERSION, clients=("10.0.0.0/24",))).text
    assert {
        "unbound": "access-control: 10.0.0.0/24 allow",
        "rpz": "allow-query { localhost; 10.0.0.0/24; };",
    }[resolver] in text


def test_domain_that_is_named_twice() -> None:
    """It stands once in the file: unbound takes no second one."""
    text = resolver_file("unbound", replace(DIVERSION, passes=("a.example",))).text
    assert text.count('"a.example."') == 1
