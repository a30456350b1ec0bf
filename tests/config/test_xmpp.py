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
