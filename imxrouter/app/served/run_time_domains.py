"""Changes of served domains at run time, kept over restarts and shared by the processes of a host (BEY-8).

The store has, for each changed domain, its table as the configuration had it and as it is now. So the file
can be edited meanwhile: where it says something new of a domain, it is newer than the change, and wins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from twisted.logger import Logger

from imxrouter.app.served.provisioning import domain_entry, served_domain
from imxrouter.config.load import parse_domain
from imxrouter.config.problems import ConfigError
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.routing.domains import DomainClash, DomainDiff, ServedDomain, ServedDomains
from imxrouter.routing.interfaces import Store

#: The table of the store; keys are domains as on the wire.
DOMAINS: Final = "domain"
#: As many as a router may serve.
TABLE_ENTRIES: Final = {DOMAINS: 1_000_000}

Record = ServedDomain | None


class _Kept(msgspec.Struct, frozen=True):
    """The value in `DOMAINS`, as JSON: [[domain]] tables, null where there is none."""

    file: dict[str, Any] | None
    now: dict[str, Any] | None


class _Unusable(Exception):
    """Why what is kept of a domain cannot be served."""


@dataclass(frozen=True, slots=True)
class DomainPlan:
    """What `RunTimeDomains.plan` found.

    Attributes:
        wanted: the domains to be served.
        dropped: domains whose changes at run time go, and why.
        services: the services that there are.
    """

    wanted: tuple[ServedDomain, ...]
    dropped: dict[str, str]
    services: frozenset[str]


class RunTimeDomains:
    """Keeps the store in step with what operators change, and gives it back after a start.

    Args:
        domains: the table of served domains.
        store: where changes are kept.
        services: names of the services that are configured.
    """

    log = Logger()

    def __init__(self, domains: ServedDomains, store: Store, services: Collection[str]) -> None:
        self._domains = domains
        self._store = store
        self._services = services
        #: changed elsewhere, and one of its names is still another's here
        self._waiting: dict[str, ServedDomain] = {}

    def begin(self) -> None:
        """Change the domains of the configuration as the store says; then follow the other processes.

        A change is dropped where the file says another thing of the domain than when it was made, and where
        the file gives one of its names to another domain; each with a line in the log.
        """
        changes: dict[str, Record] = {}
        for key, value, _ in self._store.items(DOMAINS):
            if (read := self._read(key, value)) is not None:
                name, before, now = read
                if before != self._file(name):
                    self._drop(name, "the file says something new of it, and holds")
                elif now != before and self._has_service(name, now):
                    changes[name.name] = now
                elif now == before:
                    self._store.remove(DOMAINS, key)
        if diff := self._overlay(changes):
            self.log.info(
                "state: {count} domain(s) as changed at run time: {names}", count=len(changes),
                names=", ".join(line.partition(":")[0] for line in diff.lines()[:20]),
            )  # fmt: skip
        self._store.watch(DOMAINS, self._changed_elsewhere)

    # -- another file ------------------------------------------------------------------------------------

    def in_file(self) -> Iterator[ServedDomain]:
        """The domains as the file has them that is in force, without what was changed at run time."""
        kept = dict(self._kept())
        for record in self._domains:
            if record.name.name not in kept:
                yield record
        yield from (before for before, _ in kept.values() if before is not None)

    def plan(self, file: Mapping[str, Record], services: Collection[str]) -> DomainPlan:
        """What is served with another file: where it says something new of a domain, it holds (BEY-8).

        Args:
            file: the domains of which it says something new, by name; None for those that it has no more.
            services: the names of its services.
        """
        wanted: dict[str, Record] = {record.name.name: record for record in self._domains}
        dropped: dict[str, str] = {}
        kept = dict(self._kept())
        for name, (before, now) in kept.items():
            if name in file:
                dropped[name] = "the file says something new of it, and holds"
            elif now is not None and now.service not in services:
                dropped[name], wanted[name] = f"no service {now.service!r} is configured any more", before
        wanted.update(file)
        holders = {name.name: name_of for name_of, record in file.items() if record for name in record.names}
        for name in kept.keys() - dropped.keys():
            record = wanted.get(name)
            clash = next((one.name for one in record.names if one.name in holders), "") if record else ""
            if clash:
                dropped[name], wanted[name] = f"the file gives {clash} to {holders[clash]}", kept[name][0]
        return DomainPlan(
            tuple(record for record in wanted.values() if record is not None), dropped, frozenset(services)
        )

    def commit(self, plan: DomainPlan) -> DomainDiff:
        """Serve what was planned."""
        self._services = plan.services
        for name, why in plan.dropped.items():
            self._drop(Domain(name), why)
        return self._domains.replace_all(plan.wanted)

    def _kept(self) -> Iterator[tuple[str, tuple[Record, Record]]]:
        """Each domain that was changed at run time: as the file had it, and as it is now."""
        for key, value, _ in self._store.items(DOMAINS):
            if (read := self._read(key, value)) is not None:
                name, before, now = read
                if now == self._file(name):  # else it was left aside: the file's is served
                    yield name.name, (before, now)

    def keep(self, diff: DomainDiff) -> bool:
        """Keep what was changed here; False where it will not survive a restart, or is not written yet."""
        changes: list[tuple[Domain, Record, Record]] = [(record.name, None, record) for record in diff.added]
        changes += [(change.after.name, change.before, change.after) for change in diff.changed]
        changes += [(record.name, record, None) for record in diff.removed]
        refused = [name for name, before, after in changes if not self._put(name, before, after)]
        return not refused and self._store.health().works

    def is_kept(self, name: Domain) -> bool:
        """Whether a domain is as it was changed at run time, not as in the file."""
        return self._store.get(DOMAINS, name.wire) is not None

    def _put(self, name: Domain, before: Record, after: Record) -> bool:
        older = self._store.get(DOMAINS, name.wire)
        try:
            file = msgspec.json.decode(older, type=_Kept).file if older is not None else _entry(before)
        except msgspec.MsgspecError:
            file = _entry(before)
        self._waiting.pop(name.name, None)
        return self._store.put(DOMAINS, name.wire, msgspec.json.encode(_Kept(file, _entry(after))))

    # -- at the start ------------------------------------------------------------------------------------

    def _file(self, name: Domain) -> Record:
        record = self._domains.get(name)
        return record if record is not None and record.name == name else None

    def _overlay(self, changes: dict[str, Record]) -> DomainDiff:
        while changes:
            wanted: dict[str, Record] = {record.name.name: record for record in self._domains}
            wanted.update(changes)
            try:
                return self._domains.replace_all(record for record in wanted.values() if record is not None)
            except DomainClash as clash:
                loser = clash.wanted_by if clash.wanted_by.name in changes else clash.held_by
                del changes[loser.name]
                self._drop(loser, str(clash))
        return DomainDiff()

    def _read(self, key: bytes, value: bytes) -> tuple[Domain, Record, Record] | None:
        """The domain, its record in the file when it was changed, and now; None where it cannot be used."""
        try:
            name = Domain.from_wire(key)
        except BadDomain:
            self.log.warn("state: an entry of {table} cannot be read and is dropped", table=DOMAINS)
            self._store.remove(DOMAINS, key)
            return None
        try:
            kept = msgspec.json.decode(value, type=_Kept)
            return name, _record(name, kept.file), _record(name, kept.now)
        except (msgspec.MsgspecError, _Unusable) as error:
            self._leave_aside(name, str(error))
            return None

    def _has_service(self, name: Domain, record: Record) -> bool:
        if record is None or record.service in self._services:
            return True
        self._leave_aside(name, f"no service {record.service!r} is configured")
        return False

    def _leave_aside(self, name: Domain, why: str) -> None:
        self.log.warn(
            "state: {domain} was changed at run time, and that cannot be used: {why}. Until then it is as in "
            "the file; imxctl domains add or change writes it anew", domain=name, why=why,
        )  # fmt: skip

    def _drop(self, name: Domain, why: str) -> None:
        self.log.warn(
            "state: what was changed of {domain} at run time is dropped: {why}", domain=name, why=why
        )
        self._store.remove(DOMAINS, name.wire)

    # -- other processes ---------------------------------------------------------------------------------

    def _changed_elsewhere(self, key: bytes, value: bytes | None, _expires_at: float | None) -> None:
        read = self._read(key, value) if value is not None else None
        if read is None:
            return
        name, _, now = read
        if not self._has_service(name, now):
            return
        self._waiting.pop(name.name, None)
        if not self._take(name, now) and now is not None:
            self._waiting[name.name] = now
            return
        for record in list(self._waiting.values()):  # a name may be free now
            if self._take(record.name, record):
                self._waiting.pop(record.name.name, None)

    def _take(self, name: Domain, record: Record) -> bool:
        served = self._file(name)
        try:
            if record is None:
                diff = self._domains.remove(name) if served is not None else DomainDiff()
            elif served is None:
                diff = self._domains.add(record)
            else:
                diff = self._domains.change(record)
        except DomainClash as clash:
            self.log.warn("{domain} was changed in another process: {why}", domain=name, why=str(clash))
            return False
        for line in diff.lines():
            self.log.info("changed in another process: {line}", line=line)
        return True


def _record(name: Domain, entry: dict[str, Any] | None) -> Record:
    if entry is None:
        return None
    try:
        record = served_domain(parse_domain(entry))
    except ConfigError as error:
        problem = error.problems[0]
        raise _Unusable(f"{problem.path}: {problem.what}") from None
    if record.name != name:
        raise _Unusable(f"it names {record.name}")
    return record


def _entry(record: Record) -> dict[str, Any] | None:
    return None if record is None else domain_entry(record)
