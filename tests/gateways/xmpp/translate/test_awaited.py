"""What is awaited is bounded: nobody keeps others from asking."""

from __future__ import annotations

from imxrouter.gateways.xmpp.translate.awaited import Awaited

LIFE_S = 60.0


def test_one_sender_leaves_room_for_others() -> None:
    """Whatever his resources and whom he asks; what was answered or is over makes room again."""
    waiting: Awaited[int] = Awaited(LIFE_S, 160)

    def asks(user: str, number: int, now: float = 0.0) -> bool:
        return waiting.sent(
            (f"{user}@a.example/r{number}", f"u{number}@b.example", "1"), "b.example", number, now
        )

    assert [asks("mallory", number) for number in range(11)] == [True] * 10 + [False]
    assert all(asks("alice", number) for number in range(10))
    waiting.answered("u3@b.example", "mallory@a.example/r3", "1", 1.0)
    assert asks("mallory", 11)
    assert not asks("mallory", 12)
    assert len(waiting.due(LIFE_S)) == 20
    assert len(waiting) == 0
    assert asks("mallory", 13, LIFE_S)


def test_one_domain_leaves_room_for_others() -> None:
    """A quarter is for one that does not answer."""
    waiting: Awaited[int] = Awaited(LIFE_S, 16)
    asked = [
        waiting.sent((f"u{number}-{domain}@a.example", f"x@{domain}", "1"), domain, number, 0.0)
        for domain in ("b.example", "c.example")
        for number in range(5)
    ]
    assert asked == [True] * 4 + [False] + [True] * 4 + [False]
