"""A whole router before one of the servers: a real `twistd` process."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any, Final

from imxrouter.admin.client import AdminClient
from imxrouter.admin.errors import AdminError
from imxrouter.model.errors import RouterError
from tests.interop.edge.authority import Authorities
from tests.interop.edge.clients import Account
from tests.interop.edge.insides import own_names
from tests.interop.edge.names import Side
from tests.interop.netlab import START_S, Place, Program, wait_until

#: The operators' page that these routers are configured by.
PAGE: Final = Path(__file__).parents[3] / "docs" / "operators" / "xmpp-inside.md"
BIN: Final = Path(sys.executable).parent
#: Between two messages by which is seen that its user's program shows them; well below any sender's rate.
_PROBE_S: Final = 0.2
#: Where the package is found, for programs that are started elsewhere.
_ROOT: Final = Path(__file__).parents[3]


def page_block(language: str) -> str:
    """The one block of a language on the page."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(block)


class EdgeRouter:
    """A router that has one server behind it, and users of its own.

    Args:
        side: the server's.
        place: the namespace.
        where: a directory to make for its files.
        authorities: the one of the inside signs.
        nameserver: who knows what is published.

    Attributes:
        seen: what its user received, a line each.
    """

    def __init__(
        self, side: Side, place: Place, where: Path, authorities: Authorities, nameserver: str
    ) -> None:
        where.mkdir(parents=True)
        self.side, self._place, self._where = side, place, where
        #: a domain of the router's own users, outside for the server
        self.domain = side.home
        self.carol = f"carol@{self.domain}"
        authority = where / "inside.pem"
        inside = authorities.inside.issued
        authority.write_bytes(inside.chain_pem + inside.key_pem)
        lines: dict[str, object] = {
            "name": f"router.{side.name}.example",
            "role": "aggregator",
            "state_dir": str(where / "state"),
            "run_dir": str(where / "run"),
            "listen.addresses": [f"{side.router}:6490"],
            "metrics.listen": "",
            "dns.nameservers": [f"{nameserver}:53"],
            # a machine that gives a process no time for a moment is no load of this one
            "overload.lag_ms": 0,
            "log.level": "debug",
            "log.addresses": "full",
        }
        lines |= self._more_settings(where, authorities)
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
        # what the page for operators says, with the addresses and names of here
        said = page_block("toml").replace("10.0.0.5", side.server)
        text += said.partition("[[domain]]")[0].replace(
            "[[service]]", f'authority = "{authority}"\n\n[[service]]'
        )
        text += '[[service]]\nname = "home"\nkind = "embedded"\nusers = ["carol"]\n'
        text += f'[[domain]]\nname = "{self.domain}"\nservice = "home"\n'
        text += "".join(map(self._domain, own_names(side)))
        self._config = where / "router.toml"
        self._config.write_text(self._changed(text))
        self._socket = where / "run" / "admin.sock"
        self.log = where / "router.log"
        #: before other servers, which it speaks with
        self.others: list[EdgeRouter] = []
        self.seen = where / "seen"
        self._program: Program | None = None
        self._watcher: Program | None = None

    def _more_settings(self, where: Path, authorities: Authorities) -> dict[str, object]:
        """What a router says besides, for its whole."""
        del where, authorities
        return {}

    def _domain(self, name: str) -> str:
        """A domain of the server."""
        return f'[[domain]]\nname = "{name}"\nservice = "chat"\n'

    def _changed(self, text: str) -> str:
        """What its configuration is in the end."""
        return text

    def start(self) -> None:
        """Start it and wait until it answers."""
        twistd = [
            "/usr/bin/env",
            f"PYTHONPATH={_ROOT}",
            str(BIN / "twistd"),
            "-n",
            "--pidfile=",
            "imxrouter",
            "--config",
            str(self._config),
        ]
        self._program = Program(
            f"router of {self.side.name}", self._place.command(*twistd), self._where / "out"
        )
        self._program.until(self._answers, "answers at its administration socket")
        command = ["/usr/bin/env", f"PYTHONPATH={_ROOT}", str(BIN / "imxctl"), "--json"]
        command += ["--socket", str(self._socket), "watch", self.carol]
        self._watcher = Program("watch", command, self.seen)

    def _answers(self) -> bool:
        try:
            return bool(self.client.status()["ready"])
        except (AdminError, RouterError):
            return False

    def of(self, user: str) -> EdgeRouter:
        """The router that a user's domain is served by: this one, or the other side's."""
        domain = user.partition("@")[2]
        served = (one for one in self.others if domain in (one.domain, *own_names(one.side)))
        return next(served, self)

    @property
    def client(self) -> AdminClient:
        """Its administration."""
        return AdminClient(str(self._socket))

    def kill(self) -> None:
        """End it at once."""
        for one in (self._program, self._watcher):
            if one is not None:
                one.kill()

    def stop(self) -> None:
        """End it in order."""
        if self._program is not None:
            self._program.ask_to_end()
            self._program.ended()
        if self._watcher is not None:
            self._watcher.kill()

    def until_watched(self) -> None:
        """Wait until its user's program shows what comes; what came before stays unseen in her inbox.

        By messages of hers to herself, as no other ones need come.
        """
        texts = []

        def shows() -> bool:
            texts.append(f"are you there? {time.monotonic()}")
            self.client.send(self.carol, self.carol, texts[-1])
            time.sleep(_PROBE_S)
            seen = self.seen.read_text() if self.seen.exists() else ""
            return any(text in seen for text in texts)

        wait_until(shows, f"the program of {self.carol} shows what comes", START_S)

    def until_carol_reads(self, text: str) -> dict[str, Any]:
        """Wait until its user has received a text, and see that it came once."""

        def found() -> list[dict[str, Any]]:
            lines = self.seen.read_text().splitlines(keepends=True) if self.seen.exists() else []
            said = [json.loads(one) for one in lines if one.endswith("\n")]
            return [one for one in said if one.get("text") == text]  # imxctl's own words have none

        wait_until(found, f"{self.carol} reads {text!r}")
        (one,) = found()
        return one


def write_both_ways(alice: Account, router: EdgeRouter, first: str) -> None:
    """A user of the server and carol of the router write to each other; carol is told what became of it.

    Args:
        alice: there.
        router: carol's.
        first: who sends first, `server` or `router`.
    """

    def out() -> None:
        text = f"out {time.monotonic_ns()}"
        alice.ask("message", to=router.carol, text=text)
        assert router.until_carol_reads(text)["source"] == alice.address

    def back() -> None:
        text = f"in {time.monotonic_ns()}"
        outcome = router.client.send(router.carol, alice.address, text)
        assert outcome["status"] == "success", outcome
        alice.until_reads(text, router.carol)
        assert alice.count(text) == 1

    for way in (out, back) if first == "server" else (back, out):
        way()
