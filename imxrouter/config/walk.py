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

from imxrouter.config.applies import SECRET
from imxrouter.config.problems import Problem
from imxrouter.config.sections import Section
from imxrouter.config.suggest import advice, nearest
from imxrouter.config.texts import MASKED, number_text, toml_value


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
        given = MASKED if path in SECRET else _shown(value)
        of_many = isinstance(value, list) and get_origin(bare_type(info)) is tuple
        wrong = [one for one in (value if of_many else [value]) if one not in words] if words else []
        if wrong:
            near = nearest(wrong[0], words) if isinstance(wrong[0], str) else None
            do = f"did you mean {near!r}?" if near is not None else meta.description or ""
            self._add(path, f"{given} is none of {', '.join(word or repr(word) for word in words)}", do)
            return value
        try:
            msgspec.convert(value, info.type)
        except msgspec.ValidationError:
            self._add(path, f"{given} is not {_allowed(info)}", meta.description or "")
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
    text = toml_value(value).replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "..."


def type_words(kind: Any) -> str:
    """Say what a key's value is: `integer`, `list of texts`; of `Literal` all its words."""
    names: dict[Any, str] = {bool: "true or false", int: "integer", float: "number", str: "text"}
    if get_origin(kind) is Literal:
        return " or ".join(f'`"{word}"`' for word in get_args(kind))
    if kind in names:
        return names[kind]
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        if get_origin(item) is Literal:
            return "list of " + type_words(item)
        return "list of " + {int: "integers", str: "texts"}[item]
    if get_origin(kind) is dict:
        return "table"
    return type_words(next(arg for arg in get_args(kind) if arg is not type(None)))


def _allowed(info: FieldInfo) -> str:
    """What a key takes, in one phrase: `a number from 0.1 to 300 (s)`."""
    meta = meta_of(info)
    words = type_words(bare_type(info))
    article = "" if words in ("text", "true or false") else "an " if words.startswith("int") else "a "
    unit, bounds = (meta.extra or {}).get("unit"), bounds_text(meta)
    says = f"{article}{words}" + (f" from {bounds}" if " to " in bounds else f", {bounds}" if bounds else "")
    if meta.pattern:
        says += f" like {meta.pattern}"
    elif meta.min_length:
        says += " (not empty)"
    elif get_origin(bare_type(info)) is dict:
        says += " of texts"
    return says + (f" ({unit})" if unit else "")


def bounds_text(meta: msgspec.Meta) -> str:
    """Say a key's bounds: `1 to 300`, `at least 1`, or nothing."""
    if meta.ge is not None and meta.le is not None:
        return f"{number_text(meta.ge)} to {number_text(meta.le)}"
    return f"at least {number_text(meta.ge)}" if meta.ge is not None else ""
