"""In which order targets and addresses are tried. Chance is handed in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final, Protocol

from imxrouter.discovery.records import Form, Target

#: Forms whose records have weights.
_WEIGHTED: Final = frozenset({Form.SRV, Form.XMPP_SRV})


class Chance(Protocol):
    """A source of chance, such as `random.Random`."""

    def random(self) -> float:
        """Return a number of [0, 1)."""


def trial_order(targets: Iterable[Target], form: Form, chance: Chance) -> tuple[Target, ...]:
    """Return the targets in the order in which they are tried: lower priority first.

    Among equals: each order as likely as any other (RFC 9460 section 2.4.1), and for SRV by weight.
    """
    ranked = sorted(targets, key=lambda target: target.priority)
    ordered: list[Target] = []
    for _, group in groupby(ranked, key=lambda target: target.priority):
        equals = list(group)
        weights = [target.weight if form in _WEIGHTED else 0 for target in equals]
        ordered += [equals[index] for index in weighted_order(weights, chance)]
    return tuple(ordered)


def weighted_order(weights: Sequence[int], chance: Chance) -> list[int]:
    """Return the indexes of the weights in the random order of RFC 2782 (page 3, "Weight").

    Those of weight 0 stand first in the running sum and are taken when the number drawn is 0, so that they
    keep a small chance beside others. Where all are 0, each is as likely.
    """
    left = list(range(len(weights)))
    ordered: list[int] = []
    while left:
        total = sum(weights[index] for index in left)
        if total == 0:
            at = min(int(chance.random() * len(left)), len(left) - 1)
        else:
            left.sort(key=lambda index: weights[index] > 0)
            at = _draw(left, weights, total, chance)
        ordered.append(left.pop(at))
    return ordered


def _draw(left: Sequence[int], weights: Sequence[int], total: int, chance: Chance) -> int:
    zeros = sum(1 for index in left if weights[index] == 0)
    # Uniform over 0 to the total, both included; without zeros from 1, or the first would get 0 as well.
    lowest = 0 if zeros else 1
    drawn = min(int(chance.random() * (total + 1 - lowest)) + lowest, total)
    if drawn == 0:
        return min(int(chance.random() * zeros), zeros - 1)
    running = 0
    for at, index in enumerate(left):
        running += weights[index]
        if running >= drawn and weights[index]:
            return at
    return len(left) - 1


def interleave(ipv6: Sequence[str], ipv4: Sequence[str], *, limit: int) -> list[str]:
    """Return addresses in the order in which they race: families take turns, IPv6 first.

    RFC 8305 section 4, with a First Address Family Count of 1. Duplicates are dropped.
    """
    mixed: list[str] = []
    for at in range(max(len(ipv6), len(ipv4))):
        mixed += [*ipv6[at : at + 1], *ipv4[at : at + 1]]
    return list(dict.fromkeys(mixed))[:limit]
