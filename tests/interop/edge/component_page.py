"""What docs/operators/xmpp-components.md says, as the laboratory is made of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from tests.interop.edge.names import Side

PAGE: Final = Path(__file__).parents[3] / "docs" / "operators" / "xmpp-components.md"
#: Of all components here.
SECRET: Final = "a secret of the laboratory"


def blocks(language: str) -> list[str]:
    """The blocks of a language on the page, in its order."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def server_block(language: str) -> str:
    """The one block for a server."""
    (block,) = blocks(language)
    return block


def ejabberd_listener(side: Side) -> dict[str, Any]:
    """The listener of the page, for a server of here."""
    form = (
        r"listen:\n  -\n    port: (\d+)\n    ip: \"([\d.]+)\"\n    module: (\w+)\n    hosts:\n"
        r"      far\.example:\n        password: \"the secret\"\n"
    )
    found = re.fullmatch(form, server_block("yaml"))
    assert found is not None, f"{PAGE.name} says it otherwise than it is read here"
    port, _, module = found.groups()
    hosts = {name: {"password": SECRET} for name in side.components}
    return {"port": int(port), "ip": side.server, "module": module, "hosts": hosts}


def router_tables(secret: Path, sides: dict[str, Side]) -> str:
    """The tables of the page for a router that is attached at servers, and has a bridge.

    Args:
        secret: file of the secret of all.
        sides: the servers, by the names that their services are to have.
    """
    attach, host = blocks("toml")
    text = ""
    for name, side in sides.items():
        listed = ", ".join(f'"{one}"' for one in side.components)
        one = attach.replace('"chat"', f'"{name}"').replace("a.example", side.joined)
        text += one.replace("10.0.0.5", side.server).replace('"far.example"', listed) + "\n"
    doors, bridge = host.split("\n\n", 1)
    text += bridge
    return f"{doors}\n\n{text}".replace("/etc/imxrouter/component.secret", str(secret)).replace(
        "/etc/imxrouter/bridge.secret", str(secret)
    )
