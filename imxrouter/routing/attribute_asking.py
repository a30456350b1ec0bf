"""Asking others for attributes: what is known is not asked again, and what is being asked is asked once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from imxrouter.model.attributes import is_good
from imxrouter.model.operations import Attribute, AttributeQuery, AttributeValues
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.routing.attribute_cache import AttributeCache
from imxrouter.routing.interfaces import Submit

#: Queries that may be under way at one time; each is answered by the router within its answer time-out.
MAX_UNDER_WAY: Final = 4096
#: Told to who finds that many under way.
BUSY_RETRY_S: Final = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of a question.

    Attributes:
        outcome: a success has `AttributeValues`, their ages counted down.
        cached: names of those that came from the cache.
    """

    outcome: Outcome
    cached: frozenset[str] = frozenset()

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """What was told; nothing where it failed."""
        result = self.outcome.result
        return result.attributes if isinstance(result, AttributeValues) else ()


#: Takes the one answer of a question.
Told = Callable[[Asked], None]

#: Requester, owner and the names asked for: what makes two questions one.
_Question = tuple[bytes, bytes, frozenset[str]]


class AttributeAsker:
    """Answers queries from a cache, and asks the owner for the rest.

    Args:
        cache: what is known.
        submit: sends a query through the router; answers exactly once.
        clock: monotonic seconds.

    Attributes:
        cache: what is known.
        on_way: told how each question was met: `cached`, `joined`, `asked` or `refused`.
    """

    def __init__(self, cache: AttributeCache, submit: Submit, clock: Callable[[], float]) -> None:
        self.cache = cache
        self._submit = submit
        self._clock = clock
        self._under_way: dict[_Question, list[Told]] = {}
        self.on_way: Callable[[str], None] = lambda _word: None

    def ask(self, query: AttributeQuery, told: Told, *, fresh: bool = False) -> None:
        """Ask; `told` is called exactly once, possibly before this returns.

        Args:
            query: with an id that is new.
            told: takes the answer.
            fresh: whether the owner is asked whatever is known.
        """
        names = tuple(dict.fromkeys(query.names))
        known, missing = (None, names) if fresh else self._known(query, names)
        if known is not None and not missing:
            self.on_way("cached")
            told(_answer(known))
            return
        self._send(replace(query, names=missing), lambda asked: told(_merged(known or (), asked)))

    def _known(
        self, query: AttributeQuery, names: tuple[str, ...]
    ) -> tuple[tuple[Attribute, ...] | None, tuple[str, ...]]:
        """What the cache has, and the names that it does not know; of a question for all, all or None."""
        now, requester, owner = self._clock(), query.requester, query.owner
        if not names:
            return self.cache.find_all(requester, owner, now), ()
        found, missing = [], []
        for name in names:
            kept = self.cache.find(requester, owner, name, now)
            if kept is None:
                missing.append(name)
            elif kept.value is not None:
                found.append(Attribute(name, kept.value, int(kept.until - now)))
        return tuple(found), tuple(missing)

    def _send(self, query: AttributeQuery, told: Told) -> None:
        question = (query.requester.key, query.owner.key, frozenset(query.names))
        waiting = self._under_way.get(question)
        if waiting is not None:
            self.on_way("joined")
            waiting.append(told)
            return
        if len(self._under_way) >= MAX_UNDER_WAY:
            self.on_way("refused")
            told(Asked(failure(Reason.BUSY, retry_after_s=BUSY_RETRY_S, note="too many attribute queries")))
            return
        self._under_way[question] = [told]
        self.on_way("asked")
        self._submit(query, lambda outcome: self._answered(question, query, outcome))

    def _answered(self, question: _Question, query: AttributeQuery, outcome: Outcome) -> None:
        asked = Asked(self._judged(query, outcome))
        if asked.outcome.ok:
            self.cache.keep(query.requester, query.owner, query.names, asked.attributes, self._clock())
        for told in self._under_way.pop(question):
            told(asked)

    @staticmethod
    def _judged(query: AttributeQuery, outcome: Outcome) -> Outcome:
        """Without what was not asked for and what is not of its kind; a success without values is none."""
        if not outcome.ok:
            return outcome
        result = outcome.result
        if not isinstance(result, AttributeValues):
            by, note = query.owner.domain.name, "its answer holds no attribute values"
            return failure(Reason.PEER_FAILED, by=by, role="peer", note=note)
        wanted = frozenset(query.names)
        told = (one for one in result.attributes if not wanted or one.name in wanted)
        good = {one.name: one for one in told if is_good(one)}
        return replace(outcome, result=AttributeValues(tuple(good.values())))


def _answer(known: tuple[Attribute, ...]) -> Asked:
    outcome = Outcome(Status.SUCCESS, result=AttributeValues(known))
    return Asked(outcome, frozenset(attribute.name for attribute in known))


def _merged(known: tuple[Attribute, ...], asked: Asked) -> Asked:
    """The fresh values beside those from the cache; a failure stays one, for part is missing."""
    if not known or not asked.outcome.ok:
        return asked
    both = AttributeValues((*known, *asked.attributes))
    return Asked(replace(asked.outcome, result=both), frozenset(attribute.name for attribute in known))
