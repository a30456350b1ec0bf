"""The checks of the hot path as values.

A router always runs with all of them; nothing in a configuration reaches this. Tests take one away at a
time (an attack must succeed without its one check); so does the benchmark (to show that each was on).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Checks:
    """Which checks the switch makes.

    Attributes:
        source: rule 1: the source domain is proved on, or bound to, the link that brings it.
        relay: rule 1: the destination is served here, or the source is ours.
        rate: per-sender rate limit.
        cooldown: a sender who goes on while he is refused waits longer.
        traffic: requests and bytes a second of links, peers, served domains and tenants.
        recipient: messages a second to one recipient.
        shedding: what is left out under overload.
        size: message size of the destination domain.
        internal: what gateways of a process hand each other comes from no link of IMX.
        credit: unanswered requests and bytes per link, and a destination's share of them.
        duplicates: a repeated request is recognised.
        loop: a request that comes back from another role with fewer hops left.
        hops: hops left.
        answer_link: a response comes over a link that may answer for the domain asked.
        subscribed: rule 1: a notification needs a live subscription.
        access: block and allow lists, and recipients' rules.
        addresses: both addresses are valid and normalised for limits.
    """

    source: bool = True
    relay: bool = True
    rate: bool = True
    cooldown: bool = True
    traffic: bool = True
    recipient: bool = True
    shedding: bool = True
    size: bool = True
    internal: bool = True
    credit: bool = True
    duplicates: bool = True
    loop: bool = True
    hops: bool = True
    answer_link: bool = True
    subscribed: bool = True
    access: bool = True
    addresses: bool = True


ALL_CHECKS = Checks()
