"""Reading the configuration again while the router runs: checked, compared, prepared, and only then applied.

A file that is wrong changes nothing, nor does one that a part or another process of the router cannot take.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import structs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from imxrouter.admin.config_views import ReloadView
from imxrouter.admin.errors import AdminError
from imxrouter.app.host import ABSENT
from imxrouter.app.notify import tell_supervisor
from imxrouter.app.reload.applying import Applying
from imxrouter.app.reload.reload_plan import APART, APPLIED, FAILED, REFUSED, UNCHANGED, Plan, Told
from imxrouter.app.served.provisioning import domain_entry
from imxrouter.app.workers import as_process
from imxrouter.config import checks
from imxrouter.config.diff import Changes, diff, effective
from imxrouter.config.load import Loaded
from imxrouter.config.problems import ConfigError, Problem
from imxrouter.config.schema import Config
from imxrouter.config.served import ServedDomain
from imxrouter.model.errors import RouterError
from imxrouter.routing.domains import ServedDomain as Record

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts

#: Of questions to the other processes.
KIND: Final = "reload"
#: How long another process may take to read and check its files; 100,000 domains take some ten seconds.
PROCESS_S: Final = 60.0
#: Lines of a difference that are logged.
MOST_LOGGED: Final = 50


class _Asked(msgspec.Struct, frozen=True):
    """What one process asks of another: to try, or to apply what it finds in the same files."""

    dry_run: bool
    digest: bytes
    file: str


class Reloading:
    """Reloads one router process, and asks the others of it.

    Args:
        router: its parts.

    Attributes:
        source: reads the files; None where the configuration came from elsewhere.
        file: the main file.
        given: keys that the file says; None where that is not known.
        waiting: keys of which it says another value, for which a restart is needed.
        owners: who takes changes; others may add theirs before the end of the list is reached.
        loaded_at: Unix time when what is in force was read.
        counts: reloads by result.
    """

    log = Logger()

    def __init__(self, router: Parts) -> None:
        self._router = router
        self.source: Callable[[], Loaded] | None = None
        self.file = ""
        self.given: frozenset[str] | None = None
        self.owners = Applying(router).owners
        self.loaded_at = time.time()
        self.counts = dict.fromkeys((APPLIED, UNCHANGED, REFUSED, FAILED), 0)
        self.waiting: frozenset[str] = frozenset()
        self._after = 0
        self._running = False
        router.handover.asked[KIND] = self._asked

    def read_from(self, source: Callable[[], Loaded], loaded: Loaded, after: int = 0) -> None:
        """Say where the configuration comes from.

        Args:
            source: reads it.
            loaded: what was read there at the start.
            after: how many processes of the same file come before this one.
        """
        self.source, self.file, self.given, self._after = source, loaded.files[0], loaded.given, after

    def reload(self, *, dry_run: bool = False, alone: bool = False) -> Deferred[ReloadView]:
        """Read the files and apply what is new in every process; a dry run only says what that would do.

        Args:
            dry_run: change nothing.
            alone: leave the other processes as they are.

        Returns:
            fires with the answer; fails with `AdminError` where a reload is under way already, or the
            configuration is in no file.
        """
        return Deferred.fromCoroutine(self._reload(dry_run, alone))

    async def _reload(self, dry_run: bool, alone: bool) -> ReloadView:
        if self.source is None:
            raise AdminError("conflict", "this router was started without a configuration file", "config")
        if self._router.hub.closing:
            raise AdminError("conflict", "the router goes out of service", "config")
        if self._running:
            raise AdminError("conflict", "a reload is under way", "config", "wait for it to end")
        self._running = True
        if not dry_run:
            tell_supervisor(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            plan = await self._planned(self.source)
            if not plan.problems and not alone:
                await self._everywhere(plan, dry_run=dry_run)
            view = plan.view(self.file, self._router.config.process, dry_run=dry_run)
            self._cancel(plan) if dry_run else self._finish(plan)
            return view
        finally:
            self._running = False
            if not dry_run:
                tell_supervisor("READY=1")

    def hung_up(self, *, alone: bool = False) -> None:
        """SIGHUP came: as `reload`, and what comes of it is in the log."""

        def failed(failure: Any) -> None:
            if failure.check(AdminError):
                self.log.warn("SIGHUP: {why}", why=failure.getErrorMessage())
            else:
                self.log.failure("SIGHUP", failure=failure)

        self.reload(alone=alone).addErrback(failed)

    # -- planning ----------------------------------------------------------------------------------------

    async def _planned(self, source: Callable[[], Loaded]) -> Plan:
        """Read in a thread, for a hundred thousand domains take seconds; then compare and prepare."""
        reactor, plan = self._router.reactor, Plan()
        try:
            loaded = await deferToThreadPool(reactor, reactor.getThreadPool(), source)
            wanted = as_process(loaded.config, loaded.config.process + self._after)
        except ConfigError as error:
            plan.problems, plan.result = error.problems, REFUSED
            return plan
        except RouterError as error:
            plan.problems, plan.result = [Problem(self.file, "", str(error), "correct the file")], REFUSED
            return plan
        plan.loaded = loaded
        records = list(self._router.run_time_domains.in_file())
        plan.changes, config = await deferToThreadPool(
            reactor, reactor.getThreadPool(), _compared, self._router.config, records, wanted
        )
        plan.config = config
        plan.problems = self._faults(config, plan.changes)
        if not plan.problems:
            self._prepare(plan)
        if plan.problems:
            plan.result = FAILED
        elif any(step.counts for step in plan.steps):
            plan.result = APPLIED
        return plan

    def _faults(self, config: Config, changes: Changes) -> list[Problem]:
        """What stays until a restart may contradict what would change now."""
        if not changes.restart:
            return []
        waits = ", ".join(sorted({change.path for change in changes.restart}))
        do = f"restart the router: it goes on with the old {waits} until then"
        return [Problem(one.file, one.path, one.what, do) for one in checks.problems(config, self.file, ())]

    def _prepare(self, plan: Plan) -> None:
        config = plan.config
        assert config is not None  # noqa: S101 - for the type checker
        for owner in self.owners:
            try:
                step = owner(config, plan.changes)
            except (RouterError, OSError) as error:
                plan.problems = [
                    Problem(self.file, "", str(error), "nothing was changed; correct it and reload")
                ]
                return
            if step is not None:
                plan.steps.append(step)

    # -- the other processes -----------------------------------------------------------------------------

    async def _everywhere(self, plan: Plan, *, dry_run: bool) -> None:
        """All processes try first; only if all of them can is it applied, and then here as well."""
        if plan.loaded is None:
            return
        digest = _digest(plan.loaded)
        told = await self._ask_all(_Asked(dry_run=True, digest=digest, file=self.file))
        bad = {number: one for number, one in told.items() if one.result in (REFUSED, FAILED)}
        if bad:
            plan.result = FAILED
            plan.problems = [
                Problem(self.file, "", f"process {number}: {one.why}", "see the log of that process")
                for number, one in sorted(bad.items())
            ]
        elif not dry_run:
            told = await self._ask_all(_Asked(dry_run=False, digest=digest, file=self.file))
        absent = Told(ABSENT, "it does not run; it reads the files when it starts")
        plan.told = {number: told.get(number, absent) for number in self._router.host.others()}

    async def _ask_all(self, asked: _Asked) -> dict[int, Told]:
        silent = Told(FAILED, "it gave no answer")
        said = await self._router.host.ask_all(KIND, msgspec.msgpack.encode(asked), PROCESS_S)
        return {
            number: silent if answer is None else msgspec.msgpack.decode(answer, type=Told)
            for number, answer in said.items()
        }

    def _asked(self, payload: bytes, reply: Callable[[bytes], None]) -> None:
        asked = msgspec.msgpack.decode(payload, type=_Asked)

        def tell(told: Told) -> None:
            reply(msgspec.msgpack.encode(told))

        def failed(failure: Any) -> None:
            self.log.failure("a reload for another process", failure=failure)
            tell(Told(FAILED, failure.getErrorMessage()))

        Deferred.fromCoroutine(self._for_other(asked)).addCallbacks(tell, failed)

    async def _for_other(self, asked: _Asked) -> Told:
        if self.source is None:
            return Told(FAILED, "it was started without a configuration file")
        if self.file != asked.file:
            return Told(APART, f"it reads {self.file}: reload it at its own socket")
        plan = await self._planned(self.source)
        if plan.loaded is not None and _digest(plan.loaded) != asked.digest:
            self._cancel(plan)
            return Told(FAILED, "the files changed while they were read")
        self._cancel(plan) if asked.dry_run else self._finish(plan)
        return Told(plan.result, str(plan.problems[0]) if plan.problems else "")

    # -- applying ----------------------------------------------------------------------------------------

    def _finish(self, plan: Plan) -> None:
        """Do what was planned, where it can be done, and tell."""
        if not plan.problems and plan.config is not None and plan.loaded is not None:
            for step in plan.steps:
                try:
                    step.commit()
                except Exception:  # noqa: BLE001 - one part's bug must not keep the others from the new values
                    self.log.failure("a part did not take the new configuration")
            self._router.config = structs.replace(plan.config, domains=())
            self.given, self.loaded_at = plan.loaded.given, time.time()
            self.waiting = frozenset(change.path for change in plan.changes.restart)
            self._router.hub.flush()
        else:
            self._cancel(plan)
        self.counts[plan.result] += 1
        self._router.metrics.reloads.inc(plan.result)
        self._tell(plan)

    def _cancel(self, plan: Plan) -> None:
        for step in plan.steps:
            step.cancel()

    def _tell(self, plan: Plan) -> None:
        for problem in plan.problems:
            self.log.error("reload: {problem}", problem=str(problem))
        if plan.problems:
            self.log.error("reload {result}: the configuration stays as it was", result=plan.result)
            return
        for warning in plan.loaded.warnings if plan.loaded is not None else ():
            self.log.warn("reload: {warning}", warning=str(warning))
        for number, change in enumerate(plan.changes):
            if number == MOST_LOGGED:
                self.log.info("reload: and {count} more", count=len(plan.changes.all) - number)
                break
            self.log.info("reload: {change} ({applies})", change=str(change), applies=change.applies.value)
        for step in plan.steps:
            for note in step.notes:
                self.log.info("reload: {note}", note=note)
        self.log.info("reload {result}: {count} change(s)", result=plan.result, count=len(plan.changes.all))


def _compared(config: Config, records: list[Record], wanted: Config) -> tuple[Changes, Config]:
    """What another configuration changes of the one in force, and what would be in force then."""
    domains = tuple(msgspec.convert(domain_entry(record), ServedDomain) for record in records)
    old = structs.replace(config, domains=domains)
    return diff(old, wanted), effective(old, wanted)


def _digest(loaded: Loaded) -> bytes:
    """Whether two processes read the same."""
    return hashlib.blake2b(msgspec.msgpack.encode(loaded.config), digest_size=16).digest()
