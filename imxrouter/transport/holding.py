"""What waits for remote domains: bounded, for a short time, and each request answered in the end.

Requests wait by domain and by the protocol that reaches it; those for which none is chosen yet wait apart.
"""

from __future__ import annotations

from collections.abc import Iterator

from imxrouter.link.ledger import FROM_DOMAIN, SIZE, TRIES
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.outcome import Outcome, failure, indeterminant
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol, Uri
from imxrouter.routing.hold import HoldBudget, HoldLimits, HoldQueue
from imxrouter.switch.ports import Port
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link
from imxrouter.transport.pursuit import Cause, Key, Pursuit


class Holding:
    """Requests that wait for a link to a remote domain.

    Args:
        hub: links of this process.

    Attributes:
        pursuits: what waits, by domain and protocol.
        budget: of all of it.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.pursuits: dict[Key, Pursuit] = {}
        self.budget = HoldBudget(hub.settings.hold_total_bytes)

    # -- what there is -----------------------------------------------------------------------------------

    def of(self, domain: bytes) -> list[Pursuit]:
        """Everything that waits for a domain, by whatever protocol."""
        keys = [(domain, protocol, uri) for protocol in (None, *Protocol) for uri in Uri]
        return [one for key in keys if (one := self.pursuits.get(key)) is not None]

    def by(self, domain: bytes, protocol: Protocol | None, port: Port | None = None) -> list[Pursuit]:
        """What waits for a domain by a protocol, for either service; with a link, what that may carry."""
        found = (self.pursuits.get((domain, protocol, uri)) for uri in Uri)
        fits = self._hub.switch.ways.fits
        return [one for one in found if one is not None and (port is None or fits(domain, port, one.uri))]

    def count(self, domain: bytes, protocol: Protocol | None = None) -> int:
        """How many wait for a domain; with a protocol, those that wait for that, or for a choice."""
        waits = self.of(domain)
        wanted = (None, protocol) if protocol is not None else (None, *Protocol)
        return sum(one.budget.count for one in waits if one.protocol in wanted)

    def waiting(self, domain: bytes, from_domain: bytes | None = None) -> Iterator[int]:
        """Tags of the requests that wait for a domain, those of one domain of ours if it is given."""
        for pursuit in self.of(domain):
            for ours, queue in pursuit.held.items():
                if from_domain is None or ours == from_domain:
                    yield from queue

    def oldest_s(self, now: float) -> float:
        """How long the request waits that has waited longest; 0 when none does."""
        queues = (queue for pursuit in self.pursuits.values() for queue in pursuit.held.values())
        since = (queue.oldest_since() for queue in queues)
        return max((now - one for one in since if one is not None), default=0.0)

    # -- waiting -----------------------------------------------------------------------------------------

    def offer(self, tag: int, key: Key) -> Reason | None:
        """Hold a request of the ledger; returns why it cannot wait."""
        try:
            pursuit = self.pursuit(key)
        except BadDomain:
            return Reason.BAD_ADDRESS
        return self._offer(tag, pursuit, self._hub.now())

    def _offer(self, tag: int, pursuit: Pursuit, since: float) -> Reason | None:
        """Of the notifications of one subscription only the newest waits (architecture section 6)."""
        entry = self._hub.switch.ledger.entries[tag]
        queue = self._queue(pursuit, entry[FROM_DOMAIN])
        older = pursuit.replaced_by(tag, entry)
        if older is not None and queue.drop(older):
            self.give_up(older, Cause(Reason.SUPERSEDED))
        return queue.offer(tag, entry[SIZE], since)

    def pursuit(self, key: Key) -> Pursuit:
        """What waits for a domain by a protocol, made where needed.

        Raises:
            BadDomain: it is no domain.
        """
        known = self.pursuits.get(key)
        if known is None:
            settings = self._hub.settings
            budget = HoldBudget(settings.hold_bytes, settings.hold_count, self.budget)
            known = self.pursuits[key] = Pursuit(Domain.from_wire(key[0]), budget, *key[1:])
        return known

    def decide(self, undecided: Pursuit, protocol: Protocol, uri: Uri = Uri.IM) -> Pursuit:
        """What waited for a choice waits for that protocol now; returns where."""
        domain = undecided.domain.wire
        self.pursuits.pop(undecided.key, None)
        chosen = self.pursuits.get((domain, protocol, uri))
        if chosen is None:
            undecided.protocol, undecided.uri = protocol, uri
            self.pursuits[undecided.key] = undecided
            return undecided
        for ours in list(undecided.held):
            items = undecided.held[ours].items()
            undecided.take(ours)
            for tag, _, since in items:
                known = tag in self._hub.switch.ledger.entries
                refused = self._offer(tag, chosen, since) if known else None
                if refused is not None:
                    self.give_up(tag, Cause(refused), 5)
        return chosen

    def forget_if_empty(self, pursuit: Pursuit) -> None:
        """Nothing waits there any longer."""
        is_there = self.pursuits.get(pursuit.key) is pursuit
        if is_there and not pursuit.budget.count and not pursuit.dialling:
            del self.pursuits[pursuit.key]

    def _queue(self, pursuit: Pursuit, from_domain: bytes) -> HoldQueue[int]:
        queue = pursuit.held.get(from_domain)
        if queue is None:
            settings = self._hub.settings
            limits = HoldLimits(settings.hold_count, settings.hold_bytes, settings.hold_s)
            queue = pursuit.held[from_domain] = HoldQueue(limits, pursuit.budget)
        return queue

    # -- giving up ---------------------------------------------------------------------------------------

    def expire(self, pursuit: Pursuit, session: Link | None, now: float) -> None:
        """Answer what has waited too long; `session` is the link that it waits for."""
        for from_domain, waiting in list(pursuit.held.items()):
            late = pursuit.why_late(session, from_domain)
            for tag in waiting.expire(now):
                self.give_up(tag, late, 5)
            if not waiting:
                pursuit.held.pop(from_domain, None)

    def fail(self, pursuit: Pursuit, cause: Cause, retry_after_s: int) -> None:
        """Answer everything that waits there."""
        for from_domain in list(pursuit.held):
            self.give_up_all(pursuit, from_domain, cause, retry_after_s)
        self.forget_if_empty(pursuit)

    def give_up_all(self, pursuit: Pursuit, from_domain: bytes, cause: Cause, retry_after_s: int = 0) -> None:
        """Answer what waits there of one domain of ours."""
        for tag in pursuit.take(from_domain):
            self.give_up(tag, cause, retry_after_s)

    def give_up(self, tag: int, cause: Cause, retry_after_s: int = 0) -> None:
        """Answer what waited. A hop is named as it was: the peer where it said so, else this router."""
        entry = self._hub.switch.ledger.entries.get(tag)
        if entry is None:
            return
        outcome: Outcome
        if entry[TRIES]:
            note = " ".join(filter(None, ("the next try failed:", cause.reason.word, cause.note)))
            outcome = indeterminant(Reason.LINK_LOST, role="peer", note=note)
        else:
            role = "peer" if cause.by_peer else "router"
            outcome = failure(cause.reason, role=role, retry_after_s=retry_after_s, note=cause.note)
        self._hub.switch.complete(tag, outcome, self._hub.now())
