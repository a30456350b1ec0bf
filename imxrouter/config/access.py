"""[access] and the files of block and allow lists: what they say, and what is wrong with them.

A list comes as TOML (`[[entry]]` tables in `*.toml` of `access.dir`), as tables of the main file, or as a
plain file with one pattern a line, named by [[access.list]].
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

import msgspec

from imxrouter.config.fields import key
from imxrouter.config.folders import read_text, toml_files, unreadable
from imxrouter.config.problems import Problem
from imxrouter.config.sections import Section
from imxrouter.config.walk import Walk
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.patterns import Pattern

_DO_MATCH = "write an address, LOCAL*@domain, a domain, *.domain, .domain (it and all below) or *"

Action = Literal["block", "allow"]
Direction = Literal["both", "in", "out"]

_ACTION = key("What it does.")
_DIRECTION = key("`in`: what they send to us; `out`: what we send to them; `both`.")
_SCOPE = key(
    "For whom of ours: empty: the whole router; `tenant:NAME`; a served domain; an address of a user.",
    example="tenant:acme",
)
_REASON = key("Why, for people.", example="spam since May")
_AUTHOR = key("Who made it.", example="ops")
_EXPIRES = key("Until when, a date or time as ISO 8601 has it; empty: for ever.", example="2027-06-30")


class AccessEntry(Section, frozen=True):
    """One entry of a block or allow list; the closest pattern decides, see docs/operators/access.md."""

    match: Annotated[
        str,
        key(
            "Whom it is about: an address, `LOCAL*@domain`, a domain, `*.domain` (below it), `.domain` (it "
            "and all below) or `*`.",
            min_length=1,
            example=".spam.example",
        ),
    ]
    action: Annotated[Action, _ACTION] = "block"
    direction: Annotated[Direction, _DIRECTION] = "both"
    scope: Annotated[str, _SCOPE] = ""
    reason: Annotated[str, _REASON] = ""
    author: Annotated[str, _AUTHOR] = ""
    created: Annotated[str, key("When it was made, as `expires`.", example="2027-05-01")] = ""
    expires: Annotated[str, _EXPIRES] = ""


class AccessList(Section, frozen=True):
    """A plain file: one pattern a line, `#` begins a comment. All its entries say the same."""

    file: Annotated[str, key("The file.", path=True, min_length=1, example="spam.list")]
    action: Annotated[Action, _ACTION] = "block"
    direction: Annotated[Direction, _DIRECTION] = "both"
    scope: Annotated[str, _SCOPE] = ""
    reason: Annotated[str, _REASON] = ""
    author: Annotated[str, _AUTHOR] = ""
    expires: Annotated[str, _EXPIRES] = ""


class Access(Section, frozen=True):
    """Block and allow lists. Their files are looked at each second; a file with a mistake changes nothing."""

    dir: Annotated[
        str, key("Directory whose `*.toml` files hold [[entry]] tables; it need not exist.", path=True)
    ] = "access.d"
    abuse_reports: Annotated[
        int,
        key(
            "Abuse reports kept, received and sent; the oldest of who has most go first.",
            unit="reports",
            ge=1,
            le=10**6,
        ),
    ] = 1000
    entries: Annotated[tuple[AccessEntry, ...], key("Entries in the main file.")] = msgspec.field(
        default=(), name="entry"
    )
    lists: Annotated[tuple[AccessList, ...], key("Plain files.")] = msgspec.field(default=(), name="list")


class AccessFile(Section, frozen=True):
    """A file of `access.dir`: nothing but `[[entry]]` tables."""

    entries: Annotated[tuple[AccessEntry, ...], key("Entries.")] = msgspec.field(default=(), name="entry")


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry and where it stands.

    Attributes:
        ident: `FILE#N`, the entry or line N of a file.
        entry: it.
    """

    ident: str
    entry: AccessEntry


def moment(text: str) -> float:
    """Seconds since 1970 of a date or time; without a zone it is UTC. Raises `ValueError`."""
    at = datetime.fromisoformat(text.strip())
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def list_files(access: Access) -> list[Path]:
    """Every file that is read, whether it is there or not; the folder itself where it cannot be read."""
    folder = Path(access.dir)
    try:
        toml = toml_files(folder)
    except OSError:
        toml = [folder]
    return [*toml, *(Path(one.file) for one in access.lists)]


def read_lists(access: Access, main: str = "[access]") -> tuple[list[Placed], list[Problem]]:
    """Every entry of the configuration and its files, and what is wrong with them.

    Args:
        access: the configuration.
        main: what the main file is called in problems.
    """
    placed = [Placed(f"main#{n}", entry) for n, entry in enumerate(access.entries, 1)]
    problems = [
        problem for n, entry in enumerate(access.entries)
        for problem in _faults(entry, main, f"access.entry[{n}]")
    ]  # fmt: skip
    folder, toml = Path(access.dir), list[Path]()
    try:
        toml = toml_files(folder)
    except OSError as error:
        problems.append(unreadable(folder, error))
    for path in toml:
        text = _text(path, problems)
        if text is not None:
            placed += _toml_entries(path, text, problems)
    for one in access.lists:
        text = _text(Path(one.file), problems)
        if text is not None:
            placed += _plain_entries(one, text, problems)
    return placed, problems


def _text(path: Path, problems: list[Problem]) -> str | None:
    text = read_text(path)
    if isinstance(text, Problem):
        problems.append(text)
        return None
    return text


def _toml_entries(path: Path, text: str, problems: list[Problem]) -> Iterator[Placed]:
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(str(path), "", f"is not TOML: {error}", "correct that line"))
        return
    walk = Walk(str(path), PurePath(path).parent)
    tidy = walk.tidy(AccessFile, data)
    if walk.problems:
        problems += walk.problems
        return
    for n, entry in enumerate(msgspec.convert(tidy, AccessFile).entries):
        faults = list(_faults(entry, str(path), f"entry[{n}]"))
        problems += faults
        if not faults:
            yield Placed(f"{path.name}#{n + 1}", entry)


def _plain_entries(one: AccessList, text: str, problems: list[Problem]) -> Iterator[Placed]:
    path = PurePath(one.file)
    for n, line in enumerate(text.splitlines(), 1):
        match = line.partition("#")[0].strip()
        if not match:
            continue
        entry = AccessEntry(
            match, one.action, one.direction, one.scope, one.reason, one.author, "", one.expires
        )
        faults = list(_faults(entry, one.file, f"line {n}"))
        problems += faults
        if not faults:
            yield Placed(f"{path.name}#{n}", entry)


def _faults(entry: AccessEntry, file: str, path: str) -> Iterator[Problem]:
    try:
        Pattern.parse(entry.match)
    except RouterError as error:
        yield Problem(file, f"{path}.match", str(error), _DO_MATCH)
    try:
        check_scope(entry.scope)
    except RouterError as error:
        do = "write nothing, tenant:NAME, a served domain, or an address of a user of ours"
        yield Problem(file, f"{path}.scope", str(error), do)
    for name, text in (("created", entry.created), ("expires", entry.expires)):
        try:
            _ = moment(text) if text else 0.0
        except ValueError:
            do = "write 2027-06-30 or 2027-06-30T12:00:00Z"
            yield Problem(file, f"{path}.{name}", f"{text[:40]!r} is no date", do)


def check_scope(text: str) -> None:
    """Raise `RouterError` where a text is no scope."""
    if text.startswith("tenant:"):
        if not text.removeprefix("tenant:").strip():
            raise RouterError("a tenant's name is missing")
    elif "@" in text:
        Address.parse(text)
    elif text:
        Domain.parse(text)
