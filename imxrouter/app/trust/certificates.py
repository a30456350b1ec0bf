"""Our own certificates in a running router: read at the start, watched, exchanged as a whole.

Files are read in a thread, so that 500 of them delay nobody; what was read is taken in the reactor's turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from imxrouter.admin.certs_views import CertsReload, CertsView, CertView
from imxrouter.app.prepared import Step
from imxrouter.config.diff import Changes
from imxrouter.config.schema import Config
from imxrouter.config.tls import SYSTEM
from imxrouter.model.domain import Domain
from imxrouter.telemetry.certificates import CertificateFigures
from imxrouter.telemetry.metrics import Metrics
from imxrouter.tls.anchors import BadAnchors, anchors_from
from imxrouter.tls.contexts import TlsContexts
from imxrouter.tls.folder import BadCertificates, FileProblem, load_folder, signature_of
from imxrouter.tls.own import OwnCertificate
from imxrouter.tls.peer import Anchors, Intermediates
from imxrouter.tls.store import Certificates, CertificateSet, Change, change_between

#: Domains without a certificate that are told; a hoster may have 100,000.
TOLD: Final = 1000
#: Contexts have keys of their own for session tickets, made once. Who gets hold of them reads what TLS 1.2
#: has resumed with them, so they go after a day (RFC 9325 section 7.4 says: for example once a week).
TICKET_KEYS_S: Final = 86_400.0
#: The default certificate is that of the first domain that has one; so many are tried.
_FIRST_DOMAINS: Final = 1000

#: What was found in the folder at one time.
State = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Read:
    """What one reading of the folder gave.

    Attributes:
        found: what can be used.
        problems: what is wrong; empty: `found` is all there is.
        state: of the folder before it was read.
        moved: the folder was being changed meanwhile.
    """

    found: CertificateSet
    problems: tuple[FileProblem, ...]
    state: State
    moved: bool


class OwnCertificates:
    """The certificates of a process, and the contexts made of them.

    Args:
        config: with its domains.
        reactor: keeps time for the watch, and has the threads.
        now: seconds since 1970.
        metrics: where readings are counted.
        in_thread: calls a function elsewhere; None: in the reactor's threads.

    Attributes:
        contexts: of the set in use; take them anew for each connection.
        problems: faults at the last reading, one line each.
        warnings: of the last reading that had no fault.
        on_swapped: called with new contexts when they are in use.

    Raises:
        BadAnchors: a file of `tls.trust` cannot be used.
    """

    log = Logger()

    def __init__(
        self,
        config: Config,
        reactor: Any,
        now: Callable[[], float],
        metrics: Metrics,
        *,
        in_thread: Callable[[Callable[[], Read | State]], Deferred[Any]] | None = None,
    ) -> None:
        self._settings = config.tls
        self._folder = Path(config.tls.certificates) if config.tls.certificates else None
        #: the same certificates are for other domains
        self._others_chosen = False
        self._choose(config)
        self._reactor, self._now, self._metrics = reactor, now, metrics
        self._in_thread = in_thread or self._in_pool
        self._store = Certificates()
        self._lock = DeferredLock()
        self._watch = LoopingCall(self._look)
        self._watch.clock = reactor
        self._rotation = LoopingCall(self._renew_contexts)
        self._rotation.clock = reactor
        self._taken: State = ()
        self._tried: State | None = None
        self._seen: State = ()
        self.problems: tuple[str, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self.intermediates = Intermediates()
        self.on_swapped: list[Callable[[TlsContexts], object]] = []
        if self._settings.trust != (SYSTEM,):
            _ = self.anchors  # a file that is no good is told at the start
        self.contexts = TlsContexts(self._store.current, minimum=self._settings.minimum)
        metrics.watch_certificates(self._figures)
        if self._folder is not None:
            self._begin_with(self._read(starting=True))

    @cached_property
    def anchors(self) -> Anchors:
        """Whom we trust. The system's authorities are read when the first certificate is judged."""
        return self._make_anchors(self.intermediates)

    def _choose(self, config: Config) -> None:
        self._chosen = {
            Domain(name): Path(entry.certificate)
            for entry in config.domains
            if entry.certificate
            for name in (entry.name, *entry.aliases)
        }
        self._first = tuple(Domain(entry.name) for entry in config.domains[:_FIRST_DOMAINS])

    def prepare(self, config: Config, changes: Changes) -> Step | None:
        """Show other certificates for some domains, or look at the folder more often. A `reloading.Owner`.

        The files are read as by `reload`, which keeps all that is in use where one is no good.
        """
        if not changes.touch("domain", "tls"):
            return None

        def commit() -> None:
            watch_s, self._settings = self._settings.watch_s, config.tls
            if watch_s != config.tls.watch_s:
                self.end()
                self.begin()
            before = self._chosen
            self._choose(config)
            if self._chosen != before:
                self._others_chosen = True
                self.reload().addErrback(self._failed)

        return Step(commit)

    def begin(self) -> None:
        """Watch the folder from now on, and change the keys of session tickets now and then."""
        self._rotation.start(TICKET_KEYS_S, now=False)
        if self._folder is not None and self._settings.watch_s:
            self._watch.start(self._settings.watch_s, now=False)

    def end(self) -> None:
        """Watch it no longer."""
        for call in (self._watch, self._rotation):
            if call.running:
                call.stop()

    def reload(self) -> Deferred[CertsReload]:
        """Read the folder and take it if all in it is good; else say what is not, and keep what is in use."""
        reloaded: Deferred[CertsReload] = self._lock.run(self._reload)
        return reloaded

    # -- reading -----------------------------------------------------------------------------------------

    def _reload(self) -> Deferred[CertsReload]:
        if self._folder is None:
            return succeed(self._reloaded("unchanged", Change()))
        return self._in_thread(self._read).addCallback(self._take)

    def _read(self, *, starting: bool = False) -> Read:
        assert self._folder is not None  # noqa: S101 - callers have looked
        state = self._state()
        try:
            found = load_folder(
                self._folder,
                self._now(),
                current=self._store.current,
                chosen=self._chosen,
                domains=self._first,
                anchors=self._reading_anchors,
                take_ended=starting,
            )
            problems: tuple[FileProblem, ...] = ()
        except BadCertificates as bad:
            found, problems = bad.good, bad.problems
        return Read(found, problems, state, moved=self._state() != state)

    def _state(self) -> State:
        assert self._folder is not None  # noqa: S101
        return signature_of(self._folder, self._chosen.values())

    @cached_property
    def _reading_anchors(self) -> Anchors:
        """For the thread alone: what it keeps in mind is not shared."""
        return self._make_anchors(Intermediates())

    def _make_anchors(self, known: Intermediates) -> Anchors:
        try:
            return anchors_from(self._settings.trust, known)
        except BadAnchors as bad:
            if self._settings.trust != (SYSTEM,):
                raise
            self.log.warn("no certificate of a peer is trusted: {why}", why=str(bad))
            return Anchors((), partial=False, known=known, source="no authority at all")

    # -- taking ------------------------------------------------------------------------------------------

    def _begin_with(self, read: Read) -> None:
        """At the start the good ones are taken whatever is wrong with others: a part is better than none."""
        self._swap(read.found)
        self._note(read)
        for problem in self.problems:
            self.log.error("certificate not taken: {what}", what=problem)

    def _take(self, read: Read) -> CertsReload:
        self._note(read)
        if self.problems:
            self._metrics.certificate_reloads.inc("refused")
            for problem in self.problems:
                self.log.error("certificates stay as they are: {what}", what=problem)
            return self._reloaded("refused", Change())
        change = self._swap(read.found)
        result = "swapped" if change else "unchanged"
        self._metrics.certificate_reloads.inc(result)
        if change:
            self.log.info(
                "certificates: {added} added, {renewed} renewed, {removed} removed; {count} in use",
                added=len(change.added), renewed=len(change.renewed), removed=len(change.removed),
                count=len(read.found),
            )  # fmt: skip
        return self._reloaded(result, change)

    def _note(self, read: Read) -> None:
        self._tried = None if read.moved else read.state
        self.problems = tuple(map(str, read.problems))
        if read.moved and not self.problems:
            self.problems = (f"{self._folder}: it was changed while it was read: try again",)
        if not self.problems:
            self._taken = read.state

    def _swap(self, found: CertificateSet) -> Change:
        for warning in found.warnings:
            if warning not in self.warnings:  # each once; the rest is in `imxctl certs`
                self.log.warn("{what}", what=warning)
        self.warnings = found.warnings
        change = change_between(self._store.current, found)
        others, self._others_chosen = self._others_chosen, False
        if change or others:
            self._store.swap(found)
            self._renew_contexts()
        return change

    def _renew_contexts(self) -> None:
        old, self.contexts = self.contexts, TlsContexts(self._store.current, minimum=self._settings.minimum)
        old.retire()
        for tell in self.on_swapped:
            tell(self.contexts)

    # -- watching ----------------------------------------------------------------------------------------

    def _look(self) -> Deferred[Any]:
        return self._in_thread(self._state).addCallback(self._looked).addErrback(self._failed)

    def _looked(self, state: State) -> Any:
        """Take what is new and was the same a while ago: whoever writes two files is done by then."""
        settled, self._seen = state == self._seen, state
        if not settled or state in (self._taken, self._tried):
            return None
        return self.reload()

    def _failed(self, failure: Any) -> None:
        self.log.failure("watching certificates", failure=failure)

    def _in_pool(self, what: Callable[[], Read | State]) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), what)

    # -- telling -----------------------------------------------------------------------------------------

    def view(self, served: Iterable[Domain]) -> CertsView:
        """Tell all certificates, and which of the domains served here have none."""
        domains = list(served)
        current = self._store.current
        shown = current.by_certificate(domains)
        without = current.without_certificate(domains)
        return CertsView(
            folder=str(self._folder or ""),
            certificates=[_cert_view(one, shown.get(one.fingerprint, [])) for one in current.all],
            default=str(current.default.path) if current.default else "",
            without=[domain.name for domain in without[:TOLD]],
            without_count=len(without),
            problems=list(self.problems),
            warnings=list(self.warnings),
        )

    def _reloaded(self, result: str, change: Change) -> CertsReload:
        return CertsReload(
            result=result,
            count=len(self._store.current),
            added=[str(one.path) for one in change.added],
            renewed=[str(one.path) for one in change.renewed],
            removed=[str(one.path) for one in change.removed],
            problems=list(self.problems),
            warnings=list(self.warnings),
            processes=[],
        )

    def _figures(self) -> CertificateFigures:
        ends = {self._label(one): one.not_after for one in self._store.current.all}
        return CertificateFigures(ends, len(self.problems))

    def _label(self, one: OwnCertificate) -> str:
        if self._folder is not None and one.path.is_relative_to(self._folder):
            return str(one.path.relative_to(self._folder))
        return str(one.path)


def _cert_view(one: OwnCertificate, domains: list[Domain]) -> CertView:
    return CertView(
        file=str(one.path),
        names=list(one.names),
        domains=[domain.name for domain in domains],
        not_before=one.not_before,
        not_after=one.not_after,
        issuer=one.issuer,
        fingerprint=one.fingerprint.hex(),
    )
