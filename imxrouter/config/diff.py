"""What differs between two configurations: one pure function, used by reloads, dry runs and `config diff`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from msgspec import structs
from msgspec.structs import FieldInfo, fields

from imxrouter.config.applies import IDENTITY, SECRET, Applies, applies
from imxrouter.config.schema import Config
from imxrouter.config.sections import Section
from imxrouter.config.served import ServedDomain
from imxrouter.config.texts import MASKED, toml_value
from imxrouter.config.walk import array_type, table_type

Action = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class Change:
    """One key that differs, or one entry of a list that came or went.

    Attributes:
        table: path of its table without numbers; empty for the top of the file.
        entry: what its entry is known by, in a list of tables; else empty.
        key: its name; empty where a whole entry came or went.
        action: what happened to it.
        before: the old value as TOML, masked where it is secret; empty where there was none.
        after: the new one.
        applies: when it is obeyed.
    """

    table: str
    entry: str
    key: str
    action: Action
    before: str
    after: str
    applies: Applies

    @property
    def path(self) -> str:
        """The key with its table, without numbers."""
        return ".".join(part for part in (self.table, self.key) if part)

    def __str__(self) -> str:
        place = f"[[{self.table}]] {self.entry}" if self.entry else self.path
        if self.action != "changed":
            return f"{'+' if self.action == 'added' else '-'} {place}"
        key = f": {self.key}" if self.entry else ""
        return f"~ {place}{key}: {self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that differs, in the order of the schema."""

    all: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.all)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.all)

    @property
    def restart(self) -> tuple[Change, ...]:
        """Those that wait for a restart."""
        return tuple(change for change in self.all if change.applies is Applies.RESTART)

    def touch(self, *paths: str) -> bool:
        """Whether a key or a table of these is among those that are obeyed without a restart."""
        return any(
            change.applies is not Applies.RESTART
            and any(change.path == path or f"{change.path}.".startswith(f"{path}.") for path in paths)
            for change in self.all
        )

    def entries(self, table: str) -> dict[str, Action]:
        """Entries of a list that came, went or changed; those that wait for a restart are left out."""
        found: dict[str, Action] = {}
        for change in self.all:
            if change.table == table and change.entry and change.applies is not Applies.RESTART:
                found.setdefault(change.entry, change.action)
        return found


def diff(old: Config, new: Config) -> Changes:
    """What a router that runs with `old` is asked to change by `new`.

    Entries of lists are compared by what they are known by (`applies.IDENTITY`); secrets are masked.
    """
    return Changes(tuple(_table("", old, new)))


def effective(old: Config, new: Config) -> Config:
    """What a router runs with after it took `new`: what waits for a restart stays as in `old`.

    Where one key of an entry of a list waits, the whole entry does.
    """
    return _merged("", old, new)  # type: ignore[return-value]


@cache
def infos(schema: type[Section]) -> tuple[FieldInfo, ...]:
    """The keys of a table; msgspec evaluates every annotation at each call."""
    return tuple(fields(schema))


def shown(path: str, value: Any) -> str:
    """A value as TOML; a secret is masked. Nothing for none."""
    if value is None:
        return ""
    return MASKED if path in SECRET and value else toml_value(value)


def identity(path: str, entry: Section, number: int) -> str:
    """What an entry of a list is known by; its number where the table says nothing."""
    key = IDENTITY.get(path)
    return str(getattr(entry, key)) if key is not None else f"#{number}"


def _table(path: str, old: Section, new: Section, entry: str = "") -> Iterator[Change]:
    for info in infos(type(old)):
        here = f"{path}.{info.encode_name}" if path else info.encode_name
        before, after = getattr(old, info.name), getattr(new, info.name)
        if before == after:
            continue
        if table_type(info) is not None:
            yield from _table(here, before, after, entry)
        elif array_type(info) is not None:
            yield from _entries(here, before, after)
        elif not _same(old, info.name, before, new):
            yield Change(
                path, entry, info.encode_name, "changed", shown(here, before), shown(here, after),
                applies(here),
            )  # fmt: skip


def _same(old: Section, name: str, before: Any, new: Section) -> bool:
    """Types of records are a set, however they are written."""
    if name != "types" or not isinstance(old, ServedDomain) or not isinstance(new, ServedDomain):
        return False
    return bool(before) and old.type_numbers == new.type_numbers


def _entries(path: str, old: Iterable[Section], new: Iterable[Section]) -> Iterator[Change]:
    before = {identity(path, entry, number): entry for number, entry in enumerate(old)}
    after = {identity(path, entry, number): entry for number, entry in enumerate(new)}
    key = IDENTITY.get(path)
    when = applies(f"{path}.{key}") if key is not None else Applies.RESTART
    for name in before:
        if name not in after:
            yield Change(path, name, "", "removed", "", "", when)
    for name, entry in after.items():
        known = before.get(name)
        if known is None:
            yield Change(path, name, "", "added", "", "", when)
        elif known != entry:
            yield from _table(path, known, entry, name)


def _merged(path: str, old: Section, new: Section) -> Section:
    kept: dict[str, Any] = {}
    for info in infos(type(old)):
        here = f"{path}.{info.encode_name}" if path else info.encode_name
        before, after = getattr(old, info.name), getattr(new, info.name)
        if before == after:
            continue
        if table_type(info) is not None:
            kept[info.name] = _merged(here, before, after)
        elif array_type(info) is not None:
            kept[info.name] = tuple(_merged_entries(here, before, after))
        elif applies(here) is Applies.RESTART:
            kept[info.name] = before
    return structs.replace(new, **kept) if kept else new


def _merged_entries(path: str, old: Iterable[Section], new: Iterable[Section]) -> Iterator[Section]:
    if path not in IDENTITY:
        yield from old
        return
    before = {identity(path, entry, 0): entry for entry in old}
    for entry in new:
        known = before.get(identity(path, entry, 0))
        if known is None or known == entry:
            yield entry
            continue
        waits = any(change.applies is Applies.RESTART for change in _table(path, known, entry))
        yield known if waits else entry
