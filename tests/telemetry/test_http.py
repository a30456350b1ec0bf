"""The health and metrics listener over a real socket."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from imxrouter.telemetry.http import make_site
from imxrouter.telemetry.metrics import Metrics
from tests.doubles.reactor_thread import ReactorThread


class Listener:
    """The site on a port of its own."""

    def __init__(self, thread: ReactorThread) -> None:
        self.ready = (True, "")
        site = make_site(Metrics("1", lambda: 0.0), lambda: self.ready)
        self.port = thread.call(thread.reactor.listenTCP, 0, site, 5, "127.0.0.1")

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Ask and return status and body."""
        link = http.client.HTTPConnection("127.0.0.1", self.port.getHost().port, timeout=30)
        link.request(method, path)
        answer = link.getresponse()
        found = answer.status, answer.read().decode()
        link.close()
        return found


@pytest.fixture
def listener(reactor_thread: ReactorThread) -> Iterator[Listener]:
    """Open a listener and close it."""
    made = Listener(reactor_thread)
    yield made
    reactor_thread.call(made.port.stopListening)


def test_pages(listener: Listener) -> None:
    """Metrics, health, readiness with its reason; anything else is not found."""
    status, text = listener.get("/metrics")
    assert status == 200
    assert "imxrouter_build_info" in text
    assert listener.get("/healthz") == (200, "ok\n")
    assert listener.get("/readyz") == (200, "ready\n")
    listener.ready = (False, "draining")
    assert listener.get("/readyz") == (503, "draining\n")
    assert listener.get("/other")[0] == 404
    assert listener.get("/healthz", "POST")[0] == 405
