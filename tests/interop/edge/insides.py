"""The inside of a router before one of the servers: asked from here, run in `inside_process`."""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from imxrouter.discovery.inside_dns import Diversion, resolver_file
from tests.interop.edge.authority import Authorities
from tests.interop.edge.clients import PATIENCE_S
from tests.interop.edge.names import Mode, Side
from tests.interop.netlab import Place, Program, program, run, wait_until

#: Where the server's resolver answers, and leads everything else to; in the server's namespace.
RESOLVER: Final = "127.0.0.54"
INSIDE: Final = "10.0.0.9"
#: Passes: leads to the servers themselves.
FREE: Final = "free.example"

_numbers = itertools.count(1)


def own_names(side: Side) -> list[str]:
    """The names that the server behind a router answers for: its hosts and their rooms."""
    hosts = [*(side.inside(mode) for mode in Mode), side.edge, side.imx, side.both]
    return hosts + [f"conference.{host}" for host in hosts]


class DivertingResolver:
    """An unbound with the file that the router writes, in the server's namespace.

    Args:
        side: whose.
        place: the namespace.
        where: a directory to make for its files.
        upstream: the resolver that knows what is published.
        others: hosts that lead to the inside of another router, at its address.
    """

    def __init__(
        self, side: Side, place: Place, where: Path, upstream: str, others: Mapping[str, str]
    ) -> None:
        where.mkdir()
        to = Diversion((INSIDE,), 5269, tuple(own_names(side)), (FREE,), ((upstream, 53),), RESOLVER)
        self.file = where / "xmpp-inside.conf"
        self.file.write_text(resolver_file("unbound", to).text)
        words = ['username: ""', 'chroot: ""', f'directory: "{where}"', 'pidfile: ""', "use-syslog: no"]
        lines = ["server:", *(f"  {word}" for word in words), f'include: "{self.file}"', "remote-control:"]
        lines += ["  control-enable: no", "server:"]
        for host, address in others.items():
            lines += [f'  local-zone: "{host}." redirect', f'  local-data: "{host}. A {address}"']
        (where / "unbound.conf").write_text("\n".join([*lines, ""]))
        self._place = place
        command = [program("unbound"), "-d", "-p", "-c", str(where / "unbound.conf")]
        self._program = Program(f"resolver of {side.name}", place.command(*command), where / "unbound.log")

    def ready(self) -> None:
        """Wait until it answers."""
        ask = [program("dig"), "+short", "+tries=1", "+time=1", f"@{RESOLVER}", "any.example", "A"]
        wait_until(
            lambda: run(*self._place.command(*ask), check=False).stdout.strip() == INSIDE,
            "a name is diverted",
        )

    def kill(self) -> None:
        """End it."""
        self._program.kill()


class InsideRouter:
    """The inside alone, before one server.

    Args:
        side: whose.
        place: the namespace.
        where: a directory to make for its files.
        authorities: the one of the inside signs.
    """

    def __init__(self, side: Side, place: Place, where: Path, authorities: Authorities) -> None:
        where.mkdir()
        run(*place.command("ip", "addr", "replace", f"{INSIDE}/32", "dev", "lo"))
        for name, one in (("authority", authorities.inside), ("unknown", authorities.unknown)):
            (where / f"{name}.pem").write_bytes(one.issued.chain_pem + one.issued.key_pem)
        settings = {
            "name": f"router.{side.name}.example",
            "listen": [INSIDE, 5269],
            # what comes from this very host has the address that it goes to
            "allow": [f"{INSIDE}/32", f"{side.server}/32"],
            "server": [side.server, 5269],
            "domains": own_names(side),
            "authority": str(where / "authority.pem"),
            "unknown": str(where / "unknown.pem"),
        }
        (where / "settings.json").write_text(json.dumps(settings))
        self._path = where / "inside.sock"
        self.log = where / "inside.log"
        root = Path(__file__).parents[3]
        command = ["/usr/bin/env", f"PYTHONPATH={root}", sys.executable, "-m"]
        command += ["tests.interop.edge.inside_process", str(self._path), str(where / "settings.json")]
        self._command = place.command(*command)
        self._name = f"inside of {side.name}"
        self.start()
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._outcomes: dict[int, dict[str, Any]] = {}
        self._stanzas: list[str] = []
        self._changed = threading.Condition()

    def start(self) -> None:
        """Start it; `ready` waits."""
        self._path.unlink(missing_ok=True)
        self._program = Program(self._name, self._command, self.log)
        self._socket = socket.socket(socket.AF_UNIX)

    def ready(self) -> None:
        """Wait until it answers."""
        self._program.until(self._path.exists, "listens")
        self._program.until(self._connected, "takes a connection")
        threading.Thread(target=self._read, name="inside", daemon=True).start()

    def _connected(self) -> bool:
        try:
            self._socket.connect(str(self._path))
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it."""
        self._program.kill()
        self._socket.close()

    def _read(self) -> None:
        with contextlib.suppress(ConnectionResetError), self._socket.makefile("rb") as lines:
            for text in lines:
                line = json.loads(text)
                with self._changed:
                    if "stanza" in line:
                        self._stanzas.append(line["stanza"])
                    elif "sent" in line:
                        self._outcomes[line["sent"]] = line
                    else:
                        self._answers.put(line)
                    self._changed.notify_all()

    def _ask(self, **asked: object) -> dict[str, Any]:
        self._socket.sendall(json.dumps(asked).encode() + b"\n")
        return self._answers.get(timeout=PATIENCE_S)

    def new_domain(self, *, trusted: bool) -> str:
        """An outside domain that nobody has heard of, in no file of anybody.

        Args:
            trusted: whether the server trusts who signs certificates for it.
        """
        name = f"{'new' if trusted else 'unknown'}{next(_numbers)}-{id(self):x}.example"
        self._ask(outside=name)
        return name

    def send(self, stanza: str, from_: str, to: str) -> dict[str, Any]:
        """Send a stanza of an outside user to one of the server's and wait for the outcome."""
        number = self._ask(send=stanza, **{"from": from_, "to": to})["number"]
        with self._changed:
            if not self._changed.wait_for(lambda: number in self._outcomes, 2 * PATIENCE_S):
                pytest.fail(f"no outcome of {stanza}")
            return self._outcomes[number]

    def until_gets(self, text: str) -> str:
        """Wait for a stanza with a text in it, for an outside user."""

        def found() -> list[str]:
            return [one for one in self._stanzas if text in one]

        with self._changed:
            if not self._changed.wait_for(found, PATIENCE_S):
                pytest.fail(f"no stanza with {text!r} among {self._stanzas}")
            (one,) = found()
            return one
