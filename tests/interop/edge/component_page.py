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
    """The block for a server's listed domains."""
    block, _ = blocks(language)
    return block


def prosody_component(name: str, *, gateway: bool = False) -> str:
    """A component of the page's, for Prosody."""
    block = blocks("lua")[1] if gateway else server_block("lua").split("\n\n")[1]
    return block.replace("gw.a.example" if gateway else "far.example", name).replace("the secret", SECRET)


def ejabberd_listener(side: Side) -> dict[str, Any]:
    """The listener of the page, for a server of here."""
    form = (
        r"listen:\n  -\n    port: (\d+)\n    ip: \"([\d.]+)\"\n    module: (\w+)\n    hosts:\n"
        r"      far\.example:\n        password: \"the secret\"\n"
    )
    found = re.fullmatch(form, server_block("yaml"))
    assert found is not None, f"{PAGE.name} says it otherwise than it is read here"
    port, _, module = found.groups()
    gateway = r"      gw\.a\.example:\n        password: \"the secret\"\n"
    assert re.fullmatch(gateway, blocks("yaml")[1]) is not None
    hosts = {name: {"password": SECRET} for name in (*side.components, side.gateway)}
    return {"port": int(port), "ip": side.server, "module": module, "hosts": hosts}


def router_tables(secret: Path, sides: dict[str, Side]) -> str:
    """The tables of the page for a router that is attached at servers, and has a bridge.

    Args:
        secret: file of the secret of all.
        sides: the servers, by the names that their services are to have.
    """
    attach, _, host = blocks("toml")
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


def gateway_tables(secret: Path, sides: dict[str, Side]) -> str:
    """The tables of the page for a router that is a gateway at servers.

    Args:
        secret: file of the secret of all.
        sides: the servers, by the names that their services are to have.
    """
    attach, gateway, _ = blocks("toml")
    served = attach.partition("[[xmpp.component]]")[0]
    text = ""
    for name, side in sides.items():
        one = (served + gateway).replace('"chat"', f'"{name}"').replace("10.0.0.5", side.server)
        text += one.replace("gw.a.example", side.gateway).replace("a.example", side.gated) + "\n"
    return text.replace("/etc/imxrouter/component.secret", str(secret))
