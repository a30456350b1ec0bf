"""The configuration in force, key by key, with where each comes from; secrets are masked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from imxrouter.admin.config_views import ConfigView, ReloadView, SettingView
from imxrouter.app.served.provisioning import domain_entry
from imxrouter.config.diff import identity, infos, shown
from imxrouter.config.sections import Section
from imxrouter.config.served import ServedDomain
from imxrouter.config.walk import array_type, table_type

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from imxrouter.app.whole import Whole

#: Domains that are listed one by one.
MOST_DOMAINS: Final = 1000


class ConfigConsole:
    """Implements `admin.config_routes.ConfigPort` for a router."""

    def __init__(self, router: Whole) -> None:
        self._router = router

    def reload(self, *, dry_run: bool) -> Deferred[ReloadView]:
        """Read the files again and apply what is new, in all processes; or say what that would do."""
        return self._router.reloading.reload(dry_run=dry_run)

    def show(self) -> ConfigView:
        """Tell what is in force, and where it comes from."""
        router, reloading = self._router, self._router.reloading
        settings = list(_settings("", router.config, reloading.given, reloading.waiting))
        for number, record in enumerate(router.domains):
            if number == MOST_DOMAINS:
                break
            entry = msgspec.convert(domain_entry(record), ServedDomain)
            changed = router.run_time_domains.is_kept(record.name)
            settings += _entry("domain", record.name.name, entry, "run time" if changed else "file")
        return ConfigView(
            file=reloading.file,
            loaded_at=reloading.loaded_at,
            reloads=dict(reloading.counts),
            domains=len(router.domains),
            settings=settings,
        )


def _settings(
    path: str, section: Section, given: frozenset[str] | None, waiting: frozenset[str]
) -> Iterator[SettingView]:
    for info in infos(type(section)):
        here = f"{path}.{info.encode_name}" if path else info.encode_name
        value: Any = getattr(section, info.name)
        if table_type(info) is not None:
            yield from _settings(here, value, given, waiting)
        elif array_type(info) is not None:
            for number, entry in enumerate(value):
                yield from _entry(here, identity(here, entry, number), entry, "file")
        else:
            waits = here in waiting
            said = here in given if given is not None and not waits else value != info.default
            yield SettingView(
                table=path, entry="", key=info.encode_name, value=shown(here, value),
                source="file" if said else "default", waits=waits,
            )  # fmt: skip


def _entry(path: str, name: str, entry: Section, source: str) -> Iterator[SettingView]:
    """Of an entry of a list, what it says; the rest is as the reference has it."""
    for info in infos(type(entry)):
        value: Any = getattr(entry, info.name)
        if table_type(info) is not None:
            yield from _entry(f"{path}.{info.encode_name}", name, value, source)
            continue
        default = info.default if info.default_factory is msgspec.NODEFAULT else info.default_factory()
        if info.required or value != default:
            yield SettingView(
                table=path, entry=name, key=info.encode_name,
                value=shown(f"{path}.{info.encode_name}", value), source=source, waits=False,
            )  # fmt: skip
