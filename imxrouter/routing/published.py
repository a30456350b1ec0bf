"""What a domain served here tells of itself as attributes (specification sections 7.8 and 12.5; IMX-20)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from imxrouter.model.attributes import number_attribute, text_attribute
from imxrouter.model.operations import Attribute
from imxrouter.routing.domains import ServedDomain

#: Header, the longest addresses, a retry's epoch and some fields: what a record has beside its body.
_BESIDE_BODY: Final = 2048
#: Number of the record type of foreign forms, and the protocols whose forms are read here (section 7.11).
FOREIGN_TYPE: Final = 0x0110
FOREIGN_FORMS: Final = "xmpp"


@dataclass(frozen=True, slots=True)
class RouterFacts:
    """What holds for every domain of this router.

    Attributes:
        max_message_bytes: of the largest body, where a domain has no limit of its own.
        max_record_bytes: of the largest record that is taken.
        idle_s: rest after which a link is closed.
        duplicate_window_s: as told in hello.
        answer_timeout_s: after which a request is answered as indeterminant.
        software: name and version.
        max_age_s: how long others may keep any of it.
    """

    max_message_bytes: int
    max_record_bytes: int
    idle_s: float
    duplicate_window_s: float
    answer_timeout_s: float
    software: str
    max_age_s: int


def largest_body(record: ServedDomain, facts: RouterFacts) -> int:
    """Bytes of a body that certainly passes to or from a domain."""
    limit = record.max_message_bytes or facts.max_message_bytes
    return min(limit, max(facts.max_record_bytes - _BESIDE_BODY, 0))


def published(
    record: ServedDomain, facts: RouterFacts, names: Iterable[str] = (), *, inside: bool = False
) -> tuple[Attribute, ...]:
    """The attributes of a domain, in the order of their names.

    Args:
        record: the domain.
        facts: of this router.
        names: those that are asked for; none: all.
        inside: whether who asks is served here too, and so is told the hidden ones.
    """
    wanted = frozenset(names)
    hidden = frozenset() if inside else frozenset(_full(record, key) for key in record.hidden_attributes)
    told = (
        attribute
        for attribute in _all(record, facts)
        if attribute.name not in hidden and (not wanted or attribute.name in wanted)
    )
    return tuple(sorted(told, key=lambda attribute: attribute.name))


def _all(record: ServedDomain, facts: RouterFacts) -> Iterator[Attribute]:
    age = facts.max_age_s
    for name, number in (
        ("max-message-size", largest_body(record, facts)),
        ("subscription-lifetime", record.subscription_lifetime_s),
        ("idle-timeout", int(facts.idle_s)),
        ("duplicate-window", int(facts.duplicate_window_s)),
        ("answer-timeout", int(facts.answer_timeout_s)),
    ):
        yield number_attribute(name, number, age)
    for name, text in (
        ("content-types", ", ".join(record.content_types)),
        ("foreign-forms", FOREIGN_FORMS if FOREIGN_TYPE in record.types else ""),
        ("abuse-contact", record.abuse_contact),
        ("software", facts.software),
    ):
        if text:
            yield text_attribute(name, text, age)
    for key, text in record.attributes:
        yield text_attribute(_own(record, key), text, age)


def _own(record: ServedDomain, key: str) -> str:
    return f"{record.name.name}/{key}"


def _full(record: ServedDomain, key: str) -> str:
    """The name on the wire of a key as the configuration writes it."""
    return _own(record, key) if any(key == own for own, _ in record.attributes) else key
