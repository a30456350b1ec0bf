"""Make `docs/reference/configuration.md` and `ops/sample/imxrouter.toml` from the schema.

`python -m imxrouter.config.reference` writes them, with `--check` it compares (CI).
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import FieldInfo, fields

from imxrouter.config.applies import applies
from imxrouter.config.schema import Config
from imxrouter.config.sections import Section
from imxrouter.config.texts import toml_value
from imxrouter.config.walk import array_type, bare_type, bounds_text, meta_of, table_type, type_words
from imxrouter.model.generated import write_or_check

PAGE = "docs/reference/configuration.md"
SAMPLE = "ops/sample/imxrouter.toml"

#: What the sample sets for real; all else in it is a comment. The smallest router that serves somebody.
_SAMPLE_SETS: dict[str, Any] = {
    "name": "router.a.example",
    "service.name": "home",
    "service.kind": "embedded",
    "service.users": ["alice", "bob"],
    "domain.name": "a.example",
    "domain.service": "home",
}

_PAGE_HEAD = """\
# Configuration

Made from `imxrouter/config/` by `python -m imxrouter.config.reference`; do not edit.

The file is TOML. An unknown key is an error. Relative paths are relative to the directory of the file.
`imxctl config check FILE` names everything that is wrong with a file, and what to do about it.

"On reload" says when a changed key is obeyed by a router that runs, after `imxctl config reload` or SIGHUP:
`at once`, on open links too; `to new links`: links, claims and proofs that are there keep what they began
with; `at a restart`: until then it goes on with the old value. [operators/reload.md](../operators/reload.md)
has the procedure.
"""

_TABLE_HEAD = """\
| key | type | default | bounds | on reload | meaning |
| --- | --- | --- | --- | --- | --- |"""

_SAMPLE_HEAD = """\
# Configuration of imxrouter, with every key and its default.
# Made from the code by `python -m imxrouter.config.reference`; copy it and edit the copy.
# A line that begins with '#' and a key is the default, or an example where there is none.
# Check your file with: imxctl config check FILE
"""


def tables(schema: type[Section] = Config, path: str = "") -> Iterator[tuple[str, bool, type[Section]]]:
    """Go through all tables: path, whether it is an array of tables, and the class."""
    yield path, False, schema
    yield from _inner(schema, path)


def _inner(schema: type[Section], path: str) -> Iterator[tuple[str, bool, type[Section]]]:
    for info in fields(schema):
        inner = table_type(info) or array_type(info)
        if inner is not None:
            here = f"{path}.{info.encode_name}" if path else info.encode_name
            yield here, array_type(info) is not None, inner
            yield from _inner(inner, here)


def page() -> str:
    """Return the reference page."""
    parts = [_PAGE_HEAD]
    for path, many, schema in tables():
        heading = "Top of the file" if not path else f"`[[{path}]]`" if many else f"`[{path}]`"
        parts.append(f"## {heading}\n\n{_first_paragraph(schema)}\n")
        parts.append(_TABLE_HEAD)
        rows = [_row(info, path) for info in _leaves(schema)]
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def sample() -> str:
    """Return the sample file."""
    parts = [_SAMPLE_HEAD]
    left_out: list[str] = []
    for path, many, schema in tables():
        if path:
            heading = f"[[{path}]]" if many else f"[{path}]"
            live = not many or any(name.startswith(path + ".") for name in _SAMPLE_SETS)
            live = live and not any(path.startswith(outer) for outer in left_out)
            if not live:
                left_out.append(path + ".")
            parts.append(f"\n# {_first_paragraph(schema)}\n{'' if live else '#'}{heading}")
        parts += [_sample_key(info, path, many) for info in _leaves(schema)]
    return "\n".join(parts) + "\n"


def _leaves(schema: type[Section]) -> list[FieldInfo]:
    return [info for info in fields(schema) if table_type(info) is None and array_type(info) is None]


def _first_paragraph(schema: type[Section]) -> str:
    return " ".join((inspect.getdoc(schema) or "").split("\n\n")[0].split())


def _row(info: FieldInfo, path: str) -> str:
    meta = meta_of(info)
    default = "required" if info.required else f"`{toml_value(_default(info))}`"
    if _default(info) is None and not info.required:
        default = "none"
    cells = [
        f"`{info.encode_name}`",
        _type_name(bare_type(info), meta),
        default,
        bounds_text(meta),
        applies(f"{path}.{info.encode_name}" if path else info.encode_name).value,
        meta.description or "",
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type_name(kind: Any, meta: msgspec.Meta) -> str:
    unit = (meta.extra or {}).get("unit")
    return type_words(kind) + (f" ({unit})" if unit else "")


def _default(info: FieldInfo) -> Any:
    if info.default_factory is not msgspec.NODEFAULT:
        return info.default_factory()
    return None if info.default is msgspec.NODEFAULT else info.default


def _sample_key(info: FieldInfo, path: str, many: bool) -> str:
    meta = meta_of(info)
    name = f"{path}.{info.encode_name}" if path else info.encode_name
    unit, bounds = (meta.extra or {}).get("unit"), bounds_text(meta)
    hint = ", ".join(part for part in (unit, bounds) if part)
    text = f"{meta.description}" + (f" [{hint}]" if hint else "")
    lines = textwrap.wrap(text, 100, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    if name in _SAMPLE_SETS:
        lines.append(f"{info.encode_name} = {toml_value(_SAMPLE_SETS[name])}")
    else:
        example = (meta.extra or {}).get("example")
        value = example if example is not None and (info.required or not _default(info)) else _default(info)
        lines.append(f"#{info.encode_name} = {toml_value(value)}")
    return "\n".join(([] if many else [""]) + lines)


def main(arguments: list[str]) -> int:
    """Write or check both files; return the exit code."""
    return write_or_check({PAGE: page(), SAMPLE: sample()}, "imxrouter.config.reference", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
