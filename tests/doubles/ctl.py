"""`imxctl` against a router of the test, in this process."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from imxrouter.cli.exits import Exit
from imxrouter.cli.main import imxctl
from tests.doubles.router_rig import RouterRig


def ctl(rig: RouterRig, *words: str) -> Result:
    """Run `imxctl` against a router."""
    return CliRunner().invoke(imxctl, ["--socket", rig.router.config.admin_socket, *words])


def ctl_json(rig: RouterRig, *words: str) -> Any:
    """Run `imxctl --json` against a router; it must succeed."""
    result = ctl(rig, "--json", *words)
    assert result.exit_code == Exit.OK, result.output
    return json.loads(result.output)


def ctl_json_of_failure(rig: RouterRig, *words: str) -> Any:
    """Run `imxctl --json`; it must fail with 1."""
    result = ctl(rig, "--json", *words)
    assert result.exit_code == Exit.FAILED, result.output
    return json.loads(result.output)
