"""The API's server: twisted.web on a unix socket that only its owner can open."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorUNIX
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from imxrouter.admin import routes
from imxrouter.admin.errors import STATUS, AdminError, SocketInUse
from imxrouter.admin.port import AdminPort
from imxrouter.admin.watching import Watching

#: Largest body of a request; a [[domain]] with a thousand aliases fits.
MAX_BODY_BYTES = 1024 * 1024

#: Seconds that a probe waits to see whether a socket's owner is alive.
_PROBE_S = 1.0


class _Api(Resource):
    isLeaf = True

    def __init__(self, port: AdminPort, log: Logger) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._port, self._log = port, log

    def render(self, request: Request) -> int:
        """Answer any method; called by twisted."""
        try:
            self._dispatch(request)
        except AdminError as error:
            _answer_error(request, error)
        return NOT_DONE_YET

    def _dispatch(self, request: Request) -> None:
        method, path = request.method.decode("ascii", "replace"), request.path.decode("ascii", "replace")
        pattern, parts = routes.find(method, path)
        stream = routes.STREAMS.get((method, pattern))
        if stream is not None:
            Watching(request).begin(lambda emit: stream(self._port, parts, emit))
            return
        content = request.content.read(MAX_BODY_BYTES + 1) if request.content else b""
        if len(content) > MAX_BODY_BYTES:
            raise AdminError("bad-request", f"more than {MAX_BODY_BYTES} bytes", "body", "send less")
        body = routes.body_of(content)
        if pattern == "trace/*":
            self._log.info("trace of {id} is read", id=parts[0])
        elif pattern == "traces":
            names = {"source": str(body.get("from") or "all"), "destination": str(body.get("to") or "all")}
            self._log.info("traces of messages from {source} to {destination} are read", **names)
        gone: list[bool] = []
        request.notifyFinish().addErrback(lambda _: gone.append(True))
        call = routes.ROUTES[method, pattern]
        answer = maybeDeferred(call, self._port, parts, body)
        answer.addCallbacks(
            lambda value: None if gone else _answer(request, 200, value),
            lambda failure: self._failed(request, failure, gone),
        )

    def _failed(self, request: Request, failure: Failure, gone: list[bool]) -> None:
        error = failure.value
        if not isinstance(error, AdminError):
            self._log.failure("administration request failed", failure=failure)
            error = AdminError("failed", "an error inside the router", "", "see its log; please report it")
        if not gone:
            _answer_error(request, error)


def make_site(port: AdminPort, log: Logger | None = None) -> Site:
    """Make the factory that serves a port."""
    logger = log or Logger("imxrouter.admin")
    site = Site(_Api(port, logger))  # type: ignore[no-untyped-call]
    site.displayTracebacks = False
    return site


def listen(reactor: IReactorUNIX, path: Path, site: Site) -> IListeningPort:
    """Listen on a unix socket with mode 0600, in place of a stale one.

    Raises:
        SocketInUse: a live process answers there, or the path is something else than a socket.
        twisted.internet.error.CannotListenError: the directory is missing or not ours.
    """
    _clear(path)
    before = os.umask(0o177)  # so that there is no moment in which others can connect
    try:
        return reactor.listenUNIX(str(path), cast("Any", site), mode=0o600)
    finally:
        os.umask(before)


def _clear(path: Path) -> None:
    """Remove a socket whose owner is gone."""
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise SocketInUse(f"{path} is no socket; move it away or configure another admin.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError:  # full backlog or a slow owner: alive
            pass
    raise SocketInUse(f"another router serves {path}; stop it or configure another admin.socket")


def _answer(request: Request, code: int, value: Any) -> None:
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"application/json")  # type: ignore[no-untyped-call]
    line = json.dumps(value, ensure_ascii=False, default=str).encode() + b"\n"
    request.write(line)  # type: ignore[no-untyped-call]
    request.finish()  # type: ignore[no-untyped-call]


def _answer_error(request: Request, error: AdminError) -> None:
    shown = {"kind": error.kind, "what": error.what, "where": error.where, "do": error.do, **error.words}
    _answer(request, STATUS[error.kind], {"error": shown})
