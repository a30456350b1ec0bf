"""Links that we opened are found by where they lead."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from imxrouter.transport.link import Purpose
from imxrouter.transport.opened_links import OpenedLinks

HERE, THERE = ("192.0.2.1", 6490), ("192.0.2.2", 6490)


def session(number: int, remote: tuple[str, int], purpose: Purpose = Purpose.DATA) -> Any:
    """A link as far as the table looks at it."""
    return cast("Any", SimpleNamespace(number=number, remote=remote, purpose=purpose))


def test_links_are_found_until_they_are_gone() -> None:
    """By address and port, the oldest first; nothing is left of those that went."""
    links = OpenedLinks()
    first, second, other = session(1, HERE), session(2, HERE), session(3, THERE)
    for one in (first, second, other):
        links.add(one)
    assert links.to(HERE) == [first, second]
    assert list(links) == [first, second, other]
    links.remove(first)
    links.remove(session(9, ("192.0.2.9", 1)))
    assert (links.to(HERE), links.to(THERE)) == ([second], [other])
    links.remove(second)
    links.remove(other)
    assert list(links) == links.to(HERE) == links.to(THERE) == []
    assert not vars(links)["_to"]


def test_a_link_that_carries_messages_is_for_verifying_no_more() -> None:
    """Then it takes no room from verifications."""
    links = OpenedLinks()
    asks, carries = session(1, HERE, Purpose.VERIFY), session(2, THERE, Purpose.VERIFY)
    links.add(asks)
    links.add(carries)
    assert links.verifying() == [asks, carries]
    carries.purpose = Purpose.DATA
    assert links.verifying() == [asks]
    links.remove(asks)
    links.remove(carries)
    assert links.verifying() == list(links) == []
