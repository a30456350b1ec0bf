"""What the administration API says when it cannot do what was asked."""

from __future__ import annotations

from typing import Any, Final, Literal

from imxrouter.model.errors import RouterError
from imxrouter.model.vocabulary import Reason

Kind = Literal["bad-request", "not-found", "conflict", "refused", "unavailable", "failed"]

#: Kind -> HTTP status.
STATUS: Final[dict[Kind, int]] = {
    "bad-request": 400,
    "refused": 403,
    "not-found": 404,
    "conflict": 409,
    "failed": 500,
    "unavailable": 503,
}


class AdminError(RouterError):
    """A request that cannot be met; raised by an `AdminPort`, told to the client as JSON.

    Attributes:
        kind: decides the HTTP status.
        what: what is wrong.
        where: the parameter, key or thing concerned.
        do: what to do about it.
        words: `reason`, `stage`, `retry` and `retry_after_s`, where the registry has a word for it.
    """

    def __init__(
        self, kind: Kind, what: str, where: str = "", do: str = "", words: dict[str, Any] | None = None
    ) -> None:
        super().__init__(f"{where}: {what}" if where else what)
        self.kind: Kind = kind
        self.what, self.where, self.do = what, where, do
        self.words = words or {}

    @classmethod
    def of(
        cls, reason: Reason, kind: Kind, what: str, where: str = "", do: str = "", retry_after_s: int = 0
    ) -> AdminError:
        """A refusal in the registry's words; what to do is the registry's remedy unless there is better."""
        words = {
            "reason": reason.word, "stage": reason.stage.value, "retry": reason.retry.value,
            "retry_after_s": retry_after_s,
        }  # fmt: skip
        return cls(kind, what, where, do or reason.remedy, words)


class AdminUnreachable(RouterError):
    """No router answers at the socket.

    Attributes:
        do: what to do about it.
    """

    def __init__(self, what: str, do: str) -> None:
        super().__init__(what)
        self.do = do


class SocketInUse(RouterError):
    """Another live process holds the socket."""
