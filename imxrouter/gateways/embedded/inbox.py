"""Messages to and from users: who may write, what is kept, who is shown it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from imxrouter.gateways.embedded.accounts import Account, NotAllowed
from imxrouter.gateways.embedded.directory import UserKey
from imxrouter.gateways.embedded.register import Register, Topic
from imxrouter.gateways.embedded.texts import written
from imxrouter.model.address import Address
from imxrouter.model.errors import RouterError
from imxrouter.model.operations import Attribute, Message
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.interfaces import Answer
from imxrouter.routing.rules import Decision, Right

#: Programs that watch one inbox at a time; a person has a few devices.
MAX_WATCHERS: Final = 32

Watcher = Callable[[Message], None]

_REFUSED: Final = {
    Decision.ASK: Reason.CONSENT_NEEDED, Decision.REFUSE: Reason.BLOCKED, Decision.BLOCK: Reason.BLOCKED,
}  # fmt: skip


class TooManyWatchers(RouterError):
    """The inbox is watched by as many programs as are allowed."""


@dataclass(frozen=True, slots=True)
class InboxLimits:
    """How much is kept of what a user received; the oldest of his own goes first."""

    count: int = 100
    size_bytes: int = 1024 * 1024


INBOX_LIMITS: Final = InboxLimits()


@dataclass(slots=True)
class _Box:
    messages: deque[Message] = field(default_factory=deque)
    size_bytes: int = 0
    watchers: dict[object, Watcher] = field(default_factory=dict)


def refused(destination: Address, reason: Reason) -> Outcome:
    """A failure that looks to its receiver like every other one of a user or for want of one."""
    return failure(reason, by=destination.domain.name, role="service")


class Inboxes:
    """The messages of all users.

    Args:
        register: of accounts.
        limits: of each inbox.
        on_bug: told, inside of the handling of an exception, that a watcher of a domain's inbox failed.
        take_along: takes what rides along on a message to a user.
    """

    def __init__(
        self,
        register: Register,
        limits: InboxLimits,
        on_bug: Callable[[str], None],
        take_along: Callable[[Account, Address, tuple[Attribute, ...]], None],
    ) -> None:
        self._register = register
        self._limits = limits
        self._on_bug = on_bug
        self._take_along = take_along
        self._boxes: dict[UserKey, _Box] = {}

    def drop(self, user: UserKey) -> None:
        """Forget what a user received, and who watches."""
        self._boxes.pop(user, None)

    # -- receiving -------------------------------------------------------------------------------------

    def deliver(self, message: Message, answer: Answer) -> None:
        """Keep a message and show it to who watches; `answer` is called before this returns."""
        account = self._register.find(message.destination)
        if account is None:
            answer(refused(message.destination, Reason.UNKNOWN_USER))
            return
        person = self._register.person(account, message.source)
        decision = account.ruling(person, Right.MESSAGE).decision
        if decision is not Decision.ALLOW:
            if decision is Decision.ASK:
                self._knock(account, message.source)
            answer(refused(message.destination, _REFUSED[decision]))
            return
        self._take_along(account, message.source, message.user_attributes)
        box = self._boxes.setdefault(account.key, _Box())
        box.messages.append(message)
        box.size_bytes += len(message.content)
        while len(box.messages) > self._limits.count or (
            box.size_bytes > self._limits.size_bytes and len(box.messages) > 1
        ):
            box.size_bytes -= len(box.messages.popleft().content)
        answer(SUCCESS)
        for watcher in tuple(box.watchers.values()):
            try:
                watcher(message)
            except Exception:  # noqa: BLE001 - one watcher's bug must not keep the message from the others
                self._on_bug(account.key.domain)

    def _knock(self, account: Account, source: Address) -> None:
        source = self._register.canonical(source)
        if account.knocks.note(source, source.key, Right.MESSAGE, self._register.tools.wall()):
            self._register.tell(account, Topic.KNOCK, source)

    def inbox(self, user: Address, *, by: Address | None = None) -> list[Message]:
        """What is kept of a user's messages, oldest first.

        Args:
            user: whose.
            by: who reads; None: the user himself, or an operator.

        Raises:
            NotAUser: there is no such account.
            NotAllowed: the user did not allow this person to read his messages.
        """
        account = self._readable(user, by)
        box = self._boxes.get(account.key)
        return list(box.messages) if box is not None else []

    def watch(self, user: Address, watcher: Watcher, *, by: Address | None = None) -> Callable[[], None]:
        """Show each message to a user as it comes, until the returned function is called.

        Raises:
            NotAUser: there is no such account.
            NotAllowed: as with `inbox`.
            TooManyWatchers: there are `MAX_WATCHERS` already.
        """
        box = self._boxes.setdefault(self._readable(user, by).key, _Box())
        if len(box.watchers) >= MAX_WATCHERS:
            raise TooManyWatchers(f"{user} is watched {MAX_WATCHERS} times already")
        place = object()
        box.watchers[place] = watcher

        def unwatch() -> None:
            box.watchers.pop(place, None)

        return unwatch

    def programs(self, user: Address) -> int:
        """How many programs watch a user's inbox. Raises `NotAUser`."""
        box = self._boxes.get(self._register.account(user).key)
        return len(box.watchers) if box is not None else 0

    def _readable(self, user: Address, by: Address | None) -> Account:
        account = self._register.account(user)
        reader = account.address if by is None else self._register.canonical(by)
        if reader != account.address and reader not in account.readers:
            raise NotAllowed(f"{reader} may not read the messages of {account.address}")
        return account

    # -- sending ---------------------------------------------------------------------------------------

    def compose(self, source: Address, destination: Address, text: str, *, html: bool = False) -> Message:
        """A message with a new id, not sent yet: plain text, or text/html-lite. Raises `BadHtml`.

        With it goes what its sender, where he is a user of ours, lets ride along to this recipient.
        """
        account = self._register.find(source)
        along: tuple[Attribute, ...] = ()
        if account is not None:
            along = account.along_for(self._register.person(account, destination))
        kind, content = written(text, html=html)
        new_id = self._register.tools.new_id
        return Message(source, destination, new_id(), kind, content, user_attributes=along)

    def send(self, source: Address, destination: Address, text: str, answer: Answer) -> Message:
        """Send a text as one of its users; `answer` gets the one outcome. Raises `NotAUser`."""
        self._register.account(source)
        message = self.compose(source, destination, text)
        self._register.tools.submit(message, answer)
        return message
