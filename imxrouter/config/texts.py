"""Values as they stand in a TOML file."""

from __future__ import annotations

import json
from typing import Any, Final

#: What stands in place of a secret.
MASKED: Final = "(secret)"


def number_text(value: float) -> str:
    """A number for people: without an exponent where it is whole, so that no digit is lost."""
    return str(int(value)) if value == int(value) else f"{value:g}"


def toml_value(value: Any) -> str:
    """Write one value as TOML."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(entry) for entry in value) + "]"
    if isinstance(value, dict):
        inner = ", ".join(f"{name} = {toml_value(entry)}" for name, entry in value.items())
        return "{ " + inner + " }" if inner else "{}"
    return json.dumps(value, ensure_ascii=False, default=str)  # dates as ISO 8601
