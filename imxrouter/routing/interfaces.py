"""What the router asks of a gateway, of a store and of a bus. Engines live in other rooms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from imxrouter.model.domain import Domain
from imxrouter.model.operations import Operation
from imxrouter.model.outcome import Outcome

#: Takes the one outcome of an operation. Called exactly once for each operation handed over.
Answer = Callable[[Outcome], None]

#: Gives the reply to a question of the bus; calling it twice changes nothing.
Reply = Callable[[bytes], None]

#: Takes what another process sends: its kind, its payload, and where the reply goes (ignored after a `tell`).
BusListener = Callable[[str, bytes, Reply], None]


class Submit(Protocol):
    """What the router hands to a gateway, so that it can send."""

    def __call__(self, operation: Operation, answer: Answer) -> None:
        """Route an operation of one of the gateway's domains; `answer` is called exactly once."""


class Gateway(Protocol):
    """A service behind the router, in this process."""

    def deliver(self, operation: Operation, answer: Answer) -> None:
        """Take an operation addressed to one of its domains and call `answer` exactly once, now or later."""

    def domains(self) -> frozenset[Domain]:
        """The domains it answers for at this moment."""


class StoreProblem(Enum):
    """What keeps a store from writing; the words of status, metrics and log."""

    NONE = "none"
    #: not opened yet, or closed
    CLOSED = "closed"
    FULL = "full"
    READ_ONLY = "read-only"
    CORRUPT = "corrupt"
    LOCKED = "locked"
    #: any other failure of the disk or of the file
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """How a store is.

    Attributes:
        path: of its file; empty where it has none.
        size_bytes: of its file, as of the last write.
        entries: kept in memory now.
        waiting: changes that are not on disk yet.
        last_write_at: seconds since 1970; None where nothing was written since the start.
        problem: what keeps it from writing now.
        detail: the same with more words, for operators.
        failures: writes that failed since the start, by problem.
        refused: durable entries that were refused, and others for which a table had no room.
    """

    path: str
    size_bytes: int
    entries: int
    waiting: int
    last_write_at: float | None
    problem: StoreProblem
    detail: str
    failures: Mapping[StoreProblem, int]
    refused: int

    @property
    def works(self) -> bool:
        """Whether what is changed is on the disk, or on its way there."""
        return self.problem is StoreProblem.NONE


#: Told of what another process changed: key, value (None: removed), and when it expires.
StoreChange = Callable[[bytes, bytes | None, float | None], None]


class Store(Protocol):
    """Named tables of small values that outlive a link, and with some engines a restart.

    All of it is in memory: nothing here waits for a disk. Engines write behind, within a second.
    """

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value, or None where there is none or it has expired."""

    def put(
        self, table: str, key: bytes, value: bytes, expires_at: float | None = None, *, durable: bool = False
    ) -> bool:
        """Set a value; `expires_at` in seconds since 1970, None for ever.

        Args:
            table: its name, text of 1 to 64 characters.
            key: at most `MAX_KEY_BYTES`.
            value: at most `MAX_VALUE_BYTES`.
            expires_at: where it has passed, the entry is forgotten at once.
            durable: who asks would rather be refused than have it in memory only.

        Returns:
            False where nothing was changed: the table is full, or it is to be durable and cannot be written
            now (`health().problem` says why).

        Raises:
            LocalMisuse: a name, key or value is too long.
        """

    def remove(self, table: str, key: bytes) -> None:
        """Forget a value; nothing happens where there is none."""

    def items(self, table: str) -> list[tuple[bytes, bytes, float | None]]:
        """Every key, value and time of expiry that has not expired."""

    def watch(self, table: str, changed: StoreChange) -> None:
        """Be told of what other processes change in a table, within about a second."""

    def health(self) -> StoreHealth:
        """How it is now."""


#: Two whole addresses (509 bytes each) and more fit into a key.
MAX_KEY_BYTES: Final = 2048
#: The largest record of the protocol.
MAX_VALUE_BYTES: Final = 1024 * 1024
MAX_TABLE_NAME: Final = 64


class Bus(Protocol):
    """Messages between the processes that serve the same domains.

    Attributes:
        process: the number of this process.
        on_lost: told the number of a process that is gone, or cannot be reached any more.
    """

    process: int
    on_lost: Callable[[int], None]

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

    def tell(self, process: int, kind: str, payload: bytes) -> bool:
        """Send without wanting a reply; False where it is lost already, for the process is gone."""

    def peers(self) -> frozenset[int]:
        """The other processes that can be reached now."""

    def close(self) -> None:
        """Stop; every question that waits is answered with None."""
