"""Links that this process opened, by where they lead: few beside the thousands that others open to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from imxrouter.transport.link import Link, Purpose

Key = TypeVar("Key")


class OpenedLinks:
    """What would be looked for among all links, for each claim and each dialling."""

    def __init__(self) -> None:
        self._to: dict[tuple[str, int], dict[int, Link]] = {}
        self._at: dict[str, dict[int, Link]] = {}
        self._verifying: dict[int, Link] = {}

    def __iter__(self) -> Iterator[Link]:
        return (session for same in self._to.values() for session in same.values())

    def add(self, session: Link) -> None:
        """A connection of ours is up."""
        self._to.setdefault(session.remote, {})[session.number] = session
        self._at.setdefault(session.remote[0], {})[session.number] = session
        if session.purpose is Purpose.VERIFY:
            self._verifying[session.number] = session

    def remove(self, session: Link) -> None:
        """It is gone."""
        _remove(self._to, session.remote, session.number)
        _remove(self._at, session.remote[0], session.number)
        self._verifying.pop(session.number, None)

    def to(self, endpoint: tuple[str, int]) -> list[Link]:
        """Those to an address and port, the oldest first."""
        return list(self._to.get(endpoint, {}).values())

    def at(self, ip: str) -> list[Link]:
        """Those to an address, whatever the port."""
        return list(self._at.get(ip, {}).values())

    def verifying(self) -> list[Link]:
        """Those that are for verifications alone; one that became more is so for ever."""
        for number in [one.number for one in self._verifying.values() if one.purpose is not Purpose.VERIFY]:
            del self._verifying[number]
        return list(self._verifying.values())


def _remove(table: dict[Key, dict[int, Link]], key: Key, number: int) -> None:
    same = table.get(key, {})
    same.pop(number, None)
    if not same:
        table.pop(key, None)
