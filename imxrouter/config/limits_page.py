"""Keep the table of `docs/operators/limits.md` equal to the limits of the code.

`python -m imxrouter.config.limits_page` writes the table into the page, with `--check` it compares (CI).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from imxrouter.config.schema import Config
from imxrouter.config.texts import toml_value
from imxrouter.model.generated import write_or_check
from imxrouter.model.limits import Limit
from imxrouter.model.vocabulary import Reason

PAGE: Final = "docs/operators/limits.md"
BEGIN: Final = "<!-- begin limits: made by python -m imxrouter.config.limits_page -->\n"
#: Said in a close, or in the result of a claim.
_OF_LINKS: Final = {
    Reason.HELLO_TIMEOUT, Reason.NOT_PROVED, Reason.UNREAD_ANSWERS, Reason.TOO_MANY_CLAIMS, Reason.DIAL_LIMIT,
    Reason.OVER_CAP,
}  # fmt: skip
END: Final = "<!-- end -->\n"


def table() -> str:
    """Every limit: what is counted, keys with defaults, metric, answer."""
    defaults = Config(name="router.a.example")
    rows = [
        "| limit | what is counted | keys and defaults | metric | answer; told | try again |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for limit in Limit:
        info = limit.value
        keys = [_key(defaults, key, plain=key in limit.plain_keys) for key in info.keys]
        rows.append(
            f"| `{info.word}` | {info.what} | {', '.join(keys) or info.fixed} | {_metric(limit)} | "
            f"`{info.reason.word}`; `{_told(limit)}` | {info.retry} |"
        )
    return "\n".join(rows) + "\n"


def _key(defaults: Config, key: str, *, plain: bool) -> str:
    if not plain:
        return f"`{key}`"
    section, _, name = key.partition(".")
    return f"`{key}` = {toml_value(getattr(getattr(defaults, section), name))}"


def _told(limit: Limit) -> str:
    """The word on the wire: a router is told why its link or claim ends, a sender only what he may know."""
    return limit.reason.word if limit.reason in _OF_LINKS else limit.reason.disclosed


def _metric(limit: Limit) -> str:
    info = limit.value
    if info.counted:
        return f'`imxrouter_limit_refusals_total{{limit="{info.word}"}}`'
    if info.reason.word in {"hello-timeout", "unread-answers", "not-proved"}:
        return f'`imxrouter_link_ends_total{{reason="{info.reason.word}"}}`'
    return f'`imxrouter_refusals_total{{reason="{info.reason.word}"}}`'


def page_with_table(page: str) -> str:
    """The page with the table as it should be."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Write or check; return the exit code."""
    roots = [argument for argument in arguments if not argument.startswith("-")]
    path = (Path(roots[0]) if roots else Path()) / PAGE
    page = path.read_text("utf-8") if path.is_file() else ""
    return write_or_check({PAGE: page_with_table(page)}, "imxrouter.config.limits_page", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
