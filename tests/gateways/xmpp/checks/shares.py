"""How many of what waits for an answer are taken, and of whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from imxrouter.gateways.xmpp.translate.awaited import Awaited

MANY = range(12_000)


def shares_of(made: Callable[[], Awaited[int]]) -> tuple[int, ...]:
    """Of one sender, of his zone for one domain, of all for one domain, of a zone, and in all."""

    def taken(asked: Iterable[tuple[str, str]]) -> int:
        waiting = made()
        keyed = ((("a", "b", str(n)), sender, domain, n, 0.0) for n, (sender, domain) in enumerate(asked))
        return sum(waiting.sent(*one) for one in keyed)

    return (
        taken(("mallory@m.example", f"d{n}.example") for n in MANY),
        taken((f"u{n}@s{n}.m.example", "b.example") for n in MANY),
        taken((f"u@p{n}.example", "b.example") for n in MANY),
        taken((f"u{n}@s{n}.m.example", f"d{n}.example") for n in MANY),
        taken((f"u@p{n}.example", f"d{n}.example") for n in MANY),
    )
