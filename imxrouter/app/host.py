"""The processes of a host: which there are, which run now, and one question to all of them."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed

from imxrouter.routing.interfaces import Bus

#: What is said of a process that does not run now, or was not heard of yet.
ABSENT = "absent"


class Host:
    """The processes of this host, as one of them sees them.

    Args:
        bus: reaches the others that run.

    Attributes:
        numbers: of all of them, as configured; empty where only the bus knows.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.numbers: Sequence[int] = ()

    @property
    def own(self) -> int:
        """Number of this process."""
        return self._bus.process

    def others(self) -> list[int]:
        """All others, those too that do not run now."""
        return sorted({*self.numbers, *self._bus.peers()} - {self.own})

    def ask_all(self, kind: str, payload: bytes, timeout_s: float) -> Deferred[dict[int, bytes | None]]:
        """Ask every other one that runs; fires with the answer of each, None where it gave none.

        Args:
            kind: of the question.
            payload: the question.
            timeout_s: seconds each has for its answer.
        """
        there, said = self._bus.peers(), dict[int, bytes | None]()
        if not there:
            return succeed(said)
        done: Deferred[dict[int, bytes | None]] = Deferred()

        def ask(number: int) -> None:
            def answered(answer: bytes | None) -> None:
                said[number] = answer
                if len(said) == len(there):
                    done.callback(said)

            self._bus.ask(number, kind, payload, answered, timeout_s)

        for number in there:
            ask(number)
        return done

    def tell_all(self, kind: str, payload: bytes) -> None:
        """Tell every other one that runs."""
        for number in self._bus.peers():
            self._bus.tell(number, kind, payload)
