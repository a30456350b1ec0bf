"""`/metrics`, `/healthz` and `/readyz`, for a listener of their own.

`/healthz` answers 200 as long as the reactor turns; `/readyz` answers 200 or 503 with the reason.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site

from imxrouter.telemetry.metrics import Metrics

#: Ready or not, and why.
Readiness = Callable[[], tuple[bool, str]]

_TEXT = b"text/plain; charset=utf-8"
_EXPOSITION = b"text/plain; version=0.0.4; charset=utf-8"

#: Seconds without a request until a keep-alive connection is closed; above the usual scrape interval.
_IDLE_S = 120


class _Page(Resource):
    isLeaf = True

    def __init__(self, make: Callable[[], tuple[int, bytes, bytes]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._make = make

    def render_GET(self, request: Request) -> bytes:
        """Answer GET, and HEAD through twisted."""
        code, kind, body = self._make()
        request.setResponseCode(code)
        for name, value in ((b"content-type", kind), (b"cache-control", b"no-store")):
            request.setHeader(name, value)  # type: ignore[no-untyped-call]
        return body


def make_site(metrics: Metrics, ready: Readiness) -> Site:
    """Make the factory for the listener.

    Args:
        metrics: what `/metrics` shows.
        ready: asked for each `/readyz`.
    """

    def readiness() -> tuple[int, bytes, bytes]:
        good, why = ready()
        return (200 if good else 503), _TEXT, f"{why or ('ready' if good else 'not ready')}\n".encode()

    root = Resource()  # type: ignore[no-untyped-call]
    root.putChild(b"metrics", _Page(lambda: (200, _EXPOSITION, metrics.exposition())))
    root.putChild(b"healthz", _Page(lambda: (200, _TEXT, b"ok\n")))
    root.putChild(b"readyz", _Page(readiness))
    return Site(root, timeout=_IDLE_S)  # type: ignore[no-untyped-call]
