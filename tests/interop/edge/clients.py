"""The users of the servers: asked from here, run in `client_process`."""

from __future__ import annotations

import itertools
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from lxml import etree

from tests.interop.edge.names import PASSWORD
from tests.interop.netlab import Place, Program

#: How long anything may take that a user waits for; ample, for two cores that may have much to do.
PATIENCE_S: Final = 20.0

#: A stanza that was received, as a tree.
Stanza = etree._Element


class Clients:
    """The process of all users.

    Args:
        place: the namespace that it runs in.
        where: a directory for its files.
    """

    def __init__(self, place: Place, where: Path) -> None:
        self._path = where / "clients.sock"
        command = [sys.executable, "-m", "tests.interop.edge.client_process", str(self._path)]
        # it is started where the package is found
        root = Path(__file__).parents[3]
        command = ["/usr/bin/env", f"PYTHONPATH={root}", *command]
        self.log = where / "clients.log"
        self._program = Program("clients", place.command(*command), self.log)
        self._numbers = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self._received: dict[str, list[Stanza]] = {}
        self._changed = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX)

    def ready(self) -> None:
        """Wait until it answers."""
        self._program.until(self._path.exists, "listens")
        self._program.until(self._connected, "takes a connection")
        threading.Thread(target=self._read, name="clients", daemon=True).start()

    def _connected(self) -> bool:
        try:
            self._socket.connect(str(self._path))
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it at once."""
        self._program.kill()
        self._socket.close()

    def _read(self) -> None:
        with self._socket.makefile("rb") as lines:
            for text in lines:
                line = json.loads(text)
                with self._changed:
                    if "stanza" in line:
                        tree = etree.fromstring(line["stanza"])
                        self._received.setdefault(line["user"], []).append(tree)
                    else:
                        self._answers[line["number"]] = line
                    self._changed.notify_all()

    def ask(self, do: str, **arguments: object) -> Any:
        """Let a user do something and return what came of it; fails the test where it failed."""
        number = next(self._numbers)
        request = {"number": number, "do": do, **arguments}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        with self._changed:
            if not self._changed.wait_for(lambda: number in self._answers, PATIENCE_S):
                pytest.fail(f"no answer within {PATIENCE_S:g} s: {request}")
            answer = self._answers.pop(number)
        if "error" in answer:
            pytest.fail(f"{arguments.get('user')}: {answer['error']}")
        return answer["value"]

    def login(self, address: str, host: str, port: int = 5222, resource: str = "desk") -> Account:
        """Log a user in at a server's address."""
        self.ask("login", user=address, password=PASSWORD, host=host, port=port, resource=resource)
        return Account(self, address)

    def received(self, user: str) -> Sequence[Stanza]:
        """All that a user has received so far."""
        with self._changed:
            return tuple(self._received.get(user, ()))

    def wait_for(self, user: str, fits: Callable[[Stanza], object], what: str, seconds: float) -> Stanza:
        """Wait until a user has received a stanza that fits; fails the test with all that he received."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                for stanza in self._received.get(user, ()):
                    if fits(stanza):
                        return stanza
                left = deadline - time.monotonic()
                if left <= 0:
                    seen = "\n".join(etree.tostring(one).decode() for one in self._received.get(user, ()))
                    pytest.fail(f"{user} did not receive within {seconds:g} s: {what}; but:\n{seen}")
                self._changed.wait(left)


class Account:
    """A user who is logged in.

    Args:
        clients: the process of all users.
        address: his.
    """

    def __init__(self, clients: Clients, address: str) -> None:
        self._clients = clients
        self.address = address

    def ask(self, do: str, **arguments: object) -> Any:
        """Let him do something; see `client_process.Users`."""
        return self._clients.ask(do, user=self.address, **arguments)

    def logout(self) -> None:
        """Log him out."""
        self.ask("logout")

    @property
    def received(self) -> Sequence[Stanza]:
        """All that he has received so far."""
        return self._clients.received(self.address)

    def until(self, fits: Callable[[Stanza], object], what: str, seconds: float = PATIENCE_S) -> Stanza:
        """Wait until he has received a stanza that fits."""
        return self._clients.wait_for(self.address, fits, what, seconds)

    def until_reads(self, text: str, source: str, seconds: float = PATIENCE_S) -> Stanza:
        """Wait for a message with a text from somebody."""
        return self.until(
            lambda one: text_of(one) == text and bare(one.get("from", "")) == source, text, seconds
        )

    def count(self, text: str) -> int:
        """How often he has received a message with a text."""
        return sum(text_of(one) == text for one in self.received)


def text_of(stanza: Stanza) -> str | None:
    """The body of a message; None where it is none or has none, or is an error."""
    if etree.QName(stanza).localname != "message" or stanza.get("type") == "error":
        return None
    return stanza.findtext("{*}body")


def bare(address: str) -> str:
    """An address without its resource."""
    return address.partition("/")[0]
