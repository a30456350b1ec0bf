"""Values as they stand in a TOML file."""

from __future__ import annotations

import json
from typing import Any


def toml_value(value: Any) -> str:
    """Write one value as TOML."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(entry) for entry in value) + "]"
    if isinstance(value, dict):
        inner = ", ".join(f"{name} = {toml_value(entry)}" for name, entry in value.items())
        return "{ " + inner + " }" if inner else "{}"
    return json.dumps(value, ensure_ascii=False)
