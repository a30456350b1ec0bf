"""The configuration of a router without a router: says what it was told to say."""

from __future__ import annotations

from copy import deepcopy

from imxrouter.admin.config_views import ConfigView, ReloadView

SHOWN: ConfigView = {
    "file": "/etc/imxrouter/imxrouter.toml", "loaded_at": 1800000000.0,
    "reloads": {"applied": 1, "unchanged": 0, "refused": 0, "failed": 0}, "domains": 1001,
    "settings": [
        {"table": "", "entry": "", "key": "name", "value": '"router.a.example"', "source": "file",
         "waits": False},
        {"table": "links", "entry": "", "key": "ping_s", "value": "10.0", "source": "default",
         "waits": True},
        {"table": "domain", "entry": "a.example", "key": "service", "value": '"home"', "source": "run time",
         "waits": False},
        {"table": "peer", "entry": "b.example", "key": "policy", "value": "", "source": "file",
         "waits": False},
    ],
}  # fmt: skip
RELOADED: ReloadView = {
    "result": "applied", "dry_run": False, "file": "/etc/imxrouter/imxrouter.toml", "problems": [],
    "warnings": [],
    "changes": [
        {"table": "links", "entry": "", "key": "ping_s", "action": "changed", "before": "10.0",
         "after": "5.0", "applies": "to new links"},
        {"table": "", "entry": "", "key": "workers", "action": "changed", "before": "1", "after": "2",
         "applies": "at a restart"},
        {"table": "domain", "entry": "b.example", "key": "", "action": "added", "before": "", "after": "",
         "applies": "at once"},
    ],
    "domains": {"added": 1, "removed": 0, "changed": 0},
    "links": [{"link": 7, "address": "192.0.2.1:6490", "what": "c.example ends on it"}],
    "notes": ["dial-back keys: others than before"],
    "processes": [{"process": 0, "result": "applied", "why": ""},
                  {"process": 1, "result": "applied", "why": ""}],
}  # fmt: skip


class ConfigDouble:
    """Satisfies `ConfigPort`.

    Attributes:
        calls: of each reload, whether it was a dry run.
        answer: what it answers.
    """

    def __init__(self) -> None:
        self.calls: list[bool] = []
        self.answer: ReloadView = deepcopy(RELOADED)

    def reload(self, *, dry_run: bool) -> ReloadView:
        """Answer at once."""
        self.calls.append(dry_run)
        return {**self.answer, "dry_run": dry_run}

    def show(self) -> ConfigView:
        """Answer at once."""
        return SHOWN
