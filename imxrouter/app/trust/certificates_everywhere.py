"""`imxctl certs reload` for a host: every process reads its folder again, and says what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from imxrouter.admin.certs_views import CertsReload
from imxrouter.admin.config_views import ProcessView
from imxrouter.app.host import ABSENT, Host

#: Of questions to the other processes.
KIND: Final = "certs-reload"
#: How long another process may take; 500 certificates take two seconds.
PROCESS_S: Final = 30.0


class CertificatesEverywhere:
    """Reads certificates again in all processes of the host.

    Args:
        host: the processes.
        reload: does it in this one.
    """

    log = Logger()

    def __init__(self, host: Host, reload: Callable[[], Deferred[CertsReload]]) -> None:
        self._host = host
        self._reload = reload

    def reload(self) -> Deferred[CertsReload]:
        """Have all do it; fires with what came of it here, and in `processes` with the word of each."""
        return Deferred.fromCoroutine(self._all())

    async def _all(self) -> CertsReload:
        asked = self._host.ask_all(KIND, b"", PROCESS_S)
        view = await self._reload()
        said = await asked
        views = [_word(self._host.own, view)]
        for number in self._host.others():
            answer = said.get(number)
            if number not in said:
                why = "it does not run; it reads the folder when it starts"
                views.append(ProcessView(process=number, result=ABSENT, why=why))
            elif answer is None:
                views.append(ProcessView(process=number, result="failed", why="it gave no answer"))
            else:
                views.append(msgspec.json.decode(answer, type=ProcessView))
        view["processes"] = sorted(views, key=lambda one: one["process"])
        return view

    def asked(self, _payload: bytes, reply: Callable[[bytes], None]) -> None:
        """Another process asks this one."""

        def done(view: CertsReload) -> None:
            reply(msgspec.json.encode(_word(self._host.own, view)))

        def failed(problem: Failure) -> None:
            self.log.failure("certificates, for another process", problem)
            word = ProcessView(process=self._host.own, result="failed", why=problem.getErrorMessage())
            reply(msgspec.json.encode(word))

        self._reload().addCallbacks(done, failed)


def _word(process: int, view: CertsReload) -> ProcessView:
    return ProcessView(process=process, result=view["result"], why="; ".join(view["problems"]))
