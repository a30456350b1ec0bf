"""What the API says of the configuration that runs, and of a reload. As in `views`, keys are stable."""

from __future__ import annotations

from typing import TypedDict


class ProblemView(TypedDict):
    """One thing that is wrong with a file, as `imxctl config check` says it."""

    file: str
    path: str
    what: str
    do: str


class ChangeView(TypedDict):
    """One key that differs, or an entry of a list that came or went.

    `table` is the path of its table, `entry` what its entry is known by in a list of tables, `key` is empty
    where a whole entry came or went. `action` is `added`, `removed` or `changed`; `before` and `after` are
    TOML, secrets as `(secret)`. `applies` is `at once`, `to new links` or `at a restart`.
    """

    table: str
    entry: str
    key: str
    action: str
    before: str
    after: str
    applies: str


class ConcernedView(TypedDict):
    """A link that a reload touches, and what becomes of it. All others are not touched."""

    link: int
    address: str
    what: str


class ProcessView(TypedDict):
    """What one process of the host did; `why` is empty where it did what was asked.

    `result` is a word of the whole answer's, or `absent` (it does not run now), `apart` (it reads other
    files) or `failed` (it gave no answer).
    """

    process: int
    result: str
    why: str


class ReloadView(TypedDict):
    """`imxctl config reload`.

    `result` is `applied`, `unchanged`, `refused` (the files are wrong; nothing was changed) or `failed` (they
    cannot be taken; nothing was changed). After a dry run it is what would be, and `dry_run` is true. `notes`
    are sentences; `domains` counts those that are `added`, `removed` and `changed`.
    """

    result: str
    dry_run: bool
    file: str
    problems: list[ProblemView]
    warnings: list[ProblemView]
    changes: list[ChangeView]
    domains: dict[str, int]
    links: list[ConcernedView]
    notes: list[str]
    processes: list[ProcessView]


class SettingView(TypedDict):
    """One key as it is in force. `source` is `default`, `file` or `run time`; `value` is TOML.

    `waits` says that the file has another value, which holds after a restart.
    """

    table: str
    entry: str
    key: str
    value: str
    source: str
    waits: bool


class ConfigView(TypedDict):
    """`imxctl config show`. `domains` counts those served; those beyond the first thousand are not listed."""

    file: str
    loaded_at: float
    reloads: dict[str, int]
    domains: int
    settings: list[SettingView]


#: The shapes of these answers, outer ones first.
VIEWS: tuple[type, ...] = (
    ReloadView, ProblemView, ChangeView, ConcernedView, ProcessView, ConfigView, SettingView,
)  # fmt: skip
