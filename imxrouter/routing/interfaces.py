"""What the router asks of a gateway and of a bus. Engines live in other rooms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from imxrouter.model.domain import Domain
from imxrouter.model.operations import Message
from imxrouter.model.outcome import Outcome

#: Takes the one outcome of an operation. Called exactly once for each operation handed over.
Answer = Callable[[Outcome], None]

#: Gives the reply to a question of the bus; calling it twice changes nothing.
Reply = Callable[[bytes], None]

#: Takes what another process sends: its kind, its payload, and where the reply goes (ignored after a `tell`).
BusListener = Callable[[str, bytes, Reply], None]


class Submit(Protocol):
    """What the router hands to a gateway, so that it can send."""

    def __call__(self, operation: Message, answer: Answer) -> None:
        """Route an operation of one of the gateway's domains; `answer` is called exactly once."""


class Gateway(Protocol):
    """A service behind the router, in this process."""

    def deliver(self, operation: Message, answer: Answer) -> None:
        """Take an operation addressed to one of its domains and call `answer` exactly once, now or later."""

    def domains(self) -> frozenset[Domain]:
        """The domains it answers for at this moment."""


class Bus(Protocol):
    """Messages between the processes that serve the same domains.

    Attributes:
        process: the number of this process.
    """

    process: int

    def listen(self, listener: BusListener) -> None:
        """Set who takes what arrives; replaces the one before."""

    def ask(
        self,
        process: int,
        kind: str,
        payload: bytes,
        answer: Callable[[bytes | None], None],
        timeout_s: float,
    ) -> None:
        """Ask one process; `answer` gets its reply, or None where it is gone or too slow."""

    def tell(self, process: int, kind: str, payload: bytes) -> None:
        """Send without wanting a reply; lost where the process is gone."""

    def peers(self) -> frozenset[int]:
        """The other processes that can be reached now."""

    def close(self) -> None:
        """Stop; every question that waits is answered with None."""
