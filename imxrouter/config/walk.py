"""Walk parsed TOML beside the schema and name every problem with its path.

msgspec stops at the first error and knows no suggestions; an operator wants all of them at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import PurePath
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo, fields

from imxrouter.config.problems import Problem
from imxrouter.config.sections import Section
from imxrouter.config.suggest import advice


def meta_of(info: FieldInfo) -> msgspec.Meta:
    """Return the description that `fields.key` put beside a field's type."""
    metas = [arg for arg in get_args(info.type)[1:] if isinstance(arg, msgspec.Meta)]
    return metas[0] if metas else msgspec.Meta()


def bare_type(info: FieldInfo) -> Any:
    """Return a field's type without its description."""
    return get_args(info.type)[0] if hasattr(info.type, "__metadata__") else info.type


def table_type(info: FieldInfo) -> type[Section] | None:
    """Return the class of a `[table]`, or None if the field is something else."""
    bare = bare_type(info)
    return bare if isinstance(bare, type) and issubclass(bare, Section) else None


def array_type(info: FieldInfo) -> type[Section] | None:
    """Return the class of each entry of an `[[array of tables]]`, or None."""
    bare = bare_type(info)
    if get_origin(bare) is not tuple:
        return None
    inner = get_args(bare)[0]
    return inner if isinstance(inner, type) and issubclass(inner, Section) else None


def literal_words(kind: Any) -> tuple[str, ...]:
    """Return the words of a `Literal` (also inside `| None`), or nothing for other types."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return next((words for arg in get_args(kind) if (words := literal_words(arg))), ())


@cache
def _infos(schema: Any) -> dict[str, FieldInfo]:
    """The keys of a table. Asked for each of its occurrences, and msgspec evaluates every annotation anew."""
    return {info.encode_name: info for info in fields(schema)}


class Walk:
    """One file's walk. Collects problems; `tidy` returns data fit for `msgspec.convert`.

    Attributes:
        problems: what was found so far.
    """

    def __init__(self, file: str, base: PurePath) -> None:
        """Start a walk.

        Args:
            file: the name shown in problems.
            base: directory against which keys that name files are resolved.
        """
        self.problems: list[Problem] = []
        self._file = file
        self._base = base

    def tidy(self, schema: type[Section], data: Mapping[str, Any], path: str = "") -> dict[str, Any]:
        """Check one table and what is inside; return it with its paths resolved."""
        infos = _infos(schema)
        out: dict[str, Any] = {}
        for name, value in data.items():
            here = f"{path}.{name}" if path else name
            info = infos.get(name)
            if info is None:
                self._add(here, "unknown key", advice(name, infos))
            else:
                out[name] = self._value(info, value, here)
        for name, info in infos.items():
            if info.required and name not in data:
                self._add(
                    f"{path}.{name}" if path else name,
                    "missing",
                    f"write {name} = ... ({meta_of(info).description})",
                )
        return out

    def _value(self, info: FieldInfo, value: Any, path: str) -> Any:
        table, entries = table_type(info), array_type(info)
        if table is not None:
            if isinstance(value, dict):
                return self.tidy(table, value, path)
            self._add(path, f"is a {_toml_name(value)}", f"write it as a table: [{path}]")
            return {}
        if entries is not None:
            if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
                return [self.tidy(entries, entry, f"{path}[{n}]") for n, entry in enumerate(value)]
            self._add(path, f"is a {_toml_name(value)}", f"write each entry as [[{path}]]")
            return []
        return self._leaf(info, value, path)

    def _leaf(self, info: FieldInfo, value: Any, path: str) -> Any:
        meta, words = meta_of(info), literal_words(bare_type(info))
        if words and value not in words:
            self._add(path, f"{_shown(value)} is not known", advice(str(value), words))
            return value
        try:
            msgspec.convert(value, info.type)
        except msgspec.ValidationError as error:
            what = str(error).split(" - at ")[0].rstrip(".")
            self._add(path, f"{what[:1].lower()}{what[1:]}, not {_shown(value)}", _wanted(meta))
            return value
        extra = meta.extra or {}
        if not extra.get("path") or not value:
            return value
        if isinstance(value, list):
            return [one if one in extra["words"] else str(self._base / one) for one in value]
        return str(self._base / value)

    def _add(self, path: str, what: str, do: str) -> None:
        self.problems.append(Problem(self._file, path, what, do))


def _toml_name(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "text", list: "list", dict: "table"}
    return names.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _wanted(meta: msgspec.Meta) -> str:
    unit = (meta.extra or {}).get("unit")
    bounds = bounds_text(meta)
    hint = ", ".join(part for part in (f"in {unit}" if unit else "", bounds) if part)
    return f"{meta.description}" + (f" [{hint}]" if hint else "")


def bounds_text(meta: msgspec.Meta) -> str:
    """Say a key's bounds: `1 to 300`, `at least 1`, or nothing."""
    if meta.ge is not None and meta.le is not None:
        return f"{meta.ge:g} to {meta.le:.9g}" if meta.ge < 1e6 else f"{meta.ge} to {meta.le}"
    return f"at least {meta.ge:g}" if meta.ge is not None else ""
