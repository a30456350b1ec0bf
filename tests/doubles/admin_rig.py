"""A served `PortDouble` on a real unix socket."""

from __future__ import annotations

from pathlib import Path

from imxrouter.admin.client import AdminClient
from imxrouter.admin.server import listen, make_site
from tests.doubles.admin_port import PortDouble
from tests.doubles.reactor_thread import ReactorThread


class AdminRig:
    """The API over a socket.

    Attributes:
        thread: the reactor.
        port: the double behind the API.
        path: the socket.
        client: asks it.
    """

    def __init__(self, thread: ReactorThread, path: Path) -> None:
        self.thread, self.path, self.port = thread, path, PortDouble()
        self._listening = thread.call(listen, thread.reactor, path, make_site(self.port))
        self.client = AdminClient(str(path), timeout_s=10)

    def close(self) -> None:
        """Stop listening."""
        self.thread.call(self._listening.stopListening)
