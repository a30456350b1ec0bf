"""Domains served here: one record each, changed at run time by one method with a diff (BEY-8)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Final, TypeVar

from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.operations import DEFAULT_SUBSCRIPTION_S
from imxrouter.routing.choice import Protocol


class CaseProfile(Enum):
    """Whether `Alice` and `alice` are one user at the service."""

    INSENSITIVE = "case-insensitive"
    SENSITIVE = "case-sensitive"


class DomainState(Enum):
    """A suspended domain keeps its record, and nothing passes to or from it."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


ONLY_IMX: Final = frozenset({Protocol.IMX})
#: What a domain takes unless it says otherwise: messages, subscriptions, notifications, attribute queries.
ALL_TYPES: Final[frozenset[int]] = frozenset({0x0100, 0x0101, 0x0102, 0x0103})


@dataclass(frozen=True, slots=True)
class ServedDomain:
    """A domain served here.

    Attributes:
        name: the domain.
        service: the name of the service that answers for it.
        aliases: other domains with the same users.
        tenant: whose it is.
        protocols: what it publishes to the outside.
        certificate: name of its certificate; empty: the router's own.
        policy: what peers must prove at least, in the words of `Policy`; None: the router's rules decide.
        max_message_bytes: largest body; 0: the router's limit.
        sender_rate_per_s: of each of its users; 0: the router's limit.
        sender_burst: the same.
        records_per_s: requests a second that it sends, and as many to it; 0: the router's limit.
        bytes_per_s: bytes of them a second; the same.
        recipient_rate_per_s: messages a second to each of its users; 0: the router's limit.
        types: numbers of the routed record types that pass.
        case_profile: how its local parts compare.
        state: active or suspended.
        subscription_lifetime_s: the longest that is granted and what is published, seconds.
        abuse_contact: a URI to which abuse is reported; empty: none is published.
        first_contact: what strangers may do at users whose rules the router keeps, in the words of the
            configuration; empty: as its service has it.
        content_types: what its users read, as published; empty: not published.
        attributes: own attributes, key and text, published as `name/key`.
        hidden_attributes: keys, global or own ones, that only domains served here are told.
    """

    name: Domain
    service: str
    aliases: tuple[Domain, ...] = ()
    tenant: str = ""
    protocols: frozenset[Protocol] = ONLY_IMX
    certificate: str = ""
    policy: str | None = None
    max_message_bytes: int = 0
    sender_rate_per_s: float = 0.0
    sender_burst: int = 0
    records_per_s: float = 0.0
    bytes_per_s: float = 0.0
    recipient_rate_per_s: float = 0.0
    types: frozenset[int] = ALL_TYPES
    case_profile: CaseProfile = CaseProfile.INSENSITIVE
    state: DomainState = DomainState.ACTIVE
    subscription_lifetime_s: int = DEFAULT_SUBSCRIPTION_S
    abuse_contact: str = ""
    first_contact: str = ""
    content_types: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    hidden_attributes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[Domain, ...]:
        """The name and its aliases."""
        return (self.name, *self.aliases)

    @property
    def suspended(self) -> bool:
        """Whether nothing passes."""
        return self.state is DomainState.SUSPENDED


class DomainClash(RouterError):
    """Two served domains want the same name; names both."""

    def __init__(self, name: Domain, wanted_by: Domain, held_by: Domain) -> None:
        wants = f"domain {wanted_by}" if wanted_by == name else f"alias {name} of domain {wanted_by}"
        holds = f"domain {held_by}" if held_by == name else f"alias {name} of domain {held_by}"
        twice = wanted_by == held_by
        text = (
            f"domain {held_by} is given twice, or names {name} twice"
            if twice
            else f"{wants} clashes with {holds}"
        )
        super().__init__(text)
        self.name = name
        self.wanted_by = wanted_by
        self.held_by = held_by


class NotServed(RouterError):
    """No served domain has that name."""

    def __init__(self, name: Domain) -> None:
        super().__init__(f"{name} is not served here")
        self.name = name


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a record that differs."""

    field: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.field}: {_readable(self.before)} -> {_readable(self.after)}"


@dataclass(frozen=True, slots=True)
class DomainChange:
    """A domain that stays, with what differs."""

    before: ServedDomain
    after: ServedDomain

    @property
    def fields(self) -> tuple[FieldChange, ...]:
        """The fields that differ, in the order of the record."""
        pairs = (
            FieldChange(item.name, getattr(self.before, item.name), getattr(self.after, item.name))
            for item in fields(ServedDomain)
        )
        return tuple(change for change in pairs if change.before != change.after)


@dataclass(frozen=True, slots=True)
class DomainDiff:
    """What one call changed."""

    added: tuple[ServedDomain, ...] = ()
    changed: tuple[DomainChange, ...] = ()
    removed: tuple[ServedDomain, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def lines(self) -> list[str]:
        """The difference for people: `+` added, `-` removed, `~` changed with its fields."""
        lines = [f"+ {record.name} (service {record.service})" for record in self.added]
        lines += [f"- {record.name} (service {record.service})" for record in self.removed]
        for change in self.changed:
            lines.append(f"~ {change.after.name}: " + "; ".join(str(item) for item in change.fields))
        return lines


#: Distinct values kept for sharing; beyond it sharing starts anew and costs memory only.
_MOST_SHARED: Final = 10_000

Shared = TypeVar("Shared", bound=Hashable)
#: Fields whose equal values are one object for all domains.
_SHARED: Final = (
    "service", "tenant", "protocols", "types", "certificate", "abuse_contact", "content_types", "attributes",
    "hidden_attributes",
)  # fmt: skip

Listener = Callable[[DomainDiff], None]


class ServedDomains:
    """The table of served domains. A change is whole or not made at all; listeners get its diff after it."""

    def __init__(self) -> None:
        self._records: dict[str, ServedDomain] = {}
        self._aliases: dict[str, ServedDomain] = {}
        self._listeners: list[Listener] = []
        self._shared: dict[Hashable, Hashable] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[ServedDomain]:
        return iter(self._records.values())

    def __contains__(self, name: Domain) -> bool:
        return self.get(name) is not None

    def get(self, name: Domain) -> ServedDomain | None:
        """The record of a name or alias."""
        return self._records.get(name.name) or self._aliases.get(name.name)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have every diff told; returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def add(self, record: ServedDomain) -> DomainDiff:
        """Serve one more domain. Raises `DomainClash` where one of its names is taken."""
        self._check_free(record, None)
        return self._tell(DomainDiff(added=(self._enter(record),)))

    def change(self, record: ServedDomain) -> DomainDiff:
        """Replace the record of that name. Raises `NotServed` or `DomainClash`."""
        before = self._own(record.name)
        if before == record:
            return DomainDiff()
        self._check_free(record, before)
        self._take_out(before)
        return self._tell(DomainDiff(changed=(DomainChange(before, self._enter(record)),)))

    def remove(self, name: Domain) -> DomainDiff:
        """Serve it no longer. Raises `NotServed`."""
        before = self._own(name)
        self._take_out(before)
        return self._tell(DomainDiff(removed=(before,)))

    def suspend(self, name: Domain) -> DomainDiff:
        """Let nothing pass to or from it. Raises `NotServed`."""
        return self.change(replace(self._own(name), state=DomainState.SUSPENDED))

    def resume(self, name: Domain) -> DomainDiff:
        """Let pass again. Raises `NotServed`."""
        return self.change(replace(self._own(name), state=DomainState.ACTIVE))

    def replace_all(self, records: Iterable[ServedDomain]) -> DomainDiff:
        """Serve exactly these, as after reading the configuration again.

        Raises:
            DomainClash: two of them want one name; nothing was changed.
        """
        wanted: dict[str, ServedDomain] = {}
        names: dict[str, ServedDomain] = {}
        for record in records:
            for name in record.names:
                holder = names.setdefault(name.name, record)
                if holder is not record or record.names.count(name) > 1:
                    raise DomainClash(name, record.name, holder.name)
            wanted[record.name.name] = record
        old = self._records
        added = [record for name, record in wanted.items() if name not in old]
        removed = tuple(record for name, record in old.items() if name not in wanted)
        differing = [
            (old[name], record) for name, record in wanted.items() if old.get(name, record) != record
        ]
        for before in (*removed, *(pair[0] for pair in differing)):
            self._take_out(before)
        changed = tuple(DomainChange(before, self._enter(record)) for before, record in differing)
        entered = tuple(self._enter(record) for record in added)
        return self._tell(DomainDiff(entered, changed, removed))

    def _own(self, name: Domain) -> ServedDomain:
        record = self._records.get(name.name)
        if record is None:
            raise NotServed(name)
        return record

    def _check_free(self, record: ServedDomain, instead_of: ServedDomain | None) -> None:
        for name in record.names:
            holder = self.get(name)
            if holder is not None and holder is not instead_of:
                raise DomainClash(name, record.name, holder.name)
            if record.names.count(name) > 1:
                raise DomainClash(name, record.name, record.name)

    def _enter(self, record: ServedDomain) -> ServedDomain:
        shared = {name: self._share(getattr(record, name)) for name in _SHARED}
        fresh = any(getattr(record, name) is not value for name, value in shared.items())
        kept = replace(record, **shared) if fresh else record
        self._records[kept.name.name] = kept
        for alias in kept.aliases:
            self._aliases[alias.name] = kept
        return kept

    def _share(self, value: Shared) -> Shared:
        """The equal value that other records hold already: 100,000 domains have a handful of services."""
        if len(self._shared) > _MOST_SHARED:
            self._shared.clear()
        return self._shared.setdefault(value, value)  # type: ignore[return-value]

    def _take_out(self, record: ServedDomain) -> None:
        del self._records[record.name.name]
        for alias in record.aliases:
            del self._aliases[alias.name]

    def _tell(self, diff: DomainDiff) -> DomainDiff:
        if diff:
            for listener in tuple(self._listeners):
                listener(diff)
        return diff


def _readable(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, frozenset | tuple):
        return "[" + ", ".join(sorted(_readable(item) for item in value)) + "]"
    return repr(value) if isinstance(value, str) else str(value)
