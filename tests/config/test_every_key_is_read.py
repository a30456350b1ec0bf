"""No key is only for show: whatever can be configured is read by somebody outside the configuration room."""

from __future__ import annotations

import re
from pathlib import Path

from imxrouter.config.reference import page

PACKAGE = Path(__file__).parents[2] / "imxrouter"

#: Read while loading: the files there are part of the configuration.
LOADING = {"domains_dir", "dir"}


def test_every_key_is_read() -> None:
    """By its name, as an attribute."""
    keys = set(re.findall(r"^\| `(\w+)` \|", page(), re.MULTILINE)) - LOADING
    assert len(keys) > 80
    files = (path for path in PACKAGE.rglob("*.py") if path.parent.name != "config")
    code = "\n".join(path.read_text() for path in files)
    unread = {key for key in keys if not re.search(rf"\.{key}\b", code)}
    # Some are read through a property that parses them.
    parsed = {
        "addresses": "endpoints",
        "types": "type_numbers",
        "listen": "endpoint",
        "listen_tls": "tls_endpoints",
    }
    assert {key for key in unread if not re.search(rf"\.{parsed.get(key, key)}\b", code)} == set()
