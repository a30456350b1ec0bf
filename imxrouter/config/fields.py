"""How a key is declared: a type, bounds, a unit and the sentence that the reference page shows."""

from __future__ import annotations

from typing import Any

from msgspec import Meta


def key(
    text: str,
    *,
    unit: str = "",
    ge: float | None = None,
    le: float | None = None,
    min_length: int | None = None,
    pattern: str | None = None,
    example: Any = None,
    path: bool = False,
    words: tuple[str, ...] = (),
) -> Meta:
    """Describe one key; stands in `Annotated` beside its type.

    Args:
        text: what it does, one or two plain sentences.
        unit: `s`, `ms`, `bytes`, `requests` ...; shown and never used to convert.
        ge: least value.
        le: greatest value.
        min_length: least number of characters or entries.
        pattern: a regular expression that the text must match.
        example: a value for the sample file where the default is empty.
        path: whether it names a file, resolved against the directory of the configuration file.
        words: values of such a key, or entries of its list, that name no file.
    """
    given: dict[str, Any] = {"ge": ge, "le": le, "min_length": min_length, "pattern": pattern}
    bounds = {name: value for name, value in given.items() if value is not None}
    extra = {"unit": unit, "path": path, "words": words, "example": example}
    return Meta(description=text, extra=extra, **bounds)
