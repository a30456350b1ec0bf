"""Log lines have the namespaces that docs/operators/monitor.md promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from imxrouter.app.traffic.settling import Settling
from imxrouter.tap import _Logged

NOTHING = cast("Any", None)


def test_namespaces_are_as_documented() -> None:
    """A logger that is a class attribute takes the name of its class, whatever it was given."""
    page = Path("docs/operators/monitor.md").read_text()
    for log in (Settling(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING).log, _Logged(NOTHING, NOTHING).log):
        assert f"`{log.namespace}`" in page
        assert log.namespace in {"imxrouter.app.router.Router", "imxrouter.tap"}
