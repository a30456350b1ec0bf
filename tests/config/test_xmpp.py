"""Keys of [xmpp] that contradict each other, or let in who must not come in."""

from __future__ import annotations

import pytest

from imxrouter.config.load import Document, parse
from imxrouter.config.problems import ConfigError
from imxrouter.config.schema import Config

HEAD = 'name = "router.a.example"\n'
SERVED = '[[service]]\nname = "chat"\nkind = "xmpp"\n{more}[[domain]]\nname = "a.example"\nservice = "chat"\n'


def config(inside: str, more: str = "") -> Config:
    """A router with an XMPP server behind it."""
    return parse(Document("r.toml", HEAD + f"[xmpp.inside]\n{inside}\n" + SERVED.format(more=more))).config


def test_inside() -> None:
    """What is written is parsed."""
    inside = config('listen = ["10.0.0.9:5269", "[fd00::9]:5269"]\nallow = ["10.0.0.0/24", "fd00::5/128"]')
    assert [str(endpoint) for endpoint in inside.xmpp.inside.endpoints] == ["10.0.0.9:5269", "[fd00::9]:5269"]
    assert [str(network) for network in inside.xmpp.inside.networks] == ["10.0.0.0/24", "fd00::5/128"]


ALLOW = 'allow = ["10.0.0.0/24"]'


@pytest.mark.parametrize(
    ("inside", "more", "path", "what"),
    [
        ("", "", "service[0].kind", "'chat' has no way to us"),
        ('listen = ["10.0.0.9:5269"]', "", "xmpp.inside.allow", "nobody may connect"),
        (f'listen = ["10.0.0.9"]\n{ALLOW}', "", "xmpp.inside.listen", "does not end in a port"),
        (f'listen = ["0.0.0.0:5269"]\n{ALLOW}', "", "xmpp.inside.listen", "every address of this host"),
        (f'listen = ["[::]:5269"]\n{ALLOW}', "", "xmpp.inside.listen", "every address of this host"),
        ('listen = ["10.0.0.9:5269"]\nallow = ["10.0.0.5/24"]', "", "xmpp.inside.allow", "has host bits set"),
        ('listen = ["10.0.0.9:5269"]\nallow = ["chat"]', "", "xmpp.inside.allow", "does not appear to be"),
        (
            f'listen = ["10.0.0.9:5269"]\n{ALLOW}', 'certificate = "s.example"\n', "service[0].key",
            "an xmpp service does not log in",
        ),
    ],
)  # fmt: skip
def test_problems(inside: str, more: str, path: str, what: str) -> None:
    """Each is told by its key; a listener for everybody would let the outside speak for all the world."""
    with pytest.raises(ConfigError) as caught:
        config(inside, more)
    assert [(one.path, what in one.what) for one in caught.value.problems] == [(path, True)]
