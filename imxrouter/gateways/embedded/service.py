"""The embedded service: users that send and receive, each with a bounded inbox and watchers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from twisted.logger import Logger

from imxrouter.gateways.embedded.directory import Directory, UserKey
from imxrouter.gateways.embedded.texts import written
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.operations import Message, Operation
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.domains import ServedDomain
from imxrouter.routing.interfaces import Answer, Submit

#: Programs that watch one user at a time; a person has a few devices.
MAX_WATCHERS: Final = 32

Watcher = Callable[[Message], None]


class NotAUser(RouterError):
    """The address has no account here."""

    def __init__(self, address: Address) -> None:
        super().__init__(f"{address} has no account here")
        self.address = address


class TooManyWatchers(RouterError):
    """The user is watched by as many programs as are allowed."""


@dataclass(frozen=True, slots=True)
class InboxLimits:
    """How much is kept of what a user received; the oldest of his own goes first."""

    count: int = 100
    size_bytes: int = 1024 * 1024


@dataclass(slots=True)
class _Box:
    messages: deque[Message] = field(default_factory=deque)
    size_bytes: int = 0
    watchers: dict[object, Watcher] = field(default_factory=dict)


class EmbeddedService:
    """A gateway to nothing: it keeps what comes, and sends what it is told to.

    Args:
        directory: who has an account.
        submit: sends an operation through the router.
        new_id: gives 16 random bytes.
        limits: of each inbox.
    """

    log = Logger()

    def __init__(
        self,
        directory: Directory,
        submit: Submit,
        new_id: Callable[[], bytes],
        limits: InboxLimits = InboxLimits(),
    ) -> None:
        self.directory = directory
        self._submit = submit
        self._new_id = new_id
        self._limits = limits
        self._boxes: dict[UserKey, _Box] = {}

    def serve(self, records: Iterable[ServedDomain]) -> None:
        """Answer for exactly these domains; the inboxes and watchers of users that go are dropped."""
        self.directory.serve(records)
        kept = {key for key in map(self.directory.find, self.directory.users()) if key is not None}
        self._boxes = {key: box for key, box in self._boxes.items() if key in kept}

    def domains(self) -> frozenset[Domain]:
        """The domains it answers for, aliases included."""
        return self.directory.domains()

    def knows(self, address: Address) -> bool:
        """Whether the address has an account."""
        return self.directory.find(address) is not None

    # -- receiving -------------------------------------------------------------------------------------

    def deliver(self, operation: Operation, answer: Answer) -> None:
        """Keep a message and show it to who watches; `answer` is called before this returns."""
        if not isinstance(operation, Message):
            answer(failure(Reason.TYPE_NOT_ENABLED, role="service"))
            return
        user = self.directory.find(operation.destination)
        if user is None:
            answer(failure(Reason.UNKNOWN_USER, by=operation.destination.domain.name, role="service"))
            return
        box = self._boxes.setdefault(user, _Box())
        box.messages.append(operation)
        box.size_bytes += len(operation.content)
        while len(box.messages) > self._limits.count or (
            box.size_bytes > self._limits.size_bytes and len(box.messages) > 1
        ):
            box.size_bytes -= len(box.messages.popleft().content)
        answer(SUCCESS)
        for watcher in tuple(box.watchers.values()):
            try:
                watcher(operation)
            except Exception:  # noqa: BLE001 - one watcher's bug must not keep the message from the others
                self.log.failure("a watcher of {domain} failed", domain=user.domain)

    def inbox(self, user: Address) -> list[Message]:
        """What is kept of a user's messages, oldest first. Raises `NotAUser`."""
        box = self._boxes.get(self._account(user))
        return list(box.messages) if box is not None else []

    def watch(self, user: Address, watcher: Watcher) -> Callable[[], None]:
        """Show each message to a user as it comes, until the returned function is called.

        Raises:
            NotAUser: there is no such account.
            TooManyWatchers: there are `MAX_WATCHERS` already.
        """
        box = self._boxes.setdefault(self._account(user), _Box())
        if len(box.watchers) >= MAX_WATCHERS:
            raise TooManyWatchers(f"{user} is watched {MAX_WATCHERS} times already")
        place = object()
        box.watchers[place] = watcher

        def unwatch() -> None:
            box.watchers.pop(place, None)

        return unwatch

    # -- sending ---------------------------------------------------------------------------------------

    def compose(self, source: Address, destination: Address, text: str, *, html: bool = False) -> Message:
        """A message with a new id, not sent yet: plain text, or text/html-lite. Raises `BadHtml`."""
        return Message(source, destination, self._new_id(), *written(text, html=html))

    def send(self, source: Address, destination: Address, text: str, answer: Answer) -> Message:
        """Send a text as one of its users; `answer` gets the one outcome. Raises `NotAUser`."""
        self._account(source)
        message = self.compose(source, destination, text)
        self._submit(message, answer)
        return message

    def _account(self, address: Address) -> UserKey:
        user = self.directory.find(address)
        if user is None:
            raise NotAUser(address)
        return user
