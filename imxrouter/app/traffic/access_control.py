"""Block and allow lists and recipients' rules at work: from files and store to the switch, and what follows.

A change holds at once in this process, and within a second in the others (they watch the store). What is
open is judged anew: subscriptions that may not be any more end, and so do the proofs of a domain that is
shut out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from imxrouter.app.traffic import kept_access
from imxrouter.app.traffic.kept_access import BOOKS, ENTRIES, KNOCKS, WROTE
from imxrouter.config.access import Access, list_files, read_lists
from imxrouter.config.problems import Problem
from imxrouter.model.domain import Domain
from imxrouter.model.patterns import places_of
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.access import AccessLists, BadEntry, Entry, Home
from imxrouter.routing.domains import DomainDiff, ServedDomain, ServedDomains
from imxrouter.routing.gate import Gate
from imxrouter.routing.interfaces import Store
from imxrouter.routing.recipients import KNOCK_S, Book, FirstContact, Knocked, Recipients
from imxrouter.routing.rules import Right
from imxrouter.routing.subscriptions import Subscription
from imxrouter.switch.switch import Switch
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link
from imxrouter.transport.watchers import RouterWatchers

#: Problems of a file that are logged at a time.
_LOGGED: Final = 10
#: Subscriptions that are judged anew in one turn of the reactor.
_JUDGED: Final = 500
#: Names of a file, its place on the disk, its time and its size; None of one that is not there.
Seen = dict[str, tuple[int, int, int] | None]


@dataclass(slots=True)
class _Found:
    """What files say: their entries compiled, the places that those name that came or went, and mistakes."""

    lists: AccessLists
    places: set[bytes] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


class AccessControl:
    """Keeps the switch's gate in step with files, store and operators.

    Args:
        config: where the files are.
        domains: what is served.
        first_contact: of each service, by name.
        hub: links.
        watchers: tells watchers.
        drop_proof: ends a proof on a link, and tells the peer.
        wall: seconds since 1970.
        later: calls something after so many seconds.

    Attributes:
        lists: all entries.
        recipients: rules of users.
        gate: what the switch asks.
        problems: what was wrong with the files when they were read last.
    """

    log = Logger()

    def __init__(
        self,
        config: Access,
        domains: ServedDomains,
        first_contact: dict[str, FirstContact],
        hub: Hub,
        watchers: RouterWatchers,
        drop_proof: Callable[[Link, bytes, Reason], None],
        wall: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._config = config
        self._domains = domains
        self._of_service = first_contact
        self._hub = hub
        self._switch: Switch = hub.switch
        self._watchers = watchers
        self._drop_proof = drop_proof
        self._wall = wall
        self._later = later
        self._store: Store | None = None
        self._seen: Seen = {}
        self._lock = DeferredLock()
        self._stale = False
        self.lists = AccessLists(self._home)
        self.recipients = Recipients(self._main_name, self._first_contact, wall)
        self.recipients.on_changed = self._keep_book
        self.recipients.on_wrote = self._keep_wrote
        self.recipients.on_knock = self._keep_knock
        self.gate = Gate(self.lists, self.recipients)
        #: told each subscription that may not be any more, before it is forgotten
        self.on_barred: Callable[[Subscription], None] = lambda _entry: None
        self.problems: tuple[Problem, ...] = ()
        self._asking = 0
        domains.listen(self._domains_changed)

    # -- what is served ----------------------------------------------------------------------------------

    def _record(self, raw: bytes) -> ServedDomain | None:
        try:
            return self._domains.get(Domain(raw.decode("ascii")))
        except UnicodeDecodeError:
            return None

    def _home(self, raw: bytes) -> Home | None:
        record = self._record(raw)
        if record is None:
            return None
        return Home(tuple(name.wire for name in record.names), record.tenant.encode("utf-8", "replace"))

    def _main_name(self, raw: bytes) -> bytes | None:
        record = self._record(raw)
        return record.name.wire if record is not None else None

    def _first_contact(self, raw: bytes) -> FirstContact:
        record = self._record(raw)
        if record is None:
            return FirstContact.SERVICE
        own = record.first_contact
        if own:
            return FirstContact.SERVICE if own == "service" else FirstContact(own)
        return self._of_service.get(record.service, FirstContact.SERVICE)

    # -- life --------------------------------------------------------------------------------------------

    def begin(self, store: Store) -> None:
        """Take what the files and the store have; then follow the other processes. Before traffic comes."""
        self._store = store
        self._seen = look_at(self._config)
        self._take(self._read_files(()))
        for key, value, expires_at in store.items(ENTRIES):
            self._restore(key, value, expires_at)
        for key, value, _ in store.items(BOOKS):
            self.recipients.restore(key, kept_access.book_from_store(value))
        for key, _, until in store.items(WROTE):
            self.recipients.restore_wrote(key, until or 0.0)
        for key, value, _ in store.items(KNOCKS):
            self._restore_knock(key, value, None)
        store.watch(KNOCKS, self._restore_knock)
        store.watch(ENTRIES, self._changed_elsewhere)
        store.watch(WROTE, lambda key, _, until: self.recipients.restore_wrote(key, until or 0.0))
        store.watch(BOOKS, self._book_changed_elsewhere)
        self._refresh()

    def tick(self, reactor: Any) -> None:
        """Once a second: what has expired goes, and files that changed are read, off the reactor's thread."""
        expired = self.lists.expired(self._wall())
        if expired:
            for entry in expired:
                self.lists.remove(entry.ident)
                self.log.info("access: {entry} has expired", entry=entry.ident)
            self._refresh()
        if not self._lock.locked and (self._stale or look_at(self._config) != self._seen):
            self._lock.run(self._read_all, reactor).addErrback(self._not_read)

    def runs_with(self, config: Access, first_contact: dict[str, FirstContact]) -> bool:
        """Whether that is what it has."""
        return (config, first_contact) == (self._config, self._of_service)

    def change(self, config: Access, first_contact: dict[str, FirstContact]) -> None:
        """Take another configuration; its lists hold within a second."""
        self._config, self._of_service, self._stale = config, first_contact, True
        self._refresh()

    def reload(self, reactor: Any) -> Deferred[tuple[Problem, ...]]:
        """Read the files now; fires with what is wrong with them, and then nothing was changed."""
        read: Deferred[None] = self._lock.run(self._read_all, reactor)
        return read.addCallback(lambda _: self.problems)

    def _read_all(self, reactor: Any) -> Deferred[None]:
        """Off the reactor's thread, for a long list takes seconds."""
        self._seen, self._stale = look_at(self._config), False
        pool = reactor.getThreadPool()
        return deferToThreadPool(reactor, pool, self._read_files, tuple(self.lists)).addCallback(self._take)

    def _not_read(self, failure: Failure) -> None:
        self.log.failure("reading access lists failed", failure)

    def _read_files(self, before: Iterable[Entry]) -> _Found:
        """Read and compile all files; may be called in any thread.

        Args:
            before: the entries that there are.
        """
        placed, problems = read_lists(self._config)
        found = _Found(AccessLists(self._home), problems=problems)
        wall, old = self._wall(), {one.ident: one for one in before if not one.at_run_time}
        for one in placed if not problems else ():
            entry = kept_access.entry_of(one)
            if entry.expires is not None and entry.expires <= wall:
                continue
            try:
                found.lists.add(entry)
            except BadEntry as error:
                problems.append(Problem(one.ident.partition("#")[0], one.ident, str(error), "take some out"))
                return found
            known = old.get(entry.ident)
            if known == entry:
                del old[entry.ident]
            else:
                found.places.add(entry.pattern.where)
        found.places |= {one.pattern.where for one in old.values()}
        return found

    def _take(self, found: _Found) -> None:
        self.problems = tuple(found.problems)
        if found.problems:
            for problem in found.problems[:_LOGGED]:
                self.log.error("access: {problem}; the lists stay as they were", problem=str(problem))
        elif found.places:
            mine = [one for one in self.lists if one.at_run_time]
            self.lists.take_over(found.lists)
            for one in mine:
                self._added(one)
            self.log.info("access: the lists in files have changed: {count} entries", count=len(self.lists))
            self._applied(found.places)

    def _added(self, entry: Entry) -> bool:
        try:
            self.lists.add(entry)
        except BadEntry as error:
            problem = Problem(entry.ident.partition("#")[0], entry.ident, str(error), "take some out")
            self.problems = (*self.problems, problem)
            self.log.warn("access: {problem}", problem=str(problem))
            return False
        return True

    # -- at run time -------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> bool:
        """Add an entry made at run time; False where it will not survive a restart. Raises `BadEntry`."""
        kept = True
        self.lists.add(entry)
        if self._store is not None:
            value = kept_access.entry_to_store(entry)
            if not self._store.put(ENTRIES, entry.ident.encode("ascii"), value, entry.expires):
                self.lists.remove(entry.ident)
                raise BadEntry(f"{kept_access.MAX_RUN_TIME} entries were made at run time: use a file")
            kept = self._store.health().works
        self.log.info(
            "access: {entry} {action} {match} {direction} by {author}: {why}", entry=entry.ident,
            action=entry.action.value, match=entry.pattern.text, direction=entry.direction.value,
            author=entry.author, why=entry.reason,
        )  # fmt: skip
        self._applied({entry.pattern.where})
        return kept

    def remove(self, ident: str) -> Entry | None:
        """Take an entry of run time out; returns it."""
        entry = self.lists.remove(ident)
        if entry is not None:
            if self._store is not None:
                self._store.remove(ENTRIES, ident.encode("ascii"))
            self.log.info("access: {entry} on {match} is gone", entry=ident, match=entry.pattern.text)
            self._applied({entry.pattern.where})
        return entry

    def _restore(self, key: bytes, value: bytes, expires_at: float | None) -> Entry | None:
        entry = kept_access.entry_from_store(key, value, expires_at)
        if entry is None:
            self.log.warn(
                "access: an entry of the store cannot be read: {key}", key=key.decode("ascii", "replace")
            )
            return None
        return entry if self._added(entry) else None

    def _changed_elsewhere(self, key: bytes, value: bytes | None, expires_at: float | None) -> None:
        if value is None:
            entry = self.lists.remove(key.decode("ascii", "replace"))
        else:
            entry = self._restore(key, value, expires_at)
        if entry is not None:
            self._applied({entry.pattern.where})

    def _keep_book(self, key: bytes, book: Book | None) -> None:
        if self._store is not None:
            if book is None:
                self._store.remove(BOOKS, key)
            else:
                self._store.put(BOOKS, key, kept_access.book_to_store(book))
        self._book_changed(key)

    def _book_changed(self, user: bytes) -> None:
        self._refresh()
        local, _, own = user.rpartition(b"@")
        home = self._home(own)
        names = home.names if home is not None else ()
        keys = self._switch.presence.table.keys_of(lambda domain: domain in names)
        self._judge_anew(iter([key for key in keys if local in _locals(key)]), lambda: None)

    def _keep_wrote(self, key: bytes, until: float) -> None:
        if self._store is not None:
            self._store.put(WROTE, key, b"", until)

    def _keep_knock(self, key: bytes, knocked: Knocked | None) -> None:
        if self._store is not None and knocked is not None:
            self._store.put(KNOCKS, key, kept_access.knock_to_store(knocked), knocked.at + KNOCK_S)
        elif self._store is not None:
            self._store.remove(KNOCKS, key)

    def _restore_knock(self, key: bytes, value: bytes | None, _expires_at: float | None) -> None:
        knocked = kept_access.knock_from_store(key, value) if value is not None else None
        self.recipients.restore_knock(key, knocked, self._wall())

    def _book_changed_elsewhere(self, key: bytes, value: bytes | None, _expires_at: float | None) -> None:
        self.recipients.restore(key, kept_access.book_from_store(value) if value is not None else None)
        self._book_changed(key)

    # -- what follows ------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Give the switch the gate where there is something to judge, and drop what was judged before."""
        asked = self._asking or any(one is not FirstContact.SERVICE for one in self._of_service.values())
        self._switch.guard(self.gate if asked or len(self.lists) else None)

    def _domains_changed(self, diff: DomainDiff) -> None:
        came = [*diff.added, *(change.after for change in diff.changed)]
        gone = [*diff.removed, *(change.before for change in diff.changed)]
        self._asking += sum(map(_asks, came)) - sum(map(_asks, gone))
        self._refresh()

    def _applied(self, places: set[bytes]) -> None:
        """Entries that name these places came or went."""
        self._refresh()
        keys = self._switch.presence.table.keys_of(
            lambda domain: any(not places.isdisjoint(some) for some in places_of(domain))
        )
        self._judge_anew(iter(keys), self._end_proofs)

    def _judge_anew(self, keys: Iterator[bytes], done: Callable[[], None]) -> None:
        """End subscriptions that may not be any more, so many in a turn; then the next thing."""
        some = list(islice(keys, _JUDGED))
        for key in some:
            self._end_if_barred(key)
        if len(some) < _JUDGED:
            done()
        else:
            self._later(0, lambda: self._judge_anew(keys, done))

    def _end_if_barred(self, key: bytes) -> None:
        """A watcher is told that nothing is known, as of who is gone."""
        table, routes = self._switch.presence.table, self._switch.routes
        entry = table.find(key)
        if entry is None:
            return
        watcher, presentity = key.split(b"\0")[:2]
        judge = self.gate.judge
        if not (judge(watcher, presentity, Right.SUBSCRIBE) or judge(presentity, watcher, None)):
            return
        self.on_barred(entry)
        domain = entry.presentity.rpartition(b"@")[2]
        if entry.granted and (domain in routes or entry.watcher.rpartition(b"@")[2] in routes):
            self._watchers.tell_unknown(key, Reason.SERVICE_DOWN, domain, lambda _outcome: None)
        table.ended(key)

    def shuts_out(self, domain: bytes) -> bool:
        """Whether nobody of a domain may send anything here."""
        return len(self.lists) > 0 and self.lists.shuts_out(domain) is not None

    def _end_proofs(self) -> None:
        if not len(self.lists):
            return
        for session in list(self._hub.sessions.values()):
            if session.service:
                continue
            for domain in list(session.port.sources):
                if domain == b"*" or domain in self._switch.routes or not self.shuts_out(domain):
                    continue
                if session.port.sources[domain][1] is None:
                    self._drop_proof(session, domain, Reason.NOT_DELIVERED)
                session.port.sources.pop(domain, None)
                self.log.info(
                    "access: {domain} is proved no more on link {link}",
                    domain=domain.decode(),
                    link=session.number,
                )


def _locals(key: bytes) -> list[bytes]:
    """Local parts of both sides of a subscription's key."""
    return [side.rpartition(b"@")[0] for side in key.split(b"\0")[:2]]


def _asks(record: ServedDomain) -> bool:
    return record.first_contact not in ("", "service")


def look_at(config: Access) -> Seen:
    """States of the files: another one in the same place counts as changed, whatever its time."""
    seen: Seen = {}
    for path in list_files(config):
        try:
            facts = path.stat()
            seen[str(path)] = facts.st_ino, facts.st_mtime_ns, facts.st_size
        except OSError:
            seen[str(path)] = None
    return seen


def first_contacts(services: Iterable[Any]) -> dict[str, FirstContact]:
    """What strangers may do, by the name of each service of the configuration."""
    return {one.name: FirstContact(one.first_contact) for one in services}
