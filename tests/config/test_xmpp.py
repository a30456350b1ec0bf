"""Keys of [xmpp] that contradict each other, or let in who must not come in."""

from __future__ import annotations

import pytest

from imxrouter.config.load import Document, parse
from imxrouter.config.problems import ConfigError
from imxrouter.config.schema import Config

HEAD = 'name = "router.a.example"\n'
SERVED = '[[service]]\nname = "chat"\nkind = "xmpp"\n{more}[[domain]]\nname = "a.example"\nservice = "chat"\n'


def config(inside: str, more: str = 'address = "10.0.0.5:5269"\n') -> Config:
    """A router with an XMPP server behind it."""
    return parse(Document("r.toml", HEAD + f"[xmpp.inside]\n{inside}\n" + SERVED.format(more=more))).config


def test_inside() -> None:
    """What is written is parsed."""
    inside = config('listen = ["10.0.0.9:5269", "[fd00::9]:5269"]\nallow = ["10.0.0.0/24", "fd00::5/128"]')
    assert [str(endpoint) for endpoint in inside.xmpp.inside.endpoints] == ["10.0.0.9:5269", "[fd00::9]:5269"]
    assert [str(network) for network in inside.xmpp.inside.networks] == ["10.0.0.0/24", "fd00::5/128"]


ADDRESS = 'address = "10.0.0.5:5269"\n'
LISTEN = 'listen = ["10.0.0.9:5269"]'
ALLOW = 'allow = ["10.0.0.0/24"]'


@pytest.mark.parametrize(
    ("inside", "more", "path", "what"),
    [
        ("", ADDRESS, "service[0].kind", "'chat' has no way to us"),
        ('listen = ["10.0.0.9:5269"]', ADDRESS, "xmpp.inside.allow", "nobody may connect"),
        (f'listen = ["10.0.0.9"]\n{ALLOW}', ADDRESS, "xmpp.inside.listen", "does not end in a port"),
        (f'listen = ["0.0.0.0:5269"]\n{ALLOW}', ADDRESS, "xmpp.inside.listen", "every address of this host"),
        (f'listen = ["[::]:5269"]\n{ALLOW}', ADDRESS, "xmpp.inside.listen", "every address of this host"),
        (f'{LISTEN}\nallow = ["10.0.0.5/24"]', ADDRESS, "xmpp.inside.allow", "has host bits set"),
        (f'{LISTEN}\nallow = ["chat"]', ADDRESS, "xmpp.inside.allow", "does not appear to be"),
        (
            f'listen = ["10.0.0.9:5269"]\n{ALLOW}', ADDRESS + 'certificate = "s.example"\n', "service[0].key",
            "an xmpp service does not log in",
        ),
        (f'listen = ["10.0.0.9:5269"]\n{ALLOW}', "", "service[0].address", "does not end in a port"),
        (
            f'listen = ["10.0.0.9:5269"]\n{ALLOW}', 'address = "chat.a.example:5269"\n', "service[0].address",
            "is not an IP address",
        ),
    ],
)  # fmt: skip
def test_problems(inside: str, more: str, path: str, what: str) -> None:
    """Each is told by its key; a listener for everybody would let the outside speak for all the world."""
    with pytest.raises(ConfigError) as caught:
        config(inside, more)
    assert [(one.path, what in one.what) for one in caught.value.problems] == [(path, True)]


def test_address_of_a_service_that_is_not_dialled() -> None:
    """It would do nothing."""
    text = HEAD + '[[service]]\nname = "home"\nkind = "embedded"\nusers = ["u"]\n' + ADDRESS
    with pytest.raises(ConfigError) as caught:
        parse(Document("r.toml", text + '[[domain]]\nname = "a.example"\nservice = "home"\n'))
    assert [one.path for one in caught.value.problems] == ["service[0].address"]


def test_inside_is_never_dialled_at_a_strangers_word() -> None:
    """Whoever publishes the address of the inside is not led there by this router."""
    made = config(f'listen = ["10.0.0.9:5269"]\n{ALLOW}')
    assert [str(place) for place in made.taken_at if place.port == 5269] == ["10.0.0.9:5269"]


@pytest.mark.parametrize("several", ["workers = 2\n", "listen.reuse_port = true\n"])
@pytest.mark.parametrize("door", ["xmpp.listen", "xmpp.listen_tls", "xmpp.inside.listen"])
def test_streams_at_several_processes(several: str, door: str) -> None:
    """Only where writing is enough; and what does not work then is a warning."""
    served = '[[service]]\nname = "own"\nkind = "imx"\nkey = "%s"\n' % ("ab" * 32) + DOMAINS.replace(
        "chat", "own"
    )
    head = HEAD + several + f'{door} = ["10.0.0.9:5269"]\nxmpp.inside.allow = ["10.0.0.5/32"]\n'
    head += 'xmpp.tls = "offered"\ntls.certificates = "c"\n'
    with pytest.raises(ConfigError) as caught:
        parse(Document("r.toml", head + served))
    assert [one.path for one in caught.value.problems] == ["xmpp.confirm"]
    written = 'xmpp.confirm = "written"\n' + served
    warned = [
        one.path for one in parse(Document("r.toml", head + written)).warnings if "presence" in one.what
    ]
    assert warned == [several.partition(" ")[0]]
    one = head.replace(several, "") + served
    assert not [each for each in parse(Document("r.toml", one)).warnings if "presence" in each.what]


def test_bridges_at_several_processes() -> None:
    """A bridge is at one of them, and what its users watch comes to any: messages only, and a warning."""
    text = HEAD + "workers = 2\n" + HOST + BRIDGE + DOMAINS.replace("chat", "b")
    warned = [one.path for one in parse(Document("r.toml", text)).warnings if "presence" in one.what]
    assert warned == ["workers"]


# -- components --------------------------------------------------------------------------------------------

HOST = '[xmpp.components]\nlisten = ["127.0.0.1:5347"]\nallow = ["127.0.0.1/32"]\n'
BRIDGE = '[[service]]\nname = "b"\nkind = "component"\nsecret_file = "b.secret"\n'
CHAT = '[[service]]\nname = "chat"\nkind = "xmpp"\n'
AT = (
    '[[xmpp.component]]\nservice = "chat"\naddress = "10.0.0.5:5347"\nsecret_file = "c.secret"\n'
    'domains = ["far.example"]\n'
)
LIST = 'domains = ["far.example"]\n'
GATE = AT.replace(LIST, "gateway = 'gw.a.example'\n")
DOMAINS = '[[domain]]\nname = "a.example"\nservice = "chat"\n'
ALIAS = DOMAINS + 'aliases = ["c.example"]\n'


def components(text: str) -> Config:
    """A router with these tables."""
    return parse(Document("/etc/imxrouter/r.toml", HEAD + text)).config


def test_components() -> None:
    """What is written is parsed; a server at which we attach needs no other way."""
    config = components('role = "aggregator"\n' + HOST + BRIDGE + CHAT + AT + DOMAINS)
    assert [str(one) for one in config.xmpp.components.endpoints] == ["127.0.0.1:5347"]
    assert [str(one) for one in config.xmpp.components.networks] == ["127.0.0.1/32"]
    assert config.services[0].secret_file == "/etc/imxrouter/b.secret"
    (at,) = config.xmpp.attached
    assert (str(at.endpoint), at.domains) == ("10.0.0.5:5347", ("far.example",))
    assert "127.0.0.1:5347" in [str(place) for place in config.taken_at]


@pytest.mark.parametrize(
    ("text", "path", "what"),
    [
        (BRIDGE, "service[0].kind", "'b' has no way to us"),
        (HOST + BRIDGE.replace('secret_file = "b.secret"\n', ""), "service[0].secret_file", "by it"),
        (HOST.replace('allow = ["127.0.0.1/32"]\n', "") + BRIDGE, "xmpp.components.allow", "nobody may"),
        (HOST.replace("127.0.0.1:", "0.0.0.0:") + BRIDGE, "xmpp.components.listen", "every address"),
        (HOST + BRIDGE + ADDRESS, "service[0].address", "is not dialled"),
        (HOST + BRIDGE.replace("component", "embedded"), "service[0].secret_file", "has none"),
        (CHAT + AT.replace('"chat"', '"other"'), "xmpp.component[0].service", "no service of kind"),
        (CHAT + AT + AT, "xmpp.component[1].service", "stands twice"),
        (CHAT + AT.replace("10.0.0.5", "chat.a.example"), "xmpp.component[0].address", "is not an IP"),
        (CHAT + AT.replace("far.example", "a.example") + DOMAINS, "xmpp.component[0].domains", "s own"),
        (CHAT + AT.replace("far.example", "no domain"), "xmpp.component[0].domains", "no domain"),
        (CHAT + AT.replace('"]', '", "far.example"]'), "xmpp.component[0].domains", "stands twice"),
        ("workers = 2\n" + CHAT + AT, "xmpp.component", "several processes"),
        (CHAT + AT.replace(LIST, ""), "xmpp.component[0].domains", "component of nothing"),
        (CHAT + AT + "gateway_domains = ['b.example']\n", "xmpp.component[0].gateway_domains", "no gateway"),
        (CHAT + AT + "gateway = 'no name'\n", "xmpp.component[0].gateway", "no name"),
        (CHAT + AT + "gateway = '192.0.2.1'\n", "xmpp.component[0].gateway", "is an address"),
        (CHAT + AT + "gateway = 'A.example'\n" + DOMAINS, "xmpp.component[0].gateway", "served here"),
        (CHAT + AT + "gateway = 'c.example'\n" + ALIAS, "xmpp.component[0].gateway", "served here"),
        (CHAT + AT + "gateway = 'far.example'\n", "xmpp.component[0].gateway", "listed as a domain"),
        (CHAT + AT + AT.replace(LIST, "gateway = 'far.example'\n"), "xmpp.component[1].gateway", "listed as"),
        (CHAT + GATE + "gateway_domains = ['bob@b.example']\n", "xmpp.component[0].gateway_domains", "alone"),
        (CHAT + GATE + "gateway_domains = ['*']\n", "xmpp.component[0].gateway_domains", "alone"),
        (CHAT + GATE + "gateway_domains = ['b example']\n", "xmpp.component[0].gateway_domains", "write"),
        (CHAT + ADDRESS + GATE, "xmpp.component[0].gateway_domains", "every outside domain"),
        (CHAT + AT + "server_name = 'no name'\n", "xmpp.component[0].server_name", "no name"),
        (CHAT + AT + "anchor = 'ca.pem'\n", "xmpp.component[0].anchor", "without server_name"),
    ],
)  # fmt: skip
def test_problems_of_components(text: str, path: str, what: str) -> None:
    """Each is told by its key."""
    with pytest.raises(ConfigError) as caught:
        components(text)
    found = [(one.path, one.what) for one in caught.value.problems]
    assert any(at == path and what in words for at, words in found), found


def test_what_passes_in_clear_where_others_are() -> None:
    """A warning, for a server at a public address without TLS, and for bridges that come to one."""
    far = AT.replace("10.0.0.5", "192.0.2.5").replace("192.0.2.5", "203.0.114.5")

    def warned(text: str) -> list[str]:
        found = parse(Document("r.toml", HEAD + 'role = "aggregator"\n' + text + CHAT + DOMAINS)).warnings
        return [one.path for one in found if "can be read" in one.what]

    assert warned(AT) == []
    assert warned(far) == ["xmpp.component[0].address"]
    assert warned(far + "server_name = 'chat.example'\n") == []
    bridge = (
        HOST.replace("127.0.0.1:", "203.0.114.7:")
        + BRIDGE
        + '[[domain]]\nname = "b.example"\nservice = "b"\n'
    )
    assert warned(AT + bridge) == ["xmpp.components.listen"]


def test_gateway() -> None:
    """It needs no list of domains; names are in wire form, of the list beside it too."""
    (at,) = components(CHAT + GATE + DOMAINS).xmpp.attached
    assert (at.gateway, at.domains, at.gateway_domains) == ("gw.a.example", (), ())
    inside = '[xmpp.inside]\nlisten = ["10.0.0.9:5269"]\nallow = ["10.0.0.5/32"]\n'
    both = AT.replace("far", "München") + 'gateway = "GW.a.example"\ngateway_domains = ["*.b.example"]\n'
    (at,) = components(inside + CHAT + ADDRESS + both + DOMAINS).xmpp.attached
    assert (at.gateway, at.domains) == ("gw.a.example", ("xn--mnchen-3ya.example",))
