"""What `imxctl dns inside` says of a configuration, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from imxrouter.admin.errors import AdminError
from imxrouter.admin.port import InsideAsked
from imxrouter.admin.views import InsideView
from imxrouter.app.operators.inside_view import inside_view
from imxrouter.app.served.provisioning import served_domain
from imxrouter.config.load import Document, parse

HEAD = 'name = "router.a.example"\nrole = "aggregator"\n'
INSIDE = '[xmpp.inside]\nlisten = ["10.0.0.9:5269"]\nallow = ["10.0.0.5/32"]\n'
CHAT = (
    '[[service]]\nname = "chat"\nkind = "xmpp"\naddress = "10.0.0.5:5269"\n'
    '[[domain]]\nname = "a.example"\nservice = "chat"\naliases = ["www.a.example"]\n'
)
HOME = (
    '[[service]]\nname = "home"\nkind = "embedded"\nusers = ["bob"]\n'
    '[[domain]]\nname = "b.example"\nservice = "home"\n'
)
OTHER = (
    '[[service]]\nname = "other"\nkind = "xmpp"\naddress = "10.0.0.6:5269"\n'
    '[[domain]]\nname = "c.example"\nservice = "other"\n'
)


def view(text: str, asked: InsideAsked) -> InsideView:
    """Ask by a configuration."""
    config = parse(Document("r.toml", text)).config
    return inside_view(config, [served_domain(entry) for entry in config.domains], asked)


def test_what_is_told() -> None:
    """The listener, the domains of that service with their aliases, and the resolvers of the router."""
    text = HEAD + 'dns.nameservers = ["192.0.2.53:53"]\n' + INSIDE + CHAT + HOME
    told = view(text, InsideAsked("unbound", passes=["P.example"]))
    assert told["router"] == ["10.0.0.9:5269"]
    assert told["own"] == ["a.example", "www.a.example"]
    assert told["passes"] == ["p.example"]
    assert told["file"] == "/etc/unbound/unbound.conf.d/xmpp-inside.conf"
    for line in (
        'local-data: ". 60 IN A 10.0.0.9"',
        'local-zone: "www.a.example." transparent',
        'local-zone: "p.example." transparent',
        "forward-addr: 192.0.2.53@53",
        "access-control: 10.0.0.5/32 allow",
    ):
        assert line in told["text"]
    # the users of a service that is part of the router are reached at the router, too
    assert "b.example" not in told["text"]


def test_domains_of_another_server_lead_to_the_router() -> None:
    """Where two servers are behind one router, each finds the other's domains there."""
    text = HEAD + INSIDE + CHAT + OTHER
    assert view(text, InsideAsked("unbound", "other"))["own"] == ["c.example"]
    assert view(text, InsideAsked("unbound", "chat"))["own"] == ["a.example", "www.a.example"]


@pytest.mark.parametrize(
    ("upstream", "told"),
    [
        ("192.0.2.1", "192.0.2.1@53"),
        ("192.0.2.1:5353", "192.0.2.1@5353"),
        ("2001:db8::1", "2001:db8::1@53"),
        ("[2001:db8::1]:5353", "2001:db8::1@5353"),
    ],
)
def test_upstream(upstream: str, told: str) -> None:
    """With a port or without, of both families."""
    text = view(HEAD + INSIDE + CHAT, InsideAsked("unbound", upstreams=[upstream]))["text"]
    assert f"forward-addr: {told}\n" in text


@pytest.mark.parametrize(
    ("tables", "asked", "where", "what"),
    [
        ([INSIDE, CHAT], InsideAsked("bind"), "for", "no file for 'bind'"),
        ([HOME], InsideAsked("unbound"), "xmpp.inside.listen", "no inside listener"),
        ([INSIDE, HOME], InsideAsked("unbound"), "service", "no XMPP server is behind this router"),
        ([INSIDE, CHAT, OTHER], InsideAsked("unbound"), "service", "several servers"),
        ([INSIDE, CHAT], InsideAsked("unbound", "other"), "service", "no XMPP service 'other'"),
        ([INSIDE, CHAT], InsideAsked("unbound", passes=['x"\nserver:']), "pass", ""),
        ([INSIDE, CHAT], InsideAsked("unbound", upstreams=["dns.example"]), "upstream", ""),
        ([INSIDE, CHAT], InsideAsked("unbound", upstreams=["1.2.3.4:x"]), "upstream", ""),
        ([INSIDE, CHAT], InsideAsked("unbound", listen="localhost"), "listen", ""),
        ([INSIDE, CHAT], InsideAsked("dnsmasq"), "for", "asks other resolvers only"),
        (
            [INSIDE.replace("5269", "15269"), CHAT],
            InsideAsked("dnsmasq", upstreams=["1.2.3.4"]), "for", "port 15269",
        ),
        (
            [INSIDE.replace(':5269"', ':5269", "10.0.1.9:5270"'), CHAT],
            InsideAsked("unbound"), "xmpp.inside.listen", "one port",
        ),
    ],
)  # fmt: skip
def test_refusals(tables: Sequence[str], asked: InsideAsked, where: str, what: str) -> None:
    """What cannot be done is said with the parameter or key, and what to do; nothing unparsed gets in."""
    with pytest.raises(AdminError) as caught:
        view(HEAD + "".join(tables), asked)
    assert (caught.value.kind, caught.value.where) == ("bad-request", where)
    assert what in caught.value.what
    assert caught.value.do
